"""Files over links: whole, resumed, refused, broken, hostile."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dht.errors import LocalError
from dht.identity import IdentityKey
from node.adapters.file_store import BLOCK, Part
from node.adapters.files import FileReceiver, IncomingFile, ReceiveOutcome, send_file
from node.adapters.memory_link import MemoryLinkPair
from node.ports import Stream
from node.protocols.stream_events import INITIAL_CONNECTION_WINDOW, INITIAL_STREAM_WINDOW, StreamConfig
from node.protocols.transfer import (
    STREAM_NAME,
    Accepted,
    Confirmed,
    FileOffer,
    SenderSide,
    TransferFault,
)

ALICE = IdentityKey.from_seed(bytes(31) + b"\1").public
BOB = IdentityKey.from_seed(bytes(31) + b"\2").public


def pattern(size: int) -> bytes:
    return hashlib.shake_128(b"pattern").digest(size)


SMALL = StreamConfig(stream_window=INITIAL_STREAM_WINDOW, connection_window=INITIAL_CONNECTION_WINDOW)
"""So that a sender is never a whole file ahead of what was written."""


@pytest.fixture
async def pair() -> AsyncIterator[MemoryLinkPair]:
    made = MemoryLinkPair(ALICE, BOB, config=SMALL)
    yield made
    await made.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(pattern(3 * BLOCK + 12_345))
    return path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return tmp_path / "in"


def receiver(pair: MemoryLinkPair, inbox: Path, **options: Any) -> FileReceiver:
    made = FileReceiver(inbox, reserve=0, **options)
    made.attach(pair.far)
    return made


def parts(inbox: Path) -> list[Path]:
    return sorted(inbox.glob("*.part"))


async def test_a_file_arrives_whole(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    taken = receiver(pair, inbox)
    seen: list[int] = []
    sent = await send_file(pair.near, source, on_progress=lambda done, size: seen.append(done))
    got = await taken.outcomes.get()
    data = source.read_bytes()
    assert sent.ok
    assert got.ok
    assert (sent.digest, sent.size, sent.sent) == (hashlib.sha256(data).digest(), len(data), len(data))
    assert got.path == inbox / "holiday.jpg"
    assert got.path.read_bytes() == data
    assert got.digest == sent.digest
    assert seen == sorted(seen)
    assert seen[-1] == len(data)
    assert parts(inbox) == []
    assert abs(got.path.stat().st_mtime - source.stat().st_mtime) < 1


async def test_an_empty_file_arrives(pair: MemoryLinkPair, tmp_path: Path, inbox: Path) -> None:
    receiver(pair, inbox)
    (tmp_path / "nothing").write_bytes(b"")
    assert (await send_file(pair.near, tmp_path / "nothing")).ok
    assert (inbox / "nothing").read_bytes() == b""


async def test_an_existing_file_is_never_replaced(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    receiver(pair, inbox)
    inbox.mkdir()
    (inbox / "holiday.jpg").write_bytes(b"mine")
    first = await send_file(pair.near, source)
    second = await send_file(pair.near, source)
    assert (first.stored_as, second.stored_as) == ("holiday (1).jpg", "holiday (2).jpg")
    assert (inbox / "holiday.jpg").read_bytes() == b"mine"
    assert (inbox / "holiday (2).jpg").read_bytes() == source.read_bytes()


async def broken_after(pair: MemoryLinkPair, source: Path, inbox: Path, count: int) -> ReceiveOutcome:
    """Send until `count` bytes have come, then cut the link."""

    def cut(file: IncomingFile, done: int) -> None:
        if done >= count:
            pair.break_path()

    taken = receiver(pair, inbox, on_progress=cut)
    sent = await send_file(pair.near, source)
    assert sent.fault is TransferFault.LINK_LOST
    return await taken.outcomes.get()


async def test_a_break_leaves_a_part_and_a_new_link_resumes_it(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    lost = await broken_after(pair, source, inbox, BLOCK)
    assert lost.fault in (TransferFault.LINK_LOST, TransferFault.CANCELLED)
    assert not (inbox / "holiday.jpg").exists()
    (part,) = parts(inbox)
    have = part.stat().st_size
    assert have >= BLOCK
    again = MemoryLinkPair(ALICE, BOB)
    taken = receiver(again, inbox)
    sent = await send_file(again.near, source)
    assert (sent.ok, sent.resumed_at, sent.sent) == (True, have, sent.size - have)
    assert (await taken.outcomes.get()).resumed_at == have
    assert (inbox / "holiday.jpg").read_bytes() == source.read_bytes()
    assert parts(inbox) == []
    await again.close()


async def test_a_part_that_is_no_beginning_of_the_file_is_started_over(
    pair: MemoryLinkPair, source: Path, inbox: Path
) -> None:
    await broken_after(pair, source, inbox, BLOCK)
    (part,) = parts(inbox)
    with part.open("r+b") as file:
        file.write(b"altered")
    again = MemoryLinkPair(ALICE, BOB)
    receiver(again, inbox)
    sent = await send_file(again.near, source)
    assert (sent.ok, sent.resumed_at) == (True, 0)
    assert (inbox / "holiday.jpg").read_bytes() == source.read_bytes()
    await again.close()


async def test_a_confirmation_lost_on_the_way_does_not_make_a_second_copy(
    pair: MemoryLinkPair, source: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Part.finish

    def finish(part: Part, digest: bytes) -> Path:
        path = original(part, digest)
        loop.call_soon_threadsafe(pair.break_path)
        monkeypatch.undo()
        return path

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(Part, "finish", finish)
    taken = receiver(pair, inbox)
    first = await send_file(pair.near, source)
    got = await taken.outcomes.get()
    again = MemoryLinkPair(ALICE, BOB)
    taken.attach(again.far)
    second = await send_file(again.near, source)
    assert (second.ok, second.stored_as) == (True, "holiday.jpg")
    assert got.ok
    assert [path.name for path in inbox.iterdir()] == ["holiday.jpg"]
    assert (first.fault, second.sent) == (TransferFault.LINK_LOST, 0)
    await again.close()


async def test_a_changed_source_is_another_transfer(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    await broken_after(pair, source, inbox, BLOCK)
    source.write_bytes(b"new" + source.read_bytes())
    again = MemoryLinkPair(ALICE, BOB)
    receiver(again, inbox)
    sent = await send_file(again.near, source)
    assert (sent.ok, sent.resumed_at) == (True, 0)
    assert (inbox / "holiday.jpg").read_bytes() == source.read_bytes()
    await again.close()


async def test_another_peer_cannot_continue_a_part(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    await broken_after(pair, source, inbox, BLOCK)
    stranger = MemoryLinkPair(IdentityKey.from_seed(bytes(31) + b"\3").public, BOB)
    receiver(stranger, inbox)
    sent = await send_file(stranger.near, source)
    assert (sent.ok, sent.resumed_at) == (True, 0)
    assert len(parts(inbox)) == 1
    await stranger.close()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"max_size": 10}, TransferFault.TOO_BIG),
        ({"accept": lambda file: False}, TransferFault.NOT_WANTED),
        ({"max_parallel": 0}, TransferFault.BUSY),
    ],
)
async def test_a_refusal_names_its_reason(
    pair: MemoryLinkPair, source: Path, inbox: Path, options: dict[str, Any], fault: TransferFault
) -> None:
    taken = receiver(pair, inbox, **options)
    sent = await send_file(pair.near, source)
    assert (sent.fault, sent.by_peer) == (fault, True)
    assert (await taken.outcomes.get()).fault is fault
    assert list(inbox.glob("*")) == []


async def test_a_policy_may_take_its_time(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    async def ask(file: IncomingFile) -> bool:
        await asyncio.sleep(0)
        return (file.name, file.peer) == ("holiday.jpg", ALICE)

    receiver(pair, inbox, accept=ask)
    assert (await send_file(pair.near, source)).ok


async def test_too_little_space_is_said_before_a_byte_is_sent(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    taken = FileReceiver(inbox, reserve=2**62)
    taken.attach(pair.far)
    sent = await send_file(pair.near, source)
    assert (sent.fault, sent.sent) == (TransferFault.NO_SPACE, 0)
    assert list(inbox.glob("*")) == []


async def test_a_disk_that_fills_up_stops_the_transfer_and_keeps_the_part(
    pair: MemoryLinkPair, source: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Part.write

    class FullDisk:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            return

    def write(part: Part, data: bytes) -> None:
        if part.have >= BLOCK:
            assert part._file is not None
            part._file.close()
            part._file = FullDisk()  # type: ignore[assignment]
        original(part, data)

    monkeypatch.setattr(Part, "write", write)
    taken = receiver(pair, inbox)
    sent = await send_file(pair.near, source)
    assert (sent.fault, sent.by_peer) == (TransferFault.NO_SPACE, True)
    assert (await taken.outcomes.get()).fault is TransferFault.NO_SPACE
    assert not (inbox / "holiday.jpg").exists()
    assert len(parts(inbox)) == 1


async def test_what_was_altered_on_the_way_is_thrown_away(
    pair: MemoryLinkPair, source: Path, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Part.write
    monkeypatch.setattr(Part, "write", lambda part, data: original(part, b"\0" + data[1:]))
    taken = receiver(pair, inbox)
    sent = await send_file(pair.near, source)
    assert (sent.fault, sent.by_peer) == (TransferFault.HASH_MISMATCH, True)
    assert (await taken.outcomes.get()).path is None
    assert list(inbox.glob("*")) == []


async def test_a_source_that_changes_meanwhile_is_noticed(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    taken = receiver(pair, inbox)

    def grow(done: int, size: int) -> None:
        if done == size:
            with source.open("ab") as file:
                file.write(b"more")

    sent = await send_file(pair.near, source, on_progress=grow)
    assert sent.fault is TransferFault.SOURCE_CHANGED
    got = await taken.outcomes.get()
    assert (got.fault, got.by_peer) == (TransferFault.SOURCE_CHANGED, True)
    assert not (inbox / "holiday.jpg").exists()


async def test_the_sender_may_cancel(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    started = asyncio.Event()
    taken = receiver(pair, inbox)
    sending = asyncio.create_task(send_file(pair.near, source, on_progress=lambda done, size: started.set()))
    await started.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    got = await taken.outcomes.get()
    assert got.path is None
    assert got.by_peer
    assert not (inbox / "holiday.jpg").exists()


async def test_the_receiver_may_cancel(pair: MemoryLinkPair, source: Path, inbox: Path) -> None:
    def stop(file: IncomingFile, done: int) -> None:
        if done < file.size:
            assert taken.cancel("holiday.jpg")

    taken = receiver(pair, inbox, on_progress=stop)
    sent = await send_file(pair.near, source)
    assert (sent.fault, sent.by_peer) == (TransferFault.CANCELLED, True)
    assert (await taken.outcomes.get()).fault is TransferFault.CANCELLED
    assert taken.cancel("holiday.jpg") is False


async def test_nobody_serving_files_is_an_outcome(source: Path) -> None:
    pair = MemoryLinkPair(ALICE, BOB)
    sending = asyncio.create_task(send_file(pair.near, source))
    incoming = await pair.far.accept_stream()
    incoming.reset(1)
    assert (await sending).fault is TransferFault.LINK_LOST
    await pair.close()
    assert (await send_file(pair.near, source)).fault is TransferFault.LINK_LOST


async def test_a_source_that_cannot_be_read_is_our_own_mistake(pair: MemoryLinkPair, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot read"):
        await send_file(pair.near, tmp_path / "missing")
    with pytest.raises(LocalError, match="cannot read"):
        await send_file(pair.near, tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "C:\\x\\y.txt"])
async def test_only_the_last_part_of_a_hostile_path_counts(
    pair: MemoryLinkPair, tmp_path: Path, inbox: Path, name: str
) -> None:
    taken = receiver(pair, inbox)
    await push(pair, name, b"data")
    got = await taken.outcomes.get()
    assert got.path is not None
    assert got.path.parent == inbox
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "...", "a/", ".bashrc", "nul", "COM1.txt", "\ud800".encode("utf-8", "surrogatepass")]
)
async def test_a_name_that_is_none_is_refused(pair: MemoryLinkPair, inbox: Path, name: str | bytes) -> None:
    taken = receiver(pair, inbox)
    await push(pair, name, b"data")
    assert (await taken.outcomes.get()).fault in (TransferFault.BAD_NAME, TransferFault.PROTOCOL)
    assert list(inbox.glob("*")) == []


async def test_a_link_in_place_of_the_part_is_not_followed(
    pair: MemoryLinkPair, source: Path, inbox: Path, tmp_path: Path
) -> None:
    await broken_after(pair, source, inbox, BLOCK)
    (part,) = parts(inbox)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part.unlink()
    part.symlink_to(victim)
    again = MemoryLinkPair(ALICE, BOB)
    receiver(again, inbox)
    sent = await send_file(again.near, source)
    assert sent.fault is TransferFault.IO_ERROR
    assert victim.read_bytes() == b"precious"
    await again.close()


async def push(pair: MemoryLinkPair, name: str | bytes, data: bytes) -> None:
    """Send as a sender that does not look at its own name would."""
    side = SenderSide(FileOffer(bytes(16), "placeholder", len(data), 0))
    side.data_to_send()
    side._say(1, bytes(16), name, len(data), 0)
    stream = await pair.near.open_stream(STREAM_NAME)
    await stream.write(side.data_to_send())
    event = await read_event(side, stream)
    if isinstance(event, Accepted):
        side.start(0)
        side.end(hashlib.sha256(data).digest())
        start, end = side._output
        await stream.write(start + data + end)
        assert isinstance(await read_event(side, stream), Confirmed)
        # Else the receiver waits to see whether its word arrived.
        await stream.close()


async def read_event(side: SenderSide, stream: Stream) -> object:
    while (event := side.next_event()) is None:
        received = await stream.read()
        assert received
        side.receive_data(received)
    return event
