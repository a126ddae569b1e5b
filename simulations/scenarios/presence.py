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

from node.protocols.presence_events import State
from node.protocols.presence_ground import PresenceSettings
from simulations.gossip import GossipNode, GossipWorld
from simulations.gossip_liars import make_liar
from simulations.gossip_rivals import STRATEGIES
from simulations.gossip_settled import start_settled
from simulations.gossip_watching import Watching, agreement, reach
from simulations.randomness import Streams
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

LEVELS: Final = (0.5, 0.95, 0.99, 0.999, 1.0)
"""Shares of views that agree, of which the time is told."""


class PresenceParameters(Parameters):
    """How soon peers know of joins, deaths and the end of a partition, and what it costs each of them."""

    nodes: int = Field(200, ge=10, description="nodes, all of which gossip")
    loss: float = Field(0.01, ge=0, lt=1, description="packets lost, which their link sends again")
    gone: float = Field(0.0, ge=0, lt=1, description="messages lost for good, which no data channel does")
    liars: float = Field(0.0, ge=0, lt=1, description="share of the nodes that lie about others")
    strategy: Literal["tree", "flooding", "random"] = Field("tree", description="how news is spread")
    within: float = Field(0.05, gt=0, description="seconds between starts of nodes")
    settled: bool = Field(False, description="all have long been there, rather than start one after another")
    settle: float = Field(2.0, ge=0, description="minutes before anything is measured")
    quiet: float = Field(5.0, ge=0, description="minutes in which nothing happens, for traffic and false deaths")
    churn: float = Field(0.0, ge=0, description="mean session, minutes, in those minutes; 0: nobody comes or goes")
    joins: int = Field(5, ge=0, description="joins that are timed")
    deaths: int = Field(5, ge=0, description="silent deaths that are timed")
    patience: float = Field(180.0, gt=0, description="seconds in which who should know of a join or death has to")
    partition: float = Field(5.0, ge=0, description="minutes of a partition into halves; 0: none")
    agree: float = Field(1.0, gt=0, le=1, description="share of views that agree, after the partition, which ends it")
    observers: int = Field(300, ge=1, description="nodes, drawn by chance, that are asked whether they agree")
    budget: float = Field(30.0, gt=0, description="news a minute that a node wants to hear at most")
    horizon: int = Field(10, ge=2, description="hops of the horizon at the start")


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
        cheap=world.settings.seal == "cheap",
    )
    seen = gossip.on_event = Watching(gossip)
    growing = 0.0 if p.settled else p.nodes * p.within
    timed = p.patience * ((p.joins > 0) + (p.deaths > 0))
    world.planned = growing + timed + 60 * (p.settle + p.quiet + 2 * p.partition)
    liars = seen.liars = {node.index for node in _start(gossip, p, streams)}
    await world.run(seconds=growing + 60 * p.settle)
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
    makes = {node.index: partial(make_liar, gossip) for node in liars}
    if p.settled:
        start_settled(gossip, nodes, streams.stream("presence/settled"), makes)
        return liars
    for number, node in enumerate(nodes):
        gossip.queue.after(number * p.within, gossip.start, node, None, makes.get(node.index))
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
        seen.timed.add(node.name)
        newcomers.append((node, gossip.queue.now))
        gossip.start(node)
        await world.run(seconds=5)
    if newcomers:
        await world.run(seconds=p.patience)
        found = [_times(seen.online[node.name], started, reach(gossip, node)) for node, started in newcomers]
        _tell(world, p, "join", found)


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
        seen.timed.add(victim.name)
        seen.offline.pop(victim.name, None)
        killed.append((victim, gossip.queue.now, there))
        gossip.kill(victim)
        await world.run(seconds=5)
    if killed:
        await world.run(seconds=p.patience)
        _tell(world, p, "death", [_times(seen.offline[victim.name], at, there) for victim, at, there in killed])


async def _partition(
    world: World, gossip: GossipWorld, seen: Watching, p: PresenceParameters, streams: Streams
) -> None:
    """Cut the network in halves, and see how soon all agree again once it is whole."""
    living = gossip.living
    half = set(streams.stream("presence/halves").sample([node.index for node in living], len(living) // 2))
    gossip.split([[n for n in living if n.index not in half], [n for n in living if n.index in half]])
    await world.run(minutes=p.partition)
    asked = streams.stream("presence/observers").sample(living, min(p.observers, len(living)))
    world.metrics.value("views that agree at the end of it", agreement(gossip, asked))
    gossip.heal()
    healed = gossip.queue.now
    reached: dict[float, float] = {}
    share = 0.0
    while gossip.queue.now - healed < 60 * p.partition + 300 and share < p.agree:
        await world.run(seconds=2)
        share = agreement(gossip, asked)
        for level in LEVELS:
            if share >= level:
                reached.setdefault(level, gossip.queue.now - healed)
    for level, seconds in reached.items():
        world.metrics.value(f"until {level:g} of all views agree", seconds, "s")
    world.metrics.value("views that agree in the end", agreement(gossip, living))
    seen.dying.clear()


def _times(learned: dict[int, float], started: float, should: set[int]) -> tuple[list[float], int]:
    """Seconds for each who should know and does, and how many should."""
    return [at - started for index, at in learned.items() if index in should], len(should)


def _tell(world: World, p: PresenceParameters, what: str, found: list[tuple[list[float], int]]) -> None:
    times = sorted(seconds for one, _ in found for seconds in one if seconds <= p.patience)
    should = sum(count for _, count in found)
    world.metrics.value(f"{what}: who should know", should / max(1, len(found)))
    world.metrics.value(f"{what}: of these know within {p.patience:g} s", len(times) / max(1, should))
    for share in (0.5, 0.95, 0.99):
        # Of all who should know: who never learns is slower than anybody who does.
        at = int(share * should)
        if at < len(times):
            world.metrics.value(f"{what}: p{share * 100:.0f}", times[at], "s")
