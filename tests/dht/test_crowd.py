"""When a place is crowded: by counts that chance makes, and by some that it does not."""

from random import Random

import pytest

from dht.config import DhtConfig
from dht.contact import Contact, pack_contacts
from dht.crowd import FEWEST, is_crowded
from dht.events import GetDone
from dht.walks import GetWalk
from dht.wire import Get, Nodes, Value
from tests.dht.handdriven import Stranger, Wire, record

K, REGION = 20, 10**30


def by_chance(rng: Random, *, within: float = 2.0) -> list[int]:
    """Distances of nodes as dense as the estimate says."""
    return sorted(int(rng.random() * within * REGION) for _ in range(int(K * within)))


def test_chance_rarely_looks_like_a_crowd() -> None:
    rng = Random(1)
    alarms = sum(is_crowded(by_chance(rng), REGION, K) for _ in range(2000))
    assert alarms < 10  # half a per cent


@pytest.mark.parametrize("sybils", [20, 40, 100])
def test_a_crowd_in_a_quarter_of_the_distance_is_always_seen(sybils: int) -> None:
    rng = Random(2)
    for _ in range(200):
        crowd = [int(rng.random() * REGION / 4) for _ in range(sybils)]
        assert is_crowded(sorted(by_chance(rng) + crowd), REGION, K)


def test_a_few_and_no_estimate_are_no_crowd() -> None:
    assert not is_crowded([1] * (FEWEST - 1), REGION, K)
    assert is_crowded([1] * FEWEST, REGION, K)
    assert not is_crowded([1] * 100, 0, K)
    assert not is_crowded([], REGION, K)


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
        reader.size.samples, reader.size._density = 9, 1 / nodes
        GetWalk(reader, seq, old.place, wire.now, quorum=6).start(wire.now)
        wire.advance(3.0)
        done = wire.last(reader, GetDone)
        assert (done.op, [found.seq for found in done.records]) == (seq, [seq])
        assert done.stats.crowded == (seq == 2)


def test_neighbours_that_are_invented_make_no_crowd() -> None:
    wire = Wire(1)
    (reader,) = wire.engines.values()
    reader.size.samples, reader.size._density = 9, 1 / 10
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
