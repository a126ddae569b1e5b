"""Being told of newer records: by whom, how soon, and through what: death of holders, rejoining, another address."""

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import Mode, RecordChanged, RecordLapsed
from dht.records import Kind, immutable_record, sign_record, topic_place, topic_salt
from dht.watching import MAX_WATCHED
from dht.wire import Notice, Watch, decode_message
from tests.dht.handdriven import NOW, Datagram, Wire, identity, place_of, record

PLACE = record().place


class Watched8:
    """Eight servers, one of which publishes, and a client that watches."""

    def __init__(self, config: DhtConfig | None = None, *, first: bool = True) -> None:
        self.wire = Wire(8, config=config)
        self.reader = self.wire.add(50, mode=Mode.CLIENT, config=config)
        self.wire.join_all()
        self.publisher = next(iter(self.wire.engines.values()))
        if first:
            self.put(1)
        self.watch(self.reader)

    def put(self, seq: int, payload: bytes = b"hello") -> None:
        self.publisher.put(record(payload=payload, seq=seq, expires=NOW + 86400), self.wire.now)
        self.wire.roundtrip()

    def watch(self, engine: DhtEngine) -> None:
        engine.watching.watch(PLACE, self.wire.now)
        self.wire.advance(2.0)

    def holders(self) -> list[DhtEngine]:
        return [self.wire.engines[contact.address] for contact in self.reader.watching.holders(PLACE)]

    def told(self, engine: DhtEngine | None = None) -> list[int]:
        return [event.record.seq for event in self.wire.events(engine or self.reader, RecordChanged)]


@pytest.fixture
def watched() -> Watched8:
    return Watched8()


class TestTelling:
    def test_what_is_there_is_told_first(self, watched: Watched8) -> None:
        (event,) = watched.wire.events(watched.reader, RecordChanged)
        assert (event.place, event.record, event.via) == (PLACE, record(expires=NOW + 86400), None)

    def test_three_holders_keep_a_subscription(self, watched: Watched8) -> None:
        assert len(watched.reader.watching.holders(PLACE)) == 3
        assert sum(engine.watchers() for engine in watched.wire.engines.values()) == 3

    def test_a_newer_record_is_told_within_a_second_and_once(self, watched: Watched8) -> None:
        watched.put(2, b"news")
        watched.wire.advance(1.0)
        assert watched.told() == [1, 2]
        event = watched.wire.last(watched.reader, RecordChanged)
        assert event.record.payload == b"news"
        assert event.via in watched.reader.watching.holders(PLACE)
        notices = [one.counters["notices"] for one in watched.holders()]
        assert notices == [1, 1, 1]  # each holder told it; the second and the third changed nothing

    def test_the_same_record_stored_again_is_no_news(self, watched: Watched8) -> None:
        before = len(watched.wire.carried)
        watched.put(1)
        watched.wire.advance(1.0)
        assert watched.told() == [1]
        assert sum(engine.counters["notices"] for engine in watched.holders()) == 0
        assert len(watched.wire.carried) > before  # it was stored again, though

    def test_of_several_within_a_second_the_newest_is_told(self, watched: Watched8) -> None:
        for seq in range(2, 12):
            watched.put(seq)
        watched.wire.advance(3.0)
        assert watched.told()[-1] == 11
        assert all(engine.counters["notices"] <= 3 for engine in watched.holders())

    def test_a_record_that_did_not_exist_is_told_when_it_comes(self) -> None:
        watched = Watched8(first=False)
        assert watched.told() == []
        watched.put(1)
        watched.wire.advance(1.0)
        assert watched.told() == [1]

    def test_what_is_stored_between_reading_and_subscribing_is_told_at_once(self) -> None:
        watched = Watched8()
        late = watched.wire.add(51, mode=Mode.CLIENT)
        late.join([watched.wire.contact(watched.publisher)], watched.wire.now)
        watched.wire.advance(1.0)
        # Its WATCH still waits to be sent when the newer record is stored.
        late.watching.watch(PLACE, watched.wire.now)
        late.handle_timer(watched.wire.now)
        while not late.watching.holders(PLACE) and PLACE in {e.place for e in watched.wire.events(late, RecordChanged)}:
            watched.wire.step()
        watched.put(2)
        watched.wire.advance(1.0)
        assert watched.told(late)[-1] == 2

    def test_a_node_hears_of_what_it_holds_itself(self, watched: Watched8) -> None:
        holder = watched.holders()[0]
        watched.watch(holder)
        watched.put(2)
        watched.wire.advance(1.0)
        assert watched.told(holder) == [1, 2]

    def test_an_immutable_value_is_told_when_it_comes(self, watched: Watched8) -> None:
        value = immutable_record(b"a value", expires=watched.wire.now + 3600)
        watched.reader.watching.watch(value.place, watched.wire.now)
        watched.wire.advance(2.0)
        watched.publisher.put(value, watched.wire.now)
        watched.wire.advance(1.0)
        assert watched.wire.last(watched.reader, RecordChanged).record.payload == b"a value"

    def test_announcements_of_a_topic_are_not_watched(self, watched: Watched8) -> None:
        watched.reader.watching.watch(topic_place("chess"), watched.wire.now)
        watched.wire.advance(2.0)
        announcement = sign_record(identity(3), Kind.TOPIC, b"me", seq=1, expires=NOW + 3600, salt=topic_salt("chess"))
        watched.publisher.put(announcement, watched.wire.now)
        watched.wire.advance(1000.0)
        assert watched.told() == [1]

    def test_expiry_is_told(self) -> None:
        watched = Watched8(first=False)
        watched.publisher.put(record(expires=watched.wire.now + 100), watched.wire.now)
        watched.wire.advance(120.0)
        assert watched.told() == [1]
        (lapsed,) = watched.wire.events(watched.reader, RecordLapsed)
        assert lapsed.record.seq == 1
        watched.publisher.put(record(seq=2, expires=watched.wire.now + 100), watched.wire.now)
        watched.wire.advance(1.0)
        assert watched.told() == [1, 2]


class TestKeeping:
    def test_subscriptions_are_renewed(self, watched: Watched8) -> None:
        before = watched.holders()
        watched.wire.advance(600.0)
        assert watched.holders() == before
        watched.put(2)
        watched.wire.advance(1.0)
        assert watched.told() == [1, 2]

    def test_a_router_s_mapping_is_kept_open(self, watched: Watched8) -> None:
        home = watched.wire.address(watched.reader)
        watched.wire.carried.clear()
        began = watched.wire.now
        watched.wire.advance(120.0)
        for holder in watched.reader.watching.holders(PLACE):
            sent = [d for d in watched.wire.carried if d.source == home and d.target == holder.address]
            assert len(sent) >= (watched.wire.now - began) / 30  # RFC 4787: 30 s are the least in common use

    def test_a_server_renews_every_four_minutes(self, watched: Watched8) -> None:
        server = watched.holders()[0]
        watched.reader.watching.unwatch(PLACE, watched.wire.now)
        watched.watch(server)
        watched.wire.carried.clear()
        watched.wire.advance(250.0 * 3)
        home = watched.wire.address(server)
        opened = [
            watched.wire.engines[d.target]._exchange._sealer.open(d.data)[1]
            for d in watched.wire.carried
            if d.source == home and d.target in watched.wire.engines
        ]
        assert sum(isinstance(decode_message(plain), Watch) for plain in opened) == 3 * 3
        assert len(server.watching.holders(PLACE)) == 3

    def test_a_holder_that_dies_is_replaced_before_the_next_record(self, watched: Watched8) -> None:
        own = watched.wire.address(watched.publisher)
        dead = next(one for one in watched.reader.watching.holders(PLACE) if one.address != own)
        watched.wire.kill(watched.wire.engines[dead.address])
        watched.wire.advance(60.0)
        now = watched.reader.watching.holders(PLACE)
        assert len(now) == 3 and dead not in now
        watched.put(2)
        watched.wire.advance(1.0)
        assert watched.told() == [1, 2]

    def test_one_living_holder_is_enough(self, watched: Watched8) -> None:
        for engine in watched.holders()[:2]:
            if engine is not watched.publisher:
                watched.wire.kill(engine)
        watched.put(2)
        watched.wire.advance(3.0)
        assert watched.told() == [1, 2]

    def test_a_lost_notice_is_sent_again(self, watched: Watched8) -> None:
        home = watched.wire.address(watched.reader)
        watched.wire.lost = lambda datagram: datagram.target == home and len(datagram.data) > 200
        watched.put(2)
        watched.wire.advance(1.5)
        assert watched.told() == [1]
        watched.wire.lost = lambda datagram: False
        watched.wire.advance(6.0)
        assert watched.told() == [1, 2]

    def test_who_was_cut_off_for_an_hour_is_told_after_it(self, watched: Watched8) -> None:
        home = watched.wire.address(watched.reader)
        watched.wire.lost = lambda datagram: home in (datagram.target, datagram.source)
        watched.wire.advance(3600.0)
        watched.put(2)
        assert sum(engine.watchers() for engine in watched.wire.engines.values()) == 0
        watched.wire.lost = lambda datagram: False
        watched.reader.join([watched.wire.contact(watched.publisher)], watched.wire.now)
        watched.wire.advance(10.0)
        assert watched.told() == [1, 2]
        assert len(watched.reader.watching.holders(PLACE)) == 3

    def test_another_address_subscribes_anew(self, watched: Watched8) -> None:
        moved = place_of(60)
        reader = watched.wire.engines.pop(watched.wire.address(watched.reader))
        watched.wire.engines[moved] = reader
        watched.wire._events[moved] = []
        reader.network_changed(watched.wire.now)
        watched.wire.advance(5.0)
        watched.put(2)
        watched.wire.advance(1.0)
        assert watched.told()[-1] == 2
        # One for each holder: the node has moved, it is not watching twice.
        assert sum(engine.watchers() for engine in watched.wire.engines.values()) == 3

    def test_all_holders_together_cannot_keep_a_record_back_for_long(self, watched: Watched8) -> None:
        home = watched.wire.address(watched.reader)

        def withheld(datagram: Datagram) -> bool:
            if datagram.target != home:
                return False
            plain = watched.reader._exchange._sealer.open(datagram.data)[1]
            return isinstance(decode_message(plain), Notice)

        watched.wire.lost = withheld
        watched.put(2)
        watched.wire.advance(60.0)
        assert watched.told() == [1]
        watched.wire.advance(2200.0)  # The look for holders, every half hour, reads as well.
        assert watched.told() == [1, 2]

    def test_unwatching_ends_the_subscriptions_and_the_datagrams(self, watched: Watched8) -> None:
        watched.reader.watching.unwatch(PLACE, watched.wire.now)
        watched.wire.advance(1.0)
        assert sum(engine.watchers() for engine in watched.wire.engines.values()) == 0
        watched.put(2)
        watched.wire.advance(5.0)
        assert watched.told() == [1]
        assert len(watched.reader.watching) == 0

    def test_watching_twice_is_watching_once(self, watched: Watched8) -> None:
        watched.watch(watched.reader)
        assert len(watched.reader.watching) == 1
        assert sum(engine.watchers() for engine in watched.wire.engines.values()) == 3

    def test_bad_input_is_said(self, watched: Watched8) -> None:
        with pytest.raises(LocalError, match="20 bytes"):
            watched.reader.watching.watch(b"short", watched.wire.now)
        for number in range(MAX_WATCHED - 1):  # One is watched already.
            watched.reader.watching.watch(number.to_bytes(20, "big"), watched.wire.now)
        with pytest.raises(LocalError, match="1024 places"):
            watched.reader.watching.watch(b"\xff" * 20, watched.wire.now)

    def test_a_crowded_holder_is_passed_over(self) -> None:
        watched = Watched8(DhtConfig(watch_place_quota=1))
        other = watched.wire.add(51, mode=Mode.CLIENT)
        other.join([watched.wire.contact(watched.publisher)], watched.wire.now)
        watched.wire.advance(1.0)
        watched.watch(other)
        mine, theirs = (set(engine.watching.holders(PLACE)) for engine in (watched.reader, other))
        assert len(mine) == len(theirs) == 3
        assert not mine & theirs
