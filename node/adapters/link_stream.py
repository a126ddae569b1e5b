"""One stream of a link, as a coroutine sees it.

Decides how a reader and a writer wait. Refuses to know about frames and credit, which the multiplexer keeps.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from node.ports import LinkError, StreamEnded, StreamMisuse, StreamReset
from node.protocols.stream_events import (
    ResetCode,
    UnknownStream,
)

if TYPE_CHECKING:
    from node.adapters.stream_link import StreamLink


class LinkStream:
    """One stream of a `StreamLink`."""

    def __init__(self, link: StreamLink, number: int, name: str) -> None:
        self._link = link
        self._number = number
        self._name = name
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._failure: StreamReset | None = None
        self._ended = False
        self._finished = False

    @property
    def name(self) -> str:
        """The name it was opened under."""
        return self._name

    @property
    def number(self) -> int:
        """Its number in the multiplexer."""
        return self._number

    async def read(self, max_bytes: int = 65536) -> bytes:
        """Return 1..max_bytes bytes, or b"" at the end."""
        while True:
            data = self._take(max_bytes)
            if data or self._ended:
                return data
            await self._wait_readable()

    async def read_exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises `StreamEnded` when the stream ends first."""
        data = self._take(count) if count else b""
        if len(data) == count:
            return data
        parts, missing = [data], count - len(data)
        while missing:
            data = await self.read(missing)
            if not data:
                raise StreamEnded(self._name, count, b"".join(parts))
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over `data`; returns when all of it is in bounded buffers."""
        self._check()
        if self._finished:
            raise StreamMisuse(f"stream {self._name!r} was closed for writing")
        if not isinstance(data, bytes):
            data = bytes(data)
        left: bytes | memoryview = data
        while True:
            try:
                accepted = self._link.mux.write(self._number, left)
            except UnknownStream:
                self._check()
                raise
            self._link.flush_soon()
            if accepted == len(left):
                return
            left = memoryview(left)[accepted:]
            if self._writable is None:
                self._writable = self._link.loop.create_future()
            await asyncio.shield(self._writable)
            self._check()

    async def close(self) -> None:
        """End our direction after everything written."""
        if self._finished or self._failure is not None or self._link.end is not None:
            return
        self._finished = True
        self._link.mux.finish(self._number)
        self._link.flush_soon()

    def reset(self, code: int = ResetCode.CANCELLED) -> None:
        """Drop the stream at once."""
        if self._failure is None:
            self.fail(StreamReset(self._name, code, by_peer=False))
            self._link.drop_stream(self._number, code)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._link.end is not None:
            raise LinkError(self._link.end)

    def _take(self, limit: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        link = self._link
        mux = link.mux
        try:
            data = mux.read(self._number, limit)
        except UnknownStream:
            data = b""
        if data:
            if mux.has_control:
                link.flush_soon()
            return data
        # A stream that ended well is readable to its end even after its link has gone.
        if mux.at_end(self._number):
            self._ended = True
        elif link.end is not None:
            raise LinkError(link.end)
        return b""

    async def _wait_readable(self) -> None:
        if self._readable is None:
            self._readable = self._link.loop.create_future()
        await asyncio.shield(self._readable)

    def wake_reader(self) -> None:
        """There is something to read."""
        if self._readable is not None:
            waiting, self._readable = self._readable, None
            if not waiting.done():
                waiting.set_result(None)

    def wake_writer(self) -> None:
        """There is room again."""
        if self._writable is not None:
            waiting, self._writable = self._writable, None
            if not waiting.done():
                waiting.set_result(None)

    def fail(self, failure: StreamReset | None) -> None:
        """The stream or its link has ended: wake everybody waiting, to find out why."""
        if failure is not None and self._failure is None:
            self._failure = failure
        self.wake_reader()
        self.wake_writer()
