"""A server is one of those who hold what it writes, and reads what it holds: networks of one and two work."""

import pytest

from dht.engine import DhtEngine
from dht.events import GetDone, Mode, PutAcknowledged, PutDone, RecordDropped, RecordStored
from dht.records import Refusal, SignedRecord
from tests.dht.handdriven import NOW, Wire, record


def written(wire: Wire, writer: DhtEngine, one: SignedRecord, expected_seq: int | None = None) -> PutDone:
    """Have `writer` store a record; what came of it."""
    writer.put(one, wire.now, expected_seq=expected_seq)
    wire.advance(2.0)
    return wire.last(writer, PutDone)


def read(wire: Wire, reader: DhtEngine, quorum: int | None = None) -> GetDone:
    """Have `reader` look for what the tests write."""
    reader.get(record().place, wire.now, quorum=quorum)
    wire.advance(2.0)
    return wire.last(reader, GetDone)


def by_distance(wire: Wire) -> list[DhtEngine]:
    """All engines, nearest to the place of what the tests write first."""
    target = int.from_bytes(record().place, "big")
    return sorted(wire.engines.values(), key=lambda engine: wire.contact(engine).long_id ^ target)


class TestAlone:
    @pytest.fixture
    def alone(self) -> Wire:
        return Wire(1)

    def test_a_lone_server_puts_and_gets(self, alone: Wire) -> None:
        (server,) = alone.engines.values()
        receipt = written(alone, server, record()).receipt
        assert (receipt.stored, receipt.needed, receipt.ok) == (1, 1, True)
        assert [verdict.contact.key for verdict in receipt.verdicts] == [server.own_key]
        assert alone.events(server, PutAcknowledged) == []  # nobody is left to answer: it is done at once
        assert [event.record for event in alone.events(server, RecordStored)] == [record()]
        found = read(alone, server)
        assert (found.records, found.copies) == ((record(),), 1)
        assert alone.carried == []

    def test_its_copy_goes_when_the_record_does(self, alone: Wire) -> None:
        (server,) = alone.engines.values()
        written(alone, server, record(expires=NOW + 100))
        alone.advance(101.0)
        assert server.held_records() == 0
        assert len(alone.events(server, RecordDropped)) == 1
        assert read(alone, server).records == ()

    def test_its_own_refusal_is_in_the_receipt(self, alone: Wire) -> None:
        (server,) = alone.engines.values()
        written(alone, server, record(seq=2))
        receipt = written(alone, server, record(seq=1)).receipt
        assert (receipt.stored, receipt.needed, receipt.ok) == (0, 1, False)
        assert [(verdict.refusal, verdict.seq) for verdict in receipt.verdicts] == [(Refusal.OLDER, 2)]

    @pytest.mark.parametrize(("expected", "ok"), [(1, True), (0, False), (7, False)])
    def test_it_compares_and_swaps(self, alone: Wire, expected: int, ok: bool) -> None:
        (server,) = alone.engines.values()
        written(alone, server, record(seq=1))
        receipt = written(alone, server, record(seq=8), expected).receipt
        assert receipt.ok is ok
        assert receipt.reasons == ({} if ok else {"cas_mismatch": 1})
        assert [found.seq for found in read(alone, server).records] == [8 if ok else 1]

    def test_a_lone_client_holds_nothing(self) -> None:
        wire = Wire(1, mode=Mode.CLIENT)
        (client,) = wire.engines.values()
        assert not written(wire, client, record()).receipt.ok
        assert client.held_records() == 0
        assert read(wire, client).records == ()


class TestTwo:
    @pytest.fixture
    def two(self) -> Wire:
        wire = Wire(1)
        wire.add(2, mode=Mode.CLIENT)
        wire.join_all()
        return wire

    def test_the_client_finds_what_the_server_wrote(self, two: Wire) -> None:
        server, client = two.engines.values()
        assert written(two, server, record()).receipt.ok
        found = read(two, client)
        assert (found.records, found.copies) == ((record(),), 1)

    def test_the_server_finds_what_the_client_wrote(self, two: Wire) -> None:
        server, client = two.engines.values()
        receipt = written(two, client, record()).receipt
        assert (receipt.stored, receipt.needed, receipt.ok) == (1, 1, True)
        assert [verdict.contact for verdict in receipt.verdicts] == [two.contact(server)]
        assert (server.held_records(), client.held_records()) == (1, 0)
        assert read(two, server).records == (record(),)


class TestMany:
    @pytest.fixture
    def crowd(self) -> Wire:
        wire = Wire(25)
        wire.join_all()
        return wire

    @pytest.mark.parametrize("rank", [0, 10, 19])
    def test_one_of_the_twenty_nearest_keeps_what_it_writes_in_place_of_the_next(self, crowd: Wire, rank: int) -> None:
        engines = by_distance(crowd)
        receipt = written(crowd, engines[rank], record()).receipt
        assert (receipt.stored, receipt.needed) == (20, 15)
        assert {verdict.contact for verdict in receipt.verdicts} == {crowd.contact(engine) for engine in engines[:20]}
        assert [engine.held_records() for engine in engines] == [1] * 20 + [0] * 5

    @pytest.mark.parametrize("rank", [20, 24])
    def test_one_farther_off_does_not(self, crowd: Wire, rank: int) -> None:
        engines = by_distance(crowd)
        receipt = written(crowd, engines[rank], record()).receipt
        assert (receipt.stored, receipt.needed) == (20, 15)
        assert [engine.held_records() for engine in engines] == [1] * 20 + [0] * 5
        assert engines[rank].own_key not in {verdict.contact.key for verdict in receipt.verdicts}

    @pytest.mark.parametrize("quorum", [3, 6])
    def test_ones_own_copy_counts_for_the_quorum(self, crowd: Wire, quorum: int) -> None:
        engines = by_distance(crowd)
        written(crowd, engines[0], record())
        holder, other = read(crowd, engines[3], quorum), read(crowd, engines[22], quorum)
        assert (holder.copies, other.copies) == (quorum, quorum)
        assert holder.stats.replies < quorum <= other.stats.replies

    def test_an_older_copy_of_ones_own_does_not_hide_a_newer_one(self, crowd: Wire) -> None:
        engines = by_distance(crowd)
        old, new = record(seq=1), record(seq=2)
        for engine in engines[:20]:
            one = old if engine is engines[5] else new
            engine.restore([], [(one.raw, one.expires)], crowd.now)
        found = read(crowd, engines[5])
        assert (found.records, found.copies) == ((new,), 6)

    @pytest.mark.parametrize("expected", [1, 3])
    def test_a_swap_that_expects_anything_else_is_written_nowhere(self, crowd: Wire, expected: int) -> None:
        engines = by_distance(crowd)
        present = record(seq=2)
        for engine in engines[:10]:  # the other ten have lost it, and would take anything
            engine.restore([], [(present.raw, present.expires)], crowd.now)
        receipt = written(crowd, engines[24], record(seq=4), expected).receipt
        assert (receipt.stored, receipt.reasons) == (0, {"cas_mismatch": 20})
        assert {verdict.seq for verdict in receipt.verdicts} == {2}
        assert [engine.held_records() for engine in engines] == [1] * 10 + [0] * 15
