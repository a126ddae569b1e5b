"""The same network asked the same things by either engine: what `simulations.agreement` lays side by side.

    rookery simulate run two-engines --engine protocol --seeds 4
    rookery simulate run two-engines --engine model --seeds 4

One kind of operation in one kind of weather, so that each figure has one cause. A look-up counts as successful by the
model's rule: one of the three living nodes nearest to the target is among those it found.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from heapq import nsmallest
from statistics import fmean
from typing import Final, Literal

from pydantic import Field

from dht.config import DhtConfig
from dht.events import FindNodeDone
from simulations import sessions
from simulations.modelled import tabulate
from simulations.observations import dead_contacts, engines
from simulations.peers import Peer
from simulations.scenario import ModelRun, scenario
from simulations.settings import Parameters
from simulations.world import World

NEAREST: Final = 3
"""As in `simulations.model.world`, which is not imported here because it imports Numba."""

MODEL_TIMES: Final = 20
"""Operations of the model for each of real messages: they cost next to nothing, and leave no chance on that side."""

ASKED: Final = 2
"""Times that contacts of a table have been asked before, a few minutes after a join: the walk that found them, and
another that came by. The model takes an hour's liveness checks for granted unless told."""

A_SECOND: Final = 20.0
"""Operations begun in a second on average: few enough that they do not meet, and over before tables have changed."""

RECORDS: Final = 50
"""Records that reads choose from. UNSOURCED: their places average over neighbourhoods."""


class TwoEngines(Parameters):
    """Hops, requests, time-outs and seconds of one kind of operation, by real messages or by the model."""

    nodes: int = Field(300, ge=20, description="size of the network, living on average")
    ask: Literal["find_node", "get", "put"] = Field("find_node", description="the operation")
    k: int = Field(20, ge=1, le=20, description="contacts of a bucket, and width of a look-up")
    alpha: int = Field(10, ge=1, le=64, description="requests in flight of a look-up")
    killed: float = Field(0.0, ge=0, lt=1, description="share that dies right before")
    sessions: str = Field("", description="how long nodes stay; empty for always")
    downtime: str = Field("exponential:1h", description="how long they are away, where they come and go")
    operations: int = Field(200, ge=1, description="how many, from random nodes; the model does 20 times as many")
    minutes: float = Field(3.0, ge=0, description="time to settle after the last has joined")


def places(p: TwoEngines) -> int:
    """How many nodes there must be for so many to be alive on average."""
    if not p.sessions:
        return p.nodes
    on, off = sessions.named(p.sessions).mean, sessions.named(p.downtime).mean
    return round(p.nodes * (on + off) / on)


def modelled(run: ModelRun, p: TwoEngines) -> None:
    """The same by the model engine."""
    from simulations.model import ModelWorld

    world = ModelWorld(
        round(p.nodes * (1 - p.killed)),
        run.seed,
        k=p.k,
        alpha=p.alpha,
        latency=run.world.latency,
        loss=run.world.loss,
        died=p.killed,
        sessions=p.sessions or None,
        asked=ASKED,
        config=DhtConfig(k=p.k, alpha=p.alpha),
    )
    count = p.operations * MODEL_TIMES
    if p.ask == "find_node":
        found = world.lookups(count, progress=run.progress)
    elif p.ask == "get":
        found = world.reads(count, progress=run.progress)
    else:
        found = world.writes(count, progress=run.progress)
        # A receipt of the real code counts the requests of its walk, not the stores that follow it.
        found = replace(found, requests=found.requests - found.copies)
    tabulate(run.metrics, p.ask, found)
    run.metrics.value("dead contacts", world.dead)


@scenario("two-engines", "One operation by either engine", TwoEngines, model=modelled, latency="lognormal:50ms,0.4")
async def two_engines(world: World, p: TwoEngines) -> None:
    """Form the network, let its tables fill, change the weather, and ask."""
    count = places(p)
    world.planned = count / 50 + 60 * p.minutes + 2 * p.operations / A_SECOND + 10
    world.config = DhtConfig(k=p.k, alpha=p.alpha)
    # They began with the world, under the usual settings.
    world.restart(world.kill(peers=world.bootstraps), keep_state=False)
    world.add(count - len(world.bootstraps))
    await world.settle()
    if p.sessions:
        world.churn(p.sessions, p.downtime)
    await world.run(minutes=p.minutes)
    records = []
    if p.ask == "get":
        with world.metrics.during("before"):
            records = await world.puts(min(RECORDS, p.operations), per_second=A_SECOND)
        await world.run(seconds=10)
    if p.killed:
        world.kill(fraction=p.killed)
    world.metrics.value("dead contacts", dead_contacts(world))
    world.metrics.value("contacts a node", fmean(len(engine.contacts()) for engine in engines(world.living)))
    with world.metrics.during("asked"):
        if p.ask == "put":
            await world.puts(p.operations, per_second=A_SECOND)
        elif p.ask == "get":
            await world.gets(p.operations, records, per_second=A_SECOND)
        else:
            await find(world, p.operations)


async def find(world: World, count: int) -> None:
    """Look for random places from random nodes."""
    rng = world.streams.stream("two-engines/targets")
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            await world.run(seconds=rng.expovariate(A_SECOND))
            group.create_task(_find_one(world, rng.randbytes(20), world.asker()))


async def _find_one(world: World, target: bytes, by: Peer) -> None:
    place, started, own = int.from_bytes(target, "big"), world.queue.now, by.engine.own_id
    done = await world.ask(by, lambda engine, now: int(engine.find_node(target, now)))
    if not isinstance(done, FindNodeDone):
        return
    others = (engine.own_id for engine in engines(world.living) if engine.own_id != own)
    nearest = nsmallest(NEAREST, others, key=lambda one: one ^ place)
    named = {contact.long_id for contact in done.closest}
    reached = any(one in named for one in nearest)
    stats = done.stats
    world.metrics.operation(
        "find_node",
        started=started - world.started,
        took=world.queue.now - started,
        ok=reached,
        reason="" if reached else "not the nearest",
        hops=stats.hops,
        requests=stats.requests,
        failures=stats.failures,
        node=by.index,
    )
