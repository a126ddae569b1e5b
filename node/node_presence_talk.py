"""Gossip over one link: a stream of framed messages each way.

Decides framing and how far a slow peer may lag. Refuses to know what the messages say.

    length 2 ‖ message
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from node.ports import Link, LinkError, LinkFault, Stream, StreamEnded, StreamMisuse, StreamReset
from node.protocols.presence_wire import MAX_MESSAGE

BACKLOG: Final = 262_144
"""Bytes that may wait for a slow peer; then its gossip ends until the next link. UNSOURCED: 700 news."""


class Talk:
    """One link's gossip."""

    def __init__(self, link: Link, stream: Stream) -> None:
        self.link = link
        self._stream = stream
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._more = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while nothing waits to be sent."""
        self.idle.set()

    def send(self, message: bytes) -> None:
        """Hand a message over; never blocks. One too many ends the talk."""
        if self._waiting > BACKLOG:
            self._stream.reset()
            return
        framed = len(message).to_bytes(2, "big") + message
        self._queue.append(framed)
        self._waiting += len(framed)
        self.idle.clear()
        self._more.set()

    async def run(self, take: Callable[[bytes], None]) -> None:
        """Send what is handed over, and give `take` what comes, until the stream or the link ends."""
        writing = asyncio.get_running_loop().create_task(self._write())
        try:
            while True:
                length = int.from_bytes(await self._stream.read_exactly(2), "big")
                if length > MAX_MESSAGE:
                    self._stream.reset()
                    return
                take(await self._stream.read_exactly(length))
        except (StreamEnded, StreamReset, LinkError, StreamMisuse):
            return
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                while self._queue:
                    framed = b"".join(self._queue)
                    self._queue.clear()
                    await self._stream.write(framed)
                    self._waiting -= len(framed)
                self.idle.set()
        except (StreamReset, LinkError, StreamMisuse):
            self.idle.set()

    @property
    def lost(self) -> bool:
        """Whether the link broke, rather than that somebody closed it or the stream."""
        if not self.link.closed.done() or self.link.closed.cancelled():
            return False
        orderly = (LinkFault.CLOSED_BY_US, LinkFault.CLOSED_BY_PEER)
        return self.link.closed.result().fault not in orderly
