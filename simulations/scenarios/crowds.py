"""What the density test can tell: drawn places, honest and crowded, judged by the real code. No network, no messages.

    rookery simulate sweep crowds --engine model --vary sybils=20,40,100 --vary width=0.05,0.25,0.5,1
    rookery simulate sweep crowds --engine model --set sybils=0 --vary lookups=1,4,15

Honest nodes lie as chance puts them; Sybils evenly in the part of the distance that k nodes should span. Whoever judges
knows the network's size from a few look-ups, each of k distances, and all nodes near the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field

from dht.config import DhtConfig
from dht.crowd import LOOKED_AT, is_crowded
from simulations.randomness import Streams
from simulations.scenario import ModelRun, Scenario, add
from simulations.settings import Parameters

if TYPE_CHECKING:
    from random import Random

SPACE: Final = 2**80
"""Distance that k nodes should span: any will do."""


class Crowds(Parameters):
    """How often a crowd of Sybils is noticed, and how often chance is taken for one."""

    draws: int = Field(20_000, ge=1, description="places drawn")
    sybils: int = Field(20, ge=0, description="ids made for the place")
    width: float = Field(0.25, gt=0, le=4, description="distance over which they lie, where k nodes should span 1")
    lookups: int = Field(4, ge=1, description="look-ups from which the network's size was estimated")


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


add(Scenario("crowds", "Whether chance and crowds are told apart", Crowds, model=crowds))
