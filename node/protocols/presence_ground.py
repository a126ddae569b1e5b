"""What the parts of gossip stand on: settings, timers, links, and where messages and events go.

Decides the numbers. Refuses to know what any part does.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from dht.identity import IdentityKey
from node.protocols.presence_beats import Beat, Card, Pledge, Verdicts
from node.protocols.presence_events import PresenceEvent
from node.protocols.presence_wire import Message, encode

CLOCK_TOLERANCE: Final = 7200.0
"""Seconds that a beat may come from the future, as with signals (`signaling_guard`)."""


@dataclass(frozen=True, slots=True)
class PresenceSettings:
    """How gossip runs. Seconds, but for counts."""

    interval: float = 10.0
    """Between beats to neighbours."""
    refresh: float = 1800.0
    """Between refreshments that go to all. UNSOURCED: a quarter of what a node hears when few come and go."""
    active: int = 5
    """Neighbours: HyParView's active view, log10(10,000) + 1 (Leitão et al. 2007, section 5.1)."""
    passive: int = 30
    """Peers kept to become neighbours, as there."""
    dials: bool = True
    """Whether it opens links to find neighbours; not on battery."""
    book: int = 2048
    """Peers remembered. UNSOURCED: 2 MB."""
    news_per_minute: float = 30.0
    """News of others that a node hears, to which it keeps its horizon. UNSOURCED: 350 bytes each are 175 B/s."""
    first_horizon: int = 10
    """Hops of the horizon at the start. UNSOURCED: some thousand nodes."""
    shuffle: float = 60.0
    """Between exchanges of passive peers. UNSOURCED: HyParView says 'periodically'."""
    digest: float = 60.0
    """Between digests. UNSOURCED"""
    lazy: float = 0.5
    """For which names of news are gathered for neighbours beside the tree. UNSOURCED"""
    graft: float = 1.0
    """After which news that was named and did not come is asked for; a round trip more than `lazy`. UNSOURCED"""
    probes: int = 5
    """Questions to a silent neighbour before it is accused. UNSOURCED: 30 % loss each way loses all in 1 case of 29."""
    probe_gap: float = 1.0
    """Between them; SWIM's time-out is 0.5 s in a machine room (memberlist, `DefaultLANConfig`), 3 s on WANs."""
    suspicion_least: float = 5.0
    """From enough accusers to death: the owner's answer has to come meanwhile, through 8 hops of 0.1 s, with repairs of
    1 s; then the neighbours are asked. UNSOURCED"""
    suspicion_most: float = 30.0
    """From one accuser to death or doubt: 6 times the least, as memberlist has it."""
    pledge: float = 600.0
    """That a pledge to a neighbour holds; renewed at half of it. Bounds how long a former neighbour may accuse."""
    quorum: int = 3
    """Accusers of most; fewer where there are few neighbours. UNSOURCED: half of five."""

    @classmethod
    def at(cls, interval: float, **more: Any) -> PresenceSettings:
        """Settings for another interval between beats: suspicions last as many of them as they do at 10 s."""
        least = max(3.0, 0.5 * interval)
        return cls(interval=interval, suspicion_least=least, suspicion_most=6 * least, **more)

    @property
    def expiry(self) -> float:
        """Seconds after which a peer of which nothing new has come is no longer taken to be there."""
        return 2.5 * self.refresh


class Timers:
    """What is due when."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = itertools.count()

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Call `call(*args, now)` at a time."""
        heapq.heappush(self._heap, (when, next(self._number), call, args))

    def next(self) -> float | None:
        """The next time."""
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now:
            _, _, call, args = heapq.heappop(self._heap)
            call(*args, now)


@dataclass(slots=True)
class LinkState:
    """One link as gossip sees it."""

    peer: bytes
    direct: bool
    opened: float
    may: bool = False
    """Whether the other end has said that it may be a neighbour."""
    greeted: bool = False
    hellos: int = 0
    neighbour: bool = False
    asked: float = 0.0
    """When we asked it to be one."""
    eager: bool = True
    """Whether it hears news at once, rather than their names."""
    heard: float = 0.0
    card_sent: bytes = b""
    pledge: Pledge | None = None
    """Its word that we are its neighbour."""
    pledged_at: float = 0.0
    """When we gave it ours."""
    probes: int = 0
    probe_at: float = 0.0
    silent: bool = False
    faults: int = 0
    """Signatures that did not hold."""
    lazy: list[bytes] = field(default_factory=list)
    answered: float = 0.0
    """When a probe was answered."""
    wants: dict[bytes, float] = field(default_factory=dict)
    """Keys it seeks, and until when."""


@dataclass(slots=True)
class Ground:
    """What every part is given."""

    key: IdentityKey
    settings: PresenceSettings
    rng: Random
    verdicts: Verdicts
    own: bytes = b""
    timers: Timers = field(default_factory=Timers)
    links: dict[bytes, LinkState] = field(default_factory=dict)
    outbox: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Bytes and the peer they go to."""
    events: deque[PresenceEvent] = field(default_factory=deque)
    counters: Counter[str] = field(default_factory=Counter)
    said: tuple[Beat, Card] | None = None
    """Our own newest news."""
    interests: frozenset[bytes] = frozenset()
    """Keys of peers somebody here cares for: never forgotten."""
    sought: frozenset[bytes] = frozenset()
    """Those of them that may be asked for: neighbours learn who is."""

    def send(self, peer: bytes, message: Message) -> None:
        """Hand a message over."""
        self.outbox.append((encode(message), peer))

    def emit(self, event: PresenceEvent) -> None:
        """Report."""
        self.events.append(event)

    @property
    def neighbours(self) -> list[LinkState]:
        """The active view."""
        return [link for link in self.links.values() if link.neighbour]
