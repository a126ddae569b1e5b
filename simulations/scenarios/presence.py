"""Who knows of whom by gossip, how soon, at what cost, and whom nobody can make believe a lie.

    rookery simulate run presence --set nodes=1000 --seeds 1

The real presence objects over links that just carry bytes (`simulations.gossip`): no DHT below, no ICE. Phases: joins,
quiet, deaths, a partition that heals. With `liars` that share of the nodes lies about others all the time. A false
death is that of a peer which lives, is in reach, and has a neighbour: a liar whom all shun is as good as gone.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from statistics import fmean, median
from typing import Final, Literal

from pydantic import Field

from node.protocols.presence_events import CameOnline, PresenceEvent, State, Suspected, WentOffline, Why
from node.protocols.presence_ground import PresenceSettings
from simulations.gossip import GossipNode, GossipWorld
from simulations.gossip_liars import make_liar
from simulations.gossip_rivals import STRATEGIES
from simulations.randomness import Streams
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

LIMIT: Final = 180.0
"""Seconds within which somebody who should know of a join or a death has to."""


class PresenceParameters(Parameters):
    """How soon peers know of joins, deaths and the end of a partition, and what it costs each of them."""

    nodes: int = Field(200, ge=10, description="nodes, all of which gossip")
    loss: float = Field(0.01, ge=0, lt=1, description="packets lost, which their link sends again")
    gone: float = Field(0.0, ge=0, lt=1, description="messages lost for good, which no data channel does")
    liars: float = Field(0.0, ge=0, lt=1, description="share of the nodes that lie about others")
    strategy: Literal["tree", "flooding", "random"] = Field("tree", description="how news is spread")
    within: float = Field(0.05, gt=0, description="seconds between starts of nodes")
    quiet: float = Field(5.0, ge=0, description="minutes in which nothing happens, for traffic and false deaths")
    churn: float = Field(0.0, ge=0, description="mean session, minutes, in those minutes; 0: nobody comes or goes")
    joins: int = Field(5, ge=0, description="joins that are timed")
    deaths: int = Field(5, ge=0, description="silent deaths that are timed")
    partition: float = Field(5.0, ge=0, description="minutes of a partition into halves; 0: none")
    budget: float = Field(30.0, gt=0, description="news a minute that a node wants to hear at most")
    horizon: int = Field(10, ge=2, description="hops of the horizon at the start")


class Watching:
    """Who learned what, and when."""

    def __init__(self, gossip: GossipWorld) -> None:
        self._gossip = gossip
        self.online: dict[bytes, dict[int, float]] = defaultdict(dict)
        self.offline: dict[bytes, dict[int, float]] = defaultdict(dict)
        """When a peer was suspected or taken for gone: who did not see it for itself knows no more than the former."""
        self.false_deaths = 0
        """Of peers that lived, and could be reached."""
        self.lies_believed = 0
        """Of these, those by accusation."""
        self.dying: set[bytes] = set()
        self.liars: set[int] = set()

    def __call__(self, node: GossipNode, event: PresenceEvent) -> None:
        """Take note."""
        now = self._gossip.queue.now
        if isinstance(event, CameOnline):
            self.online[event.owner].setdefault(node.index, now)
        elif isinstance(event, Suspected):
            self.offline[event.owner].setdefault(node.index, now)
        elif isinstance(event, WentOffline):
            self.offline[event.owner].setdefault(node.index, now)
            other = self._gossip.named(event.owner)
            lives = other is not None and other.alive and other.group == node.group and event.owner not in self.dying
            there = lives and other is not None and bool(other.presence.ground.neighbours)
            if there and node.index not in self.liars:  # A liar may believe what it likes.
                self.false_deaths += 1
                self.lies_believed += event.why is Why.ACCUSED and self._lied_about(node, event.owner)

    def _lied_about(self, node: GossipNode, owner: bytes) -> bool:
        """Whether it took liars to reach the number of accusers."""
        entry = node.presence.book.get(owner)
        if entry is None:
            return False
        accusers = [self._gossip.named(name) for name in entry.accusations or {}]
        honest = sum(one is not None and one.index not in self.liars for one in accusers)
        return honest < node.presence.book.accusers(entry)[1]


@scenario("presence", "Who is there, by gossip", PresenceParameters, latency="planetlab", bootstraps=1)
async def presence(world: World, p: PresenceParameters) -> None:
    """Join, be quiet, die, be cut in two and meet again."""
    settings = PresenceSettings(news_per_minute=p.budget, first_horizon=p.horizon)
    streams = Streams(world.seed)
    gossip = GossipWorld(
        world.queue,
        streams,
        world.latency,
        loss=p.loss,
        gone=p.gone,
        settings=settings,
        make_spread=STRATEGIES[p.strategy],
        trace=world.trace,
    )
    seen = gossip.on_event = Watching(gossip)
    growing = p.nodes * p.within
    world.planned = growing + 120 + 60 * (p.quiet + 2 * p.partition) + LIMIT * ((p.joins > 0) + (p.deaths > 0))
    liars = seen.liars = {node.index for node in _start(gossip, p, streams)}
    await world.run(seconds=growing + 120)
    await _quiet(world, gossip, seen, p)
    honest = [node for node in gossip.living if node.index not in liars]
    with world.metrics.during("joins"):
        await _joins(world, gossip, seen, p)
    with world.metrics.during("deaths"):
        await _deaths(world, gossip, seen, p, streams, honest)
    if p.partition:
        with world.metrics.during("partition"):
            await _partition(world, gossip, seen, p, streams)
    world.metrics.value("lies believed", seen.lies_believed)
    world.metrics.expect("lies believed", at_most=0)
    counters: dict[str, int] = defaultdict(int)
    for node in gossip.living:
        for name, count in node.presence.ground.counters.items():
            counters[name] += count
    for name, count in sorted(counters.items()):
        world.metrics.value(f"counted: {name}", count)


def _start(gossip: GossipWorld, p: PresenceParameters, streams: Streams) -> list[GossipNode]:
    """Start everybody, one after another; returns the liars."""
    nodes = [gossip.new() for _ in range(p.nodes)]
    liars = streams.stream("presence/liars").sample(nodes[1:], round(p.liars * p.nodes))
    lying = {node.index for node in liars}
    for number, node in enumerate(nodes):
        make = partial(make_liar, gossip) if node.index in lying else None
        gossip.queue.after(number * p.within, gossip.start, node, None, make)
    return liars


async def _quiet(world: World, gossip: GossipWorld, seen: Watching, p: PresenceParameters) -> None:
    """Nothing happens, or people come and go as ever: what it costs, and who is wrongly taken for dead."""
    nodes = gossip.living
    before = {node.index: node.bytes_sent for node in nodes}
    false = seen.false_deaths
    ends = gossip.queue.now + 60 * p.quiet
    if p.churn:
        rng = Streams(world.seed).stream("presence/churn")
        while gossip.queue.now < ends:
            await world.run(seconds=rng.expovariate(p.nodes / (60 * p.churn)))
            leaving = rng.choice(gossip.living)
            if rng.random() < 0.5:
                seen.dying.add(leaving.name)
                gossip.kill(leaving)
            else:
                gossip.leave(leaving)
            gossip.start(gossip.new())
    else:
        await world.run(minutes=p.quiet)
    if p.quiet:
        stayed = [node for node in nodes if node.alive]
        sent = [(node.bytes_sent - before[node.index]) / p.quiet for node in stayed]
        world.metrics.value("bytes sent a node a minute, mean", fmean(sent), "B")
        world.metrics.value("bytes sent a node a minute, p95", sorted(sent)[int(0.95 * len(sent))], "B")
        world.metrics.value("false deaths an hour, of all views", (seen.false_deaths - false) * 60 / p.quiet)
        views = sum(node.presence.book.known() for node in gossip.living)
        world.metrics.value("false deaths an hour a million views", (seen.false_deaths - false) * 6e7 / p.quiet / views)
    known = [node.presence.book.known() for node in gossip.living]
    world.metrics.value("peers known, median", median(known))
    world.metrics.value("peers known, least", min(known))
    world.metrics.value("horizon, median", median(node.presence.spread.horizon for node in gossip.living))
    world.metrics.value("neighbours, mean", fmean(len(node.presence.ground.neighbours) for node in gossip.living))


async def _joins(world: World, gossip: GossipWorld, seen: Watching, p: PresenceParameters) -> None:
    """Time until those who should know of a newcomer do."""
    newcomers: list[tuple[GossipNode, float]] = []
    for _ in range(p.joins):
        node = gossip.new()
        newcomers.append((node, gossip.queue.now))
        gossip.start(node)
        await world.run(seconds=5)
    if newcomers:
        await world.run(seconds=LIMIT)
        found = [_times(seen.online[node.name], started, _reach(gossip, node)) for node, started in newcomers]
        _tell(world, "join", found)


async def _deaths(
    world: World, gossip: GossipWorld, seen: Watching, p: PresenceParameters, streams: Streams, honest: list[GossipNode]
) -> None:
    """Time until those who thought a peer there know that it is dead."""
    rng = streams.stream("presence/deaths")
    killed: list[tuple[GossipNode, float, set[int]]] = []
    victims = rng.sample([node for node in honest if node.alive], p.deaths)
    for victim in victims:
        there = {
            node.index
            for node in gossip.living
            if node not in victims
            and (entry := node.presence.book.get(victim.name)) is not None
            and entry.state is not State.OFFLINE
        }
        seen.dying.add(victim.name)
        seen.offline.pop(victim.name, None)
        killed.append((victim, gossip.queue.now, there))
        gossip.kill(victim)
        await world.run(seconds=5)
    if killed:
        await world.run(seconds=LIMIT)
        _tell(world, "death", [_times(seen.offline[victim.name], at, there) for victim, at, there in killed])


async def _partition(
    world: World, gossip: GossipWorld, seen: Watching, p: PresenceParameters, streams: Streams
) -> None:
    """Cut the network in halves, and see how soon all agree again once it is whole."""
    living = gossip.living
    half = set(streams.stream("presence/halves").sample([node.index for node in living], len(living) // 2))
    gossip.split([[n for n in living if n.index not in half], [n for n in living if n.index in half]])
    await world.run(minutes=p.partition)
    world.metrics.value("views that agree at the end of it", _agreement(gossip))
    gossip.heal()
    healed = gossip.queue.now
    reached: dict[float, float] = {}
    while gossip.queue.now - healed < 60 * p.partition + 300:
        await world.run(seconds=2)
        share = _agreement(gossip)
        for level in (0.5, 0.95, 0.99, 1.0):
            if share >= level:
                reached.setdefault(level, gossip.queue.now - healed)
        if 1.0 in reached:
            break
    for level in (0.5, 0.95, 0.99, 1.0):
        if level in reached:
            world.metrics.value(f"until {level:.0%} of all views agree", reached[level], "s")
    world.metrics.value("views that agree in the end", _agreement(gossip))
    seen.dying.clear()


def _agreement(gossip: GossipWorld) -> float:
    """Share of pairs of living nodes of which the one knows of the other that it lives, of those it knows at all."""
    living = {node.name for node in gossip.living}
    right = known = 0
    for node in gossip.living:
        for owner, entry in node.presence.book:
            if owner in living:
                known += 1
                right += entry.state is State.ONLINE
    return right / max(1, known)


def _reach(gossip: GossipWorld, node: GossipNode) -> set[int]:
    """Who should know of a node: whom news of it gets to when every node passes it on as far as its horizon lets it."""
    distance = {node.index: 0}
    edge = [node]
    while edge:
        further = []
        for one in edge:
            hops = distance[one.index]
            if hops >= one.presence.spread.horizon:
                continue
            for link in one.presence.ground.neighbours:
                other = gossip.named(link.peer)
                if other is not None and other.alive and other.index not in distance:
                    distance[other.index] = hops + 1
                    further.append(other)
        edge = further
    del distance[node.index]
    return set(distance)


def _times(learned: dict[int, float], started: float, should: set[int]) -> tuple[list[float], int]:
    """Seconds for each who should know and does, and how many should."""
    return [at - started for index, at in learned.items() if index in should], len(should)


def _tell(world: World, what: str, found: list[tuple[list[float], int]]) -> None:
    times = sorted(seconds for one, _ in found for seconds in one if seconds <= LIMIT)
    should = sum(count for _, count in found)
    world.metrics.value(f"{what}: who should know", should / max(1, len(found)))
    world.metrics.value(f"{what}: of these know within {LIMIT:g} s", len(times) / max(1, should))
    for share in (0.5, 0.95, 0.99):
        # Of all who should know: who never learns is slower than anybody who does.
        at = int(share * should)
        if at < len(times):
            world.metrics.value(f"{what}: p{share * 100:.0f}", times[at], "s")
