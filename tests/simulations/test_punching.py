"""An exchange of datagrams through boxes ends as theory says."""

import asyncio

import pytest

from simulations.events import EventQueue
from simulations.loop import run
from simulations.nat import place_behind
from simulations.nat_kinds import can_punch
from simulations.network import Network
from simulations.punching import Mirror, punch
from simulations.randomness import Streams

KINDS = ("none", "endpoint-independent", "port-restricted", "symmetric", "firewall", "udp-blocked", "cgnat")


@pytest.mark.parametrize("a", KINDS)
def test_every_pair_gets_through_as_theory_says(a):
    streams = Streams(1)
    network = Network(EventQueue(), streams)
    rng = streams.stream("ports")

    async def main():
        mirror = Mirror(network, ("12.0.0.1", 3478))
        tries = []
        for number, b in enumerate(KINDS):
            left, right = f"10.1.{number}.1", f"10.2.{number}.1"
            for ip, kind in ((left, a), (right, b)):
                place_behind(network, kind, [ip], "11" + ip[2:], rng)
            tries.append(punch(network, mirror, left, right, number=number))
        return await asyncio.gather(*tries)

    assert run(main(), network) == [can_punch(a, b) for b in KINDS]
