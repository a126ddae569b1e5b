"""A network of gossip that has long been there: nodes with neighbours, pledges, and books of their surroundings.

Decides the state in which a network is that grew long ago: a random graph of neighbours, a horizon that brings what a
node wants to hear, everybody known as far as that, and times of refreshment that lie anywhere. So 10,000 nodes need not
join one after another, which would take longer than all that is measured afterwards. Refuses to skip anything from then
on. That a network which really grew does the same is measured beside it, at 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from statistics import median
from typing import Final

from node.protocols.presence_ground import PresenceSettings
from node.protocols.presence_spread import FARTHEST, NEAREST
from simulations.gossip import GossipNode, GossipWorld, MakePresence

SAMPLE: Final = 50
"""Nodes whose surroundings are counted to set the horizon of all. UNSOURCED"""


def start_settled(
    world: GossipWorld, nodes: list[GossipNode], rng: Random, makes: Mapping[int, MakePresence] = {}
) -> None:
    """Let these be a network that has been there for longer than a refreshment takes; `makes`, by index, are for nodes
    that are not ordinary."""
    settings, now = world.settings, world.queue.now
    for node in nodes:
        world.prepare(node, now - rng.random() * settings.refresh, makes.get(node.index))
        while (due := node.presence.next_timer()) is not None and due <= now:
            node.presence.handle_timer(due)
    graph = _neighbours(nodes, settings.active, rng)
    for node in nodes:
        for other in graph[node.index]:
            _be_neighbours(node, other, now)
    _exchange_pledges(world, nodes, now)
    horizon = _horizon(graph, nodes, settings, rng)
    for node in nodes:
        node.presence.spread.horizon = horizon
        for other, hops, via in _around(graph, node, horizon):
            said = other.presence.ground.said
            assert said is not None
            node.presence.book.learn(*said, hops, via.name, now)
        for one in rng.sample(nodes, min(settings.passive, len(nodes))):
            if node.presence.book.get(one.name) is not None:
                node.presence.views.remember(one.name)
        node.presence.ground.events.clear()
        node.presence.ground.outbox.clear()
        world.drain(node)


def _neighbours(nodes: list[GossipNode], count: int, rng: Random) -> dict[int, list[GossipNode]]:
    """A random graph in which each has so many neighbours, or one or two fewer: stubs paired by chance."""
    stubs = [node for node in nodes for _ in range(count)]
    rng.shuffle(stubs)
    graph: dict[int, list[GossipNode]] = {node.index: [] for node in nodes}
    for one, other in zip(stubs[::2], stubs[1::2], strict=False):
        if one is not other and other not in graph[one.index]:
            graph[one.index].append(other)
            graph[other.index].append(one)
    return graph


def _be_neighbours(node: GossipNode, other: GossipNode, now: float) -> None:
    presence = node.presence
    presence.add_link(other.name, now)
    link = presence.ground.links[other.name]
    link.greeted = link.may = True
    presence.views.become(link)


def _exchange_pledges(world: GossipWorld, nodes: list[GossipNode], now: float) -> None:
    """Let everybody say who its neighbours are, and pledge, at no time at all."""
    for node in nodes:
        node.presence.ground.outbox.clear()
        node.presence.views.changed = False
        node.presence.own.announce(now)
        node.presence.ground.outbox.clear()
        for link in node.presence.ground.neighbours:
            node.presence.own.renew_pledge(link, now)
    for node in nodes:
        for data, name in node.presence.messages_to_send(now):
            other = world.named(name)
            assert other is not None
            other.presence.receive_message(data, node.name, now)


def _around(
    graph: dict[int, list[GossipNode]], node: GossipNode, hops: int
) -> Iterator[tuple[GossipNode, int, GossipNode]]:
    """Whoever is so near, by how many hops, and by which neighbour."""
    seen = {node.index}
    edge = [(other, other) for other in graph[node.index]]
    seen.update(other.index for other, _ in edge)
    for distance in range(1, hops + 1):
        further = []
        for one, via in edge:
            yield one, distance, via
            for other in graph[one.index]:
                if other.index not in seen:
                    seen.add(other.index)
                    further.append((other, via))
        edge = further


def _horizon(
    graph: dict[int, list[GossipNode]], nodes: list[GossipNode], settings: PresenceSettings, rng: Random
) -> int:
    """The most hops within which there is no more news than a node wants to hear, were refreshments all."""
    some = rng.sample(nodes, min(SAMPLE, len(nodes)))
    most = settings.news_per_minute * settings.refresh / 60
    before = 0.0
    for hops in range(NEAREST, FARTHEST):
        reached = median(sum(1 for _ in _around(graph, node, hops)) for node in some)
        if reached > most:
            return max(NEAREST, hops - 1)
        if reached == before:
            return hops
        before = reached
    return FARTHEST
