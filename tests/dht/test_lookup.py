"""One look-up: whom it asks, when it hedges, when it ends, and what liars can do to it.

Contacts stand at 8-bit ids, the top byte of the real ones, so that distances are read by eye.
"""

import random

import pytest

from dht.constants import ID_BITS, ID_BYTES
from dht.contact import Contact
from dht.lookup import MAX_CANDIDATES, MAX_REQUESTS, Lookup

TARGET = 0b0000_0000
LAN = "192.168.0.1"


class At(Contact):
    """A contact whose id is `bits`, then zeros."""

    def __init__(self, bits: int, ip: str, key: bytes) -> None:
        super().__init__(key, (ip, 1000))
        self.long_id = bits << (ID_BITS - 8)
        self.id = self.long_id.to_bytes(ID_BYTES, "big")


def at(bits: int, ip: str = LAN) -> Contact:
    return At(bits, ip, bytes((bits,)) * 32)


def ids(contacts: list[Contact]) -> list[int]:
    return [contact.long_id >> (ID_BITS - 8) for contact in contacts]


def lookup(*seeds: int, k: int = 3, alpha: int = 2, now: float = 10.0) -> Lookup:
    path = Lookup(TARGET, k, alpha, now)
    path.seed(at(bits) for bits in seeds)
    return path


class TestAsking:
    def test_nearest_first_and_no_more_than_alpha(self) -> None:
        path = lookup(0b1000_0000, 0b0010_0000, 0b0100_0000)
        assert ids(path.next_requests(10.0)) == [0b0010_0000, 0b0100_0000]
        assert path.next_requests(10.1) == []

    def test_each_reply_frees_one_place_without_waiting_for_the_rest(self) -> None:
        path = lookup(0b1000_0000, 0b0010_0000, 0b0100_0000)
        path.next_requests(10.0)
        path.on_reply(at(0b0100_0000), [], 10.2)
        assert ids(path.next_requests(10.2)) == [0b1000_0000]

    def test_nearer_contacts_are_asked_before_farther_seeds(self) -> None:
        path = lookup(0b0100_0000, 0b1000_0000, alpha=1)
        path.next_requests(10.0)
        path.on_reply(at(0b0100_0000), [at(0b0000_0100), at(0b0000_0010)], 10.2)
        assert ids(path.next_requests(10.2)) == [0b0000_0010]

    def test_only_who_may_be_among_the_k_closest_is_asked(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, 0b0000_1000, k=3, alpha=10)
        assert ids(path.next_requests(10.0)) == [0b0000_0001, 0b0000_0010, 0b0000_0100]

    def test_failure_lets_the_next_closest_in(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, 0b0000_1000, k=3, alpha=10)
        path.next_requests(10.0)
        path.on_failure(at(0b0000_0010))
        assert ids(path.next_requests(10.5)) == [0b0000_1000]

    def test_limit_holds_the_number_in_flight_under_alpha(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, alpha=3)
        assert ids(path.next_requests(10.0, 1)) == [0b0000_0001]
        assert path.next_requests(10.0, 1) == []
        assert ids(path.next_requests(10.0, 2)) == [0b0000_0010]

    def test_nobody_is_asked_twice(self) -> None:
        path = lookup(0b0000_0001, alpha=1)
        path.next_requests(10.0)
        path.on_reply(at(0b0000_0001), [at(0b0000_0001), at(0b0000_0010)], 10.1)
        path.seed([at(0b0000_0001)])
        assert ids(path.next_requests(10.1)) == [0b0000_0010]

    def test_we_are_never_asked_ourselves(self) -> None:
        path = Lookup(TARGET, 3, 2, 10.0, own_key=at(0b0000_0001).key)
        path.seed([at(0b0000_0001), at(0b0000_0010)])
        assert ids(path.next_requests(10.0)) == [0b0000_0010]


class TestSlow:
    def test_slow_contact_gives_up_its_place_in_flight(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, k=3, alpha=2)
        path.next_requests(10.0)
        path.on_slow(at(0b0000_0001))
        assert ids(path.next_requests(10.1)) == [0b0000_0100]

    def test_late_answer_of_a_slow_contact_counts(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, alpha=2)
        path.next_requests(10.0)
        path.on_slow(at(0b0000_0001))
        path.on_reply(at(0b0000_0001), [at(0b0000_0011)], 10.9)
        assert ids(path.closest(3)) == [0b0000_0001]
        assert ids(path.next_requests(10.9)) == [0b0000_0011]

    def test_slow_contact_that_answers_frees_no_second_place(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, 0b0000_1000, k=4, alpha=1)
        path.next_requests(10.0)
        path.on_slow(at(0b0000_0001))
        path.next_requests(10.1)
        path.on_reply(at(0b0000_0001), [], 10.2)
        assert path.next_requests(10.2) == []

    def test_slow_contact_does_not_hold_up_the_end(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, k=2, alpha=3)
        path.next_requests(10.0)
        path.on_slow(at(0b0000_0001))
        path.next_requests(10.1)
        path.on_reply(at(0b0000_0010), [], 10.1)
        assert not path.finished
        path.on_reply(at(0b0000_0100), [], 10.2)
        assert path.finished

    def test_slow_contact_is_waited_for_where_fewer_than_k_answered(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, k=2, alpha=3)
        path.next_requests(10.0)
        path.on_slow(at(0b0000_0001))
        path.on_reply(at(0b0000_0010), [], 10.1)
        assert not path.finished
        path.on_failure(at(0b0000_0001))
        assert path.finished

    def test_not_settled_while_a_slow_one_may_be_among_the_closest(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, k=1, alpha=2)
        path.next_requests(10.0)
        path.on_slow(at(0b0000_0001))
        path.next_requests(10.1)
        path.on_reply(at(0b0000_0010), [], 10.2)
        assert (path.finished, path.settled) == (True, False)


class TestEnd:
    def test_without_contacts_it_has_ended(self) -> None:
        assert lookup().finished

    def test_ends_when_the_k_closest_have_answered(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0100_0000, k=2, alpha=2)
        path.next_requests(10.0)
        ended = []
        for bits in (0b0000_0001, 0b0000_0010):
            path.on_reply(at(bits), [], 10.1)
            ended.append(path.finished)
        assert ended == [False, True]
        assert path.next_requests(10.2) == []

    def test_nearer_contact_named_last_prolongs_it(self) -> None:
        path = lookup(0b0000_0010, 0b0000_0100, k=2, alpha=2)
        path.next_requests(10.0)
        path.on_reply(at(0b0000_0010), [], 10.1)
        path.on_reply(at(0b0000_0100), [at(0b0000_0001)], 10.2)
        assert not path.finished
        assert ids(path.next_requests(10.2)) == [0b0000_0001]

    def test_ends_where_nobody_is_left_to_ask(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, k=20)
        path.next_requests(10.0)
        path.on_reply(at(0b0000_0001), [], 10.1)
        path.on_failure(at(0b0000_0010))
        assert path.finished
        assert ids(path.closest(20)) == [0b0000_0001]

    def test_only_who_answered_is_among_the_closest(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, alpha=3)
        path.next_requests(10.0)
        path.on_failure(at(0b0000_0001))
        path.on_reply(at(0b0000_0100), [], 10.1)
        path.on_reply(at(0b0000_0010), [], 10.2)
        assert ids(path.closest(3)) == [0b0000_0010, 0b0000_0100]
        assert ids(path.closest(1)) == [0b0000_0010]

    def test_known_within_a_distance_counts_the_failed_as_well(self) -> None:
        path = lookup(0b0000_0010, 0b0000_0100, 0b0000_1000, alpha=3)
        path.next_requests(10.0)
        path.on_failure(at(0b0000_0010))
        assert path.known_within(0b0000_1000 << 152) == 2
        assert path.known_within((0b0000_1000 << 152) + 1) == 3

    def test_known_within_a_distance_counts_the_named_once_they_answer(self) -> None:
        path = lookup(0b0000_1000, alpha=1)
        path.next_requests(10.0)
        path.on_reply(at(0b0000_1000), [at(0b0000_0001), at(0b0000_0010)], 10.1)
        assert path.known_within(0b0001_0000 << 152) == 1
        path.next_requests(10.1)
        path.on_reply(at(0b0000_0001), [], 10.2)
        assert path.known_within(0b0001_0000 << 152) == 2

    def test_nearer_ones_that_did_not_fail_are_counted(self) -> None:
        path = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, 0b0000_1000, alpha=4)
        path.next_requests(10.0)
        assert path.named_within(at(0b0000_1000).long_id) == 3
        path.on_failure(at(0b0000_0001))
        assert path.named_within(at(0b0000_1000).long_id) == 2


class TestUnexpected:
    def asked(self) -> Lookup:
        path = lookup(0b0000_0010, 0b0000_0100, k=3, alpha=2)
        path.next_requests(10.0)
        return path

    def test_reply_of_who_was_not_asked_is_ignored(self) -> None:
        path = self.asked()
        path.on_reply(at(0b0000_0001), [at(0b0000_0011)], 10.1)
        assert ids(path.closest(3)) == []
        assert path.stats(10.1).replies == 0
        assert path.named_within(at(0b1111_1111).long_id) == 2

    def test_reply_of_who_was_named_but_not_asked_is_ignored(self) -> None:
        path = lookup(0b0000_0010, 0b0000_0100, k=3, alpha=1)
        path.next_requests(10.0)
        path.on_reply(at(0b0000_0100), [at(0b0000_0001)], 10.1)
        assert path.closest(3) == []
        assert path.named_within(at(0b1111_1111).long_id) == 2

    def test_second_reply_is_ignored(self) -> None:
        path = self.asked()
        path.on_reply(at(0b0000_0010), [], 10.1)
        path.on_reply(at(0b0000_0010), [at(0b0000_0001)], 10.2)
        assert path.stats(10.2).replies == 1
        assert path.named_within(at(0b1111_1111).long_id) == 2
        assert path.next_requests(10.2) == []

    def test_reply_after_the_failure_is_ignored(self) -> None:
        path = self.asked()
        path.on_failure(at(0b0000_0010))
        path.on_reply(at(0b0000_0010), [at(0b0000_0001)], 10.9)
        assert path.closest(3) == []
        assert path.stats(10.9).replies == 0

    def test_failure_after_the_reply_is_ignored(self) -> None:
        path = self.asked()
        path.on_reply(at(0b0000_0010), [], 10.1)
        assert path.on_failure(at(0b0000_0010)) is None
        assert ids(path.closest(3)) == [0b0000_0010]
        assert path.stats(10.2).failures == 0

    @pytest.mark.parametrize("happening", ["slow", "failure"])
    def test_news_of_who_was_not_asked_change_nothing(self, happening: str) -> None:
        path = self.asked()
        stranger = at(0b0000_0001)
        path.on_slow(stranger) if happening == "slow" else path.on_failure(stranger)
        assert path.next_requests(10.1) == []
        assert path.stats(10.1).failures == 0

    def test_slow_after_the_reply_changes_nothing(self) -> None:
        path = self.asked()
        path.on_reply(at(0b0000_0010), [], 10.1)
        path.on_slow(at(0b0000_0010))
        assert ids(path.closest(3)) == [0b0000_0010]

    def test_failure_tells_who_named_the_dead(self) -> None:
        path = self.asked()
        path.on_reply(at(0b0000_0010), [at(0b0000_0001)], 10.1)
        path.next_requests(10.1)
        assert path.on_failure(at(0b0000_0001)) == at(0b0000_0010)
        assert path.on_failure(at(0b0000_0100)) is None

    def test_public_node_that_names_private_addresses_is_not_heeded(self) -> None:
        public = at(0b0000_0010, "20.0.0.1")
        path = Lookup(TARGET, 3, 2, 10.0)
        path.seed([public])
        path.next_requests(10.0)
        path.on_reply(public, [at(0b0000_0001, "192.168.0.9"), at(0b0000_0011, "20.0.0.2")], 10.1)
        assert ids(path.next_requests(10.1)) == [0b0000_0011]

    def test_private_node_may_name_private_and_public_addresses(self) -> None:
        path = lookup(0b0000_0010)
        path.next_requests(10.0)
        path.on_reply(at(0b0000_0010), [at(0b0000_0001, "192.168.0.9"), at(0b0000_0011, "20.0.0.2")], 10.1)
        assert ids(path.next_requests(10.1)) == [0b0000_0001, 0b0000_0011]


class TestLiars:
    """Liars who name endless contacts, each nearer than the last, all of whom lie as well."""

    def walk(self, named: int) -> tuple[Lookup, int]:
        rng = random.Random(1)
        path = Lookup(0, 20, 10, 10.0)
        flying = [Contact(rng.randbytes(32), ("10.0.0.1", 1000))]
        path.seed(flying)
        most = asked = 0
        distance = 1 << 159
        while not path.finished:
            flying = path.next_requests(10.0)
            asked += len(flying)
            for liar in flying:
                nearer = []
                for _ in range(named):
                    distance -= distance >> 9
                    contact = At(0, LAN, rng.randbytes(32))
                    contact.long_id = distance
                    nearer.append(contact)
                path.on_reply(liar, nearer, 10.0)
                most = max(most, len(path._sorted))
        return path, most

    def test_end_comes_after_the_most_requests_there_may_be(self) -> None:
        path, _ = self.walk(20)
        assert path.stats(10.0).requests == MAX_REQUESTS

    def test_memory_is_bounded(self) -> None:
        _, most = self.walk(30)
        assert most <= MAX_CANDIDATES + MAX_REQUESTS

    def test_forgetting_the_farthest_loses_nobody_who_was_asked(self) -> None:
        path, _ = self.walk(30)
        assert len(path.trace()) == MAX_REQUESTS
        assert len(path.closest(1000)) == MAX_REQUESTS


class TestReport:
    def test_stats_count_requests_replies_failures_hops_and_time(self) -> None:
        path = lookup(0b0100_0000, 0b1000_0000)
        path.next_requests(10.0)
        path.on_reply(at(0b0100_0000), [at(0b0010_0000)], 10.25)
        path.next_requests(10.25)
        path.on_reply(at(0b0010_0000), [at(0b0001_0000)], 10.5)
        path.next_requests(10.5)
        path.on_failure(at(0b1000_0000))
        path.on_reply(at(0b0001_0000), [], 10.75)
        stats = path.stats(11.0)
        assert (stats.requests, stats.replies, stats.failures, stats.hops, stats.seconds) == (4, 3, 1, 3, 1.0)

    def test_stats_of_a_look_up_nobody_answered(self) -> None:
        path = lookup(0b0100_0000)
        path.next_requests(10.0)
        path.on_failure(at(0b0100_0000))
        stats = path.stats(10.5)
        assert (stats.requests, stats.replies, stats.failures, stats.hops) == (1, 0, 1, 0)

    def test_trace_tells_of_each_asked_one_nearest_first(self) -> None:
        path = lookup(0b0100_0000, 0b1000_0000, 0b1100_0000, 0b1110_0000, k=3, alpha=3)
        path.next_requests(10.0)
        path.on_reply(at(0b0100_0000), [at(0b0000_0001)], 10.25, had_value=True)
        path.on_failure(at(0b1000_0000))
        path.on_slow(at(0b1100_0000))
        path.next_requests(10.3, 1)
        rows = [(ids([a.contact])[0], a.distance_bits, a.state, a.rtt, a.hops, a.had_value) for a in path.trace()]
        assert rows == [
            (0b0000_0001, 153, "waiting", None, 2, False),
            (0b0100_0000, 159, "answered", 0.25, 1, True),
            (0b1000_0000, 160, "failed", None, 1, False),
            (0b1100_0000, 160, "slow", None, 1, False),
        ]
