"""A whole network starts at one instant after a power cut.

Nobody is there to join by: everybody asks everybody who is not up yet, or the few of the list, all at once. With saved
contacts a node has hundreds to try; without, only the list.
"""

from __future__ import annotations

import math

from pydantic import Field

from simulations.observations import until
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

SHARES = (0.5, 0.9, 0.99)
"""Shares of the network whose return is timed."""


class ColdStart(Parameters):
    """A whole network starts at once after a power cut: when it has joined again, and when old records are found."""

    nodes: int = Field(200, ge=20, description="size of the network, besides the list's servers")
    keep_state: bool = Field(True, description="whether contacts, records and keys survived the cut")
    bootstraps_back: bool = Field(True, description="whether the servers of the list come back, too")
    off_minutes: float = Field(10, ge=0, description="length of the power cut")
    spread: float = Field(5.0, ge=0, description="seconds within which everybody starts: machines boot unalike")
    records: int = Field(50, ge=1, description="records put before the cut")
    reads: int = Field(
        100, ge=1, description="reads before, and when all is over; a quarter of it in each try meanwhile"
    )
    within: float = Field(180, gt=0, description="seconds that are watched after the start")


@scenario("cold-start", "A whole network starts at once", ColdStart)
async def cold_start(world: World, p: ColdStart) -> None:
    """Build a network, cut the power, restore it, and time the return of nodes and records."""
    world.planned = p.nodes / 50 + 60 * p.off_minutes + p.within + 60
    world.add(p.nodes)
    await world.settle()
    with world.metrics.during("before"):
        records = await world.puts(p.records)
        await world.gets(p.reads, records)
    await world.run(minutes=2)

    dark = world.kill(fraction=1.0)
    await world.run(minutes=p.off_minutes)
    back = [peer for peer in dark if p.bootstraps_back or peer not in world.bootstraps]
    world.restart(back, keep_state=p.keep_state, spread=p.spread)
    began = world.elapsed

    def joined() -> float:
        return sum(peer.joined for peer in back) / len(back)

    for share in SHARES:
        left = began + p.within - world.elapsed
        await until(world, lambda share=share: joined() >= share, within=left)  # type: ignore[misc]
        took = world.elapsed - began if joined() >= share else math.nan
        world.metrics.value(f"{share:.0%} joined after", took, "s")
    right, found_after = 0.0, math.nan
    while joined() and right < 1 and world.elapsed - began < p.within:
        with world.metrics.during("starting"):
            reads = await world.gets(max(1, p.reads // 4), records, per_second=p.reads)
        right = sum(read.ok for read in reads) / len(reads)
        if right == 1:
            found_after = world.elapsed - began
    world.metrics.value("records found after", found_after, "s")
    await world.run(seconds=max(0.0, began + p.within - world.elapsed))
    world.metrics.value("joined in the end", joined())
    if not joined():
        # A network without saved contacts and without its list stays dark: there is nobody to ask.
        return
    with world.metrics.during("after"):
        written = await world.puts(p.records)
        await world.gets(p.reads, [*records, *written] if p.keep_state else written)

    world.metrics.expect("joined in the end", at_least=0.99)
    world.metrics.expect("put.success", at_least=0.99, phase="after")
    if p.keep_state:
        world.metrics.expect("99% joined after", at_most=30 + p.spread)
        world.metrics.expect("get.success", at_least=0.99, phase="after")
