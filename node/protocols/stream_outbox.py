"""What one side of the stream protocol owes the other, and in which order it leaves.

Decides fairness: control frames first, then streams by turns. Refuses to know what made a frame due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from node.protocols.stream_frames import FLAG_FIN, HEADER, MAX_MESSAGE, MAX_PAYLOAD, FrameType
from node.protocols.stream_state import StreamState

QUANTUM: Final = 16_384
"""Bytes a stream may send before the next has its turn, while several want to. UNSOURCED: a quarter of a message."""
MAX_PENDING_PONGS: Final = 16
"""Further pings go unanswered until these have left. UNSOURCED."""


class Outbox:
    """The control frames, the streams with something to send, and the connection's credit."""

    def __init__(self, credit: int, after_sending: Callable[[StreamState], None]) -> None:
        self.credit = credit
        self._after_sending = after_sending
        self._control: deque[bytes] = deque()
        self._rotation: deque[StreamState] = deque()
        self._pongs = 0

    def __len__(self) -> int:
        """How many control frames wait."""
        return len(self._control)

    @property
    def ready(self) -> bool:
        """Whether `next_message` would return something."""
        if self._control:
            return True
        return any(s.sendable and not s.forgotten and (self.credit > 0 or not s.sending.size) for s in self._rotation)

    def control(self, frame: bytes) -> None:
        """Queue a control frame."""
        self._control.append(frame)

    def pong(self, frame: bytes) -> None:
        """Queue the answer to a ping, unless too many wait already."""
        if self._pongs < MAX_PENDING_PONGS:
            self._pongs += 1
            self._control.append(frame)

    def rotate_in(self, stream: StreamState) -> None:
        """Give the stream a turn if it has something to send and its own credit."""
        if not stream.in_rotation and stream.sendable:
            stream.in_rotation = True
            self._rotation.append(stream)

    def clear(self) -> None:
        """Forget everything: the connection has ended."""
        self._control.clear()
        self._rotation.clear()

    def next_message(self) -> bytes:
        """Return one message as full as it gets, or b"" when nothing may leave."""
        parts: list[bytes | bytearray | memoryview] = []
        size = 0
        control = self._control
        while control and size + len(control[0]) <= MAX_MESSAGE:
            frame = control.popleft()
            if frame[0] == FrameType.PONG:
                self._pongs -= 1
            parts.append(frame)
            size += len(frame)
        rotation = self._rotation
        starved: list[StreamState] = []
        while rotation and MAX_MESSAGE - size > HEADER.size:
            stream = rotation.popleft()
            stream.in_rotation = False
            if stream.forgotten or not stream.sendable:
                continue
            waiting = stream.sending.size
            share = QUANTUM if rotation else MAX_PAYLOAD
            count = min(waiting, stream.send_credit, self.credit, share, MAX_MESSAGE - size - HEADER.size)
            if waiting and count <= 0:
                starved.append(stream)
                continue
            fin = stream.fin_queued and count == waiting
            parts.append(HEADER.pack(FrameType.DATA, FLAG_FIN if fin else 0, count, stream.number))
            if count:
                stream.sending.take_into(parts, count)
                stream.send_credit -= count
                self.credit -= count
            size += HEADER.size + count
            stream.fin_sent = fin
            self._after_sending(stream)
        for stream in starved:
            stream.in_rotation = True
            rotation.append(stream)
        return b"".join(parts)
