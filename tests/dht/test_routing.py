"""The routing table: who gets in, who stays, and that nearest means nearest.

Contacts of small tests stand at 8-bit ids, the top byte of the real ones: 0b0100_0000 is twice as far from 0 as
0b0010_0000.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.config import DhtConfig
from dht.constants import ID_BITS, ID_BYTES, ID_SPACE
from dht.contact import Address, Contact
from dht.routing import Offer, Table, diverse

SMALL = DhtConfig(k=2)
OWN = 0b0000_0000
HOME = ("192.168.0.1", 1000)


class At(Contact):
    """A contact whose id is `bits`, then zeros."""

    def __init__(self, bits: int, address: Address, key: int) -> None:
        super().__init__(bytes((key,)) * 32, address)
        self.long_id = bits << (ID_BITS - 8)
        self.id = self.long_id.to_bytes(ID_BYTES, "big")


def at(bits: int, address: Address = HOME, *, key: int | None = None) -> Contact:
    return At(bits, address, bits if key is None else key)


def small_table(*contacts: Contact, own: int = OWN) -> Table:
    table = Table((own << (ID_BITS - 8)) + 1, SMALL, 10.0)
    for contact in contacts:
        table.offer(contact)
    return table


def ids(contacts: list[Contact]) -> list[int]:
    return [contact.long_id >> (ID_BITS - 8) for contact in contacts]


class TestOffer:
    def test_first_contact_is_added(self) -> None:
        table = small_table()
        assert table.offer(at(0b1000_0000)) is Offer.ADDED
        assert ids(list(table)) == [0b1000_0000]
        assert at(0b1000_0000) in table
        assert table.get(bytes((0b1000_0000,)) * 32) == at(0b1000_0000)

    def test_contact_offered_again_is_known(self) -> None:
        table = small_table(at(0b1000_0000))
        assert table.offer(at(0b1000_0000)) is Offer.KNOWN
        assert len(table) == 1

    def test_contact_seen_again_is_the_youngest(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001))
        assert table.oldest(0b1000_0001 << 152) == at(0b1000_0000)
        table.offer(at(0b1000_0000))
        assert table.oldest(0b1000_0001 << 152) == at(0b1000_0001)

    def test_full_bucket_keeps_its_old_contacts(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000))
        assert table.offer(at(0b1000_0010)) is Offer.FULL
        assert ids(list(table)) == [0b1000_0000, 0b1000_0001, 0b0100_0000]
        assert at(0b1000_0010) not in table

    def test_bucket_around_our_id_splits(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000), at(0b0100_0001), at(0b0010_0000))
        assert len(table) == 5
        assert [bucket.low >> (ID_BITS - 8) for bucket in table.buckets] == [0b1000_0000, 0b0100_0000, 0b0000_0000]
        assert [bucket.width for bucket in table.buckets] == [159, 158, 158]

    def test_bucket_of_ids_on_the_border_is_the_upper_one(self) -> None:
        # The package's halves overlap by one: its lower half holds an id of the upper one.
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000))
        assert table.bucket_of(1 << 159).low == 1 << 159
        assert table.bucket_of((1 << 159) - 1).low == 0
        assert table.bucket_of(ID_SPACE - 1).low == 1 << 159

    def test_our_own_id_is_never_taken(self) -> None:
        contact = at(0b0001_0000)
        table = Table(contact.long_id, SMALL, 10.0)
        assert table.offer(contact) is Offer.CROWDED
        assert len(table) == 0

    @given(st.integers(0, ID_SPACE - 1))
    def test_bucket_of_any_id_has_it_in_its_range(self, long_id: int) -> None:
        table = small_table(*(at(1 << i) for i in range(8)), *(at(3 << i) for i in range(7)))
        bucket = table.bucket_of(long_id)
        assert bucket.range[0] <= long_id <= bucket.range[1]


class TestPackage:
    def test_its_own_questions_are_answered_from_our_buckets(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000))
        assert table.is_new_node(at(0b1000_0010)) is True
        assert table.is_new_node(at(0b1000_0001)) is False


class TestAddressChange:
    def test_known_key_at_a_new_port_replaces_the_old_endpoint(self) -> None:
        table = small_table(at(0b1000_0000))
        assert table.offer(at(0b1000_0000, ("192.168.0.1", 2000))) is Offer.ADDED
        assert [contact.port for contact in table] == [2000]

    def test_known_key_with_a_new_id_moves_to_its_bucket(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000))
        moved = at(0b0110_0000, ("192.168.0.2", 1000), key=0b1000_0000)
        assert table.offer(moved) is Offer.ADDED
        assert ids(list(table)) == [0b1000_0001, 0b0100_0000, 0b0110_0000]

    def test_old_prefix_is_no_longer_counted(self) -> None:
        table = small_table(at(0b1000_0000, ("20.0.0.1", 1000)))
        table.offer(at(0b1000_0000, ("20.0.1.1", 1000)))
        assert table._prefixes == {b"\x14\x00\x01": 1}

    def test_known_key_at_a_new_port_keeps_its_seat_in_a_full_bucket(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000), at(0b1000_0010))
        assert table.offer(at(0b1000_0000, ("192.168.0.1", 2000))) is Offer.ADDED
        assert sorted(ids(list(table))) == [0b0100_0000, 0b1000_0000, 0b1000_0001]

    def test_seat_of_a_key_that_moves_away_goes_to_a_replacement(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1000_0001), at(0b0100_0000), at(0b1000_0010))
        table.offer(at(0b0110_0000, ("192.168.0.2", 1000), key=0b1000_0000))
        assert sorted(ids(list(table))) == [0b0100_0000, 0b0110_0000, 0b1000_0001, 0b1000_0010]

    def test_suspect_that_answers_from_a_new_port_is_trusted_again(self) -> None:
        table = small_table(at(0b1000_0000))
        table.suspects.add(at(0b1000_0000).key)
        table.offer(at(0b1000_0000, ("192.168.0.1", 2000)))
        assert table.suspects == set()


class TestReplacements:
    FULL = (at(0b1000_0000), at(0b1000_0001), at(0b0100_0000))

    def test_newest_replacement_takes_the_place_of_a_lost_contact(self) -> None:
        table = small_table(*self.FULL, at(0b1000_0010), at(0b1000_0011))
        assert table.discard(at(0b1000_0000)) == at(0b1000_0011)
        assert ids(list(table)) == [0b1000_0001, 0b0100_0000, 0b1000_0011]

    def test_without_replacement_the_seat_stays_empty(self) -> None:
        table = small_table(*self.FULL)
        assert table.discard(at(0b1000_0000)) is None
        assert ids(list(table)) == [0b1000_0001, 0b0100_0000]

    def test_no_more_than_k_wait(self) -> None:
        table = small_table(*self.FULL, *(at(0b1000_0010 + i) for i in range(5)))
        waiting = table.bucket_of(1 << 159).replacement_nodes.values()
        assert ids(list(waiting)) == [0b1000_0101, 0b1000_0110]

    def test_discarding_a_replacement_costs_no_contact(self) -> None:
        table = small_table(*self.FULL, at(0b1000_0010))
        assert table.discard(at(0b1000_0010)) is None
        assert len(table) == 3
        assert table.discard(at(0b1000_0000)) is None

    def test_discarding_an_unknown_contact_does_nothing(self) -> None:
        table = small_table(*self.FULL)
        assert table.discard(at(0b0000_1000)) is None
        assert len(table) == 3

    def test_discarding_an_old_address_keeps_the_new_one(self) -> None:
        table = small_table(at(0b1000_0000, ("192.168.0.1", 2000)))
        table.discard(at(0b1000_0000))
        assert len(table) == 1

    def test_nobody_is_a_replacement_for_itself(self) -> None:
        table = small_table(*self.FULL)
        here, there = at(0b1000_0101, key=9), at(0b1000_0110, ("192.168.0.2", 1000), key=9)
        assert [table.offer(here), table.offer(there)] == [Offer.FULL, Offer.FULL]
        assert table.discard(at(0b1000_0000)) == there
        assert table.offer(here) is Offer.ADDED
        assert table.discard(here) is None
        assert here not in table

    def test_promoted_replacement_counts_against_its_prefix(self) -> None:
        table = small_table(*self.FULL, at(0b1000_0010, ("20.0.0.1", 1000)))
        assert table._prefixes == {}
        table.discard(at(0b1000_0000))
        assert table._prefixes == {b"\x14\x00\x00": 1}
        table.discard(at(0b1000_0010, ("20.0.0.1", 1000)))
        assert table._prefixes == {}

    def test_replacement_whose_prefix_is_full_by_now_is_passed_over(self) -> None:
        config = DhtConfig(k=2, table_prefix_limit=1)
        table = Table(1, config, 10.0)
        for contact in (*self.FULL, at(0b1000_0010), at(0b1000_0011, ("20.0.0.1", 1000))):
            table.offer(contact)
        table.offer(at(0b0010_0000, ("20.0.0.2", 1000)))
        assert table.discard(at(0b1000_0000)) == at(0b1000_0010)

    def test_contact_that_left_is_no_longer_suspect(self) -> None:
        table = small_table(*self.FULL)
        table.suspects.add(at(0b1000_0000).key)
        table.discard(at(0b1000_0000))
        assert table.suspects == set()


class TestPrefixLimits:
    def test_two_of_a_24_fill_a_bucket_that_has_not_split_yet(self) -> None:
        table = Table(1, SMALL, 10.0)
        offers = [table.offer(at(bits, (f"20.0.0.{bits}", 1000))) for bits in (0b1000_0000, 0b0100_0000, 0b0010_0000)]
        assert offers == [Offer.ADDED, Offer.ADDED, Offer.CROWDED]

    def test_third_contact_of_a_24_in_a_bucket_is_refused(self) -> None:
        table = Table(1, DhtConfig(k=20), 10.0)
        offers = [table.offer(at(0b1000_0000 + i, (f"20.0.0.{i}", 1000))) for i in range(3)]
        assert offers == [Offer.ADDED, Offer.ADDED, Offer.CROWDED]
        assert table.offer(at(0b1000_1000, ("20.0.1.1", 1000))) is Offer.ADDED

    def test_third_contact_of_a_48_in_a_bucket_is_refused(self) -> None:
        table = Table(1, DhtConfig(k=20), 10.0)
        offers = [table.offer(at(0b1000_0000 + i, (f"2a00:1:2:{i}::1", 1000))) for i in range(3)]
        assert offers == [Offer.ADDED, Offer.ADDED, Offer.CROWDED]
        assert table.offer(at(0b1000_1000, ("2a00:1:3::1", 1000))) is Offer.ADDED

    def test_eleventh_contact_of_a_24_in_the_table_is_refused(self) -> None:
        table = small_table(*(at(bits) for bits in (2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129)))
        for contact in list(table):
            table.discard(contact)
        offers = []
        for depth in range(7):  # two in each of the buckets 1xxxxxxx, 01xxxxxx, 001xxxxx …
            for low in (0, 1):
                bits = (1 << (7 - depth)) + low
                offers.append(table.offer(at(bits, (f"20.0.0.{bits}", 1000))))
        assert offers == [Offer.ADDED] * 10 + [Offer.CROWDED] * 4

    def test_crowded_contact_does_not_wait_as_replacement(self) -> None:
        table = Table(1, SMALL, 10.0)
        for i in range(2):
            table.offer(at(0b1000_0000 + i, (f"20.0.0.{i}", 1000)))
        assert table.offer(at(0b1000_0011, ("20.0.0.3", 1000))) is Offer.CROWDED
        assert table.discard(at(0b1000_0000, ("20.0.0.0", 1000))) is None

    def test_place_in_its_prefix_is_free_again_after_a_loss(self) -> None:
        table = Table(1, DhtConfig(k=20), 10.0)
        for i in range(2):
            table.offer(at(0b1000_0000 + i, (f"20.0.0.{i}", 1000)))
        table.discard(at(0b1000_0000, ("20.0.0.0", 1000)))
        assert table.offer(at(0b1000_0011, ("20.0.0.3", 1000))) is Offer.ADDED

    @pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1"])
    def test_private_addresses_are_free_of_limits(self, ip: str) -> None:
        table = Table(1, DhtConfig(k=20), 10.0)
        offers = {table.offer(at(0b1000_0000 + i, (ip, 1000 + i))) for i in range(20)}
        assert offers == {Offer.ADDED}

    def test_diverse_takes_the_first_of_each_prefix(self) -> None:
        contacts = [at(i, (f"20.0.{i // 3}.{i}", 1000)) for i in range(9)]
        assert ids(diverse(contacts, 9, 1)) == [0, 3, 6]
        assert ids(diverse(contacts, 9, 2)) == [0, 1, 3, 4, 6, 7]
        assert ids(diverse(contacts, 3, 2)) == [0, 1, 3]

    def test_diverse_does_not_count_private_addresses(self) -> None:
        assert ids(diverse([at(i) for i in range(9)], 5, 1)) == [0, 1, 2, 3, 4]


class TestHasRoom:
    def test_room_in_a_bucket_with_an_empty_seat(self) -> None:
        assert small_table(at(0b1000_0000)).has_room(at(0b1000_0001))

    def test_room_around_our_own_id_however_full(self) -> None:
        assert small_table(at(0b0000_1000), at(0b0000_1001)).has_room(at(0b0000_1010))

    def test_no_room_in_a_full_far_bucket(self) -> None:
        assert not small_table(*TestReplacements.FULL).has_room(at(0b1000_0010))

    def test_no_room_for_whom_we_know(self) -> None:
        assert not small_table(at(0b1000_0000)).has_room(at(0b1000_0000, ("192.168.0.1", 2000)))

    def test_no_room_for_a_crowded_prefix(self) -> None:
        table = Table(1, DhtConfig(k=20), 10.0)
        for i in range(2):
            table.offer(at(0b1000_0000 + i, (f"20.0.0.{i}", 1000)))
        assert not table.has_room(at(0b1000_0011, ("20.0.0.3", 1000)))


class TestNeighbours:
    def test_nearest_first(self) -> None:
        table = small_table(at(0b1000_0000), at(0b0100_0000), at(0b0010_0000), at(0b0001_0000))
        assert ids(table.neighbours(0b0011_0000 << 152, 3)) == [0b0010_0000, 0b0001_0000, 0b0100_0000]

    def test_suspects_are_not_handed_on(self) -> None:
        table = small_table(at(0b0010_0000), at(0b0001_0000), at(0b0100_0000))
        table.suspects.add(at(0b0010_0000).key)
        assert ids(table.neighbours(0b0011_0000 << 152, 2)) == [0b0001_0000, 0b0100_0000]
        assert ids(table.neighbours(0b0011_0000 << 152, 2, suspects=True)) == [0b0010_0000, 0b0001_0000]

    def test_suspect_that_answers_is_handed_on_again(self) -> None:
        table = small_table(at(0b0010_0000))
        table.suspects.add(at(0b0010_0000).key)
        table.offer(at(0b0010_0000))
        assert ids(table.neighbours(0, 1)) == [0b0010_0000]

    @given(st.lists(st.integers(0, 255), unique=True, max_size=40), st.integers(0, 255), st.integers(0, 255))
    def test_as_brute_force_on_small_ids(self, bits: list[int], own: int, target: int) -> None:
        table = small_table(*(at(b) for b in bits), own=own)
        expected = sorted(table, key=lambda contact: contact.long_id ^ target << 152)
        assert table.neighbours(target << 152, 3) == expected[:3]


class TestReach:
    def test_distance_to_the_nth_nearest_contact(self) -> None:
        table = small_table(at(0b1000_0000), at(0b0100_0000), at(0b0010_0000))
        assert table.reach(2) == table.own_id ^ 0b0100_0000 << 152

    def test_nothing_with_fewer(self) -> None:
        assert small_table(at(0b1000_0000)).reach(2) == 0


class TestRebuilt:
    def test_contacts_come_along_around_the_new_id(self) -> None:
        table = small_table(at(0b1000_0000), at(0b1100_0000), at(0b0100_0000))
        moved = table.rebuilt(0b1000_0000 << 152 | 1, 20.0)
        assert set(moved) == set(table)
        assert [bucket.low for bucket in moved.buckets] == [0, 1 << 159]

    def test_suspects_stay_suspect(self) -> None:
        table = small_table(at(0b1000_0000), at(0b0100_0000))
        table.suspects.add(at(0b1000_0000).key)
        moved = table.rebuilt(0b1000_0000 << 152 | 1, 20.0)
        assert ids(moved.neighbours(0, 2)) == [0b0100_0000]

    def test_contact_with_our_new_id_is_left_out(self) -> None:
        table = small_table(at(0b1000_0000), at(0b0100_0000))
        assert ids(list(table.rebuilt(0b1000_0000 << 152, 20.0))) == [0b0100_0000]

    def test_buckets_count_as_looked_into_now(self) -> None:
        assert [bucket.refreshed for bucket in small_table().rebuilt(5, 20.0).buckets] == [20.0]


class TestRefresh:
    def test_bucket_is_stale_until_touched(self) -> None:
        table = small_table(*TestReplacements.FULL)
        assert len(table.stale_buckets(10.0)) == 0
        assert len(table.stale_buckets(10.5)) == 2
        table.touch(1 << 159, 11.0)
        assert [bucket.low for bucket in table.stale_buckets(10.5)] == [0]

    def test_halves_are_as_stale_as_the_whole_was(self) -> None:
        table = small_table()
        table.touch(0, 12.0)
        for contact in TestReplacements.FULL:
            table.offer(contact)
        assert [bucket.refreshed for bucket in table.buckets] == [12.0, 12.0]
