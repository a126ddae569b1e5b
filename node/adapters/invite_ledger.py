"""The ledger of an inviter: which invites it made, who redeemed them, which it took back.

Decides that one of two who come at once for the last use gets it, whatever happens to the process, and that who has got
in once gets in again with the same invite (its answer may have been lost). All of it is in one file, which several
processes may use at once: every question opens it, so a command needs no running node. Refuses to know what an invite
brings.
"""

from __future__ import annotations

import contextlib
import enum
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dht.errors import LocalError
from dht.identity import PublicKey
from node.protocols.invite import TOKEN_BYTES, Invite, read_invite, token_text
from node.protocols.invite_faults import BadInvite

APPLICATION_ID: Final = int.from_bytes(b"RkIn", "big")
"""Marks the file as ours (sqlite.org, "PRAGMA application_id"). UNSOURCED number."""

SCHEMA: Final = (
    "CREATE TABLE invites (token BLOB NOT NULL PRIMARY KEY, raw BLOB NOT NULL, expires INTEGER NOT NULL, revoked REAL)"
    " WITHOUT ROWID",
    "CREATE TABLE redemptions (token BLOB NOT NULL, joiner BLOB NOT NULL, at REAL NOT NULL,"
    " PRIMARY KEY (token, joiner)) WITHOUT ROWID",
)

SCHEMA_VERSION: Final = 1

BUSY_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that writes at this moment. UNSOURCED"""

MAX_INVITES: Final = 10_000
"""Invites kept at once. UNSOURCED: about 6 MB"""

KEPT_AFTER: Final = 30 * 86400.0
"""Seconds for which an expired invite is still listed, and told from one that never was. UNSOURCED"""


class LedgerFault(LocalError):
    """Raised when the ledger cannot be read or written; `kind` is its name outside."""

    kind = "invite-ledger"


class Taking(enum.Enum):
    """What came of an attempt at taking a use."""

    TAKEN = "taken"
    AGAIN = "again"
    """By this joiner, and earlier: nothing was counted."""
    USED_UP = "used-up"
    REVOKED = "revoked"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """One invite, and what became of it."""

    invite: Invite
    revoked: float | None
    """Unix seconds."""
    redeemed: tuple[tuple[PublicKey, float], ...]
    """By whom, and when."""

    def state(self, now: float) -> str:
        """open, used-up, expired or revoked."""
        if self.revoked is not None:
            return Taking.REVOKED.value
        if len(self.redeemed) >= self.invite.uses:
            return Taking.USED_UP.value
        return Taking.EXPIRED.value if now > self.invite.expires else "open"


class InviteLedger:
    """The invites of one identity. Every method may wait for the disk; all raise `LedgerFault`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, invite: Invite, now: float) -> bool:
        """Keep an invite, synced to the disk; false when one has its token already."""
        with self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            self._forget_old(db, now)
            (count,) = db.execute("SELECT COUNT(*) FROM invites").fetchone()
            if count >= MAX_INVITES:
                raise LedgerFault(
                    f"{count} invites are out, and no more are kept: revoked and used ones count until"
                    f" {KEPT_AFTER / 86400:.0f} days after they expire"
                )
            added = db.execute(
                "INSERT OR IGNORE INTO invites (token, raw, expires) VALUES (?, ?, ?)",
                (invite.token, invite.raw, invite.expires),
            ).rowcount
            db.execute("COMMIT")
            return added == 1

    def entries(self) -> list[Entry]:
        """All there are, the newest first."""
        if not self.path.exists():
            return []
        with self._opened() as db:
            tokens = [row[0] for row in db.execute("SELECT token FROM invites")]
            found = [self._entry(db, token) for token in tokens]
        return sorted((one for one in found if one is not None), key=lambda one: -one.invite.issued)

    def find(self, token: bytes) -> Entry | None:
        """One of them."""
        if not self.path.exists():
            return None
        with self._opened() as db:
            return self._entry(db, token)

    def named(self, text: str) -> Entry:
        """The one that a person calls `text`. Raises `LedgerFault` when there is none."""
        wanted = text.strip().lower()
        found = next((one for one in self.entries() if token_text(one.invite.token) == wanted), None)
        if found is None:
            raise LedgerFault(f"there is no invite {text!r}: `rookery invite list` shows those there are")
        return found

    def revoke(self, token: bytes, now: float) -> bool:
        """Take an invite back; false when it was revoked before, or there is none."""
        with self._opened() as db:
            sql = "UPDATE invites SET revoked = ? WHERE token = ? AND revoked IS NULL"
            return db.execute(sql, (now, token)).rowcount == 1

    def take(self, token: bytes, joiner: PublicKey, now: float) -> Taking:
        """Take one use for `joiner`. When this returns, it is on the disk."""
        if len(token) != TOKEN_BYTES or not self.path.exists():
            return Taking.UNKNOWN
        with self._opened() as db:
            # Others wait from here on: nobody counts between our count and our row.
            db.execute("BEGIN IMMEDIATE")
            taking = self._take(db, token, joiner, now)
            db.execute("COMMIT")
            return taking

    def give_back(self, token: bytes, joiner: PublicKey) -> None:
        """Undo a use that brought nothing."""
        with self._opened() as db:
            db.execute("DELETE FROM redemptions WHERE token = ? AND joiner = ?", (token, joiner.raw))

    def _take(self, db: sqlite3.Connection, token: bytes, joiner: PublicKey, now: float) -> Taking:
        entry = self._entry(db, token)
        if entry is None:
            return Taking.UNKNOWN
        if entry.revoked is not None:
            return Taking.REVOKED
        if any(who == joiner for who, _ in entry.redeemed):
            return Taking.AGAIN
        if now > entry.invite.expires:
            return Taking.EXPIRED
        if len(entry.redeemed) >= entry.invite.uses:
            return Taking.USED_UP
        db.execute("INSERT INTO redemptions (token, joiner, at) VALUES (?, ?, ?)", (token, joiner.raw, now))
        return Taking.TAKEN

    def _entry(self, db: sqlite3.Connection, token: bytes) -> Entry | None:
        row = db.execute("SELECT raw, revoked FROM invites WHERE token = ?", (token,)).fetchone()
        if row is None:
            return None
        try:
            invite = read_invite(row[0])
        except BadInvite as error:
            raise LedgerFault(f"{self.path} holds an invite that is none: {error}") from None
        rows = db.execute("SELECT joiner, at FROM redemptions WHERE token = ? ORDER BY at", (token,))
        return Entry(invite, row[1], tuple((PublicKey(joiner), at) for joiner, at in rows))

    @staticmethod
    def _forget_old(db: sqlite3.Connection, now: float) -> None:
        old = (now - KEPT_AFTER,)
        db.execute("DELETE FROM redemptions WHERE token IN (SELECT token FROM invites WHERE expires < ?)", old)
        db.execute("DELETE FROM invites WHERE expires < ?", old)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            # Before SQLite does, with its wider mode: whoever reads the file can redeem what is in it.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
            with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)) as db:
                self._prepare(db)
                yield db
        except OSError as error:
            raise LedgerFault(f"the invites in {self.path} cannot be opened: {error.strerror}") from None
        except sqlite3.Error as error:
            raise LedgerFault(f"the invites in {self.path} cannot be read or written: {error}") from None

    def _prepare(self, db: sqlite3.Connection) -> None:
        # A use that was granted must survive a power cut: every commit is synced.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application == APPLICATION_ID and version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise LedgerFault(f"{self.path} is of a newer release: version {version}, known is {SCHEMA_VERSION}")
        db.execute("BEGIN IMMEDIATE")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        if application != APPLICATION_ID:
            if tables:
                raise LedgerFault(f"{self.path} is another program's database")
            for statement in SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("COMMIT")
