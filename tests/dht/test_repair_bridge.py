"""Holders with both families carry records over: one does, the others see it, and nobody is made to do it for ever."""

import pytest

from dht.config import DhtConfig
from dht.events import GetDone, PutDone
from dht.records import Kind, immutable_record, sign_record, topic_salt
from dht.repair_bridge import BURST, MAX_WAITING, RATE, WAITS
from dht.wire import WANT_V4, WANT_V6, Have, Put, Stored, Want
from tests.dht.handdriven import NOW, Stranger, Wire, identity, record
from tests.dht.test_families import mixed, of, read
from tests.dht.test_waiting import filled, said


def counted(wire: Wire, what: str) -> int:
    return sum(engine.counters[what] for engine in wire.engines.values())


@pytest.mark.parametrize("stack", ["v4", "v6"])
def test_one_holder_carries_a_record_and_the_others_see_it(stack: str) -> None:
    wire = mixed()
    of(wire, stack)[0].put(record(), wire.now)
    wire.advance(1.5)
    other = "v6" if stack == "v4" else "v4"
    assert not any(engine.held_records() for engine in of(wire, other))
    wire.advance(28.5)
    assert all(engine.held_records() == 1 for engine in of(wire, other))
    assert (counted(wire, "carried"), counted(wire, "carried_in_part")) == (1, 0)
    via = [held.via for dual in of(wire, "dual") for held in dual._store.entries()]
    assert sorted(via)[1:] == [WANT_V4 | WANT_V6] * 4  # The first is who carried it.


def test_who_publishes_in_both_needs_nobody() -> None:
    wire = mixed()
    of(wire, "dual")[0].put(record(), wire.now)
    wire.advance(30.0)
    assert counted(wire, "carried") + counted(wire, "carried_already") == 0


def test_in_a_network_larger_than_a_replica_set_one_question_tells_that_it_is_there() -> None:
    wire = mixed(v4=16, v6=16, dual=8, config=DhtConfig(k=8))
    of(wire, "v4")[0].put(record(), wire.now)
    wire.advance(40.0)
    assert counted(wire, "carried") == 1
    assert counted(wire, "carried_already") > 0
    holders = [engine for engine in of(wire, "v6") if engine.held_records()]
    assert len(holders) <= 10
    assert read(wire, of(wire, "v6")[-1]).records == (record(),)


def test_who_lies_that_it_is_there_is_found_out_by_the_next() -> None:
    wire = mixed(v4=8, v6=6, dual=5)
    liar = of(wire, "v6")[0]
    liar._responder.on_have = lambda request, asking, table, now: Want(request.rid, asking.token, b"\0")  # type: ignore[method-assign]
    for salt in range(12):
        of(wire, "v4")[0].put(record(salt=bytes([salt])), wire.now)
    wire.advance(60.0)
    assert counted(wire, "carried_already") > 0
    for salt in range(12):
        of(wire, "v6")[-1].get(record(salt=bytes([salt])).place, wire.now)
        wire.advance(3.0)
        assert wire.last(of(wire, "v6")[-1], GetDone).records == (record(salt=bytes([salt])),)


def test_announcements_and_immutable_values_are_carried_as_well() -> None:
    wire = mixed()
    publisher, reader = of(wire, "v4")[0], of(wire, "v6")[0]
    value = immutable_record(b"for ever", expires=NOW + 3600)
    salt = topic_salt("chat")
    topics = [sign_record(identity(n), Kind.TOPIC, b"%d" % n, seq=1, expires=NOW + 3600, salt=salt) for n in (1, 2, 3)]
    for one in (value, *topics):
        publisher.put(one, wire.now)
    wire.advance(40.0)
    reader.get(topics[0].place, wire.now)
    wire.advance(3.0)
    assert {one.owner for one in wire.last(reader, GetDone).records} == {one.owner for one in topics}
    reader.get(value.place, wire.now)
    wire.advance(3.0)
    (found,) = wire.last(reader, GetDone).records
    assert found.payload == b"for ever"
    # No longer over there than its publisher asked for.
    held = next(held for held in reader._store.entries() if held.record.kind is Kind.IMMUTABLE)
    assert held.expires == pytest.approx(NOW + 3600, abs=2)


def test_a_newer_one_is_carried_in_place_of_the_one_that_waits() -> None:
    wire = mixed()
    publisher = of(wire, "v4")[0]
    publisher.put(record(seq=1), wire.now)
    wire.advance(1.0)
    publisher.put(record(seq=2), wire.now)
    wire.advance(30.0)
    assert counted(wire, "carried") == 1
    assert read(wire, of(wire, "v6")[0]).records == (record(seq=2),)


def test_a_node_with_one_family_has_nothing_to_carry() -> None:
    wire = Wire(5)
    wire.join_all()
    next(iter(wire.engines.values())).put(record(), wire.now)
    wire.advance(30.0)
    assert all(not engine._bridge._waiting for engine in wire.engines.values())
    assert counted(wire, "carried") == 0


def flooded(wire: Wire, count: int) -> list[Stored]:
    """A stranger stores so many records with one node that has both families."""
    stranger = Stranger(wire)
    dual = of(wire, "dual")[1]
    answers = []
    stranger.say(dual, Have(1, b"", False, bytes(8)))
    for number in range(count):
        one = record(2 + number // 60, salt=number.to_bytes(2, "big"))
        answers += stranger.say(dual, Put(number, stranger.token, False, one.raw, 3600, False))
    return [answer for answer in answers if isinstance(answer, Stored)]


def test_whoever_stores_much_has_only_so_much_of_it_carried() -> None:
    wire = mixed()
    dual = of(wire, "dual")[1]
    assert sum(answer.status == 0 for answer in flooded(wire, 300)) == 300
    wire.advance(40.0)
    begun = dual.counters["carried"] + dual.counters["carried_in_part"] + dual.counters["carried_already"]
    assert 0 < begun <= BURST + 40 * RATE
    assert len(dual._bridge._waiting) > 100


def test_what_waits_is_bounded() -> None:
    wire = mixed()
    flooded(wire, MAX_WAITING + 50)
    assert len(of(wire, "dual")[1]._bridge._waiting) == MAX_WAITING


def test_a_put_in_one_family_is_acknowledged_without_the_bridge() -> None:
    wire = mixed()
    publisher = of(wire, "v6")[0]
    publisher.put(record(), wire.now)
    wire.advance(1.0)
    receipt = wire.last(publisher, PutDone).receipt
    assert receipt.ok
    assert receipt.families == ()
    assert all(":" in verdict.contact.ip for verdict in receipt.verdicts)


class TestCrowdedTopics:
    """Holders of the other family that have everybody new wait."""

    @staticmethod
    def crowded(stack: str, *, dual: int = 2) -> Wire:
        """The topic is crowded at all that have `stack` alone."""
        wire = mixed(v4=6, v6=6, dual=dual, config=DhtConfig(topic_quota=4, dial_back_interval=1e6))
        for engine in of(wire, stack):
            filled(engine._store, {b"a": 2, b"b": 1})
        wire.advance(400.0)  # Who holds a token of the join has waited long enough already.
        return wire

    @pytest.mark.parametrize("stack", ["v4", "v6"])
    def test_an_announcement_is_tried_again_when_they_said(self, stack: str) -> None:
        wire = self.crowded(stack)
        other = "v6" if stack == "v4" else "v4"
        of(wire, other)[0].put(said(1), wire.now)
        wire.advance(9.0)
        assert counted(wire, "carrying_waits") > 0
        assert not any(said(1) in engine.held(said(1).place, wire.now) for engine in of(wire, stack))
        wire.advance(60.0)
        assert counted(wire, "carried") > 0
        assert all(said(1) in engine.held(said(1).place, wire.now) for engine in of(wire, stack))

    def test_who_finds_it_there_by_then_leaves_it(self) -> None:
        wire = self.crowded("v6", dual=5)
        of(wire, "v4")[0].put(said(1), wire.now)
        wire.advance(120.0)
        assert counted(wire, "carried_already") > 0
        assert counted(wire, "carrying_waits") <= 5

    def test_nobody_has_it_tried_for_ever(self) -> None:
        wire = self.crowded("v6")
        for engine in of(wire, "v6"):
            engine._store.waiting = lambda place, prefix: 290.0  # type: ignore[method-assign]
            engine._responder._tokens.left = lambda token, wait, now: 10  # type: ignore[method-assign]
            engine._responder._tokens.age = lambda token, now: 0.0  # type: ignore[method-assign]
        of(wire, "v4")[0].put(said(1), wire.now)
        wire.advance(300.0)
        # The other one has it from the first.
        assert [dual.counters["carrying_waits"] for dual in of(wire, "dual")] == [WAITS, 0]
        assert not any(dual._bridge._waiting for dual in of(wire, "dual"))

    def test_a_newer_one_has_a_turn_of_its_own(self) -> None:
        wire = self.crowded("v6")
        of(wire, "v4")[0].put(said(1), wire.now)
        wire.advance(9.0)
        of(wire, "v4")[0].put(said(1, seq=2), wire.now)
        wire.advance(90.0)
        for engine in of(wire, "v6"):
            assert said(1, seq=2) in engine.held(said(1).place, wire.now)
