"""The two halves of our SCTP on a made-up network with a made-up clock: loss, reordering, nonsense."""

from __future__ import annotations

import struct

import pytest

from node.adapters.webrtc_sctp_receive import MAX_AHEAD, MAX_GAPS, MAX_MESSAGE, MessageTooLong, Receiver
from node.adapters.webrtc_sctp_send import BURST, PAYLOAD, RTO_INITIAL, Sender
from node.protocols.congestion import INITIAL_PACKETS
from tests.node.sctp_path import FIRST_TSN, Path


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
    assert {struct.unpack_from("!L", body, 4)[0] for body in sender.chunks_to_send(3.0)} == {1}
    sender.handle_timeout(4.0)
    sender.congestion.window = 10 * PAYLOAD
    resent = {struct.unpack_from("!L", body, 4)[0] for body in sender.chunks_to_send(4.0)}
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


def test_holes_beyond_what_a_sack_has_room_for_are_not_taken_for_lost() -> None:
    path = Path()
    path.sender.congestion.window = path.sender.peer_window = 1 << 22
    for _ in range(20):
        path.sender.queue_message(0, 53, bytes(64 * PAYLOAD))
    bodies = []
    while more := path.sender.chunks_to_send(path.now):
        bodies += more
        path.sender._acked_since = 1 << 22
    for body in bodies[1::2]:  # every other packet is lost: more holes than gap blocks
        _, flags, length, tsn, stream, _, protocol = struct.unpack_from("!BBHLHHL", body)
        path.receiver.data(tsn, flags, stream, protocol, body[16:length])
    path._launch(path.receiver.sack())
    path.run()
    assert len(path.received) == 20
    # What lay beyond the last gap block told of may have been sent again once, not over and over.
    assert path.sender.retransmitted <= len(bodies)
