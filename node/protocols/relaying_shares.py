"""Who may send next through a relay, when it has less to give than its circuits want.

Decides by token buckets (a relay's, a peer's, a circuit's) and by start-time fair queueing (Goyal, Vin, Cheng, 1996):
of two circuits that want more than there is each gets as much, whatever the size of its pieces. Refuses to know what
the bytes are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

LARGEST_PIECE: Final = 65_536
"""Bytes that are asked for at once, at most. UNSOURCED: the largest message of a channel"""

BURST: Final = 0.25
"""Seconds of its rate that a bucket holds: what a circuit may send at once after a rest. UNSOURCED"""


LEAST_WAIT: Final = 0.002
"""Seconds: shorter ones are lost in the rounding of loops' clocks, and of sums of Unix times."""


class Bucket:
    """Bytes that flow in at a rate. A piece may go while it is not empty, and is then owed: pieces need no cutting."""

    __slots__ = ("_level", "_rate", "_size", "_time")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._size = max(rate * BURST, LARGEST_PIECE)
        self._level = self._size
        self._time = now

    def wait(self, now: float) -> float:
        """Seconds until something may go; 0 at once."""
        if now > self._time:
            self._level = min(self._size, self._level + (now - self._time) * self._rate)
            self._time = now
        return 0.0 if self._level > 0 else max(LEAST_WAIT, (1 - self._level) / self._rate)

    def take(self, size: int) -> None:
        """Let a piece go."""
        self._level -= size


@dataclass(slots=True, eq=False)
class Flow:
    """One direction of one circuit."""

    buckets: tuple[Bucket, ...]
    """Its circuit's, and its peers'."""
    size: int = 0
    """Bytes it asks for now."""
    start: float = 0.0
    """Virtual time at which what it asks for starts."""
    finish: float = 0.0
    """Virtual time at which what it sent last is over."""


class Shares:
    """The buckets of one relay, and the flows that wait for them."""

    def __init__(self, total: float, peer: float, now: float) -> None:
        """Bytes a second: `total` of the relay, `peer` of each peer."""
        self._total = Bucket(total, now)
        self._peer_rate = peer
        self._peers: OrderedDict[Hashable, tuple[Bucket, int]] = OrderedDict()
        self._waiting: dict[int, Flow] = {}
        self._virtual = 0.0
        self._due: float | None = None

    def flows(self, rate: float, peers: tuple[Hashable, Hashable], now: float) -> tuple[Flow, Flow]:
        """Both directions of a new circuit of so many bytes a second between `peers`."""
        buckets = (Bucket(rate, now), *(self._join(peer, now) for peer in dict.fromkeys(peers)))
        return Flow(buckets), Flow(buckets)

    def leave(self, flows: tuple[Flow, Flow], peers: tuple[Hashable, Hashable]) -> None:
        """The circuit has ended."""
        for flow in flows:
            self._waiting.pop(id(flow), None)
        for peer in dict.fromkeys(peers):
            bucket, circuits = self._peers[peer]
            if circuits == 1:
                del self._peers[peer]
            else:
                self._peers[peer] = bucket, circuits - 1

    def ask(self, flow: Flow, size: int, now: float) -> bool:
        """Ask to send `size` bytes, at most 64 KiB. Whether it may be done at once; otherwise `grant` will say."""
        flow.size = size
        flow.start = max(self._virtual, flow.finish)
        if not self._waiting and not self._blocked(flow, now):
            self._let_go(flow)
            return True
        self._waiting[id(flow)] = flow
        self._due = now if self._due is None else min(self._due, now)
        return False

    def grant(self, now: float) -> Flow | None:
        """The flow whose turn has come, which may send what it asked for.

        One at a time: it may ask again before the next has its turn, or who asks for little would get less.
        """
        self._due = None
        # Who has had least goes first. One that its own bucket holds up lets the others pass.
        for flow in sorted(self._waiting.values(), key=lambda flow: flow.start):
            if wait := self._total.wait(now):
                self._remind(now + wait)
                return None
            if wait := self._blocked(flow, now):
                self._remind(now + wait)
                continue
            self._let_go(flow)
            del self._waiting[id(flow)]
            if self._waiting:
                self._remind(now)
            return flow
        return None

    def next_timer(self) -> float | None:
        """When `grant` is to be called."""
        return self._due

    def _join(self, peer: Hashable, now: float) -> Bucket:
        bucket, circuits = self._peers.get(peer) or (Bucket(self._peer_rate, now), 0)
        self._peers[peer] = bucket, circuits + 1
        return bucket

    def _blocked(self, flow: Flow, now: float) -> float:
        return max(self._total.wait(now), *(bucket.wait(now) for bucket in flow.buckets))

    def _let_go(self, flow: Flow) -> None:
        self._virtual = max(self._virtual, flow.start)
        flow.finish = flow.start + flow.size
        self._total.take(flow.size)
        for bucket in flow.buckets:
            bucket.take(flow.size)

    def _remind(self, at: float) -> None:
        self._due = at if self._due is None else min(self._due, at)
