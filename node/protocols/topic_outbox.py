"""What waits to be written to one neighbour: bounded, and who hands something over is told when it is full.

Decides the bounds. Refuses to know what is in it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_BYTES: Final = 1_048_576
MAX_MESSAGES: Final = 256
"""What waits for one neighbour: bounds memory at 12 MiB for all of a topic's. UNSOURCED"""

CONTROL_ROOM: Final = 64
"""Further short messages of the mesh's own. UNSOURCED"""

STUCK_AFTER: Final = 30.0
"""Seconds without anything taken after which a neighbour counts as stuck. UNSOURCED"""


class Outbox:
    """One neighbour's."""

    def __init__(self, now: float) -> None:
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._moved = now

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, message: bytes, now: float, *, control: bool = False) -> bool:
        """Hand a message over; false when there is no room."""
        most = MAX_MESSAGES + CONTROL_ROOM if control else MAX_MESSAGES
        if len(self._waiting) >= most or (not control and self._bytes + len(message) > MAX_BYTES):
            return False
        if not self._waiting:
            self._moved = now
        self._waiting.append(message)
        self._bytes += len(message)
        return True

    def take(self, now: float) -> bytes | None:
        """The next message, to be written."""
        if not self._waiting:
            return None
        self._moved = now
        message = self._waiting.popleft()
        self._bytes -= len(message)
        return message

    def stuck_at(self) -> float | None:
        """When it will have been stuck for too long."""
        return self._moved + STUCK_AFTER if self._waiting else None
