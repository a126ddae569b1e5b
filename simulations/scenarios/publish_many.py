"""Publishing many records: what a record costs in one go, beside one by one.

    rookery simulate run publish-many --world latency=constant:50ms --world seal=cheap

Clients that have just joined publish 1, 10, 100 and 1,000 records each: one after another, and others of the same
number in one go. Their bytes and datagrams are counted, both ways, and whether the copies lie where they belong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from statistics import fmean
from typing import Final

from pydantic import Field

from dht.events import Mode
from dht.identity import IdentityKey
from dht.records import Kind, SignedRecord, sign_record
from simulations.observations import copies, engines
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.traffic import Tally, metered
from simulations.workload import PAYLOAD_BYTES, RECORD_LIFE
from simulations.world import World

PUBLISHER: Final = Profile(name="publisher", mode=Mode.CLIENT)
"""Who publishes: somebody just come, who knows few nodes and holds no copies itself."""

REPLICAS: Final = 20
"""Nodes nearest to a record that should hold it."""

ENOUGH: Final = 100
"""Records over which the figures of small numbers are averaged, by having several publishers."""


class PublishMany(Parameters):
    """Bytes and datagrams a record, one by one and in one go, and where the copies came to lie."""

    nodes: int = Field(1000, ge=25, description="servers")
    records: int = Field(1000, ge=1, description="most records of one publisher; a tenth, a hundredth … follow")
    publishers: int = Field(20, ge=1, description="most publishers of one number")
    reads: int = Field(200, ge=0, description="reads of what was published in one go")


@scenario("publish-many", "Many records in one go", PublishMany, loss=0.01)
async def publish_many(world: World, p: PublishMany) -> None:
    """Publish, count, look where the copies are, read."""
    world.planned = p.nodes / 50 + 180 + p.records
    world.add(p.nodes)
    await world.settle()
    await world.run(minutes=2)
    sizes = [p.records // 10**power for power in reversed(range(9)) if p.records // 10**power]
    written: list[SignedRecord] = []
    for size in sizes:
        await _measure(world, p, size, together=False)
        written += await _measure(world, p, size, together=True)
    if p.reads:
        await world.gets(p.reads, written)
        world.metrics.expect("get.success", at_least=0.99)
    world.metrics.expect("put.success", at_least=0.99)
    world.metrics.expect("put_many.success", at_least=0.99)
    largest = f"{sizes[-1]:,}"
    alone = world.metrics.figure(f"{largest} one by one: datagrams a record")
    if sizes[-1] > 1:
        world.metrics.expect(f"{largest} in one go: datagrams a record", at_most=0.75 * alone)


async def _measure(world: World, p: PublishMany, size: int, *, together: bool) -> list[SignedRecord]:
    """Have fresh publishers publish `size` records each, and record what it cost."""
    how = f"{size:,} {'in one go' if together else 'one by one'}"
    tallies: dict[int, Tally] = {}
    peers = world.add(max(1, min(p.publishers, ENOUGH // size)), PUBLISHER, group=how, node=metered(world, tallies))
    await world.settle()
    await world.run(seconds=5)
    own = [_records(world, size, peer) for peer in peers]
    sent = _total(tallies.values(), "publish")
    with world.metrics.during(how):
        began = world.queue.now
        await asyncio.gather(
            *(_publish(world, peer, records, together) for peer, records in zip(peers, own, strict=True))
        )
        took = world.queue.now - began
        await world.run(seconds=5)
    count = size * len(peers)
    for what, before, after in zip(("bytes", "datagrams"), sent, _total(tallies.values(), "publish"), strict=True):
        world.metrics.value(f"{how}: {what} a record", (after - before) / count, "B" if what == "bytes" else "")
    world.metrics.value(f"{how}: time", took, "s")
    every = [record for one in own for record in one]
    world.metrics.value(f"{how}: copies", fmean(copies(world, every)))
    in_place = f"{how}: copies with the {REPLICAS} nearest"
    world.metrics.value(in_place, fmean(_in_place(world, every)))
    world.metrics.expect(in_place, at_least=0.9 * REPLICAS)
    world.kill(peers=peers, keep_state=False)
    return every


def _records(world: World, count: int, by: Peer) -> list[SignedRecord]:
    rng = world.streams.stream(f"publish-many/{by.index}")
    owner, expires = IdentityKey.from_seed(rng.randbytes(32)), world.queue.now + RECORD_LIFE
    return [
        sign_record(owner, Kind.MUTABLE, rng.randbytes(PAYLOAD_BYTES), seq=1, expires=expires, salt=b"%d" % number)
        for number in range(count)
    ]


async def _publish(world: World, by: Peer, records: Sequence[SignedRecord], together: bool) -> None:
    if together:
        await world.put_records(records, by)
        return
    for record in records:
        await world.put_record(record, by)


def _total(tallies: Iterable[Tally], purpose: str) -> tuple[int, int]:
    each = [(tally.bytes[purpose], tally.datagrams[purpose]) for tally in tallies]
    return sum(size for size, _ in each), sum(count for _, count in each)


def _in_place(world: World, records: Sequence[SignedRecord]) -> list[int]:
    """Of each record, how many of the servers that are truly the nearest hold it."""
    servers = [engine for engine in engines(world.living) if engine.mode is Mode.SERVER]
    by_id = {engine.own_id: engine for engine in servers}
    found = []
    for record in records:
        place = int.from_bytes(record.place, "big")
        by_distance = {own_id ^ place: engine for own_id, engine in by_id.items()}
        nearest = [by_distance[distance] for distance in nsmallest(REPLICAS, by_distance)]
        found.append(sum(bool(engine.held(record.place, world.queue.now)) for engine in nearest))
    return found
