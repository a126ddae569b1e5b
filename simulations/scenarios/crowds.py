"""What the density test can tell: drawn places, honest and crowded, judged by the real code.

    rookery simulate sweep crowds --engine model --vary sybils=20,40,100 --vary width=0.05,0.25,0.5,1
    rookery simulate sweep crowds --engine model --set sybils=0 --vary lookups=1,4,15

    rookery simulate run crowds --set draws=3000

By the model engine there is no network and no message: honest nodes lie as chance puts them; Sybils evenly in the part
of the distance that k nodes should span. Whoever judges knows the network's size from a few look-ups, each of k
distances, and all nodes near the place. By the other engine honest nodes read as many random places, of a network that
has no Sybil.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pydantic import Field

from dht.config import DhtConfig
from dht.constants import ID_BYTES
from dht.crowd import LOOKED_AT, is_crowded
from simulations.randomness import Streams
from simulations.scenario import ModelRun, scenario
from simulations.settings import Parameters
from simulations.world import World

if TYPE_CHECKING:
    from random import Random

SPACE: Final = 2**80
"""Distance that k nodes should span: any will do."""


AT_ONCE: Final = 50
"""Reads under way at once. UNSOURCED"""


class Crowds(Parameters):
    """How often a crowd of Sybils is noticed, and how often chance is taken for one."""

    draws: int = Field(20_000, ge=1, description="places drawn")
    sybils: int = Field(20, ge=0, description="ids made for the place (by the model engine)")
    width: float = Field(0.25, gt=0, le=4, description="distance over which they lie, where k nodes should span 1")
    lookups: int = Field(4, ge=1, description="look-ups from which the network's size was estimated")
    nodes: int = Field(200, ge=30, description="size of the network (by the protocol engine)")


def crowds(run: ModelRun, p: Crowds) -> None:
    """Draw places and judge them."""
    config = DhtConfig()
    k = config.k
    rng = Streams(run.seed).stream("crowds")
    flagged = hiding = hiding_flagged = honest_near = 0
    for draw in range(p.draws):
        counted = k * p.lookups
        region = int(SPACE * rng.gammavariate(counted, 1 / counted))
        honest, sybils = _honest(rng, k), sorted(rng.random() * p.width for _ in range(p.sybils))
        distances = sorted(honest + sybils)
        seen = is_crowded([int(SPACE * distance) for distance in distances], region, k, counted)
        left = sum(distance <= distances[k - 1] for distance in honest)
        flagged += seen
        honest_near += left
        hidden = left < config.read_quorum
        hiding += hidden
        hiding_flagged += hidden and seen
        if draw % 1000 == 0:
            run.progress(draw, p.draws)
    run.metrics.value("flagged" if p.sybils else "false alarms", flagged / p.draws)
    run.metrics.value("honest of nearest k", honest_near / p.draws)
    run.metrics.value("quorum hidden", hiding / p.draws)
    if hiding:
        run.metrics.value("flagged where quorum hidden", hiding_flagged / hiding)
    if not p.sybils:
        run.metrics.expect("false alarms", at_most=0.01)
    elif p.width <= 0.1:
        run.metrics.expect("flagged", at_least=0.996)


def _honest(rng: Random, k: int) -> list[float]:
    distances, distance = [], 0.0
    for _ in range(LOOKED_AT * k):
        distance += rng.expovariate(k)
        distances.append(distance)
    return distances


@scenario("crowds", "Whether chance and crowds are told apart", Crowds, model=crowds)
async def honest_places(world: World, p: Crowds) -> None:
    """Read places at which nothing was stored, in a network that has no Sybil."""
    world.planned = p.nodes / 50 + 75 + p.draws / 20
    peers = world.add(p.nodes)
    await world.settle()
    await world.run(minutes=1)
    for _ in range(p.lookups):
        await asyncio.gather(*(world.find_node(by=peer) for peer in peers))
    rng = world.streams.stream("crowds/places")
    flagged = 0
    before = sum(peer.engine.counters["crowded"] for peer in world.living)
    for _ in range(0, p.draws, AT_ONCE):
        reads = [world.get(rng.randbytes(ID_BYTES)) for _ in range(AT_ONCE)]
        outcomes = await asyncio.gather(*reads)
        flagged += sum(outcome.done is not None and outcome.done.stats.crowded for outcome in outcomes)
    suspected = sum(peer.engine.counters["crowded"] for peer in world.living) - before
    reads_made = -(-p.draws // AT_ONCE) * AT_ONCE
    world.metrics.value("false alarms", flagged / reads_made)
    world.metrics.value("looked behind in vain", suspected / reads_made)
    world.metrics.expect("false alarms", at_most=0.01)
