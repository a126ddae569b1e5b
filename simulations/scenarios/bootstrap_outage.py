"""The servers of the first-contact list die: half of them, then all.

Who has been here before must come back by its saved contacts. Who is new needs one living server of the list, and
tries others when the first ones are silent.
"""

from __future__ import annotations

import math

from pydantic import Field

from dht.events import ContactAdded, Event
from simulations.observations import living_contacts, until
from simulations.peers import Peer
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

ENOUGH = 20
"""Living contacts with which a newcomer has arrived: a full bucket (k of the Kademlia paper)."""


class BootstrapOutage(Parameters):
    """Newcomers and returning nodes while the list's servers are alive, partly dead, all dead, and back again."""

    nodes: int = Field(200, ge=30, description="size of the network, besides the list's servers")
    dead: float = Field(0.5, ge=0, lt=1, description="share of the list that is dead in the second act")
    newcomers: int = Field(40, ge=1, description="nodes that join for the first time in each act")
    returning: float = Field(0.25, gt=0, lt=1, description="share of the nodes that restart in each act")
    patience: float = Field(60, gt=0, description="seconds that newcomers and returning nodes are watched")


class Act:
    """One state of the list: newcomers arrive, some nodes restart, and both are watched."""

    def __init__(self, world: World, p: BootstrapOutage, name: str) -> None:
        self.world, self.p, self.name = world, p, name
        self.born: dict[int, float] = {}
        self.arrived: dict[int, float] = {}

    async def play(self) -> list[Peer]:
        """Play it; gives the newcomers."""
        world, p = self.world, self.p
        world.metrics.mark(f"list: {self.name}")
        world.watchers.append(self.watch)
        newcomers: list[Peer] = []
        for _ in range(p.newcomers):
            self.born[len(world.peers)] = world.queue.now
            newcomers += world.add(1, group="newcomer", spread=0.0)
            await world.run(seconds=0.25)
        there = world.group("server")
        back = world.kill(
            peers=world.streams.stream(f"returning/{self.name}").sample(there, round(p.returning * len(there)))
        )
        await world.run(minutes=2)
        world.restart(back, spread=5)
        await until(world, lambda: all(peer.joined for peer in (*back, *newcomers)), within=p.patience)
        world.watchers.remove(self.watch)

        value = world.metrics.value
        value(f"newcomers in, list {self.name}", len(self.arrived) / len(newcomers))
        value(f"rejoined, list {self.name}", sum(peer.joined for peer in back) / len(back))
        took = sorted(self.arrived.values())
        for percent in (50, 95):
            nearest_rank = math.ceil(percent / 100 * len(took)) - 1
            value(f"newcomers p{percent}, list {self.name}", took[nearest_rank] if took else math.nan, "s")
        return newcomers

    def watch(self, peer: Peer, event: Event, now: float) -> None:
        """Time the moment in which a newcomer knows enough of the living."""
        if not isinstance(event, ContactAdded) or peer.index not in self.born or peer.index in self.arrived:
            return
        if living_contacts(self.world, peer) >= ENOUGH:
            self.arrived[peer.index] = now - self.born[peer.index]


@scenario("bootstrap-outage", "The servers of the list die", BootstrapOutage, bootstraps=10)
async def bootstrap_outage(world: World, p: BootstrapOutage) -> None:
    """All of the list alive, part of it dead, all of it dead, and all of it back."""
    world.planned = p.nodes / 50 + 4 * (p.newcomers / 4 + 120) + 2 * p.patience
    world.add(p.nodes)
    await world.settle()
    await world.run(minutes=2)
    await Act(world, p, "alive").play()

    world.kill(peers=world.bootstraps[: round(p.dead * len(world.bootstraps))])
    await Act(world, p, f"{p.dead:.0%} dead").play()

    world.kill(peers=world.bootstraps)
    outside = await Act(world, p, "all dead").play()

    world.restart(world.bootstraps)
    world.metrics.mark("list: back")
    world.metrics.value(
        "shut out got in after", await until(world, lambda: all(one.joined for one in outside), within=120), "s"
    )

    part = f"list {p.dead:.0%} dead"
    world.metrics.expect("newcomers in, list alive", at_least=0.99)
    world.metrics.expect(f"newcomers in, {part}", at_least=0.99)
    world.metrics.expect(f"newcomers p95, {part}", at_most=3.0)
    world.metrics.expect(f"rejoined, {part}", at_least=0.99)
    world.metrics.expect("rejoined, list all dead", at_least=0.99)
    # The pause between two tries to join grows to a minute and a fifth.
    world.metrics.expect("shut out got in after", at_most=90)
