"""One stream inside the multiplexer: its two buffers and its credit in both directions.

Decides how bytes queue and when credit goes back to the peer. Refuses to know about frames, other streams and time.
"""

from __future__ import annotations

from collections import deque
from typing import Final

COALESCE_BELOW: Final = 16384
"""Small writes are gathered into pieces of up to this size: one copy of few bytes is cheaper than one more piece to
walk. UNSOURCED: a quarter of the largest message."""


class SendBuffer:
    """Bytes the writer handed over and the connection has not taken yet."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes | bytearray | memoryview] = deque()
        self.size = 0

    def append(self, data: bytes | memoryview) -> None:
        """Queue `data`; it must not change afterwards."""
        count = len(data)
        if count < COALESCE_BELOW:
            pieces = self._pieces
            tail = pieces[-1] if pieces else None
            if type(tail) is bytearray and len(tail) + count <= COALESCE_BELOW:
                tail += data
            else:
                pieces.append(bytearray(data))
        else:
            self._pieces.append(data)
        self.size += count

    def take_into(self, parts: list[bytes | bytearray | memoryview], count: int) -> None:
        """Move exactly `count` bytes (at most `size`) to the end of `parts`."""
        self.size -= count
        pieces = self._pieces
        while count:
            piece = pieces[0]
            length = len(piece)
            if length <= count:
                parts.append(piece)
                pieces.popleft()
                count -= length
            else:
                # A view of a bytearray would forbid growing it: the rest becomes bytes once.
                view = memoryview(bytes(piece)) if type(piece) is bytearray else memoryview(piece)
                parts.append(view[:count])
                pieces[0] = view[count:]
                return

    def clear(self) -> None:
        """Forget everything queued."""
        self._pieces.clear()
        self.size = 0


class ReceiveBuffer:
    """Bytes the peer sent and the reader has not asked for yet."""

    __slots__ = ("_offset", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._offset = 0
        self.size = 0

    def append(self, data: bytes) -> None:
        """Queue received bytes."""
        self._pieces.append(data)
        self.size += len(data)

    def take(self, limit: int) -> bytes:
        """Return up to `limit` bytes from the front, from as many pieces as it takes."""
        pieces, offset = self._pieces, self._offset
        if not pieces:
            return b""
        first = pieces[0]
        if offset == 0 and len(first) <= limit and (len(first) == limit or len(pieces) == 1):
            pieces.popleft()
            self.size -= len(first)
            return first
        if len(first) - offset > limit:
            self._offset = offset + limit
            self.size -= limit
            return first[offset : offset + limit]
        taken = []
        left = limit
        while pieces and left:
            piece = pieces[0]
            available = len(piece) - offset
            if available > left:
                taken.append(piece[offset : offset + left])
                offset += left
                left = 0
            else:
                taken.append(piece[offset:] if offset else piece)
                pieces.popleft()
                offset = 0
                left -= available
        self._offset = offset
        self.size -= limit - left
        return b"".join(taken)

    def clear(self) -> int:
        """Forget everything queued; returns how many bytes that were."""
        dropped, self.size, self._offset = self.size, 0, 0
        self._pieces.clear()
        return dropped


class StreamState:
    """Everything the multiplexer knows of one stream."""

    __slots__ = (
        "blocked_writer",
        "fin_queued",
        "fin_received",
        "fin_sent",
        "forgotten",
        "in_rotation",
        "name",
        "number",
        "receive_credit",
        "received",
        "send_credit",
        "sending",
        "to_return",
        "told_readable",
    )

    def __init__(self, number: int, name: str, window: int) -> None:
        self.number = number
        self.name = name
        self.sending = SendBuffer()
        self.received = ReceiveBuffer()
        self.send_credit = window
        self.receive_credit = window
        self.to_return = 0
        self.fin_queued = False
        self.fin_sent = False
        self.fin_received = False
        self.blocked_writer = False
        self.told_readable = False
        self.in_rotation = False
        self.forgotten = False

    @property
    def sendable(self) -> bool:
        """Whether a DATA frame could leave now, as far as this stream's own credit goes."""
        if self.sending.size:
            return self.send_credit > 0
        return self.fin_queued and not self.fin_sent

    @property
    def finished(self) -> bool:
        """Whether both directions have ended and everything received was read."""
        return self.fin_sent and self.fin_received and not self.received.size
