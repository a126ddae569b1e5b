"""One neighbour in a topic: its stream, the task that reads it and the one that writes to it.

Decides that a slow reader slows the writer and nobody else, and how a stream ends in good order. Refuses to know what
messages mean: `node.protocols.topic_mesh` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from dht.errors import DecodeError
from dht.identity import PublicKey
from node.ports import LinkError, Stream, StreamEnded, StreamMisuse, StreamReset
from node.protocols.topic_mesh import TopicMesh
from node.protocols.topic_messages import (
    LENGTH,
    MAX_MESSAGE,
    Leave,
    TopicMessage,
    TopicRefusal,
    decode_topic_message,
    framed,
)

GREETING_TIMEOUT: Final = 10.0
"""Seconds the other end has to say its first message. UNSOURCED"""

FAREWELL_TIMEOUT: Final = 2.0
"""Seconds a neighbour gets to take our farewell. UNSOURCED"""

CROSSING: Final = 2.0
"""Seconds in which a stream that the peer opened before it knew of ours may still come. UNSOURCED"""

CUT = (StreamEnded, StreamReset, StreamMisuse, LinkError)
"""What a stream that ended raises."""


async def read_frame(stream: Stream) -> bytes:
    """The bytes of one message. Raises `DecodeError` for one that is too long, or one of `CUT`."""
    (length,) = LENGTH.unpack(await stream.read_exactly(LENGTH.size))
    if not 1 <= length <= MAX_MESSAGE:
        raise DecodeError("topic message", f"{length} bytes, at most {MAX_MESSAGE} are allowed")
    return await stream.read_exactly(length)


async def read_greeting(stream: Stream) -> TopicMessage:
    """The first message, in time. Raises `DecodeError`, `TimeoutError`, or one of `CUT`."""
    async with asyncio.timeout(GREETING_TIMEOUT):
        return decode_topic_message(await read_frame(stream))


class TopicWire:
    """One neighbour's."""

    def __init__(
        self,
        peer: PublicKey,
        stream: Stream,
        mesh: TopicMesh,
        now: Callable[[], float],
        on_read: Callable[[], None],
        *,
        initiated: bool,
        app_version: int,
        in_mesh: bool,
    ) -> None:
        """`on_read` is called after each message was taken in."""
        self.peer = peer
        self.initiated = initiated
        self.app_version = app_version
        self.in_mesh = in_mesh
        self.since = now()
        self.used = now()
        """When it last had something for us or we for it."""
        self.ending: TopicRefusal | None = None
        self.said_farewell = False
        self._stream = stream
        self._mesh = mesh
        self._now = now
        self._on_read = on_read
        self._wake = asyncio.Event()
        self._cut: asyncio.Future[tuple[TopicRefusal, str]] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """There is something to write."""
        self._wake.set()

    def end(self, reason: TopicRefusal) -> None:
        """Say farewell, and end."""
        self.ending = reason
        self._wake.set()

    def lost(self, reason: TopicRefusal, detail: str) -> None:
        """End at once, without a word."""
        if not self._cut.done():
            self._cut.set_result((reason, detail))

    async def run(self) -> tuple[TopicRefusal, str]:
        """Read and write until one of them ends; returns why."""
        tasks = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._write())]
        try:
            done, _ = await asyncio.wait([self._cut, *tasks], return_when=asyncio.FIRST_COMPLETED)
            return next(one.result() for one in (self._cut, *tasks) if one in done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> tuple[TopicRefusal, str]:
        try:
            while True:
                data = await read_frame(self._stream)
                self.used = self._now()
                self._mesh.receive_message(data, self.peer, self._now())
                self._on_read()
                pause = self._mesh.pause(self.peer, self._now())
                if pause > 0:
                    await asyncio.sleep(pause)
        except (DecodeError, *CUT) as error:
            return TopicRefusal.UNSPECIFIED, str(error)

    async def _write(self) -> tuple[TopicRefusal, str]:
        try:
            while self.ending is None:
                message = self._mesh.take(self.peer, self._now())
                if message is None:
                    await self._wake.wait()
                    self._wake.clear()
                    continue
                self.used = self._now()
                await self._stream.write(message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_TIMEOUT):
                    # What the app had said before it left goes first.
                    while (message := self._mesh.take(self.peer, self._now())) is not None:
                        await self._stream.write(message)
                    await self._stream.write(framed(Leave(self.ending)))
                    await self._stream.close()
                    self.said_farewell = True
            return self.ending, ""
        except CUT as error:
            return TopicRefusal.UNSPECIFIED, str(error)
