"""The sending half of an SCTP association with reliable ordered messages (RFC 9260).

Decides what leaves when, and what counts as lost. Loss is found as in RFC 9002 section 6.1 (by order of sending, three
packets later acknowledged), so a lost retransmission is noticed without a time-out; a tail loss is probed for as in
RFC 8985. Every acknowledgement costs what it newly acknowledges, not what is under way. Refuses to know about sockets
and time sources: `now` is an argument.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final

from node.protocols.congestion import CongestionWindow

PAYLOAD: Final = 1160
"""User data in one chunk: aiortc's USERDATA_MAX_LENGTH, which fits IPv6's minimum MTU with DTLS around it."""
MAX_WINDOW: Final = 8 * 1_048_576
"""Bytes under way at most: 160 MB/s at a round trip of 50 ms. UNSOURCED."""
BURST: Final = 64 * PAYLOAD
"""Bytes that may leave in one turn beyond twice what was just acknowledged. RFC 9260 section 6.1 asks for four packets
with an acknowledgement every second packet; ours cover whole runs. UNSOURCED: one run of the kernel."""
REORDER_PACKETS: Final = 3
"""kPacketThreshold of RFC 9002 section 6.1.1."""
RTO_INITIAL: Final = 0.5
RTO_MIN: Final = 0.4
"""What libwebrtc's SCTP uses (dcsctp options: rto_initial 500 ms, rto_min 400 ms)."""
RTO_MAX: Final = 10.0
"""UNSOURCED: ICE consent ends a dead path after 30 s."""
PROBE_MIN: Final = 0.02
"""Seconds before a tail is probed at the earliest. UNSOURCED: a scheduling hiccup of the other side."""
MAX_TIMEOUTS: Final = 10
"""Association.Max.Retrans of RFC 9260 section 16."""
FIRST_FRAGMENT: Final = 0x02
LAST_FRAGMENT: Final = 0x01
_MODULO: Final = 1 << 32
_HEAD: Final = struct.Struct("!BBHLHHL")


class OutChunk:
    """One DATA chunk until it is acknowledged."""

    __slots__ = ("body", "delivered", "delivered_at", "first_sent", "order", "sent_at", "size", "tries", "tsn")

    def __init__(self, tsn: int, body: bytes, size: int) -> None:
        self.tsn = tsn
        self.body = body
        self.size = size
        self.order = 0
        self.tries = 0
        self.sent_at = 0.0
        self.delivered = 0
        self.delivered_at = 0.0
        self.first_sent = 0.0


class Sender:
    """Queues, sends, resends."""

    def __init__(self) -> None:
        self.congestion = CongestionWindow(PAYLOAD, MAX_WINDOW)
        self.queued_bytes = 0
        self.in_flight = 0
        self.peer_window = 1 << 17
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.rto = RTO_INITIAL
        self.deadline: float | None = None
        self.timeouts = 0
        self.retransmitted = 0
        self._queue: deque[OutChunk] = deque()
        self._lost: deque[OutChunk] = deque()
        self._flight: dict[int, OutChunk] = {}
        self._by_order: dict[int, OutChunk] = {}
        self._gap_acked: dict[int, OutChunk] = {}
        self._gaps_seen: dict[int, int] = {}
        self._order = 0
        self._highest_acked = 0
        self._acked_since = 0
        self._spoken_of = 0
        self._probed = False
        self._limited = False
        self._next_tsn = 0
        self._cumulative = 0
        self._sequence: dict[int, int] = {}

    def start(self, first_tsn: int) -> None:
        """Set our first TSN, before anything is queued."""
        self._next_tsn = first_tsn
        self._cumulative = (first_tsn - 1) % _MODULO

    @property
    def idle(self) -> bool:
        """Whether everything was acknowledged."""
        return not (self._queue or self._flight or self._lost or self._gap_acked)

    @property
    def next_tsn(self) -> int:
        """The TSN the next chunk will carry."""
        return self._next_tsn

    def queue_message(self, stream: int, protocol: int, message: bytes) -> None:
        """Cut a message into chunks and queue them."""
        sequence = self._sequence.get(stream, 0)
        self._sequence[stream] = (sequence + 1) & 0xFFFF
        total = len(message)
        queue, tsn, pack = self._queue, self._next_tsn, _HEAD.pack
        flags = FIRST_FRAGMENT
        for at in range(0, total, PAYLOAD):
            piece = message[at : at + PAYLOAD]
            size = len(piece)
            if at + size == total:
                flags |= LAST_FRAGMENT
            body = pack(0, flags, 16 + size, tsn, stream, sequence, protocol) + piece
            if size & 3:
                body += bytes(-size & 3)
            queue.append(OutChunk(tsn, body, size))
            tsn = (tsn + 1) % _MODULO
            flags = 0
        self._next_tsn = tsn
        self.queued_bytes += total

    def chunks_to_send(self, now: float) -> list[bytes]:
        """Return the chunks that may leave now, one for each packet."""
        burst = max(BURST, 2 * self._acked_since)
        self._acked_since = 0
        limit = min(self.congestion.window, self.in_flight + burst, max(self.peer_window, PAYLOAD))
        bodies: list[bytes] = []
        model = self.congestion
        if not self.in_flight:
            model.on_idle(now)
        delivered, delivered_at, first_sent = model.delivered, model.delivered_at, model.first_sent_at
        lost, queue = self._lost, self._queue
        while lost and self.in_flight < limit:
            chunk = lost.popleft()
            self.retransmitted += 1
            self._put_in_flight(chunk, now)
            bodies.append(chunk.body)
        flight, by_order, order, in_flight, queued = self._flight, self._by_order, self._order, self.in_flight, 0
        while queue and in_flight < limit:
            chunk = queue.popleft()
            order += 1
            chunk.order = order
            chunk.tries = 1
            chunk.sent_at = now
            chunk.delivered, chunk.delivered_at, chunk.first_sent = delivered, delivered_at, first_sent
            flight[chunk.tsn] = chunk
            by_order[order] = chunk
            in_flight += chunk.size
            queued += chunk.size
            bodies.append(chunk.body)
        self._order, self.in_flight = order, in_flight
        self.queued_bytes -= queued
        self._limited = bool(queue or lost)
        if bodies and self.deadline is None:
            self._arm(now)
        return bodies

    def sack(self, cumulative: int, window: int, gaps: list[tuple[int, int]], now: float) -> bool:
        """Take an acknowledgement. Returns False when it claims what was never sent (RFC 9260 section 6.2.1)."""
        advance = (cumulative - self._cumulative) % _MODULO
        outstanding = (self._next_tsn - 1 - self._cumulative) % _MODULO
        if advance > outstanding:
            # Behind what we know already: an old one, overtaken on the way. Else nonsense.
            return advance > _MODULO // 2
        acked = 0
        newest: OutChunk | None = None
        flight, by_order, gap_acked = self._flight, self._by_order, self._gap_acked
        tsn = self._cumulative
        for _ in range(advance):
            tsn = (tsn + 1) % _MODULO
            chunk = flight.pop(tsn, None)
            if chunk is None:
                if gap_acked.pop(tsn, None) is None:
                    self._unlose(tsn)
                continue
            del by_order[chunk.order]
            acked += chunk.size
            if newest is None or chunk.order > newest.order:
                newest = chunk
        self._cumulative = cumulative
        self._spoken_of = max((last for _, last in gaps), default=0)
        if gaps:
            seen: dict[int, int] = {}
            for first, last in gaps:
                start = (cumulative + first) % _MODULO
                known = self._gaps_seen.get(start, 0)
                length = last - first + 1
                if last < first or first + length - 1 > outstanding:
                    return False
                seen[start] = length
                for offset in range(known, length):
                    tsn = (start + offset) % _MODULO
                    chunk = flight.pop(tsn, None)
                    if chunk is not None:
                        del by_order[chunk.order]
                        gap_acked[tsn] = chunk
                        acked += chunk.size
                        if newest is None or chunk.order > newest.order:
                            newest = chunk
                    elif tsn not in gap_acked:
                        chunk = self._unlose(tsn)
                        if chunk is not None:
                            gap_acked[tsn] = chunk
            self._gaps_seen = seen
        elif self._gaps_seen:
            self._gaps_seen = {}
        self.in_flight -= acked
        self._acked_since += acked
        self.peer_window = window
        if newest is not None:
            self._on_newly_acked(newest, acked, now)
        if advance or acked:
            self.timeouts = 0
            self._probed = False
            if self.srtt is not None:
                # Something got through: the doubled pauses have done their work, as Linux' TCP sees it too.
                self.rto = min(max(self.srtt + 4 * self.rttvar, RTO_MIN), RTO_MAX)
        if flight or self._lost or gap_acked:
            if advance or acked:
                self._arm(now)
        else:
            self.deadline = None
        return True

    def handle_timeout(self, now: float) -> None:
        """The deadline has passed: probe the tail once, then take everything for lost."""
        if not self._probed and self._by_order and self.srtt is not None:
            self._probed = True
            chunk = self._by_order.pop(next(reversed(self._by_order)))
            del self._flight[chunk.tsn]
            self.in_flight -= chunk.size
            self._lost.appendleft(chunk)
            self.deadline = now + self.rto
            return
        self.timeouts += 1
        self.congestion.on_timeout()
        waiting = [*self._lost, *self._flight.values()]
        if self.timeouts > 1 or not waiting:
            # A receiver may take back what only gap blocks acknowledged (RFC 9260 section 6.2.1).
            waiting += self._gap_acked.values()
            self._gap_acked.clear()
            self._gaps_seen = {}
        everything = sorted(waiting, key=lambda chunk: (chunk.tsn - self._cumulative) % _MODULO)
        self._flight.clear()
        self._by_order.clear()
        self.in_flight = 0
        self._lost = deque(everything)
        self.rto = min(self.rto * 2, RTO_MAX)
        self.deadline = now + self.rto if everything else None

    def _put_in_flight(self, chunk: OutChunk, now: float) -> None:
        self._order += 1
        chunk.order = self._order
        chunk.tries += 1
        chunk.sent_at = now
        model = self.congestion
        chunk.delivered, chunk.delivered_at, chunk.first_sent = model.delivered, model.delivered_at, model.first_sent_at
        self._flight[chunk.tsn] = chunk
        self._by_order[chunk.order] = chunk
        self.in_flight += chunk.size

    def _unlose(self, tsn: int) -> OutChunk | None:
        """It was taken for lost and waits to be sent again, but arrived after all."""
        for chunk in self._lost:
            if chunk.tsn == tsn:
                self._lost.remove(chunk)
                return chunk
        return None

    def _on_newly_acked(self, newest: OutChunk, acked: int, now: float) -> None:
        if newest.tries == 1:
            self._on_rtt(now - newest.sent_at, now)
        self._highest_acked = max(self._highest_acked, newest.order)
        lost_before = self._highest_acked - REORDER_PACKETS
        lost: list[OutChunk] = []
        for order, chunk in self._by_order.items():
            if order > lost_before:
                break
            # A SACK has room for so many gaps: what lies beyond the last is not missing, only not spoken of.
            if (chunk.tsn - self._cumulative) % _MODULO < self._spoken_of:
                lost.append(chunk)
        for chunk in lost:
            del self._by_order[chunk.order]
            del self._flight[chunk.tsn]
            self.in_flight -= chunk.size
            self._lost.append(chunk)
            self.congestion.on_lost(chunk.size)
        self.congestion.on_ack(
            acked,
            now,
            delivered=newest.delivered,
            delivered_at=newest.delivered_at,
            sent=newest.sent_at,
            first_sent=newest.first_sent,
            limited=self._limited,
        )

    def _on_rtt(self, rtt: float, now: float) -> None:
        # RFC 9260 section 6.3.1.
        if self.srtt is None:
            self.srtt, self.rttvar = rtt, rtt / 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) / 4
            self.srtt += (rtt - self.srtt) / 8
        self.congestion.on_rtt(rtt, now)

    def _arm(self, now: float) -> None:
        # RFC 8985 section 7.2: a probe after two round trips, unless one is out already.
        wait = self.rto if self._probed or self.srtt is None else min(max(2 * self.srtt, PROBE_MIN), self.rto)
        self.deadline = now + wait
