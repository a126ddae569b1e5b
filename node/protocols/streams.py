"""Many named, flow-controlled streams over one reliable ordered channel of messages.

Decides numbering, credit, fairness and refusals. Refuses to know about sockets, time-outs and what the streams carry.
A peer's wrong bytes end the connection with a typed reason; they never raise.

Credit works as in HTTP/2 (RFC 9113 section 5.2): stream and connection each have a window, starting at a fixed size
that either side enlarges at once to what it is configured for. So memory for unread bytes is bounded by the
connection's window, whatever the peer does. Streams take turns: a bulk stream cannot starve a small one.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from dht.errors import DecodeError, LocalError
from node.protocols.stream_events import (
    INITIAL_CONNECTION_WINDOW,
    INITIAL_STREAM_WINDOW,
    MAX_CREDIT,
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
from node.protocols.stream_frames import (
    FLAG_FIN,
    MAX_CLOSE_TEXT,
    MAX_NAME_BYTES,
    FrameType,
    decode_name,
    iter_frames,
    pack_frame,
)
from node.protocols.stream_outbox import Outbox
from node.protocols.stream_state import StreamState

MAX_CONTROL_BACKLOG: Final = 4096
"""Control frames we owe a peer that does not read. UNSOURCED: 16 for each allowed stream; beyond, it floods us."""


class StreamMux:
    """One side of the connection. The side that dialled is `initiator`; its streams are odd, the other's even."""

    def __init__(self, *, initiator: bool, config: StreamConfig | None = None) -> None:
        self._config = config or StreamConfig()
        self._streams: dict[int, StreamState] = {}
        self._events: deque[StreamEvent] = deque()
        self._outbox = Outbox(INITIAL_CONNECTION_WINDOW, self._after_sending)
        self._next_local = 1 if initiator else 2
        self._highest_remote = 0 if initiator else -1
        self._local_open = 0
        self._remote_open = 0
        self._receive_credit = INITIAL_CONNECTION_WINDOW
        self._to_return = 0
        self._close_frame: bytes | None = None
        self.closed = False
        extra = self._config.connection_window - INITIAL_CONNECTION_WINDOW
        if extra:
            self._grant(0, extra)
            self._receive_credit += extra

    # The five verbs.

    def receive_message(self, data: bytes, now: float) -> None:
        """Take one message of the peer."""
        if self.closed:
            return
        try:
            for kind, flags, number, payload in iter_frames(data):
                if kind is FrameType.DATA:
                    self._on_data(number, payload, bool(flags & FLAG_FIN))
                elif kind is FrameType.OPEN:
                    self._on_open(number, payload)
                elif kind is FrameType.WINDOW:
                    self._on_window(number, int.from_bytes(payload, "big"))
                elif kind is FrameType.RESET:
                    self._on_reset(number, int.from_bytes(payload, "big"))
                elif kind is FrameType.PING:
                    self._outbox.pong(pack_frame(FrameType.PONG, 0, payload))
                elif kind is FrameType.PONG:
                    self._events.append(PongReceived(payload))
                else:
                    self._on_close(payload)
                if self._events and isinstance(self._events[-1], ConnectionClosed):
                    return
        except DecodeError as error:
            self._fail(CloseCode.PROTOCOL, str(error))
        if len(self._outbox) > MAX_CONTROL_BACKLOG:
            self._fail(CloseCode.FLOOD, f"{len(self._outbox)} answers owed and none taken")

    def messages_to_send(self, now: float, budget: int | None = None) -> list[bytes]:
        """Return what should leave now, at most about `budget` bytes (one message more at the most)."""
        if self._close_frame is not None:
            frame, self._close_frame = self._close_frame, None
            return [frame]
        messages: list[bytes] = []
        total = 0
        while not self.closed and (budget is None or total < budget):
            message = self._outbox.next_message()
            if not message:
                break
            messages.append(message)
            total += len(message)
        return messages

    def next_timer(self) -> float | None:
        """Nothing here waits for time."""
        return None

    def handle_timer(self, now: float) -> None:
        """Nothing here waits for time."""

    def next_event(self) -> StreamEvent | None:
        """Return the oldest event not yet seen."""
        return self._events.popleft() if self._events else None

    # What the owner asks for.

    @property
    def has_control(self) -> bool:
        """Whether small frames, such as returned credit, wait to leave."""
        return bool(len(self._outbox)) or self._close_frame is not None

    @property
    def has_output(self) -> bool:
        """Whether `messages_to_send` would return something."""
        return self._close_frame is not None or self._outbox.ready

    @property
    def open_streams(self) -> int:
        """How many streams are not forgotten yet."""
        return len(self._streams)

    @property
    def unread(self) -> int:
        """Bytes received and not read, over all streams."""
        return sum(stream.received.size for stream in self._streams.values())

    def open(self, name: str) -> int:
        """Open a stream and return its number. Raises `LocalError` for a bad name or too many."""
        raw = name.encode()
        if not 1 <= len(raw) <= MAX_NAME_BYTES or not name.isprintable():
            raise LocalError(f"stream name {name!r}: give 1..{MAX_NAME_BYTES} bytes that print")
        if self.closed:
            raise UnknownStream("the connection has ended: open a new one")
        if self._local_open >= self._config.max_streams:
            raise TooManyStreams(f"{self._local_open} streams are open, close some first")
        number = self._next_local
        self._next_local += 2
        self._local_open += 1
        self._outbox.control(pack_frame(FrameType.OPEN, number, raw))
        self._add(number, name)
        return number

    def write(self, number: int, data: bytes | memoryview) -> int:
        """Take as much of `data` as fits and return how much; `StreamWritable` follows when it was not all."""
        stream = self._get(number)
        if stream.fin_queued:
            raise LocalError(f"stream {stream.name!r} was finished, it takes no more data")
        room = self._config.send_buffer - stream.sending.size
        accepted = len(data)
        if accepted > room:
            accepted = max(room, 0)
            stream.blocked_writer = True
            data = memoryview(data)[:accepted]
        if accepted:
            stream.sending.append(data)
            self._outbox.rotate_in(stream)
        return accepted

    def read(self, number: int, limit: int) -> bytes:
        """Return up to `limit` received bytes, or b"" when there are none (see `at_end`)."""
        stream = self._get(number)
        stream.told_readable = False
        data = stream.received.take(limit)
        if data:
            self._return_credit(stream, len(data))
            if stream.finished:
                self._forget(stream)
        return data

    def unread_of(self, number: int) -> int:
        """Return how many bytes wait in one stream."""
        stream = self._streams.get(number)
        return stream.received.size if stream else 0

    def at_end(self, number: int) -> bool:
        """Return whether the peer's direction has ended and everything was read."""
        stream = self._streams.get(number)
        return stream is None or (stream.fin_received and not stream.received.size)

    def flushed(self, number: int) -> bool:
        """Return whether everything written has left, the end included."""
        stream = self._streams.get(number)
        return stream is None or not (stream.sending.size or (stream.fin_queued and not stream.fin_sent))

    def finish(self, number: int) -> None:
        """End our direction after what was written."""
        stream = self._streams.get(number)
        if stream is not None and not stream.fin_queued:
            stream.fin_queued = True
            self._outbox.rotate_in(stream)

    def reset(self, number: int, code: int) -> None:
        """Drop the stream in both directions."""
        stream = self._streams.get(number)
        if stream is not None:
            self._outbox.control(pack_frame(FrameType.RESET, number, code.to_bytes(2, "big")))
            self._drop(stream)

    def ping(self, token: bytes) -> None:
        """Ask for a `PongReceived` with this token of 8 bytes."""
        self._outbox.control(pack_frame(FrameType.PING, 0, token))

    def close(self, code: int = CloseCode.NORMAL, detail: str = "") -> None:
        """End the connection; one last message is left to send."""
        if not self.closed:
            self._end(code, detail, by_peer=False)

    # Frames of the peer.

    def _on_data(self, number: int, payload: bytes, fin: bool) -> None:
        size = len(payload)
        self._receive_credit -= size
        if self._receive_credit < 0:
            self._fail(CloseCode.FLOW_CONTROL, f"{-self._receive_credit} bytes beyond the connection's window")
            return
        stream = self._streams.get(number)
        if stream is None:
            if not self._was_open(number):
                self._fail(CloseCode.PROTOCOL, f"data for stream {number}, which was never opened")
                return
            # It was reset or forgotten while these bytes were under way: their credit goes straight back.
            self._return_connection_credit(size)
            return
        if stream.fin_received:
            self._fail(CloseCode.PROTOCOL, f"data for stream {number} after its end")
            return
        stream.receive_credit -= size
        if stream.receive_credit < 0:
            self._fail(CloseCode.FLOW_CONTROL, f"{-stream.receive_credit} bytes beyond the window of stream {number}")
            return
        if size:
            stream.received.append(payload)
        stream.fin_received = fin
        if (size or fin) and not stream.told_readable:
            stream.told_readable = True
            self._events.append(StreamReadable(number))
        if stream.finished:
            self._forget(stream)

    def _on_open(self, number: int, payload: bytes) -> None:
        if number % 2 == self._next_local % 2 or number <= self._highest_remote:
            self._fail(CloseCode.PROTOCOL, f"stream {number} is not the peer's next")
            return
        name = decode_name(payload)
        self._highest_remote = number
        if self._remote_open >= self._config.max_streams:
            self._outbox.control(pack_frame(FrameType.RESET, number, int(ResetCode.REFUSED_LIMIT).to_bytes(2, "big")))
            return
        self._remote_open += 1
        self._add(number, name)
        self._events.append(StreamOpened(number, name))

    def _on_window(self, number: int, increment: int) -> None:
        if number == 0:
            self._outbox.credit += increment
            credit = self._outbox.credit
        else:
            stream = self._streams.get(number)
            if stream is None:
                if not self._was_open(number):
                    self._fail(CloseCode.PROTOCOL, f"window for stream {number}, which was never opened")
                return
            stream.send_credit += increment
            credit = stream.send_credit
            self._outbox.rotate_in(stream)
        if not increment or credit > MAX_CREDIT:
            self._fail(CloseCode.FLOW_CONTROL, f"window of stream {number} raised by {increment} to {credit}")

    def _on_reset(self, number: int, code: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            self._drop(stream)
            self._events.append(StreamWasReset(number, code))
        elif not self._was_open(number):
            self._fail(CloseCode.PROTOCOL, f"reset of stream {number}, which was never opened")

    def _on_close(self, payload: bytes) -> None:
        if not 2 <= len(payload) <= 2 + MAX_CLOSE_TEXT:
            raise DecodeError("stream frame", f"CLOSE of {len(payload)} bytes")
        text = payload[2:].decode(errors="replace")
        self._end(int.from_bytes(payload[:2], "big"), text, by_peer=True)

    # Inner workings.

    def _get(self, number: int) -> StreamState:
        stream = self._streams.get(number)
        if stream is None:
            raise UnknownStream(f"stream {number} has ended")
        return stream

    def _was_open(self, number: int) -> bool:
        if number % 2 == self._next_local % 2:
            return number < self._next_local
        return number <= self._highest_remote

    def _add(self, number: int, name: str) -> None:
        stream = StreamState(number, name, INITIAL_STREAM_WINDOW)
        self._streams[number] = stream
        extra = self._config.stream_window - INITIAL_STREAM_WINDOW
        if extra:
            self._grant(number, extra)
            stream.receive_credit += extra

    def _grant(self, number: int, increment: int) -> None:
        self._outbox.control(pack_frame(FrameType.WINDOW, number, increment.to_bytes(4, "big")))

    def _return_credit(self, stream: StreamState, size: int) -> None:
        stream.to_return += size
        # A quarter of a window at a time: a frame for each read would cost more than it brings, and half would let a
        # sender far away run dry.
        if stream.to_return * 4 >= self._config.stream_window and not stream.fin_received:
            self._grant(stream.number, stream.to_return)
            stream.receive_credit += stream.to_return
            stream.to_return = 0
        self._return_connection_credit(size)

    def _return_connection_credit(self, size: int) -> None:
        self._to_return += size
        if self._to_return * 4 >= self._config.connection_window:
            self._grant(0, self._to_return)
            self._receive_credit += self._to_return
            self._to_return = 0

    def _after_sending(self, stream: StreamState) -> None:
        if stream.blocked_writer and stream.sending.size * 2 <= self._config.send_buffer:
            stream.blocked_writer = False
            self._events.append(StreamWritable(stream.number))
        if stream.finished:
            self._forget(stream)
        else:
            self._outbox.rotate_in(stream)

    def _drop(self, stream: StreamState) -> None:
        stream.sending.clear()
        self._return_connection_credit(stream.received.clear())
        self._forget(stream)

    def _forget(self, stream: StreamState) -> None:
        stream.forgotten = True
        if self._streams.pop(stream.number, None) is not None:
            if stream.number % 2 == self._next_local % 2:
                self._local_open -= 1
            else:
                self._remote_open -= 1

    def _fail(self, code: CloseCode, detail: str) -> None:
        if not self.closed:
            self._end(code, detail, by_peer=False)

    def _end(self, code: int, detail: str, *, by_peer: bool) -> None:
        self.closed = True
        self._outbox.clear()
        if not by_peer:
            text = detail.encode()[:MAX_CLOSE_TEXT]
            self._close_frame = pack_frame(FrameType.CLOSE, 0, code.to_bytes(2, "big") + text)
        self._events.append(ConnectionClosed(code, detail, by_peer))
