"""Sending a file over a link.

Decides how the source is read and hashed off the event loop, and how every way to end becomes an outcome. Refuses to
decide messages (`node/protocols/transfer.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from dht.errors import LocalError
from node.adapters.file_outcomes import Broken, Progress, SendOutcome, next_event, say_goodbye
from node.adapters.file_store import BLOCK
from node.ports import Link, LinkError, Stream, StreamReset
from node.protocols.transfer import (
    STREAM_NAME,
    Accepted,
    Confirmed,
    FileOffer,
    Refused,
    SenderSide,
    TransferEvent,
    TransferFault,
    transfer_id,
)


async def send_file(link: Link, path: Path, *, on_progress: Progress | None = None) -> SendOutcome:
    """Send the file at `path`; resumes what an earlier attempt left at the receiver.

    Raises `LocalError` when the file cannot be read at all; every other end is an outcome. Cancelling the task tells
    the receiver.
    """
    path = Path(path)
    try:
        file = await asyncio.to_thread(_open_source, path)
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    try:
        status = os.fstat(file.fileno())
        return await _Sending(link, path.name, file, status.st_size, status.st_mtime_ns, on_progress).run()
    finally:
        await asyncio.to_thread(file.close)


class _Sending:
    """One attempt to send."""

    def __init__(
        self, link: Link, name: str, file: BinaryIO, size: int, mtime: int, on_progress: Progress | None
    ) -> None:
        self._link = link
        self._name = name
        self._file = file
        self._size = size
        self._mtime = mtime
        self._on_progress = on_progress
        self._hash = hashlib.sha256()
        self._sent = 0
        self._offset = 0
        self._amid_data = False
        self._side = SenderSide(FileOffer(transfer_id(name, size, mtime), name, size, mtime))

    async def run(self) -> SendOutcome:
        try:
            stream = await self._link.open_stream(STREAM_NAME)
        except LinkError as error:
            return self._outcome(TransferFault.LINK_LOST, str(error))
        try:
            return await self._over(stream)
        except Broken as broken:
            await self._give_up(stream, broken.fault, broken.detail)
            return self._outcome(broken.fault, broken.detail, by_peer=broken.by_peer)
        except StreamReset as reset:
            return self._outcome(TransferFault.LINK_LOST, str(reset), by_peer=True)
        except LinkError as error:
            return self._outcome(TransferFault.LINK_LOST, str(error))
        except asyncio.CancelledError:
            await self._give_up(stream, TransferFault.CANCELLED, "the sender cancelled")
            raise

    async def _give_up(self, stream: Stream, fault: TransferFault, detail: str) -> None:
        """Tell the receiver why; amid the data it would take the words for data, so only that it ends."""
        if self._amid_data:
            stream.reset()
            return
        self._side.refuse(fault, detail)
        await say_goodbye(self._side, stream)

    async def _over(self, stream: Stream) -> SendOutcome:
        await stream.write(self._side.data_to_send())
        accepted = await self._event(stream)
        if not isinstance(accepted, Accepted):
            raise Broken(TransferFault.PROTOCOL, "the receiver did not say whether it wants the file")
        await self._skip(accepted)
        self._side.start(self._offset)
        self._amid_data = self._offset < self._size
        await stream.write(self._side.data_to_send())
        watcher = asyncio.create_task(self._event(stream))
        try:
            await self._send_data(stream, watcher)
            self._side.end(self._hash.digest())
            await stream.write(self._side.data_to_send())
            confirmed = await watcher
        finally:
            watcher.cancel()
            await asyncio.wait([watcher])
        if not isinstance(confirmed, Confirmed) or confirmed.digest != self._hash.digest():
            raise Broken(TransferFault.HASH_MISMATCH, "the receiver confirmed something else")
        await stream.close()
        return self._outcome(None, "", stored_as=confirmed.name)

    async def _skip(self, accepted: Accepted) -> None:
        """Hash what the receiver has; if it is the beginning of our file, go on behind it."""
        left = accepted.have
        while left:
            block = await asyncio.to_thread(self._read_block, min(left, BLOCK))
            if not block:
                raise Broken(TransferFault.SOURCE_CHANGED, "the file became shorter")
            left -= len(block)
        if self._hash.digest() == accepted.digest:
            self._offset = accepted.have
            return
        self._hash = hashlib.sha256()
        await asyncio.to_thread(self._file.seek, 0)

    async def _send_data(self, stream: Stream, watcher: asyncio.Task[TransferEvent]) -> None:
        done = self._offset
        self._report(done)
        while done < self._size:
            block = await asyncio.to_thread(self._read_block, min(BLOCK, self._size - done))
            if not block:
                raise Broken(TransferFault.SOURCE_CHANGED, f"the file ended at {done} of {self._size} bytes")
            await stream.write(block)
            done += len(block)
            self._sent += len(block)
            self._amid_data = done < self._size
            self._report(done)
            if watcher.done():
                # The receiver spoke while we send: it can only be a refusal.
                await watcher
                raise Broken(TransferFault.PROTOCOL, "the receiver spoke out of turn")
        status = os.fstat(self._file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self._size, self._mtime):
            raise Broken(TransferFault.SOURCE_CHANGED, "the file was changed while it was sent")

    def _read_block(self, count: int) -> bytes:
        block = self._file.read(count)
        self._hash.update(block)
        return block

    async def _event(self, stream: Stream) -> TransferEvent:
        event = await next_event(self._side, stream)
        if isinstance(event, Refused):
            raise Broken(event.fault, event.detail, by_peer=True)
        return event

    def _report(self, done: int) -> None:
        if self._on_progress is not None:
            self._on_progress(done, self._size)

    def _outcome(
        self, fault: TransferFault | None, detail: str, *, by_peer: bool = False, stored_as: str = ""
    ) -> SendOutcome:
        return SendOutcome(
            name=self._name,
            size=self._size,
            sent=self._sent,
            resumed_at=self._offset,
            digest=self._hash.digest() if fault is None else b"",
            stored_as=stored_as,
            fault=fault,
            detail=detail,
            by_peer=by_peer,
        )


def _open_source(path: Path) -> BinaryIO:
    file = open(path, "rb")  # noqa: SIM115 - closed by the caller, in a thread
    if not os.path.isfile(path):
        file.close()
        raise OSError(0, "is not a regular file")
    return file
