"""The two halves of our SCTP on a made-up network with a made-up clock: loss, reordering, nonsense."""

from __future__ import annotations

import heapq
import random
import struct
from dataclasses import dataclass, field

import pytest

from node.adapters.webrtc_sctp_receive import MAX_AHEAD, MAX_GAPS, MAX_MESSAGE, MessageTooLong, Receiver
from node.adapters.webrtc_sctp_send import BURST, PAYLOAD, RTO_INITIAL, Sender
from node.protocols.congestion import CUBIC_BETA, INITIAL_PACKETS, CongestionWindow

FIRST_TSN = 2**32 - 40  # wraps around early


@dataclass
class Path:
    """Carries chunks one way and SACKs back, dropping some, on a clock of its own."""

    loss: float = 0.0
    delay: float = 0.02
    jitter: float = 0.0
    seed: int = 1
    now: float = 100.0
    sender: Sender = field(default_factory=Sender)
    received: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.receiver = Receiver(lambda stream, protocol, message: self.received.append(message))
        self.sender.start(FIRST_TSN)
        self.receiver.start((FIRST_TSN - 1) % 2**32)
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
            deadline = self.sender.deadline
            if self._events and (deadline is None or self._events[0][0] <= deadline):
                self.now, _, body = heapq.heappop(self._events)
                self._arrive(body)
            else:
                assert deadline is not None, "nothing under way and no timer: stuck"
                self.now = deadline
                self.sender.handle_timeout(self.now)
            assert self.now < end, "not through in time"
            self.transmit()

    def _launch(self, body: bytes) -> None:
        if self.rng.random() >= self.loss:
            self._count += 1
            when = self.now + self.delay + self.rng.random() * self.jitter
            heapq.heappush(self._events, (when, self._count, body))

    def _arrive(self, body: bytes) -> None:
        if body[0] == 3:
            _, _, _, cumulative, window, count, _ = struct.unpack_from("!BBHLLHH", body)
            gaps = [struct.unpack_from("!HH", body, 16 + 4 * i) for i in range(count)]
            assert self.sender.sack(cumulative, window, [(a, b) for a, b in gaps], self.now)
            return
        _, flags, length, tsn, stream, _, protocol = struct.unpack_from("!BBHLHHL", body)
        self.receiver.data(tsn, flags, stream, protocol, body[16:length])
        self._launch(self.receiver.sack())


def messages(count: int, size: int) -> list[bytes]:
    return [bytes([i % 256]) * (size + i) for i in range(count)]


@pytest.mark.parametrize(("loss", "jitter"), [(0.0, 0.0), (0.01, 0.0), (0.1, 0.005), (0.4, 0.02)])
def test_everything_arrives_once_and_in_order(loss: float, jitter: float) -> None:
    path = Path(loss=loss, jitter=jitter)
    sent = messages(30, 20_000)
    for message in sent:
        path.sender.queue_message(0, 53, message)
    path.run()
    assert path.received == sent
    assert path.sender.in_flight == 0
    assert path.sender.queued_bytes == 0


def test_without_loss_nothing_is_sent_twice() -> None:
    path = Path()
    for message in messages(50, 60_000):
        path.sender.queue_message(0, 53, message)
    path.run()
    assert path.sender.retransmitted == 0
    assert path.receiver.duplicates == 0


def test_a_lost_tail_is_probed_for_instead_of_waiting_out_the_time_out() -> None:
    path = Path(delay=0.01)
    path.sender.queue_message(0, 53, bytes(5 * PAYLOAD))
    path.run()
    path.loss = 1.0
    path.sender.queue_message(0, 53, b"tail")
    path.transmit()
    path.loss = 0.0
    start = path.now
    path.run()
    assert path.received[-1] == b"tail"
    assert path.now - start < 0.15
    assert path.sender.timeouts == 0


def test_a_dead_path_counts_time_outs_with_growing_pauses() -> None:
    path = Path(loss=1.0)
    path.sender.queue_message(0, 53, b"hello")
    path.transmit()
    pauses = []
    for _ in range(4):
        assert path.sender.deadline is not None
        pauses.append(path.sender.deadline - path.now)
        path.now = path.sender.deadline
        path.sender.handle_timeout(path.now)
        path.transmit()
    assert pauses == [RTO_INITIAL, 2 * RTO_INITIAL, 4 * RTO_INITIAL, 8 * RTO_INITIAL]
    assert path.sender.timeouts == 4


def test_the_window_of_the_peer_is_kept() -> None:
    path = Path()
    path.sender.queue_message(0, 53, bytes(100 * PAYLOAD))
    first = path.sender.chunks_to_send(path.now)
    assert len(first) == INITIAL_PACKETS
    assert path.sender.sack((FIRST_TSN + 9) % 2**32, 2 * PAYLOAD, [], path.now + 0.01)
    assert len(path.sender.chunks_to_send(path.now + 0.01)) == 2


def test_one_turn_sends_no_more_than_a_burst() -> None:
    sender = Sender()
    sender.start(1)
    sender.congestion.window = 1 << 22
    sender.peer_window = 1 << 22
    sender.queue_message(0, 53, bytes(1 << 20))
    assert len(sender.chunks_to_send(1.0)) * PAYLOAD <= BURST + PAYLOAD


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    sender = Sender()
    sender.start(10)
    sender.queue_message(0, 53, bytes(5 * PAYLOAD))
    sender.chunks_to_send(1.0)
    assert sender.sack(500, 1 << 20, [], 1.1) is False
    assert sender.sack(9, 1 << 20, [(2, 9000)], 1.1) is False
    assert sender.sack(9, 1 << 20, [(5, 2)], 1.1) is False
    assert sender.sack(9, 1 << 20, [], 1.1) is True


def test_an_old_acknowledgement_changes_nothing() -> None:
    sender = Sender()
    sender.start(10)
    sender.queue_message(0, 53, bytes(5 * PAYLOAD))
    sender.chunks_to_send(1.0)
    assert sender.sack(12, 1 << 20, [], 1.1)
    before = sender.in_flight
    assert sender.sack(10, 1 << 20, [], 1.2)
    assert sender.in_flight == before == 2 * PAYLOAD


def test_what_gap_blocks_acknowledged_and_the_peer_took_back_is_sent_again() -> None:
    sender = Sender()
    sender.start(1)
    sender.queue_message(0, 53, bytes(3 * PAYLOAD))
    sender.chunks_to_send(1.0)
    assert sender.sack(0, 1 << 20, [(2, 3)], 1.1)
    sender.handle_timeout(2.0)
    sender.handle_timeout(3.0)
    sender.congestion.window = 10 * PAYLOAD
    resent = {struct.unpack_from("!L", body, 4)[0] for body in sender.chunks_to_send(3.0)}
    assert resent == {1, 2, 3}


def test_hostile_chunks_neither_grow_memory_nor_pass() -> None:
    got: list[bytes] = []
    receiver = Receiver(lambda stream, protocol, message: got.append(message))
    receiver.start(0)
    receiver.data(MAX_AHEAD + 1, 3, 0, 53, b"too far ahead")
    for i in range(3, 3000, 2):
        receiver.data(i, 3, 0, 53, bytes(10_000))
    assert receiver._ahead_bytes <= 8 * 1_048_576
    assert len(receiver.sack()) <= 16 + 4 * MAX_GAPS
    receiver.data(3, 3, 0, 53, b"again")
    assert receiver.duplicates >= 1
    assert got == []
    receiver.data(1, 3, 0, 53, b"first")
    assert got == [b"first"]


def test_a_message_without_an_end_ends_the_association() -> None:
    receiver = Receiver(lambda stream, protocol, message: None)
    receiver.start(0)
    receiver.data(1, 2, 0, 53, bytes(1000))
    with pytest.raises(MessageTooLong):
        for tsn in range(2, MAX_MESSAGE // 1000 + 3):
            receiver.data(tsn, 0, 0, 53, bytes(1000))


# The congestion window.


def test_slow_start_doubles_and_ends_when_the_round_trip_grows() -> None:
    window = CongestionWindow(1000, 10_000_000)
    window.on_rtt(0.05)
    window.on_ack(window.window, 1.0)
    assert window.window == 2 * INITIAL_PACKETS * 1000
    for _ in range(8):
        window.on_rtt(0.07)
    assert not window.in_slow_start


def test_a_loss_shrinks_the_window_and_cubic_finds_back() -> None:
    window = CongestionWindow(1000, 10_000_000)
    window.window = window.threshold = 1_000_000
    window.on_rtt(0.05)
    window.on_loss()
    assert window.window == int(1_000_000 * CUBIC_BETA)
    now, start = 10.0, 10.0
    while window.window < 1_000_000:
        window.on_ack(window.window, now)
        now += 0.05
        assert now < start + 20
    # K = cbrt(W (1 - beta) / C): with 1000 packets, 9.1 s (RFC 9438 section 4.2)
    assert 6 < now - start < 11


def test_a_time_out_begins_anew_and_a_full_queue_stops_growth() -> None:
    window = CongestionWindow(1000, 10_000_000)
    window.on_rtt(0.01)
    window.window = 100_000
    window.on_timeout()
    assert (window.window, window.threshold) == (1000, 70_000)
    window.on_rtt(0.5)
    window.on_ack(1000, 1.0)
    assert window.window == 1000
