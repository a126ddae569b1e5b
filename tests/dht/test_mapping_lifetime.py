"""A phone that renews once a minute finds out that its router forgets sooner, and renews sooner from then on."""

from functools import partial
from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.events import Event, HomesChanged, Mode, SignalReceived
from dht.identity import NodeKey
from dht.meeting import LEAST_KEEPALIVE
from dht.records import peer_place
from simulations.cluster import Cluster, Node
from simulations.events import EventQueue
from simulations.nat import place_behind
from simulations.nat_kinds import NatKind, Ports, Scope
from simulations.network import Network
from simulations.randomness import Streams
from tests.dht.handdriven import identity

BOB = identity(1)
SAVING = DhtConfig(
    home_keepalive=60.0, home_check=300.0, timer_slack=60.0, upkeep_interval=900.0, liveness_interval=14_400.0
)
"""As the profile battery-saver has it."""

PHONE = 8
CALLER = 0


def _call(engine: DhtEngine, now: float, *, place: bytes, blob: bytes, homes: list[Contact]) -> int:
    return engine.signal(place, blob, homes, now)


class Phone:
    """Eight servers, the first of which calls, and a phone behind a router of which nobody else is a customer."""

    def __init__(self, lifetime: float, mapping: Scope, ports: Ports) -> None:
        self.heard: list[bytes] = []
        self.homes: tuple[Contact, ...] = ()
        streams = Streams(3)
        network = Network(EventQueue(), streams)
        self.cluster = Cluster(network, streams, self._make, 9, on_event=self._hear)
        inside = self.cluster.nodes[PHONE].address[0]
        kind = NatKind("tested", mapping=mapping, ports=ports, lifetime=lifetime)
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
        engine = DhtEngine(SAVING if phone else DhtConfig(), NodeKey.from_secret(rng.randbytes(32)), rng, now)
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

    def lost_calls(self) -> int:
        """Call fifteen times, by the home nodes in turn, so rarely that calls keep no mapping open; say how many were
        not heard."""
        caller = self.cluster.nodes[CALLER].host
        assert caller is not None
        place, sent = peer_place(BOB.public), set()
        for number in range(15):
            blob, homes = bytes((number,)), [self.homes[number % 3]]
            sent.add(blob)
            caller.command(partial(_call, place=place, blob=blob, homes=homes))
            self.cluster.run_for(131.0)
        return len(sent - set(self.heard))


@pytest.mark.parametrize("mapping", [Scope.ENDPOINT_INDEPENDENT, Scope.ADDRESS_AND_PORT])
@pytest.mark.parametrize(("lifetime", "settles"), [(30.0, 80 / 3), (45.0, 40.0), (120.0, 60.0), (600.0, 60.0)])
def test_the_interval_settles_below_the_lifetime_and_no_call_is_lost(
    lifetime: float, settles: float, mapping: Scope
) -> None:
    phone = Phone(lifetime, mapping, "random")
    phone.cluster.run_for(900.0)
    assert phone.interval == pytest.approx(settles)
    assert phone.lost_calls() == 0
    assert phone.interval == pytest.approx(settles)


def test_a_router_that_shows_everybody_another_port_is_not_asked_about_for_ever() -> None:
    # Nobody can elect an address there. Looks at it every 15 s kept the radio awake, and every mapping open.
    sent = []
    for mapping in (Scope.ENDPOINT_INDEPENDENT, Scope.ADDRESS_AND_PORT):
        phone = Phone(600.0, mapping, "random")
        phone.cluster.run_for(1800.0)
        host = phone.cluster.network.hosts[phone.cluster.nodes[PHONE].address[0]]
        before = host.sent
        phone.cluster.run_for(1800.0)
        sent.append(host.sent - before)
    assert sent[1] < 1.2 * sent[0]


def test_it_does_not_shrink_for_ever() -> None:
    phone = Phone(5.0, Scope.ADDRESS_AND_PORT, "sequential")
    phone.cluster.run_for(900.0)
    assert phone.interval == LEAST_KEEPALIVE


def test_on_another_network_it_begins_anew() -> None:
    phone = Phone(30.0, Scope.ADDRESS_AND_PORT, "random")
    phone.cluster.run_for(900.0)
    assert phone.interval < 60.0
    host = phone.cluster.nodes[PHONE].host
    assert host is not None
    host.command(lambda engine, now: engine.network_changed(now))
    assert phone.interval == 60.0


def test_a_router_that_gives_the_same_port_again_is_not_found_out() -> None:
    # What docs/protocol.md says of it, and why there is a setting.
    phone = Phone(30.0, Scope.ENDPOINT_INDEPENDENT, "preserving")
    phone.cluster.run_for(900.0)
    assert phone.interval == 60.0
    assert phone.lost_calls() > 0
