"""What every `Link` must do, whatever carries it: the in-memory pair and WebRTC over loopback run the same tests, alone
and under a channel that outlives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from dht.errors import LocalError
from dht.identity import IdentityKey
from node.adapters.memory_link import MemoryChannelPair, MemoryLinkPair
from node.adapters.stream_link import StreamLink
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.ports import Link, LinkError, LinkFault, LinkPath, Opened, Stream, StreamEnded, StreamMisuse, StreamReset
from node.protocols.stream_events import (
    INITIAL_CONNECTION_WINDOW,
    INITIAL_STREAM_WINDOW,
    ResetCode,
    StreamConfig,
)
from tests.linking import lasting, lasting_over, linked

ALICE = IdentityKey.from_seed(bytes(31) + b"\1").public
BOB = IdentityKey.from_seed(bytes(31) + b"\2").public
SMALL = StreamConfig(
    stream_window=INITIAL_STREAM_WINDOW, connection_window=INITIAL_CONNECTION_WINDOW, send_buffer=65_536
)

LOOPBACK = WebRtcConfig(include_loopback=True, only_addresses=("127.0.0.1",))


@dataclass
class Ends:
    """Both ends of one link."""

    near: StreamLink
    far: StreamLink


async def memory_ends() -> Ends:
    pair = MemoryLinkPair(ALICE, BOB, config=SMALL)
    return Ends(pair.near, pair.far)


async def webrtc_ends() -> Ends:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    answer = await listener.answer(await dialler.offer())
    near, far = await asyncio.gather(
        linked(dialler, BOB, answer, timeout=20, config=SMALL), linked(listener, ALICE, timeout=20, config=SMALL)
    )
    return Ends(near, far)


async def lasting_memory_ends() -> Ends:
    pair = MemoryChannelPair()
    near, far = await asyncio.gather(
        lasting_over(Opened(pair.near, LinkPath()), BOB, initiated=True, config=SMALL),
        lasting_over(Opened(pair.far, LinkPath()), ALICE, initiated=False, config=SMALL),
    )
    return Ends(near, far)


async def lasting_webrtc_ends() -> Ends:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    answer = await listener.answer(await dialler.offer())
    near, far = await asyncio.gather(
        lasting(dialler, BOB, answer, timeout=20, config=SMALL), lasting(listener, ALICE, timeout=20, config=SMALL)
    )
    return Ends(near, far)


MAKERS: dict[str, Callable[[], Awaitable[Ends]]] = {
    "memory": memory_ends,
    "webrtc": webrtc_ends,
    "lasting-memory": lasting_memory_ends,
    "lasting-webrtc": lasting_webrtc_ends,
}


@pytest.fixture(params=sorted(MAKERS))
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    before = asyncio.all_tasks()
    made = await MAKERS[request.param]()
    yield made
    await made.near.close()
    await made.far.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if not task.done()} <= before | {asyncio.current_task()}


async def echo(stream: Stream) -> None:
    while data := await stream.read():
        await stream.write(data)


async def test_it_is_a_link_with_names_for_both_ends(ends: Ends) -> None:
    assert isinstance(ends.near, Link)
    assert (ends.near.peer, ends.far.peer) == (BOB, ALICE)
    assert (ends.near.initiated, ends.far.initiated) == (True, False)


async def test_echo_and_end(ends: Ends) -> None:
    ends.far.register("echo", echo)
    stream = await ends.near.open_stream("echo")
    assert isinstance(stream, Stream)
    assert stream.name == "echo"
    await stream.write(b"hello")
    assert await stream.read_exactly(5) == b"hello"
    await stream.close()
    assert await stream.read() == b""
    assert await stream.read() == b""


async def test_both_sides_may_open(ends: Ends) -> None:
    ends.near.register("echo", echo)
    stream = await ends.far.open_stream("echo")
    await stream.write(b"x" * 1000)
    assert await stream.read_exactly(1000) == b"x" * 1000


async def test_accept_stream_gets_what_no_handler_takes(ends: Ends) -> None:
    waiting = asyncio.create_task(ends.far.accept_stream())
    out = await ends.near.open_stream("by-hand")
    await out.write(b"1")
    incoming = await waiting
    assert incoming.name == "by-hand"
    assert await incoming.read() == b"1"


async def test_a_handler_registered_late_gets_the_stream_that_waits(ends: Ends) -> None:
    stream = await ends.near.open_stream("late")
    await stream.write(b"early bird")
    await ends.near.ping()
    ends.far.register("late", echo)
    assert await stream.read_exactly(10) == b"early bird"


async def test_many_bytes_arrive_in_order(ends: Ends) -> None:
    ends.far.register("echo", echo)
    stream = await ends.near.open_stream("echo")
    block = bytes(range(256)) * 300
    total = 40

    async def send() -> None:
        for i in range(total):
            await stream.write(i.to_bytes(4, "big") + block)
        await stream.close()

    sending = asyncio.create_task(send())
    for i in range(total):
        assert await stream.read_exactly(4) == i.to_bytes(4, "big")
        assert await stream.read_exactly(len(block)) == block
    assert await stream.read() == b""
    await sending


async def test_a_writer_waits_for_a_reader_that_does_not_read(ends: Ends) -> None:
    stream = await ends.near.open_stream("slow")
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            await stream.write(bytes(10_000))
            written += 10_000

    writing = asyncio.create_task(write())
    incoming = await ends.far.accept_stream()
    previous = -1
    while previous != written:
        previous = written
        for _ in range(3):
            await ends.near.ping()
    limit = SMALL.stream_window + SMALL.send_buffer
    assert limit - 10_000 <= written <= limit
    assert ends.far.mux.unread == SMALL.stream_window
    # Another stream is not held up by it.
    ends.far.register("echo", echo)
    other = await ends.near.open_stream("echo")
    await other.write(b"still here")
    assert await other.read_exactly(10) == b"still here"
    assert len(await incoming.read_exactly(SMALL.stream_window)) == SMALL.stream_window
    writing.cancel()


async def test_a_reset_reaches_the_other_side_with_its_code(ends: Ends) -> None:
    stream = await ends.near.open_stream("doomed")
    incoming = await ends.far.accept_stream()
    incoming.reset(300)
    with pytest.raises(StreamReset) as seen:
        await stream.read()
    assert (seen.value.code, seen.value.by_peer) == (300, True)
    with pytest.raises(StreamReset):
        await stream.write(b"x")
    with pytest.raises(StreamReset) as own:
        await incoming.read()
    assert own.value.by_peer is False


async def test_a_failing_handler_resets_its_stream_and_nothing_else(ends: Ends) -> None:
    async def fail(stream: Stream) -> None:
        raise ValueError("a bug of the handler")

    ends.far.register("bug", fail)
    ends.far.register("echo", echo)
    stream = await ends.near.open_stream("bug")
    with pytest.raises(StreamReset) as seen:
        await stream.read()
    assert seen.value.code == ResetCode.INTERNAL
    fine = await ends.near.open_stream("echo")
    await fine.write(b"ok")
    assert await fine.read_exactly(2) == b"ok"


async def test_read_exactly_says_what_was_missing(ends: Ends) -> None:
    stream = await ends.near.open_stream("short")
    incoming = await ends.far.accept_stream()
    await stream.write(b"abc")
    await stream.close()
    with pytest.raises(StreamEnded) as seen:
        await incoming.read_exactly(10)
    assert seen.value.partial == b"abc"


async def test_writing_after_close_is_misuse(ends: Ends) -> None:
    stream = await ends.near.open_stream("x")
    await stream.close()
    with pytest.raises(StreamMisuse):
        await stream.write(b"late")
    with pytest.raises(LocalError):
        await ends.near.open_stream("")


async def test_ping_measures_a_round_trip(ends: Ends) -> None:
    assert 0 <= await ends.near.ping() < 5
    assert 0 <= await ends.far.ping() < 5


async def test_stats_count(ends: Ends) -> None:
    ends.far.register("echo", echo)
    stream = await ends.near.open_stream("echo")
    await stream.write(bytes(100_000))
    await stream.read_exactly(100_000)
    assert ends.near.stats.bytes_sent >= 100_000
    assert ends.near.stats.bytes_received >= 100_000
    assert ends.near.stats.messages_sent >= 2
    assert ends.near.stats.phases["first-byte"] >= 0


async def test_closing_delivers_everything_first_and_tells_the_other_side(ends: Ends) -> None:
    stream = await ends.near.open_stream("last-words")
    incoming = await ends.far.accept_stream()
    await stream.write(bytes(60_000))
    await stream.close()
    await ends.near.close()
    assert (await ends.far.closed).fault is LinkFault.CLOSED_BY_PEER
    assert (await ends.near.closed).fault is LinkFault.CLOSED_BY_US
    assert await incoming.read_exactly(60_000) == bytes(60_000)
    assert await incoming.read() == b""


async def test_everybody_waiting_learns_of_the_end(ends: Ends) -> None:
    stream = await ends.near.open_stream("x")
    reading = asyncio.create_task(stream.read())
    accepting = asyncio.create_task(ends.near.accept_stream())
    await ends.near.ping()
    await ends.far.close()
    for waiting in (reading, accepting):
        with pytest.raises(LinkError) as seen:
            await waiting
        assert seen.value.end.fault is LinkFault.CLOSED_BY_PEER
    with pytest.raises(LinkError):
        await ends.near.open_stream("y")
    with pytest.raises(LinkError):
        await ends.near.ping()


async def test_streams_nobody_takes_are_refused_beyond_a_bound(ends: Ends) -> None:
    streams = [await ends.near.open_stream(f"s{i}") for i in range(80)]
    with pytest.raises(StreamReset) as seen:
        await streams[-1].read()
    assert seen.value.code == ResetCode.REFUSED_NAME
    first = await ends.far.accept_stream()
    assert first.name == "s0"


async def test_a_handler_that_leaves_early_blocks_nobody(ends: Ends) -> None:
    async def hasty(stream: Stream) -> None:
        await stream.read(1)

    ends.far.register("hasty", hasty)
    for _ in range(8):
        stream = await ends.near.open_stream("hasty")
        for _ in range(8):
            await stream.write(bytes(65_536))
        await stream.close()
        assert await stream.read() == b""
    await ends.near.ping()
    assert ends.far.mux.unread == 0


async def test_a_handler_may_read_what_came_before_the_peer_left(ends: Ends) -> None:
    got = bytearray()
    go_on = asyncio.Event()
    done = asyncio.Event()

    async def slow(stream: Stream) -> None:
        await go_on.wait()
        while data := await stream.read(1000):
            got.extend(data)
        done.set()

    ends.far.register("slow", slow)
    stream = await ends.near.open_stream("slow")
    await stream.write(bytes(50_000))
    await stream.close()
    await ends.near.close()
    await ends.far.closed
    go_on.set()
    await done.wait()
    assert len(got) == 50_000


async def test_a_handler_may_close_its_own_link(ends: Ends) -> None:
    async def finish(stream: Stream) -> None:
        assert await stream.read() == b"bye"
        await ends.far.close()

    ends.far.register("finish", finish)
    stream = await ends.near.open_stream("finish")
    await stream.write(b"bye")
    assert (await ends.near.closed).fault is LinkFault.CLOSED_BY_PEER


async def test_giving_up_on_the_end_or_on_a_stream_harms_nobody(ends: Ends) -> None:
    waiting = [asyncio.create_task(ends.far.accept_stream()) for _ in range(2)]
    watching = asyncio.ensure_future(ends.far.closed)
    await asyncio.sleep(0)
    stream = await ends.near.open_stream("wanted")
    waiting[0].cancel()
    watching.cancel()
    await stream.write(b"x")
    assert (await waiting[1]).name == "wanted"
    assert await ends.far.ping() >= 0
