"""How many bytes may be under way on one path: CUBIC (RFC 9438) with an early end of slow start (RFC 9406).

Decides the congestion window from acknowledgements, round trips and losses. Refuses to know what is sent and how loss
is found. Stock aiortc halves the window on loss and adds a packet a round trip, at most one packet an acknowledgement;
with acknowledgements that cover many packets that never gets going.
"""

from __future__ import annotations

from typing import Final

CUBIC_C: Final = 0.4
"""RFC 9438 section 5.1."""
CUBIC_BETA: Final = 0.7
"""RFC 9438 section 4.6."""
INITIAL_PACKETS: Final = 10
"""RFC 6928."""
MIN_PACKETS: Final = 4
"""RFC 9260 section 7.2.3: never below four packets after a loss that acknowledgements showed."""
HYSTART_MIN_THRESHOLD: Final = 0.004
HYSTART_MAX_THRESHOLD: Final = 0.016
"""RFC 9406 section 4.2."""
HYSTART_SAMPLES: Final = 8
"""N_RTT_SAMPLE of RFC 9406 section 4.2."""
QUEUE_LIMIT: Final = 0.1
"""Seconds of queueing we may cause beyond the shortest round trip before the window stops growing. UNSOURCED: short
enough that a small stream beside a bulk one stays usable."""


class CongestionWindow:
    """The window of one path, in bytes."""

    def __init__(self, packet: int, maximum: int) -> None:
        self.packet = packet
        self.maximum = maximum
        self.window = INITIAL_PACKETS * packet
        self.threshold = maximum
        self.min_rtt = float("inf")
        self.last_rtt = 0.0
        self._epoch = 0.0
        self._origin = 0.0
        self._k = 0.0
        self._last_max = 0.0
        self._estimate = 0.0
        self._slow_samples = 0

    @property
    def in_slow_start(self) -> bool:
        """Whether the window still doubles each round trip."""
        return self.window < self.threshold

    def on_rtt(self, rtt: float) -> None:
        """Take one measured round trip."""
        self.last_rtt = rtt
        self.min_rtt = min(self.min_rtt, rtt)
        if self.in_slow_start:
            excess = min(max(self.min_rtt / 8, HYSTART_MIN_THRESHOLD), HYSTART_MAX_THRESHOLD)
            self._slow_samples = self._slow_samples + 1 if rtt > self.min_rtt + excess else 0
            if self._slow_samples >= HYSTART_SAMPLES:
                self.threshold = self.window

    def on_ack(self, size: int, now: float) -> None:
        """`size` bytes were newly acknowledged while the window was what held us back."""
        if self.last_rtt > self.min_rtt + QUEUE_LIMIT:
            return
        if self.in_slow_start:
            self.window = min(self.window + size, self.maximum)
            return
        packet = self.packet
        if not self._epoch:
            self._epoch = now
            self._origin = max(self._last_max, float(self.window))
            self._k = ((self._origin - self.window) / packet / CUBIC_C) ** (1 / 3)
            self._estimate = float(self.window)
        rtt = self.min_rtt if self.min_rtt < float("inf") else 0.1
        t = now - self._epoch + rtt
        target = self._origin + CUBIC_C * (t - self._k) ** 3 * packet
        target = min(max(target, self.window), 1.5 * self.window)
        # RFC 9438 section 4.3: never slower than Reno would be.
        self._estimate += 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA) * packet * size / self.window
        grown = self.window + (target - self.window) * size / self.window
        self.window = int(min(max(grown, self._estimate), self.maximum))

    def on_loss(self) -> None:
        """Acknowledgements showed a loss; call once for each window of data."""
        # RFC 9438 section 4.7, fast convergence: leave room for a newcomer.
        shrinking = self.window < self._last_max
        self._last_max = self.window * (1 + CUBIC_BETA) / 2 if shrinking else float(self.window)
        self.window = max(int(self.window * CUBIC_BETA), MIN_PACKETS * self.packet)
        self.threshold = self.window
        self._epoch = 0.0

    def on_timeout(self) -> None:
        """Nothing came back for a whole retransmission time-out (RFC 9260 section 7.2.3)."""
        self._last_max = float(self.window)
        self.threshold = max(int(self.window * CUBIC_BETA), MIN_PACKETS * self.packet)
        self.window = self.packet
        self._epoch = 0.0
