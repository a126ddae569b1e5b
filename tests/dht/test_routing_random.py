"""The routing table against brute force, against the package's own, and under any sequence of operations."""

import asyncio
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from kademlia.node import Node
from kademlia.routing import RoutingTable

from dht.config import DhtConfig
from dht.constants import ID_BITS, ID_BYTES, ID_SPACE
from dht.contact import Contact
from dht.identity import is_exempt
from dht.routing import REPLACEMENTS, Offer, Table


def random_contact(rng: random.Random, *, prefixes: int = 1 << 24) -> Contact:
    """A contact with a real id, at one of `prefixes` public /24 networks."""
    network = rng.randrange(prefixes)
    ip = f"{20 + (network >> 16) % 80}.{network >> 8 & 255}.{network & 255}.{rng.randrange(1, 255)}"
    return Contact(rng.randbytes(32), (ip, rng.randrange(1024, 65536)))


def check_invariants(table: Table, config: DhtConfig) -> None:
    """All that must hold of a table at any time."""
    low = 0
    for bucket in sorted(table.buckets, key=lambda bucket: bucket.low):
        assert bucket.range[0] == bucket.low == low
        assert bucket.range[1] == bucket.low + (1 << bucket.width) - 1
        assert bucket.low % (1 << bucket.width) == 0
        low = bucket.range[1] + 1
    assert low == ID_SPACE
    assert table.bucket_of(table.own_id) is table.buckets[-1]
    for bucket in table.buckets:
        assert table.bucket_of(bucket.low) is table.bucket_of(bucket.range[1]) is bucket

    in_buckets = [contact for bucket in table.buckets for contact in bucket.nodes.values()]
    assert len(in_buckets) == len(table)
    assert {contact.key: contact for contact in in_buckets} == table._by_key
    assert table.suspects <= table._by_key.keys()
    assert table.own_id not in {contact.long_id for contact in in_buckets}

    counts: dict[bytes, int] = {}
    for bucket in table.buckets:
        assert len(bucket.nodes) <= config.k
        assert len(bucket.replacement_nodes) <= config.k * REPLACEMENTS
        assert len(bucket.nodes) == config.k or not bucket.replacement_nodes
        for node_id, contact in (*bucket.nodes.items(), *bucket.replacement_nodes.items()):
            assert node_id == contact.id
            assert bucket.low <= contact.long_id <= bucket.range[1]
        assert not bucket.nodes.keys() & bucket.replacement_nodes.keys()
        here: dict[bytes, int] = {}
        for contact in bucket.nodes.values():
            if not is_exempt(contact.ip):
                counts[contact.prefix] = counts.get(contact.prefix, 0) + 1
                here[contact.prefix] = here.get(contact.prefix, 0) + 1
        assert max(here.values(), default=0) <= config.bucket_prefix_limit
    assert counts == table._prefixes
    assert max(counts.values(), default=0) <= config.table_prefix_limit


@pytest.mark.parametrize("seed", range(8))
def test_neighbours_as_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    config = DhtConfig(k=rng.choice((2, 4, 8, 20)))
    table = Table(rng.getrandbits(ID_BITS), config, 10.0)
    known = [random_contact(rng, prefixes=rng.choice((20, 400, 1 << 24))) for _ in range(250)]
    for contact in known:
        table.offer(contact)
    for contact in rng.sample(known, 60):
        table.discard(contact)
    table.suspects.update(contact.key for contact in rng.sample(list(table), len(table) // 5))
    targets = [rng.getrandbits(ID_BITS) for _ in range(200)]
    # Beside our own id and beside contacts the buckets are small, and mistakes likely.
    targets += [table.own_id ^ 1 << bit for bit in range(0, ID_BITS, 4)]
    targets += [contact.long_id ^ rng.choice((0, 1, 1 << 80)) for contact in table]
    for target in targets:
        nearest = sorted(table, key=lambda contact: contact.long_id ^ target)
        trusted = [contact for contact in nearest if contact.key not in table.suspects]
        count = rng.choice((1, 3, 20, 1000))
        assert table.neighbours(target, count) == trusted[:count]
        assert table.neighbours(target, count, suspects=True) == nearest[:count]


async def test_package_misses_true_neighbours() -> None:
    """Why `find_neighbors` is not used: it stops at k contacts, whichever bucket they came from."""
    rng = random.Random(7)
    own = rng.getrandbits(ID_BITS)
    contacts = [Contact(rng.randbytes(32), (f"10.0.0.{i % 250}", 1000 + i)) for i in range(400)]
    theirs = RoutingTable(SilentProtocol(), 20, Node(own.to_bytes(ID_BYTES, "big")))
    ours = Table(own, DhtConfig(k=20), 10.0)
    for contact in contacts:
        theirs.add_contact(contact)
        ours.offer(contact)
    missed = {"theirs": 0, "ours": 0}
    for _ in range(300):
        target = rng.getrandbits(ID_BITS)
        held = [node for bucket in theirs.buckets for node in bucket.get_nodes()]
        expected = sorted(held, key=lambda node: node.long_id ^ target)[:20]
        found = theirs.find_neighbors(Node(target.to_bytes(ID_BYTES, "big")), 20)
        missed["theirs"] += set(found) != set(expected)
        best = sorted(ours, key=lambda contact: contact.long_id ^ target)[:20]
        missed["ours"] += ours.neighbours(target, 20) != best
    assert missed["theirs"] > 0
    assert missed["ours"] == 0


class SilentProtocol:
    """Takes the pings that the package's table sends by itself."""

    def call_ping(self, node: Node) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


POOL_RNG = random.Random(3)
POOL = [
    Contact(key, (ip, port))
    for key in (POOL_RNG.randbytes(32) for _ in range(60))
    for ip, port in (
        (f"20.0.{POOL_RNG.randrange(6)}.{POOL_RNG.randrange(255)}", 1000),
        (f"20.0.{POOL_RNG.randrange(6)}.{POOL_RNG.randrange(255)}", 1000),
        ("10.0.0.1", 1000),
        ("10.0.0.1", 2000),
        (f"2a00:1:{POOL_RNG.randrange(3)}::{POOL_RNG.randrange(255)}", 1000),
    )
]


class TableMachine(RuleBasedStateMachine):
    """Any sequence of what the engine does to a table leaves it sound."""

    CONFIG = DhtConfig(k=3, bucket_prefix_limit=2, table_prefix_limit=4)

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(POOL[0].long_id, self.CONFIG, 10.0)

    @rule(picked=st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=30))
    def offer(self, picked: list[int]) -> None:
        for index in picked:
            contact = POOL[index]
            before = contact in self.table
            outcome = self.table.offer(contact)
            assert (outcome is Offer.KNOWN) is before
            assert (contact in self.table) is (outcome in (Offer.ADDED, Offer.KNOWN))

    @rule(index=st.integers(0, len(POOL) - 1))
    def discard(self, index: int) -> None:
        size = len(self.table)
        held = POOL[index] in self.table
        promoted = self.table.discard(POOL[index])
        assert POOL[index] not in self.table
        assert promoted is None or promoted in self.table
        assert len(self.table) == size - held + (promoted is not None)

    @rule(index=st.integers(0, len(POOL) - 1))
    def suspect(self, index: int) -> None:
        if POOL[index] in self.table:
            self.table.suspects.add(POOL[index].key)

    @rule(index=st.integers(0, len(POOL) - 1))
    def move(self, index: int) -> None:
        self.table = self.table.rebuilt(POOL[index].long_id ^ 1, 20.0)

    @rule(place=st.integers(0, ID_SPACE - 1), count=st.integers(1, 8))
    def look(self, place: int, count: int) -> None:
        trusted = [contact for contact in self.table if contact.key not in self.table.suspects]
        trusted.sort(key=lambda contact: contact.long_id ^ place)
        assert self.table.neighbours(place, count) == trusted[:count]

    @rule(index=st.integers(0, len(POOL) - 1))
    def room_is_what_an_offer_finds(self, index: int) -> None:
        if self.table.has_room(POOL[index]) and POOL[index].long_id != self.table.own_id:
            assert self.table.offer(POOL[index]) in (Offer.ADDED, Offer.FULL, Offer.CROWDED)

    @invariant()
    def sound(self) -> None:
        check_invariants(self.table, self.CONFIG)


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=60, stateful_step_count=30)
