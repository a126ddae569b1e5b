"""Complete nodes behind routers meet by key, talk, hand over files, die and come back.

What users do, from the key to the open link: look-up, gathering, a sealed call through home nodes, checks, handshakes.
Every pair should meet: over a spread of sockets or a relay where routers cannot be punched through.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, median

from pydantic import Field

from node.node_results import ConnectOutcome
from simulations.errors import SimulationError
from simulations.nat_kinds import can_punch
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.shell import FullNode, FullNodes
from simulations.world import World

PHASES = ("lookup", "gather", "signaling", "ice", "dtls", "sctp", "total")
"""What a call is made of; look-up and gathering run at the same time."""

PUBLISHED_WITHIN = 300.0
"""Virtual seconds in which everybody's peer record has to be out. UNSOURCED: a first try takes ten."""

Pair = tuple[FullNode, FullNode]
Call = tuple[Pair, ConnectOutcome]


class Meeting(Parameters):
    """Whether pairs of nodes behind routers meet, how long each phase takes, and what deaths do to their links."""

    nodes: int = Field(100, ge=20, description="bare servers, which are the DHT")
    full: int = Field(24, ge=4, le=1000, description="complete nodes, which meet")
    profile: str = Field("home", description="device class of the complete nodes")
    calls: int = Field(60, ge=1, description="pairs that meet before the deaths, and again afterwards; each pair once")
    per_second: float = Field(2.0, gt=0, description="calls a second")
    files: int = Field(5, ge=0, description="files that cross links, of pairs that have met")
    file_bytes: int = Field(1_000_000, ge=1, description="size of each file")
    share: float = Field(0.25, gt=0, lt=1, description="share of the complete nodes that die")
    minutes: float = Field(3.0, gt=0, description="time they stay away")


@scenario("meeting", "Nodes behind routers meet by key", Meeting, nat="published")
async def meeting(world: World, p: Meeting) -> None:
    """Meet, send files, die, come back, meet again."""
    world.planned = (p.nodes + p.full) / 50 + 2 * p.calls / p.per_second + 60 * p.minutes + 240
    world.add(p.nodes)
    await world.settle()
    shells = FullNodes(world)
    nodes = shells.add(p.full, p.profile)
    await _all_published(world, nodes)

    pairs = _pairs(world, nodes, 2 * p.calls)
    with world.metrics.during("before"):
        calls = await _meet(world, pairs[: p.calls], p.per_second)
        _tell(world, calls)
        await _send_files(world, shells, [pair for pair, outcome in calls if outcome.connected], p)

    living = [node for node in nodes if node.alive]
    victims = world.streams.stream("meeting/deaths").sample(living, max(1, round(p.share * len(living))))
    world.kill(peers=[node.peer for node in victims])
    world.metrics.value("links to the dead at once", _links(nodes, victims))
    await world.run(minutes=p.minutes)
    world.metrics.value("links to the dead", _links(nodes, victims))
    world.restart([node.peer for node in victims], spread=10)
    await world.settle()
    await world.run(seconds=60)
    with world.metrics.during("after"):
        await _meet(world, pairs[p.calls :] or pairs, p.per_second)
    for phase in ("before", "after"):
        world.metrics.expect("meet.success", at_least=0.95, phase=phase)
        if any((row["phase"], row["kind"]) == (phase, "unpunchable") for row in world.metrics.summary()):
            world.metrics.expect("unpunchable.success", at_least=0.95, phase=phase)
    world.metrics.expect("links to the dead", at_most=0)
    if p.files:
        world.metrics.expect("file.success", at_least=1.0, phase="before")
    shells.close()


async def _all_published(world: World, nodes: Sequence[FullNode]) -> None:
    """Wait until every node that lives can be found by its key."""
    started = world.elapsed
    await world.settle()
    while not all(node.node.status().published for node in nodes if node.alive):
        if world.elapsed - started > PUBLISHED_WITHIN:
            silent = sum(node.node.status().published is None for node in nodes if node.alive)
            raise SimulationError(
                f"after {PUBLISHED_WITHIN:g} s {silent} of {len(nodes)} nodes had not published a record"
            )
        await world.run(seconds=1)
    world.metrics.value("joined and published", world.elapsed - started, "s")


def _pairs(world: World, nodes: Sequence[FullNode], count: int) -> list[Pair]:
    """Different pairs in random order, the caller first."""
    rng = world.streams.stream("meeting/pairs")
    every = list(combinations(nodes, 2))
    chosen = rng.sample(every, min(count, len(every)))
    return [(one, other) if rng.random() < 0.5 else (other, one) for one, other in chosen]


async def _meet(world: World, pairs: Sequence[Pair], per_second: float) -> list[Call]:
    """Let pairs meet at random times.

    A `meet` is a call between routers that theory says can be punched through, an `unpunchable` any other.
    """
    rng = world.streams.stream(f"meeting/times/{world.metrics.phase}")

    async def one(pair: Pair, after: float) -> Call | None:
        caller, called = pair
        await asyncio.sleep(after)
        if not (caller.alive and called.alive):
            return None
        started = world.elapsed
        outcome = await caller.node.connect(called.key)
        reason = "" if outcome.connected else f"{outcome.reason.value} {outcome.detail.split(':')[0]}".strip()
        world.metrics.operation(
            "meet" if can_punch(caller.peer.nat, called.peer.nat) else "unpunchable",
            started=started,
            took=world.elapsed - started,
            ok=outcome.connected,
            reason=reason,
            node=caller.peer.index,
        )
        return pair, outcome

    after, calls = 0.0, []
    for pair in pairs:
        after += rng.expovariate(per_second)
        calls.append(one(pair, after))
    return [call for call in await asyncio.gather(*calls) if call is not None]


def _tell(world: World, calls: Sequence[Call]) -> None:
    """Record phases, and success by the kinds of routers on both sides."""
    connected = [outcome for _, outcome in calls if outcome.connected]
    for phase in PHASES:
        took = [one.phases[phase] for one in connected if phase in one.phases]
        if took:
            world.metrics.value(f"{phase}, median", median(took), "s")
    world.metrics.value("connected", len(connected) / max(1, len(calls)))
    for path in sorted({one.path for one in connected}):
        world.metrics.value(f"path {path}", sum(one.path == path for one in connected) / len(connected))
    by_kinds: dict[tuple[str, ...], list[ConnectOutcome]] = defaultdict(list)
    for (caller, called), outcome in calls:
        by_kinds[tuple(sorted((caller.peer.nat, called.peer.nat)))].append(outcome)
    for kinds, outcomes in sorted(by_kinds.items()):
        both = f"{kinds[0]} with {kinds[1]}"
        world.metrics.value(f"connected {both}", fmean(one.connected for one in outcomes))
        direct = fmean(one.connected and one.path != "relay" for one in outcomes)
        world.metrics.value(f"direct at once {both}", direct)


async def _send_files(world: World, shells: FullNodes, pairs: Sequence[Pair], p: Meeting) -> None:
    for number, (sender, receiver) in enumerate(pairs[: p.files]):
        file = shells.file(f"file-{number}.bin", p.file_bytes)
        started = world.elapsed
        sent = await sender.node.send_file(receiver.key, file)
        arrived = sent.ok and (receiver.folder / file.name).read_bytes() == file.read_bytes()
        reason = "" if arrived else sent.reason or "damaged"
        took = world.elapsed - started
        world.metrics.operation("file", started=started, took=took, ok=arrived, reason=reason, node=sender.peer.index)
        if sent.throughput is not None:
            world.metrics.sample("file bytes/s", sent.throughput)


def _links(nodes: Sequence[FullNode], others: Sequence[FullNode]) -> int:
    """Links of the living that lead to one of the others."""
    keys = {node.key for node in others}
    return sum(link.peer in keys for node in nodes if node.alive for link in node.node.links())
