"""A node that hides its address: links by relays alone, both ways, and not one datagram to or from the peer."""

from __future__ import annotations

import pytest

from dht.errors import BadConfig
from node.config import NodeConfig
from node.node_results import Reason
from simulations import World, run
from simulations.hops import Packet
from simulations.shell import FullNode, FullNodes


class Seen:
    """A hop that notes whom a machine has to do with."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()

    def forward(self, packet: Packet, now: float) -> float:
        self.hosts |= {packet.src[0], packet.dst[0]}
        return 0.0


def test_it_meets_by_relays_and_its_peer_learns_no_address() -> None:
    async def main() -> None:
        world = World(seed=5, latency="constant:5ms", nat="port-restricted", seal="cheap")
        open_shells, hidden_shells = FullNodes(world), FullNodes(world, hide_address=True, mode="client")
        open_shells.add(20, "server")
        (other,) = open_shells.add(1, "home")
        (hidden,) = hidden_shells.add(1, "sensor")
        host, seen = world.network.host(hidden.peer.address[0]), Seen()
        host.uplink, host.downlink = (seen, *host.uplink), (*host.downlink, seen)
        try:
            await world.settle()
            await world.run(seconds=120)
            for one, two in ((hidden, other), (other, hidden)):
                outcome = await one.node.connect(two.key)
                assert outcome.connected, outcome
                assert outcome.link.stats.path.via and not outcome.link.stats.path.direct
                assert "ice" not in {way.way for way in outcome.ways if one is hidden}
                await world.run(seconds=40)  # A direct path is looked for again and again.
                assert outcome.link.stats.path.via
                await outcome.link.close()
                await world.run(seconds=5)
            assert not seen.hosts & addresses(other)
        finally:
            open_shells.close()
            hidden_shells.close()

    run(main)


def addresses(node: FullNode) -> set[str]:
    """Where it is, inside and outside."""
    return {node.peer.address[0], node.peer.public_ip}


def test_without_relays_it_says_why_there_is_no_link() -> None:
    async def main() -> None:
        world = World(seed=5, latency="constant:5ms", nat="port-restricted", seal="cheap")
        world.add(20)
        hidden_shells, open_shells = FullNodes(world, hide_address=True, mode="client"), FullNodes(world)
        (hidden,), (other,) = hidden_shells.add(1, "sensor"), open_shells.add(1, "server")
        try:
            await world.settle()
            await world.run(seconds=40)
            outcome = await hidden.node.connect(other.key)
            assert not outcome.connected and outcome.reason is Reason.LINK_FAILED, outcome
            assert "relay" in outcome.detail
        finally:
            hidden_shells.close()
            open_shells.close()

    run(main)


def test_a_server_cannot_hide() -> None:
    with pytest.raises(BadConfig, match="hide_address"):
        NodeConfig(hide_address=True)
