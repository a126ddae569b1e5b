"""The home node's side of measuring a mapping: who wants to hear AGAIN, and when.

One datagram for one REGISTER_FOR, shorter than it, once, to the address that the registration proved: so nobody can
have more sent than it sent, nor to a third party. What could still be bundled is when they go out, which the rate for
each address bounds.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Final

from dht.contact import Contact
from dht.limits import RateLimiter, source_of

AGAIN_RATE: Final = 10.0
"""AGAINs a second sent to one address, and four times as many at once: 4 kB, far less than a second's answers may be.
UNSOURCED: thousands of phones behind one carrier's address share a home node rarely."""


class Reminders:
    """The latest wish of each entry."""

    def __init__(self) -> None:
        self.due = inf
        """When the next is to be sent, Unix seconds."""
        self._wanted: dict[bytes, tuple[float, int, Contact]] = {}
        self._order: list[tuple[float, int, bytes]] = []
        self._rate = RateLimiter(AGAIN_RATE, AGAIN_RATE * 4)

    def __len__(self) -> int:
        return len(self._wanted)

    def set(self, place: bytes, contact: Contact, rid: int, seconds: int, now: float) -> None:
        """Have `contact`, registered at `place`, hear of its request `rid` in so many seconds; 0: not at all. It takes
        the place of what was wanted before."""
        self._wanted.pop(place, None)
        if seconds:
            self._wanted[place] = now + seconds, rid, contact
            heapq.heappush(self._order, (now + seconds, rid, place))
            if len(self._order) > 2 * len(self._wanted) + 64:
                self._order = sorted((at, rid, place) for place, (at, rid, _) in self._wanted.items())
        self.due = self._order[0][0] if self._order else inf

    def take_due(self, now: float) -> list[tuple[Contact, int]]:
        """Who is to hear AGAIN now, and of which request; each once. Those beyond the rate hear nothing."""
        found: list[tuple[Contact, int]] = []
        while self._order and self._order[0][0] <= now:
            at, rid, place = heapq.heappop(self._order)
            wanted = self._wanted.get(place)
            if wanted is None or wanted[:2] != (at, rid):
                continue  # another wish came after it
            del self._wanted[place]
            if self._rate.allow(source_of(wanted[2].address), now):
                found.append((wanted[2], rid))
        self.due = self._order[0][0] if self._order else inf
        return found
