"""A flood: strangers send thousands of datagrams a second to part of the network, which goes on with its work.

    rookery simulate sweep flood --vary per_second=100,1000,10000 --vary what=find-node,garbage

Every node has a core of its own, on which each datagram takes as long as it was measured to (`simulations.cpu`), so a
node that is flooded gets slower, and at last loses datagrams.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dht.engine import DhtEngine
from simulations.cpu import attach
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.strangers import Flood, Stranger
from simulations.world import World


class Flooded(Parameters):
    """What a flood from one source or many does to honest reads, and to those who are flooded."""

    nodes: int = Field(100, ge=30, description="size of the network")
    targets: int = Field(10, ge=1, description="nodes that are flooded")
    sources: int = Field(1, ge=1, description="addresses the flood comes from")
    per_second: float = Field(3000.0, gt=0, description="datagrams a second, all sources together")
    what: Literal["find-node", "get", "ping", "put", "garbage", "stun"] = Field("find-node", description="of what")
    fresh: bool = Field(False, description="whether each bears a node key never seen before")
    replayed: bool = Field(False, description="whether each source sends the same datagram again and again")
    speed: float = Field(1.0, gt=0, description="how fast the nodes' cores are; 1 is the machine that was measured")
    reads: int = Field(150, ge=1, description="honest reads before and during the flood")


@scenario("flood", "Strangers flood part of the network", Flooded)
async def flood(world: World, p: Flooded) -> None:
    """Read in calm, then during the flood, and look at what the flooded hold and send."""
    world.planned = p.nodes / 50 + 75 + 2 * p.reads / 10
    world.add(p.nodes)
    await world.settle()
    await world.run(minutes=1)
    cores = attach(world.network, [peer.public_ip for peer in world.living], speed=p.speed, config=world.config)
    records = await world.puts(20)
    with world.metrics.during("calm"):
        await world.gets(p.reads, records)

    flooded = world.living[: p.targets]
    strangers = [Stranger(world, number) for number in range(p.sources)]
    busy = [core.busy for core in cores]
    state = max(_held(peer.engine) for peer in flooded)
    world.metrics.mark(f"{p.per_second:g} datagrams a second begin")
    began = world.queue.now
    targets = [peer.contact for peer in flooded]
    rush = Flood(world, strangers, targets, p.what, per_second=p.per_second, fresh=p.fresh, replayed=p.replayed)
    with world.metrics.during("flood"):
        await world.gets(p.reads, records)
    rush.end()
    world.metrics.mark("the flood ends")
    took = world.queue.now - began

    sent = sum(stranger.bytes_sent for stranger in strangers)
    slower = world.metrics.figure("get.p95", phase="flood") / world.metrics.figure("get.p95", phase="calm")
    load = max(core.busy - before for core, before in zip(cores, busy, strict=True)) / took
    world.metrics.value("p95 against calm", slower)
    world.metrics.value("busiest core", load)
    world.metrics.value("longest wait", max(core.worst for core in cores), "s")
    world.metrics.value("datagrams lost to overrun", sum(core.overrun for core in cores))
    world.metrics.value("bytes back", sum(stranger.bytes_received for stranger in strangers) / sent, "received/sent")
    world.metrics.value("entries held more", max(_held(peer.engine) for peer in flooded) - state)

    world.metrics.expect("get.success", at_least=0.99, phase="flood")
    world.metrics.expect("p95 against calm", at_most=2.0)
    world.metrics.expect("bytes back", at_most=1.0 if p.what != "stun" else 1.6)
    # Of strangers nothing stays but an entry for each source, and none for what did not answer us.
    world.metrics.expect("entries held more", at_most=200 + 2 * p.sources)


def _held(engine: DhtEngine) -> int:
    """Contacts, requests in flight, records and forwarding entries of a node."""
    return len(engine.table) + len(engine.requests) + engine.held_records() + engine.forwards()
