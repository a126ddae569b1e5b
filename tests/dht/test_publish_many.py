"""Writing many records in one go: what is shared, and that each receipt is still its own record's."""

import pytest

from dht.config import DhtConfig
from dht.constants import MAX_BATCH, MAX_DATAGRAM
from dht.engine import DhtEngine
from dht.events import Mode, PutAcknowledged, PutDone, Receipt
from dht.publish_many import AT_ONCE
from dht.records import Refusal, SignedRecord
from dht.wire import Nodes, PutMany, Stored, StoredMany
from tests.dht.handdriven import Stranger, Wire, record


def many(count: int, *, seq: int = 1) -> list[SignedRecord]:
    """Records of one person, each at a place of its own."""
    return [record(seq=seq, salt=b"%d" % number) for number in range(count)]


def receipts(wire: Wire, engine: DhtEngine, ops: list[int]) -> list[Receipt]:
    """The last receipt of each operation, in order."""
    ended = {done.op: done.receipt for done in wire.events(engine, PutDone)}
    return [ended[op] for op in ops]


def holders(wire: Wire, one: SignedRecord) -> set[bytes]:
    """The node keys of those who hold a record."""
    return {engine.own_key for engine in wire.engines.values() if engine.held(one.place, wire.now)}


@pytest.fixture
def crowd() -> Wire:
    """Thirty servers that know each other."""
    wire = Wire(30)
    wire.join_all()
    return wire


class TestReceipts:
    def test_each_record_has_its_own(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        records = many(2 * AT_ONCE + 3)
        ops = writer.put_many(records, crowd.now)
        crowd.advance(5.0)
        found = receipts(crowd, writer, ops)
        assert [receipt.place for receipt in found] == [one.place for one in records]
        assert all(receipt.ok for receipt in found)
        for receipt, one in zip(found, records, strict=True):
            stored = {said.contact.key for said in receipt.verdicts if said.refusal is Refusal.NONE}
            assert stored == holders(crowd, one)
            assert len(stored) >= 20

    def test_the_nearest_hold_each(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        records = many(10)
        writer.put_many(records, crowd.now)
        crowd.advance(5.0)
        contacts = [crowd.contact(engine) for engine in crowd.engines.values()]
        for one in records:
            target = int.from_bytes(one.place, "big")
            by_distance = {contact.long_id ^ target: contact.key for contact in contacts}
            assert {by_distance[distance] for distance in sorted(by_distance)[:20]} <= holders(crowd, one)

    def test_what_is_refused_of_a_datagram_is_refused_alone(self, crowd: Wire) -> None:
        first, second, *_ = crowd.engines.values()
        records = many(6)
        first.put(record(seq=9, salt=b"3"), crowd.now)
        crowd.advance(1.0)
        ops = second.put_many(records, crowd.now)
        crowd.advance(5.0)
        found = receipts(crowd, second, ops)
        assert [receipt.ok for receipt in found] == [True, True, True, False, True, True]
        assert found[3].reasons["older"] >= 15
        assert {said.seq for said in found[3].verdicts if said.refusal is Refusal.OLDER} == {9}

    def test_the_dead_are_in_every_receipt_and_the_rest_is_stored(self, crowd: Wire) -> None:
        writer, *others = crowd.engines.values()
        writer.put_many(many(6), crowd.now)  # so that their tokens are known
        crowd.advance(5.0)
        silent = {crowd.address(other) for other in others[:4]}
        crowd.lost = lambda datagram: datagram.target in silent
        ops = writer.put_many(many(6, seq=2), crowd.now)
        crowd.advance(20.0)
        found = receipts(crowd, writer, ops)
        assert all(receipt.ok for receipt in found)
        for receipt in found:
            said = {verdict.contact.address: verdict.refusal for verdict in receipt.verdicts}
            assert {said.get(address, Refusal.TIMEOUT) for address in silent} == {Refusal.TIMEOUT}
            assert {refusal for address, refusal in said.items() if address not in silent} == {Refusal.NONE}
        assert any(receipt.reasons.get("timeout") for receipt in found)

    def test_lost_datagrams_lose_no_record(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        seen = 0

        def lost(_: object) -> bool:
            nonlocal seen
            seen += 1
            return seen % 10 == 0

        crowd.lost = lost
        ops = writer.put_many(many(40), crowd.now)
        crowd.advance(20.0)
        assert all(receipt.ok for receipt in receipts(crowd, writer, ops))

    def test_enough_are_enough_for_each(self, crowd: Wire) -> None:
        writer, *others = crowd.engines.values()
        writer.put_many(many(3), crowd.now)
        crowd.advance(5.0)
        silent = {crowd.address(other) for other in others[:3]}
        crowd.lost = lambda datagram: datagram.target in silent
        ops = writer.put_many(many(3, seq=2), crowd.now)
        crowd.advance(0.5)  # the dead have become slow, and not all of them are lost yet
        acknowledged = {done.op: done.receipt for done in crowd.events(writer, PutAcknowledged) if done.op in ops}
        assert set(acknowledged) == set(ops)
        assert all(receipt.ok for receipt in acknowledged.values())
        assert len([done for done in crowd.events(writer, PutDone) if done.op in ops]) < len(ops)

    def test_nobody_there_is_said_of_each(self) -> None:
        wire = Wire(1, mode=Mode.CLIENT)
        (engine,) = wire.engines.values()
        ops = engine.put_many(many(AT_ONCE + 1), wire.now)
        assert [(one.stored, one.ok) for one in receipts(wire, engine, ops)] == [(0, False)] * (AT_ONCE + 1)

    def test_none_at_all_are_none(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        assert writer.put_many([], crowd.now) == []
        assert crowd.waiting() == []


class TestSharing:
    def test_many_cost_less_than_many_puts(self) -> None:
        def cost(*, together: bool) -> tuple[int, int]:
            wire = Wire(30)
            wire.join_all()
            writer = wire.add(50, mode=Mode.CLIENT)
            writer.join([wire.contact(next(iter(wire.engines.values())))], wire.now)
            wire.advance(1.0)
            wire.carried.clear()
            if together:
                writer.put_many(many(30), wire.now)
                wire.advance(3.0)
            else:
                for one in many(30):
                    writer.put(one, wire.now)
                    wire.advance(0.1)
            assert len(wire.events(writer, PutDone)) == 30
            return len(wire.carried), sum(len(datagram.data) for datagram in wire.carried)

        (single, single_bytes), (shared, shared_bytes) = cost(together=False), cost(together=True)
        assert shared < single / 2
        assert shared_bytes < 0.8 * single_bytes

    def test_a_node_is_asked_the_way_once_for_all(self, crowd: Wire) -> None:
        writer = crowd.add(50, mode=Mode.CLIENT)
        writer.join([crowd.contact(next(iter(crowd.engines.values())))], crowd.now)
        crowd.advance(1.0)
        writer.put_many(many(10), crowd.now)
        targets = [datagram.target for datagram in crowd.waiting() if datagram.source == crowd.address(writer)]
        assert len(targets) == len(set(targets))

    def test_no_datagram_is_larger_than_one_may_be(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        sizes = [0, 100, 300, 500, 700, 860]
        records = [record(payload=bytes(sizes[at % 6]), salt=b"%d" % at) for at in range(24)]
        ops = writer.put_many(records, crowd.now)
        crowd.advance(5.0)
        assert all(receipt.ok for receipt in receipts(crowd, writer, ops))
        assert max(len(datagram.data) for datagram in crowd.carried) <= MAX_DATAGRAM

    def test_tiny_ones_go_sixteen_to_a_datagram(self) -> None:
        wire = Wire(2)
        wire.join_all()
        writer, keeper = wire.engines.values()
        records = [record(payload=b"", salt=b"%d" % at) for at in range(AT_ONCE)]
        before = len(wire.carried)
        ops = writer.put_many(records, wire.now)
        wire.advance(3.0)
        assert keeper.held_records() == AT_ONCE
        assert all(receipt.stored == 2 for receipt in receipts(wire, writer, ops))
        # 120 bytes each: nine fit; the walk is one question.
        assert len(wire.carried) - before == 2 * (1 + -(-AT_ONCE // 9))
        assert MAX_BATCH == 16

    def test_one_without_neighbours_waits_for_nothing(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        for _ in range(3):
            writer.find_node(record().place, crowd.now)
            crowd.advance(0.5)
        (op,) = writer.put_many([record()], crowd.now)
        assert len(crowd.waiting()) == 10
        assert {pending.reply for pending in writer.requests._pending.values()} == {Stored}
        assert op


class TestResponder:
    def say(self, wire: Wire, items: list[tuple[bytes, int]], token: bytes = b"") -> StoredMany:
        """What the first engine answers to a stranger."""
        engine = next(iter(wire.engines.values()))
        stranger = Stranger(wire)
        (answer,) = stranger.say(engine, PutMany(1, token, False, items, True))
        assert isinstance(answer, StoredMany)
        assert stranger.received <= stranger.sent or token
        if not token:
            (answer,) = stranger.say(engine, PutMany(2, stranger.token, False, items, True))
            assert isinstance(answer, StoredMany)
        return answer

    def test_without_a_token_nothing_is_stored(self) -> None:
        wire = Wire(1)
        (engine,) = wire.engines.values()
        stranger = Stranger(wire)
        items = [(one.raw, 60) for one in many(3)]
        (answer,) = stranger.say(engine, PutMany(1, b"", False, items, True))
        assert isinstance(answer, StoredMany)
        assert answer.verdicts == [(Refusal.BAD_TOKEN, 0)] * 3
        assert engine.held_records() == 0
        assert stranger.received <= stranger.sent

    def test_each_is_judged_alone(self) -> None:
        wire = Wire(1)
        good = many(2, seq=5)
        forged = good[1].raw[:-1] + b"!"
        answer = self.say(wire, [(raw, 60) for raw in (good[0].raw, b"nonsense", forged, good[1].raw)])
        assert answer.verdicts == [
            (Refusal.NONE, 5), (Refusal.MALFORMED, 0), (Refusal.BAD_SIGNATURE, 0), (Refusal.NONE, 5)
        ]  # fmt: skip

    def test_each_record_counts_against_the_rate(self) -> None:
        wire = Wire(1, config=DhtConfig(rate_limit=0.001, rate_burst=5.0))
        answer = self.say(wire, [(one.raw, 60) for one in many(3)])  # two requests, three records each
        assert [status for status, _ in answer.verdicts] == [Refusal.NONE, Refusal.NONE, Refusal.RATE_LIMITED]

    def test_nearer_nodes_are_named_as_far_as_there_is_room(self, crowd: Wire) -> None:
        answer = self.say(crowd, [(one.raw, 60) for one in many(7)])
        assert len(answer.verdicts) == 7
        assert 0 < len(answer.nodes4) // 38 <= 20


class TestLiars:
    """The one node that a writer knows answers as the test wants."""

    def asked(self, count: int, nodes4: bytes = b"") -> tuple[Wire, DhtEngine, Stranger, list[int], int]:
        """The wire, the writer, the liar, the operations, and the id of the PUT_MANY that waits for an answer."""
        wire = Wire(1, mode=Mode.CLIENT)
        (writer,) = wire.engines.values()
        liar = Stranger(wire)
        writer.table.offer(liar.contact)
        ops = writer.put_many(many(count), wire.now)
        (walk,) = wire.waiting()
        question = liar.open(walk.data)
        liar.say(writer, Nodes(question.rid, b"12345678", nodes4, b""))
        (written,) = writer.requests._pending.values()
        assert written.reply is StoredMany
        return wire, writer, liar, ops, written.rid

    def test_a_short_answer_is_no_answer_for_the_rest(self) -> None:
        wire, writer, liar, ops, rid = self.asked(3)
        liar.say(writer, StoredMany(rid, b"12345678", [(0, 1), (99, 0)], b"", b""))
        found = sorted(tuple(receipt.reasons) for receipt in receipts(wire, writer, ops))
        assert found == [(), ("timeout",), ("unknown_version",)]

    def test_contacts_that_do_not_decode_count_as_none(self) -> None:
        wire, writer, liar, ops, rid = self.asked(2, b"1")
        liar.say(writer, StoredMany(rid, b"12345678", [(0, 1)] * 5, b"1", b"22"))
        assert [receipt.stored for receipt in receipts(wire, writer, ops)] == [1, 1]
        assert writer.counters["contacts_malformed"] >= 2
