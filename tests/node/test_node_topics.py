"""Whole nodes in topics, on the simulated network's clock: they find each other, talk, come back, and leave."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from node.node_member_events import Message, PeerJoined, PeerLeft
from node.protocols.topic_mesh import Delivery
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.node_network import VirtualNetwork


@pytest.fixture
def virtually(tmp_path):
    """Run a scenario with its own network; time jumps."""

    def run(scenario: Callable[[VirtualNetwork, Network], Awaitable[None]]) -> None:
        simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

        async def main() -> None:
            async with AsyncExitStack() as stack:
                await scenario(VirtualNetwork(tmp_path, stack), simulated)

        run_virtually(main(), simulated)

    return run


async def started(net, count, **settings):
    nodes = [await net.start(f"n{i}", listen=f"10.0.1.{i}", **settings) for i in range(1, count + 1)]
    for node in nodes:
        assert await node.wait_joined(30)
    return nodes


async def heard(topic, kind=Message, timeout=30.0):
    """The next event of a kind."""
    async with asyncio.timeout(timeout):
        async for event in topic:
            if isinstance(event, kind):
                return event
    raise AssertionError("the topic ended")


def test_members_find_each_other_and_talk(virtually):
    async def scenario(net, simulated):
        one, two, three = await started(net, 3)
        async with (
            await one.topics.join("chess", app="game/1", app_version=7) as first,
            await two.topics.join("chess", app="game/1") as second,
        ):
            assert await first.wait_peers(1, 30) and await second.wait_peers(1, 30)
            assert (await heard(second, PeerJoined)).app_version == 7
            outcome = await first.broadcast(b"e4")
            assert outcome.sent and outcome.deliveries == {two.identity: Delivery.QUEUED} and outcome.reached == 1
            message = await heard(second)
            assert (message.author, message.data, message.direct, message.via) == (
                one.identity,
                b"e4",
                False,
                one.identity,
            )
            assert (await second.send(one.identity, b"e5")).sent
            assert (await heard(first)).direct
            assert not (await three.topics.join("checkers")).peers
        assert (await heard(first, PeerLeft)).reason == "leaving"
        assert [status.topic for status in three.topics.all()] == ["checkers"]

    virtually(scenario)
