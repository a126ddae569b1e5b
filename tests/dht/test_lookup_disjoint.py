"""Disjoint paths: no node on two of them, and no liar in the way of the others."""

import random

import pytest

from dht.constants import ID_BITS, ID_BYTES
from dht.contact import Contact
from dht.lookup import DisjointLookup

LAN = "192.168.0.1"


class At(Contact):
    """A contact whose id is `bits`, then zeros."""

    def __init__(self, bits: int, key: bytes | None = None) -> None:
        super().__init__(key or bytes((bits,)) * 32, (LAN, 1000))
        self.long_id = bits << (ID_BITS - 8)
        self.id = self.long_id.to_bytes(ID_BYTES, "big")


def ids(contacts: list[Contact]) -> list[int]:
    return [contact.long_id >> (ID_BITS - 8) for contact in contacts]


def lookup(*seeds: int, k: int = 6, alpha: int = 2, paths: int = 2) -> DisjointLookup:
    walk = DisjointLookup(0, k, alpha, paths, 10.0)
    walk.seed(At(bits) for bits in seeds)
    return walk


class Swarm:
    """Nodes that all know each other and answer with the nearest; liars answer with liars and with whom they like."""

    def __init__(self, seed: int, liars: int = 0) -> None:
        self.rng = random.Random(seed)
        self.target = self.rng.getrandbits(ID_BITS)
        self.honest = [Contact(self.rng.randbytes(32), (LAN, 1000 + i)) for i in range(120)]
        self.honest.sort(key=self.distance)
        self.liars = [At(0, self.rng.randbytes(32)) for _ in range(liars)]
        for number, liar in enumerate(self.liars):
            liar.long_id = self.target ^ (number + 1)  # nearer than anybody
        self.asked: list[Contact] = []

    def distance(self, contact: Contact) -> int:
        return contact.long_id ^ self.target

    def nearest(self, count: int) -> list[Contact]:
        return self.honest[:count]

    def answer(self, contact: Contact, count: int) -> list[Contact]:
        if contact in self.liars:
            return [*self.honest[:count], *self.liars]
        # Each honest node knows some of the nearest, and some on the way.
        return self.rng.sample(self.honest[: 3 * count], count)

    def run(self, walk: DisjointLookup, count: int) -> None:
        flying: list[Contact] = []
        while True:
            sent = walk.next_requests(10.0)
            self.asked += sent
            flying += sent
            if walk.finished:
                break
            contact = flying.pop(self.rng.randrange(len(flying)))
            walk.on_reply(contact, self.answer(contact, count), 10.0)


def test_seeds_are_dealt_out() -> None:
    walk = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, 0b0000_1000)
    assert ids(walk.next_requests(10.0)) == [0b0000_0001, 0b0000_0010]
    walk.on_reply(At(0b0000_0010), [], 10.1)
    assert ids(walk.next_requests(10.1)) == [0b0000_1000]


def test_alpha_is_shared_out() -> None:
    walk = lookup(*range(1, 13), alpha=6, paths=3)
    assert len(walk.next_requests(10.0)) == 6
    assert walk.next_requests(10.0) == []


def test_contact_belongs_to_the_path_that_asks_it_first() -> None:
    walk = lookup(0b0100_0000, 0b1000_0000)
    walk.next_requests(10.0)
    walk.on_reply(At(0b0100_0000), [At(0b0000_0001)], 10.1)
    walk.on_reply(At(0b1000_0000), [At(0b0000_0001), At(0b0000_0010)], 10.1)
    assert ids(walk.next_requests(10.1)) == [0b0000_0001, 0b0000_0010]


def test_contact_heard_of_on_two_paths_counts_once() -> None:
    walk = lookup(0b0100_0000, 0b1000_0000)
    walk.next_requests(10.0)
    for bits in (0b0100_0000, 0b1000_0000):
        walk.on_reply(At(bits), [At(0b0000_0001)], 10.1)
    assert walk.named_within(At(0b0010_0000).long_id) == 1
    assert walk.known_within(0b0010_0000 << 152) == 0  # named, but who knows whether it is there
    (asked,) = walk.next_requests(10.2)
    walk.on_reply(asked, [], 10.3)
    assert walk.known_within(0b0010_0000 << 152) == 1


def test_contact_found_dead_on_one_path_counts_on_none() -> None:
    walk = lookup(0b0100_0000, 0b1000_0000)
    walk.next_requests(10.0)
    for bits in (0b0100_0000, 0b1000_0000):
        walk.on_reply(At(bits), [At(0b0000_0001)], 10.1)
    assert len(walk.distances(10)) == 3
    walk.next_requests(10.2)
    walk.on_failure(At(0b0000_0001))
    assert walk.distances(10) == [At(0b0100_0000).long_id, At(0b1000_0000).long_id]
    assert walk.named_within(At(0b0010_0000).long_id) == 0


def test_naming_a_contact_does_not_take_it_from_other_paths() -> None:
    # The first path's liar names an honest node, and enough liars before it to never ask it.
    walk = lookup(0b0100_0000, 0b1000_0000, alpha=2)
    walk.next_requests(10.0)
    honest = At(0b0001_0000)
    walk.on_reply(At(0b0100_0000), [*(At(bits) for bits in (1, 2, 3)), honest], 10.1)
    walk.on_reply(At(0b1000_0000), [honest], 10.1)
    assert honest in walk.next_requests(10.1)


def test_news_of_who_was_not_asked_are_ignored() -> None:
    walk = lookup(0b0100_0000, 0b1000_0000, alpha=2)
    walk.on_reply(At(0b0100_0000), [At(0b0000_0001)], 10.1)
    walk.on_slow(At(0b0100_0000))
    assert walk.on_failure(At(0b0100_0000)) is None
    assert walk.stats(10.1).replies == walk.stats(10.1).failures == 0
    assert ids(walk.next_requests(10.1)) == [0b0100_0000, 0b1000_0000]


def test_slow_contact_frees_a_place_on_its_path_only() -> None:
    walk = lookup(0b0000_0001, 0b0000_0010, 0b0000_0100, 0b0000_1000)
    walk.next_requests(10.0)
    walk.on_slow(At(0b0000_0001))
    assert ids(walk.next_requests(10.1)) == [0b0000_0100]


def test_ends_when_every_path_has() -> None:
    walk = lookup(0b0000_0001, 0b0000_0010)
    walk.next_requests(10.0)
    walk.on_reply(At(0b0000_0001), [], 10.1)
    assert not walk.finished
    walk.on_failure(At(0b0000_0010))
    assert walk.finished


def test_stats_and_trace_cover_all_paths() -> None:
    walk = lookup(0b0100_0000, 0b1000_0000)
    walk.next_requests(10.0)
    walk.on_reply(At(0b0100_0000), [At(0b0000_0001)], 10.25)
    walk.on_failure(At(0b1000_0000))
    walk.next_requests(10.25)
    walk.on_reply(At(0b0000_0001), [], 10.5, had_value=True)
    stats = walk.stats(11.0)
    assert (stats.requests, stats.replies, stats.failures, stats.hops, stats.seconds) == (3, 2, 1, 2, 1.0)
    assert [(ids([row.contact])[0], row.state, row.had_value) for row in walk.trace()] == [
        (0b0000_0001, "answered", True),
        (0b0100_0000, "answered", False),
        (0b1000_0000, "failed", False),
    ]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("paths", [2, 3, 8])
def test_paths_never_ask_the_same_node(seed: int, paths: int) -> None:
    swarm = Swarm(seed, liars=10)
    walk = DisjointLookup(swarm.target, 20, 10, paths, 10.0)
    walk.seed([*swarm.liars[:1], *swarm.rng.sample(swarm.honest, 2 * paths)])
    swarm.run(walk, 20)
    assert len({contact.key for contact in swarm.asked}) == len(swarm.asked)
    assert walk.stats(10.0).requests == len(swarm.asked)
    assert len(walk.trace()) == len(swarm.asked)


@pytest.mark.parametrize("seed", range(10))
def test_paths_together_find_the_closest(seed: int) -> None:
    swarm = Swarm(seed)
    walk = DisjointLookup(swarm.target, 20, 9, 3, 10.0)
    walk.seed(swarm.rng.sample(swarm.honest, 6))
    swarm.run(walk, 20)
    assert walk.closest(7) == swarm.nearest(7)


@pytest.mark.parametrize("seed", range(10))
def test_one_lying_path_does_not_hide_the_closest(seed: int) -> None:
    # The liar names the honest ones beside its own, who all are nearer and answer: it keeps its path to itself.
    swarm = Swarm(seed, liars=20)
    walk = DisjointLookup(swarm.target, 20, 9, 3, 10.0)
    walk.seed([swarm.liars[0], *swarm.rng.sample(swarm.honest, 5)])
    swarm.run(walk, 20)
    found = [contact for contact in walk.closest(1000) if contact not in swarm.liars]
    assert found[:7] == swarm.nearest(7)
