"""Storage that lasts as long as its object: for simulations, tests and nodes that shall leave no trace.

Decides nothing that `node/storage.py` leaves open. Its coroutines never wait, so that code without an event loop may
drive them with one `send(None)`. After `close` a new object over the same `rows` finds everything again, as a
restarted node finds its file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dht.records import MAX_SEQ
from node.storage import (
    MAX_CONTACTS_KEPT,
    MAX_HELD_LOADED,
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
    StorageClosed,
    StorageEvent,
    check_sequence,
)


@dataclass(slots=True)
class Rows:
    """What outlives the storage object, as a file would."""

    held: dict[tuple[bytes, bytes], HeldRecord] = field(default_factory=dict)
    own: dict[bytes, OwnRecord] = field(default_factory=dict)
    contacts: dict[bytes, SavedContact] = field(default_factory=dict)
    meta: dict[str, bytes] = field(default_factory=dict)
    sequences: dict[bytes, int] = field(default_factory=dict)


class MemoryStorage:
    """The port `Storage` on dictionaries."""

    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = rows if rows is not None else Rows()
        self._closed = False

    def write(self, *changes: Change) -> None:
        """Apply changes at once, in order."""
        self._check_open()
        for change in changes:
            self._apply(change)
        self._bound_contacts()

    async def load(self, *, max_held: int = MAX_HELD_LOADED, max_contacts: int = MAX_CONTACTS_KEPT) -> Snapshot:
        """Return what is stored."""
        self._check_open()
        rows = self.rows
        held = sorted(rows.held.values(), key=lambda record: (-record.expires, record.place, record.owner))
        own = sorted(rows.own.values(), key=lambda record: record.place)
        return Snapshot(tuple(held[:max_held]), tuple(own), tuple(self._newest()[:max_contacts]), dict(rows.meta))

    async def next_sequence(self, place: bytes, at_least: int) -> int:
        """Return a number of at least `at_least` and above every one returned for `place` before."""
        self._check_open()
        check_sequence(place, at_least)
        number = max(at_least, self.rows.sequences.get(place, -1) + 1)
        if number > MAX_SEQ:
            raise BadRow("a sequence number", f"{place.hex()} has used the last one")
        self.rows.sequences[place] = number
        return number

    def next_event(self) -> StorageEvent | None:
        """Return None: memory does not fail by itself."""
        return None

    async def flush(self) -> None:
        """Do nothing: all is where it stays."""
        self._check_open()

    async def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosed("storage in memory", "it was closed", "Open another one over the same rows.")

    def _newest(self) -> list[SavedContact]:
        return sorted(self.rows.contacts.values(), key=lambda contact: (-contact.last_seen, contact.key))

    def _bound_contacts(self) -> None:
        if len(self.rows.contacts) > MAX_CONTACTS_KEPT:
            for contact in self._newest()[MAX_CONTACTS_KEPT:]:
                del self.rows.contacts[contact.row]

    def _apply(self, change: Change) -> None:
        rows = self.rows
        match change:
            case HeldRecord():
                rows.held[change.place, change.owner] = change
            case DropHeld():
                rows.held.pop((change.place, change.owner), None)
            case OwnRecord():
                rows.own[change.place] = change
            case DropOwn():
                rows.own.pop(change.place, None)
            case SavedContact():
                rows.contacts[change.row] = change
            case DropContact():
                rows.contacts.pop(change.key, None)
                rows.contacts.pop(change.key + V6_ROW, None)
            case Meta():
                rows.meta[change.name] = change.value
            case DropMeta():
                rows.meta.pop(change.name, None)
            case PurgeExpired():
                rows.held = {key: record for key, record in rows.held.items() if record.expires > change.now}
