"""The message channel of a simulated link: reliable and ordered, over datagrams of the in-memory network.

Decides what WebRTC's SCTP decides for a real link, in its simplest form: segments, selective acknowledgements, repeats,
a congestion window, consent (RFC 7675), and when a silent path counts as dead. Every byte crosses the network: routers,
faults, losses and queues, so whatever cuts datagrams cuts links. Refuses to know streams, and how the path was found.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from node.ports import LinkEnd, LinkFault

SEGMENT: Final = 1200
"""Bytes of a message in one datagram: aiortc's USERDATA_MAX_LENGTH."""

WINDOW: Final = 218
"""Segments under way unacknowledged: 262,144 bytes, as the memory link's capacity."""

FIRST_WINDOW, LEAST_WINDOW = 10.0, 4.0
"""Segments sent before anything is known of the path (RFC 6928), and the fewest after a loss (RFC 9260 section 7.2.3).
"""

ACK_DELAY: Final = 0.02
"""Seconds an acknowledgement of a single segment waits for another one. RFC 9260 section 6.2 allows up to 0.2."""

REORDERED: Final = 3
"""Later segments that arrive before one counts as lost (RFC 9260 section 7.2.4: the third missing report)."""

FIRST_REPEAT, LONGEST_REPEAT = 1.0, 60.0
"""Seconds until the oldest segment is repeated, doubling (RFC 9260 section 16: RTO.Initial, which is RTO.Min, RTO.Max).
"""

CONSENT_INTERVAL: Final = 5.0
"""Seconds between consent checks, times 0.8 to 1.2 (RFC 7675 section 5.1)."""

CONSENT_EXPIRES: Final = 30.0
"""Seconds without an answer after which the path is dead (RFC 7675 section 5.1)."""

DATA, ACK, CONSENT, CONSENTED, BYE = range(0x20, 0x25)
"""First byte of each datagram."""

_SEGMENT: Final = struct.Struct(">IB")
_ACK: Final = struct.Struct(">I")
_BITMAP: Final = 32


class NetworkChannel:
    """One end of a link's path: a `Channel` of `node.ports`."""

    def __init__(
        self, transmit: Callable[[bytes], object], release: Callable[[NetworkChannel], object], rng: Random
    ) -> None:
        """`transmit(datagram)` sends to the other end; `release(self)` frees the path when the channel has ended."""
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self._loop = asyncio.get_running_loop()
        self._transmit = transmit
        self._release = release
        self._rng = rng
        self._open = True
        # Sending.
        self._queued: deque[bytes] = deque()
        self._under_way: dict[int, bytes] = {}
        self._waiting_bytes = 0
        self._next = 0
        self._acknowledged = 0
        self._window, self._threshold = FIRST_WINDOW, float(WINDOW)
        self._recovered_at = 0
        self._repeat_after = FIRST_REPEAT
        self._repeat: asyncio.TimerHandle | None = None
        # Receiving.
        self._expected = 0
        self._early: dict[int, bytes] = {}
        self._message: list[bytes] = []
        self._unacknowledged = 0
        self._ack: asyncio.TimerHandle | None = None
        self._heard = self._loop.time()
        self._consent = self._loop.call_later(self._until_check(), self._check_consent)

    # What a link asks

    def start(self) -> None:
        """What came early is scheduled for the moment after: nothing is delivered before the turn of the loop ends."""

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        return WINDOW * SEGMENT - self._waiting_bytes if self._open else 0

    @property
    def idle(self) -> bool:
        """Whether the other end has everything."""
        return not self._waiting_bytes or not self._open

    def send(self, message: bytes) -> None:
        """Hand over one message."""
        if not self._open:
            return
        for start in range(0, len(message), SEGMENT):
            piece = message[start : start + SEGMENT]
            last = start + SEGMENT >= len(message)
            self._queued.append(_SEGMENT.pack(self._next, last) + piece)
            self._next += 1
            self._waiting_bytes += len(piece)
        self._pump()

    async def close(self) -> None:
        """Say goodbye and free the path."""
        if self._open:
            self._transmit(bytes((BYE,)))
            self._stop()

    # What happens to it

    def cut(self, detail: str) -> None:
        """End it without a word, as when its machine dies."""
        self._lose(detail)

    def receive(self, data: bytes) -> None:
        """Take a datagram of the other end."""
        if not self._open:
            return
        self._heard = self._loop.time()
        match data[0]:
            case 0x20:
                self._on_segment(data)
            case 0x21:
                self._on_ack(data)
            case 0x22:
                self._transmit(bytes((CONSENTED,)))
            case 0x24:
                self._lose("the other end went away")

    def _on_segment(self, data: bytes) -> None:
        number, _ = _SEGMENT.unpack_from(data, 1)
        if number >= self._expected and number not in self._early:
            self._early[number] = data[1 + _ACK.size :]
        in_order = number == self._expected
        while (piece := self._early.pop(self._expected, None)) is not None:
            self._expected += 1
            self._message.append(piece[1:])
            if piece[0]:
                message, self._message = b"".join(self._message), []
                self.on_message(message)
                if not self._open:
                    return
        self._unacknowledged += 1
        # At once where something is missing, so that the other end learns of it.
        if self._unacknowledged >= 2 or not in_order or self._early:
            self._acknowledge()
        elif self._ack is None:
            self._ack = self._loop.call_later(ACK_DELAY, self._acknowledge)

    def _acknowledge(self) -> None:
        if self._ack is not None:
            self._ack.cancel()
            self._ack = None
        self._unacknowledged = 0
        early = 0
        for number in self._early:
            if (at := number - self._expected - 1) < 8 * _BITMAP:
                early |= 1 << at
        bitmap = early.to_bytes(_BITMAP, "little") if early else b""
        self._transmit(bytes((ACK,)) + _ACK.pack(self._expected) + bitmap)

    def _on_ack(self, data: bytes) -> None:
        (expected,) = _ACK.unpack_from(data, 1)
        early = int.from_bytes(data[1 + _ACK.size :], "little")
        full = self.room <= 0
        self._acknowledged = max(self._acknowledged, expected)
        arrived = [number for number in self._under_way if number < expected or _has(early, number - expected - 1)]
        for number in arrived:
            self._waiting_bytes -= len(self._under_way.pop(number)) - _SEGMENT.size
        if arrived:
            grown = len(arrived) if self._window < self._threshold else len(arrived) / self._window
            self._window = min(self._window + grown, WINDOW)
            self._repeat_after = FIRST_REPEAT
            self._arm()
        self._repeat_missing(expected + early.bit_length())
        self._pump()
        if full and self.room > 0:
            self.on_room()

    def _repeat_missing(self, highest: int) -> None:
        missing = [number for number in self._under_way if number <= highest - REORDERED]
        # Once for each window: what is lost a second time is for the timer.
        if not missing or missing[0] < self._recovered_at:
            return
        self._recovered_at = max(self._under_way) + 1
        self._window = self._threshold = max(self._window / 2, LEAST_WINDOW)
        for number in missing:
            self._transmit(bytes((DATA,)) + self._under_way[number])

    def _pump(self) -> None:
        while self._queued and len(self._under_way) < int(self._window) and self._open:
            piece = self._queued.popleft()
            (number,) = _ACK.unpack_from(piece)
            if number < self._acknowledged:  # It had arrived, and only its acknowledgement was late.
                self._waiting_bytes -= len(piece) - _SEGMENT.size
                continue
            self._under_way[number] = piece
            self._transmit(bytes((DATA,)) + piece)
        if self._repeat is None:
            self._arm()

    def _arm(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None
        if self._under_way and self._open:
            self._repeat = self._loop.call_later(self._repeat_after, self._on_repeat)

    def _on_repeat(self) -> None:
        self._repeat = None
        self._repeat_after = min(2 * self._repeat_after, LONGEST_REPEAT)
        # All of it counts as lost, and is sent again as slowly as at the beginning.
        self._threshold, self._window = max(self._window / 2, LEAST_WINDOW), 1.0
        self._queued.extendleft(reversed(self._under_way.values()))
        self._under_way.clear()
        self._pump()

    # Whether anybody is there

    def _until_check(self) -> float:
        return CONSENT_INTERVAL * self._rng.uniform(0.8, 1.2)

    def _check_consent(self) -> None:
        if self._loop.time() - self._heard >= CONSENT_EXPIRES:
            self._lose(f"nothing was heard for {CONSENT_EXPIRES:g} s")
            return
        self._transmit(bytes((CONSENT,)))
        self._consent = self._loop.call_later(self._until_check(), self._check_consent)

    def _lose(self, detail: str) -> None:
        if self._open:
            self._stop()
            self.on_closed(LinkEnd(LinkFault.LOST, detail))

    def _stop(self) -> None:
        self._open = False
        for timer in (self._consent, self._ack, self._repeat):
            if timer is not None:
                timer.cancel()
        self._queued.clear()
        self._under_way.clear()
        self._early.clear()
        self._release(self)


def _has(bits: int, at: int) -> bool:
    return at >= 0 and bool(bits >> at & 1)
