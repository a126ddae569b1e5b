"""People switch their machines on by day: the sun wanders round the globe, and the network with it.

Each peer comes back rather in the evening of its own place than in its small hours. How many are there at any time
depends on where they live: spread over all longitudes the wave levels out; in one country it would not.
"""

from __future__ import annotations

from statistics import fmean

from pydantic import Field

from simulations.observations import copies, dead_contacts, traffic
from simulations.scenario import scenario
from simulations.sessions import Diurnal as Wave
from simulations.settings import Parameters
from simulations.workload import PutOutcome
from simulations.world import World

HOUR, DAY = 3600.0, 86_400.0

REGIONS = {"Americas": (-170, -30), "Europe and Africa": (-30, 60), "Asia and Oceania": (60, 190)}
"""Longitudes between which each lies, in degrees east."""


class Diurnal(Parameters):
    """Sessions by day and night around the globe: who is alive, success and traffic hour by hour."""

    nodes: int = Field(60, ge=20, description="peers, of which most are away at any time")
    sessions: str = Field("exponential:2h", description="model of the time on")
    downtime: str = Field("exponential:3h", description="model of the time off, before night puts a return off")
    amplitude: float = Field(
        0.9, ge=0, le=1, description="height of the daily wave of returns: 0 none, 1 none at night"
    )
    peak_hour: float = Field(20.0, ge=0, le=24, description="local hour at which most come back")
    hours: int = Field(48, ge=1, description="time that is watched")
    records: int = Field(40, ge=1, description="records put each day, kept alive by their holders")
    reads_an_hour: int = Field(20, ge=1, description="reads of random records each hour")


@scenario("diurnal", "Day and night around the globe", Diurnal, latency="cities", seal="cheap", sample_every=900.0)
async def diurnal(world: World, p: Diurnal) -> None:
    """Let everybody in, then come and go with the sun; read every hour, and write down the hour's figures."""
    world.planned = p.nodes / 50 + p.records / 10 + p.hours * HOUR
    world.add(p.nodes)
    await world.settle()
    world.churn(p.sessions, p.downtime, diurnal=Wave(p.amplitude, p.peak_hour))

    alive: list[int] = []
    began = world.elapsed
    puts: list[PutOutcome] = []
    for hour in range(p.hours):
        sent = traffic(world)
        if hour % 24 == 0:
            # A record lives two days at most; these are read for one.
            puts = [await world.put(life=DAY + 2 * HOUR) for _ in range(p.records)]
        with world.metrics.during(f"day {hour // 24 + 1}"):
            reads = await world.gets(p.reads_an_hour, puts, per_second=2 * p.reads_an_hour / HOUR)
        await world.run(seconds=max(0.0, began + (hour + 1) * HOUR - world.elapsed))
        alive.append(len(world.living))
        answered = [read for read in reads if read.done]
        world.metrics.sample("reads right", sum(read.ok for read in answered) / max(1, len(answered)))
        world.metrics.sample("dead contacts", dead_contacts(world))
        world.metrics.sample("bytes an hour, a node", (traffic(world) - sent) / len(world.living))
        world.metrics.sample("copies a record", fmean(copies(world, [put.record for put in puts])))
        for name, (west, east) in REGIONS.items():
            there = sum(west <= world.longitude(peer) < east for peer in world.living)
            world.metrics.sample("alive by region", there, label=name)

    # The first hours are those of a network that began with everybody on.
    settled = alive[min(len(alive) // 4, 12) :]
    world.metrics.value("alive, least", min(settled))
    world.metrics.value("alive, most", max(settled))
    world.metrics.expect("get.success", at_least=0.99)
    world.metrics.expect("alive, least", at_least=1)
