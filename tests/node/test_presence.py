"""The gossip protocol by hand and in small worlds: who counts, who is believed, what is bounded."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from dht.contact import Contact
from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey
from node.protocols import presence_wire as wire
from node.protocols.presence import FAULTS_AT_MOST, Presence
from node.protocols.presence_beats import (
    BEAT_BYTES,
    Status,
    Verdicts,
    card_digest,
    decode_card,
    decode_item,
    make_card,
    sign_accusation,
    sign_beat,
    sign_pledge,
)
from node.protocols.presence_book import NEW_BURST, Learned
from node.protocols.presence_events import CameOnline, Changed, LinkWanted, State, Suspected, WentOffline, Why
from node.protocols.presence_ground import PresenceSettings
from node.protocols.presence_watch import HEARSAY_BURST, HEARSAY_RATE, suspicion_time

NOW = 1_800_000_000.0


def key(number: int) -> IdentityKey:
    return IdentityKey.from_seed(number.to_bytes(32, "big"))


def beat_of(number: int, seq: int = 1, news: int = 1, text: str = "", status: Status = Status.ONLINE, **more: int):
    """A beat of some peer, and its card."""
    card = make_card(text=text)
    epoch = more.get("epoch", int(NOW) - 100)
    seconds = more.get("seconds", int(NOW))
    return sign_beat(key(number), (epoch, seq), news, seconds, 10, status, 3, 1, 0, card.digest), card


def presence(number: int = 0, **settings: float) -> Presence:
    return Presence(key(number), PresenceSettings(**settings), random.Random(number), NOW)  # type: ignore[arg-type]


def learn(one: Presence, number: int, via: int = 1, now: float = NOW, **more) -> Learned:
    beat, card = beat_of(number, **more)
    return one.book.learn(beat, card, 2, key(via).public.raw, now)


def linked(one: Presence, number: int, now: float = NOW) -> bytes:
    """Give `one` a greeted link with peer `number`; returns its name."""
    name = key(number).public.raw
    one.add_link(name, now)
    beat, card = beat_of(number)
    hello = wire.Hello(wire.VERSION, 1, wire.Told(1, beat.raw, card.raw))
    one.receive_message(wire.encode(hello), name, now)
    return name


def state(one: Presence, number: int) -> State:
    """What a peer is taken for."""
    entry = one.book.get(key(number).public.raw)
    assert entry is not None
    return entry.state


def events(one: Presence) -> list[object]:
    return list(iter(one.next_event, None))


# What is signed


def test_beats_cards_pledges_and_accusations_hold_only_as_they_were_signed() -> None:
    beat, card = beat_of(1, text="hello")
    assert Verdicts().true(beat) and len(beat.raw) == BEAT_BYTES
    assert decode_card(card.raw) == card and beat.card == card_digest(card.raw)
    for at in range(1, len(beat.raw)):
        raw = beat.raw[:at] + bytes([beat.raw[at] ^ 1]) + beat.raw[at + 1 :]
        try:
            assert not Verdicts().true(decode_item(raw)), at
        except DecodeError:
            continue
    pledge = sign_pledge(key(1), key(2).public.raw, beat.version[0], 1, int(NOW) + 60, 2)
    assert Verdicts().pledged(pledge, NOW) and not Verdicts().pledged(pledge, NOW + 61)
    assert not Verdicts().pledged(replace(pledge, needed=1), NOW)
    good = sign_accusation(key(2), pledge, beat.told, int(NOW))
    assert Verdicts().true(good)
    stolen = sign_accusation(key(3), pledge, beat.told, int(NOW))
    assert not Verdicts().true(stolen), "a pledge names one neighbour, and no other may use it"


def test_a_verdict_is_reached_once() -> None:
    verdicts = Verdicts(capacity=2)
    beats = [beat_of(number)[0] for number in range(1, 4)]
    for beat in [beats[0], beats[0], beats[1], beats[0]]:
        assert verdicts.true(beat)
    assert verdicts.verified == 2
    assert verdicts.true(beats[2]) and verdicts.true(beats[0]) and verdicts.verified == 4, "bounded: the oldest went"


def test_a_text_that_lies_on_a_terminal_is_no_card() -> None:
    with pytest.raises(LocalError):
        make_card(text="\x1b[2J")
    raw = make_card(text="abc").raw.replace(b"abc", b"\x1b[m")
    with pytest.raises(DecodeError):
        decode_card(raw)


# What counts


def test_the_newest_word_of_an_owner_counts_whatever_order_they_come_in() -> None:
    words = [(1, 1, "a"), (2, 2, "b"), (5, 3, "c"), (9, 9, "d")]
    for seed in range(10):
        order = random.Random(seed).sample(words, len(words))
        one = presence()
        for seq, news, text in order:
            learn(one, 7, seq=seq, news=news, text=text)
        entry = one.book.get(key(7).public.raw)
        assert entry is not None and (entry.version[1], entry.card.text) == (9, "d")
    restarted = learn(one, 7, seq=1, news=1, text="new life", epoch=int(NOW) - 10)
    assert restarted is Learned.NEWS
    assert learn(one, 7, seq=99, news=99) is Learned.OLD, "an epoch that is over"


def test_what_is_news_and_what_is_only_newer() -> None:
    one = presence()
    assert learn(one, 7, seq=1) is Learned.NEWS
    assert learn(one, 7, seq=2) is Learned.NEWER
    assert learn(one, 7, seq=2) is Learned.OLD
    assert learn(one, 7, seq=3, news=3, text="away", status=Status.AWAY) is Learned.NEWS
    assert [type(event) for event in events(one)] == [CameOnline, Changed]
    assert learn(one, 7, seq=4, news=4, status=Status.OFFLINE) is Learned.NEWS
    assert [type(event) for event in events(one)] == [WentOffline]


def test_forged_future_past_and_cardless_beats_are_refused() -> None:
    one = presence()
    beat, card = beat_of(7)
    forged = decode_item(beat.raw[:-1] + bytes([beat.raw[-1] ^ 1]))
    assert one.book.learn(forged, card, 2, b"", NOW) is Learned.FORGED  # type: ignore[arg-type]
    assert one.book.learn(beat, None, 2, b"", NOW) is Learned.NO_CARD
    assert one.book.learn(beat, make_card(text="another"), 2, b"", NOW) is Learned.NO_CARD
    assert learn(one, 7, seconds=int(NOW) + 9000) is Learned.REFUSED
    assert learn(one, 7, seconds=int(NOW) - 5000) is Learned.REFUSED
    assert learn(one, 7, status=Status.OFFLINE) is Learned.REFUSED, "unknown and gone is worth no memory"
    assert len(one.book) == 0


# What is believed


def accused(one: Presence, victim: int, accuser: int, *, needed: int = 2, via: int = 1, now: float = NOW) -> Learned:
    entry = one.book.get(key(victim).public.raw)
    assert entry is not None
    pledge = sign_pledge(
        key(victim), key(accuser).public.raw, entry.beat.version[0], entry.beat.news, int(now) + 60, needed
    )
    accusation = sign_accusation(key(accuser), pledge, entry.beat.told, int(now))
    link = one.ground.links[key(via).public.raw]
    return one.watch.on_accusation(accusation, link, 2, now, pushed=True)


def pass_time(one: Presence, start: float, seconds: float) -> None:
    now, end = start, start + seconds
    while now < end and (due := one.next_timer()) is not None and due <= end:
        now = max(now, due)
        one.handle_timer(now)


def test_as_many_of_its_own_neighbours_as_it_asked_for_make_a_peer_suspected_and_never_dead() -> None:
    one = presence()
    linked(one, 1)
    learn(one, 7)
    events(one)
    assert accused(one, 7, 20) is Learned.NEWS
    assert accused(one, 7, 20) is Learned.OLD, "the same accuser counts once"
    assert not events(one), "one of two is nothing yet"
    pass_time(one, NOW, 60)
    entry = one.book.get(key(7).public.raw)
    assert entry is not None and entry.accusations is None
    assert state(one, 7) is State.ONLINE
    accused(one, 7, 20, now=NOW + 60)
    accused(one, 7, 21, now=NOW + 61)
    assert [type(event) for event in events(one)] == [Suspected]
    for accuser in range(22, 40):
        accused(one, 7, accuser, now=NOW + 62)
    pass_time(one, NOW + 62, 300)
    assert not events(one) and state(one, 7) is State.SUSPECTED, "nobody's word is enough"


def test_the_owners_next_news_wins_over_any_number_of_accusers() -> None:
    one = presence()
    linked(one, 1)
    learn(one, 7)
    for accuser in range(20, 26):
        accused(one, 7, accuser, needed=2)
    entry = one.book.get(key(7).public.raw)
    assert entry is not None and state(one, 7) is State.SUSPECTED
    assert learn(one, 7, seq=2, news=1, now=NOW + 1) is Learned.NEWER
    assert state(one, 7) is State.SUSPECTED, "a late beat of before says nothing against it"
    assert learn(one, 7, seq=3, news=3, now=NOW + 2) is Learned.NEWS
    assert state(one, 7) is State.ONLINE and entry.accusations is None
    pass_time(one, NOW + 2, 120)
    assert state(one, 7) is State.ONLINE


def test_nobody_accuses_by_a_pledge_that_is_forged_out_of_date_or_anothers() -> None:
    one = presence()
    linked(one, 1)
    learn(one, 7)
    entry = one.book.get(key(7).public.raw)
    assert entry is not None
    link = one.ground.links[key(1).public.raw]
    mine = sign_pledge(key(20), key(21).public.raw, entry.beat.version[0], 1, int(NOW) + 60, 1)
    forged = sign_accusation(key(21), replace(mine, owner=key(7).public.raw), entry.beat.told, int(NOW))
    assert one.watch.on_accusation(forged, link, 2, NOW, pushed=True) is Learned.FORGED
    old = sign_pledge(key(7), key(21).public.raw, entry.beat.version[0], 1, int(NOW) - 1, 1)
    late = sign_accusation(key(21), old, entry.beat.told, int(NOW))
    assert one.watch.on_accusation(late, link, 2, NOW, pushed=True) is Learned.REFUSED
    assert entry.state is State.ONLINE and not entry.accusations


def test_who_is_accused_answers_with_news_and_parts_from_the_accuser() -> None:
    one = presence()
    accuser = linked(one, 1)
    linked(one, 2)
    one.receive_message(wire.encode(wire.Neighbour(False)), accuser, NOW)
    before = one.own.version
    pledge = sign_pledge(key(0), accuser, before[0], 1, int(NOW) + 60, 1)
    accusation = sign_accusation(key(1), pledge, (before[0], before[1]), int(NOW))
    one.messages_to_send(NOW)
    news = wire.News([wire.Told(2, accusation.raw)], True)
    one.receive_message(wire.encode(news), key(2).public.raw, NOW + 5)
    assert one.own.version > before and not one.ground.links[accuser].neighbour
    said = [wire.decode(data) for data, peer in one.messages_to_send(NOW + 5) if peer == key(2).public.raw]
    assert any(isinstance(message, wire.Heartbeat) for message in said)
    after = one.own.version
    one.receive_message(wire.encode(news), key(2).public.raw, NOW + 60)
    assert one.own.version == after, "answered is answered: a replay brings nothing"


def test_suspicions_shorten_with_each_accuser() -> None:
    spans = [suspicion_time(count, 3, 6, 30) for count in (1, 2, 3, 4)]
    assert spans[0] == 30 and spans == sorted(spans, reverse=True) and spans[2:] == [6, 6]
    assert 14 < spans[1] < 16


# What is bounded


def test_one_link_brings_so_many_made_up_peers_and_no_more() -> None:
    one = presence(book=5000)
    linked(one, 1)
    linked(one, 2)
    brought = [learn(one, number, via=1) for number in range(1000, 1000 + int(NEW_BURST) + 100)]
    assert brought.count(Learned.NEWS) == int(NEW_BURST)
    assert one.ground.counters["over the link's new peers"] == 100
    assert learn(one, 9999, via=2) is Learned.NEWS, "another link has a quota of its own"


def test_a_full_book_lets_go_of_what_the_greediest_link_brought() -> None:
    one = presence(book=60)
    linked(one, 1)
    for number in range(100, 130):
        learn(one, number, via=2)
    one.set_interests([key(500).public.raw])
    learn(one, 500, via=1)
    for number in range(1000, 1400):
        learn(one, number, via=1)
    assert len(one.book) == 60
    owners = {owner for owner, _ in one.book}
    assert {key(number).public.raw for number in range(100, 128)} <= owners, "the honest link kept its half"
    assert key(500).public.raw in owners and key(1).public.raw in owners


def test_a_link_that_brings_forgeries_is_heard_no_more() -> None:
    one = presence()
    peer = linked(one, 1)
    for number in range(FAULTS_AT_MOST):
        beat, card = beat_of(50 + number)
        raw = beat.raw[:-1] + bytes([beat.raw[-1] ^ 1])
        one.receive_message(wire.encode(wire.News([wire.Told(2, raw, card.raw)], True)), peer, NOW)
    beat, card = beat_of(60)
    one.receive_message(wire.encode(wire.News([wire.Told(2, beat.raw, card.raw)], True)), peer, NOW)
    assert one.book.get(key(60).public.raw) is None and one.ground.counters["unheard"] == 1


def test_a_clock_that_was_ahead_in_an_earlier_run_does_not_silence_this_one() -> None:
    one = presence()
    peer = linked(one, 1)
    beat, card = beat_of(0, epoch=int(NOW) + 600, seq=40, news=40)
    one.receive_message(wire.encode(wire.News([wire.Told(3, beat.raw, card.raw)], True)), peer, NOW + 5)
    assert one.own.version > beat.version
    far, card = beat_of(0, epoch=int(NOW) + 10**6, seq=1)
    one.receive_message(wire.encode(wire.News([wire.Told(3, far.raw, card.raw)], True)), peer, NOW + 50)
    assert one.own.version[0] < NOW + 1000


def test_questions_and_probes_cost_what_their_limits_say() -> None:
    one = presence()
    peer = linked(one, 1)
    seek = wire.Seek(2, b"".join(key(number).public.raw for number in range(100, 132)))
    one.messages_to_send(NOW)
    for _ in range(10):
        one.receive_message(wire.encode(seek), peer, NOW)
        one.receive_message(wire.encode(wire.Probe()), peer, NOW)
    assert len(one.ground.links[peer].wants) == 32
    answers = [wire.decode(data) for data, _ in one.messages_to_send(NOW)]
    assert sum(isinstance(answer, wire.Heartbeat) for answer in answers) == 1


def test_neighbours_are_few_and_on_both_sides() -> None:
    one = presence(active=3)
    for number in range(1, 9):
        peer = linked(one, number)
        one.receive_message(wire.encode(wire.Neighbour(False)), peer, NOW)
    assert len(one.ground.neighbours) == 3
    one.messages_to_send(NOW)
    late = key(8).public.raw
    one.receive_message(wire.encode(wire.Neighbour(True)), late, NOW)
    assert one.ground.links[late].neighbour and len(one.ground.neighbours) <= 4, "who has none is taken"


def test_ways_are_told_and_kept() -> None:
    one = presence()
    contact = Contact(bytes(31) + b"\x01", ("192.0.2.7", 4000))
    one.set_ways((contact,), (), bytes(32), NOW)
    assert one.ground.said is not None and one.ground.said[1].direct == (contact,)


def test_what_a_network_cut_in_halves_makes_a_node_ask_is_bounded() -> None:
    one = presence()
    linked(one, 1)
    for victim in range(100, 200):
        learn(one, victim)
        accused(one, victim, 20 + victim % 7 * 2)
        accused(one, victim, 21 + victim % 7 * 2)
    one.messages_to_send(NOW)
    pass_time(one, NOW, 60)
    asked = [data for data, _ in one.messages_to_send(NOW + 60) if isinstance(wire.decode(data), wire.Doubt)]
    assert 0 < len(asked) <= HEARSAY_BURST + 60 * HEARSAY_RATE


def test_a_crowd_of_strangers_draws_the_horizon_in_and_much_news_of_friends_does_not() -> None:
    one = presence(first_horizon=12)
    peer = linked(one, 1)

    def hear(numbers: range, seq: int) -> None:
        for number in numbers:
            beat, card = beat_of(number, seq=seq, news=seq)
            one.receive_message(wire.encode(wire.News([wire.Told(2, beat.raw, card.raw)], True)), peer, NOW + seq)

    hear(range(1000, 1200), 1)
    assert one.spread.horizon == 12
    for seq in (2, 3):
        hear(range(1000, 1200), seq)
    assert one.spread.horizon == 12, "what befalls those we know passes"
    hear(range(2000, 2250), 4)
    assert one.spread.horizon <= 10


def test_who_seems_dead_is_tried_again() -> None:
    one = presence()
    linked(one, 1)
    card = make_card((Contact(bytes(31) + b"\x01", ("192.0.2.7", 4000)),))
    beat = sign_beat(key(7), (int(NOW) - 100, 1), 1, int(NOW), 10, Status.ONLINE, 3, 1, 0, card.digest)
    one.book.learn(beat, card, 2, key(1).public.raw, NOW)
    accused(one, 7, 20)
    accused(one, 7, 21)
    pass_time(one, NOW, 40)
    assert state(one, 7) is State.SUSPECTED
    events(one)
    for _ in range(40):
        one.views.reconnect(NOW + 40)
    wanted = [event for event in events(one) if isinstance(event, LinkWanted)]
    assert wanted and wanted[0].owner == key(7).public.raw, "the network may have been cut, and be whole again"


def test_a_digest_says_nothing_of_whom_we_alone_heard_no_more() -> None:
    one = presence()
    learn(one, 7)
    entry = one.book.get(key(7).public.raw)
    assert entry is not None and one.book.names() == [entry.beat.id]
    one.book.bury(entry, Why.SILENT)
    assert one.book.names() == [], "and so it is told again by who knows better"
    assert learn(one, 7, seq=2, news=2) is Learned.NEWS
    assert one.book.names() == [entry.beat.id]
