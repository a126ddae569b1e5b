"""An ordinary network at an ordinary hour: most nodes behind routers, peers that come and go, a line that loses a
little. What a publisher and a reader get there.

    rookery simulate run ordinary --set nodes=10000 --world seal=cheap

Servers come and go as well as homes do. The publishers of the records that are read stay, so that what is missed is
the network's fault.
"""

from __future__ import annotations

import math
from statistics import fmean

from pydantic import Field

from dht.events import Mode
from simulations.observations import copies, dead_contacts
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

WARM_UP = 2
"""Minutes before the first record: the walks by which far buckets fill come within the first one. UNSOURCED"""

ENOUGH_COPIES = 1
"""Living copies with which a record is alive: a read finds the one."""


class Ordinary(Parameters):
    """Look-ups, reads and writes under churn, with most nodes behind routers, at a given size."""

    nodes: int = Field(300, ge=40, description="peers, of which those away at any time are part")
    behind: float = Field(0.6, ge=0, lt=1, description="share of peers behind routers")
    sessions: str = Field("weibull:0.59,41.9m", description="model of the time on (the default: BitTorrent, 2006)")
    downtime: str = Field("exponential:20m", description="model of the time off")
    records: int = Field(60, ge=1, description="records put before the churn begins, by peers that stay")
    minutes: int = Field(30, ge=2, description="length of the churn")
    a_minute: int = Field(60, ge=4, description="operations a minute: half reads, a quarter look-ups and writes each")


@scenario("ordinary", "An ordinary hour", Ordinary, latency="cities", loss=0.01, nat="dcutr-2025")
async def ordinary(world: World, p: Ordinary) -> None:
    """Let everybody join, put records, and use the network while peers come and go."""
    world.planned = p.nodes / 50 + p.records / 5 + 60 * (p.minutes + WARM_UP) + 60
    boxed = round(p.nodes * p.behind)
    world.add(p.nodes - boxed)
    world.add(boxed, "home")
    stay = world.add(max(3, p.records // 10), "home", group="publisher")
    await world.settle()
    await world.run(minutes=WARM_UP)
    with world.metrics.during("quiet"):
        records = [put.record for put in await world.puts(p.records, by=stay, per_second=5)]
        await world.gets(2 * p.a_minute, records)

    staying = {peer.index for peer in (*stay, *world.bootstraps)}
    world.churn(p.sessions, p.downtime, [peer for peer in world.peers if peer.index not in staying])
    await world.run(minutes=min(5, p.minutes // 2))  # The first time-outs teach what no steady network would forget.
    dead, alive = [], []
    for _ in range(p.minutes - min(5, p.minutes // 2)):
        with world.metrics.during("churn"):
            for _ in range(p.a_minute // 4):
                await world.gets(2, records, per_second=p.a_minute / 30)
                await world.find_nodes(1, per_second=p.a_minute / 30)
                await world.puts(1, per_second=p.a_minute / 30)
        dead.append(dead_contacts(world))
        held = copies(world, records)
        alive.append(sum(count >= ENOUGH_COPIES for count in held) / len(held))
        world.metrics.sample("dead contacts", dead[-1])
        world.metrics.sample("copies a record", fmean(held))
        world.metrics.sample("records alive", alive[-1])

    serving = [peer for peer in world.living if peer.engine.mode is Mode.SERVER]
    world.metrics.value("alive in the end", len(world.living), "peers")
    world.metrics.value("servers in the end", len(serving), "peers")
    world.metrics.value("records alive", fmean(alive))
    world.metrics.value("dead contacts, mean", fmean(dead))
    # Networks of less than a bucket have no estimate.
    estimates = [peer.engine.size.nodes or math.nan for peer in serving]
    world.metrics.value("size estimate, mean error", fmean(abs(size / len(serving) - 1) for size in estimates))

    world.metrics.expect("get.success", at_least=0.9995, phase="churn")
    world.metrics.expect("find_node.success", at_least=0.99, phase="churn")
    world.metrics.expect("get.p50", at_most=0.3, phase="churn")
    world.metrics.expect("get.p95", at_most=1.0, phase="churn")
    world.metrics.expect("put.p50", at_most=0.8, phase="churn")
    world.metrics.expect("records alive", at_least=0.999)
