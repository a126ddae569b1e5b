"""When a place is crowded: by counts that chance makes, and by some that it does not."""

from collections.abc import Callable
from math import inf
from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Contact, pack_contacts
from dht.crowd import FEWEST, is_crowded
from dht.engine import DhtEngine
from dht.events import GetDone
from dht.operation_walk import count_anew
from dht.size import CONFIDENT_SAMPLES, LASTS
from dht.walks import NAMING, SPARE, GetWalk
from dht.wire import Get, Message, Nodes, Value
from tests.dht.handdriven import Stranger, Wire, believes, record

K, REGION = 20, 10**30


def by_chance(rng: Random, *, count: int = 2 * K) -> list[int]:
    """Distances of nodes as dense as `REGION` says."""
    distances, distance = [], 0.0
    for _ in range(count):
        distance += rng.expovariate(K / REGION)
        distances.append(int(distance))
    return distances


def estimated(rng: Random, counted: int) -> int:
    """The region as it comes out of so many distances."""
    return int(REGION * rng.gammavariate(counted, 1 / counted))


@pytest.mark.parametrize("counted", [20, 80, 300])
def test_chance_rarely_looks_like_a_crowd_however_good_the_estimate(counted: int) -> None:
    rng = Random(1)
    alarms = sum(is_crowded(by_chance(rng), estimated(rng, counted), K, counted) for _ in range(2000))
    assert 2 <= alarms <= 20  # half a per cent; a test that never alarms by chance would miss crowds


@pytest.mark.parametrize("sybils", [20, 40, 100])
@pytest.mark.parametrize("counted", [20, 80, 300])
def test_a_crowd_that_hides_the_quorum_is_seen(sybils: int, counted: int) -> None:
    rng = Random(2)
    for _ in range(300):
        crowd = [int(rng.random() * REGION / 10) for _ in range(sybils)]
        assert is_crowded(sorted(by_chance(rng) + crowd), estimated(rng, counted), K, counted)


def test_a_few_and_no_estimate_are_no_crowd() -> None:
    assert not is_crowded([1] * (FEWEST - 1), REGION, K, 300)
    assert is_crowded([1] * FEWEST, REGION, K, 300)
    assert not is_crowded([1] * 100, 0, K, 300)
    assert not is_crowded([1] * 100, REGION, K, 0)
    assert not is_crowded([], REGION, K, 300)


def test_what_lies_behind_a_crowd_is_read() -> None:
    """The thirty nearest have an old copy and agree; one farther away has the newest."""
    wire = Wire(40, config=DhtConfig(bucket_prefix_limit=40, table_prefix_limit=100))
    wire.join_all()
    wire.advance(300.0)
    old, new = record(seq=1), record(seq=2)
    number = int.from_bytes(old.place, "big")
    reader, *others = wire.engines.values()
    others.sort(key=lambda engine: engine.own_id ^ number)
    for engine in others[:30]:
        engine.restore([], [(old.raw, old.expires)], wire.now)
    others[-1].restore([], [(new.raw, new.expires)], wire.now)
    for nodes, seq in ((40, 1), (8, 2)):
        believes(reader, nodes, wire.now)
        GetWalk(reader, seq, old.place, wire.now, quorum=6).start(wire.now)
        wire.advance(3.0)
        done = wire.last(reader, GetDone)
        assert (done.op, [found.seq for found in done.records]) == (seq, [seq])
        assert done.stats.crowded == (seq == 2)


def grown() -> tuple[Wire, DhtEngine]:
    """Forty nodes, and a reader that joined, it thinks, when there were eight."""
    wire = Wire(40, config=DhtConfig(bucket_prefix_limit=40, table_prefix_limit=100))
    wire.join_all()
    wire.advance(300.0)
    reader, writer, *_ = wire.engines.values()
    writer.put(record(), wire.now)
    wire.advance(3.0)
    believes(reader, 8, now=-inf)
    return wire, reader


def test_to_whom_the_network_has_grown_meanwhile_no_place_looks_crowded() -> None:
    wire, reader = grown()
    for _ in range(2):
        reader.get(record().place, wire.now)
        wire.advance(3.0)
        done = wire.last(reader, GetDone)
        assert (done.records, done.stats.crowded) == ((record(),), False)
    assert (reader.counters["counted_anew"], reader.counters["crowded"]) == (1, 0)
    assert reader.size.nodes == pytest.approx(40, rel=0.3)


def test_reads_at_once_count_the_network_once() -> None:
    wire, reader = grown()
    for _ in range(5):
        reader.get(record().place, wire.now)
    wire.advance(3.0)
    assert [done.records for done in wire.events(reader, GetDone)] == [(record(),)] * 5
    assert reader.counters["counted_anew"] == 1


def test_a_count_is_trusted_for_ten_minutes() -> None:
    wire, reader = grown()
    for age, counts in ((LASTS - 10, 0), (LASTS, 1)):
        believes(reader, 8, now=wire.now - age)
        reader.get(record().place, wire.now)
        wire.advance(3.0)
        assert reader.counters["counted_anew"] == counts


def test_neighbours_that_are_invented_make_no_crowd() -> None:
    wire = Wire(1)
    (reader,) = wire.engines.values()
    believes(reader, 10, wire.now)
    liar = Stranger(wire)
    reader.table.offer(liar.contact)
    invented = [Contact(bytes([number]) * 32, (f"124.{number}.7.1", 4000)) for number in range(1, 201)]
    sent = answered = 0
    reader.get(record().place, wire.now)
    for _ in range(80):
        for datagram in wire.waiting():
            sent += 1
            if datagram.target != liar.address:
                continue
            question = liar.open(datagram.data)
            nodes4, _ = pack_contacts(invented[20 * answered % 200 :][:20], 1000)
            answered += 1
            answer = Value(question.rid, b"", [], 0, nodes4, b"") if isinstance(question, Get) else None
            reader.receive_datagram(
                liar.seal(reader, answer or Nodes(question.rid, b"", nodes4, b"")), liar.address, wire.now
            )
        wire.now += 0.5
        reader.handle_timer(wire.now)
    done = wire.last(reader, GetDone)
    assert done.records == ()
    assert not done.stats.crowded  # Who does not answer is no crowd.
    assert sent < 100


@pytest.mark.parametrize("held", [True, False], ids=["held", "not held"])
def test_who_knows_enough_still_asks_who_else_is_there(monkeypatch: pytest.MonkeyPatch, held: bool) -> None:
    """A reader whose own table leads to six copies would else never hear of those who lie nearer; and one that joined
    while the network was small would take its table's nodes, none of which has the record, for the nearest."""
    wire = Wire(30, config=DhtConfig(bucket_prefix_limit=40, table_prefix_limit=100))
    wire.join_all()
    written = record()
    reader, *holders = wire.engines.values()
    named: list[bool] = []
    for engine in holders:
        engine.restore([], [(written.raw, written.expires)] if held else [], wire.now)
        told = engine._responder.on_get

        def on_get(request: Get, *rest: object, told: Callable[..., Message] = told) -> Message:
            named.append(request.nodes)
            return told(request, *rest)

        monkeypatch.setattr(engine._responder, "on_get", on_get)
    believes(reader, 20, wire.now)  # so that all of the table lies in the region
    reader.get(written.place, wire.now)
    wire.advance(3.0)
    assert bool(wire.last(reader, GetDone).records) is held
    without_trace = max(0, len(named) - reader.config.read_quorum - SPARE)
    assert bool(without_trace) is not held
    assert sum(named) == NAMING + without_trace < len(named)


def test_a_crowd_that_does_not_answer_is_looked_into_and_not_called_one() -> None:
    wire = Wire(1)
    (reader,) = wire.engines.values()
    believes(reader, 2, wire.now)
    walk = GetWalk(reader, 1, record().place, wire.now, quorum=6)
    walk.start(wire.now, [Contact(bytes([number]) * 32, (f"124.{number}.7.1", 4000)) for number in range(1, 21)])
    walk.conclude(wire.now)  # as with six equal copies before any of these was found dead
    assert reader.counters["crowded"] == 1
    wire.advance(30.0)
    assert not wire.last(reader, GetDone).stats.crowded


def test_while_the_network_is_counted_anew_the_old_estimate_stands() -> None:
    wire = Wire(26)
    wire.join_all()
    engine = next(iter(wire.engines.values()))
    family = engine.families.main
    engine.find_node(bytes(20), wire.now)
    wire.roundtrip()
    before = family.size
    counted: list[float] = []
    for _ in range(2):
        count_anew(engine, family, counted.append, wire.now)
    assert (family.size is before, before.counted(20) >= 20, counted) == (True, True, [])
    wire.roundtrip()
    assert counted == [wire.now] * 2
    assert family.size is not before
    assert family.size.samples == CONFIDENT_SAMPLES
    assert family.size.is_of_late(wire.now)
    assert not family.counting
