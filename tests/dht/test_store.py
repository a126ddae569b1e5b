"""The store: what is kept, what gives way to what, and that the books balance."""

from typing import Any

from dht.config import DhtConfig
from dht.identity import IdentityKey
from dht.records import Kind, Refusal, SignedRecord, immutable_record, sign_record, topic_salt
from dht.store import Store

ALICE = IdentityKey.from_seed(b"\x01" * 32)
BOB = IdentityKey.from_seed(b"\x02" * 32)
OWN = 0
NONE: tuple[Refusal, list[SignedRecord]] = (Refusal.NONE, [])


def store(*, own_id: int = OWN, **limits: Any) -> Store:
    return Store(own_id, DhtConfig(**limits))


def note(
    salt: bytes = b"note",
    payload: bytes = b"hello",
    *,
    seq: int = 1,
    owner: IdentityKey = ALICE,
    expires: float = 500.0,
) -> SignedRecord:
    return sign_record(owner, Kind.MUTABLE, payload, seq=seq, expires=expires, salt=salt)


def at_distance(*firsts: int, expires: float = 500.0) -> list[SignedRecord]:
    """Records of equal size whose places begin with these bytes: as far from the id 0 as these say."""
    found: dict[int, SignedRecord] = {}
    for number in range(65536):
        record = immutable_record(number.to_bytes(4, "big"), expires=expires)
        if record.place[0] in firsts:
            found.setdefault(record.place[0], record)
        if len(found) == len(set(firsts)):
            break
    return [found[first] for first in firsts]


class TestPut:
    def test_stored_record_is_there(self) -> None:
        box = store()
        assert box.put(note(), 10.0) == NONE
        assert box.get(note().place, 11.0) == [note()]
        assert (len(box), box.size) == (1, len(note().raw))

    def test_nothing_is_at_an_empty_place(self) -> None:
        assert store().get(bytes(20), 10.0) == []

    def test_newer_record_replaces_the_older(self) -> None:
        box = store()
        box.put(note(seq=1), 10.0)
        assert box.put(note(seq=2), 11.0) == NONE
        assert box.get(note().place, 12.0) == [note(seq=2)]
        assert len(box) == 1

    def test_older_record_is_refused(self) -> None:
        box = store()
        box.put(note(seq=2), 10.0)
        assert box.put(note(seq=1), 11.0) == (Refusal.OLDER, [])
        assert box.get(note().place, 12.0) == [note(seq=2)]

    def test_other_bytes_with_the_same_number_are_a_conflict(self) -> None:
        box = store()
        box.put(note(payload=b"one"), 10.0)
        assert box.put(note(payload=b"two"), 11.0) == (Refusal.CONFLICT, [])
        assert box.get(note().place, 12.0) == [note(payload=b"one")]

    def test_compare_and_swap_holds_at_the_expected_number(self) -> None:
        box = store()
        box.put(note(seq=3), 10.0)
        assert box.put(note(seq=4), 11.0, expected_seq=3) == NONE

    def test_compare_and_swap_fails_at_another_number(self) -> None:
        box = store()
        box.put(note(seq=3), 10.0)
        assert box.put(note(seq=5), 11.0, expected_seq=4) == (Refusal.CAS_MISMATCH, [])
        assert box.get(note().place, 12.0) == [note(seq=3)]

    def test_owners_of_a_topic_share_its_place(self) -> None:
        box = store()
        announcements = [
            sign_record(owner, Kind.TOPIC, b"here", seq=1, expires=500.0, salt=topic_salt("birds"))
            for owner in (ALICE, BOB)
        ]
        for record in announcements:
            box.put(record, 10.0)
        assert box.get(announcements[0].place, 11.0) == announcements


class TestRefresh:
    def test_equal_bytes_refresh(self) -> None:
        box = store()
        box.put(note(), 10.0)
        assert box.put(note(), 20.0) == NONE
        held = box.held(note().place, ALICE.public.raw)
        assert held is not None
        assert held.refreshed == 20.0
        assert (len(box), box.size) == (1, len(note().raw))

    def test_equal_bytes_lengthen_a_life(self) -> None:
        box = store()
        box.put(note(), 10.0, expires=50.0)
        box.put(note(), 20.0, expires=90.0)
        assert box.expire(60.0) == []
        assert box.expire(90.0) == [note()]

    def test_equal_bytes_never_shorten_a_life(self) -> None:
        # Else whoever reads a record could store it again to make it vanish.
        box = store()
        box.put(note(), 10.0, expires=90.0)
        box.put(note(), 20.0, expires=30.0)
        assert box.get(note().place, 60.0) == [note()]

    def test_equal_bytes_pass_compare_and_swap(self) -> None:
        # A repetition whose first answer was lost must not look like a clash.
        box = store()
        box.put(note(seq=4), 10.0, expected_seq=3)
        assert box.put(note(seq=4), 11.0, expected_seq=3) == NONE

    def test_flood_of_refreshes_grows_nothing(self) -> None:
        box = store()
        for i in range(2000):
            box.put(note(), 10.0 + i / 100, expires=100.0 + i / 100)
        assert len(box._deadlines) <= 64 + 4 * len(box) + 1
        assert box.expire(119.98) == []
        assert box.expire(120.0) == [note()]


class TestExpiry:
    def test_no_record_outlives_its_own_expiry(self) -> None:
        box = store()
        box.put(note(expires=100.0), 10.0, expires=400.0)
        assert box.get(note().place, 99.0) != []
        assert box.get(note().place, 100.0) == []

    def test_lifetime_asked_for_may_be_shorter(self) -> None:
        box = store()
        box.put(note(), 10.0, expires=50.0)
        assert box.get(note().place, 50.0) == []

    def test_expired_record_is_not_handed_out_before_it_is_dropped(self) -> None:
        box = store()
        box.put(note(), 10.0, expires=50.0)
        assert box.get(note().place, 51.0) == []
        assert len(box) == 1

    def test_next_expiry_is_the_earliest(self) -> None:
        box = store()
        assert box.next_expiry() is None
        box.put(note(b"a"), 10.0, expires=90.0)
        box.put(note(b"b"), 10.0, expires=50.0)
        assert box.next_expiry() == 50.0
        box.expire(50.0)
        assert box.next_expiry() == 90.0

    def test_expired_records_are_dropped_in_order(self) -> None:
        box = store()
        for salt, expires in ((b"a", 70.0), (b"b", 50.0), (b"c", 90.0)):
            box.put(note(salt), 10.0, expires=expires)
        assert box.expire(70.0) == [note(b"b"), note(b"a")]
        assert (len(box), box.size) == (1, len(note(b"c").raw))

    def test_place_of_an_expired_record_is_free_for_an_older_one(self) -> None:
        box = store()
        box.put(note(seq=5, expires=50.0), 10.0)
        assert box.put(note(seq=4), 60.0)[0] is Refusal.NONE

    def test_expired_record_that_gives_way_is_reported(self) -> None:
        # Whoever keeps a journal must hear of it even where the newcomer is refused.
        box = store(topic_quota=1)
        salt = topic_salt("birds")
        old = sign_record(ALICE, Kind.TOPIC, b"", seq=1, expires=50.0, salt=salt)
        box.put(old, 10.0)
        box.put(sign_record(BOB, Kind.TOPIC, b"", seq=1, expires=500.0, salt=salt), 10.0)
        new = sign_record(ALICE, Kind.TOPIC, b"", seq=2, expires=500.0, salt=salt)
        assert box.put(new, 60.0) == (Refusal.NONE, [old])


class TestQuotas:
    def test_owner_has_no_more_than_its_quota(self) -> None:
        box = store(owner_quota=2)
        assert [box.put(note(bytes((i,))), 10.0)[0] for i in range(3)] == [
            Refusal.NONE,
            Refusal.NONE,
            Refusal.OWNER_QUOTA,
        ]

    def test_owner_at_its_quota_may_still_update(self) -> None:
        box = store(owner_quota=1)
        box.put(note(seq=1), 10.0)
        assert box.put(note(seq=2), 11.0) == NONE

    def test_other_owners_are_not_touched_by_a_quota(self) -> None:
        box = store(owner_quota=1)
        box.put(note(), 10.0)
        assert box.put(note(owner=BOB), 10.0) == NONE

    def test_expiry_gives_the_quota_back(self) -> None:
        box = store(owner_quota=1)
        box.put(note(b"a", expires=50.0), 10.0)
        box.expire(50.0)
        assert box.put(note(b"b"), 51.0) == NONE

    def test_prefix_has_no_more_than_its_quota(self) -> None:
        box = store(prefix_quota=1)
        assert box.put(note(b"a"), 10.0, prefix=b"\x14\x00\x00") == NONE
        assert box.put(note(b"b"), 10.0, prefix=b"\x14\x00\x00") == (Refusal.PREFIX_QUOTA, [])
        assert box.put(note(b"c"), 10.0, prefix=b"\x14\x00\x01") == NONE

    def test_no_prefix_has_no_quota(self) -> None:
        box = store(prefix_quota=1)
        assert [box.put(note(bytes((i,))), 10.0) for i in range(3)] == [NONE] * 3

    def test_update_counts_against_the_network_that_let_it_in(self) -> None:
        box = store(prefix_quota=1)
        box.put(note(seq=1), 10.0, prefix=b"\x14\x00\x00")
        box.put(note(seq=2), 10.0, prefix=b"\x14\x00\x01")
        assert box._prefixes == {b"\x14\x00\x00": 1}

    def test_topic_has_no_more_than_its_quota(self) -> None:
        box = store(topic_quota=1)
        records = [
            sign_record(owner, Kind.TOPIC, b"", seq=1, expires=500.0, salt=topic_salt("birds"))
            for owner in (ALICE, BOB)
        ]
        assert [box.put(record, 10.0)[0] for record in records] == [Refusal.NONE, Refusal.FULL]

    def test_one_network_cannot_fill_a_topic(self) -> None:
        box = store(topic_prefix_quota=1)
        records = [
            sign_record(owner, Kind.TOPIC, b"", seq=1, expires=500.0, salt=topic_salt("birds"))
            for owner in (ALICE, BOB)
        ]
        assert box.put(records[0], 10.0, prefix=b"one") == NONE
        assert box.put(records[1], 10.0, prefix=b"one")[0] is Refusal.PREFIX_QUOTA
        assert box.put(records[0], 11.0, prefix=b"one") == NONE  # A refresh is no further one.
        assert box.put(records[1], 10.0, prefix=b"two") == NONE

    def test_values_without_owner_count_for_no_owner(self) -> None:
        box = store(owner_quota=1)
        for record in at_distance(1, 2, 3):
            assert box.put(record, 10.0) == NONE


class TestEviction:
    def test_farthest_gives_way_to_a_nearer_one(self) -> None:
        near, middle, far = at_distance(0x01, 0x40, 0xF0)
        box = store(store_max_records=2)
        box.put(far, 10.0)
        box.put(middle, 10.0)
        assert box.put(near, 10.0) == (Refusal.NONE, [far])
        assert box.get(far.place, 10.0) == []

    def test_farther_one_is_refused(self) -> None:
        near, middle, far = at_distance(0x01, 0x40, 0xF0)
        box = store(store_max_records=2)
        box.put(near, 10.0)
        box.put(middle, 10.0)
        assert box.put(far, 10.0) == (Refusal.FULL, [])
        assert len(box) == 2

    def test_far_is_meant_from_our_own_id(self) -> None:
        near, middle, far = at_distance(0x01, 0x40, 0xF0)
        box = store(store_max_records=2, own_id=0xF0 << 152)
        box.put(near, 10.0)
        box.put(middle, 10.0)
        assert box.put(far, 10.0) == (Refusal.NONE, [near])

    def test_far_is_meant_from_where_we_have_moved(self) -> None:
        near, middle, far = at_distance(0x01, 0x40, 0xF0)
        box = store(store_max_records=2)
        box.put(near, 10.0)
        box.put(middle, 10.0)
        box.move(0xF0 << 152)
        assert box.put(far, 10.0) == (Refusal.NONE, [near])

    def test_full_of_bytes_is_full(self) -> None:
        near, far = at_distance(0x01, 0xF0)
        box = store(store_max_bytes=len(near.raw))
        box.put(far, 10.0)
        assert box.full
        assert box.put(near, 10.0) == (Refusal.NONE, [far])

    def test_update_to_a_full_store_is_taken(self) -> None:
        box = store(store_max_records=1)
        box.put(note(seq=1), 10.0)
        assert box.put(note(seq=2), 11.0) == NONE

    def test_update_refused_for_want_of_room_costs_not_the_record(self) -> None:
        # Over its limit by the last record's bytes, the store was full even without the old version, which was lost.
        big = note(b"big", b"x" * 500)
        box = store(store_max_bytes=len(note(payload=b"", seq=1).raw) + 1, own_id=int.from_bytes(big.place, "big"))
        box.put(note(payload=b"", seq=1), 10.0)
        box.put(big, 10.0)
        assert box.put(note(payload=b"", seq=2), 11.0) == (Refusal.FULL, [])
        assert box.get(note().place, 12.0) == [note(payload=b"", seq=1)]

    def test_refused_newcomer_pushes_nothing_out(self) -> None:
        # One farther record is there, but its room would not do: the store is over its bytes by a large one.
        big = note(b"big", b"x" * 500)
        own = int.from_bytes(big.place, "big")
        small = sorted(at_distance(0x01, 0x40, 0xF0), key=lambda record: int.from_bytes(record.place, "big") ^ own)
        near, middle, far = small
        box = store(own_id=own, store_max_bytes=3 * len(near.raw))
        for record in (near, far, big):
            box.put(record, 10.0)
        assert box.put(middle, 11.0) == (Refusal.FULL, [])
        assert {entry.record.raw for entry in box.entries()} == {near.raw, far.raw, big.raw}
        assert box._by_distance[0][1] == far.place

    def test_announcements_of_one_topic_do_not_push_each_other_out(self) -> None:
        records = [
            sign_record(owner, Kind.TOPIC, b"", seq=1, expires=500.0, salt=topic_salt("birds"))
            for owner in (ALICE, BOB)
        ]
        box = store(store_max_records=1)
        box.put(records[0], 10.0)
        assert box.put(records[1], 10.0) == (Refusal.FULL, [])


def test_flood_into_a_full_store_leaves_the_nearest() -> None:
    records = [immutable_record(number.to_bytes(4, "big"), expires=500.0) for number in range(600)]
    box = store(store_max_records=50)
    for record in records:
        box.put(record, 10.0)
    nearest = sorted(records, key=lambda record: record.place)[:50]
    assert {entry.record.raw for entry in box.entries()} == {record.raw for record in nearest}
