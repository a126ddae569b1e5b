"""What a network costs those who run it: bytes for each node and day, by what they were for.

    rookery simulate sweep republish --vary records=0,1,10,100

Each peer publishes its records anew once in the interval of a real node's default settings (17 h), reading before it
writes as a real node does, and holders repair copies meanwhile. Peers read now and then.
"""

from __future__ import annotations

import asyncio

from pydantic import Field

from dht.identity import IdentityKey
from dht.records import Kind, sign_record
from node.config import NodeConfig
from simulations.peers import Peer
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.traffic import PURPOSES, Tally, metered
from simulations.world import World

DAY = 86_400.0


class Republish(Parameters):
    """Bytes for each node and day by purpose: upkeep, publishing anew, repair of copies, reads."""

    nodes: int = Field(40, ge=25, description="size of the network")
    records: int = Field(2, ge=0, description="records of each peer")
    interval: float = Field(
        NodeConfig.model_fields["republish_interval"].default,
        ge=60,
        description="seconds between publications of a record",
    )
    reads: float = Field(24.0, ge=0, description="reads of each peer in a day")
    hours: float = Field(2.0, gt=0, description="time that is watched; figures are for a day all the same")


@scenario("republish", "Traffic of a day, by purpose", Republish, sample_every=600.0)
async def republish(world: World, p: Republish) -> None:
    """Publish everything once, then watch for some hours."""
    span = p.hours * 3600
    world.planned = p.nodes / 50 + 60 + span + p.nodes * p.records / 20
    tallies: dict[int, Tally] = {}
    peers = world.add(p.nodes, group="metered", node=metered(world, tallies))
    await world.settle()
    rng = world.streams.stream("republish/records")
    owners = [(peer, IdentityKey.from_seed(rng.randbytes(32))) for peer in peers for _ in range(p.records)]
    places = [await _publish(world, peer, key, seq=1) for peer, key in owners]
    await world.run(minutes=2)

    before = {index: (tally.bytes.copy(), tally.datagrams.copy()) for index, tally in tallies.items()}
    world.metrics.mark("what is metered from here on")
    async with asyncio.TaskGroup() as group:
        for peer, key in owners:
            # Peers began at any time, so a record is due at any time of the interval.
            due = rng.uniform(0, p.interval)
            while due < span:
                group.create_task(_anew(world, peer, key, due))
                due += p.interval
        if p.reads and places:
            for _ in range(round(p.reads * p.nodes * span / DAY)):
                group.create_task(_read(world, rng.uniform(0, span), rng.choice(peers), rng.choice(places)))
        group.create_task(world.run(seconds=span))

    share = DAY / span / p.nodes
    used = dict.fromkeys(PURPOSES.values(), 0.0)
    for index, (old, _) in before.items():
        for purpose, total in tallies[index].bytes.items():
            used[purpose] = used.get(purpose, 0.0) + (total - old[purpose]) * share
    for purpose, bytes_a_day in used.items():
        world.metrics.value(f"{purpose} a day", bytes_a_day, "B/node")
    whole = sum(used.values())
    world.metrics.value("all a day", whole, "B/node")
    datagrams = sum(sum(tallies[index].datagrams.values()) - sum(old.values()) for index, (_, old) in before.items())
    world.metrics.value("datagrams a day", datagrams * share, "1/node")
    if p.records:
        kept = (used["publish"] + used["repair"]) / p.records
        world.metrics.value("kept alive", kept, "B/record and day")
        world.metrics.expect("put.success", at_least=0.99)
        # A walk and twenty copies for each record and hour, by one of its holders: what an hourly repair comes to.
        world.metrics.expect("repair a day", at_most=24 * 50_000 * p.records)
        if p.reads:
            world.metrics.expect("get.success", at_least=0.99)
    world.metrics.expect("all a day", at_most=50e6)


async def _publish(world: World, peer: Peer, key: IdentityKey, seq: int) -> bytes:
    life = NodeConfig.model_fields["record_ttl"].default
    expires = world.queue.now + life
    record = sign_record(key, Kind.MUTABLE, bytes(200), seq=seq, expires=expires, salt=b"republish")
    await world.put_record(record, peer)
    return record.place


async def _anew(world: World, peer: Peer, key: IdentityKey, due: float) -> None:
    await world.run(seconds=due)
    now = world.queue.now
    place = sign_record(key, Kind.MUTABLE, b"", seq=0, expires=now + DAY, salt=b"republish").place
    there = await world.get(place, by=peer, kind="check")
    seq = max((record.seq for record in there.records), default=1)
    await _publish(world, peer, key, seq + 1)


async def _read(world: World, due: float, by: Peer, place: bytes) -> None:
    await world.run(seconds=due)
    await world.get(place, by=by)
