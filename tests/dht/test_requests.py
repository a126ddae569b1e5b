"""Requests in flight: time-outs by RFC 6298's numbers, slow before lost, and which reply is one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.requests import PEERS_KEPT, PeerState, Pending, Requests, RoundTrip
from dht.wire import Message, Nodes

HOME = ("192.168.0.1", 1000)
PEER = Contact(b"\x01" * 32, HOME)
OTHER = Contact(b"\x02" * 32, ("192.168.0.2", 1000))


class Nobody:
    """Waits for a reply without doing anything."""

    def on_reply(self, pending: Pending, message: Message, now: float) -> None: ...

    def on_slow(self, pending: Pending, now: float) -> None: ...

    def on_failure(self, pending: Pending, now: float) -> None: ...


def table(config: DhtConfig | None = None) -> Requests:
    return Requests(config or DhtConfig(), random.Random(1))


def ask(
    requests: Requests, now: float, contact: Contact = PEER, *, resend: bool = False, timeout: float | None = None
) -> Pending:
    pending = Pending(requests.new_id(), contact, Nodes, Nobody(), None)
    requests.start(pending, b"datagram", now, resend=resend, timeout=timeout)
    return pending


def answer(requests: Requests, rtt: float, contact: Contact = PEER, *, at: float = 100.0, token: bytes = b"") -> None:
    """One request, answered after `rtt` seconds."""
    requests.finish(ask(requests, at - rtt, contact), token, at)


def patience(requests: Requests, contact: Contact = PEER, *, now: float = 200.0) -> tuple[float, float]:
    """Seconds until a request sent now is slow, and until it is lost."""
    pending = ask(requests, now, contact)
    timers = []
    while pending.rid in requests._pending:
        at = requests.next_timer()
        assert at is not None
        timers += [(at - now, lost) for found, lost in requests.due(at) if found is pending]
    (slow_after, slow), (lost_after, lost) = timers
    assert (slow, lost) == (False, True)
    return slow_after, lost_after


def fresh(requests: Requests, contact: Contact = PEER) -> PeerState:
    peer = requests.peer(contact)
    assert peer is not None
    return peer


class TestRoundTrip:
    def test_first_sample_is_the_mean_and_half_of_it_the_deviation(self) -> None:
        trip = RoundTrip()
        trip.sample(0.2)
        assert (trip.mean, trip.deviation) == (0.2, 0.1)

    def test_later_samples_move_them_as_rfc_6298_says(self) -> None:
        trip = RoundTrip()
        trip.sample(0.2)
        trip.sample(0.4)
        # RTTVAR = 3/4 · 0.1 + 1/4 · |0.2 − 0.4|; SRTT = 7/8 · 0.2 + 1/8 · 0.4
        assert trip.deviation == pytest.approx(0.125)
        assert trip.mean == pytest.approx(0.225)

    def test_steady_round_trips_leave_no_deviation(self) -> None:
        trip = RoundTrip()
        for _ in range(60):
            trip.sample(0.05)
        assert trip.mean == pytest.approx(0.05)
        assert trip.deviation < 1e-6

    @given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=50))
    def test_mean_stays_between_the_extremes(self, samples: list[float]) -> None:
        trip = RoundTrip()
        for sample in samples:
            trip.sample(sample)
        assert min(samples) - 1e-9 <= trip.mean <= max(samples) + 1e-9
        assert 0 <= trip.deviation <= max(samples)


class TestPatience:
    def test_before_any_answer_the_first_guess_holds(self) -> None:
        assert patience(table()) == pytest.approx((0.25, 0.5))

    def test_stranger_is_slow_when_slower_than_the_others(self) -> None:
        requests = table()
        for _ in range(60):
            answer(requests, 0.04)
        assert patience(requests, OTHER) == pytest.approx((0.05, 0.5), abs=1e-3)

    def test_stranger_is_never_slow_later_than_by_the_first_guess(self) -> None:
        requests = table()
        answer(requests, 0.4)
        assert patience(requests, OTHER) == pytest.approx((0.25, 0.5))

    def test_known_peer_is_lost_after_the_mean_and_four_deviations(self) -> None:
        requests = table()
        answer(requests, 0.1)
        # SRTT 0.1, RTTVAR 0.05: slow after 0.1 + 2 · 0.05, lost after 0.1 + 4 · 0.05
        assert patience(requests) == pytest.approx((0.2, 0.3))

    def test_floor_of_the_time_out(self) -> None:
        requests = table()
        for _ in range(60):
            answer(requests, 0.001)
        assert patience(requests) == pytest.approx((0.011, 0.101), abs=1e-6)

    def test_where_all_round_trips_are_alike_no_answer_is_slow(self) -> None:
        requests = table()
        for _ in range(60):
            answer(requests, 0.95)
        assert patience(requests) == pytest.approx((0.96, 1.05), abs=1e-6)

    def test_ceiling_of_the_time_out(self) -> None:
        requests = table()
        answer(requests, 2.0)
        slow, lost = patience(requests)
        assert lost == pytest.approx(3.0)
        assert slow == pytest.approx(2.99)  # slow always comes before lost

    def test_each_failure_in_a_row_doubles_it(self) -> None:
        requests = table(DhtConfig(max_timeout=100.0))
        answer(requests, 0.1)
        assert [round(patience(requests, now=200.0 + i * 10)[1], 6) for i in range(6)] == [0.3, 0.6, 1.2, 2.4, 4.8, 4.8]

    def test_what_is_lost_together_is_one_failure(self) -> None:
        requests = table()
        answer(requests, 0.1)
        pendings = [ask(requests, 200.0) for _ in range(5)]
        while (at := requests.next_timer()) is not None:
            requests.due(at)
        assert all(pending.slow for pending in pendings)
        assert fresh(requests).failures == 1

    def test_backing_off_ends_at_the_ceiling(self) -> None:
        requests = table()
        answer(requests, 0.1)
        assert [round(patience(requests, now=200.0 + i * 10)[1], 6) for i in range(6)] == [0.3, 0.6, 1.2, 2.4, 3.0, 3.0]

    def test_answer_ends_the_backing_off(self) -> None:
        requests = table()
        answer(requests, 0.1)
        patience(requests)
        answer(requests, 0.1)
        assert fresh(requests).failures == 0
        assert patience(requests)[1] == pytest.approx(0.1 + 4 * 0.0375)

    def test_given_time_out_overrides_what_was_measured(self) -> None:
        requests = table()
        answer(requests, 0.1)
        pending = ask(requests, 200.0, timeout=4.0)
        assert pending.deadline == 204.0
        assert requests.next_timer() == 201.0

    def test_no_time_out_at_all_fails_at_the_next_timer(self) -> None:
        requests = table()
        pending = ask(requests, 200.0, timeout=0.0)
        assert requests.next_timer() == 200.0
        assert requests.due(200.0) == [(pending, True)]

    @given(st.lists(st.floats(0.0005, 10.0), max_size=20), st.integers(0, 8))
    def test_slow_before_lost_and_both_within_bounds(self, samples: list[float], failures: int) -> None:
        config = DhtConfig()
        requests = table(config)
        for sample in samples:
            answer(requests, sample)
        if samples:
            fresh(requests).failures = failures
        slow, lost = patience(requests)
        assert 0 < slow < lost
        assert config.min_timeout - 1e-6 <= lost <= config.max_timeout + 1e-6


class TestKarn:
    def test_answer_to_what_was_sent_twice_measures_nothing(self) -> None:
        requests = table()
        answer(requests, 0.1)
        pending = ask(requests, 200.0, resend=True)
        requests.due(200.21)
        assert pending.slow
        assert requests.finish(pending, b"", 200.25) == pytest.approx(0.25)
        assert fresh(requests).mean == pytest.approx(0.1)
        assert requests.overall.mean == pytest.approx(0.1)

    def test_answer_before_the_second_sending_measures(self) -> None:
        requests = table()
        requests.finish(ask(requests, 200.0, resend=True), b"", 200.1)
        assert fresh(requests).mean == pytest.approx(0.1)

    def test_slow_answer_to_what_was_sent_once_measures(self) -> None:
        requests = table()
        pending = ask(requests, 200.0)
        requests.due(200.25)
        assert pending.slow
        requests.finish(pending, b"", 200.4)
        assert fresh(requests).mean == pytest.approx(0.4)

    def test_answer_that_waited_for_a_third_party_measures_nothing(self) -> None:
        requests = table()
        requests.finish(ask(requests, 200.0, timeout=4.0), b"", 202.0)
        assert (fresh(requests).mean, requests.overall.mean) == (0.0, 0.0)
        assert fresh(requests).seen == 202.0

    def test_datagram_is_kept_only_to_send_it_again(self) -> None:
        requests = table()
        assert ask(requests, 200.0, resend=True).data == b"datagram"
        assert ask(requests, 200.0).data == b""


class TestDue:
    def test_slow_first_then_lost(self) -> None:
        requests = table()
        pending = ask(requests, 200.0)
        assert requests.due(200.2) == []
        assert requests.due(200.25) == [(pending, False)]
        assert pending.slow
        assert requests.due(200.4) == []
        assert requests.due(200.5) == [(pending, True)]
        assert len(requests) == 0

    def test_late_timer_gives_answers_in_the_socket_a_moment_once(self) -> None:
        requests = table()
        first, second = ask(requests, 200.0), ask(requests, 200.1, OTHER)
        assert requests.due(300.0) == []
        assert requests.next_timer() == 300.02
        requests.finish(second, b"", 300.01)
        assert requests.due(300.02) == [(first, True)]
        assert requests.next_timer() is None

    def test_datagram_sent_twice_is_waited_for_twice(self) -> None:
        requests = table()
        answer(requests, 0.01)
        pending = ask(requests, 200.0, resend=True)
        slow = requests.next_timer()
        assert slow is not None and slow < 200.1
        assert requests.due(slow) == [(pending, False)]
        assert requests.next_timer() == pytest.approx(slow + 0.5)

    def test_answered_request_is_never_due(self) -> None:
        requests = table()
        requests.finish(ask(requests, 200.0), b"", 200.1)
        assert requests.due(300.0) == []
        assert requests.next_timer() is None

    def test_timer_is_that_of_the_next_one_unanswered(self) -> None:
        requests = table()
        first = ask(requests, 200.0, timeout=4.0)
        ask(requests, 200.5, OTHER, timeout=4.0)
        assert requests.next_timer() == 201.0
        requests.finish(first, b"", 200.6)
        assert requests.next_timer() == 201.5

    def test_silence_counts_against_who_answered_before(self) -> None:
        requests = table()
        answer(requests, 0.1)
        pending = ask(requests, 200.0)
        while not pending.slow:
            requests.due(requests.next_timer() or 0.0)
        requests.due(pending.deadline)
        assert fresh(requests).failures == 1

    def test_silence_of_a_third_party_is_not_held_against_the_peer(self) -> None:
        requests = table()
        answer(requests, 0.1)
        ask(requests, 200.0, timeout=4.0)
        requests.due(300.0)
        assert fresh(requests).failures == 0

    def test_silence_of_strangers_is_not_remembered(self) -> None:
        requests = table()
        ask(requests, 200.0)
        requests.due(300.0)
        assert requests.peer(PEER) is None

    def test_room_shrinks_with_requests_in_flight(self) -> None:
        requests = table(DhtConfig(max_in_flight=20))
        pending = ask(requests, 200.0)
        ask(requests, 200.0, OTHER)
        assert (len(requests), requests.room) == (2, 18)
        requests.finish(pending, b"", 200.1)
        requests.due(200.25)
        requests.due(200.5)
        assert (len(requests), requests.room) == (0, 20)

    def test_answered_requests_leave_no_timers_behind(self) -> None:
        requests = table()
        for i in range(500):
            answer(requests, 0.1, at=200.0 + i)
            requests.due(200.0 + i)
        assert len(requests._timers) <= 2


class TestMatch:
    @pytest.mark.parametrize(
        "key, address",
        [(OTHER.key, HOME), (PEER.key, ("192.168.0.1", 1001)), (PEER.key, ("192.168.0.9", 1000))],
        ids=["other key", "other port", "other host"],
    )
    def test_reply_from_somewhere_else_is_none(self, key: bytes, address: Address) -> None:
        requests = table()
        assert requests.match(ask(requests, 200.0).rid, key, address) is None

    def test_reply_with_another_id_is_none(self) -> None:
        requests = table()
        assert requests.match(ask(requests, 200.0).rid ^ 1, PEER.key, HOME) is None

    def test_reply_of_who_was_asked_is_one(self) -> None:
        requests = table()
        pending = ask(requests, 200.0)
        assert requests.match(pending.rid, PEER.key, HOME) is pending

    def test_slow_reply_is_one_and_a_lost_one_is_none(self) -> None:
        requests = table()
        pending = ask(requests, 200.0)
        requests.due(200.3)
        assert requests.match(pending.rid, PEER.key, HOME) is pending
        requests.due(200.5)
        assert requests.match(pending.rid, PEER.key, HOME) is None

    def test_second_reply_is_none(self) -> None:
        requests = table()
        pending = ask(requests, 200.0)
        requests.finish(pending, b"", 200.1)
        assert requests.match(pending.rid, PEER.key, HOME) is None

    def test_ids_are_64_bits_and_never_alike(self) -> None:
        requests = table()
        found = {requests.new_id() for _ in range(2000)}
        assert len(found) == 2000
        assert max(found) < 1 << 64
        assert max(found) > 1 << 63


class TestTokens:
    def test_no_token_before_an_answer(self) -> None:
        assert table().token_for(PEER, 200.0) == b""

    def test_token_is_used_as_long_as_it_surely_holds(self) -> None:
        # The responder takes it for at least one rotation: 300 s.
        requests = table()
        answer(requests, 0.1, at=100.0, token=b"12345678")
        assert requests.token_for(PEER, 100.0) == b"12345678"
        assert requests.token_for(PEER, 400.0) == b"12345678"
        assert requests.token_for(PEER, 400.1) == b""

    def test_newer_token_replaces_the_older(self) -> None:
        requests = table()
        answer(requests, 0.1, at=100.0, token=b"12345678")
        answer(requests, 0.1, at=300.0, token=b"87654321")
        assert requests.token_for(PEER, 500.0) == b"87654321"

    def test_withheld_token_leaves_the_old_one_and_its_age(self) -> None:
        requests = table()
        answer(requests, 0.1, at=100.0, token=b"12345678")
        answer(requests, 0.1, at=300.0)
        assert requests.token_for(PEER, 350.0) == b"12345678"
        assert requests.token_for(PEER, 450.0) == b""


class TestPeersKept:
    def test_no_more_peers_than_the_bound(self) -> None:
        requests = table()
        for i in range(PEERS_KEPT + 100):
            answer(requests, 0.1, Contact(i.to_bytes(32, "big"), HOME))
        assert len(requests._peers) == PEERS_KEPT

    def test_peer_heard_of_lately_is_kept(self) -> None:
        # A contact of the table must not be forgotten because it was met first: its failures would not add up.
        requests = table()
        answer(requests, 0.1)
        for i in range(PEERS_KEPT + 100):
            answer(requests, 0.1, Contact(i.to_bytes(32, "big"), HOME))
            if i % 1000 == 0:
                answer(requests, 0.1)
        assert requests.peer(PEER) is not None
