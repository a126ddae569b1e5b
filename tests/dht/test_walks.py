"""Reading: joins, look-ups, quorums, topics of many pages, and answers that lie."""

from collections.abc import Callable

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import FindNodeDone, GetDone, JoinDone, PingDone, PutDone
from dht.records import (
    Kind,
    Refusal,
    SignedRecord,
    immutable_record,
    mutable_place,
    sign_record,
    topic_place,
    topic_salt,
)
from dht.wire import Get, Message, Ping, Pong, Value
from tests.dht.handdriven import NOW, Stranger, Wire, identity, place_of, record


@pytest.fixture
def crowd() -> Wire:
    wire = Wire(25)
    wire.join_all()
    return wire


class TestJoin:
    def test_with_nobody_it_ends_at_once_and_says_so(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        op = engine.join([], wire.now)
        done = wire.last(engine, JoinDone)
        assert (done.op, done.contacts) == (op, 0)

    def test_a_dead_first_contact_is_said(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        contact = wire.contact(two)
        wire.kill(two)
        one.join([contact], wire.now)
        wire.advance(2.0)
        done = wire.last(one, JoinDone)
        assert (done.contacts, done.stats.failures) == (0, 1)

    def test_one_contact_leads_to_all(self) -> None:
        wire = Wire(12)
        wire.join_all()
        *others, last = wire.engines.values()
        assert {contact.key for contact in last.contacts()} == {other.own_key for other in others}

    def test_a_node_is_no_contact_of_its_own(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.join([wire.contact(one), wire.contact(two)], wire.now)
        wire.advance(1.0)
        assert one.contacts() == [wire.contact(two)]

    def test_restored_contacts_serve_to_join(self) -> None:
        wire = Wire(3)
        wire.join_all()
        one, two, three = wire.engines.values()
        known = one.contacts()
        wire.kill(one)
        again = wire.add(1, life=1)
        again.restore(known, [], wire.now)
        assert again.contacts() == []  # they have to answer first
        again.join([], wire.now)
        wire.advance(1.0)
        assert {contact.key for contact in again.contacts()} == {two.own_key, three.own_key}

    def test_one_lost_datagram_keeps_nobody_out(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.join([wire.contact(two)], wire.now)
        assert len(wire.drop()) == 1
        wire.advance(1.0)
        assert wire.last(one, JoinDone).contacts == 1


class TestFindNode:
    def test_the_nearest_are_found_in_order(self, crowd: Wire) -> None:
        seeker, *others = crowd.engines.values()
        target = bytes.fromhex("5a" * 20)
        seeker.find_node(target, crowd.now, explain=True)
        crowd.advance(1.0)
        done = crowd.last(seeker, FindNodeDone)
        number = int.from_bytes(target, "big")
        wanted = sorted((crowd.contact(other) for other in others), key=lambda contact: contact.long_id ^ number)[:20]
        assert list(done.closest) == wanted
        assert done.stats.replies >= 20
        assert {asked.contact for asked in done.trace if asked.state == "answered"} >= set(wanted)

    def test_the_dead_are_left_out(self, crowd: Wire) -> None:
        seeker, *others = crowd.engines.values()
        dead = {crowd.contact(other) for other in others[:8]}
        for other in others[:8]:
            crowd.kill(other)
        seeker.find_node(bytes(20), crowd.now)
        crowd.advance(5.0)
        closest = crowd.last(seeker, FindNodeDone).closest
        assert len(closest) == 16
        assert not dead & set(closest)

    @pytest.mark.parametrize("paths", [1, 3])
    def test_where_all_who_were_nearest_are_dead_the_rest_of_the_table_leads_on(self, paths: int) -> None:
        wire = Wire(16, config=DhtConfig(k=4, paths=paths))
        wire.join_all()
        seeker = next(iter(wire.engines.values()))
        nearest = seeker.table.neighbours(0, 4)
        left = set(seeker.contacts()) - set(nearest)
        assert left
        for contact in nearest:
            wire.kill(wire.engines[contact.address])
        seeker.find_node(bytes(20), wire.now, explain=True)
        wire.advance(10.0)
        done = wire.last(seeker, FindNodeDone)
        alive = [wire.contact(engine) for engine in wire.engines.values() if engine is not seeker]
        assert done.closest == tuple(sorted(alive, key=lambda contact: contact.long_id)[:4])
        assert left & {asked.contact for asked in done.trace}

    def test_where_everybody_is_dead_it_ends(self) -> None:
        wire = Wire(16, config=DhtConfig(k=4))
        wire.join_all()
        seeker, *others = wire.engines.values()
        known = seeker.contacts()
        for other in others:
            wire.kill(other)
        seeker.find_node(bytes(20), wire.now, explain=True)
        wire.advance(20.0)
        done = wire.last(seeker, FindNodeDone)
        assert done.closest == ()
        assert {asked.contact for asked in done.trace} == set(known)

    def test_a_target_is_twenty_bytes(self, crowd: Wire) -> None:
        seeker = next(iter(crowd.engines.values()))
        with pytest.raises(LocalError, match="20 bytes, not 19"):
            seeker.find_node(bytes(19), crowd.now)
        with pytest.raises(LocalError, match="20 bytes, not 21"):
            seeker.get(bytes(21), crowd.now)


class TestGet:
    def test_what_nobody_has_is_not_found(self, crowd: Wire) -> None:
        seeker = next(iter(crowd.engines.values()))
        seeker.get(bytes(20), crowd.now)
        crowd.advance(1.0)
        done = crowd.last(seeker, GetDone)
        assert (done.records, done.copies, done.refused) == ((), 0, ())
        assert len(done.closest) == 20

    @pytest.mark.parametrize("quorum", [1, 3, 6])
    def test_a_quorum_of_equal_answers_ends_it_early(self, crowd: Wire, quorum: int) -> None:
        writer, *others = crowd.engines.values()
        writer.put(record(), crowd.now)
        crowd.advance(1.0)
        seeker = next(other for other in others if not other.held_records())
        seeker.get(record().place, crowd.now, quorum=quorum)
        crowd.advance(1.0)
        done = crowd.last(seeker, GetDone)
        assert done.records == (record(),)
        assert done.copies == quorum
        assert done.stats.replies < 20

    @pytest.mark.parametrize(("dead", "waits"), [(1, False), (3, False), (6, True)])
    def test_in_a_small_network_the_dead_are_not_waited_for_once_a_small_quorum_agrees(
        self, dead: int, waits: bool
    ) -> None:
        wire = Wire(8)  # seven hold it beside the writer: six acknowledge, so three equal answers tell
        wire.join_all()
        writer, reader, *others = wire.engines.values()
        writer.put(record(), wire.now)
        wire.advance(1.0)
        for engine in [*others, writer][:dead]:
            wire.kill(engine)
        reader.get(record().place, wire.now)
        wire.advance(0.3)
        assert bool(wire.events(reader, GetDone)) is not waits
        wire.advance(5.0)
        assert [found.raw for found in wire.last(reader, GetDone).records] == [record().raw]

    def test_the_newest_wins_over_many_older(self, crowd: Wire) -> None:
        seeker, *others = crowd.engines.values()
        old, new = record(seq=1), record(seq=2, payload=b"new")
        for number, other in enumerate(others):
            one = new if number == 7 else old
            other.restore([], [(one.raw, one.expires)], crowd.now)
        seeker.get(old.place, crowd.now, quorum=20)
        crowd.advance(2.0)
        done = crowd.last(seeker, GetDone)
        assert done.records in ((new,), (old,))
        nearest = {contact.key for contact in done.closest}
        assert done.records == ((new,) if others[7].own_key in nearest else (old,))
        if done.records == (new,):
            assert done.copies == 1

    def test_immutable_values_are_found_by_their_hash(self, crowd: Wire) -> None:
        writer, seeker, *_ = crowd.engines.values()
        value = immutable_record(b"for ever", expires=NOW + 3600)
        writer.put(value, crowd.now)
        crowd.advance(1.0)
        assert crowd.last(writer, PutDone).receipt.ok
        seeker.get(value.place, crowd.now)
        crowd.advance(1.0)
        assert [found.payload for found in crowd.last(seeker, GetDone).records] == [b"for ever"]

    def test_disjoint_paths_find_it_too(self, crowd: Wire) -> None:
        writer, seeker, *_ = crowd.engines.values()
        writer.put(record(), crowd.now)
        crowd.advance(1.0)
        seeker.get(record().place, crowd.now, paths=4)
        crowd.advance(1.0)
        assert crowd.last(seeker, GetDone).records == (record(),)

    def test_two_records_of_one_number_settle_on_the_greater_for_all(self, crowd: Wire) -> None:
        seeker, *others = crowd.engines.values()
        one, two = record(payload=b"one"), record(payload=b"two")
        greater = max(one, two, key=lambda each: each.raw)
        for number, other in enumerate(others):
            each = one if number % 2 else two
            other.restore([], [(each.raw, each.expires)], crowd.now)
        seeker.get(one.place, crowd.now, quorum=20)
        crowd.advance(2.0)
        done = crowd.last(seeker, GetDone)
        assert done.records == (greater,)
        assert Refusal.CONFLICT in {refusal for _, refusal in done.refused}


class TestTopics:
    def announce(self, owner: int, *, size: int = 200) -> SignedRecord:
        return sign_record(
            identity(owner), Kind.TOPIC, bytes(size), seq=1, expires=NOW + 3600, salt=topic_salt("rooks")
        )

    @pytest.mark.parametrize("count", [1, 3, 10, 20])
    def test_every_announcement_is_read_page_by_page(self, count: int) -> None:
        wire = Wire(4)
        wire.join_all()
        seeker, *keepers = wire.engines.values()
        announced = [self.announce(owner) for owner in range(1, count + 1)]
        for keeper in keepers:
            assert keeper.restore([], [(one.raw, one.expires) for one in announced], wire.now) == count
        seeker.get(topic_place("rooks"), wire.now)
        wire.advance(3.0)
        done = wire.last(seeker, GetDone)
        assert {found.owner for found in done.records} == {one.owner for one in announced}
        assert done.refused == ()

    def test_one_node_sends_no_more_than_eight_pages(self) -> None:
        wire = Wire(2)
        wire.join_all()
        seeker, keeper = wire.engines.values()
        announced = [self.announce(owner, size=600) for owner in range(1, 31)]
        keeper.restore([], [(one.raw, one.expires) for one in announced], wire.now)
        before = len(wire.carried)
        seeker.get(topic_place("rooks"), wire.now)
        wire.advance(3.0)
        asked = [datagram for datagram in wire.carried[before:] if datagram.target == wire.address(keeper)]
        done = wire.last(seeker, GetDone)
        assert 8 <= len(done.records) <= 10
        assert len(asked) <= 10


class Liar:
    """A seeker whose only contact says what the test wants."""

    def __init__(self) -> None:
        self.wire = Wire(1)
        (self.engine,) = self.wire.engines.values()

    def ask(self, answers: list[Callable[[Get], Message]], place: bytes = record().place) -> GetDone:
        liars = [Stranger(self.wire, 900 + number) for number in range(len(answers))]
        for liar in liars:
            self.engine.table.offer(liar.contact)
        self.engine.get(place, self.wire.now)
        by_address = {liar.address: (liar, answer) for liar, answer in zip(liars, answers, strict=True)}
        for datagram in self.wire.waiting():
            liar, answer = by_address[datagram.target]
            question = liar.open(datagram.data)
            assert isinstance(question, Get)
            liar.say(self.engine, answer(question))
        return self.wire.last(self.engine, GetDone)


def value(*records: bytes, total: int | None = None) -> Callable[[Get], Message]:
    return lambda get: Value(get.rid, b"12345678", list(records), len(records) if total is None else total, b"", b"")


FORGED = record().raw[:-1] + bytes((record().raw[-1] ^ 1,))


class TestLies:
    @pytest.mark.parametrize(
        ("raw", "refusal"),
        [
            (record(salt=b"other").raw, Refusal.WRONG_PLACE),
            (record(owner=2).raw, Refusal.WRONG_PLACE),
            (FORGED, Refusal.BAD_SIGNATURE),
            (record(expires=NOW - 1).raw, Refusal.EXPIRED),
            (record(expires=NOW + 204 * 3600).raw, Refusal.TOO_LONG),
            (b"nonsense", Refusal.MALFORMED),
            (b"nonsense of more bytes", Refusal.UNKNOWN_VERSION),
            (b"", Refusal.MALFORMED),
            (immutable_record(b"x", expires=NOW).raw, Refusal.WRONG_PLACE),
        ],
        ids=["salt", "owner", "forged", "expired", "too-long", "short", "nonsense", "nothing", "immutable"],
    )
    def test_each_is_refused_with_its_reason_and_the_good_one_taken(self, raw: bytes, refusal: Refusal) -> None:
        liar = Liar()
        done = liar.ask([value(raw), value(record().raw)])
        assert done.records == (record(),)
        assert [(contact.address, why) for contact, why in done.refused] == [(place_of(900), refusal)]
        assert liar.engine.counters[f"get_refused_{refusal.name.lower()}"] == 1

    @pytest.mark.parametrize("order", [(1, 2), (2, 1)])
    def test_an_older_one_loses_whoever_answers_first(self, order: tuple[int, int]) -> None:
        done = Liar().ask([value(record(seq=seq).raw) for seq in order])
        assert [found.seq for found in done.records] == [2]

    def test_an_older_one_after_the_newer_is_named(self) -> None:
        done = Liar().ask([value(record(seq=2).raw), value(record(seq=1).raw)])
        if done.refused:
            assert done.refused[0][1] is Refusal.OLDER
        assert done.copies == 1

    def test_only_liars_means_not_found(self) -> None:
        done = Liar().ask([value(FORGED), value(record(salt=b"other").raw), value()])
        assert done.records == ()
        assert sorted(why for _, why in done.refused) == [Refusal.BAD_SIGNATURE, Refusal.WRONG_PLACE]

    def test_one_answer_repeating_itself_is_one_copy(self) -> None:
        done = Liar().ask([value(*[record().raw] * 3), value()])
        assert done.records == (record(),)
        assert done.copies == 1

    def test_contacts_cut_in_the_middle_are_none(self) -> None:
        liar = Liar()
        done = liar.ask([lambda get: Value(get.rid, b"", [record().raw], 1, bytes(37), b"")])
        assert done.records == (record(),)
        assert liar.engine.counters["contacts_malformed"] == 1

    def test_a_topic_that_never_ends_ends(self) -> None:
        topic = sign_record(identity(1), Kind.TOPIC, b"", seq=1, expires=NOW + 60, salt=topic_salt("rooks"))
        wire = Wire(1)
        (engine,) = wire.engines.values()
        liar = Stranger(wire)
        engine.table.offer(liar.contact)
        engine.get(topic.place, wire.now)
        questions = 0
        while waiting := wire.waiting():
            questions += len(waiting)
            for datagram in waiting:
                question = liar.open(datagram.data)
                assert isinstance(question, Get)
                data = liar.seal(engine, value(topic.raw, total=65535)(question))
                engine.receive_datagram(data, liar.address, wire.now)
            assert questions < 100
        assert questions <= 10
        assert wire.last(engine, GetDone).records == (topic,)


def test_a_ping_says_where_we_are_seen() -> None:
    wire = Wire(2)
    one, two = wire.engines.values()
    op = one.ping(wire.contact(two), wire.now)
    wire.roundtrip()
    done = wire.last(one, PingDone)
    assert (done.op, done.contact, done.observed) == (op, wire.contact(two), place_of(1))
    assert done.rtt == pytest.approx(0.04)


def test_a_pong_with_half_an_address_is_a_pong() -> None:
    wire = Wire(1)
    (engine,) = wire.engines.values()
    odd = Stranger(wire)
    engine.ping(odd.contact, wire.now)
    (datagram,) = wire.waiting()
    question = odd.open(datagram.data)
    assert isinstance(question, Ping)
    odd.say(engine, Pong(question.rid, b"", b"odd", int(NOW)))
    assert wire.last(engine, PingDone).observed is None
    assert engine.counters["observed_malformed"] == 1


def test_closing_silences_an_engine() -> None:
    wire = Wire(2)
    wire.join_all()
    engine: DhtEngine = next(iter(wire.engines.values()))
    engine.get(mutable_place(identity(1).public, b"x"), wire.now)
    engine.close(wire.now)
    assert engine.datagrams_to_send(wire.now) == []
    assert engine.next_event() is None
    assert DhtConfig().k == 20
