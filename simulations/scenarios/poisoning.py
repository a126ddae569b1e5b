"""Attackers who want to stand in as many tables as they can: they ask around without end, and name only one another.

    rookery simulate sweep poisoning --vary prefixes=0,4
    rookery simulate run poisoning --set prefixes=4 --set limited=false

Only who answered enters a table, old contacts stay, and of one /24 two are in a bucket and ten in a table. The scenario
counts attackers in honest tables after an hour, by what networks they have.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from pydantic import Field

from dht.constants import ID_BYTES, KEY_BYTES
from dht.identity import NodeKey
from simulations.attackers import Plot, WrongNeighbours, attacker, invented
from simulations.peers import Peer
from simulations.scenario import scenario
from simulations.seats import FIRST_PORT, Seat
from simulations.settings import Parameters
from simulations.world import World


class Poisoning(Parameters):
    """What share of honest tables attackers get, who have few networks or as many as the honest."""

    nodes: int = Field(150, ge=20, description="nodes, attackers among them")
    share: float = Field(0.2, gt=0, le=0.8, description="attackers' share of the nodes")
    prefixes: int = Field(4, ge=0, le=255, description="networks (/24) that attackers have; 0: one each, as the honest")
    minutes: float = Field(60.0, gt=0, description="how long they try")
    pace: float = Field(60.0, gt=0, description="seconds between an attacker's look-ups of random places")
    made_up: bool = Field(False, description="whether they name contacts that do not exist rather than one another")
    limited: bool = Field(True, description="whether tables limit the contacts of a network, as they should")
    records: int = Field(10, ge=1, description="records that are read in the end")
    reads: int = Field(100, ge=1, description="reads in the end")


@scenario("poisoning", "Attackers crowd into tables", Poisoning)
async def poisoning(world: World, p: Poisoning) -> None:
    """Let the honest join, then the attackers; let them ask around, and look into the tables of the honest."""
    world.planned = p.nodes / 50 + 60 + p.minutes * 60 + p.reads / 10
    if not p.limited:
        # As if there were no rule: more than there are nodes, in a table and in a bucket.
        world.config = replace(world.config, bucket_prefix_limit=p.nodes, table_prefix_limit=p.nodes)
    count = round(p.nodes * p.share)
    plot = Plot(attacking=True)
    rng = world.streams.stream("poisoning/seats")
    honest = world.add(p.nodes - count, group="honest")
    await world.settle()
    seats = _few_networks(count, p.prefixes, rng) if p.prefixes else []
    if p.made_up:
        plot.named = invented(500, rng)
    bad = world.add(count, group="bad", node=attacker(world, plot, WrongNeighbours, seats=seats, known=not p.made_up))
    await world.settle()
    world.metrics.mark("attackers ask around")
    for _ in range(round(p.minutes * 60 / p.pace)):
        for peer in bad:
            world.queue.after(rng.uniform(0, p.pace), lambda peer=peer: _ask_around(peer, rng))
        await world.run(seconds=p.pace)

    bad_keys, living = {peer.engine.own_key for peer in bad}, {peer.engine.own_key for peer in world.living}
    tables = [[contact.key for contact in peer.engine.table] for peer in honest]
    shares = sorted(sum(key in bad_keys for key in table) / len(table) for table in tables)
    most = max(sum(key in bad_keys for key in table) for table in tables)
    world.metrics.value("attackers' share of tables", sum(shares) / len(shares))
    world.metrics.value("attackers' share of the worst table", shares[-1])
    world.metrics.value("most attackers in a table", most)
    world.metrics.value("contacts in a table", sum(map(len, tables)) / len(tables))
    world.metrics.value("contacts that do not exist", sum(key not in living for table in tables for key in table))
    records = [await world.put(by=world.asker(honest)) for _ in range(p.records)]
    with world.metrics.during("after"):
        await world.gets(p.reads, records, by=honest)
    world.metrics.expect("contacts that do not exist", at_most=0)
    if p.limited and p.prefixes:
        world.metrics.expect("most attackers in a table", at_most=p.prefixes * world.config.table_prefix_limit)
    if p.share <= 0.2:
        world.metrics.expect("get.success", at_least=0.99, phase="after")


def _few_networks(count: int, prefixes: int, rng: Random) -> list[Seat]:
    """Addresses in so many /24s, outside of those where a world's peers live."""
    return [
        Seat(NodeKey.from_secret(rng.randbytes(KEY_BYTES)), (f"14.7.{at % prefixes}.{1 + at // prefixes}", FIRST_PORT))
        for at in range(count)
    ]


def _ask_around(peer: Peer, rng: Random) -> None:
    """Ask those nearest to some place, so that they ask back and come to know the asker."""
    if peer.host is not None:
        target = rng.randbytes(ID_BYTES)
        peer.host.command(lambda engine, now: engine.find_node(target, now))
