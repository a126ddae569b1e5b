"""Look-ups and reads while peers come and go.

Half of a file-sharing network is gone within the hour (Stutzbach and Rejaie, IMC 2006): tables fill with the dead, and
each of them costs whoever asks it a time-out. Records were put before, and only their holders look after them.
"""

from __future__ import annotations

from statistics import fmean

from pydantic import Field

from simulations.metrics import Metrics
from simulations.modelled import tabulate
from simulations.observations import copies, dead_contacts
from simulations.scenario import ModelRun, scenario
from simulations.settings import Parameters
from simulations.world import World

HALF_AN_HOUR = 1800.0
"""Age of a record whose holders repair it every hour, on average."""


class Churn(Parameters):
    """Look-ups and reads while peers come and go: success over time, time-outs met, dead contacts in tables."""

    nodes: int = Field(200, ge=20, description="peers, of which those away at any time are part")
    sessions: str = Field("weibull:0.59,41.9m", description="model of the time on (the default: BitTorrent, 2006)")
    downtime: str = Field("exponential:1h", description="model of the time off")
    keep_state: bool = Field(True, description="whether peers come back with contacts, records and key")
    records: int = Field(50, ge=1, description="records put before the churn begins; their publishers churn too")
    minutes: int = Field(90, ge=10, description="length of the churn")
    reads_a_minute: int = Field(6, ge=1, description="reads of random records; there are half as many look-ups")


def modelled(run: ModelRun, p: Churn) -> None:
    """The same by the model engine: a network of `nodes` living ones in its steady state, records half an hour old."""
    from simulations.model import ModelWorld

    world = ModelWorld(p.nodes, run.seed, latency=run.world.latency, loss=run.world.loss, sessions=p.sessions)
    reads = p.minutes * p.reads_a_minute
    with run.metrics.during("churn"):
        tabulate(run.metrics, "get", world.reads(reads, age=HALF_AN_HOUR, progress=run.progress))
        tabulate(run.metrics, "find_node", world.lookups(reads // 2, progress=run.progress))
    run.metrics.value("dead contacts, mean", world.dead)
    expect_service(run.metrics)


def expect_service(metrics: Metrics) -> None:
    """Demand that churn is hardly noticed, of either engine."""
    metrics.expect("get.success", at_least=0.99, phase="churn")
    metrics.expect("find_node.success", at_least=0.99, phase="churn")
    metrics.expect("get.p95", at_most=1.5, phase="churn")


@scenario("churn", "Peers come and go", Churn, model=modelled)
async def churn(world: World, p: Churn) -> None:
    """Put records in a quiet network; then churn, and read and look every minute."""
    world.planned = p.nodes / 50 + p.records / 10 + 60 * p.minutes + 60
    world.add(p.nodes)
    await world.settle()
    with world.metrics.during("quiet"):
        records = await world.puts(p.records)
        await world.gets(10 * p.reads_a_minute, records)

    world.churn(p.sessions, p.downtime, keep_state=p.keep_state)
    dead = []
    for _ in range(p.minutes):
        with world.metrics.during("churn"):
            reads = await world.gets(p.reads_a_minute, records, per_second=p.reads_a_minute / 45)
            await world.find_nodes(max(1, p.reads_a_minute // 2), per_second=p.reads_a_minute / 30)
        answered = [read for read in reads if read.done]
        dead.append(dead_contacts(world))
        world.metrics.sample("reads right", sum(read.ok for read in answered) / max(1, len(answered)))
        world.metrics.sample(
            "time-outs a read", fmean([read.done.stats.failures for read in answered if read.done] or [0])
        )
        world.metrics.sample("dead contacts", dead[-1])
        world.metrics.sample("copies a record", fmean(copies(world, [put.record for put in records])))

    world.metrics.value("dead contacts, mean", fmean(dead))
    world.metrics.value("copies in the end, least", min(copies(world, [put.record for put in records])))
    expect_service(world.metrics)
