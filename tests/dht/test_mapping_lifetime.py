"""A phone finds out how long its router remembers, renews as rarely as that allows, and stays reachable meanwhile."""

from dataclasses import replace
from functools import partial
from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.events import Event, HomesChanged, Mode, SignalReceived
from dht.identity import NodeKey
from dht.keeping_mapping import LEAST_KEEPALIVE
from dht.records import peer_place
from simulations.cluster import Cluster, Node
from simulations.events import EventQueue
from simulations.hops import Drop
from simulations.nat import place_behind
from simulations.nat_kinds import NatKind, Ports, Scope
from simulations.network import Network
from simulations.randomness import Streams
from tests.dht.handdriven import identity

BOB = identity(1)
SAVING = DhtConfig(home_check=300.0, timer_slack=60.0, upkeep_interval=900.0, liveness_interval=14_400.0)
"""As the profile battery-saver has it."""

HASTY = replace(SAVING, home_keepalive=60.0)
"""Begins where a strict router has forgotten already."""

PHONE = 8
CALLER = 0

CONE, STRICT = Scope.ENDPOINT_INDEPENDENT, Scope.ADDRESS_AND_PORT


def _call(engine: DhtEngine, now: float, *, place: bytes, blob: bytes, homes: list[Contact]) -> int:
    return engine.signal(place, blob, homes, now)


class Phone:
    """Eight servers, the first of which calls, and a phone behind a router of which nobody else is a customer."""

    def __init__(
        self, lifetime: float, mapping: Scope, ports: Ports, *, filtering: Scope = CONE, config: DhtConfig = SAVING
    ) -> None:
        self.config = config
        self.heard: list[bytes] = []
        self.homes: tuple[Contact, ...] = ()
        streams = Streams(3)
        network = Network(EventQueue(), streams)
        self.cluster = Cluster(network, streams, self._make, 9, on_event=self._hear)
        inside = self.cluster.nodes[PHONE].address[0]
        kind = NatKind("tested", mapping=mapping, filtering=filtering, ports=ports, lifetime=lifetime)
        self.nat = place_behind(network, kind, [inside], "11.200.1.1", Random(4))
        self.cluster.start()
        self.calls = 0
        first = Contact(self.cluster.nodes[0].engine.own_key, self.cluster.nodes[0].address)
        for node in self.cluster.nodes[1:]:
            node_host = node.host
            assert node_host is not None
            node_host.command(lambda engine, now: engine.join([first], now))
            self.cluster.run_for(1.0)
        phone = self.cluster.nodes[PHONE].host
        assert phone is not None
        phone.command(lambda engine, now: engine.serve_identity(BOB, now))
        self.cluster.run_for(10.0)
        assert len(self.homes) == 3

    def _make(self, index: int, address: Address, rng: Random, now: float) -> DhtEngine:
        phone = index == PHONE
        engine = DhtEngine(self.config if phone else DhtConfig(), NodeKey.from_secret(rng.randbytes(32)), rng, now)
        engine.set_mode(Mode.CLIENT if phone else Mode.SERVER, now)
        return engine

    def _hear(self, node: Node[DhtEngine], event: Event, now: float) -> None:
        if node.index == PHONE and isinstance(event, SignalReceived):
            self.heard.append(event.blob)
        elif node.index == PHONE and isinstance(event, HomesChanged):
            self.homes = event.homes

    @property
    def interval(self) -> float:
        (keeper,) = self.cluster.nodes[PHONE].engine._homes
        return keeper.keepalive

    @property
    def reachable(self) -> bool:
        """Whether a call would come through now: some home node's word would be let in. Asking changes nothing."""
        return any(self._lets_in(home) for home in self.homes)

    def _lets_in(self, home: Contact) -> bool:
        node = next(node for node in self.cluster.nodes if node.engine.own_key == home.key)
        now = self.cluster.network.queue.now
        entry = node.engine._inbox.registered(peer_place(BOB.public), now)
        inside = self.cluster.nodes[PHONE].address
        if entry is None or self.nat.external(inside, node.address) != entry.address:
            return False
        mapping = (self.nat._by_port or {})[entry.address[1]]
        return mapping.peers is None or mapping.peers.get(node.address, 0.0) > now

    def unreachable_for(self, seconds: int) -> int:
        """Let time pass; say in how many of its seconds no call would have come through."""
        lost = 0
        for _ in range(seconds):
            self.cluster.run_for(1.0)
            lost += not self.reachable
        return lost

    def sent_in(self, seconds: float) -> int:
        """Datagrams the phone sends while time passes."""
        host = self.cluster.network.hosts[self.cluster.nodes[PHONE].address[0]]
        before = host.sent
        self.cluster.run_for(seconds)
        return host.sent - before

    def lost_calls(self, calls: int = 15) -> int:
        """Call so rarely that calls keep no mapping open, as callers do through all home nodes at once; say how many
        were not heard."""
        caller = self.cluster.nodes[CALLER].host
        assert caller is not None
        place, sent = peer_place(BOB.public), set()
        for number in range(calls):
            blob = bytes((number,))
            sent.add(blob)
            caller.command(partial(_call, place=place, blob=blob, homes=list(self.homes)))
            self.cluster.run_for(331.0)
        return len(sent - set(self.heard))


ROUTERS = [
    pytest.param("cone", CONE, CONE, "preserving", id="cone"),
    pytest.param("port-restricted", CONE, STRICT, "preserving", id="port-restricted"),
    pytest.param("symmetric", STRICT, STRICT, "random", id="symmetric"),
]
QUICK = {(30.0, "cone"), (120.0, "port-restricted"), (400.0, "symmetric")}
CASES = [
    pytest.param(
        lifetime, settles, *router.values[1:], id=f"{lifetime:g}-{router.id}",
        marks=() if (lifetime, router.id) in QUICK else pytest.mark.slow,
    )
    for lifetime, settles in ((30.0, 25.0), (120.0, 84.375), (180.0, 126.5625), (400.0, 290.0))
    for router in ROUTERS
]  # fmt: skip


@pytest.mark.parametrize(("lifetime", "settles", "mapping", "filtering", "ports"), CASES)
def test_the_longest_interval_is_found_and_calls_come_through_all_the_while(
    lifetime: float, settles: float, mapping: Scope, filtering: Scope, ports: Ports
) -> None:
    phone = Phone(lifetime, mapping, ports, filtering=filtering)
    # The first hours have all the steps in them. Where one mapping serves everybody and lets everybody in, only a
    # silence of all shows that a step was too long: twice.
    lost = phone.unreachable_for(2 * 3600)
    assert phone.interval == pytest.approx(settles)
    assert lost <= (2 * (settles * 1.5 - lifetime) + 10 if filtering is CONE else 0)
    assert phone.lost_calls() == 0
    assert phone.interval == pytest.approx(settles)


@pytest.mark.slow
@pytest.mark.parametrize(("mapping", "filtering", "ports"), [router.values[1:] for router in ROUTERS])
@pytest.mark.parametrize("lifetime", [30.0, 120.0, 400.0])
def test_it_is_reachable_for_999_of_1000_seconds_where_one_datagram_in_twenty_is_lost(
    lifetime: float, mapping: Scope, filtering: Scope, ports: Ports
) -> None:
    phone, rng = Phone(lifetime, mapping, ports, filtering=filtering), Random(9)
    phone.cluster.network.add_fault(lambda src, dst, size, now: Drop("lost") if rng.random() < 0.05 else None)
    assert phone.unreachable_for(8 * 3600) <= 8 * 3.6
    assert phone.interval <= lifetime


def test_a_phone_that_may_sleep_sends_a_fraction_of_what_it_sent() -> None:
    sent = {}
    for lifetime in (30.0, 120.0, 600.0):
        phone = Phone(lifetime, CONE, "preserving", filtering=STRICT)
        phone.cluster.run_for(6000.0)
        sent[lifetime] = phone.sent_in(3600.0)
    assert sent[120.0] < 0.45 * sent[30.0]
    assert sent[600.0] < 0.25 * sent[30.0]


@pytest.mark.parametrize("ports", ["preserving", "random"])
@pytest.mark.parametrize("mapping", [CONE, STRICT])
def test_a_router_that_forgets_sooner_than_was_begun_with_is_found_out(mapping: Scope, ports: Ports) -> None:
    # Also where it gives the same port again, so that nobody sees it: what was to come in unasked does not.
    phone = Phone(30.0, mapping, ports, config=HASTY)
    phone.cluster.run_for(900.0)
    assert phone.interval == pytest.approx(80 / 3)
    assert phone.unreachable_for(1800) == 0


def test_it_does_not_shrink_for_ever() -> None:
    phone = Phone(5.0, Scope.ADDRESS_AND_PORT, "sequential", config=HASTY)
    phone.cluster.run_for(1200.0)
    assert phone.interval == LEAST_KEEPALIVE


def test_on_another_network_it_begins_anew() -> None:
    phone = Phone(30.0, Scope.ADDRESS_AND_PORT, "random", config=HASTY)
    phone.cluster.run_for(900.0)
    assert phone.interval < 60.0
    host = phone.cluster.nodes[PHONE].host
    assert host is not None
    host.command(lambda engine, now: engine.network_changed(now))
    assert phone.interval == 60.0


def test_a_watch_is_renewed_no_more_often_than_the_router_calls_for() -> None:
    phone = Phone(600.0, CONE, "preserving", filtering=STRICT)
    phone.cluster.run_for(6000.0)
    engine = phone.cluster.nodes[PHONE].engine
    place = peer_place(identity(2).public)
    engine.watching.watch(place, phone.cluster.network.queue.now)
    (watcher,) = engine.watching
    assert watcher.keepalive == phone.interval == 290.0
    assert watcher.lifetime == DhtConfig().watch_lifetime


def test_a_router_that_shows_everybody_another_port_is_not_asked_about_for_ever() -> None:
    # Nobody can elect an address there. Looks at it every 15 s kept the radio awake, and every mapping open.
    sent = []
    for mapping in (Scope.ENDPOINT_INDEPENDENT, Scope.ADDRESS_AND_PORT):
        phone = Phone(600.0, mapping, "random")
        phone.cluster.run_for(1800.0)
        sent.append(phone.sent_in(1800.0))
    assert sent[1] < 1.3 * sent[0]
