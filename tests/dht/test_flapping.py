"""A role does not come and go: what is reached now and then settles, what is clearly one or the other settles once."""

from collections.abc import Iterable
from itertools import pairwise, product
from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.events import Event, JoinDone, Mode, ModeChanged, ProbeRequested
from dht.identity import NodeKey
from dht.reachability import LOST_ROUNDS, MOST_PROOFS, STEADY_ROUNDS, Reachability
from simulations.cluster import Cluster, Node
from simulations.events import EventQueue
from simulations.hops import Drop, Packet
from simulations.network import Network
from simulations.randomness import Streams

ROUNDS_AN_HOUR = 8
"""That begin within an hour at the most, every 600 s less a fifth."""

MOST_CHANGES = 3
"""Of role within an hour."""


def changes(rounds: Iterable[bool], reachability: Reachability | None = None) -> list[int]:
    """In which rounds the role changed; of each it is said whether anybody got through."""
    judge = reachability or Reachability(DhtConfig())
    return [number for number, good in enumerate(rounds) if judge.on_dial_back_round(5 * good, 5)]


def most_in_an_hour(at: list[int]) -> int:
    return max((sum(first <= one < first + ROUNDS_AN_HOUR for one in at) for first in at), default=0)


class TestHysteresis:
    def test_no_sequence_of_rounds_changes_it_more_than_three_times_an_hour(self) -> None:
        assert max(most_in_an_hour(changes(rounds)) for rounds in product((True, False), repeat=13)) == MOST_CHANGES

    def test_a_day_of_a_port_open_half_of_the_time_changes_it_less_than_once_an_hour(self) -> None:
        rng = Random(1)
        days = [changes(rng.random() < 0.5 for _ in range(24 * 6)) for _ in range(200)]
        assert max(most_in_an_hour(day) for day in days) <= MOST_CHANGES
        assert sum(map(len, days)) / len(days) < 12
        assert max(map(len, days)) < 24

    def test_the_worst_of_ports_ends_up_changing_it_twice_in_eleven_rounds(self) -> None:
        # It always fails as soon as it has made a server, and as long as it takes to unmake one.
        judge, at = Reachability(DhtConfig()), []
        for number in range(200):
            if judge.on_dial_back_round(5 * (judge.mode is Mode.CLIENT), 5):
                at.append(number)
        gaps = [later - earlier for earlier, later in pairwise(at)]
        assert gaps[:5] == [LOST_ROUNDS, 2, LOST_ROUNDS, 4, LOST_ROUNDS]
        assert set(gaps[6:]) == {LOST_ROUNDS, MOST_PROOFS}

    def test_a_long_good_time_is_trusted_again(self) -> None:
        judge = Reachability(DhtConfig())
        changes([True, False, False, False, True, True], judge)
        assert changes([True] * STEADY_ROUNDS + [False] * 3 + [True, True], judge) == [
            STEADY_ROUNDS + 2,
            STEADY_ROUNDS + 4,
        ]

    def test_it_says_how_much_proof_is_missing(self) -> None:
        judge = Reachability(DhtConfig())
        changes([True, False, False, False, True], judge)
        assert judge.reason == "5 of 5 peers reached this port from outside, for 1 of 2 rounds: it came and went before"

    def test_on_another_network_one_proof_is_enough_again(self) -> None:
        judge = Reachability(DhtConfig())
        changes([True, False, False, False], judge)
        judge.forget()
        assert changes([True], judge) == [0]

    def test_a_presumption_that_was_wrong_does_not_count(self) -> None:
        judge = Reachability(DhtConfig())
        judge.presume()
        assert changes([False, True], judge) == [0, 1]


class Line:
    """Before the last node: a door that is open or not, and a line that loses datagrams both ways."""

    def __init__(self, loss: float, open_for: float, closed_for: float) -> None:
        """Means of exponential times, in seconds, that the door is open and closed."""
        self._rng = Random(7)
        self._loss = loss
        self._means = open_for, closed_for
        self._open = open_for > 0
        self._until = 0.0
        self._inside: set[Address] = set()

    def leave(self, packet: Packet, now: float) -> float | Drop:
        """A datagram on its way out."""
        self._inside.add(packet.dst)
        return Drop("lost") if self._rng.random() < self._loss else 0.0

    def enter(self, packet: Packet, now: float) -> float | Drop:
        """One on its way in."""
        while now >= self._until:
            self._open = not self._open if all(self._means) else self._open
            self._until = max(now, self._until) + self._rng.expovariate(1 / self._means[not self._open])
        if self._rng.random() < self._loss or (packet.src not in self._inside and not self._open):
            return Drop("lost or shut")
        return 0.0


class Leaving:
    """The line as a hop out."""

    def __init__(self, line: Line) -> None:
        self.forward = line.leave


class Entering:
    """The line as a hop in."""

    def __init__(self, line: Line) -> None:
        self.forward = line.enter


def make(index: int, address: Address, rng: Random, now: float) -> DhtEngine:
    engine = DhtEngine(DhtConfig(liveness_interval=7200.0), NodeKey.from_secret(rng.randbytes(32)), rng, now)
    engine.set_mode(Mode.SERVER if index < 6 else None, now)
    return engine


@pytest.mark.parametrize(
    ("loss", "open_for", "closed_for", "most", "ends"),
    [
        (0.3, 1800.0, 1800.0, 11, None),
        (0.1, 3600.0, 0.0, 1, Mode.SERVER),
        (0.3, 0.0, 3600.0, 0, Mode.CLIENT),
    ],
    ids=["marginal", "reachable", "unreachable"],
)
def test_roles_of_a_node_over_twelve_hours(
    loss: float, open_for: float, closed_for: float, most: int, ends: Mode | None
) -> None:
    """Real rounds of DIAL_BACK by the engine, some of whose questions, answers and probes are lost."""
    changed: list[float] = []

    def hear(node: Node[DhtEngine], event: Event, now: float) -> None:
        if isinstance(event, ProbeRequested) and node.host is not None:
            node.host.send_from_elsewhere(event.data, event.address)
        elif isinstance(event, ModeChanged) and node.index == 6:
            changed.append(now)

    streams = Streams(5)
    cluster = Cluster(Network(EventQueue(), streams), streams, make, 7, on_event=hear)
    line = Line(loss, open_for, closed_for)
    host = cluster.network.host(cluster.nodes[6].address[0])
    host.uplink, host.downlink = (Leaving(line),), (Entering(line),)
    cluster.start()
    first = Contact(cluster.nodes[0].engine.own_key, cluster.nodes[0].address)
    for node in cluster.nodes[1:]:
        while not node.engine.contacts():  # where datagrams get lost, a join may find nobody
            cluster.ask(
                node.index,
                lambda engine, now: engine.join([first], now),
                lambda op, event: isinstance(event, JoinDone) and event.op == op,
            )
            cluster.run_for(1.0)
    cluster.run_for(12 * 3600.0)
    assert len(changed) <= most
    assert all(sum(at <= one < at + 3600 for one in changed) <= MOST_CHANGES for at in changed)
    if ends is not None:
        assert cluster.nodes[6].engine.mode is ends
        assert len(changed) == most
    else:
        assert changed
