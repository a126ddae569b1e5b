"""The store's books under any sequence of puts, expiries and moves."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dht.config import DhtConfig
from dht.identity import IdentityKey
from dht.records import Kind, Refusal, SignedRecord, immutable_record, sign_record, topic_salt
from dht.store import Store

ALICE = IdentityKey.from_seed(b"\x01" * 32)
BOB = IdentityKey.from_seed(b"\x02" * 32)

RECORDS = [
    sign_record(owner, kind, b"x" * size, seq=seq, expires=expires, salt=salt)
    for owner in (ALICE, BOB)
    for kind, salt in (
        (Kind.PEER, b""),
        (Kind.MUTABLE, b"a"),
        (Kind.MUTABLE, b"b"),
        (Kind.TOPIC, topic_salt("x")),
        (Kind.TOPIC, topic_salt("y")),
    )
    for seq, size, expires in ((1, 0, 60.0), (2, 300, 90.0), (3, 10, 120.0))
] + [immutable_record(bytes((i,)) * (i * 20), expires=100.0) for i in range(6)]


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of puts and expiries leaves the books balanced."""

    CONFIG = DhtConfig(store_max_records=6, store_max_bytes=600, owner_quota=4, prefix_quota=3, topic_quota=1, k=1)

    def __init__(self) -> None:
        super().__init__()
        self.now = 10.0
        self.own_id = 0
        self.store = Store(self.own_id, self.CONFIG)
        self.model: dict[tuple[bytes, bytes], SignedRecord] = {}

    @rule(
        record=st.sampled_from(RECORDS),
        prefix=st.sampled_from((b"", b"\x14\x00\x00", b"\x14\x00\x01")),
        lifetime=st.floats(1.0, 80.0),
        expected_seq=st.none() | st.integers(0, 3),
    )
    def put(self, record: SignedRecord, prefix: bytes, lifetime: float, expected_seq: int | None) -> None:
        slot = (record.place, record.owner)
        before = dict(self.model)
        refusal, dropped = self.store.put(
            record, self.now, expires=self.now + lifetime, prefix=prefix, expected_seq=expected_seq
        )
        for old in dropped:
            assert self.model.pop((old.place, old.owner)) == old
            if (old.place, old.owner) != slot:
                far = int.from_bytes(old.place, "big") ^ self.own_id
                assert far > int.from_bytes(record.place, "big") ^ self.own_id
                left = [int.from_bytes(place, "big") ^ self.own_id for place, _ in self.model if place != record.place]
                assert far >= max(left, default=0)
        if refusal is Refusal.NONE:
            self.model[slot] = record
        else:
            assert self.model == {key: value for key, value in before.items() if value not in dropped}
            assert [old for old in dropped if (old.place, old.owner) != slot] == []

    @rule(seconds=st.floats(0.0, 50.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for old in self.store.expire(self.now):
            assert self.model.pop((old.place, old.owner)) == old

    @rule(seconds=st.floats(0.0, 20.0))
    def wait_without_expiring(self, seconds: float) -> None:
        self.now += seconds

    @rule(seed=st.integers(0, 100))
    def move(self, seed: int) -> None:
        self.own_id = random.Random(seed).getrandbits(160)
        self.store.move(self.own_id)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert {(held.record.place, held.record.owner): held.record for held in self.store.entries()} == self.model

    @invariant()
    def books_balance(self) -> None:
        box = self.store
        entries = box.entries()
        assert len(box) == len(entries)
        assert box.size == sum(len(held.record.raw) for held in entries)
        owners = [held.record.owner for held in entries if held.record.owner]
        assert box._owners == {owner: owners.count(owner) for owner in owners}
        prefixes = [held.prefix for held in entries if held.prefix]
        assert box._prefixes == {prefix: prefixes.count(prefix) for prefix in prefixes}
        assert all(box._places.values())

    @invariant()
    def limits_hold(self) -> None:
        assert len(self.store) <= self.CONFIG.store_max_records
        # A record is let in while there is room for one byte.
        assert self.store.size < self.CONFIG.store_max_bytes + 1000
        assert max(self.store._owners.values(), default=0) <= self.CONFIG.owner_quota

    @invariant()
    def every_record_has_its_deadline(self) -> None:
        due = {(at, place, owner) for at, place, owner in self.store._deadlines}
        assert all((held.expires, held.record.place, held.record.owner) in due for held in self.store.entries())

    @invariant()
    def heaps_are_bounded(self) -> None:
        assert len(self.store._deadlines) <= 64 + 4 * self.CONFIG.store_max_records + 1
        assert len(self.store._by_distance) <= 64 + 2 * self.CONFIG.store_max_records + 1


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=60, stateful_step_count=40)
