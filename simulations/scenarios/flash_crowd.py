"""A flash crowd: everybody reads one key within a minute.

    rookery simulate sweep flash-crowd --vary reads=300,1000,3000,10000

The load of a hot key should fall on many, its holders should not drown, and reads should stay as quick as ever.
"""

from __future__ import annotations

from statistics import median

from pydantic import Field

from dht.engine import DhtEngine
from dht.events import Mode
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World


class FlashCrowd(Parameters):
    """Success and latency of thousands of reads of one key within a minute, and the load on those who hold it."""

    nodes: int = Field(300, ge=30, description="size of the network")
    reads: int = Field(2000, ge=1, description="reads of the one key")
    seconds: float = Field(60.0, gt=0, description="time within which they begin")
    calm: int = Field(200, ge=1, description="reads of many keys beforehand, to compare with")


@scenario("flash-crowd", "Everybody reads one key", FlashCrowd)
async def flash_crowd(world: World, p: FlashCrowd) -> None:
    """Read many keys in calm, then one key by everybody, and weigh what each node received."""
    world.planned = p.nodes / 50 + 60 + p.calm / 10 + p.seconds + 30
    world.add(p.nodes)
    await world.settle()
    await world.run(minutes=1)
    with world.metrics.during("calm"):
        others = await world.puts(20)
        await world.gets(p.calm, others)

    hot = await world.put()
    await world.run(seconds=10)
    servers = [peer for peer in world.living if isinstance(peer.engine, DhtEngine) and peer.engine.mode is Mode.SERVER]
    holders = [peer for peer in servers if peer.engine.held(hot.record.place, world.queue.now)]
    before = [_bytes(world, peer.public_ip) for peer in servers]
    world.metrics.mark(f"{p.reads} reads of one key begin")
    with world.metrics.during("crowd"):
        await world.gets(p.reads, [hot], per_second=p.reads / p.seconds)
    world.metrics.mark("the crowd is gone")

    after = [_bytes(world, peer.public_ip) for peer in servers]
    load = {peer.index: new - old for peer, old, new in zip(servers, before, after, strict=True)}
    total = sum(load.values())
    world.metrics.value("holders", len(holders))
    world.metrics.value("share of bytes at holders", sum(load[peer.index] for peer in holders) / total)
    world.metrics.value("hot spot", max(load.values()) / median(load.values()), "max/median")
    world.metrics.value("busiest node", max(load.values()) / p.seconds, "B/s")
    world.metrics.value("bytes a read", total / p.reads, "B")
    slower = world.metrics.figure("get.p95", phase="crowd") / world.metrics.figure("get.p95", phase="calm")
    world.metrics.value("p95 against calm", slower)

    world.metrics.expect("get.success", at_least=0.999, phase="crowd")
    world.metrics.expect("p95 against calm", at_most=1.5)
    # A read asks six or seven of twenty holders, so none gets much above a third of all reads.
    world.metrics.expect("busiest node", at_most=p.reads / p.seconds * 2500)


def _bytes(world: World, ip: str) -> int:
    host = world.network.host(ip)
    return host.bytes_received + host.bytes_sent
