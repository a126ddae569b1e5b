"""One end of a circuit that relays have tied together: proof of the other end, messages, and what it has taken.

Decides the frames inside the encryption, when the other end counts as proven, what it has acknowledged, and when it
counts as gone. Refuses to know relays, streams, and who chose this circuit among several.

    frame: kind 1 ‖ payload
    HELLO: version 1 ‖ circuit 16    first of each direction: whoever seals it has the circuit key of the signed offer
    SELECT: nothing                  the first end decided for this circuit
    DATA: one message, 1 to 65,536 bytes
    ACK: bytes of messages taken 8   PING, PONG: nothing
    END: nothing, under the stream's final tag: without it, whatever ends the stream cut it short
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from dht.errors import DecodeError, LocalError
from node.protocols.circuit import CIRCUIT_BYTES
from node.protocols.circuit_seal import (
    HEADER_BYTES,
    LENGTH_BYTES,
    OVERHEAD,
    CircuitKeys,
    FrameOpener,
    FrameSealer,
)

VERSION: Final = 1

MAX_MESSAGE: Final = 65_536
"""Bytes of one message, as of every channel of a link."""

MAX_SEALED: Final = 1 + MAX_MESSAGE + OVERHEAD
"""Bounds what an end holds of a frame that is not whole yet."""

WINDOW: Final = 1_048_576
"""Bytes of messages not yet acknowledged by the far end: 10 MB/s at 100 ms. What relays can be made to hold for this
circuit. UNSOURCED"""

ACK_EVERY: Final = 65_536
ACK_DELAY: Final = 0.02
"""An acknowledgement leaves after so many bytes, or so many seconds (RFC 9260 section 6.2 allows 0.2)."""

KEEPALIVE: Final = 10.0
"""Seconds of silence after which the far end is asked for a sign of life. UNSOURCED: a third of SILENCE."""

SILENCE: Final = 30.0
"""Seconds of silence after which it counts as gone (RFC 7675 section 5.1, consent)."""


class FrameKind(IntEnum):
    """Frames inside the encryption."""

    HELLO = 1
    SELECT = 2
    DATA = 3
    ACK = 4
    PING = 5
    PONG = 6
    END = 7


_EXACT: Final = {
    FrameKind.HELLO: 1 + CIRCUIT_BYTES,
    FrameKind.SELECT: 0,
    FrameKind.ACK: 8,
    FrameKind.PING: 0,
    FrameKind.PONG: 0,
    FrameKind.END: 0,
}


class EndReason(Enum):
    """Why a circuit ended at this end."""

    CLOSED_BY_PEER = "closed-by-peer"
    """The far end said so."""
    ALTERED = "altered"
    """A frame does not open: something on the way altered, dropped or repeated bytes."""
    BROKEN_RULES = "broken-rules"
    """The far end, proven, sent what does not belong."""
    CUT = "cut"
    """The stream ended, and the far end had not said so: a relay or a link has died."""
    SILENT = "silent"
    """Nothing came for 30 s."""


@dataclass(frozen=True, slots=True)
class Proven:
    """The far end has shown that it has the keys."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The first end decided for this circuit."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message of the far end."""

    message: bytes


@dataclass(frozen=True, slots=True)
class RoomAgain:
    """There is room for messages again."""


@dataclass(frozen=True, slots=True)
class CircuitEnded:
    """Nothing comes any more."""

    reason: EndReason
    detail: str


CircuitEvent = Proven | Selected | MessageReceived | RoomAgain | CircuitEnded


class CircuitEnd:
    """The state of one end. Bytes in, bytes out, events."""

    def __init__(self, keys: CircuitKeys, header: bytes, now: float, *, window: int = WINDOW) -> None:
        """`header`: 24 random bytes, never the same twice."""
        self._keys = keys
        self._sealer = FrameSealer(keys.sending, header)
        self._opener: FrameOpener | None = None
        self._received = bytearray()
        self._out: list[bytes] = [header]
        self._events: deque[CircuitEvent] = deque()
        self._window = window
        self._sent = self._acknowledged = 0
        self._taken = self._told = 0
        self._ack_at: float | None = None
        self._ack_due = self._pong_due = False
        self._heard = now
        self._asked = False
        self._full = False
        self._finished = False
        self.proven = False
        self.ended = False
        self._frame(FrameKind.HELLO, bytes((VERSION,)) + keys.circuit)

    # The five verbs

    def receive(self, data: bytes, now: float) -> None:
        """Take in bytes of the stream."""
        if self.ended or not data:
            return
        self._received += data
        try:
            self._open_frames(now)
        except DecodeError as error:
            reason = EndReason.BROKEN_RULES if isinstance(error, BrokenRule) else EndReason.ALTERED
            self._end(reason, str(error))

    def data_to_send(self) -> list[bytes]:
        """Bytes of the stream that are due, once."""
        # Made only now: who sends and never reads makes us owe one answer of each kind, and no more.
        if self._pong_due:
            self._pong_due = False
            self._frame(FrameKind.PONG)
        if self._ack_due:
            self._acknowledge()
        out, self._out = self._out, []
        return out

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        if self.ended:
            return None
        quiet = self._heard + (SILENCE if self._asked else KEEPALIVE)
        return quiet if self._ack_at is None else min(quiet, self._ack_at)

    def handle_timer(self, now: float) -> None:
        """Acknowledge, ask for a sign of life, or give the far end up."""
        if self.ended:
            return
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at, self._ack_due = None, True
        if now >= self._heard + SILENCE:
            self._end(EndReason.SILENT, f"nothing came through the circuit for {SILENCE:g} s")
        elif now >= self._heard + KEEPALIVE and not self._asked:
            self._asked = True
            self._frame(FrameKind.PING)

    def next_event(self) -> CircuitEvent | None:
        """The oldest event not seen yet."""
        return self._events.popleft() if self._events else None

    # What the owner asks for

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` would return something."""
        return bool(self._out) or self._ack_due or self._pong_due

    @property
    def room(self) -> int:
        """Bytes of messages it takes now."""
        return 0 if self.ended or self._finished else self._window - (self._sent - self._acknowledged)

    @property
    def idle(self) -> bool:
        """Whether the far end has everything."""
        return self._sent == self._acknowledged or self.ended

    def send(self, message: bytes) -> None:
        """Send one message. Raises `LocalError` when it is empty or too long."""
        if not 1 <= len(message) <= MAX_MESSAGE:
            raise LocalError(f"a message of a circuit has 1 to {MAX_MESSAGE} bytes, not {len(message)}")
        if self.ended or self._finished:
            return
        self._sent += len(message)
        self._full = self.room <= 0
        self._frame(FrameKind.DATA, message)

    def select(self) -> None:
        """Decide for this circuit, as the first end."""
        self._frame(FrameKind.SELECT)

    def finish(self) -> None:
        """Say that nothing will follow."""
        if not self._finished and not self.ended:
            if self._taken > self._told:
                self._acknowledge()
            self._frame(FrameKind.END, final=True)
            self._finished = True

    def stream_ended(self, detail: str) -> None:
        """The stream has ended, in good order or not."""
        if not self.ended:
            self._end(EndReason.CUT, detail)

    # Inner workings

    def _open_frames(self, now: float) -> None:
        data, at = self._received, 0
        if self._opener is None:
            if len(data) < HEADER_BYTES:
                return
            self._opener = FrameOpener(self._keys.receiving, bytes(data[:HEADER_BYTES]))
            at = HEADER_BYTES
        while len(data) - at >= LENGTH_BYTES and not self.ended:
            length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
            if not 1 + OVERHEAD <= length <= MAX_SEALED:
                raise DecodeError("circuit", f"a frame of {length} bytes")
            end = at + LENGTH_BYTES + length
            if len(data) < end:
                break
            frame, final = self._opener.open(bytes(data[at + LENGTH_BYTES : end]))
            at = end
            # Only what opens is a sign of life: a relay could make up the rest.
            self._heard, self._asked = now, False
            self._take(frame, final, now)
        del data[:at]

    def _take(self, frame: bytes, final: bool, now: float) -> None:
        try:
            kind = FrameKind(frame[0])
        except ValueError:
            raise BrokenRule(f"unknown frame {frame[0]}") from None
        payload = frame[1:]
        if (expected := _EXACT.get(kind)) is not None and len(payload) != expected:
            raise BrokenRule(f"{kind.name} of {len(payload)} bytes, expected {expected}")
        if final != (kind is FrameKind.END):
            raise BrokenRule(f"{kind.name} {'under' if final else 'without'} the final tag")
        if (kind is FrameKind.HELLO) == self.proven:
            raise BrokenRule(f"{kind.name} {'again' if self.proven else 'before HELLO'}")
        match kind:
            case FrameKind.HELLO:
                self._on_hello(payload)
            case FrameKind.SELECT:
                self._events.append(Selected())
            case FrameKind.DATA:
                self._on_data(payload, now)
            case FrameKind.ACK:
                self._on_ack(int.from_bytes(payload, "big"))
            case FrameKind.PING:
                self._pong_due = True
            case FrameKind.END:
                self._end(EndReason.CLOSED_BY_PEER, "the peer closed it")

    def _on_hello(self, payload: bytes) -> None:
        if payload[0] != VERSION or payload[1:] != self._keys.circuit:
            raise BrokenRule(f"a HELLO of version {payload[0]}, or of another circuit")
        self.proven = True
        self._events.append(Proven())

    def _on_data(self, message: bytes, now: float) -> None:
        if not message:
            raise BrokenRule("an empty message")
        self._taken += len(message)
        self._events.append(MessageReceived(message))
        if self._taken - self._told >= ACK_EVERY:
            self._ack_due = True
        elif self._ack_at is None:
            self._ack_at = now + ACK_DELAY

    def _on_ack(self, taken: int) -> None:
        if not self._acknowledged <= taken <= self._sent:
            raise BrokenRule(f"{taken} bytes acknowledged, {self._acknowledged} to {self._sent} could be")
        self._acknowledged = taken
        if self._full and self.room > 0:
            self._full = False
            self._events.append(RoomAgain())

    def _acknowledge(self) -> None:
        self._told, self._ack_at, self._ack_due = self._taken, None, False
        self._frame(FrameKind.ACK, self._taken.to_bytes(8, "big"))

    def _frame(self, kind: FrameKind, payload: bytes = b"", *, final: bool = False) -> None:
        if not self._finished and not self.ended:
            self._out.append(self._sealer.seal(bytes((kind,)) + payload, final=final))

    def _end(self, reason: EndReason, detail: str) -> None:
        self.ended = True
        self._received.clear()
        self._events.append(CircuitEnded(reason, detail))


class BrokenRule(DecodeError):
    """Raised where the far end itself, not the way, sent what does not belong."""

    def __init__(self, detail: str) -> None:
        super().__init__("circuit", detail)
