"""The journal: storage in one SQLite file, written by one thread, so that the event loop never waits for a disk.

Decides when rows are committed: half a second after the first, or as soon as many wait; sequence numbers at once and
synced. Rows that cannot be committed wait, bounded, and are tried again: a full disk costs a report, not the node.
Refuses to know what the rows mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from node.adapters.sqlite_rows import advance_sequence, apply_changes, read_snapshot
from node.adapters.sqlite_schema import open_journal, set_aside_corrupt, storage_error
from node.storage import (
    MAX_CONTACTS_KEPT,
    MAX_HELD_LOADED,
    Change,
    Snapshot,
    StorageClosed,
    StorageError,
    StorageEvent,
    StorageFailing,
    StorageRecovered,
    check_sequence,
    row_key,
)

__all__ = ["SqliteStorage", "set_aside_corrupt"]

COMMIT_DELAY: Final = 0.5
"""Seconds that a row may wait for company. UNSOURCED: a crash loses half a second of what the network also holds."""

COMMIT_ROWS: Final = 500
"""Rows after which nobody waits. UNSOURCED: measured at about 4 ms a batch on an SSD."""

RETRY_DELAY: Final = 5.0
"""Seconds between tries while commits fail. UNSOURCED."""

MAX_WAITING: Final = 100_000
"""Rows that may wait for a disk that fails or stalls; then the oldest go, and a report says how many. UNSOURCED: more
than a whole store of 65,536 records, and at most about 140 MB."""

MAX_EVENTS: Final = 64
"""Events kept for a reader that does not come. UNSOURCED."""

T = TypeVar("T")
Waiting = dict[tuple[object, ...], Change]
"""Rows not yet committed, by name, oldest first."""


class SqliteStorage:
    """The port `Storage` on a file. Made by `open`; belongs to the event loop that opened it."""

    def __init__(self, path: Path, executor: ThreadPoolExecutor, db: sqlite3.Connection) -> None:
        self.path = path
        self._loop = asyncio.get_running_loop()
        self._executor = executor
        self._db = db
        self._waiting: Waiting = {}
        self._timer: asyncio.TimerHandle | None = None
        self._commit: asyncio.Task[None] | None = None
        self._failing: StorageError | None = None
        self._lost = 0
        self._events: deque[StorageEvent] = deque(maxlen=MAX_EVENTS)
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, *, max_bytes: int | None = None) -> SqliteStorage:
        """Open or create the journal at `path`. Raises `StorageError`; for `StorageCorrupt` see `set_aside_corrupt`."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rookery-journal")
        opening = executor.submit(open_journal, path, max_bytes=max_bytes)
        try:
            return cls(path, executor, await asyncio.shield(asyncio.wrap_future(opening)))
        except BaseException:
            # Cancelled while the thread was opening: it must not keep the file.
            executor.submit(_let_go, opening)
            executor.shutdown(wait=False)
            raise

    def write(self, *changes: Change) -> None:
        """Queue changes, in order. Never waits; raises only `StorageClosed`."""
        self._check_open()
        for change in changes:
            key = row_key(change)
            # Out and in again, so that a purge between the two still comes before the later one.
            self._waiting.pop(key, None)
            self._waiting[key] = change
        self._bound_waiting()
        if self._commit is not None or self._failing is not None:
            return
        if len(self._waiting) >= COMMIT_ROWS:
            self._start_commit()
        elif self._waiting and self._timer is None:
            self._timer = self._loop.call_later(COMMIT_DELAY, self._start_commit)

    async def load(self, *, max_held: int = MAX_HELD_LOADED, max_contacts: int = MAX_CONTACTS_KEPT) -> Snapshot:
        """Return what is stored, queued changes included."""
        await self.flush()
        return await self._run(lambda db: read_snapshot(db, max_held, max_contacts))

    async def next_sequence(self, place: bytes, at_least: int) -> int:
        """Return a number of at least `at_least`, above every earlier one for `place`, already synced to the disk."""
        self._check_open()
        check_sequence(place, at_least)
        return await self._run(lambda db: advance_sequence(db, place, at_least))

    def next_event(self) -> StorageEvent | None:
        """Return the next failure or recovery, or None."""
        return self._events.popleft() if self._events else None

    async def flush(self) -> None:
        """Return once everything written so far is committed. Raises the `StorageError` that hinders it."""
        self._check_open()
        await self._flush()

    async def close(self) -> None:
        """Flush, close the file and end the thread, even when the flush fails or this call is cancelled."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._flush()
        finally:
            self._stop_timer()
            with contextlib.suppress(StorageError):
                await self._run(sqlite3.Connection.close)
            # The thread has nothing left to do: this does not block.
            self._executor.shutdown(wait=True)

    def _check_open(self) -> None:
        if self._closing is not None:
            raise StorageClosed(f"the journal {self.path}", "was closed", "Open it again")

    async def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._loop.run_in_executor(self._executor, job, self._db)
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    async def _flush(self) -> None:
        while self._waiting or self._commit is not None:
            self._start_commit()
            if self._commit is not None:
                await asyncio.shield(self._commit)
            if self._failing is not None:
                raise self._failing

    def _start_commit(self) -> None:
        self._stop_timer()
        if self._commit is None and self._waiting:
            batch, self._waiting = self._waiting, {}
            self._commit = self._loop.create_task(self._commit_batch(batch))

    async def _commit_batch(self, batch: Waiting) -> None:
        try:
            await self._run(lambda db: apply_changes(db, batch.values()))
        except StorageError as error:
            self._keep(batch)
            if self._failing is None:
                self._events.append(StorageFailing(error, len(self._waiting)))
            self._failing = error
        else:
            if self._failing is not None or self._lost:
                self._events.append(StorageRecovered(self._lost))
            self._failing, self._lost = None, 0
        finally:
            self._commit = None
            if self._waiting and self._closing is None:
                delay = RETRY_DELAY if self._failing else COMMIT_DELAY if len(self._waiting) < COMMIT_ROWS else 0
                self._timer = self._loop.call_later(delay, self._start_commit)

    def _keep(self, batch: Waiting) -> None:
        """Put a batch that failed back before what came later."""
        newer = self._waiting
        self._waiting = {key: change for key, change in batch.items() if key not in newer} | newer
        self._bound_waiting()

    def _bound_waiting(self) -> None:
        excess = len(self._waiting) - MAX_WAITING
        if excess > 0:
            for key in list(_first(self._waiting, excess)):
                del self._waiting[key]
            self._lost += excess

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _first(keys: Iterable[tuple[object, ...]], count: int) -> Iterable[tuple[object, ...]]:
    return (key for key, _ in zip(keys, range(count), strict=False))


def _let_go(opening: Future[sqlite3.Connection]) -> None:
    if opening.exception() is None:
        opening.result().close()
