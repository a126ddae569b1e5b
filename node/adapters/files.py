"""Files over a link: `send_file` on one side, a `FileReceiver` on the other.

Decides who may send us what, how writing is kept off the event loop, and how every way to end becomes one frozen
outcome. Refuses to decide messages (`node/protocols/transfer.py`) and names on disk (`file_store.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from dht.identity import PublicKey
from node.adapters.file_outcomes import (
    Broken,
    IncomingFile,
    ReceiveOutcome,
    SendOutcome,
    next_event,
    say_goodbye,
)
from node.adapters.file_sending import send_file
from node.adapters.file_store import BLOCK, Part, StoreError, sweep_parts
from node.ports import Link, LinkError, Stream, StreamReset
from node.protocols.transfer import (
    STREAM_NAME,
    Ended,
    FileOffer,
    ReceiverSide,
    Refused,
    Started,
    TransferEvent,
    TransferFault,
)

logger = logging.getLogger(__name__)

__all__ = ["FileReceiver", "IncomingFile", "ReceiveOutcome", "SendOutcome", "send_file"]

DEFAULT_MAX_SIZE: Final = 2**40
"""1 TiB. UNSOURCED: the disk's free space is the limit that matters."""
DEFAULT_RESERVE: Final = 64 << 20
"""Bytes left free on the disk. UNSOURCED: so that a full disk stops a transfer and not the machine."""
MAX_UNCONFIRMED: Final = 1024
"""Files remembered whose sender may not know that they arrived. UNSOURCED."""
CONFIRM_TIME: Final = 5.0
"""Seconds the sender has to hang up after the confirmation. UNSOURCED: several round trips."""
SWEEP_EVERY: Final = 86400.0
"""Seconds between two looks for abandoned parts. UNSOURCED: they live for days."""
DEFAULT_PARALLEL: Final = 16
"""Transfers at once. UNSOURCED."""

AcceptPolicy = Callable[[IncomingFile], bool | Awaitable[bool]]


class FileReceiver:
    """Takes files into `directory`, from every link it is attached to."""

    def __init__(
        self,
        directory: Path,
        *,
        accept: AcceptPolicy | None = None,
        max_size: int = DEFAULT_MAX_SIZE,
        reserve: int = DEFAULT_RESERVE,
        max_parallel: int = DEFAULT_PARALLEL,
        on_progress: Callable[[IncomingFile, int], None] | None = None,
        on_outcome: Callable[[ReceiveOutcome], None] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self._accept = accept
        self._max_size = max_size
        self._reserve = reserve
        self._max_parallel = max_parallel
        self._on_progress = on_progress
        self._on_outcome = on_outcome
        self._unconfirmed: dict[Path, tuple[Path, bytes]] = {}
        self._active: dict[Path, asyncio.Task[object] | None] = {}
        self._sweeping = asyncio.Lock()
        self._next_sweep = 0.0
        self.outcomes: asyncio.Queue[ReceiveOutcome] = asyncio.Queue(maxsize=1024)

    def attach(self, link: Link) -> None:
        """Serve the file stream of `link`."""

        async def serve(stream: Stream) -> None:
            await self.serve(link.peer, stream)

        link.register(STREAM_NAME, serve)

    def cancel(self, name: str) -> bool:
        """Break off the transfers of files called `name`; the sender is told. Returns whether there were any."""
        found = False
        for path, task in list(self._active.items()):
            if path.name.startswith(name + ".") and task is not None:
                found = task.cancel() or found
        return found

    async def serve(self, peer: PublicKey, stream: Stream) -> ReceiveOutcome:
        """Take one file from one stream."""
        await self.sweep()
        receiving = _Receiving(self, peer, stream)
        outcome = await receiving.run()
        if self.outcomes.full():
            self.outcomes.get_nowait()
        self.outcomes.put_nowait(outcome)
        if self._on_outcome is not None:
            self._on_outcome(outcome)
        return outcome

    async def sweep(self) -> None:
        """Delete parts that their senders have abandoned, if it is time; done before any transfer begins."""
        async with self._sweeping:
            now = time.time()  # A file's age is told by the system's clock.
            if now < self._next_sweep:
                return
            self._next_sweep = now + SWEEP_EVERY
            removed = await asyncio.to_thread(sweep_parts, self.directory, now, frozenset(self._active))
        if removed:
            logger.info("deleted %d abandoned parts in %s", removed, self.directory)

    async def judge(self, file: IncomingFile) -> None:
        """Raise `StoreError` unless the file is wanted."""
        if file.size > self._max_size:
            raise StoreError(TransferFault.TOO_BIG, f"{file.size} bytes, at most {self._max_size} are taken")
        if self._accept is not None:
            verdict = self._accept(file)
            if not (verdict if isinstance(verdict, bool) else await verdict):
                raise StoreError(TransferFault.NOT_WANTED, "the receiver does not want it")

    def claim(self, peer: PublicKey, offer: FileOffer) -> Part:
        """Return the part for this offer, ours alone. Raises `StoreError`."""
        part = Part(self.directory, offer, peer.raw, self._reserve)
        if part.path in self._active or len(self._active) >= self._max_parallel:
            raise StoreError(TransferFault.BUSY, "this transfer, or as many as allowed, are under way")
        self._active[part.path] = asyncio.current_task()
        return part

    def release(self, part: Part) -> None:
        """The part is no longer in use."""
        self._active.pop(part.path, None)

    def remember(self, part: Part, path: Path, digest: bytes) -> None:
        """The file is whole at `path`, and its sender may not know yet."""
        self._unconfirmed[part.path] = (path, digest)
        if len(self._unconfirmed) > MAX_UNCONFIRMED:
            del self._unconfirmed[next(iter(self._unconfirmed))]

    def forget(self, part: Part) -> None:
        """The sender knows."""
        self._unconfirmed.pop(part.path, None)

    def unconfirmed(self, part: Part) -> tuple[Path, bytes] | None:
        """Return where this very transfer ended before and its digest, if its sender never heard."""
        known = self._unconfirmed.get(part.path)
        return known if known is not None and known[0].exists() else None

    def progress(self, file: IncomingFile, done: int) -> None:
        """Report how far a file has come."""
        if self._on_progress is not None:
            self._on_progress(file, done)


class _Receiving:
    """One attempt to receive."""

    def __init__(self, owner: FileReceiver, peer: PublicKey, stream: Stream) -> None:
        self._owner = owner
        self._peer = peer
        self._stream = stream
        self._side = ReceiverSide()
        self._file = IncomingFile(peer, "", 0)
        self._received = 0
        self._offset = 0
        self._pending: list[bytes] = []
        self._pending_size = 0

    async def run(self) -> ReceiveOutcome:
        stream = self._stream
        try:
            return await self._over()
        except Broken as broken:
            self._side.refuse(broken.fault, broken.detail)
            await say_goodbye(self._side, stream)
            return self._outcome(broken.fault, broken.detail, by_peer=broken.by_peer)
        except StoreError as error:
            self._side.refuse(error.fault, error.detail)
            await say_goodbye(self._side, stream)
            return self._outcome(error.fault, error.detail)
        except StreamReset as reset:
            return self._outcome(TransferFault.LINK_LOST, str(reset), by_peer=True)
        except LinkError as error:
            return self._outcome(TransferFault.LINK_LOST, str(error))
        except asyncio.CancelledError:
            # Ours to end: the transfer was cancelled, or the link is going and its handlers with it.
            self._side.refuse(TransferFault.CANCELLED, "the receiver cancelled")
            await say_goodbye(self._side, stream)
            return self._outcome(TransferFault.CANCELLED, "the receiver cancelled")

    async def _over(self) -> ReceiveOutcome:
        offer = await self._event()
        if not isinstance(offer, FileOffer):
            raise Broken(TransferFault.PROTOCOL, "the sender did not begin with an offer")
        self._file = IncomingFile(self._peer, offer.name, offer.size)
        part = self._owner.claim(self._peer, offer)
        try:
            self._file = IncomingFile(self._peer, part.name, offer.size)
            await self._owner.judge(self._file)
            done = self._owner.unconfirmed(part)
            have, digest = (offer.size, done[1]) if done is not None else (0, b"")
            if done is None:
                digest = await asyncio.to_thread(part.open)
                have = part.have
            self._side.accept(have, digest)
            await self._stream.write(self._side.data_to_send())
            started = await self._event()
            if not isinstance(started, Started):
                raise Broken(TransferFault.PROTOCOL, "the sender did not start")
            self._offset = started.offset
            if done is not None and started.offset == offer.size:
                return await self._confirm_again(part, *done)
            if done is not None:
                await asyncio.to_thread(part.open)
            if started.offset < part.have:
                await asyncio.to_thread(part.restart)
            return await self._take(part)
        finally:
            self._owner.release(part)
            await asyncio.shield(asyncio.to_thread(part.close))

    async def _take(self, part: Part) -> ReceiveOutcome:
        while True:
            try:
                event = await self._event()
            except (Broken, LinkError, StreamReset):
                # What came before the break is worth keeping.
                await self._store(part)
                raise
            if isinstance(event, bytes):
                self._pending.append(event)
                self._pending_size += len(event)
            if self._pending_size >= BLOCK or not isinstance(event, bytes):
                await self._store(part)
            if isinstance(event, Ended):
                path = await asyncio.to_thread(part.finish, event.digest)
                return await self._confirm(part, path, event.digest)

    async def _store(self, part: Part) -> None:
        if not self._pending:
            return
        data, self._pending = b"".join(self._pending), []
        self._received += len(data)
        self._pending_size = 0
        await asyncio.to_thread(part.write, data)
        self._owner.progress(self._file, part.have)

    async def _confirm(self, part: Part, path: Path, digest: bytes) -> ReceiveOutcome:
        """Tell the sender; the file is there whatever becomes of the telling, and is remembered until it arrived."""
        self._owner.remember(part, path, digest)
        try:
            self._side.confirm(digest, path.name)
            await self._stream.write(self._side.data_to_send())
            await self._stream.close()
            async with asyncio.timeout(CONFIRM_TIME):
                while await self._stream.read(BLOCK):
                    pass
            self._owner.forget(part)
        except (LinkError, StreamReset, TimeoutError, asyncio.CancelledError):
            logger.info("%s is here, but its sender may not know", path.name)
        return self._outcome(None, "", path=path, digest=digest)

    async def _confirm_again(self, part: Part, path: Path, digest: bytes) -> ReceiveOutcome:
        ended = await self._event()
        if not isinstance(ended, Ended) or ended.digest != digest:
            raise Broken(TransferFault.HASH_MISMATCH, "the file received before is not the one sent now")
        return await self._confirm(part, path, digest)

    async def _event(self) -> TransferEvent:
        event = await next_event(self._side, self._stream)
        if isinstance(event, Refused):
            raise Broken(event.fault, event.detail, by_peer=True)
        return event

    def _outcome(
        self,
        fault: TransferFault | None,
        detail: str,
        *,
        by_peer: bool = False,
        path: Path | None = None,
        digest: bytes = b"",
    ) -> ReceiveOutcome:
        return ReceiveOutcome(
            peer=self._peer,
            name=self._file.name,
            size=self._file.size,
            received=self._received,
            resumed_at=self._offset,
            path=path,
            digest=digest,
            fault=fault,
            detail=detail,
            by_peer=by_peer,
        )
