"""Sybils: attackers spread over the network, or crowding the place of one record.

    rookery simulate sweep sybil --vary share=0.1,0.2,0.3,0.5 --vary behaviour=wrong-neighbours
    rookery simulate sweep sybil --vary placement=addresses --vary attackers=20,50,100

Attackers are ordinary nodes until the attack begins, so that everybody's tables know them. Then honest nodes write a
newer version of each record, and others read it: by one path, and by several that share no node (S/Kademlia,
Baumgart and Mies 2007, section 4.4).
"""

from __future__ import annotations

import asyncio
import math
from typing import Literal

from pydantic import Field

from dht.identity import IdentityKey
from dht.records import Kind, SignedRecord, sign_record
from simulations.attackers import ATTACKERS, Plot, attacker, invented
from simulations.errors import BadScenario
from simulations.modelled import tabulate
from simulations.scenario import ModelRun, scenario
from simulations.seats import Seat, everywhere, one_address, one_network
from simulations.settings import Parameters
from simulations.workload import RECORD_LIFE, GetOutcome
from simulations.world import World


class Sybil(Parameters):
    """What share of reads is right while attackers, many or well placed, lie, hide or keep silent."""

    nodes: int = Field(200, ge=30, description="honest nodes")
    behaviour: Literal["silent", "slow", "wrong-neighbours", "bogus-neighbours", "denying", "stale"] = Field(
        "denying", description="what attackers do once the attack is on"
    )
    placement: Literal["uniform", "addresses", "network", "address"] = Field(
        "uniform",
        description="ids anywhere; or near one record, by addresses of the attacker's choice, one /24, or one address",
    )
    share: float = Field(0.2, ge=0, lt=1, description="attackers' share of all nodes, where placed uniformly")
    attackers: int = Field(20, ge=1, le=2032, description="attackers, where placed near a record")
    records: int = Field(30, ge=1, description="records, where attackers are placed uniformly; else there is one")
    reads: int = Field(150, ge=1, description="reads for each number of paths")
    lookups: int = Field(
        4, ge=0, description="look-ups of each honest node before, which tell it how large the network is"
    )
    renewed: bool = Field(True, description="whether owners write a newer version during the attack")


PATHS = (1, 4, 8)

MODELLED = {"silent": "silent", "denying": "empty", "wrong-neighbours": "collude"}
"""What the model engine knows of behaviours. Its `empty` names nobody, so it does more harm than `denying`."""


def modelled(run: ModelRun, p: Sybil) -> None:
    """The same by the model engine: of records that were written before the attack, and by one path only."""
    from simulations.model import ModelWorld

    if p.behaviour not in MODELLED or p.placement not in ("uniform", "addresses"):
        raise BadScenario(
            f"the model engine plays behaviour {', '.join(MODELLED)} and placement uniform or addresses, "
            f"not {p.behaviour} and {p.placement}"
        )
    uniform = p.placement == "uniform"
    nodes = round(p.nodes / (1 - p.share)) if uniform else p.nodes
    world = ModelWorld(
        nodes,
        run.seed,
        latency=run.world.latency,
        loss=run.world.loss,
        adversaries=p.share if uniform else 0.0,
        behaviour=MODELLED[p.behaviour],
    )
    with run.metrics.during("d=1"):
        tabulate(run.metrics, "get", world.reads(p.reads, crowd=0 if uniform else p.attackers, progress=run.progress))
    right = run.metrics.figure("get.success", phase="d=1")
    run.metrics.value("right d=1", right)
    run.metrics.value("denied d=1", 1 - right)
    run.metrics.value("requests d=1", run.metrics.figure("get.requests", phase="d=1"))


@scenario("sybil", "Attackers by number and placement", Sybil, model=modelled)
async def sybil(world: World, p: Sybil) -> None:
    """Let everybody join, begin the attack, write, and read."""
    world.planned = p.nodes / 50 + 150 + p.reads * len(PATHS) / 10
    honest = world.add(p.nodes, group="honest")
    await world.settle()
    await world.run(minutes=1)
    with world.metrics.during("before"):
        for _ in range(p.lookups):
            await asyncio.gather(*(world.find_node(by=peer) for peer in honest))

    owners = world.streams.stream("sybil/owners")
    crowded = p.placement != "uniform"
    keys = [IdentityKey.from_seed(owners.randbytes(32)) for _ in range(1 if crowded else p.records)]
    first = [_signed(world, key, seq=1) for key in keys]
    with world.metrics.during("before"):
        for record in first:
            await world.put_record(record, world.asker(honest))

    with world.metrics.during("before"):
        world.metrics.value("false alarms", _flagged(await world.gets(p.reads, first, by=honest)))

    plot = Plot(place=int.from_bytes(first[0].place, "big") if crowded else None)
    if p.behaviour == "bogus-neighbours":
        plot.named = invented(500, world.streams.stream("sybil/invented"))
    count = p.attackers if crowded else round(p.nodes * p.share / (1 - p.share))
    if count:
        node = attacker(
            world,
            plot,
            ATTACKERS[p.behaviour],
            seats=_seats(world, p, first[0].place, count),
            known=p.behaviour != "bogus-neighbours",
        )
        world.add(count, group="sybil", node=node)
    await world.settle()
    await world.run(minutes=1)
    _how_near(world, first[0].place)

    plot.attacking = True
    world.metrics.mark("the attack begins")
    with world.metrics.during("attack"):
        newest = first
        if p.renewed:
            newest = [_signed(world, key, seq=2) for key in keys]
            for record in newest:
                await world.put_record(record, world.asker(honest))
    for paths in PATHS:
        with world.metrics.during(f"d={paths}"):
            outcomes = await world.gets(p.reads, newest, by=honest, paths=paths)
        _judge(world, outcomes, paths)

    world.metrics.expect("false alarms", at_most=0.01)
    if p.placement == "addresses" and p.lookups:
        world.metrics.expect("right d=1", at_least=0.99)
        if p.behaviour in ("denying", "stale", "wrong-neighbours"):  # who is dead, slow or made up is no crowd
            world.metrics.expect("flagged d=1", at_least=0.996)
    if p.placement in ("network", "address"):
        # One network is in a table and in a replica set twice at most, one address owns eight places: no use.
        world.metrics.expect("right d=1", at_least=0.99)
    if not crowded and p.share <= 0.2:
        world.metrics.expect("right d=1", at_least=0.97)
        world.metrics.expect("right d=8", at_least=0.99)


def _signed(world: World, key: IdentityKey, seq: int) -> SignedRecord:
    expires = world.queue.now + RECORD_LIFE
    return sign_record(key, Kind.MUTABLE, bytes(100), seq=seq, expires=expires, salt=b"sybil")


def _seats(world: World, p: Sybil, place: bytes, count: int) -> list[Seat]:
    rng = world.streams.stream("sybil/seats")
    if p.placement == "addresses":
        # Two bits more than the nearest honest node shares: nearer than all of them.
        return everywhere(place, count, min(21, math.ceil(math.log2(p.nodes)) + 2), rng)
    if p.placement == "network":
        return one_network(place, count, rng)
    return one_address(place, count, rng) if p.placement == "address" else []


def _how_near(world: World, place: bytes) -> None:
    """How many of the 20 nodes nearest to the place are attackers."""
    number = int.from_bytes(place, "big")
    nearest = sorted(world.living, key=lambda peer: peer.contact.long_id ^ number)[:20]
    world.metrics.value("attackers of nearest 20", sum(peer.group == "sybil" for peer in nearest))


def _flagged(outcomes: list[GetOutcome]) -> float:
    """The share of reads that noticed a crowd."""
    return sum(outcome.done is not None and outcome.done.stats.crowded for outcome in outcomes) / len(outcomes)


def _judge(world: World, outcomes: list[GetOutcome], paths: int) -> None:
    for verdict, reason in (("right", ""), ("denied", "not-found"), ("stale", "stale")):
        share = sum(outcome.reason == reason for outcome in outcomes) / len(outcomes)
        world.metrics.value(f"{verdict} d={paths}", share)
    world.metrics.value(f"flagged d={paths}", _flagged(outcomes))
    world.metrics.value(f"requests d={paths}", world.metrics.figure("get.requests", phase=f"d={paths}"))
