"""The journal file: when rows reach it, what a full disk does, and which files are refused."""

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from node.adapters import sqlite as sqlite_adapter
from node.adapters import sqlite_rows
from node.adapters.sqlite import SqliteStorage, set_aside_corrupt
from node.adapters.sqlite_schema import APPLICATION_ID, MIGRATIONS, open_journal
from node.storage import (
    HeldRecord,
    Meta,
    StorageCorrupt,
    StorageFailing,
    StorageForeign,
    StorageFull,
    StorageRecovered,
    StorageTooNew,
    StorageUnavailable,
)

PLACE = bytes(20)


def held(number: int) -> HeldRecord:
    return HeldRecord(number.to_bytes(20, "big"), bytes(32), bytes(1000), 100.0, 1.0)


def rows(path: Path) -> int:
    with sqlite3.connect(path) as other:
        count = other.execute("SELECT COUNT(*) FROM held").fetchone()[0]
    other.close()
    assert isinstance(count, int)
    return count


async def wait_for_rows(path: Path, wanted: int) -> None:
    async with asyncio.timeout(20):
        while rows(path) < wanted:
            await asyncio.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_the_file_is_private(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    storage.write(held(1))
    await storage.flush()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    await storage.close()
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


async def test_rows_are_committed_by_themselves(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    storage.write(held(1))
    assert rows(path) == 0
    await wait_for_rows(path, 1)
    storage.write(held(2))
    await wait_for_rows(path, 2)
    await storage.close()


async def test_many_rows_do_not_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_adapter, "COMMIT_DELAY", 3600.0)
    storage = await SqliteStorage.open(path)
    storage.write(*(held(number) for number in range(sqlite_adapter.COMMIT_ROWS)))
    await wait_for_rows(path, sqlite_adapter.COMMIT_ROWS)
    await storage.close()


async def test_a_sequence_number_is_on_disk_when_it_is_returned(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    number = await storage.next_sequence(PLACE, 41)
    other = sqlite3.connect(path)
    stored = other.execute("SELECT last FROM sequences WHERE place = ?", (PLACE,)).fetchone()[0]
    other.close()
    await storage.close()
    assert stored == number == 41


async def test_sequence_numbers_are_synced_and_batches_are_fast_again_after(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    statements: list[str] = []
    await storage._run(lambda db: db.set_trace_callback(statements.append))
    await storage.next_sequence(PLACE, 1)
    await storage._run(lambda db: db.set_trace_callback(None))
    await storage.close()
    kept = [text for text in statements if text.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    assert kept == ["PRAGMA synchronous = FULL", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA synchronous = NORMAL"]


async def test_a_full_disk_is_reported_once_and_nothing_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_adapter, "RETRY_DELAY", 0.02)
    storage = await SqliteStorage.open(path, max_bytes=200_000)
    storage.write(*(held(number) for number in range(400)))
    with pytest.raises(StorageFull, match="Free some space"):
        await storage.flush()
    assert rows(path) == 0, "a batch is committed whole or not at all"
    event = storage.next_event()
    assert isinstance(event, StorageFailing)
    assert isinstance(event.error, StorageFull)
    assert event.waiting == 400
    storage.write(held(400))
    with pytest.raises(StorageFull):
        await storage.flush()
    assert storage.next_event() is None
    await storage._run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    await wait_for_rows(path, 401)
    await storage.flush()
    assert storage.next_event() == StorageRecovered(lost=0)
    await storage.close()


async def test_a_full_disk_uses_up_no_sequence_number(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    assert await storage.next_sequence(PLACE, 5) == 5
    full = await storage._run(
        lambda db: db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}").fetchone()
    )
    assert full
    with pytest.raises(StorageFull):
        for number in range(1, 1000):
            await storage.next_sequence(number.to_bytes(20, "big"), 0)
    await storage._run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    assert await storage.next_sequence(PLACE, 5) == 6
    await storage.close()


async def test_what_waits_on_a_full_disk_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_adapter, "MAX_WAITING", 100)
    storage = await SqliteStorage.open(path, max_bytes=60_000)
    storage.write(*(held(number) for number in range(100)))
    with pytest.raises(StorageFull):
        await storage.flush()
    storage.write(*(held(number) for number in range(100, 130)))
    await storage._run(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    await storage.flush()
    assert [record.place[-1] for record in (await storage.load()).held] == list(range(30, 130))
    assert isinstance(storage.next_event(), StorageFailing)
    assert storage.next_event() == StorageRecovered(lost=30)
    await storage.close()


async def test_rows_dropped_with_no_failure_are_reported_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_adapter, "MAX_WAITING", 10)
    storage = await SqliteStorage.open(path)
    storage.write(*(held(number) for number in range(30)))
    assert len((await storage.load()).held) == 10
    assert storage.next_event() == StorageRecovered(lost=20)
    await storage.close()


async def test_close_tells_what_could_not_be_saved_and_lets_go(path: Path) -> None:
    storage = await SqliteStorage.open(path, max_bytes=60_000)
    storage.write(*(held(number) for number in range(200)))
    with pytest.raises(StorageFull):
        await storage.close()
    again = await SqliteStorage.open(path)
    assert (await again.load()).held == ()
    await again.close()


async def test_a_cancelled_close_still_saves(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    storage.write(held(1))
    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await storage.close()
    assert rows(path) == 1


async def test_a_damaged_journal_is_named_and_can_be_set_aside(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    storage.write(*(held(number) for number in range(200)))
    await storage.close()
    content = bytearray(path.read_bytes())
    content[8192:40960] = os.urandom(32768)
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt, match=r"journal\.db: is damaged .*Set it aside") as caught:
        await SqliteStorage.open(path)
    assert "\n" not in str(caught.value)
    moved = set_aside_corrupt(path, 1_800_000_000.0)
    assert moved.name == "journal.db.corrupt-20270115T080000Z"
    assert moved.read_bytes() == content
    fresh = await SqliteStorage.open(path)
    assert (await fresh.load()).held == ()
    await fresh.close()
    assert set_aside_corrupt(path, 1_800_000_000.0).name == "journal.db.corrupt-20270115T080000Z-2"


async def test_the_log_goes_aside_with_its_database(path: Path) -> None:
    path.write_bytes(b"database")
    path.with_name("journal.db-wal").write_bytes(b"log")
    moved = set_aside_corrupt(path, 0.0)
    assert sorted(file.name for file in path.parent.iterdir()) == [moved.name, f"{moved.name}-wal"]


async def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"dear diary, " * 100)
    with pytest.raises(StorageCorrupt, match="is damaged"):
        await SqliteStorage.open(path)
    assert path.read_bytes() == b"dear diary, " * 100


async def test_another_programs_database_is_not_touched(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(StorageForeign, match="another program's"):
        await SqliteStorage.open(path)
    assert path.read_bytes() == before


async def test_a_newer_journal_is_refused(path: Path) -> None:
    open_journal(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    with pytest.raises(StorageTooNew, match="newer release"):
        await SqliteStorage.open(path)


def test_an_older_journal_is_migrated_and_keeps_its_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = open_journal(path)
    old.execute("INSERT INTO meta VALUES ('a', x'01')")
    old.close()
    more = (*MIGRATIONS, ("ALTER TABLE meta ADD COLUMN note TEXT", "UPDATE meta SET note = 'moved'"))
    monkeypatch.setattr("node.adapters.sqlite_schema.MIGRATIONS", more)
    new = open_journal(path)
    assert new.execute("SELECT * FROM meta").fetchall() == [("a", b"\x01", "moved")]
    assert new.execute("PRAGMA user_version").fetchone() == (2,)
    assert new.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    new.close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_journal(path).close()
    broken = (*MIGRATIONS, ("CREATE TABLE half (x)", "CREATE TABLE meta (x)"))
    monkeypatch.setattr("node.adapters.sqlite_schema.MIGRATIONS", broken)
    with pytest.raises(StorageUnavailable, match="already exists"):
        open_journal(path)
    monkeypatch.undo()
    db = open_journal(path)
    assert db.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'half'").fetchone() == (0,)
    db.close()


async def test_a_folder_in_its_place_is_one_clear_line(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        await SqliteStorage.open(path)


async def test_a_write_costs_the_loop_no_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = await SqliteStorage.open(path)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = sqlite_rows.apply_changes

    def slow(db: sqlite3.Connection, changes: object) -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)
        real(db, changes)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_adapter, "apply_changes", slow)
    storage.write(Meta("a", b"1"))
    flushing = asyncio.create_task(storage.flush())
    await asyncio.sleep(0)
    storage.write(Meta("a", b"2"))
    assert not flushing.done(), "the loop goes on while the thread is in a commit"
    gate.set()
    await flushing
    assert (await storage.load()).meta == {"a": b"2"}
    await storage.close()
