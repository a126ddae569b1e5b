"""Hole punching through every pair of boxes: what happens to real packets, beside what theory says."""

import itertools
from random import Random

import pytest

from simulations.events import EventQueue
from simulations.hops import Address
from simulations.nat import place_behind
from simulations.nat_kinds import KINDS, NatKind, Scope, can_punch
from simulations.network import Network
from simulations.randomness import Streams

STUN = "11.200.0.1"
COMBINATIONS = [
    NatKind(f"{mapping.name}/{filtering.name}", mapping=mapping, filtering=filtering, ports="random")
    for mapping in Scope
    for filtering in Scope
]


class Puncher:
    """Learns its outside address from a server, sends to its peer, and answers whoever gets through."""

    def __init__(self, network: Network, ip: str) -> None:
        self.network = network
        self.endpoint = network.bind((ip, 4000), self.receive)
        self.outside: Address | None = None
        self.through = False

    def receive(self, data: bytes, src: Address) -> None:
        if data.startswith(b"seen "):
            ip, port = data[5:].decode().split(":")
            self.outside = ip, int(port)
        elif data == b"ping":
            self.network.send(self.endpoint, src, b"pong")
        else:
            self.through = True


def punches(left, right, seed=1):
    network = Network(EventQueue(), Streams(seed))
    server = network.bind(
        (STUN, 3478), lambda data, src: network.send(server, src, b"seen %s:%d" % (src[0].encode(), src[1]))
    )
    ends = []
    for number, kind in enumerate((left, right)):
        translates = kind.translates
        ip = f"10.0.{number}.2" if translates else f"11.3.{number}.2"
        place_behind(network, kind, [ip], f"11.1.{number}.1", Random(seed + number))
        ends.append(Puncher(network, ip))
        network.send(ends[-1].endpoint, server.address, b"who am I")
    network.queue.run()
    a, b = ends
    if a.outside is None or b.outside is None:
        return False
    for _ in range(3):
        network.send(a.endpoint, b.outside, b"ping")
        network.send(b.endpoint, a.outside, b"ping")
        network.queue.run_for(1.0)
    return a.through or b.through


@pytest.mark.parametrize("left", COMBINATIONS, ids=lambda kind: kind.name)
def test_packets_get_through_exactly_where_theory_says(left):
    outcome = {right.name: punches(left, right) for right in COMBINATIONS}
    assert outcome == {right.name: can_punch(left, right) for right in COMBINATIONS}


def test_every_named_pair_does_as_the_published_matrix_says():
    """Ford et al. 2005 and RFC 5128 section 3.3: all pairs but symmetric with symmetric or with port-restricted."""
    symmetric = {"symmetric", "sequential-symmetric", "cgnat-symmetric"}
    strict = symmetric | {"port-restricted", "firewall", "cgnat", "double"}
    for left, right in itertools.combinations_with_replacement(KINDS, 2):
        if left.startswith("carrier") or right.startswith("carrier"):
            continue
        hopeless = (left in symmetric and right in strict) or (right in symmetric and left in strict)
        expected = not hopeless and "udp-blocked" not in (left, right)
        assert can_punch(left, right) is can_punch(right, left) is expected, (left, right)
        assert punches(KINDS[left], KINDS[right]) is expected, (left, right)
