"""The journal's tables, how an older journal becomes a new one, and which files are refused.

Decides what opening a file means: its pragmas, checks and migrations, and the one clear line for each way it fails.
Refuses to know when anything is written.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from node.storage import (
    StorageCorrupt,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageTooNew,
    StorageUnavailable,
)

APPLICATION_ID: Final = int.from_bytes(b"Rook", "big")
"""Marks the file as ours (sqlite.org, "PRAGMA application_id"). UNSOURCED number."""

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process, such as a backup, that holds the file. UNSOURCED."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE held (place BLOB NOT NULL, owner BLOB NOT NULL, raw BLOB NOT NULL, expires REAL NOT NULL,"
        " stored_at REAL NOT NULL, PRIMARY KEY (place, owner)) WITHOUT ROWID",
        "CREATE INDEX held_expires ON held (expires)",
        "CREATE TABLE own (place BLOB NOT NULL PRIMARY KEY, raw BLOB NOT NULL, salt BLOB NOT NULL,"
        " kind INTEGER NOT NULL, republish_at REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE contacts (key BLOB NOT NULL PRIMARY KEY, ip TEXT NOT NULL, port INTEGER NOT NULL,"
        " last_seen REAL NOT NULL, server INTEGER NOT NULL, rtt REAL) WITHOUT ROWID",
        "CREATE INDEX contacts_seen ON contacts (last_seen)",
        "CREATE TABLE sequences (place BLOB NOT NULL PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    ),
)
"""Statements that lead from version i to i + 1 (`PRAGMA user_version`). Append only: old files run through them."""

SET_ASIDE: Final = (
    "Set it aside (`set_aside_corrupt`, or move it and its -wal away) and start again: contacts and "
    "records come back from the network, sequence numbers go on from the clock"
)

_CORRUPT: Final = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def storage_error(path: Path, error: sqlite3.Error) -> StorageError:
    """Turn what SQLite raised about `path` into ours."""
    name = getattr(error, "sqlite_errorname", None) or ""
    where = f"the journal {path}"
    if name.startswith(tuple(_CORRUPT)):
        return StorageCorrupt(where, f"is damaged ({error})", SET_ASIDE)
    if name == "SQLITE_FULL":
        return StorageFull(where, "cannot grow: the disk is full", "Free some space; the node tries again by itself")
    if name.startswith("SQLITE_BUSY"):
        return StorageUnavailable(where, "is held by another program", "End that program, or wait for it")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StorageUnavailable(where, f"cannot be written ({error})", "Give this user the right to write there")
    return StorageUnavailable(where, f"failed ({name or type(error).__name__}: {error})", "Look at the disk's health")


def open_journal(path: Path, *, max_bytes: int | None = None) -> sqlite3.Connection:
    """Open or create the journal at `path`, checked and migrated. Raises `StorageError`; a bad file is left as it is.

    `max_bytes` bounds the file; beyond it rows fail like on a full disk.
    """
    _create_private(path)
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        _check(path, connection)
        _tune(connection)
        _migrate(connection)
        if max_bytes is not None:
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page)}")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise storage_error(path, error) from error
    except StorageError:
        if connection is not None:
            connection.close()
        raise
    return connection


def set_aside_corrupt(path: Path, now: float) -> Path:
    """Move the journal at `path`, with its write-ahead files, out of the way; nothing is deleted. Returns its new name.

    The log goes with the database it belongs to: a log left behind would be played into the next one.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    count = 1
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.corrupt-{stamp}-{count}")
    try:
        # The log first: a database without it is merely older, but the log beside a new database would be wrong.
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{path}{suffix}", f"{target}{suffix}")
    except OSError as error:
        raise StorageUnavailable(
            f"the journal {path}", f"cannot be set aside ({error.strerror})", f"Move it to {target} by hand"
        ) from error
    return target


def _create_private(path: Path) -> None:
    # Before SQLite does, with its wider mode; its -wal and -shm copy the mode of the database.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise StorageUnavailable(
            f"the journal {path}",
            f"cannot be opened ({error.strerror})",
            "Give this user the right to read and write it, or choose another data directory",
        ) from error


def _check(path: Path, connection: sqlite3.Connection) -> None:
    where = f"the journal {path}"
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise StorageForeign(where, "is another program's database", "Choose another data directory")
    if version > len(MIGRATIONS):
        raise StorageTooNew(
            where,
            f"has version {version}, and this release knows versions up to {len(MIGRATIONS)}",
            "Run the newer release that wrote it, or choose another data directory",
        )
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise StorageCorrupt(where, f"is damaged ({' '.join(str(verdict).split())})", SET_ASIDE)


def _tune(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # In WAL, NORMAL may lose the last commits in a power cut, never the file; sequence numbers ask for FULL.
    connection.execute("PRAGMA synchronous = NORMAL")
    # Elsewhere a no-op: fsync on macOS leaves data in the drive's cache without it.
    connection.execute("PRAGMA fullfsync = ON")


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
