"""Complete nodes behind routers that no pair of addresses gets through: a relay carries the link, and may die."""

from __future__ import annotations

import asyncio

from node.node_results import Reason
from simulations import World, run
from simulations.shell import FullNodes


def test_who_calls_before_any_relay_is_known_looks_for_one_and_calls_again():
    async def main():
        world = World(seed=5, latency="lognormal:30ms,0.3", nat="symmetric", seal="cheap")
        shells = FullNodes(world)
        shells.add(12, profile="server")
        try:
            await world.settle()
            await world.run(seconds=20)
            one, other = shells.add(2, profile="home")
            async with asyncio.timeout(20):
                while not all(node.alive and node.node.status().published is not None for node in (one, other)):
                    await asyncio.sleep(0.05)
            # The first search was made before they had joined, and the next is not due.
            assert [node.node.inside.outside.info().known for node in (one, other)] == [0, 0]
            began = world.queue.now
            outcomes = await asyncio.gather(one.node.connect(other.key), other.node.connect(one.key))
            assert all(outcome.connected for outcome in outcomes), outcomes
            assert all(outcome.link.stats.path.via for outcome in outcomes)
            assert world.queue.now - began < 6.0
        finally:
            shells.close()

    run(main)


def test_where_there_is_no_relay_it_is_told_how_one_was_looked_for():
    async def main():
        world = World(seed=5, latency="lognormal:30ms,0.3", nat="symmetric", seal="cheap")
        world.add(20)
        shells = FullNodes(world)
        one, other = shells.add(2, profile="home")
        try:
            await world.settle()
            await world.run(seconds=30)
            outcome = await one.node.connect(other.key, timeout=5.0)
            assert outcome.reason is Reason.TIMEOUT
            (looking,) = [way.detail for way in outcome.ways if way.way == "relay"]
            assert looking.startswith("looking for a relay: relays: neither side knows a relay")
            outcome = await one.node.connect(other.key, timeout=60.0)
            assert outcome.reason is Reason.LINK_FAILED
            assert "no-relay" in outcome.detail and "searches in 12 s found none" in outcome.detail
        finally:
            shells.close()

    run(main)


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
