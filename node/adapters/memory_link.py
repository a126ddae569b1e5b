"""Two ends of a link inside one process: the second implementation of the `Link` port, for tests and simulations.

Decides delay, capacity and how the path can break. It runs the same multiplexer and shell as the real link, on
whatever clock the event loop has, so what holds on it holds on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from dht.identity import PublicKey
from node.adapters.stream_link import StreamLink
from node.ports import LinkEnd, LinkFault
from node.protocols.stream_events import (
    StreamConfig,
)

DEFAULT_CAPACITY: Final = 262_144
"""Bytes under way before the sender must wait; the same order as the WebRTC adapter's queue."""


class MemoryChannel:
    """One direction pair of a memory link."""

    def __init__(self, delay: float, capacity: int) -> None:
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self._capacity = capacity
        self._under_way = 0
        self._open = True
        self._started = False
        self._early: list[bytes] = []
        self.other: MemoryChannel | None = None

    def start(self) -> None:
        """Deliver what came so far, and everything from now on."""
        self._started = True
        for message in self._early:
            self._loop.call_soon(self.on_message, message)
        self._early.clear()

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        return self._capacity - self._under_way if self._open else 0

    @property
    def idle(self) -> bool:
        """Whether everything handed over was delivered."""
        return self._under_way == 0 or not self._open

    def send(self, message: bytes) -> None:
        """Hand over one message."""
        if not self._open:
            return
        self._under_way += len(message)
        if self._delay:
            self._loop.call_later(self._delay, self._deliver, message)
        else:
            self._loop.call_soon(self._deliver, message)

    async def close(self) -> None:
        """Stop; the other end learns of it when it was not told before."""
        if self._open:
            self._open = False
            if self.other is not None and self.other._open:
                self._loop.call_soon(self.other.lost, LinkEnd(LinkFault.LOST, "the other end went away"))

    def lost(self, end: LinkEnd) -> None:
        """Break this end as a dead path would."""
        if self._open:
            self._open = False
            self.on_closed(end)

    def _deliver(self, message: bytes) -> None:
        full = self.room <= 0
        self._under_way -= len(message)
        other = self.other
        if self._open and other is not None and other._open:
            if other._started:
                other.on_message(message)
            else:
                other._early.append(message)
        if full and self.room > 0:
            self.on_room()


class MemoryChannelPair:
    """Both ends of a channel; `break_path` makes it go dead for both at once."""

    def __init__(self, *, delay: float = 0.0, capacity: int = DEFAULT_CAPACITY) -> None:
        self.near = MemoryChannel(delay, capacity)
        self.far = MemoryChannel(delay, capacity)
        self.near.other, self.far.other = self.far, self.near

    def break_path(self, detail: str = "the path was broken") -> None:
        """Lose everything under way and end both ends."""
        end = LinkEnd(LinkFault.LOST, detail)
        self.near.lost(end)
        self.far.lost(end)


class MemoryLinkPair:
    """Both ends of one link."""

    def __init__(
        self,
        dialler: PublicKey,
        listener: PublicKey,
        *,
        delay: float = 0.0,
        capacity: int = DEFAULT_CAPACITY,
        config: StreamConfig | None = None,
    ) -> None:
        self._channels = MemoryChannelPair(delay=delay, capacity=capacity)
        self.near = StreamLink(self._channels.near, listener, initiated=True, config=config)
        self.far = StreamLink(self._channels.far, dialler, initiated=False, config=config)

    def break_path(self, detail: str = "the path was broken") -> None:
        """Lose everything under way and end both links."""
        self._channels.break_path(detail)

    async def close(self) -> None:
        """Close both ends."""
        await self.near.close()
        await self.far.close()
