"""What every part of a world stands on: the clock, the network, the peers and what is recorded.

Decides who counts as living and who is chosen at random. Refuses to know what happens to peers and what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from dht.events import Event
from simulations.errors import BadScenario
from simulations.events import EventQueue
from simulations.metrics import Metrics
from simulations.network import Network
from simulations.peers import Peer
from simulations.randomness import Streams
from simulations.trace import Trace

Watcher = Callable[[Peer, Event, float], object]
"""`watch(peer, event, now)`: sees every event of every engine."""


class Ground:
    """The base of a world."""

    def __init__(self, seed: int, queue: EventQueue, network: Network, streams: Streams, trace: Trace) -> None:
        self.seed = seed
        self.queue = queue
        self.network = network
        self.streams = streams
        self.trace = trace
        self.started = queue.now
        self.metrics = Metrics(seed, lambda: self.elapsed)
        self.peers: list[Peer] = []
        self.living: list[Peer] = []
        """In no order that means anything, but the same in every run of one seed."""
        self.bootstraps: list[Peer] = []
        """The first contacts on everybody's list, whether they live or not."""
        self.watchers: list[Watcher] = []
        self.planned = 0.0
        """Virtual seconds the run will take, for progress; 0 where nobody said."""
        self._victims_rng = streams.stream("world/victims")

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the world began."""
        return self.queue.now - self.started

    def group(self, name: str) -> list[Peer]:
        """The peers added under that name."""
        found = [peer for peer in self.peers if peer.group == name]
        if not found:
            groups = dict.fromkeys(peer.group for peer in self.peers)
            raise BadScenario(f"there is no group {name!r}: there are {', '.join(groups)}")
        return found

    def on_start(self, peer: Peer) -> None:
        """Count a peer among the living."""
        peer.slot = len(self.living)
        self.living.append(peer)

    def on_stop(self, peer: Peer) -> None:
        """Count a peer among them no more."""
        # The last one takes the place, so that a death costs the same in a large world as in a small one.
        last = self.living.pop()
        if last is not peer:
            self.living[peer.slot] = last
            last.slot = peer.slot
        peer.slot = -1

    def chosen(self, fraction: float | None, peers: Iterable[Peer] | None) -> list[Peer]:
        """A random share of the living, in order of their numbers, or the peers given."""
        if (fraction is None) == (peers is None):
            raise BadScenario("say who: give either a fraction of the living (0 to 1), or peers")
        if peers is not None:
            return list(peers)
        assert fraction is not None
        if not 0 <= fraction <= 1:
            raise BadScenario(f"fraction = {fraction!r} is no share of the living: expected 0 to 1")
        picked = self._victims_rng.sample(self.living, round(fraction * len(self.living)))
        return sorted(picked, key=lambda peer: peer.index)

    def shares(self, fractions: Iterable[float], rng: Random) -> list[list[Peer]]:
        """All peers dealt out at random into groups of the given shares."""
        parts = list(fractions)
        if not all(part > 0 for part in parts) or sum(parts) > 1 + 1e-9:
            raise BadScenario(f"fractions = {parts!r} are no shares: expected numbers above 0, together at most 1")
        order = rng.sample(self.peers, len(self.peers))
        groups, first = [], 0
        for part in parts:
            last = min(len(order), first + round(part * len(order)))
            groups.append(sorted(order[first:last], key=lambda peer: peer.index))
            first = last
        return groups
