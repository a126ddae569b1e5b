"""The engine as a whole: its verbs, what it takes back from a journal, and what it never does."""

from random import Random

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import GetDone, JoinDone, Mode, PutAcknowledged, PutDone, RecordDropped, RecordStored
from dht.records import SignedRecord
from tests.dht.handdriven import NOW, Wire, node_key, record


class TestVerbs:
    def test_a_new_engine_says_nothing(self) -> None:
        engine = DhtEngine(DhtConfig(), node_key(1), Random(1), NOW)
        assert engine.datagrams_to_send(NOW) == []
        assert engine.next_event() is None
        assert (engine.contacts(), engine.held_records(), engine.forwards(), engine.homes()) == ([], 0, 0, ())
        assert (engine.mode, engine.public_address, engine.clock_offset) == (Mode.CLIENT, None, None)

    def test_its_timer_lies_ahead_and_moves_on_when_handled(self) -> None:
        engine = DhtEngine(DhtConfig(), node_key(1), Random(1), NOW)
        now = NOW
        for _ in range(100):
            timer = engine.next_timer()
            assert timer is not None
            assert timer > now
            now = timer
            engine.handle_timer(now)
        assert now > NOW + 1000.0

    def test_a_timer_handled_too_early_does_nothing(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.join([wire.contact(two)], wire.now)
        wire.drop()
        before = one.next_timer()
        one.handle_timer(wire.now)
        assert one.next_timer() == before
        assert one.datagrams_to_send(wire.now) == []

    def test_what_was_taken_is_not_sent_again(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        one.ping(wire.contact(two), wire.now)
        assert len(one.datagrams_to_send(wire.now)) == 1
        assert one.datagrams_to_send(wire.now) == []

    def test_every_command_has_a_number_of_its_own(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        contact = wire.contact(two)
        numbers = [
            one.join([contact], wire.now),
            one.find_node(bytes(20), wire.now),
            one.get(bytes(20), wire.now),
            one.put(record(), wire.now),
            one.ping(contact, wire.now),
            one.signal(bytes(20), b"x", [contact], wire.now),
        ]
        assert len(set(numbers)) == 6

    @pytest.mark.parametrize("size", [0, 19, 21])
    def test_a_place_has_twenty_bytes(self, size: int) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        for command in (engine.get, engine.find_node):
            with pytest.raises(LocalError, match=f"20 bytes, not {size}"):
                command(bytes(size), wire.now)

    def test_no_datagram_is_longer_than_the_smallest_mtu_allows(self) -> None:
        wire = Wire(25)
        wire.join_all()
        writer, seeker, *_ = wire.engines.values()
        writer.put(record(payload=bytes(800)), wire.now)
        wire.advance(1.0)
        seeker.get(record().place, wire.now)
        wire.advance(1.0)
        assert wire.last(seeker, GetDone).copies > 0
        assert max(len(datagram.data) for datagram in wire.carried) <= 1232


class TestEvents:
    def test_a_put_is_acknowledged_then_done(self) -> None:
        wire = Wire(25)
        wire.join_all()
        writer, *others = wire.engines.values()
        op = writer.put(record(), wire.now)
        wire.advance(1.0)
        done = wire.last(writer, PutDone)
        assert done.op == op
        assert [event.op for event in wire.events(writer, PutAcknowledged)] in ([], [op])
        stored = [wire.last(other, RecordStored) for other in others if other.held_records()]
        assert {event.record for event in stored} == {record()}
        assert all(0 <= record().expires - event.expires < 2.0 for event in stored)

    def test_an_expired_record_is_reported_dropped(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        engine.restore([], [(record(expires=NOW + 50).raw, NOW + 50)], wire.now)
        wire.advance(49.0)
        assert wire.events(engine, RecordDropped) == []
        wire.advance(2.0)
        assert wire.events(engine, RecordDropped) == [RecordDropped(record().place, record().owner)]
        assert engine.held_records() == 0

    def test_a_join_ends_once(self) -> None:
        wire = Wire(5)
        wire.join_all(60.0)
        for engine in wire.engines.values():
            assert len(wire.events(engine, JoinDone)) == 1


class TestRestore:
    def test_good_records_come_back_and_are_given_out(self) -> None:
        wire = Wire(2)
        one, two = wire.engines.values()
        assert one.restore([], [(record().raw, NOW + 600)], wire.now) == 1
        two.join([wire.contact(one)], wire.now)
        wire.advance(1.0)
        two.get(record().place, wire.now)
        wire.advance(1.0)
        assert wire.last(two, GetDone).records == (record(),)

    def test_a_journal_is_not_believed(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        forged = record().raw[:-1] + bytes((record().raw[-1] ^ 1,))
        old: SignedRecord = record(expires=NOW - 1)
        journal = [(forged, NOW + 600), (old.raw, NOW + 600), (b"rot", NOW + 600), (record().raw, NOW + 600)]
        assert engine.restore([], journal, wire.now) == 1
        assert engine.held_records() == 1
        assert engine.counters == {
            "restore_refused_bad_signature": 1,
            "restore_refused_expired": 1,
            "restore_refused_malformed": 1,
        }

    def test_a_record_is_kept_no_longer_than_the_journal_says(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        engine.restore([], [(record().raw, NOW + 30)], wire.now)
        wire.advance(31.0)
        assert engine.held_records() == 0


class TestManyAtOnce:
    def test_a_hundred_look_ups_share_the_window_and_all_end(self) -> None:
        wire = Wire(0)
        config = DhtConfig(max_in_flight=40)
        for number in range(1, 26):
            wire.add(number, config=config)
        wire.join_all()
        engine = next(iter(wire.engines.values()))
        places = [bytes((number,)) * 20 for number in range(100)]
        operations = {engine.get(place, wire.now) for place in places}
        most = len(engine.requests)
        for _ in range(400):
            wire.step()
            most = max(most, len(engine.requests))
        wire.advance(10.0)
        assert {event.op for event in wire.events(engine, GetDone)} == operations
        assert most <= 40 + config.alpha

    def test_two_engines_with_one_seed_say_the_same(self) -> None:
        said = []
        for _ in range(2):
            wire = Wire(6)
            wire.join_all()
            next(iter(wire.engines.values())).put(record(), wire.now)
            wire.advance(100.0)
            said.append([(datagram.data, datagram.source, datagram.target) for datagram in wire.carried])
        assert len(said[0]) > 50
        assert said[0] == said[1]
