"""Which offers deserve work: never one twice, not from one sender too often, not from strangers too many.

Decides by session, sender and time. Refuses to know boxes and what an offer holds.

Why nothing is taken twice, ever: a session id is kept for as long as its time lies in the window, and the number of
strangers' offers taken in that span is bounded by a rate, so the memory of them has a bound that a flood cannot reach.
After a restart the memory is empty; a replay then earns an answer sealed to the true sender, and nothing else.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Final

from dht.records import CLOCK_TOLERANCE

SENDER_BURST: Final = 6.0
SENDER_RATE: Final = 0.2
"""Offers of one sender, at once and a second after that. UNSOURCED: a person pressing the button again and again."""

STRANGER_BURST: Final = 50.0
STRANGER_RATE: Final = 1.0
"""Offers of all strangers together: bounds the replay memory to 4 h x 1/s + 50 = 14,450 sessions (3 MB; a time may lie
2 h ahead and counts until it is 2 h back), and the signatures made for strangers. UNSOURCED: a busy node's new
acquaintances."""

KNOWN_BURST: Final = 100.0
KNOWN_RATE: Final = 2.0
"""The same for all peers we know, together: 28,900 sessions at most. UNSOURCED"""

MAX_SENDERS: Final = 1024
"""Senders whose rate is kept; the longest silent is forgotten. UNSOURCED: the shared rate bounds what that gains."""

MAX_KNOWN: Final = 256
"""Peers that strangers' floods cannot crowd out. UNSOURCED: more than a node holds links."""

Session = tuple[bytes, bytes]
"""Sender's key and session id."""


class _Bucket:
    """A token bucket."""

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._when = 0.0

    def take(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._when) * self._rate)
        self._when = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Guard:
    """Remembers sessions and rates."""

    def __init__(self) -> None:
        self._seen: set[Session] = set()
        self._order: list[tuple[float, Session]] = []
        self._senders: OrderedDict[bytes, _Bucket] = OrderedDict()
        self._strangers = _Bucket(STRANGER_RATE, STRANGER_BURST)
        self._acquaintances = _Bucket(KNOWN_RATE, KNOWN_BURST)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def make_known(self, peer: bytes) -> None:
        """Count a peer no longer among strangers: we called it, or hold a link with it."""
        self._known[peer] = None
        self._known.move_to_end(peer)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def in_window(self, time: float, now: float) -> bool:
        """Whether a sender's clock is near enough to ours."""
        return abs(time - now) <= CLOCK_TOLERANCE

    def seen(self, session: Session) -> bool:
        """Whether it was taken before."""
        return session in self._seen

    def remember(self, session: Session, time: float, now: float) -> None:
        """Take it: never again while its time lies in the window."""
        while self._order and self._order[0][0] < now:
            self._seen.discard(heapq.heappop(self._order)[1])
        self._seen.add(session)
        heapq.heappush(self._order, (time + CLOCK_TOLERANCE, session))

    def allow(self, sender: bytes, now: float) -> bool:
        """Whether one more offer, or one more word, of this sender is within the rates."""
        bucket = self._senders.get(sender)
        if bucket is None:
            bucket = self._senders[sender] = _Bucket(SENDER_RATE, SENDER_BURST)
            if len(self._senders) > MAX_SENDERS:
                self._senders.popitem(last=False)
        self._senders.move_to_end(sender)
        shared = self._acquaintances if sender in self._known else self._strangers
        return bucket.take(now) and shared.take(now)
