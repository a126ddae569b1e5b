"""How many bytes may be under way on one path: enough to fill it, not more.

Decides the congestion window from a model of the path, as BBR does (Cardwell et al., "BBR: Congestion-Based Congestion
Control", 2016; draft-ietf-ccwg-bbr): the highest rate at which bytes were lately delivered, times the shortest round
trip. Loss up to 2 % is not taken for congestion, so a lossy radio path stays usable; above, the window gives way.
Refuses to know what is sent and how loss is found.

Chosen by measurement, in the same simulated path of 12.5 MB/s and 50 ms: the loss-driven window of stock aiortc or of
CUBIC gives 0.3 MB/s at 1 % loss, as every data channel tried does.
There is no pacing: the window itself is what cycles, so what probes for more is followed by what drains the queue.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

INITIAL_PACKETS: Final = 10
"""RFC 6928."""
MIN_PACKETS: Final = 4
"""BBRMinPipeCwnd of draft-ietf-ccwg-bbr: enough for an acknowledgement to be always under way."""
START_UP_GAIN: Final = 2.885
"""2/ln 2: the least that lets the rate double each round (BBR 2016)."""
FULL_PIPE_GROWTH: Final = 1.25
FULL_PIPE_ROUNDS: Final = 3
"""Start-up ends when the rate grew by less than a quarter in three rounds (draft-ietf-ccwg-bbr section 5.3.1.2)."""
RATE_ROUNDS: Final = 10
"""Rounds the highest rate is remembered (BBR 2016, "max filter over 6-10 RTTs")."""
CYCLE: Final = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""A round each: probe, drain, cruise (BBR 2016)."""
HEADROOM: Final = 1.1
"""Beyond the product of rate and round trip, so that jitter does not idle the path. UNSOURCED: 10 % of a round trip."""
SHORTEST_ROUND_TRIP: Final = 0.01
"""Seconds the model assumes at least: both sides' loops take turns of some milliseconds. UNSOURCED: measured on
loopback, where less leaves the path idle."""
LOSS_THRESHOLD: Final = 0.02
"""BBRLossThresh of draft-ietf-ccwg-bbr."""
LOSS_BETA: Final = 0.7
"""BBRBeta of draft-ietf-ccwg-bbr."""
LOSS_FLOOR: Final = 0.9
"""The least a ceiling leaves of the path. UNSOURCED: below it the measured rate would spiral down with the ceiling."""
LOSS_COUNT: Final = 6
"""Losses in one round below which nothing is concluded (BBRStartupFullLossCnt of draft-ietf-ccwg-bbr)."""
CEILING_GROWTH: Final = 1.05
"""What a lowered ceiling regains in each quiet round. UNSOURCED: 14 rounds to double."""
MIN_RTT_LIFETIME: Final = 10.0
PROBE_RTT_TIME: Final = 0.2
PROBE_RTT_GAIN: Final = 0.5
"""draft-ietf-ccwg-bbr section 5.3.4."""


class Phase(enum.Enum):
    """What the window is doing."""

    START_UP = enum.auto()
    CYCLE = enum.auto()
    PROBE_RTT = enum.auto()


class CongestionWindow:
    """The window of one path, in bytes."""

    def __init__(self, packet: int, maximum: int) -> None:
        self.packet = packet
        self.maximum = maximum
        self.window = INITIAL_PACKETS * packet
        self.phase = Phase.START_UP
        self.min_rtt = float("inf")
        self.rate = 0.0
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent_at = 0.0
        self._min_rtt_at = 0.0
        self._rates: deque[tuple[int, float]] = deque()
        self._round = 0
        self._round_ends_at = 0
        self._full_rate = 0.0
        self._full_rounds = 0
        self._step = 2
        self._ceiling = float(maximum)
        self._lost_in_round = 0
        self._acked_in_round = 0
        self._probe_until = 0.0
        self._before_probe = float(self.window)

    def on_idle(self, now: float) -> None:
        """Nothing is under way, and something is about to be sent: rates are measured from here."""
        self.delivered_at = self.first_sent_at = now

    def on_rtt(self, rtt: float, now: float) -> None:
        """Take one measured round trip."""
        if rtt <= self.min_rtt:
            self.min_rtt, self._min_rtt_at = rtt, now

    def on_lost(self, size: int) -> None:
        """`size` bytes were found lost."""
        self._lost_in_round += size

    def on_ack(
        self,
        size: int,
        now: float,
        *,
        delivered: int,
        delivered_at: float,
        sent: float,
        first_sent: float,
        limited: bool,
    ) -> None:
        """`size` bytes were newly acknowledged.

        The rest is what was noted when the newest of them was sent: `delivered` and `delivered_at`, when it and the one
        acknowledged last before it were sent, and whether the sender could have sent more.
        """
        self.delivered += size
        self.delivered_at = now
        self.first_sent_at = sent
        self._acked_in_round += size
        new_round = delivered >= self._round_ends_at
        if new_round:
            self._round += 1
            self._round_ends_at = self.delivered
        # The slower of sending and acknowledging: either may come in bunches.
        elapsed = max(now - delivered_at, sent - first_sent)
        if elapsed > 0 and elapsed >= self.min_rtt:
            self._on_rate((self.delivered - delivered) / elapsed, limited)
        if new_round:
            self._on_round(now, limited)
        self._set_window(size, limited)

    def on_timeout(self) -> None:
        """Nothing came back for a whole retransmission time-out: begin with little, but remember the path."""
        self.window = MIN_PACKETS * self.packet

    def _product(self) -> float:
        """Bytes that fill the path: its rate times its shortest round trip."""
        return self.rate * (
            max(self.min_rtt, SHORTEST_ROUND_TRIP) if self.min_rtt < float("inf") else SHORTEST_ROUND_TRIP
        )

    def _on_rate(self, rate: float, limited: bool) -> None:
        # A sender that had nothing more to send shows no more than what it sent.
        if not limited and rate < self.rate:
            return
        rates = self._rates
        while rates and rates[-1][1] <= rate:
            rates.pop()
        rates.append((self._round, rate))
        while rates[0][0] < self._round - RATE_ROUNDS:
            rates.popleft()
        self.rate = rates[0][1]

    def _on_round(self, now: float, limited: bool) -> None:
        total = self._acked_in_round + self._lost_in_round
        heavy = self._lost_in_round > LOSS_THRESHOLD * total and self._lost_in_round >= LOSS_COUNT * self.packet
        self._lost_in_round = self._acked_in_round = 0
        if heavy:
            # Never below what the path is known to carry: it is the excess that was lost.
            self._ceiling = max(min(self.window, self._ceiling) * LOSS_BETA, self._product() * LOSS_FLOOR)
        elif self._ceiling < self.maximum:
            self._ceiling = min(self._ceiling * CEILING_GROWTH, self.maximum)
        if self.phase is Phase.START_UP:
            if limited:
                self._look_whether_full(heavy)
        elif self.phase is Phase.PROBE_RTT:
            if now >= self._probe_until:
                self._min_rtt_at = now
                self.phase = Phase.CYCLE
        elif now - self._min_rtt_at > MIN_RTT_LIFETIME:
            self.min_rtt = float("inf")
            self._probe_until = now + PROBE_RTT_TIME
            self.phase = Phase.PROBE_RTT
        else:
            self._step = (self._step + 1) % len(CYCLE)

    def _look_whether_full(self, heavy: bool) -> None:
        if self.rate >= self._full_rate * FULL_PIPE_GROWTH and not heavy:
            self._full_rate = self.rate
            self._full_rounds = 0
            return
        self._full_rounds += 1
        if heavy or self._full_rounds >= FULL_PIPE_ROUNDS:
            self.phase = Phase.CYCLE
            self._step = 1

    def _set_window(self, acked: int, limited: bool) -> None:
        floor = MIN_PACKETS * self.packet
        if self.phase is Phase.START_UP:
            if limited:
                most = max(self._product() * START_UP_GAIN, INITIAL_PACKETS * self.packet)
                self.window = max(int(min(self.window + acked, most, self.maximum)), floor)
            return
        if self.phase is Phase.PROBE_RTT:
            target = self._before_probe * PROBE_RTT_GAIN
        else:
            target = self._product() * HEADROOM * CYCLE[self._step]
            self._before_probe = target
        target = min(target, self._ceiling, self.maximum)
        # Up no faster than bytes arrive, down at once.
        self.window = max(int(min(target, self.window + acked)), floor)
