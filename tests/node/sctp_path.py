"""A made-up network path on a made-up clock between the two halves of our SCTP.

Decides delay, loss, jitter, and what a bottleneck with a queue does. Used by tests only.
"""

from __future__ import annotations

import heapq
import random
import struct
from dataclasses import dataclass, field

from node.adapters.webrtc_sctp_receive import Receiver
from node.adapters.webrtc_sctp_send import Sender

PACKET_OVERHEAD = 77
"""UDP, IP, DTLS and SCTP around one chunk."""
FIRST_TSN = 2**32 - 40  # wraps around early


@dataclass
class Path:
    """Carries chunks one way and SACKs back, dropping some, on a clock of its own."""

    loss: float = 0.0
    delay: float = 0.02
    jitter: float = 0.0
    rate: float = 0.0
    """Bytes a second through the bottleneck; 0 is no bottleneck."""
    queue: float = 0.0
    """Seconds of data the bottleneck keeps; more is dropped."""
    seed: int = 1
    now: float = 100.0
    sender: Sender = field(default_factory=Sender)
    received: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.receiver = Receiver(lambda stream, protocol, message: self.received.append(message))
        self.sender.start(FIRST_TSN)
        self.receiver.start((FIRST_TSN - 1) % 2**32)
        self.longest_queue = 0.0
        self.dropped = 0
        self._free_at = 0.0
        self._events: list[tuple[float, int, bytes]] = []
        self._count = 0

    def transmit(self) -> None:
        for body in self.sender.chunks_to_send(self.now):
            self._launch(body)

    def run(self, until: float = 600.0) -> None:
        """Run until everything was acknowledged."""
        self.transmit()
        end = self.now + until
        while not self.sender.idle:
            self._step()
            assert self.now < end, "not through in time"
            self.transmit()

    def fill(self, seconds: float) -> float:
        """Keep the sender busy for so long; returns delivered bytes a second."""
        message = bytes(65_536)
        end = self.now + seconds
        while self.now < end:
            while self.sender.queued_bytes < 262_144:
                self.sender.queue_message(0, 53, message)
            self.transmit()
            self._step()
        return sum(map(len, self.received)) / seconds

    def _step(self) -> None:
        deadline = self.sender.deadline
        if self._events and (deadline is None or self._events[0][0] <= deadline):
            self.now, _, body = heapq.heappop(self._events)
            self._arrive(body)
            return
        assert deadline is not None, "nothing under way and no timer: stuck"
        self.now = deadline
        self.sender.handle_timeout(self.now)

    def _launch(self, body: bytes) -> None:
        if self.rng.random() < self.loss:
            return
        when = self.now
        if self.rate and body[0] == 0:
            waiting = max(self._free_at - self.now, 0.0)
            self.longest_queue = max(self.longest_queue, waiting)
            if waiting > self.queue:
                self.dropped += 1
                return
            when = self._free_at = self.now + waiting + (len(body) + PACKET_OVERHEAD) / self.rate
        self._count += 1
        heapq.heappush(self._events, (when + self.delay + self.rng.random() * self.jitter, self._count, body))

    def _arrive(self, body: bytes) -> None:
        if body[0] == 3:
            _, _, _, cumulative, window, count, _ = struct.unpack_from("!BBHLLHH", body)
            gaps = [struct.unpack_from("!HH", body, 16 + 4 * i) for i in range(count)]
            assert self.sender.sack(cumulative, window, [(a, b) for a, b in gaps], self.now)
            return
        _, flags, length, tsn, stream, _, protocol = struct.unpack_from("!BBHLHHL", body)
        self.receiver.data(tsn, flags, stream, protocol, body[16:length])
        self._launch(self.receiver.sack())
