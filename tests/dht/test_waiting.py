"""Admission to crowded topics: who waits, for how long, what proves it, and who makes room."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dht.config import DhtConfig
from dht.events import PutDone, Receipt, Verdict
from dht.identity import IdentityKey
from dht.limits import Tokens, waiting_time
from dht.records import Kind, Refusal, SignedRecord, immutable_record, sign_record, topic_salt
from dht.store import Store
from dht.wire import Ping, Put, Stored
from tests.dht.handdriven import NOW, Stranger, Wire

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "waiting.json").read_text(encoding="utf-8"))
KEY, HOME = b"\x01" * 32, ("20.0.0.1", 1000)


def said(number: int, *, topic: str = "birds", seq: int = 1) -> SignedRecord:
    """Somebody's announcement."""
    owner = IdentityKey.from_seed(number.to_bytes(4, "big") * 8)
    return sign_record(owner, Kind.TOPIC, b"here", seq=seq, expires=NOW + 3600, salt=topic_salt(topic))


def store(**limits: Any) -> Store:
    return Store(0, DhtConfig(**limits))


def filled(box: Store, networks: dict[bytes, int], *, topic: str = "birds") -> Store:
    """Announcements of others, so many of each network, whatever they waited."""
    number = 1000
    for prefix, count in networks.items():
        for _ in range(count):
            number += 1
            assert box.put(said(number, topic=topic), NOW, prefix=prefix)[0] is Refusal.NONE
    return box


class TestHowLong:
    @pytest.mark.parametrize("case", VECTORS["cases"], ids=str)
    def test_vectors(self, case: dict[str, float]) -> None:
        wait = waiting_time(
            base=15.0,
            topic=case["announced"] / 128,
            store=case["store"],
            network=case["network"],
            near=int(case["near"]),
        )
        assert wait == case["wait"]

    def test_nobody_waits_where_there_is_room(self) -> None:
        assert waiting_time(base=15.0, topic=0.5, store=0.5, network=0.5, near=15) == 0.0

    def test_it_grows_with_each_of_topic_store_and_network(self) -> None:
        for what in ("topic", "store", "network"):
            empty = {"topic": 0.0, "store": 0.0, "network": 0.0}
            waits = [waiting_time(base=15.0, near=0, **{**empty, what: full}) for full in (0.6, 0.8, 1.0, 2.0)]
            assert waits == sorted(waits), what
            assert waits[0] > 0.0
            assert waits[-2:] == [15.0, 15.0]

    def test_each_further_one_of_a_network_waits_twice_as_long(self) -> None:
        waits = [waiting_time(base=15.0, topic=1.0, store=0.0, network=0.0, near=near) for near in range(4)]
        assert waits == [15.0, 30.0, 60.0, 120.0]


class TestStore:
    def test_somebody_new_waits_at_a_crowded_place(self) -> None:
        box = filled(store(topic_quota=8), {bytes((number,)): 1 for number in range(6)})
        assert box.waiting(said(1).place, b"new") == 7.5
        assert box.put(said(1), NOW, prefix=b"new", waited=7.4)[0] is Refusal.WAIT
        assert box.put(said(1), NOW, prefix=b"new", waited=7.5)[0] is Refusal.NONE

    def test_who_is_there_renews_at_once(self) -> None:
        box = filled(store(topic_quota=8), {b"a": 2, b"b": 3})
        box.put(said(1), NOW, prefix=b"c")
        assert box.put(said(1, seq=2), NOW, prefix=b"c", waited=0.0)[0] is Refusal.NONE

    def test_a_quiet_topic_waits_where_the_store_is_crowded(self) -> None:
        box = store(store_max_records=10)
        for number in range(9):
            box.put(immutable_record(bytes((number,)), expires=NOW + 500), NOW)
        assert box.put(said(1), NOW, prefix=b"new", waited=0.0)[0] is Refusal.WAIT
        assert box.put(immutable_record(b"x", expires=NOW + 500), NOW, waited=0.0)[0] is Refusal.NONE

    def test_a_quiet_topic_waits_where_the_network_has_much(self) -> None:
        box = store(prefix_quota=10)
        for number in range(9):
            filled(box, {b"greedy": 1}, topic=f"other {number}")
        assert box.put(said(1), NOW, prefix=b"greedy", waited=0.0)[0] is Refusal.WAIT
        assert box.put(said(1), NOW, prefix=b"modest", waited=0.0)[0] is Refusal.NONE

    def test_nobody_waits_for_longer_than_a_token_lives(self) -> None:
        box = filled(store(topic_quota=16), {b"greedy": 8} | {bytes((number,)): 1 for number in range(7)})
        assert box.waiting(said(1).place, b"greedy") > 300.0
        assert box.put(said(1), NOW, prefix=b"greedy")[0] is Refusal.PREFIX_QUOTA

    def test_a_full_place_takes_from_the_network_that_has_most(self) -> None:
        box = filled(store(topic_quota=8), {b"flood": 5, b"b": 2, b"c": 1})
        refusal, dropped = box.put(said(1), NOW, prefix=b"new")
        assert refusal is Refusal.NONE
        assert [one.owner for one in dropped] == [said(1005).owner]  # Its newest.
        assert len(box.get(said(1).place, NOW)) == 8

    def test_and_only_from_one_that_has_more_than_the_newcomers(self) -> None:
        box = filled(store(topic_quota=4), {b"a": 2, b"b": 2})
        assert box.put(said(1), NOW, prefix=b"a")[0] is Refusal.FULL
        box = filled(store(topic_quota=4), {bytes((number,)): 1 for number in range(4)})
        assert box.put(said(1), NOW, prefix=b"new")[0] is Refusal.FULL

    def test_making_room_in_a_topic_makes_room_in_a_full_store(self) -> None:
        box = filled(store(topic_quota=4, store_max_records=4), {b"flood": 4})
        assert box.put(said(1), NOW, prefix=b"new")[0] is Refusal.NONE
        assert len(box) == 4

    def test_an_announcement_counts_for_the_network_that_let_it_in(self) -> None:
        box = store(topic_prefix_quota=2)
        for number in range(1, 7):
            box.put(said(number), NOW, prefix=b"one")
            box.put(said(number, seq=2), NOW, prefix=b"two")
        assert len(box.get(said(1).place, NOW)) == 4  # Two by way of each.


class TestToken:
    def test_it_ages_while_its_holder_keeps_asking(self) -> None:
        box, token = Tokens(Random(1), 300.0, NOW), b""
        for second in range(0, 280, 20):
            token, proven = box.judge(token, KEY, HOME, NOW + second)
            assert proven is (second > 0)
            assert abs(box.age(token, NOW + second) - second) <= 4.0

    def test_and_begins_anew_after_five_minutes(self) -> None:
        box = Tokens(Random(1), 300.0, NOW)
        token = box.make(KEY, HOME, NOW)
        renewed, proven = box.judge(token, KEY, HOME, NOW + 304)
        assert proven
        assert box.age(token, NOW + 304) == 304.0
        assert box.age(renewed, NOW + 304) == 0.0

    def test_its_stamp_cannot_be_altered(self) -> None:
        box = Tokens(Random(1), 300.0, NOW)
        token = box.make(KEY, HOME, NOW)
        taken = [first for first in range(256) if box.judge(bytes((first,)) + token[1:], KEY, HOME, NOW)[1]]
        assert taken == [token[0]]

    def test_what_is_left_to_wait_is_enough(self) -> None:
        box = Tokens(Random(1), 300.0, NOW)
        for start in (NOW, NOW + 1.5, NOW + 3.9):
            token = box.make(KEY, HOME, start)
            left = box.left(token, 11.0, start + 2)
            assert box.left(token, 11.0, start + 2 + left) == 0


class TestOverTheWire:
    def test_the_holder_says_how_long_and_keeps_nothing(self) -> None:
        wire = Wire(1, config=DhtConfig(topic_quota=4))
        (engine,) = wire.engines.values()
        filled(engine._store, {b"a": 2, b"b": 1})
        stranger = Stranger(wire)
        stranger.say(engine, Ping(1, b"", False, bytes(48)))
        (stored,) = stranger.say(engine, Put(2, stranger.token, False, said(1).raw, 3600, True))
        assert isinstance(stored, Stored)
        assert (stored.status, engine.held_records()) == (Refusal.WAIT, 3)
        wait = stored.seq
        assert 8 <= wait <= 12
        wire.now += wait - 5.0
        (early,) = stranger.say(engine, Put(3, stranger.token, False, said(1).raw, 3600, True))
        assert isinstance(early, Stored)
        assert (early.status, early.seq <= 9) == (Refusal.WAIT, True)
        wire.now += early.seq
        (late,) = stranger.say(engine, Put(4, stranger.token, False, said(1).raw, 3600, True))
        assert isinstance(late, Stored)
        assert (late.status, engine.held_records()) == (Refusal.NONE, 4)

    def test_a_publisher_is_told_and_gets_in_when_it_comes_back(self) -> None:
        wire = Wire(3, config=DhtConfig(topic_quota=4))
        wire.join_all()
        writer, *holders = wire.engines.values()
        for engine in wire.engines.values():
            filled(engine._store, {b"a": 2, b"b": 1})
        wire.advance(400)  # Tokens of the join are old.
        writer.put(said(1), wire.now)
        wire.roundtrip()
        receipt = wire.last(writer, PutDone).receipt
        assert (receipt.ok, receipt.reasons) == (False, {"wait": 2})
        assert 0.0 < receipt.wait <= 15.0
        wire.advance(receipt.wait)
        writer.put(said(1, seq=2), wire.now)
        wire.roundtrip()
        assert wire.last(writer, PutDone).receipt.ok
        assert all(engine.held(said(1).place, wire.now) for engine in holders)

    def test_nobody_makes_a_publisher_wait_for_ever(self) -> None:
        wire = Wire(2)
        wire.join_all()
        writer, holder = wire.engines.values()
        real = holder._responder.on_put

        def on_put(*arguments: Any) -> Stored:
            answer = real(*arguments)
            assert isinstance(answer, Stored)
            return Stored(answer.rid, answer.token, Refusal.WAIT, 2**63 - 1, b"", b"")

        holder._responder.on_put = on_put  # type: ignore[assignment, method-assign]
        writer.put(said(1), wire.now)
        wire.roundtrip()
        assert wire.last(writer, PutDone).receipt.wait == 300.0


def test_a_receipt_waits_until_enough_would_store() -> None:
    wire = Wire(1)
    (contact,) = (wire.contact(engine) for engine in wire.engines.values())
    verdicts = [Verdict(contact, Refusal.NONE, 1)] + [
        Verdict(contact, Refusal.WAIT, 0, wait) for wait in (30.0, 5.0, 10.0)
    ]
    stats: Any = None
    assert Receipt(bytes(20), 1, tuple(verdicts), 3, stats).wait == 10.0
    assert Receipt(bytes(20), 1, tuple(verdicts), 9, stats).wait == 30.0
    assert Receipt(bytes(20), 1, tuple(verdicts), 1, stats).wait == 5.0
    assert Receipt(bytes(20), 1, tuple(verdicts[:1]), 3, stats).wait == 0.0
