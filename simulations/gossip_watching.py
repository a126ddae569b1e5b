"""What becomes known in a network of gossip: who learned what and when, what was wrong, who agrees.

Decides what counts as a false death and as a lie believed, and who should have heard of a node. Refuses to make
anything happen.
"""

from __future__ import annotations

from collections import defaultdict

from node.protocols.presence_events import CameOnline, PresenceEvent, State, Suspected, WentOffline, Why
from simulations.gossip import GossipNode, GossipWorld


class Watching:
    """Who learned what, and when."""

    def __init__(self, gossip: GossipWorld) -> None:
        self._gossip = gossip
        self.timed: set[bytes] = set()
        """Peers whose joins and deaths are timed: to keep them of all would take n² numbers."""
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
            if event.owner in self.timed:
                self.online[event.owner].setdefault(node.index, now)
        elif isinstance(event, Suspected | WentOffline) and event.owner in self.timed:
            self.offline[event.owner].setdefault(node.index, now)
        if isinstance(event, WentOffline):
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


def agreement(gossip: GossipWorld, asked: list[GossipNode]) -> float:
    """Share of what the nodes asked know of living nodes at all that says these are there."""
    living, online = {node.name for node in gossip.living}, State.ONLINE
    right = known = 0
    for node in asked:
        states = [entry.state for owner, entry in node.presence.book if owner in living]
        known += len(states)
        right += states.count(online)
    return right / max(1, known)


def reach(gossip: GossipWorld, node: GossipNode) -> set[int]:
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
