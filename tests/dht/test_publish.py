"""Writing a record: who stores it, who refuses it and why, and when that is enough."""

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.events import GetDone, Mode, PutAcknowledged, PutDone
from dht.publish import PutWalk
from dht.records import Refusal
from dht.requests import Pending
from dht.wire import Nodes, Stored
from tests.dht.handdriven import Datagram, Stranger, Wire, believes, record


def pendings(engine: DhtEngine) -> list[Pending]:
    """What an engine waits for."""
    return list(engine.requests._pending.values())


@pytest.fixture
def crowd() -> Wire:
    """Twenty-five servers that know each other."""
    wire = Wire(25)
    wire.join_all()
    return wire


class TestReceipts:
    def test_nobody_there_is_said_at_once(self) -> None:
        wire = Wire(1, mode=Mode.CLIENT)  # a server would be there itself
        (engine,) = wire.engines.values()
        op = engine.put(record(), wire.now)
        done = wire.last(engine, PutDone)
        assert done.op == op
        assert (done.receipt.stored, done.receipt.needed, done.receipt.ok) == (0, 0, False)
        assert wire.events(engine, PutAcknowledged) == []

    @pytest.mark.parametrize(("others", "needed"), [(1, 2), (2, 3), (4, 4), (9, 8)])
    def test_in_a_small_network_everybody_is_the_replica_set(self, others: int, needed: int) -> None:
        wire = Wire(others + 1)
        wire.join_all()
        keepers = list(wire.engines.values())
        writer = keepers[0]  # one of them, too
        writer.put(record(), wire.now)
        wire.advance(1.0)
        receipt = wire.last(writer, PutDone).receipt
        assert (receipt.stored, receipt.needed, receipt.ok) == (others + 1, needed, True)
        assert {verdict.contact.key for verdict in receipt.verdicts} == {keeper.own_key for keeper in keepers}
        assert all(keeper.held_records() == 1 for keeper in keepers)

    def test_every_verdict_names_its_node_and_sequence_number(self, crowd: Wire) -> None:
        writer, *others = crowd.engines.values()
        one = record(seq=7)
        writer.put(one, crowd.now)
        crowd.advance(1.0)
        receipt = crowd.last(writer, PutDone).receipt
        assert (receipt.place, receipt.seq) == (one.place, 7)
        assert receipt.stored >= 20
        assert all((verdict.refusal, verdict.seq) == (Refusal.NONE, 7) for verdict in receipt.verdicts)
        holders = {engine.own_key for engine in (writer, *others) if engine.held_records()}
        assert holders == {verdict.contact.key for verdict in receipt.verdicts}
        assert receipt.stats.requests >= receipt.stored

    def test_the_nearest_hold_it(self, crowd: Wire) -> None:
        writer, *others = crowd.engines.values()
        target = int.from_bytes(record().place, "big")
        writer.put(record(), crowd.now)
        crowd.advance(1.0)
        contacts = [crowd.contact(engine) for engine in (writer, *others)]
        nearest = sorted(contacts, key=lambda contact: contact.long_id ^ target)[:20]
        holders = {verdict.contact for verdict in crowd.last(writer, PutDone).receipt.verdicts}
        assert set(nearest) <= holders

    def test_the_dead_are_in_the_receipt(self, crowd: Wire) -> None:
        writer, *others = crowd.engines.values()
        for other in others:
            writer.ping(crowd.contact(other), crowd.now)
        crowd.roundtrip()
        silent = {crowd.address(other) for other in others[:3]}
        crowd.lost = lambda datagram: datagram.target in silent
        writer.put(record(), crowd.now)
        crowd.advance(10.0)
        receipt = crowd.last(writer, PutDone).receipt
        assert receipt.ok
        said = {verdict.contact.address: verdict.refusal for verdict in receipt.verdicts}
        assert Refusal.TIMEOUT not in {refusal for address, refusal in said.items() if address not in silent}
        assert all(said.get(address, Refusal.TIMEOUT) is Refusal.TIMEOUT for address in silent)
        assert receipt.stats.requests - receipt.stats.replies + receipt.reasons.get("timeout", 0) >= 1

    def test_refusals_are_counted_by_reason(self, crowd: Wire) -> None:
        first, second, *_ = crowd.engines.values()
        first.put(record(seq=2), crowd.now)
        crowd.advance(1.0)
        second.put(record(seq=1), crowd.now)
        crowd.advance(1.0)
        receipt = crowd.last(second, PutDone).receipt
        assert not receipt.ok
        assert receipt.reasons["older"] >= 15
        assert {verdict.seq for verdict in receipt.verdicts if verdict.refusal is Refusal.OLDER} == {2}
        assert crowd.events(second, PutAcknowledged) == []


class TestAcknowledgement:
    def test_fifteen_of_twenty_are_enough_and_the_rest_follow(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        held_back: list[Datagram] = []
        stored = 0

        def late(datagram: Datagram) -> bool:
            # The answers of the last are kept until the test lets them through.
            nonlocal stored
            if datagram.target != crowd.address(writer) or datagram in held_back:
                return False
            stored += 1
            if stored > 15:
                held_back.append(datagram)
                return True
            return False

        writer.put(record(), crowd.now, expected_seq=0)
        while not crowd.events(writer, PutDone) and not crowd.events(writer, PutAcknowledged):
            waiting = crowd.waiting()
            if not waiting:
                break
            crowd.now += 0.02
            if any(pending.reply is Stored for pending in pendings(writer)):
                crowd.lost = late
            crowd.deliver(waiting)
        acknowledged = crowd.last(writer, PutAcknowledged).receipt
        assert (acknowledged.stored, acknowledged.needed, acknowledged.ok) == (15, 15, True)
        assert crowd.events(writer, PutDone) == []
        crowd.lost = lambda datagram: False
        crowd.deliver(held_back)
        done = crowd.last(writer, PutDone).receipt
        assert done.stored == 20
        assert len(crowd.events(writer, PutAcknowledged)) == 1

    def test_the_dead_do_not_hold_it_up(self) -> None:
        wire = Wire(30)
        wire.join_all()
        writer, *others = wire.engines.values()
        writer.put(record(), wire.now)
        wire.advance(5.0)
        silent = {wire.address(other) for other in others[:3]}
        wire.lost = lambda datagram: datagram.target in silent
        writer.put(record(seq=2), wire.now)
        wire.advance(0.3)  # all who were asked have answered or become slow; the slow are not lost yet
        assert len(wire.events(writer, PutDone)) == 1
        assert wire.last(writer, PutAcknowledged).receipt.seq == 2

    def test_fourteen_of_twenty_are_not(self, crowd: Wire) -> None:
        # A newer record of the same owner is known to six of the nodes already.
        writer, *others = crowd.engines.values()
        target = int.from_bytes(record().place, "big")
        nearest = sorted(others, key=lambda other: crowd.contact(other).long_id ^ target)
        newer = record(seq=9)
        for other in nearest[:6]:
            other.restore([], [(newer.raw, newer.expires)], crowd.now)
        writer.put(record(), crowd.now)
        crowd.advance(2.0)
        receipt = crowd.last(writer, PutDone).receipt
        assert (receipt.stored, receipt.needed, receipt.ok) == (14, 15, False)
        assert receipt.reasons == {"older": 6}
        assert crowd.events(writer, PutAcknowledged) == []


class TestCompareAndSwap:
    def test_the_expected_record_is_replaced(self, crowd: Wire) -> None:
        first, second, *_ = crowd.engines.values()
        first.put(record(seq=1), crowd.now)
        crowd.advance(1.0)
        second.put(record(seq=2), crowd.now, expected_seq=1)
        crowd.advance(1.0)
        assert crowd.last(second, PutDone).receipt.ok

    def test_another_record_stays(self) -> None:
        crowd = Wire(20)  # so that everybody is a holder
        crowd.join_all()
        first, second, *_ = crowd.engines.values()
        first.put(record(seq=2), crowd.now)
        crowd.advance(1.0)
        second.put(record(seq=3), crowd.now, expected_seq=1)
        crowd.advance(1.0)
        receipt = crowd.last(second, PutDone).receipt
        assert not receipt.ok
        assert receipt.reasons["cas_mismatch"] >= 15
        refusing = [verdict for verdict in receipt.verdicts if verdict.refusal is Refusal.CAS_MISMATCH]
        assert {verdict.seq for verdict in refusing} == {2}

    def test_a_refused_swap_is_written_nowhere(self) -> None:
        crowd = Wire(20)
        crowd.join_all()
        first, second, third, *_ = crowd.engines.values()
        first.put(record(seq=2), crowd.now)
        crowd.advance(1.0)
        second.put(record(seq=3), crowd.now, expected_seq=1)
        crowd.advance(1.0)
        assert crowd.last(second, PutDone).receipt.stored == 0
        third.get(record().place, crowd.now, quorum=20)
        crowd.advance(1.0)
        assert [found.seq for found in crowd.last(third, GetDone).records] == [2]


class TestOnTheWay:
    def test_nodes_surely_near_and_known_are_written_to_at_once(self, crowd: Wire) -> None:
        writer = next(iter(crowd.engines.values()))
        for _ in range(3):  # the size estimate and the tokens come of look-ups
            writer.find_node(record().place, crowd.now)
            crowd.advance(0.5)
        before = len(crowd.carried)
        writer.put(record(), crowd.now)
        first = [datagram.target for datagram in crowd.waiting()]
        assert len(first) == DhtConfig().alpha
        assert {pending.reply for pending in pendings(writer)} == {Stored}
        assert len(crowd.carried) == before

    @pytest.mark.parametrize("nth", [1, 2, 3, 4])
    def test_among_two_any_lost_datagram_is_made_up_for(self, nth: int) -> None:
        wire = Wire(2)
        wire.join_all()
        writer, keeper = wire.engines.values()
        seen: list[Datagram] = []

        def lost(datagram: Datagram) -> bool:
            seen.append(datagram)
            return len(seen) == nth

        wire.lost = lost
        writer.put(record(), wire.now, expected_seq=0)  # GET, VALUE, PUT, STORED
        wire.advance(3.0)
        assert len(seen) == {1: 5, 2: 6, 3: 5, 4: 6}[nth]
        receipt = wire.last(writer, PutDone).receipt
        assert (receipt.stored, receipt.ok) == (2, True)
        assert keeper.held_records() == 1

    def test_stale_tokens_cost_a_round_trip_and_no_replica(self, crowd: Wire) -> None:
        writer, *others = crowd.engines.values()
        addresses = {crowd.address(other): number for number, other in enumerate(others, start=2)}
        for address, number in addresses.items():
            del crowd.engines[address]
            crowd.add(number, life=1)  # all secrets are new, keys and addresses are not
        for other in list(crowd.engines.values())[1:]:
            other.join([crowd.contact(list(crowd.engines.values())[1])], crowd.now)
            crowd.roundtrip()
        writer.put(record(), crowd.now)
        crowd.advance(3.0)
        receipt = crowd.last(writer, PutDone).receipt
        assert receipt.ok
        assert "bad_token" not in receipt.reasons


class TestCrowds:
    """More nodes near a place than chance puts there."""

    @pytest.mark.parametrize(("nodes", "holders"), [(40, 20), (8, 39)])
    def test_all_of_a_crowded_region_are_written_to(self, nodes: int, holders: int) -> None:
        wire = Wire(40, config=DhtConfig(bucket_prefix_limit=40))
        wire.join_all()
        wire.advance(300.0)
        writer = next(iter(wire.engines.values()))
        writer.set_mode(Mode.CLIENT, wire.now)
        # To who takes the network for smaller than it is, it looks crowded everywhere.
        believes(writer, nodes, wire.now)
        PutWalk(writer, 77, record(), wire.now, expected_seq=None).start(wire.now)
        wire.advance(3.0)
        receipt = wire.last(writer, PutDone).receipt
        assert receipt.ok
        assert receipt.stored == holders
        assert receipt.stats.crowded == (holders > 20)
        assert writer.counters["crowded"] == (holders > 20)


class TestLiars:
    def test_an_unknown_status_is_a_refusal(self) -> None:
        wire = Wire(1)
        (writer,) = wire.engines.values()
        liar = Stranger(wire)
        writer.table.offer(liar.contact)
        writer.put(record(), wire.now)
        (walk,) = wire.waiting()
        question = liar.open(walk.data)
        liar.say(writer, Nodes(question.rid, b"12345678", b"", b""))
        (written,) = pendings(writer)
        liar.say(writer, Stored(written.rid, b"12345678", 99, 0, b"", b""))
        receipt = wire.last(writer, PutDone).receipt
        assert receipt.reasons == {"unknown_version": 1}
        assert not receipt.ok

    def test_stored_without_being_asked_counts_for_nothing(self) -> None:
        wire = Wire(1)
        (writer,) = wire.engines.values()
        liar = Stranger(wire)
        liar.say(writer, Stored(1, b"12345678", 0, 1, b"", b""))
        assert writer.counters == {"reply_unasked": 1}
        assert wire.events(writer, PutDone) == []
