"""The base of all events of a node, the ring that keeps the last of them, and whoever follows them.

Decides how many are kept. Refuses to know which events there are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

log = logging.getLogger("rookery.node")

KEPT: Final = 1000
"""Events kept for `rookery log`. UNSOURCED: about a day of a quiet node, and a third of a megabyte."""

QUEUE: Final = 4096
"""Events a slow reader may be behind before the oldest are left out for it. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Base of all events."""

    time: float
    """Unix seconds."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        raise NotImplementedError

    @property
    def level(self) -> str:
        """How grave it is: debug, info, warning or error."""
        return "info"


class EventLog:
    """The last events, and whoever follows them."""

    def __init__(self) -> None:
        self._kept: deque[NodeEvent] = deque(maxlen=KEPT)
        self._followers: set[EventFeed] = set()

    def add(self, event: NodeEvent) -> None:
        """Keep an event and hand it to all who follow."""
        self._kept.append(event)
        log.log(logging.getLevelNamesMapping()[event.level.upper()], "%s", event.text)
        for follower in self._followers:
            follower.push(event)

    def recent(self) -> list[NodeEvent]:
        """The events kept, oldest first."""
        return list(self._kept)

    def follow(self) -> EventFeed:
        """New events from this call on."""
        feed = EventFeed(self._followers)
        self._followers.add(feed)
        return feed

    def end(self) -> None:
        """Tell all who follow that nothing more will come."""
        for follower in list(self._followers):
            follower.push(None)


class EventFeed(AsyncIterator[NodeEvent]):
    """One reader's events; subscribed from its making until `aclose`."""

    def __init__(self, registry: set[EventFeed]) -> None:
        self._registry = registry
        self._queue: asyncio.Queue[NodeEvent | None] = asyncio.Queue(QUEUE)

    def push(self, event: NodeEvent | None) -> None:
        """Hand an event over; a reader too slow loses its oldest."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(event)

    async def __anext__(self) -> NodeEvent:
        event = await self._queue.get()
        if event is None:
            await self.aclose()
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """Hear no more."""
        self._registry.discard(self)
