"""What every implementation of the port `Storage` must do: one body of tests for the file and for memory."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dht.records import MAX_SEQ
from node.adapters.memory_storage import MemoryStorage, Rows
from node.adapters.sqlite import SqliteStorage
from node.storage import (
    MAX_CONTACTS_KEPT,
    BadRow,
    DropContact,
    DropHeld,
    DropMeta,
    DropOwn,
    HeldRecord,
    Meta,
    OwnRecord,
    PurgeExpired,
    SavedContact,
    Storage,
    StorageClosed,
    sequence_floor,
)

Opener = Callable[[], Awaitable[Storage]]
PLACE = bytes(20)
KEY = bytes(32)


async def open_memory(rows: Rows) -> MemoryStorage:
    return MemoryStorage(rows)


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the storage again as a restarted node would."""
    if request.param == "memory":
        return functools.partial(open_memory, Rows())
    return functools.partial(SqliteStorage.open, tmp_path / "journal.db")


@pytest.fixture
async def storage(reopen: Opener) -> AsyncIterator[Storage]:
    opened = await reopen()
    yield opened
    await opened.close()


def held(number: int, expires: float = 100.0, owner: bytes = KEY) -> HeldRecord:
    return HeldRecord(number.to_bytes(20, "big"), owner, b"raw%d" % number, expires, 1.5)


def contact(number: int, last_seen: float) -> SavedContact:
    return SavedContact(number.to_bytes(32, "big"), "192.0.2.7", 7716, last_seen, True, 0.25)


async def test_implements_the_port(storage: Storage) -> None:
    assert isinstance(storage, Storage)
    assert storage.next_event() is None


async def test_new_storage_is_empty(storage: Storage) -> None:
    found = await storage.load()
    assert (found.held, found.own, found.contacts, found.meta) == ((), (), (), {})


async def test_everything_survives_a_restart(reopen: Opener) -> None:
    first = await reopen()
    own = OwnRecord(PLACE, b"own", b"salt", 2, 44.5)
    silent = SavedContact(KEY, "2001:db8::1", 1, 9.0, False, None)
    first.write(held(1), own, contact(1, 10.0), silent, Meta("list", b"\x00signed"))
    await first.close()
    second = await reopen()
    found = await second.load()
    await second.close()
    assert found.held == (held(1),)
    assert found.own == (own,)
    assert found.contacts == (contact(1, 10.0), silent)
    assert found.meta == {"list": b"\x00signed"}


async def test_a_node_with_two_families_has_two_rows(reopen: Opener) -> None:
    first = await reopen()
    four, six = SavedContact(KEY, "11.0.0.1", 1, 9.0, True), SavedContact(KEY, "2001:db8::1", 1, 8.0, True)
    moved = SavedContact(KEY, "2001:db8::2", 2, 10.0, True)
    first.write(four, six)
    await first.flush()
    first.write(moved)
    await first.close()
    second = await reopen()
    assert (await second.load()).contacts == (moved, four)
    second.write(DropContact(KEY))
    assert (await second.load()).contacts == ()
    await second.close()


async def test_load_sees_what_was_just_written(storage: Storage) -> None:
    storage.write(held(1))
    assert (await storage.load()).held == (held(1),)


async def test_the_later_row_replaces_the_earlier(storage: Storage) -> None:
    newer = HeldRecord(held(1).place, KEY, b"newer", 200.0, 2.0)
    storage.write(held(1), Meta("clock", b"1"))
    await storage.flush()
    storage.write(newer, Meta("clock", b"2"))
    found = await storage.load()
    assert found.held == (newer,)
    assert found.meta == {"clock": b"2"}


async def test_owners_under_one_place_are_apart(storage: Storage) -> None:
    storage.write(held(1, owner=b"\x01" * 32), held(1, owner=b"\x02" * 32), held(1, owner=b""))
    storage.write(DropHeld(held(1).place, b"\x01" * 32))
    assert {record.owner for record in (await storage.load()).held} == {b"\x02" * 32, b""}


async def test_drops_take_rows_away(storage: Storage) -> None:
    storage.write(held(1), OwnRecord(PLACE, b"own", b"", 1, 0.0), contact(1, 1.0), Meta("a", b"b"))
    await storage.flush()
    storage.write(DropHeld(held(1).place, KEY), DropOwn(PLACE), DropContact(contact(1, 1.0).key), DropMeta("a"))
    found = await storage.load()
    assert (found.held, found.own, found.contacts, found.meta) == ((), (), (), {})


async def test_dropping_what_is_not_there_is_no_fault(storage: Storage) -> None:
    storage.write(DropHeld(PLACE, b""), DropOwn(PLACE), DropContact(KEY), DropMeta("x"))
    await storage.flush()
    assert storage.next_event() is None


async def test_purge_takes_what_has_expired_and_no_more(storage: Storage) -> None:
    storage.write(held(1, 10.0), held(2, 11.0), held(3, 12.0), PurgeExpired(11.0))
    assert (await storage.load()).held == (held(3, 12.0),)


async def test_purge_spares_what_came_after_it(storage: Storage) -> None:
    storage.write(held(1, 10.0), PurgeExpired(11.0), held(1, 10.5))
    assert (await storage.load()).held == (held(1, 10.5),)


async def test_load_is_bounded_and_takes_the_longest_living(storage: Storage) -> None:
    storage.write(*(held(number, float(number)) for number in range(1, 30)))
    found = await storage.load(max_held=2)
    assert found.held == (held(29, 29.0), held(28, 28.0))


async def test_contacts_are_bounded_and_the_freshest_stay(storage: Storage) -> None:
    storage.write(*(contact(number, float(number)) for number in range(1, MAX_CONTACTS_KEPT + 51)))
    found = await storage.load(max_contacts=2 * MAX_CONTACTS_KEPT)
    assert len(found.contacts) == MAX_CONTACTS_KEPT
    assert found.contacts[0].last_seen == MAX_CONTACTS_KEPT + 50
    assert found.contacts[-1].last_seen == 51
    assert len((await storage.load(max_contacts=20)).contacts) == 20


async def test_sequences_only_grow(storage: Storage) -> None:
    assert await storage.next_sequence(PLACE, 0) == 0
    assert await storage.next_sequence(PLACE, 0) == 1
    assert await storage.next_sequence(PLACE, 500) == 500
    assert await storage.next_sequence(PLACE, 7) == 501
    assert await storage.next_sequence(b"\x01" * 20, 3) == 3


async def test_sequences_go_on_after_a_restart_with_the_clock_set_back(reopen: Opener) -> None:
    first = await reopen()
    before = await first.next_sequence(PLACE, sequence_floor(1_800_000_000.0))
    await first.close()
    second = await reopen()
    after = await second.next_sequence(PLACE, sequence_floor(1_500_000_000.0))
    await second.close()
    assert (before, after) == (1_800_000_000_000, 1_800_000_000_001)


async def test_the_last_sequence_number_is_not_passed(storage: Storage) -> None:
    assert await storage.next_sequence(PLACE, MAX_SEQ) == MAX_SEQ
    with pytest.raises(BadRow, match="used the last one"):
        await storage.next_sequence(PLACE, 0)


@pytest.mark.parametrize(("place", "at_least"), [(b"short", 0), (PLACE, -1), (PLACE, MAX_SEQ + 1)])
async def test_sequence_arguments_out_of_bounds_are_refused(storage: Storage, place: bytes, at_least: int) -> None:
    with pytest.raises(BadRow):
        await storage.next_sequence(place, at_least)


async def test_closed_storage_refuses_everything(reopen: Opener) -> None:
    storage = await reopen()
    await storage.close()
    await storage.close()
    with pytest.raises(StorageClosed):
        storage.write(held(1))
    for refused in (storage.load(), storage.flush(), storage.next_sequence(PLACE, 0)):
        with pytest.raises(StorageClosed):
            await refused


@pytest.mark.parametrize(
    "make",
    [
        lambda: HeldRecord(b"short", KEY, b"raw", 1.0, 1.0),
        lambda: HeldRecord(PLACE, b"short", b"raw", 1.0, 1.0),
        lambda: HeldRecord(PLACE, KEY, bytes(1001), 1.0, 1.0),
        lambda: HeldRecord(PLACE, KEY, b"", 1.0, 1.0),
        lambda: HeldRecord(PLACE, KEY, b"raw", float("nan"), 1.0),
        lambda: OwnRecord(PLACE, b"raw", bytes(65), 1, 1.0),
        lambda: OwnRecord(PLACE, b"raw", b"", 256, 1.0),
        lambda: SavedContact(KEY, "example.org", 1, 1.0, True),
        lambda: SavedContact(KEY, "192.0.2.1", 0, 1.0, True),
        lambda: SavedContact(KEY, "192.0.2.1", 1, 1.0, True, -0.1),
        lambda: SavedContact(KEY, "192.0.2.1", 1, float("inf"), True),
        lambda: Meta("", b""),
        lambda: Meta("big", bytes((1 << 20) + 1)),
        lambda: PurgeExpired(float("nan")),
        lambda: DropContact(b"short"),
    ],
)
def test_rows_out_of_bounds_are_refused_before_they_are_queued(make: Callable[[], object]) -> None:
    with pytest.raises(BadRow, match="cannot be stored"):
        make()
