"""Complete nodes join one topic: how soon each is connected, what that costs, and whom a broadcast reaches.

The members meet as users' nodes do, behind routers, over sealed calls. A quarter of them dies without a word, and comes
back, and the mesh has to heal by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pydantic import Field

from node.node_member_events import Message
from node.node_topics import Topic
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.shell import FullNode, FullNodes
from simulations.world import World

JOIN_TIMEOUT = 600.0
"""Virtual seconds after which a member that is connected with nobody counts as a failure."""

REACH_TIMEOUT = 20.0
"""Virtual seconds a broadcast has to reach a member. UNSOURCED"""


class TopicParameters(Parameters):
    """How soon members of a topic are connected, what they pay for it, and whom what they say reaches."""

    nodes: int = Field(60, ge=20, description="bare servers, which are the DHT")
    members: int = Field(100, ge=4, le=1000, description="complete nodes, which join the topic")
    profile: str = Field("home", description="device class of the members")
    spread: float = Field(30.0, gt=0, description="seconds in which they join")
    broadcasts: int = Field(
        20, ge=1, description="messages to all, each by another member, before and after the deaths"
    )
    share: float = Field(0.25, gt=0, lt=1, description="share of the members that die")
    quiet: float = Field(60.0, ge=1, description="minutes for which announcements are counted")


@scenario("topic", "Nodes meet in a topic and talk", TopicParameters)
async def topic(world: World, p: TopicParameters) -> None:
    """Join, talk, be quiet, lose a quarter, talk again."""
    world.planned = p.members / 10 + p.spread + 60 * p.quiet + 900
    world.add(p.nodes)
    await world.settle()
    shells = FullNodes(world)
    nodes = shells.add(p.members, p.profile)
    await world.settle()
    await world.run(seconds=60)
    rng = world.streams.stream("topic")

    topics: dict[int, Topic] = {}
    with world.metrics.during("join"):
        await asyncio.gather(*(_join(world, node, topics, rng.uniform(0, p.spread)) for node in nodes if node.alive))
        await world.run(seconds=120)
    living = [node for node in nodes if node.alive and node.peer.index in topics]
    degrees = sorted(len(topics[node.peer.index].peers) for node in living)
    world.metrics.value("neighbours, fewest", degrees[0])
    world.metrics.value("neighbours, median", degrees[len(degrees) // 2])
    world.metrics.value("neighbours, most", degrees[-1])
    with world.metrics.during("talk"):
        await _talk(world, living, topics, p.broadcasts)

    before = _counted(living)
    await world.run(minutes=p.quiet)
    after = _counted(living)
    for name in ("announced", "looked_up", "dialled"):
        rate = (after[name] - before[name]) / len(living) / (p.quiet / 60)
        world.metrics.value(f"{name.replace('_', ' ')}, a member and hour", rate)

    victims = rng.sample(living, max(1, round(p.share * len(living))))
    world.kill(peers=[node.peer for node in victims])
    survivors = [node for node in living if node not in victims]
    await world.run(minutes=2)
    with world.metrics.during("after deaths"):
        await _talk(world, survivors, topics, p.broadcasts)
    world.metrics.expect("connected.success", at_least=0.99, phase="join")
    world.metrics.expect("heard.success", at_least=0.99, phase="talk")
    world.metrics.expect("heard.success", at_least=0.99, phase="after deaths")
    shells.close()


async def _join(world: World, node: FullNode, topics: dict[int, Topic], after: float) -> None:
    await asyncio.sleep(after)
    if not node.alive:
        return
    started = world.elapsed
    joined = topics[node.peer.index] = await node.node.topics.join("chess")
    connected = await joined.wait_peers(1, JOIN_TIMEOUT)
    took = world.elapsed - started
    world.metrics.operation("connected", started=started, took=took, ok=connected, reason="", node=node.peer.index)
    await joined.wait_peers(3, JOIN_TIMEOUT)
    took = world.elapsed - started
    enough = len(joined.peers) >= 3
    world.metrics.operation("three neighbours", started=started, took=took, ok=enough, reason="", node=node.peer.index)


async def _talk(world: World, members: Sequence[FullNode], topics: dict[int, Topic], count: int) -> None:
    """Let some members say something, and look who hears it, and when."""
    sent: dict[bytes, float] = {}
    heard: dict[tuple[int, bytes], float] = {}

    async def listen(index: int) -> None:
        async with aclosing(_messages(topics[index])) as messages:
            async for data in messages:
                heard[index, data] = world.elapsed

    listeners = [asyncio.ensure_future(listen(node.peer.index)) for node in members]
    authors = world.streams.stream(f"topic/authors/{world.metrics.phase}").choices(list(members), k=count)
    for number, author in enumerate(authors):
        data = f"{world.metrics.phase} {number}".encode()
        sent[data] = world.elapsed
        await topics[author.peer.index].broadcast(data)
        await world.run(seconds=1)
    await world.run(seconds=REACH_TIMEOUT)
    for one in listeners:
        one.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    for (data, started), author in zip(sent.items(), authors, strict=True):
        for node in members:
            if node is author:
                continue
            at = heard.get((node.peer.index, data))
            took = REACH_TIMEOUT if at is None else at - started
            world.metrics.operation(
                "heard", started=started, took=took, ok=at is not None, reason="", node=node.peer.index
            )


async def _messages(topic: Topic) -> AsyncGenerator[bytes, None]:
    async for event in topic:
        if isinstance(event, Message):
            yield event.data


def _counted(nodes: Sequence[FullNode]) -> dict[str, int]:
    total: dict[str, int] = {}
    for node in nodes:
        for status in node.node.topics.all():
            for name, count in status.counters.items():
                total[name] = total.get(name, 0) + count
    return total
