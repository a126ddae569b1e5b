"""Look-ups against network size: sweep `nodes` and see the logarithm.

    rookery simulate sweep lookup-scaling --vary nodes=30,100,300,1000
    rookery simulate sweep lookup-scaling --vary nodes=1000,100000,10000000 --engine model

A hop of a look-up brings it nearer to its target by a number of bits that depends on the bucket size alone, so hops
grow by the same amount with each tenfold of the network (Cai and Devroye, arXiv 1309.5866, section 3).
"""

from __future__ import annotations

import math
from statistics import fmean
from typing import Final

from pydantic import Field

from simulations.metrics import Metrics
from simulations.modelled import tabulate
from simulations.observations import recall
from simulations.scenario import ModelRun, scenario
from simulations.settings import Parameters
from simulations.world import World

HOPS_A_DECADE: Final = 0.5845
"""Further hops for ten times the nodes at k = 20 and one request at a time: log2(10) over the bits a hop gains (Cai
and Devroye). More requests in flight only shorten the way."""


class LookupScaling(Parameters):
    """Hops, requests and seconds of look-ups, writes and reads in a quiet network of a given size."""

    nodes: int = Field(300, ge=20, description="size of the network")
    lookups: int = Field(200, ge=1, description="look-ups for random places, one after another")
    records: int = Field(50, ge=1, description="records put")
    reads: int = Field(200, ge=1, description="reads of these")


def modelled(run: ModelRun, p: LookupScaling) -> None:
    """The same by the model engine."""
    from simulations.model import ModelWorld

    world = ModelWorld(p.nodes, run.seed, latency=run.world.latency, loss=run.world.loss)
    tabulate(run.metrics, "find_node", world.lookups(p.lookups, progress=run.progress))
    tabulate(run.metrics, "put", world.writes(p.records))
    tabulate(run.metrics, "get", world.reads(p.reads))
    run.metrics.value("nodes", p.nodes)
    expect_hops(run.metrics, p)


def expect_hops(metrics: Metrics, p: LookupScaling) -> None:
    """Demand the logarithm, of either engine."""
    metrics.expect("find_node.hops", at_most=HOPS_A_DECADE * math.log10(p.nodes) + 1)
    metrics.expect("put.success", at_least=0.99)
    metrics.expect("get.success", at_least=0.99)


@scenario("lookup-scaling", "Look-ups against network size", LookupScaling, model=modelled)
async def lookup_scaling(world: World, p: LookupScaling) -> None:
    """Let the network form, then look for random places, and see whether the truly nearest were found."""
    world.planned = p.nodes / 50 + 90 + 0.5 * p.lookups + (p.records + p.reads) / 10
    world.add(p.nodes)
    await world.settle()
    # The walks by which far buckets fill come within the first minute after a join.
    await world.run(minutes=1)
    targets = world.streams.stream("lookup-scaling/targets")
    exact = []
    for _ in range(p.lookups):
        target, by = targets.randbytes(20), world.asker()
        done = await world.find_node(target, by=by)
        exact.append(recall(world, target, done, by) if done else 0.0)
    records = await world.puts(p.records)
    await world.gets(p.reads, records)
    world.metrics.value("nodes", len(world.living))
    world.metrics.value("recall", fmean(exact))
    world.metrics.value("contacts a node", fmean(len(peer.engine.contacts()) for peer in world.living))

    world.metrics.expect("recall", at_least=0.95)
    expect_hops(world.metrics, p)
