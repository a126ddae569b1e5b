import random

import pytest

from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey
from dht.records import CLOCK_TOLERANCE, Refusal, peer_place
from node.protocols.signaling import ANSWER_LIFETIME, CALL_TIMEOUT, MAX_CALLS, MAX_OFFERS, RETRY_AFTER, Signaling
from node.protocols.signaling import TooManyCalls as TooMany
from node.protocols.signaling_events import (
    AnswerReceived,
    CallFailed,
    CallRefused,
    Fault,
    HomesWanted,
    OfferReceived,
    Reason,
)
from node.protocols.signaling_guard import SENDER_BURST, STRANGER_BURST, Guard
from node.protocols.signaling_seal import SignalKind, seal

NOW = 1_700_000_000.0
HOMES = [Contact(bytes([n]) * 32, (f"198.51.100.{n}", 4000)) for n in range(1, 8)]
OTHER = IdentityKey.from_seed(b"o" * 32)


def pair():
    """Two identities, the one with the lower key first."""
    keys = sorted((IdentityKey.from_seed(bytes([n]) * 32) for n in (1, 2)), key=lambda key: key.public.raw)
    return [(key, Signaling(key, random.Random(number))) for number, key in enumerate(keys)]


@pytest.fixture
def peers():
    (low_key, low), (high_key, high) = pair()
    return low_key.public, low, high_key.public, high


def events(signaling):
    return list(iter(signaling.next_event, None))


def deliver(sender, receiver, now=NOW, *, via=None):
    """Carry what `sender` has to say to `receiver`, as one of the home nodes would; return what was carried."""
    sent = sender.signals_to_send()
    for signal in sent:
        receiver.receive_signal(signal.recipient, signal.reply, signal.blob, via or signal.homes[0], now)
        if signal.session:
            sender.signal_done(signal.session, Refusal.NONE, now)
    return sent


def test_an_offer_is_answered_through_the_node_it_came_by(peers):
    low, a, high, b = peers
    session = a.call(high, HOMES[:3], b"offer", NOW)
    (sent,) = deliver(a, b, via=HOMES[1])
    assert sent.recipient == peer_place(high) and sent.homes == tuple(HOMES[:3]) and len(sent.reply) == 20
    (offer,) = events(b)
    assert offer == OfferReceived(low, session, b"offer", b"")
    assert b.answer(offer, b"answer", NOW + 0.1)
    (answer,) = deliver(b, a, NOW + 0.2)
    assert answer.recipient == sent.reply and answer.homes == (HOMES[1],)
    assert events(a) == [AnswerReceived(high, session, b"answer")]
    assert a.next_timer() is None


def test_a_refusal_carries_its_reason(peers):
    _, a, high, b = peers
    session = a.call(high, HOMES, b"offer", NOW)
    deliver(a, b)
    assert b.refuse(events(b)[0], Reason.NOT_WANTED, NOW)
    deliver(b, a)
    assert events(a) == [CallRefused(high, session, Reason.NOT_WANTED)]


def test_an_offer_is_answered_once_and_only_while_its_handle_lives(peers):
    _, a, high, b = peers
    a.call(high, HOMES, b"offer", NOW)
    deliver(a, b)
    (offer,) = events(b)
    assert not b.answer(offer, b"late", NOW + ANSWER_LIFETIME)
    assert b.answer(offer, b"answer", NOW)
    assert not b.answer(offer, b"other", NOW) and not b.refuse(offer, Reason.BUSY, NOW)
    b.handle_timer(NOW + ANSWER_LIFETIME)
    assert b.next_timer() is None and b.counters["unanswered"] == 0


def test_an_offer_nobody_answers_is_forgotten(peers):
    _, a, high, b = peers
    a.call(high, HOMES, b"offer", NOW)
    deliver(a, b)
    assert b.next_timer() == NOW + ANSWER_LIFETIME
    b.handle_timer(NOW + ANSWER_LIFETIME)
    assert b.counters["unanswered"] == 1 and b.next_timer() is None


# Homes that do not help


def test_home_nodes_that_fail_are_followed_by_the_others_at_once(peers):
    _, a, high, b = peers
    session = a.call(high, HOMES[:5], b"offer", NOW)
    (first,) = a.signals_to_send()
    a.signal_done(session, Refusal.TIMEOUT, NOW + 1)
    (second,) = a.signals_to_send()
    assert (first.homes, second.homes) == (tuple(HOMES[:3]), tuple(HOMES[3:5]))
    assert first.reply != second.reply and first.blob != second.blob
    b.receive_signal(second.recipient, second.reply, second.blob, HOMES[3], NOW + 1)
    b.answer(events(b)[0], b"answer", NOW + 1)
    deliver(b, a)
    assert events(a) == [AnswerReceived(high, session, b"answer")]


def test_without_other_homes_the_record_is_wanted_again(peers):
    _, a, high, _ = peers
    session = a.call(high, HOMES[:3], b"offer", NOW)
    a.signals_to_send()
    a.signal_done(session, Refusal.NOT_REGISTERED, NOW + 1)
    assert events(a) == [HomesWanted(high, session)]
    a.more_homes(session, HOMES[3:6], NOW + 1.5)
    (second,) = a.signals_to_send()
    assert second.homes == tuple(HOMES[3:6])


@pytest.mark.parametrize(
    ("outcomes", "fault"),
    [
        ([Refusal.NOT_REGISTERED, Refusal.TIMEOUT], Fault.NOT_REGISTERED),
        ([Refusal.TIMEOUT, Refusal.TIMEOUT], Fault.NO_HOME_NODE),
        ([Refusal.NOT_REGISTERED, Refusal.UNREACHED], Fault.UNREACHED),
        ([Refusal.RATE_LIMITED, Refusal.NOT_SERVER], Fault.NO_HOME_NODE),
    ],
)
def test_a_call_that_never_gets_there_says_why(peers, outcomes, fault):
    _, a, high, _ = peers
    session = a.call(high, HOMES, b"offer", NOW)
    for outcome in outcomes:
        assert a.signals_to_send()
        a.signal_done(session, outcome, NOW + 1)
    (failed,) = events(a)
    assert isinstance(failed, CallFailed)
    assert (failed.session, failed.fault) == (session, fault) and failed.detail
    assert a.next_timer() is None


def test_a_peer_without_home_nodes_is_looked_up_again_then_given_up(peers):
    _, a, high, _ = peers
    session = a.call(high, [], b"offer", NOW)
    assert events(a) == [HomesWanted(high, session)] and not a.signals_to_send()
    a.more_homes(session, [], NOW + 1)
    (failed,) = events(a)
    assert failed.fault is Fault.NO_HOME_NODE
    a.more_homes(session, HOMES, NOW + 2)
    assert not a.signals_to_send()


def test_no_answer_is_retried_once_and_then_called_no_answer(peers):
    _, a, high, b = peers
    session = a.call(high, HOMES[:5], b"offer", NOW)
    deliver(a, b)
    assert a.next_timer() == NOW + RETRY_AFTER
    a.handle_timer(NOW + RETRY_AFTER)
    (second,) = deliver(a, b, NOW + RETRY_AFTER)
    assert second.homes == tuple(HOMES[3:5])
    assert len(events(b)) == 1  # The second is the same offer.
    assert a.next_timer() == NOW + CALL_TIMEOUT
    a.handle_timer(NOW + CALL_TIMEOUT)
    (failed,) = events(a)
    assert (failed.session, failed.fault) == (session, Fault.NO_ANSWER)


def test_a_lost_answer_comes_again_with_the_retry(peers):
    _, a, high, b = peers
    session = a.call(high, HOMES[:5], b"offer", NOW)
    deliver(a, b)
    b.answer(events(b)[0], b"answer", NOW)
    b.signals_to_send()  # Lost.
    a.handle_timer(NOW + RETRY_AFTER)
    deliver(a, b, NOW + RETRY_AFTER)
    deliver(b, a, NOW + RETRY_AFTER)
    assert events(a) == [AnswerReceived(high, session, b"answer")]
    assert not events(b)


def test_every_way_an_offer_came_by_carries_the_answer(peers):
    _, a, high, b = peers
    a.call(high, HOMES[:3], b"offer", NOW)
    (sent,) = a.signals_to_send()
    for home in HOMES[:3]:
        b.receive_signal(sent.recipient, sent.reply, sent.blob, home, NOW)
    b.answer(events(b)[0], b"answer", NOW)
    assert [signal.homes for signal in b.signals_to_send()] == [(home,) for home in HOMES[:3]]


# Both at once


@pytest.mark.parametrize("first", ["low", "high"])
def test_two_calls_that_cross_become_the_lower_keys(peers, first):
    low, a, high, b = peers
    ours = a.call(high, HOMES, b"from low", NOW)
    theirs = b.call(low, HOMES, b"from high", NOW)
    from_a, from_b = a.signals_to_send(), b.signals_to_send()
    for signal in from_a if first == "low" else from_b:
        (b if first == "low" else a).receive_signal(signal.recipient, signal.reply, signal.blob, HOMES[0], NOW)
    for signal in from_b if first == "low" else from_a:
        (a if first == "low" else b).receive_signal(signal.recipient, signal.reply, signal.blob, HOMES[0], NOW)
    deliver(a, b)
    (offer,) = events(b)
    assert offer == OfferReceived(low, ours, b"from low", theirs)
    b.answer(offer, b"answer", NOW)
    deliver(b, a)
    assert events(a) == [AnswerReceived(high, ours, b"answer")]
    assert not b.calling(low) and not a.calling(high)


def test_a_winner_whose_offer_is_lost_sends_it_the_way_the_losers_came(peers):
    low, a, high, b = peers
    ours = a.call(high, HOMES, b"from low", NOW)
    theirs = b.call(low, HOMES, b"from high", NOW)
    a.signals_to_send()  # Lost.
    (lost_race,) = deliver(b, a, via=HOMES[4])
    (again,) = deliver(a, b)
    assert again.recipient == lost_race.reply and again.homes == (HOMES[4],)
    assert events(b) == [OfferReceived(low, ours, b"from low", theirs)]
    assert not events(a) and a.counters["collisions_won"] == b.counters["collisions_lost"] == 1


# Strangers and enemies


def test_what_home_nodes_may_throw_in_ends_no_call_but_is_told_at_the_end(peers):
    _, a, high, b = peers
    session = a.call(high, HOMES, b"offer", NOW)
    (sent,) = deliver(a, b)
    enemy_answer = seal(SignalKind.ANSWER, OTHER, a._identity.public, session, b"mine", NOW, random.Random(9))
    own_blob = sent.blob
    for blob in (b"", bytes(320), own_blob, enemy_answer):
        a.receive_signal(sent.reply, b"", blob, HOMES[0], NOW)
    assert not events(a)
    assert a.counters["undecodable"] == 3 and a.counters["misdirected"] == 1
    a.handle_timer(NOW + CALL_TIMEOUT)
    assert events(a)[-1].fault is Fault.BAD_ANSWER
    assert events(b)[0].session == session


def test_an_answer_of_another_session_is_not_taken(peers):
    low, a, high, _ = peers
    a.call(high, HOMES, b"offer", NOW)
    (sent,) = a.signals_to_send()
    high_key = pair()[1][0]
    wrong = seal(SignalKind.ANSWER, high_key, low, bytes(16), b"answer", NOW, random.Random(9))
    a.receive_signal(sent.reply, b"", wrong, HOMES[0], NOW)
    assert not events(a) and a.counters["misdirected"] == 1


def test_an_answer_that_nobody_asked_for_is_dropped(peers):
    low, a, _high, _ = peers
    blob = seal(SignalKind.ANSWER, pair()[1][0], low, bytes(16), b"answer", NOW, random.Random(9))
    a.receive_signal(peer_place(low), b"", blob, HOMES[0], NOW)
    a.receive_signal(bytes(20), b"", blob, HOMES[0], NOW)
    assert not events(a) and a.counters["misdirected"] == a.counters["late_or_unknown"] == 1


def test_a_replayed_offer_is_refused_by_its_session(peers):
    _low, a, high, b = peers
    a.call(high, HOMES, b"offer", NOW)
    (sent,) = a.signals_to_send()
    for later in (0.0, ANSWER_LIFETIME + 1, CLOCK_TOLERANCE - 1):
        b.handle_timer(NOW + later)
        b.receive_signal(sent.recipient, bytes([int(later) % 256]) * 20, sent.blob, HOMES[0], NOW + later)
    assert len(events(b)) == 1 and b.counters["replays"] == 2
    # Past the window it is refused by its time, and the memory of it is gone.
    b.receive_signal(sent.recipient, bytes(20), sent.blob, HOMES[0], NOW + CLOCK_TOLERANCE + 1)
    assert not events(b) and b.counters["wrong_clock"] + b.counters["replays"] == 3


@pytest.mark.parametrize("offset", [CLOCK_TOLERANCE + 10, -CLOCK_TOLERANCE - 10])
def test_a_caller_whose_clock_is_wrong_is_told_so(peers, offset):
    _, a, high, b = peers
    session = a.call(high, HOMES, b"offer", NOW + offset)
    deliver(a, b, NOW)
    assert not events(b) and b.counters["wrong_clock"] == 1
    deliver(b, a, NOW)
    assert events(a) == [CallRefused(high, session, Reason.WRONG_CLOCK)]


def test_a_clock_an_hour_off_is_no_obstacle(peers):
    _, a, high, b = peers
    a.call(high, HOMES, b"offer", NOW - 3600)
    deliver(a, b, NOW)
    assert len(events(b)) == 1


def stranger_offer(number, to, now=NOW):
    rng = random.Random(number)
    return seal(SignalKind.OFFER, IdentityKey.from_seed(rng.randbytes(32)), to, rng.randbytes(16), b"hi", now, rng)


def test_one_sender_gets_so_many_offers_and_no_more(peers):
    _, _, high, b = peers
    rng = random.Random(4)
    for _ in range(20):
        blob = seal(SignalKind.OFFER, OTHER, high, rng.randbytes(16), b"hi", NOW, rng)
        b.receive_signal(peer_place(high), rng.randbytes(20), blob, HOMES[0], NOW)
    assert len(events(b)) == SENDER_BURST
    assert b.counters["rate_limited"] == 20 - SENDER_BURST


def test_a_flood_of_strangers_leaves_room_for_those_we_know(peers):
    low, a, high, b = peers
    b.call(low, HOMES, b"we know each other", NOW)
    b.cancel(next(iter(b._calls)))
    b.signals_to_send()
    for number in range(int(STRANGER_BURST) + 20):
        b.receive_signal(peer_place(high), bytes([number]) * 20, stranger_offer(number, high), HOMES[0], NOW)
    assert b.counters["rate_limited"] == 20
    assert len(b._offers) == STRANGER_BURST <= MAX_OFFERS
    a.call(high, HOMES, b"offer", NOW)
    deliver(a, b)
    assert events(b)[-1].peer == low


def test_a_full_table_of_offers_refuses_as_busy(peers):
    _low, a, high, b = peers
    now = NOW
    for number in range(MAX_OFFERS):
        now += 0.4
        b.receive_signal(peer_place(high), bytes([number]) * 20, stranger_offer(number, high, now), HOMES[0], now)
    assert len(b._offers) == MAX_OFFERS
    session = a.call(high, HOMES, b"offer", now)
    deliver(a, b, now)
    deliver(b, a, now)
    assert events(a) == [CallRefused(high, session, Reason.BUSY)]


def test_the_replay_memory_forgets_what_the_window_refuses():
    guard = Guard()
    for number in range(100):
        guard.remember((b"sender", bytes([number])), NOW, NOW)
    assert len(guard) == 100
    guard.remember((b"sender", b"new"), NOW + CLOCK_TOLERANCE + 1, NOW + CLOCK_TOLERANCE + 1)
    assert len(guard) == 1 and not guard.seen((b"sender", b"\0"))


def test_an_offer_without_a_way_back_and_our_own_are_dropped(peers):
    _low, a, high, b = peers
    a.call(high, HOMES, b"offer", NOW)
    (sent,) = a.signals_to_send()
    b.receive_signal(sent.recipient, b"", sent.blob, HOMES[0], NOW)
    mine = seal(SignalKind.OFFER, pair()[1][0], high, bytes(16), b"", NOW, random.Random(1))
    b.receive_signal(peer_place(high), bytes(20), mine, HOMES[0], NOW)
    assert not events(b) and b.counters["unanswerable"] == 2


def test_a_reason_of_a_later_time_is_unspecified(peers):
    low, a, high, _b = peers
    session = a.call(high, HOMES, b"offer", NOW)
    (sent,) = a.signals_to_send()
    for payload in (b"", b"\xf0"):
        blob = seal(SignalKind.REFUSAL, pair()[1][0], low, session, payload, NOW, random.Random(1))
        a.receive_signal(sent.reply, b"", blob, HOMES[0], NOW)
    assert events(a) == [CallRefused(high, session, Reason.UNSPECIFIED)]


# Misuse


def test_calls_are_bounded_and_one_for_each_peer(peers):
    low, a, high, _ = peers
    a.call(high, HOMES, b"offer", NOW)
    with pytest.raises(TooMany):
        a.call(high, HOMES, b"offer", NOW)
    with pytest.raises(LocalError, match="itself"):
        a.call(low, HOMES, b"offer", NOW)
    for number in range(MAX_CALLS - 1):
        a.call(IdentityKey.from_seed(bytes([number, 7]) * 16).public, HOMES, b"offer", NOW)
    with pytest.raises(TooMany):
        a.call(OTHER.public, HOMES, b"offer", NOW)


def test_a_key_that_is_no_point_cannot_be_called(peers):
    _, a, _, _ = peers
    with pytest.raises(LocalError, match="mistyped"):
        a.call(PublicKey(b"\x02" + bytes(31)), HOMES, b"offer", NOW)
    assert a.next_timer() is None


def test_a_cancelled_call_takes_no_answer(peers):
    _, a, high, b = peers
    session = a.call(high, HOMES, b"offer", NOW)
    deliver(a, b)
    b.answer(events(b)[0], b"answer", NOW)
    a.cancel(session)
    a.cancel(session)
    deliver(b, a)
    a.signal_done(session, Refusal.NONE, NOW)
    assert not events(a) and a.counters["late_or_unknown"] == 1
