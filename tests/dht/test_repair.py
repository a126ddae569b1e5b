"""Holders see to the copies while the publisher is away: what is compared, with whom, how often, who is fooled."""

import pytest

from dht.config import DhtConfig
from dht.constants import MAX_PRINTS, PRINT_BYTES
from dht.engine import DhtEngine
from dht.events import GetDone, PutDone, RecordStored
from dht.records import SignedRecord, fingerprint
from dht.repair import FASTEST, SLOWEST
from dht.wire import FindNode, Have, Put, Want
from tests.dht.handdriven import Stranger, Wire, record

RID = 99


def wired(count: int, interval: float = 1000.0, **more: float) -> Wire:
    wire = Wire(count, config=DhtConfig(repair_interval=interval, **more))  # type: ignore[arg-type]
    wire.join_all()
    return wire


def stored(wire: Wire, one: SignedRecord) -> DhtEngine:
    """Have the first engine publish a record; it is then gone for good."""
    writer = next(iter(wire.engines.values()))
    writer.put(one, wire.now)
    wire.advance(1.0)
    wire.kill(writer)
    return writer


def total(wire: Wire, counter: str) -> int:
    return sum(engine.counters[counter] for engine in wire.engines.values())


def holders(wire: Wire) -> list[DhtEngine]:
    return [engine for engine in wire.engines.values() if engine.held_records()]


def test_when_the_publisher_is_gone_holders_replace_the_dead_among_them() -> None:
    wire = wired(30, 600.0)
    one = record(expires=wire.now + 40_000)
    stored(wire, one)
    for dead in holders(wire)[:12]:
        wire.kill(dead)
    wire.advance(3600.0)
    assert len(holders(wire)) == len(wire.engines) == 17
    assert total(wire, "repairs") >= 9
    assert all(event.record == one for other in wire.engines.values() for event in wire.events(other, RecordStored))


def test_nothing_is_stored_anew_where_nothing_is_missing() -> None:
    wire = wired(21)
    stored(wire, record(expires=wire.now + 40_000))
    wire.advance(4000.0)
    assert len(holders(wire)) == 20
    repairs, compared = total(wire, "repairs"), total(wire, "compared")
    wire.advance(4000.0)
    assert total(wire, "repairs") == repairs <= 1  # The publisher's own copy had to be replaced.
    assert total(wire, "compared") > compared


def test_one_of_the_holders_compares_not_all() -> None:
    wire = wired(21)
    stored(wire, record(expires=wire.now + 40_000))
    wire.advance(3000.0)
    # One holder of twenty asks nineteen, two or three times; jitter lets a second one begin at times.
    assert 19 <= total(wire, "compared") <= 19 * 6


def test_many_records_share_their_datagrams() -> None:
    wire = wired(12)
    writer = next(iter(wire.engines.values()))
    for number in range(40):
        writer.put(record(salt=bytes([number]), expires=wire.now + 40_000), wire.now)
        wire.advance(0.1)
    wire.kill(writer)
    before = total(wire, "compared")
    wire.advance(1500.0)
    # Alone each record would take ten datagrams.
    assert 0 < total(wire, "compared") - before < 40 * 10 / 2


def test_a_record_dies_when_it_says_and_repair_does_not_keep_it() -> None:
    wire = wired(5, 100.0)
    stored(wire, record(expires=wire.now + 1000))
    wire.advance(980.0)
    assert len(holders(wire)) == 4
    wire.advance(30.0)
    assert holders(wire) == []


def test_a_holder_with_a_stale_copy_takes_the_newer_one() -> None:
    wire = wired(6, 10_000.0)
    writer, holder, *_ = wire.engines.values()
    writer.put(record(seq=2), wire.now)
    wire.advance(1.0)
    stale = record(seq=1)  # what it would hold had it slept while the newer one was written
    holder._store._remove(holder._store.entries()[0])
    holder.restore([], [(stale.raw, stale.expires)], wire.now)
    holder.families.main.maintenance.repair._spread(holder._store.entries(), wire.now)
    wire.advance(2.0)
    assert [found.seq for found in holder.held(stale.place, wire.now)] == [2]
    assert holder.counters["caught_up"] == 1
    assert wire.events(holder, PutDone) == []
    assert wire.events(holder, GetDone) == []


def test_a_newcomer_is_given_what_belongs_to_it_by_few() -> None:
    wire = wired(15, 100_000.0)
    one = record(expires=wire.now + 40_000)
    stored(wire, one)
    newcomer = wire.add(77, config=DhtConfig(repair_interval=100_000.0))
    newcomer.join([wire.contact(next(iter(wire.engines.values())))], wire.now)
    wire.advance(90.0)
    assert newcomer.held(one.place, wire.now) == [one]
    assert 1 <= total(wire, "compared") <= 3


def test_the_interval_grows_where_nothing_is_missing_and_shrinks_where_much_is() -> None:
    wire = wired(10, 100.0)
    stored(wire, record(expires=wire.now + 40_000))
    wire.advance(3000.0)
    assert all(engine.families.main.maintenance.repair.interval <= 100.0 * SLOWEST for engine in wire.engines.values())
    assert max(engine.families.main.maintenance.repair.interval for engine in wire.engines.values()) > 150.0

    (holder, *_) = wire.engines.values()
    repair = holder.families.main.maintenance.repair
    for _ in range(40):
        repair._note_missing(10, 10)
        repair.tick(15.0, wire.now)
    assert repair.interval == pytest.approx(100.0 / FASTEST)


class TestAnswers:
    def test_it_wants_what_it_lacks(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        mine = record(expires=wire.now + 40_000)
        engine.restore([], [(mine.raw, mine.expires)], wire.now)
        prints = [bytes([number]) * PRINT_BYTES for number in range(1, 10)]
        prints[3] = fingerprint(mine.raw)
        stranger = Stranger(wire)
        (answer,) = stranger.say(engine, Have(RID, b"", True, b"".join(prints)))[:1]
        assert isinstance(answer, Want)
        assert answer.bits == bytes((0b11101111, 0b10000000))

    def test_the_answer_is_never_longer_than_the_question(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        for count in (1, 8, 9, MAX_PRINTS):
            stranger = Stranger(wire, 900 + count)
            stranger.say(engine, Have(RID, b"", False, bytes(PRINT_BYTES * count)))
            assert 0 < stranger.received <= stranger.sent

    def test_a_stranger_cannot_say_that_a_record_is_looked_after(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        mine = record(expires=wire.now + 40_000)
        engine.restore([], [(mine.raw, mine.expires)], wire.now)
        (held,) = engine._store.entries()
        before = held.refreshed
        wire.now += 500.0
        Stranger(wire).say(engine, Have(RID, b"", True, fingerprint(mine.raw)))
        assert held.refreshed == before

    def test_who_says_so_for_ever_is_believed_for_a_while_only(self) -> None:
        wire = wired(2, 100.0)
        one = record(expires=wire.now + 40_000)
        stored(wire, one)
        (holder,) = holders(wire)
        liar = Stranger(wire)
        compared = holder.counters["compared"]
        (held,) = holder._store.entries()
        for _ in range(40):
            holder.table.offer(liar.contact)
            liar.say(holder, Have(RID, liar.token, True, fingerprint(one.raw)))
            assert held.refreshed == wire.now
            wire.advance(50.0)
        # Two thousand seconds, of which one look in eight intervals is its own.
        assert 1 <= holder.counters["compared"] - compared <= 4

    @pytest.mark.parametrize(("bits", "puts"), [(b"", 0), (b"\x7f", 0), (b"\xff" * 16, 1)])
    def test_bits_beyond_what_was_named_and_too_few_harm_nobody(self, bits: bytes, puts: int) -> None:
        wire = wired(2, 100.0)
        stored(wire, record(expires=wire.now + 40_000))
        (holder,) = holders(wire)
        liar = Stranger(wire)
        holder.table.offer(liar.contact)
        holder.families.main.maintenance.repair._spread(holder._store.entries(), wire.now)
        (asked,) = [liar.open(datagram.data) for datagram in wire.waiting() if datagram.target == liar.address]
        sent = liar.say(holder, Want(asked.rid, b"12345678", bits))
        assert sum(isinstance(message, Put) for message in sent) == puts

    def test_clients_leave_it_alone(self) -> None:
        wire = Wire(1, mode=None)
        (engine,) = wire.engines.values()
        said = Stranger(wire).say(engine, Have(RID, b"", True, bytes(PRINT_BYTES)))
        assert not any(isinstance(message, Want | FindNode) for message in said)
        assert engine.counters["ignored_as_client"] == 1
