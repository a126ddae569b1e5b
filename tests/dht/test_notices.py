"""Watching among enemies: reflection, floods of subscriptions, holders that lie, old records sent again."""

import pytest

from dht.config import DhtConfig
from dht.contact import Address
from dht.engine import DhtEngine
from dht.events import Mode, RecordChanged
from dht.notices import MISSES, REPEAT
from dht.records import Refusal
from dht.subscriptions import Subscriptions
from dht.wire import AnyMessage, Notice, Noticed, Ping, Watch, Watched
from tests.dht.handdriven import NOW, Stranger, Wire, record

FOREVER = NOW + 86400
PLACE = record().place


def proven(wire: Wire, holder: DhtEngine, number: int = 900, address: Address | None = None) -> Stranger:
    """A stranger that has a token of the holder's."""
    stranger = Stranger(wire, number, address=address)
    stranger.say(holder, Ping(1, b"", False, bytes(48)))
    assert stranger.token
    return stranger


def watch(
    stranger: Stranger, holder: DhtEngine, *, place: bytes = PLACE, seq: int | None = None, lifetime: int = 100
) -> Watched:
    """Subscribe; what the holder says. Its notices, if any, are among what `Stranger.say` returns later."""
    answers = stranger.say(holder, Watch(2, stranger.token, False, place, seq, lifetime))
    (answer,) = [one for one in answers if isinstance(one, Watched)]
    return answer


class Holder:
    """One server that holds a record."""

    def __init__(self, config: DhtConfig | None = None) -> None:
        self.wire = Wire(1, config=config)
        (self.engine,) = self.wire.engines.values()
        self.store(1)

    def store(self, seq: int) -> None:
        self.engine.keep(record(seq=seq, expires=FOREVER), FOREVER, None, self.wire.now)

    def sent_to(self, address: Address, seconds: float) -> int:
        """Bytes that go to an address, which never answers, within the seconds."""
        before = self.wire.sent_to(address)
        self.wire.advance(seconds)
        return self.wire.sent_to(address) - before


@pytest.fixture
def holder() -> Holder:
    return Holder()


class TestReflection:
    def test_without_a_token_there_is_no_subscription(self, holder: Holder) -> None:
        stranger = Stranger(holder.wire)
        answer = watch(stranger, holder.engine)
        assert (answer.status, answer.lifetime) == (Refusal.BAD_TOKEN, 0)
        holder.store(2)
        assert holder.engine.watchers() == 0
        assert holder.sent_to(stranger.address, 60.0) == 0
        assert stranger.received <= stranger.sent

    @pytest.mark.parametrize("address", [("11.9.9.9", 4000), ("11.3.132.1", 4001)], ids=["other host", "other port"])
    def test_a_token_proves_no_other_address(self, holder: Holder, address: Address) -> None:
        stranger = proven(holder.wire, holder.engine)
        (answer,) = stranger.say(holder.engine, Watch(2, stranger.token, False, PLACE, None, 100), source=address)
        assert isinstance(answer, Watched) and answer.status == Refusal.BAD_TOKEN
        holder.store(2)
        assert holder.sent_to(address, 60.0) == 0

    def test_a_token_proves_no_other_key(self, holder: Holder) -> None:
        stranger, thief = proven(holder.wire, holder.engine), Stranger(holder.wire, 901)
        thief.address, thief.token = stranger.address, stranger.token
        assert watch(thief, holder.engine).status == Refusal.BAD_TOKEN

    def test_who_vanishes_gets_seven_kilobytes_at_most_and_is_forgotten(self, holder: Holder) -> None:
        stranger = proven(holder.wire, holder.engine)
        assert watch(stranger, holder.engine, seq=1, lifetime=10_000).status == Refusal.NONE
        for seq in range(2, 200):
            holder.store(seq)
            holder.wire.advance(1.0)
        assert holder.engine.watchers() == 0
        assert holder.engine.counters["watchers_lost"] == 1
        assert holder.wire.sent_to(stranger.address) <= 2 * MISSES * 1232

    def test_an_old_subscription_sent_again_has_little_sent(self, holder: Holder) -> None:
        stranger = proven(holder.wire, holder.engine)
        recorded = stranger.seal(holder.engine, Watch(2, stranger.token, False, PLACE, None, 100))
        notices = 0
        for _ in range(200):  # Twenty seconds of replaying, ten times a second.
            for answer in stranger.throw(holder.engine, recorded):
                if isinstance(answer, Notice):
                    notices += 1
                    stranger.say(holder.engine, Noticed(answer.rid, b"", Refusal.NONE))
            holder.wire.now += 0.1
            holder.engine.handle_timer(holder.wire.now)
        assert notices <= 20 / REPEAT + 1

    def test_a_subscription_ends_where_it_was_granted_to(self, holder: Holder) -> None:
        stranger = proven(holder.wire, holder.engine)
        answer = watch(stranger, holder.engine, seq=1, lifetime=2**32 - 1)
        assert answer.lifetime == DhtConfig().watch_lifetime
        holder.wire.advance(answer.lifetime + 1.0)
        holder.store(2)
        assert holder.sent_to(stranger.address, 60.0) == 0

    def test_a_client_takes_no_subscriptions(self) -> None:
        wire = Wire(1, mode=Mode.CLIENT)
        (client,) = wire.engines.values()
        stranger = proven(wire, client)
        assert stranger.say(client, Watch(2, stranger.token, False, PLACE, None, 100)) == []


class TestFloods:
    def test_one_address_has_64(self, holder: Holder) -> None:
        said = [
            watch(proven(holder.wire, holder.engine, 900 + n, ("11.8.8.8", 2000 + n)), holder.engine).status
            for n in range(70)
        ]
        assert said == [Refusal.NONE] * 64 + [Refusal.PREFIX_QUOTA] * 6

    def test_one_network_has_512(self, holder: Holder) -> None:
        taken = Subscriptions(DhtConfig())
        said = [
            taken.subscribe(n.to_bytes(20, "big"), Stranger(holder.wire, n, address=(f"11.8.8.{n % 250 + 1}", 4000))
            .contact, -1, 100.0, NOW)[0]
            for n in range(600)
        ]  # fmt: skip
        assert said.count(Refusal.NONE) == len(taken) == 512
        assert set(said[512:]) == {Refusal.PREFIX_QUOTA}

    def test_one_place_has_128_and_all_places_have_4096(self, holder: Holder) -> None:
        taken = Subscriptions(DhtConfig())

        def subscribe(number: int, place: int) -> Refusal:
            stranger = Stranger(holder.wire, number, address=(f"11.{number >> 8}.{number & 255}.1", 4000))
            return taken.subscribe(place.to_bytes(20, "big"), stranger.contact, -1, 100.0, NOW)[0]

        assert [subscribe(n, 0) for n in range(130)] == [Refusal.NONE] * 128 + [Refusal.FULL] * 2
        for number in range(130, 4300):
            subscribe(number, number)
        assert len(taken) == 4096
        assert subscribe(5000, 5000) is Refusal.FULL
        # Those who do not renew make room.
        stranger = Stranger(holder.wire, 5001)
        assert taken.subscribe(bytes(20), stranger.contact, -1, 100.0, NOW + 101)[0] is Refusal.NONE
        assert len(taken) == 1

    def test_one_put_is_told_at_a_bounded_rate(self) -> None:
        holder = Holder(DhtConfig(watch_rate=20.0))
        strangers = [proven(holder.wire, holder.engine, n, (f"11.5.{n & 255}.9", n)) for n in range(900, 1000)]
        for stranger in strangers:
            assert watch(stranger, holder.engine, seq=1).status == Refusal.NONE
        holder.store(2)
        sent = sum(target in {s.address for s in strangers} for _, target in holder.engine.datagrams_to_send(NOW))
        assert sent == 20

    def test_what_is_forgotten_leaves_nothing_behind(self, holder: Holder) -> None:
        for number in range(900, 1000):
            watch(proven(holder.wire, holder.engine, number, (f"11.5.{number & 255}.9", number)), holder.engine)
        assert holder.engine.watchers() == 100
        holder.wire.advance(200.0)
        notices = holder.engine._notices
        assert holder.engine.watchers() == 0
        kept = notices._subscriptions
        assert (len(kept._places), len(kept._sources), len(kept._prefixes), len(notices._queue)) == (0, 0, 0, 0)

    def test_who_moves_is_counted_once(self, holder: Holder) -> None:
        first = proven(holder.wire, holder.engine, 900, ("11.5.1.9", 1))
        watch(first, holder.engine)
        moved = proven(holder.wire, holder.engine, 900, ("11.5.2.9", 1))
        watch(moved, holder.engine)
        assert holder.engine.watchers() == 1
        watch(first, holder.engine, lifetime=0)  # An old datagram: no longer where it lives.
        assert holder.engine.watchers() == 1
        watch(moved, holder.engine, lifetime=0)
        assert holder.engine.watchers() == 0


class TestAcknowledging:
    def told(self, holder: Holder, stranger: Stranger, status: int) -> list[AnyMessage]:
        watch(stranger, holder.engine, seq=1)
        holder.store(2)
        ((data, target),) = holder.engine.datagrams_to_send(NOW)
        assert target == stranger.address
        notice = stranger.open(data)
        assert isinstance(notice, Notice)
        return stranger.say(holder.engine, Noticed(notice.rid, b"", status))

    def test_whoever_does_not_want_it_is_told_no_more(self, holder: Holder) -> None:
        stranger = proven(holder.wire, holder.engine)
        self.told(holder, stranger, Refusal.NOT_REGISTERED)
        assert holder.engine.watchers() == 0

    @pytest.mark.parametrize("status", [Refusal.NONE, Refusal.OLDER, Refusal.BAD_SIGNATURE, 255])
    def test_any_other_word_is_an_acknowledgement(self, holder: Holder, status: int) -> None:
        stranger = proven(holder.wire, holder.engine)
        self.told(holder, stranger, status)
        assert holder.engine.watchers() == 1
        assert holder.sent_to(stranger.address, 30.0) == 0

    def test_an_acknowledgement_of_somebody_else_counts_not(self, holder: Holder) -> None:
        stranger, other = proven(holder.wire, holder.engine), proven(holder.wire, holder.engine, 901)
        watch(stranger, holder.engine, seq=1)
        holder.store(2)
        ((data, _),) = holder.engine.datagrams_to_send(NOW)
        other.say(holder.engine, Noticed(stranger.open(data).rid, b"", Refusal.NOT_REGISTERED))
        assert holder.engine.watchers() == 1


class TestLyingHolders:
    def watching(self) -> tuple[Wire, DhtEngine, Stranger]:
        """A client that watches at three servers, and a stranger with the key and place of one of them."""
        wire = Wire(5)
        reader = wire.add(50, mode=Mode.CLIENT)
        wire.join_all()
        wire.engines[("11.0.1.1", 4000)].put(record(seq=5, expires=FOREVER), wire.now)
        wire.roundtrip()
        reader.watching.watch(PLACE, wire.now)
        wire.advance(2.0)
        contact = reader.watching.holders(PLACE)[0]
        number = int(contact.ip.split(".")[2])
        liar = Stranger(wire, number, address=contact.address)
        assert liar.contact == contact
        del wire.engines[contact.address]
        return wire, reader, liar

    def said(self, liar: Stranger, reader: DhtEngine, raw: bytes) -> int:
        answers = [one for one in liar.say(reader, Notice(7, b"", True, raw)) if isinstance(one, Noticed)]
        return answers[0].status

    def test_an_old_record_sent_again_changes_nothing(self) -> None:
        wire, reader, liar = self.watching()
        assert self.said(liar, reader, record(seq=4, expires=FOREVER).raw) == Refusal.OLDER
        assert [event.record.seq for event in wire.events(reader, RecordChanged)] == [5]

    def test_of_two_under_one_number_all_settle_on_the_same(self) -> None:
        wire, reader, liar = self.watching()
        one, other = (record(1, payload, seq=6, expires=FOREVER).raw for payload in (b"a", b"b"))
        less, greater = sorted((one, other))
        assert self.said(liar, reader, greater) == Refusal.NONE
        assert self.said(liar, reader, less) == Refusal.CONFLICT
        assert wire.last(reader, RecordChanged).record.raw == greater

    @pytest.mark.parametrize(
        "raw, refusal",
        [
            (record(seq=9, expires=FOREVER).raw[:-1] + b"\0", Refusal.BAD_SIGNATURE),
            (b"\1" * 30, Refusal.MALFORMED),
            (record(2, seq=9, expires=FOREVER).raw, Refusal.NOT_REGISTERED),
        ],
        ids=["forged", "malformed", "another's"],
    )
    def test_what_is_not_the_record_is_refused(self, raw: bytes, refusal: Refusal) -> None:
        wire, reader, liar = self.watching()
        assert self.said(liar, reader, raw) == refusal
        assert [event.record.seq for event in wire.events(reader, RecordChanged)] == [5]

    def test_a_forger_loses_its_place(self) -> None:
        wire, reader, liar = self.watching()
        self.said(liar, reader, record(seq=9, expires=FOREVER).raw[:-1] + b"\0")
        assert liar.contact not in reader.watching.holders(PLACE)
        wire.advance(10.0)
        assert len(reader.watching.holders(PLACE)) == 3
        assert self.said(liar, reader, record(seq=9, expires=FOREVER).raw) == Refusal.NOT_REGISTERED

    def test_a_stranger_is_not_listened_to_and_costs_no_signature_check(self) -> None:
        wire, reader, _ = self.watching()
        stranger = Stranger(wire, 901)
        assert self.said(stranger, reader, record(seq=9, expires=FOREVER).raw) == Refusal.NOT_REGISTERED
        assert [event.record.seq for event in wire.events(reader, RecordChanged)] == [5]

    def test_notices_in_masses_are_looked_at_twice_a_second(self) -> None:
        _, reader, liar = self.watching()
        said = [self.said(liar, reader, record(seq=6 + n, expires=FOREVER).raw) for n in range(50)]
        assert said.count(Refusal.NONE) == 8
        assert set(said[8:]) == {Refusal.RATE_LIMITED}

    def test_a_grant_of_no_seconds_is_a_refusal(self) -> None:
        wire = Wire(1)
        reader = wire.add(50, mode=Mode.CLIENT)
        liar = Stranger(wire, 902)
        reader.watching.watch(PLACE, wire.now)
        (watcher,) = reader.watching
        watcher.found([liar.contact], wire.now)
        asked = [liar.open(data) for data, target in reader.datagrams_to_send(wire.now) if target == liar.address]
        assert isinstance(asked[0], Watch)
        liar.say(reader, Watched(asked[0].rid, b"", Refusal.NONE, 0))
        assert reader.watching.holders(PLACE) == ()
        assert reader.counters["watch_declined_full"] == 1
