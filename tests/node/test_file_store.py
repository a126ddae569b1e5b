"""Parts on the disk: what is in them, and how long they wait for their sender."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from dht.identity import IdentityKey
from node.adapters.file_store import BLOCK, PART_LIFETIME, Part
from node.adapters.files import FileReceiver, send_file
from node.adapters.memory_link import MemoryLinkPair
from node.protocols.stream_events import INITIAL_CONNECTION_WINDOW, INITIAL_STREAM_WINDOW, StreamConfig
from node.protocols.transfer import FileOffer

ALICE = IdentityKey.from_seed(bytes(31) + b"\1").public
BOB = IdentityKey.from_seed(bytes(31) + b"\2").public
TOKEN = "0123456789abcdef"


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_an_abandoned_part_is_deleted_before_the_next_transfer(tmp_path: Path) -> None:
    source, inbox = tmp_path / "new", tmp_path / "in"
    source.write_bytes(b"content")
    inbox.mkdir()
    abandoned, *kept = f"old.{TOKEN}.part", f"young.{TOKEN}.part", "old.part", f"old.{TOKEN}.part.txt"
    for name in (abandoned, *kept):
        (inbox / name).write_bytes(b"x")
        aged(inbox / name, PART_LIFETIME + (-600 if name.startswith("young") else 600))
    (tmp_path / "theirs").write_bytes(b"x")
    (inbox / f"link.{TOKEN}.part").symlink_to(tmp_path / "theirs")
    pair = MemoryLinkPair(ALICE, BOB)
    try:
        FileReceiver(inbox, reserve=0).attach(pair.far)
        assert (await send_file(pair.near, source)).ok
    finally:
        await pair.close()
    assert {path.name for path in inbox.iterdir()} == {*kept, f"link.{TOKEN}.part", "new"}


async def test_a_folder_that_is_not_there_has_no_parts(tmp_path: Path) -> None:
    await FileReceiver(tmp_path / "none").sweep()
    assert not (tmp_path / "none").exists()


def test_an_old_part_that_is_continued_is_young_again(tmp_path: Path) -> None:
    offer = FileOffer(bytes(16), "x", 10, 0)
    for _ in range(2):
        part = Part(tmp_path, offer, ALICE.raw, 0)
        part.open()
        part.close()
        age = time.time() - part.path.stat().st_mtime
        assert age < PART_LIFETIME / 2
        aged(part.path, PART_LIFETIME + 600)


async def test_a_sender_that_gives_up_leaves_the_beginning_of_its_file(tmp_path: Path) -> None:
    """Its last words once became part of the file, and the next try had to start over."""
    source, inbox = tmp_path / "long", tmp_path / "in"
    source.write_bytes(os.urandom(8 * BLOCK))
    pair = MemoryLinkPair(
        ALICE,
        BOB,
        config=StreamConfig(stream_window=INITIAL_STREAM_WINDOW, connection_window=INITIAL_CONNECTION_WINDOW),
    )
    receiver = FileReceiver(inbox, reserve=0)
    receiver.attach(pair.far)
    under_way = asyncio.Event()

    def progress(done: int, total: int) -> None:
        if done > 3 * BLOCK:
            under_way.set()

    try:
        first = asyncio.create_task(send_file(pair.near, source, on_progress=progress))
        await asyncio.wait_for(under_way.wait(), 20)
        first.cancel()
        await asyncio.wait([first])
        broken = await asyncio.wait_for(receiver.outcomes.get(), 20)
        assert broken.path is None
        [part] = inbox.iterdir()
        assert source.read_bytes().startswith(part.read_bytes())
        outcome = await send_file(pair.near, source)
        assert outcome.ok
        assert outcome.resumed_at >= BLOCK
    finally:
        await pair.close()
    assert (inbox / "long").read_bytes() == source.read_bytes()
