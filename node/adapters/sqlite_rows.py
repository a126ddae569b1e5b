"""The journal's rows to SQL and back: what one transaction does, and nothing of when it runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator

from dht.constants import KEY_BYTES
from dht.records import MAX_SEQ
from node.storage import (
    MAX_CONTACTS_KEPT,
    V6_ROW,
    BadRow,
    Change,
    DropContact,
    DropHeld,
    DropMeta,
    DropOwn,
    HeldRecord,
    Meta,
    OwnRecord,
    PurgeExpired,
    SavedContact,
    Snapshot,
)


def apply_changes(db: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Commit `changes` in one transaction: all of them, or none."""
    with _transaction(db):
        bound = False
        for change in changes:
            db.execute(*_statement(change))
            bound = bound or isinstance(change, SavedContact)
        if bound:
            db.execute(
                "DELETE FROM contacts WHERE key IN"
                " (SELECT key FROM contacts ORDER BY last_seen DESC, key LIMIT -1 OFFSET ?)",
                (MAX_CONTACTS_KEPT,),
            )


def advance_sequence(db: sqlite3.Connection, place: bytes, at_least: int) -> int:
    """Commit and sync the next sequence number of `place`, and return it."""
    # Takes effect outside a transaction only; the next batch goes back to the faster setting.
    db.execute("PRAGMA synchronous = FULL")
    try:
        with _transaction(db):
            row = db.execute("SELECT last FROM sequences WHERE place = ?", (place,)).fetchone()
            number = max(at_least, row[0] + 1) if row else at_least
            if number > MAX_SEQ:
                raise BadRow("a sequence number", f"{place.hex()} has used the last one")
            db.execute("INSERT OR REPLACE INTO sequences VALUES (?, ?)", (place, number))
    finally:
        db.execute("PRAGMA synchronous = NORMAL")
    return int(number)


def read_snapshot(db: sqlite3.Connection, max_held: int, max_contacts: int) -> Snapshot:
    """Read everything a node starts from."""
    held = db.execute("SELECT * FROM held ORDER BY expires DESC, place, owner LIMIT ?", (max_held,))
    own = db.execute("SELECT * FROM own ORDER BY place")
    contacts = db.execute("SELECT * FROM contacts ORDER BY last_seen DESC, key LIMIT ?", (max_contacts,))
    meta = db.execute("SELECT name, value FROM meta")
    return Snapshot(
        tuple(HeldRecord(*row) for row in held),
        tuple(OwnRecord(*row) for row in own),
        tuple(
            SavedContact(row[:KEY_BYTES], ip, port, seen, bool(server), rtt)
            for row, ip, port, seen, server, rtt in contacts
        ),
        dict(meta.fetchall()),
    )


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # A full disk makes SQLite roll back by itself.
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def _statement(change: Change) -> tuple[str, tuple[object, ...]]:
    match change:
        case HeldRecord(place, owner, raw, expires, stored_at):
            return "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?, ?)", (place, owner, raw, expires, stored_at)
        case DropHeld(place, owner):
            return "DELETE FROM held WHERE place = ? AND owner = ?", (place, owner)
        case OwnRecord(place, raw, salt, kind, republish_at):
            return "INSERT OR REPLACE INTO own VALUES (?, ?, ?, ?, ?)", (place, raw, salt, kind, republish_at)
        case DropOwn(place):
            return "DELETE FROM own WHERE place = ?", (place,)
        case SavedContact(_, ip, port, seen, server, rtt):
            row = (change.row, ip, port, seen, server, rtt)
            return "INSERT OR REPLACE INTO contacts VALUES (?, ?, ?, ?, ?, ?)", row
        case DropContact(key):
            return "DELETE FROM contacts WHERE key IN (?, ?)", (key, key + V6_ROW)
        case Meta(name, value):
            return "INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value)
        case DropMeta(name):
            return "DELETE FROM meta WHERE name = ?", (name,)
        case PurgeExpired(now):
            return "DELETE FROM held WHERE expires <= ?", (now,)
