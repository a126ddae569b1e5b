"""IPv4 and IPv6 in one network: who has one family finds what who has the other has stored.

    rookery simulate run families --seeds 1,2

Most peers have IPv4 alone, some IPv6 alone, the rest both. Those of each kind store records; those of each kind read
them, at once and when there was time to carry them over. Beside it stands what peers of each kind send.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import Field

from simulations.peers import Peer
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.workload import PutOutcome
from simulations.world import World
from simulations.world_stacks import keep_apart, with_stack

CARRIED_WITHIN: Final = 30.0
"""Seconds after which a record is expected in both families: holders take turns for 22 s (`dht.repair_bridge`)."""


class Mixed(Parameters):
    """A network of servers of all three kinds."""

    nodes: int = Field(300, ge=20, description="servers")
    v4: float = Field(0.6, ge=0, le=1, description="part of them with IPv4 alone")
    v6: float = Field(0.1, ge=0, le=1, description="part of them with IPv6 alone; the rest has both")


class Families(Mixed):
    """Whether records stored over one family are found over the other, and what having both costs."""

    records: int = Field(30, ge=1, description="records stored by peers of each kind")
    reads: int = Field(60, ge=1, description="reads by peers of each kind of records of each")
    quiet: int = Field(60, ge=1, description="minutes over which upkeep is measured")


@scenario("families", "IPv4 and IPv6 find each other", Families, loss=0.01)
async def families(world: World, p: Families) -> None:
    """Store by peers of each kind, read by peers of each kind."""
    world.planned = 120 + p.nodes / 50 + 2 * CARRIED_WITHIN + 60 * p.quiet + 3 * (3 * p.records + 9 * p.reads) / 10
    peers = await mixed(world, p)
    await world.run(minutes=2)
    before = {stack: _sent(world, of_it) for stack, of_it in peers.items()}
    await world.run(minutes=p.quiet)
    for stack, of_it in peers.items():
        rate = (_sent(world, of_it) - before[stack]) / len(of_it) / p.quiet
        world.metrics.value(f"bytes sent a minute by a {stack} peer, quiet", rate)
    stored: dict[str, Sequence[PutOutcome]] = {}
    for stack, of_it in peers.items():
        with world.metrics.during(f"stored by {stack}"):
            stored[stack] = await world.puts(p.records, by=of_it)
    await world.run(seconds=CARRIED_WITHIN)
    for writer in peers:
        for reader, readers in peers.items():
            with world.metrics.during(f"{writer} to {reader}"):
                await world.gets(p.reads, stored[writer], by=readers)
            world.metrics.expect("get.success", at_least=0.99, phase=f"{writer} to {reader}")
    engines = [peer.engine for peer in world.living]
    for what in ("carried", "carried_in_part", "carried_already"):
        world.metrics.value(f"records {what.replace('_', ' ')}", sum(engine.counters[what] for engine in engines))


async def mixed(world: World, p: Mixed) -> dict[str, list[Peer]]:
    """Grow a network of peers of all kinds; says who is of which."""
    keep_apart(world)
    for one in world.bootstraps:
        one.make = with_stack(world, "dual")
    world.kill(peers=world.bootstraps, keep_state=False)
    world.restart(world.bootstraps, spread=0.0)
    parts = {"v4": p.v4, "v6": p.v6, "dual": 1 - p.v4 - p.v6}
    peers = {
        stack: world.add(max(1, round(p.nodes * part)), group=stack, node=with_stack(world, stack))
        for stack, part in parts.items()
        if part > 0
    }
    await world.settle()
    return peers


def _sent(world: World, peers: Sequence[Peer]) -> int:
    hosts = [world.network.host(address[0]) for peer in peers for address in (peer.address, peer.second) if address]
    return sum(host.bytes_sent for host in hosts)
