"""The network is cut in two (or more), lives on in parts, and is joined again.

Each part must go on alone: it holds copies of most of what was there, and writes its own. When the cut is mended
nobody tells the nodes; they must find one another by themselves, and then every record of either side.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.workload import PutOutcome
from simulations.world import World

ROUND = 15.0
"""Seconds between two rounds of reads across the former cut."""


class Partition(Parameters):
    """Both sides of a cut go on publishing and reading; after it heals all is found, and how long that takes."""

    nodes: int = Field(150, ge=30, description="size of the whole network")
    fractions: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.5, 0.5), min_length=2, max_length=5, description="shares of the parts"
    )
    minutes: float = Field(40, ge=0, description="how long it is cut")
    records: int = Field(40, ge=1, description="records put before, and on each side during the cut")
    reads: int = Field(100, ge=1, description="reads in each part and phase; a third of it in each round afterwards")
    rounds: int = Field(12, ge=1, description="rounds of reads after it has healed, one every 15 s")


@scenario("partition", "The network is cut and heals", Partition)
async def partition(world: World, p: Partition) -> None:
    """Put, cut, put and read in each part, heal, and read what the others wrote until it is found."""
    world.planned = p.nodes / 50 + 60 * p.minutes + ROUND * p.rounds + p.records + p.reads
    world.add(p.nodes)
    await world.settle()
    with world.metrics.during("before"):
        old = await world.puts(p.records)
        await world.gets(p.reads, old)

    parts = world.partition(fractions=p.fractions)
    written: list[list[PutOutcome]] = []
    with world.metrics.during("cut at once"):
        for part in parts:
            await world.gets(p.reads, old, by=part)
    await world.run(minutes=p.minutes)
    for part in parts:
        with world.metrics.during("cut"):
            written.append(await world.puts(p.records, by=part))
            await world.gets(p.reads, written[-1], by=part)
        with world.metrics.during("cut, old records"):
            await world.gets(p.reads, old, by=part)

    world.heal()
    healed = world.elapsed
    found_after = math.nan
    for _ in range(p.rounds):
        began = world.elapsed
        right = 0
        with world.metrics.during("healing"):
            for number, part in enumerate(parts):
                theirs = [put for other, puts in enumerate(written) if other != number for put in puts]
                reads = await world.gets(max(1, p.reads // 3), theirs, by=part, per_second=p.reads)
                right += sum(read.ok for read in reads)
        share = right / (len(parts) * max(1, p.reads // 3))
        world.metrics.sample("found across the cut", share)
        # Found again is what stays found: one round that misses something starts the count anew.
        if share < 1:
            found_after = math.nan
        elif math.isnan(found_after):
            found_after = began - healed
        await world.run(seconds=max(0.0, ROUND - (world.elapsed - began)))
    with world.metrics.during("after"):
        await world.gets(p.reads, old)
        await world.gets(p.reads, [put for puts in written for put in puts])

    world.metrics.value("found again after", found_after, "s")
    world.metrics.expect("put.success", at_least=1.0, phase="cut")
    world.metrics.expect("get.success", at_least=0.99, phase="cut")
    world.metrics.expect("get.success", at_least=1.0, phase="after")
    world.metrics.expect("found again after", at_most=150)
