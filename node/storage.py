"""What a node must find again after a restart, and the port through which it is kept.

Decides the rows, their bounds, the faults, and the promises: `write` never waits and never fails on the caller,
`next_sequence` is durable before it returns. Refuses to know a file, a database or a thread: `adapters/sqlite.py`
and `adapters/memory_storage.py` do, and pass one contract suite.

How much is kept: the engine bounds its records and evicts through `DropHeld`; what nobody drops goes with
`PurgeExpired`. Contacts are bounded here, since nobody ever drops them all.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from dht.constants import ID_BYTES, KEY_BYTES, MAX_RECORD, MAX_SALT
from dht.errors import LocalError
from dht.records import MAX_SEQ

MAX_CONTACTS_KEPT: Final = 1000
"""Contacts kept, the most recently seen. UNSOURCED: six full buckets' worth times eight; rejoining needs a few."""

MAX_HELD_LOADED: Final = 100_000
"""Records read at start unless asked otherwise. UNSOURCED: at most 100 MB of raw bytes."""

MAX_META: Final = 1 << 20
"""Largest meta value in bytes. UNSOURCED: a signed first-contact list has some kilobytes."""

V6_ROW: Final = b"6"
"""Behind the key in the row of an IPv6 contact: a node with both families has two."""


class StorageError(LocalError):
    """Raised when the journal cannot be used. `problem` says what happened to `where`, `remedy` what to do."""

    def __init__(self, where: str, problem: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}. {remedy}")
        self.where = where
        self.problem = problem
        self.remedy = remedy


class StorageCorrupt(StorageError):
    """Raised when the journal is damaged; setting it aside and starting an empty one is safe."""


class StorageForeign(StorageError):
    """Raised when the file is no journal of ours; it is not touched."""


class StorageTooNew(StorageError):
    """Raised when a newer release wrote the journal; it is not touched."""


class StorageFull(StorageError):
    """Raised when the disk, or the room granted to the journal, is full."""


class StorageUnavailable(StorageError):
    """Raised when the journal cannot be opened, read or written for another reason: rights, locks, a dying disk."""


class StorageClosed(StorageError):
    """Raised when storage is used after `close`."""


class BadRow(LocalError):
    """Raised when a row is outside its bounds: the caller's fault, found before anything is queued."""

    def __init__(self, row: str, problem: str) -> None:
        super().__init__(f"{row} cannot be stored: {problem}")
        self.row = row
        self.problem = problem


def _check(row: object, *rules: tuple[bool, str]) -> None:
    for holds, problem in rules:
        if not holds:
            raise BadRow(type(row).__name__, problem)


def _check_place(row: object, place: bytes) -> None:
    _check(row, (len(place) == ID_BYTES, f"its place has {len(place)} bytes, not {ID_BYTES}"))


def _check_owner(row: object, owner: bytes) -> None:
    _check(row, (len(owner) in (0, KEY_BYTES), f"its owner has {len(owner)} bytes, not 0 or {KEY_BYTES}"))


def _check_raw(row: object, raw: bytes) -> None:
    _check(row, (0 < len(raw) <= MAX_RECORD, f"its record has {len(raw)} bytes, not 1-{MAX_RECORD}"))


def _check_key(row: object, key: bytes) -> None:
    _check(row, (len(key) == KEY_BYTES, f"its key has {len(key)} bytes, not {KEY_BYTES}"))


def _check_name(row: object, name: str) -> None:
    _check(row, (name.isascii() and 0 < len(name) <= 64, f"its name {name!r} is not 1-64 ASCII characters"))


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record held for others; one for each place and owner."""

    place: bytes
    owner: bytes
    """The owner's key; empty for an immutable record."""
    raw: bytes
    expires: float
    stored_at: float

    def __post_init__(self) -> None:
        _check_place(self, self.place)
        _check_owner(self, self.owner)
        _check_raw(self, self.raw)
        _check(self, (math.isfinite(self.expires) and math.isfinite(self.stored_at), "a time is not finite"))


@dataclass(frozen=True, slots=True)
class OwnRecord:
    """A record of our own that has to be published again; one for each place."""

    place: bytes
    raw: bytes
    salt: bytes
    kind: int
    republish_at: float

    def __post_init__(self) -> None:
        _check_place(self, self.place)
        _check_raw(self, self.raw)
        _check(
            self,
            (len(self.salt) <= MAX_SALT, f"its salt has {len(self.salt)} bytes, not 0-{MAX_SALT}"),
            (0 <= self.kind < 256, f"its kind is {self.kind}, not 0-255"),
            (math.isfinite(self.republish_at), "its time is not finite"),
        )


@dataclass(frozen=True, slots=True)
class SavedContact:
    """A DHT node that answered us; one for each key and family of addresses, at its latest address."""

    key: bytes
    ip: str
    port: int
    last_seen: float
    server: bool
    rtt: float | None = None
    """Smoothed round trip in seconds, once measured."""

    def __post_init__(self) -> None:
        _check_key(self, self.key)
        try:
            ipaddress.ip_address(self.ip)
        except ValueError:
            raise BadRow("SavedContact", f"{self.ip!r} is not an IP address") from None
        _check(
            self,
            (0 < self.port < 65536, f"its port is {self.port}, not 1-65535"),
            (math.isfinite(self.last_seen), "its time is not finite"),
            (self.rtt is None or (math.isfinite(self.rtt) and self.rtt >= 0), f"its round trip is {self.rtt}"),
        )

    @property
    def row(self) -> bytes:
        """What names its row: the key, and a mark behind that of an IPv6 contact."""
        return self.key + V6_ROW if ":" in self.ip else self.key


@dataclass(frozen=True, slots=True)
class Meta:
    """A single value under a name, such as the last good bootstrap list."""

    name: str
    value: bytes

    def __post_init__(self) -> None:
        _check_name(self, self.name)
        _check(self, (len(self.value) <= MAX_META, f"{self.name} has {len(self.value)} bytes, over {MAX_META}"))


@dataclass(frozen=True, slots=True)
class DropHeld:
    """Forget the held record of `owner` at `place`."""

    place: bytes
    owner: bytes

    def __post_init__(self) -> None:
        _check_place(self, self.place)
        _check_owner(self, self.owner)


@dataclass(frozen=True, slots=True)
class DropOwn:
    """Publish our record at `place` no more."""

    place: bytes

    def __post_init__(self) -> None:
        _check_place(self, self.place)


@dataclass(frozen=True, slots=True)
class DropContact:
    """Forget the node with `key`, in both families."""

    key: bytes

    def __post_init__(self) -> None:
        _check_key(self, self.key)


@dataclass(frozen=True, slots=True)
class DropMeta:
    """Forget the value under `name`."""

    name: str

    def __post_init__(self) -> None:
        _check_name(self, self.name)


@dataclass(frozen=True, slots=True)
class PurgeExpired:
    """Forget every held record that expires at `now` or before."""

    now: float

    def __post_init__(self) -> None:
        _check(self, (math.isfinite(self.now), "its time is not finite"))


Change = HeldRecord | OwnRecord | SavedContact | Meta | DropHeld | DropOwn | DropContact | DropMeta | PurgeExpired
"""What `write` takes: a row puts itself in place of its older self, a Drop takes it away."""


def row_key(change: Change) -> tuple[object, ...]:
    """Name the row that `change` speaks of: of two changes with one name, the later makes the earlier pointless."""
    match change:
        case HeldRecord() | DropHeld():
            return ("held", change.place, change.owner)
        case OwnRecord() | DropOwn():
            return ("own", change.place)
        case SavedContact():
            return ("contact", change.row)
        case DropContact():
            return ("contact", change.key)
        case Meta() | DropMeta():
            return ("meta", change.name)
        case PurgeExpired():
            return ("purge",)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a node starts from."""

    held: tuple[HeldRecord, ...] = ()
    """Longest-living first."""
    own: tuple[OwnRecord, ...] = ()
    """By place."""
    contacts: tuple[SavedContact, ...] = ()
    """Most recently seen first."""
    meta: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StorageFailing:
    """Rows could not be committed; they are kept in memory and tried again. Reported once, until it works again."""

    error: StorageError
    waiting: int
    """Rows not yet on disk."""


@dataclass(frozen=True, slots=True)
class StorageRecovered:
    """Rows are committed again after a failure, or after more had to wait than may."""

    lost: int
    """Rows dropped meanwhile, because too many waited."""


StorageEvent = StorageFailing | StorageRecovered


def check_sequence(place: bytes, at_least: int) -> None:
    """Raise `BadRow` unless the arguments of `next_sequence` are in their bounds."""
    if len(place) != ID_BYTES:
        raise BadRow("a sequence number", f"its place has {len(place)} bytes, not {ID_BYTES}")
    if not 0 <= at_least <= MAX_SEQ:
        raise BadRow("a sequence number", f"{at_least} is not in 0-{MAX_SEQ}")


def sequence_floor(now: float) -> int:
    """Return what to ask `next_sequence` for at least: the time in Unix milliseconds.

    A place is published less than once a millisecond over its life, so numbers given earlier are below the clock: a
    journal lost, or set aside as corrupt, does not take the numbers back. A clock set back is covered by the journal.
    Only both at once would repeat a number, and then holders refuse the record, and the receipt says so.
    """
    return max(0, int(now * 1000))


@runtime_checkable
class Storage(Protocol):
    """The memory of a node beyond its process."""

    def write(self, *changes: Change) -> None:
        """Queue changes, in order; they are durable soon, or at the latest after `flush`. Raises `StorageClosed`."""

    async def load(self, *, max_held: int = MAX_HELD_LOADED, max_contacts: int = MAX_CONTACTS_KEPT) -> Snapshot:
        """Return what is stored, queued changes included. Raises `StorageError`."""

    async def next_sequence(self, place: bytes, at_least: int) -> int:
        """Return a number of at least `at_least` and above every one returned for `place` before.

        It is on disk before it is returned. Raises `StorageError` when it cannot be; none is used up then.
        """

    def next_event(self) -> StorageEvent | None:
        """Return the next thing that happened to the storage by itself, or None."""

    async def flush(self) -> None:
        """Return once everything written so far is on disk. Raises `StorageError` when it cannot be."""

    async def close(self) -> None:
        """Flush and let go of everything held, even when the flush fails, whose `StorageError` is then raised."""
