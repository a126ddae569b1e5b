"""Records that are followed: who in this program wants to hear of which place, and what each has heard.

Decides how many may follow one place (any number, by one subscription) and what a slow reader misses (all but the
newest). Refuses to know how the DHT tells of changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.errors import DecodeError
from dht.events import HoldersChanged, RecordChanged, RecordLapsed
from dht.records import Kind, SignedRecord
from node.driver import Driver
from node.protocols.peer_record import PeerRecord

BEHIND: Final = 64
"""News a slow reader may be behind before the oldest are left out for it: only the newest record counts. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class RecordNews:
    """A record that is followed has changed."""

    event: str
    """record: there is a newer one, or there is one at all; lapsed: it has expired, and none has come in its place;
    holders: other nodes than before tell of changes."""
    time: float
    """Unix seconds."""
    place: bytes
    record: SignedRecord | None
    """The newest; of `lapsed` the one that expired; None when there is none."""
    holders: int
    """Nodes that tell of changes."""
    via: Contact | None = None
    """The node that told of it; None when it was read."""

    # No property: those are part of what it says in JSON.
    def peer(self) -> PeerRecord | None:
        """What a peer record says; None for other records, and for one this release does not understand."""
        if self.record is None or self.record.kind is not Kind.PEER:
            return None
        try:
            return PeerRecord.from_bytes(self.record.payload)
        except DecodeError:
            return None


class _Reader:
    """One who follows a place."""

    def __init__(self) -> None:
        self.news: deque[RecordNews] = deque(maxlen=BEHIND)
        self.arrived = asyncio.Event()

    def push(self, news: RecordNews) -> None:
        """Hand it over."""
        self.news.append(news)
        self.arrived.set()


class Watches:
    """Who follows what."""

    def __init__(self, driver: Driver[DhtEngine]) -> None:
        self._driver = driver
        self._readers: dict[bytes, list[_Reader]] = {}
        self._ended = False
        driver.subscribe(RecordChanged, self._on_change)
        driver.subscribe(RecordLapsed, self._on_lapse)
        driver.subscribe(HoldersChanged, self._on_holders)

    async def follow(self, place: bytes) -> AsyncGenerator[RecordNews, None]:
        """Yield what is at a place (20 bytes) now, then every change, until closed or the node stops."""
        reader = _Reader()
        readers = self._readers.setdefault(place, [])
        readers.append(reader)
        try:
            if len(readers) == 1:
                self._driver.command(lambda engine, now: engine.watching.watch(place, now))
            elif (known := self._driver.engine.watching.newest(place)) is not None:
                reader.push(self._news("record", place, known))
            while not self._ended:
                await reader.arrived.wait()
                reader.arrived.clear()
                while reader.news and not self._ended:
                    yield reader.news.popleft()
        finally:
            readers.remove(reader)
            if not readers and self._readers.pop(place, None) is not None and not self._ended:
                self._driver.command(lambda engine, now: engine.watching.unwatch(place, now))

    def end(self) -> None:
        """The node stops: whoever follows something has come to the end."""
        self._ended = True
        for readers in self._readers.values():
            for reader in readers:
                reader.arrived.set()

    def _on_change(self, event: RecordChanged) -> None:
        self._tell(self._news("record", event.place, event.record, event.via))

    def _on_lapse(self, event: RecordLapsed) -> None:
        self._tell(self._news("lapsed", event.place, event.record))

    def _on_holders(self, event: HoldersChanged) -> None:
        self._tell(self._news("holders", event.place, self._driver.engine.watching.newest(event.place)))

    def _news(self, event: str, place: bytes, record: SignedRecord | None, via: Contact | None = None) -> RecordNews:
        holders = len(self._driver.engine.watching.holders(place))
        return RecordNews(event, self._driver.now(), place, record, holders, via)

    def _tell(self, news: RecordNews) -> None:
        for reader in self._readers.get(news.place, ()):
            reader.push(news)
