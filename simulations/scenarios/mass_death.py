"""A share of the network dies at one instant: a power cut, a cut cable, a release that crashes.

Nobody is warned. What is read at once meets the dead in every table; minutes later the tables should be clean, and
within the hour the holders that are left should have made new copies.
"""

from __future__ import annotations

import math
from statistics import fmean

from pydantic import Field

from simulations.observations import copies, dead_contacts
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World


class MassDeath(Parameters):
    """Reads right after a share of the network died, how the tables of the rest recover, and what of the records."""

    nodes: int = Field(200, ge=20, description="size of the network before")
    share: float = Field(1 / 3, gt=0, lt=1, description="share that dies, chosen at random")
    records: int = Field(100, ge=1, description="records put before")
    reads: int = Field(200, ge=1, description="reads before, at once, and in the end")
    minutes: int = Field(90, ge=1, description="time that is watched afterwards")


@scenario("mass-death", "A third dies at once", MassDeath)
async def mass_death(world: World, p: MassDeath) -> None:
    """Put and read, kill, read at once, and watch tables and copies minute by minute."""
    world.planned = p.nodes / 50 + (p.records + p.reads) / 10 + 60 * p.minutes + 60
    world.add(p.nodes)
    await world.settle()
    with world.metrics.during("before"):
        records = await world.puts(p.records)
        await world.gets(p.reads, records)
    # The last copies are stored after a put has its acknowledgements.
    await world.run(seconds=10)
    written = [put.record for put in records]
    world.metrics.value("copies before", fmean(copies(world, written)))

    world.kill(fraction=p.share)
    left = copies(world, written)
    alive = [put for put, held in zip(records, left, strict=True) if held]
    world.metrics.value("copies at once", fmean(left))
    world.metrics.value("records left", len(alive) / len(records))
    world.metrics.value("dead contacts at once", dead_contacts(world))
    with world.metrics.during("at once"):
        await world.gets(p.reads, alive, per_second=50)

    clean_after = math.nan
    for minute in range(1, p.minutes + 1):
        await world.run(minutes=1)
        dead = dead_contacts(world)
        if dead < 0.01 and math.isnan(clean_after):
            clean_after = minute
        world.metrics.sample("dead contacts", dead)
        world.metrics.sample("copies a record", fmean(copies(world, written)))
    with world.metrics.during("later"):
        await world.gets(p.reads, alive)

    world.metrics.value("tables clean after", clean_after, "min")
    world.metrics.value("copies in the end", fmean(copies(world, written)))
    # Reads can only give what is left; of twenty copies some survive unless nearly everybody died.
    world.metrics.expect("records left", at_least=1 - len(records) * p.share**20)
    world.metrics.expect("get.success", at_least=0.99, phase="at once")
    world.metrics.expect("get.success", at_least=1.0, phase="later")
    world.metrics.expect("dead contacts", at_most=0.01)
