"""The stream multiplexer: two of them side by side, messages carried by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.errors import BadConfig, LocalError
from node.protocols.stream_events import (
    INITIAL_CONNECTION_WINDOW,
    INITIAL_STREAM_WINDOW,
    CloseCode,
    ConnectionClosed,
    PongReceived,
    ResetCode,
    StreamConfig,
    StreamEvent,
    StreamOpened,
    StreamReadable,
    StreamWasReset,
    StreamWritable,
    TooManyStreams,
    UnknownStream,
)
from node.protocols.stream_frames import FLAG_FIN, MAX_MESSAGE, FrameType, iter_frames, pack_frame
from node.protocols.stream_outbox import MAX_PENDING_PONGS, QUANTUM
from node.protocols.streams import MAX_CONTROL_BACKLOG, StreamMux

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "streams.json").read_text())

PLAIN = StreamConfig(stream_window=INITIAL_STREAM_WINDOW, connection_window=INITIAL_CONNECTION_WINDOW)
"""Windows that are not enlarged at the start, so that no WINDOW frame is in the way."""


class Pair:
    """Two sides and the messages between them."""

    def __init__(self, config: StreamConfig | None = PLAIN) -> None:
        self.a = StreamMux(initiator=True, config=config)
        self.b = StreamMux(initiator=False, config=config)

    def carry(self) -> None:
        """Move messages until nothing more wants to leave."""
        while True:
            there = self.a.messages_to_send(0.0)
            back = self.b.messages_to_send(0.0)
            for message in there:
                self.b.receive_message(message, 0.0)
            for message in back:
                self.a.receive_message(message, 0.0)
            if not there and not back:
                return

    def opened(self, name: str = "x") -> int:
        number = self.a.open(name)
        self.carry()
        assert StreamOpened(number, name) in events(self.b)
        return number


def events(mux: StreamMux) -> list[StreamEvent]:
    found: list[StreamEvent] = []
    while (event := mux.next_event()) is not None:
        found.append(event)
    return found


def closed_with(mux: StreamMux) -> ConnectionClosed:
    last = events(mux)[-1]
    assert isinstance(last, ConnectionClosed)
    return last


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_frame_bytes_are_frozen(vector: dict[str, Any]) -> None:
    kind, payload = FrameType[vector["type"]], bytes.fromhex(vector["payload"])
    raw = pack_frame(kind, vector["stream"], payload, vector["flags"])
    assert raw.hex() == vector["hex"]
    assert list(iter_frames(raw)) == [(kind, vector["flags"], vector["stream"], payload)]


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_broken_messages_end_the_connection_with_a_typed_reason(vector: dict[str, Any]) -> None:
    mux = StreamMux(initiator=False, config=PLAIN)
    mux.receive_message(bytes.fromhex(vector["hex"]), 0.0)
    end = closed_with(mux)
    assert (end.code, end.by_peer) == (CloseCode[vector["code"]], False)
    assert vector["detail"] in end.detail
    (farewell,) = mux.messages_to_send(0.0)
    assert farewell[0] == FrameType.CLOSE


def test_the_conversation_of_the_vectors() -> None:
    a = StreamMux(initiator=True, config=PLAIN)
    number = a.open("echo")
    a.write(number, b"hello")
    a.finish(number)
    assert [message.hex() for message in a.messages_to_send(0.0)] == [VECTORS["conversation"]]


def test_data_and_end_arrive_and_both_sides_forget() -> None:
    pair = Pair()
    number = pair.opened()
    pair.a.write(number, b"question")
    pair.a.finish(number)
    pair.carry()
    assert StreamReadable(number) in events(pair.b)
    assert pair.b.read(number, 100) == b"question"
    assert pair.b.at_end(number)
    pair.b.write(number, b"answer")
    pair.b.finish(number)
    pair.carry()
    assert pair.a.read(number, 100) == b"answer"
    assert pair.a.at_end(number)
    assert (pair.a.open_streams, pair.b.open_streams) == (0, 0)


def test_many_small_writes_share_one_message() -> None:
    pair = Pair()
    number = pair.a.open("x")
    for _ in range(500):
        pair.a.write(number, bytes(100))
    messages = pair.a.messages_to_send(0.0)
    assert len(messages) == 1
    assert len(messages[0]) < 500 * 100 + 100


def test_unread_bytes_stop_at_the_stream_window_and_reading_lets_more_in() -> None:
    pair = Pair()
    number = pair.opened()
    sent = 0
    for _ in range(40):
        sent += pair.a.write(number, bytes(50_000))
        pair.carry()
    assert pair.b.unread == INITIAL_STREAM_WINDOW
    assert sent == INITIAL_STREAM_WINDOW + PLAIN.send_buffer
    assert pair.a.write(number, b"more") == 0
    events(pair.a)
    assert len(pair.b.read(number, INITIAL_STREAM_WINDOW // 2)) == INITIAL_STREAM_WINDOW // 2
    pair.carry()
    assert StreamWritable(number) in events(pair.a)
    assert pair.b.unread == INITIAL_STREAM_WINDOW


def test_all_streams_together_stop_at_the_connection_window() -> None:
    pair = Pair()
    numbers = [pair.a.open(f"s{i}") for i in range(8)]
    for number in numbers:
        pair.a.write(number, bytes(INITIAL_STREAM_WINDOW))
    pair.carry()
    assert pair.b.unread == INITIAL_CONNECTION_WINDOW
    got = 0
    while pair.b.unread:
        for number in numbers:
            got += len(pair.b.read(number, 65536))
        pair.carry()
    assert got == 8 * INITIAL_STREAM_WINDOW


def test_a_reset_stream_gives_its_credit_back() -> None:
    pair = Pair()
    for _ in range(20):
        number = pair.opened()
        pair.a.write(number, bytes(200_000))
        pair.carry()
        pair.b.reset(number, ResetCode.CANCELLED)
        pair.carry()
        assert StreamWasReset(number, ResetCode.CANCELLED) in events(pair.a)
    assert (pair.a.closed, pair.b.closed) == (False, False)


def test_data_under_way_to_a_reset_stream_gives_its_credit_back() -> None:
    pair = Pair()
    for _ in range(20):
        number = pair.opened()
        pair.a.write(number, bytes(200_000))
        pair.b.reset(number, 7)  # before the data arrives
        pair.carry()
    assert not pair.b.closed
    assert not pair.a.closed


def test_a_bulk_stream_does_not_starve_a_small_one() -> None:
    pair = Pair()
    bulk, small = pair.a.open("bulk"), pair.a.open("small")
    pair.a.write(bulk, bytes(PLAIN.send_buffer))
    pair.a.write(small, b"urgent")
    (first,) = pair.a.messages_to_send(0.0, 1)
    carried = {stream: payload for kind, _, stream, payload in iter_frames(first) if kind is FrameType.DATA}
    assert carried[small] == b"urgent"
    assert len(carried[bulk]) >= QUANTUM


def test_bulk_streams_share_evenly() -> None:
    pair = Pair()
    numbers = [pair.a.open(f"b{i}") for i in range(4)]
    for number in numbers:
        pair.a.write(number, bytes(200_000))
    sums = dict.fromkeys(numbers, 0)
    for message in pair.a.messages_to_send(0.0, 262_144):
        for kind, _, stream, payload in iter_frames(message):
            if kind is FrameType.DATA:
                sums[stream] += len(payload)
    assert max(sums.values()) - min(sums.values()) <= 2 * QUANTUM


def test_too_many_streams_of_a_peer_are_refused_one_by_one() -> None:
    config = StreamConfig(
        stream_window=INITIAL_STREAM_WINDOW, connection_window=INITIAL_CONNECTION_WINDOW, max_streams=2
    )
    b = StreamMux(initiator=False, config=config)
    for number in (1, 3, 5):
        b.receive_message(pack_frame(FrameType.OPEN, number, b"x"), 0.0)
    assert [e.stream for e in events(b) if isinstance(e, StreamOpened)] == [1, 3]
    (answer,) = b.messages_to_send(0.0)
    assert list(iter_frames(answer)) == [(FrameType.RESET, 0, 5, int(ResetCode.REFUSED_LIMIT).to_bytes(2, "big"))]
    assert not b.closed


def test_our_own_streams_are_bounded_too() -> None:
    mux = StreamMux(initiator=True, config=StreamConfig(max_streams=1))
    number = mux.open("x")
    with pytest.raises(TooManyStreams):
        mux.open("y")
    mux.reset(number, 0)
    assert mux.open("y") == number + 2


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_a_bad_name_is_our_own_mistake(name: str) -> None:
    with pytest.raises(LocalError):
        StreamMux(initiator=True).open(name)


def test_sending_beyond_the_window_ends_the_connection() -> None:
    b = StreamMux(initiator=False, config=PLAIN)
    b.receive_message(pack_frame(FrameType.OPEN, 1, b"x"), 0.0)
    for _ in range(INITIAL_STREAM_WINDOW // 50_000 + 1):
        b.receive_message(pack_frame(FrameType.DATA, 1, bytes(50_000)), 0.0)
    end = closed_with(b)
    assert end.code == CloseCode.FLOW_CONTROL
    assert "window of stream 1" in end.detail
    assert b.unread <= INITIAL_STREAM_WINDOW


def test_data_after_the_end_of_a_stream_ends_the_connection() -> None:
    b = StreamMux(initiator=False, config=PLAIN)
    b.receive_message(pack_frame(FrameType.OPEN, 1, b"x") + pack_frame(FrameType.DATA, 1, b"", FLAG_FIN), 0.0)
    b.receive_message(pack_frame(FrameType.DATA, 1, b"late"), 0.0)
    assert closed_with(b).code == CloseCode.PROTOCOL


def test_unknown_hints_are_skipped() -> None:
    b = StreamMux(initiator=False, config=PLAIN)
    hint = bytes((0x80, 0, 0, 3, 0, 0, 0, 9)) + b"abc"
    b.receive_message(hint + pack_frame(FrameType.OPEN, 1, b"x"), 0.0)
    assert events(b) == [StreamOpened(1, "x")]


def test_ping_is_answered_and_a_flood_of_pings_is_not() -> None:
    pair = Pair()
    pair.a.ping(b"12345678")
    pair.carry()
    assert events(pair.a) == [PongReceived(b"12345678")]
    for _ in range(100):
        pair.b.receive_message(pack_frame(FrameType.PING, 0, bytes(8)), 0.0)
    answers = b"".join(pair.b.messages_to_send(0.0))
    assert len(list(iter_frames(answers))) == MAX_PENDING_PONGS
    pair.b.receive_message(pack_frame(FrameType.PING, 0, bytes(8)), 0.0)
    assert pair.b.has_control


def test_a_peer_that_never_reads_cannot_pile_up_answers() -> None:
    b = StreamMux(initiator=False, config=StreamConfig(max_streams=1))
    b.receive_message(pack_frame(FrameType.OPEN, 1, b"x"), 0.0)
    for number in range(3, 2 * MAX_CONTROL_BACKLOG + 10, 2):
        b.receive_message(pack_frame(FrameType.OPEN, number, b"x"), 0.0)
    assert closed_with(b).code == CloseCode.FLOOD


def test_close_is_told_with_its_reason() -> None:
    pair = Pair()
    pair.opened()
    pair.a.close(CloseCode.NORMAL, "bye")
    pair.carry()
    assert closed_with(pair.a) == ConnectionClosed(CloseCode.NORMAL, "bye", by_peer=False)
    assert closed_with(pair.b) == ConnectionClosed(CloseCode.NORMAL, "bye", by_peer=True)
    with pytest.raises(UnknownStream):
        pair.b.open("late")


def test_writing_after_the_end_is_our_own_mistake() -> None:
    pair = Pair()
    number = pair.opened()
    pair.a.finish(number)
    with pytest.raises(LocalError, match="takes no more data"):
        pair.a.write(number, b"x")
    with pytest.raises(UnknownStream):
        pair.a.read(99, 1)


def test_windows_are_enlarged_at_once() -> None:
    pair = Pair(StreamConfig())
    number = pair.opened()
    total = 0
    for _ in range(100):
        total += pair.a.write(number, bytes(65_536))
        pair.carry()
    assert pair.b.unread == StreamConfig().stream_window
    assert total == StreamConfig().stream_window + StreamConfig().send_buffer


@pytest.mark.parametrize(
    "bad", [{"stream_window": 1}, {"connection_window": 1}, {"max_streams": 0}, {"send_buffer": 0}]
)
def test_bad_limits_are_refused_by_name(bad: dict[str, int]) -> None:
    with pytest.raises(BadConfig, match=next(iter(bad))):
        StreamConfig(**bad)


@given(st.lists(st.binary(max_size=300), max_size=20), st.booleans())
def test_any_bytes_never_raise_and_never_grow_memory(messages: list[bytes], initiator: bool) -> None:
    mux = StreamMux(initiator=initiator, config=PLAIN)
    for message in messages:
        mux.receive_message(message, 0.0)
    assert mux.unread <= INITIAL_CONNECTION_WINDOW
    assert mux.open_streams <= 2 * PLAIN.max_streams


FRAMES = st.tuples(
    st.integers(0, 10), st.integers(0, 3), st.integers(0, 9), st.one_of(st.binary(max_size=12), st.just(bytes(70_000)))
)


@given(st.lists(FRAMES, max_size=60))
def test_well_formed_nonsense_never_raises(frames: list[tuple[int, int, int, bytes]]) -> None:
    mux = StreamMux(initiator=False, config=PLAIN)
    for kind, flags, stream, payload in frames:
        cut = payload[:60_000]
        mux.receive_message(bytes((kind, flags)) + len(cut).to_bytes(2, "big") + stream.to_bytes(4, "big") + cut, 0.0)
        mux.messages_to_send(0.0)
    assert mux.unread <= INITIAL_CONNECTION_WINDOW


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["open", "write", "read", "finish", "carry"]), st.integers(0, 5), st.integers(1, 90_000)),
    max_size=80,
)


@settings(deadline=None)
@given(ACTIONS)
def test_every_stream_delivers_exactly_what_was_written(actions: list[tuple[str, int, int]]) -> None:
    pair = Pair()
    written: dict[int, bytearray] = {}
    got: dict[int, bytearray] = {}
    finished: set[int] = set()

    def drain(number: int, limit: int) -> None:
        if pair.b.unread_of(number):
            got[number] += pair.b.read(number, limit)

    for action, which, size in actions:
        if action == "open":
            number = pair.a.open("s")
            written[number], got[number] = bytearray(), bytearray()
        elif action == "carry":
            pair.carry()
        elif which < len(written):
            number = list(written)[which]
            if action == "write" and number not in finished:
                data = bytes([size % 256]) * size
                written[number] += data[: pair.a.write(number, data)]
            elif action == "finish":
                finished.add(number)
                pair.a.finish(number)
            elif action == "read":
                drain(number, size)
    for number in written:
        pair.a.finish(number)
    for _ in range(60):
        pair.carry()
        for number in written:
            drain(number, 1 << 20)
    assert got == written
    assert all(pair.b.at_end(number) for number in written)
    assert (pair.a.closed, pair.b.closed) == (False, False)


def test_no_message_is_longer_than_any_peer_must_take() -> None:
    pair = Pair()
    for i in range(100):
        pair.a.write(pair.a.open(f"name-{i:050}"), bytes(3000))
    assert all(len(message) <= MAX_MESSAGE for message in pair.a.messages_to_send(0.0))
