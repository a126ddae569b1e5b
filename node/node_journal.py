"""What of the engine's state outlives the process: contacts, others' records.

Decides which events become which rows, and what is taken back at a start. Refuses to know how rows are kept.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import ContactAdded, RecordDropped, RecordStored
from node.adapters.sqlite import set_aside_corrupt
from node.driver import Driver
from node.node_events import EventLog, JournalFault
from node.storage import (
    DropHeld,
    HeldRecord,
    PurgeExpired,
    SavedContact,
    Snapshot,
    Storage,
    StorageClosed,
    StorageCorrupt,
    StorageFailing,
)

CONTACTS_RESTORED: Final = 200
"""Saved contacts tried at a start, the most recently seen. UNSOURCED: ten times k; more would only delay the walk."""

SAVE_INTERVAL: Final = 600.0
"""Seconds between notes of which contacts are alive. UNSOURCED: what a kill -9 loses is ten minutes of "last seen"."""

POLL: Final = 15.0
"""Seconds between looks at what happened to the storage by itself, as often as the engine's own upkeep."""


async def open_journal(
    open_storage: Callable[[Path], Awaitable[Storage]], path: Path, events: EventLog
) -> tuple[Storage, Snapshot]:
    """Open a storage and read it; a damaged one is set aside, and an empty one begun. Raises `StorageError`."""
    try:
        return await _read(await open_storage(path))
    except StorageCorrupt as error:
        # The node is not running yet, and has no clock of its own.
        now = time.time()
        aside = set_aside_corrupt(path, now)
        text = f"{error.where} {error.problem}; it was set aside as {aside.name}, and an empty one begun"
        events.add(JournalFault(now, text, over=True))
        return await _read(await open_storage(path))


async def _read(storage: Storage) -> tuple[Storage, Snapshot]:
    try:
        return storage, await storage.load()
    except BaseException:
        await storage.close()
        raise


class Journal:
    """Carries an engine's events into a storage."""

    def __init__(
        self, driver: Driver[DhtEngine], storage: Storage, events: EventLog, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        """`pause` waits for so many seconds, more or less."""
        self._driver = driver
        self._storage = storage
        self._events = events
        self._pause = pause
        self.problem: str | None = None
        """Why rows cannot be written just now."""
        driver.subscribe(ContactAdded, self._on_contact)
        driver.subscribe(RecordStored, self._on_stored)
        driver.subscribe(RecordDropped, self._on_dropped)

    async def run(self) -> None:
        """Save the contacts now and then, and report what ails the storage. Ends only by being cancelled."""
        due = self._driver.now() + SAVE_INTERVAL
        while True:
            await self._pause(POLL)
            self.report_faults()
            now = self._driver.now()
            if now >= due:
                due = now + SAVE_INTERVAL
                self.save_contacts()
                self._write(PurgeExpired(now))

    def save_contacts(self) -> None:
        """Note every contact of the routing table as alive."""
        now = self._driver.now()
        engine = self._driver.engine
        self._write(*(saved_contact(contact, engine, now) for contact in engine.contacts()))

    def report_faults(self) -> None:
        """Turn what happened to the storage into events of the node."""
        while (event := self._storage.next_event()) is not None:
            if isinstance(event, StorageFailing):
                text, over = f"{event.error} ({event.waiting} rows wait in memory)", False
            else:
                text = f"the journal is written again{f'; {event.lost} rows were lost' if event.lost else ''}"
                over = True
            self.problem = None if over else text
            self._events.add(JournalFault(self._driver.now(), text, over))

    def _on_contact(self, event: ContactAdded) -> None:
        self._write(saved_contact(event.contact, self._driver.engine, self._driver.now()))

    def _on_stored(self, event: RecordStored) -> None:
        record = event.record
        self._write(HeldRecord(record.place, record.owner, record.raw, event.expires, self._driver.now()))

    def _on_dropped(self, event: RecordDropped) -> None:
        self._write(DropHeld(event.place, event.owner))

    def _write(self, *changes: SavedContact | HeldRecord | DropHeld | PurgeExpired) -> None:
        try:
            self._storage.write(*changes)
        except StorageClosed:  # The engine's last words, while the node stops.
            self._driver.counters["rows_after_close"] += 1


def saved_contact(contact: Contact, engine: DhtEngine, now: float) -> SavedContact:
    """The row of a contact that is alive."""
    peer = engine.requests.peer(contact)
    seen = peer.seen if peer is not None and peer.seen else now
    rtt = peer.mean if peer is not None and peer.mean else None
    return SavedContact(contact.key, contact.ip, contact.port, seen, server=True, rtt=rtt)


def restored_contacts(snapshot: Snapshot) -> list[Contact]:
    """The contacts of an earlier run to begin with."""
    return [Contact(saved.key, (saved.ip, saved.port)) for saved in snapshot.contacts[:CONTACTS_RESTORED]]


def restore(engine: DhtEngine, snapshot: Snapshot, now: float) -> None:
    """Give an engine back what it held."""
    engine.restore(restored_contacts(snapshot), ((held.raw, held.expires) for held in snapshot.held), now)
