"""Peers that somebody cares for, beyond what a node hears by itself.

Decides whom to ask for them, how far a question travels, and who is told of changes afterwards. Refuses to know why
somebody cares.

A question goes to the neighbours and theirs; whoever knows the peer answers with its newest signed beat, and tells
what is new of it for five minutes, wherever the horizon lies.
"""

from __future__ import annotations

from typing import Final

from dht.constants import KEY_BYTES
from dht.limits import RateLimiter
from node.protocols import presence_wire as wire
from node.protocols.presence_book import Book, Entry
from node.protocols.presence_events import State
from node.protocols.presence_ground import Ground, LinkState
from node.protocols.presence_spread import Spread
from node.protocols.presence_watch import WANTS_AT_MOST

SEEK_HOPS: Final = 2
"""Hops a question travels after the first: three new nodes a hop. UNSOURCED"""
SEEK_EVERY: Final = 120.0
WANT_FOR: Final = 300.0
"""Seconds that a peer is told of what it seeks; asked for again before that. UNSOURCED"""
SEEK_RATE, SEEK_BURST = 1.0, 64.0
"""Keys a second of one link that are sought further on. Bounds what a question makes others ask: 20 messages each."""


class Seeking:
    """Asks for peers, and answers."""

    def __init__(self, ground: Ground, book: Book, spread: Spread) -> None:
        self._ground = ground
        self._book = book
        self._spread = spread
        self._allowed = RateLimiter(SEEK_RATE, SEEK_BURST)

    def seek_due(self, now: float) -> None:
        """Ask again for interests of which news would not come by itself."""
        far = [key for key in sorted(self._ground.sought) if self._beyond(key)]
        if far:
            self.ask(far)
        self._ground.timers.at(now + SEEK_EVERY, self.seek_due)

    def _beyond(self, key: bytes) -> bool:
        if key in self._ground.links:
            return False
        entry = self._book.get(key)
        return entry is None or entry.state is State.OFFLINE or entry.hops > self._spread.horizon

    def ask(self, keys: list[bytes], hops: int = SEEK_HOPS, besides: bytes = b"") -> bool:
        """Ask the neighbours; false when there is none."""
        asked = False
        for link in self._ground.neighbours:
            if link.peer != besides:
                asked = True
                for at in range(0, len(keys), wire.MAX_SOUGHT):
                    self._ground.send(link.peer, wire.Seek(hops, b"".join(keys[at : at + wire.MAX_SOUGHT])))
        return asked

    def on_seek(self, link: LinkState, message: wire.Seek, now: float) -> None:
        """A linked peer asks."""
        further: list[bytes] = []
        for key in wire.split(message.keys, KEY_BYTES):
            if key not in link.wants and len(link.wants) >= WANTS_AT_MOST:
                self._ground.counters["over the link's wants"] += 1
                break
            link.wants[key] = now + WANT_FOR
            entry, said = self._book.get(key), self._ground.said
            if key == self._ground.own and said is not None:
                self._ground.send(link.peer, wire.News([wire.Told(1, said[0].raw, said[1].raw)], pushed=False))
                continue
            if entry is not None and entry.state is not State.OFFLINE:
                self._tell(link, entry)
            far = entry is None or entry.hops > self._spread.horizon
            if far and message.hops and self._allowed.allow(link.peer, now):
                further.append(key)
        if further:
            self.ask(further, message.hops - 1, link.peer)

    def _tell(self, link: LinkState, entry: Entry) -> None:
        hops = min(entry.hops + 1, wire.MAX_HOPS)
        self._ground.send(link.peer, wire.News([wire.Told(hops, entry.beat.raw, entry.card.raw)], pushed=False))

    def expire(self, now: float) -> None:
        """Forget what is no longer sought."""
        for link in self._ground.links.values():
            if link.wants:
                link.wants = {key: until for key, until in link.wants.items() if until > now}
