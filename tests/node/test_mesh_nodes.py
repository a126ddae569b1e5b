"""Complete nodes behind routers that no pair of addresses gets through: a relay carries the link, and may die."""

from __future__ import annotations

import asyncio

from simulations import World, run
from simulations.shell import FullNodes


def test_symmetric_pairs_meet_at_a_relay_and_a_transfer_survives_its_death():
    async def main():
        world = World(seed=5, latency="lognormal:30ms,0.3", nat="symmetric", seal="cheap")
        shells = FullNodes(world)
        servers, nodes = shells.add(20, profile="server"), shells.add(2, profile="home")
        try:
            await world.settle()
            await world.run(seconds=120)
            one, other = nodes
            # Such routers call for relays that are ready beforehand.
            for node in nodes:
                assert len(node.node.inside.outside.info().reserved) == 2
            began = world.queue.now
            outcome = await one.node.connect(other.key)
            assert outcome.connected, outcome
            assert world.queue.now - began < 3.0
            (relay,) = outcome.link.stats.path.via
            relayed = next(way for way in outcome.ways if way.way == "relay")
            assert (relayed.outcome, relayed.seconds < 0.5) == ("opened", True)
            sending = asyncio.ensure_future(one.node.send_file(other.key, shells.file("file.bin", 3_000_000)))
            await world.run(seconds=1.0)
            assert not sending.done()
            next(server for server in servers if server.key == relay).kill()
            sent = await sending
            assert sent.ok, sent
            assert outcome.link.stats.path.via != (relay,)
        finally:
            shells.close()

    run(main)
