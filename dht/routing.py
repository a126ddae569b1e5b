"""The routing table: which contacts we know, on the kademlia package's `KBucket` and `RoutingTable`.

What is overridden, and the fault that forces it: bucket ranges are made exact prefixes (the package's halves are
off by one) and found by shared bits, `neighbours` is exact (`find_neighbors` misses true neighbours on about 3 % of
targets), a full bucket answers a question instead of starting a ping task, and nothing reads a clock.

Only contacts that answered us enter. Old contacts are kept over new ones, which wait in a replacement cache.
A contact that left a request unanswered is suspect: still here, but not handed on until it answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from kademlia.routing import KBucket, RoutingTable

from dht.config import DhtConfig
from dht.constants import ID_BITS, ID_SPACE
from dht.contact import Contact

REPLACEMENTS: Final = 1
"""Replacement contacts kept for a bucket, times k (the package keeps 5 k; k suffices where all were proven)."""


class Offer(Enum):
    """What became of a contact offered to the table."""

    ADDED = "added"
    KNOWN = "known"
    FULL = "full"
    """Kept as a replacement; asking the bucket's oldest contact may make room."""
    CROWDED = "crowded"
    """Its /24 or /48 has as many contacts here as one may."""


class Bucket(KBucket):  # type: ignore[misc]  # the package is untyped
    """A bucket whose range is an exact prefix: `low` to `low + 2^width - 1`."""

    nodes: dict[bytes, Contact]
    replacement_nodes: dict[bytes, Contact]

    def __init__(self, low: int, high: int, ksize: int, now: float) -> None:
        self.refreshed = now
        super().__init__(low, high, ksize, REPLACEMENTS)
        # Plain dicts keep the order of insertion as well: half the memory, and a quarter of the time to walk over.
        self.nodes = {}
        self.replacement_nodes = {}
        self.low = low
        self.width = (high - low + 1).bit_length() - 1

    def touch_last_updated(self) -> None:
        """The package reads the clock here; `refreshed` is set by the table instead."""

    def add_node(self, node: Contact) -> bool:
        """Put in a contact, or move it to the end; false where there is no room, then it waits as a replacement."""
        nodes, waiting = self.nodes, self.replacement_nodes
        if node.id in nodes:
            del nodes[node.id]
        elif len(nodes) >= self.ksize:
            waiting.pop(node.id, None)
            waiting[node.id] = node
            if len(waiting) > self.max_replacement_nodes:
                del waiting[next(iter(waiting))]
            return False
        nodes[node.id] = node
        return True

    def split(self) -> tuple[Bucket, Bucket]:
        """Return the two halves. Replacements stay replacements: the table decides which of them move up."""
        middle = self.low + (1 << (self.width - 1))
        one = Bucket(self.low, middle - 1, self.ksize, self.refreshed)
        two = Bucket(middle, self.range[1], self.ksize, self.refreshed)
        for node in self.nodes.values():
            (one if node.long_id < middle else two).nodes[node.id] = node
        for node in self.replacement_nodes.values():
            (one if node.long_id < middle else two).replacement_nodes[node.id] = node
        return one, two


class Table(RoutingTable):  # type: ignore[misc]  # the package is untyped
    """Contacts around our own id."""

    buckets: list[Bucket]
    """By the number of leading bits shared with our own id; the last one is the bucket our own id falls into."""

    def __init__(self, own_id: int, config: DhtConfig, now: float) -> None:
        self.own_id = own_id
        self._config = config
        self._now = now
        self._by_key: dict[bytes, Contact] = {}
        self._prefixes: dict[bytes, int] = {}
        self.suspects: set[bytes] = set()
        self.promoted = 0
        """Replacements that moved up so far: the only ones to come in without having answered just now."""
        super().__init__(None, config.k, None)

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._by_key.values())

    def __contains__(self, contact: object) -> bool:
        return isinstance(contact, Contact) and self._by_key.get(contact.key) == contact

    @property
    def by_key(self) -> Mapping[bytes, Contact]:
        """Every contact by its node key, longest here first."""
        return self._by_key

    def flush(self) -> None:
        """Start over with one empty bucket over all ids."""
        self.buckets = [Bucket(0, ID_SPACE - 1, self.ksize, self._now)]

    def get(self, key: bytes) -> Contact | None:
        """The contact with this node key, or None."""
        return self._by_key.get(key)

    def get_bucket_for(self, node: Contact) -> int:
        """The index of the bucket that `node` falls into: how many leading bits it shares with our own id."""
        return min(ID_BITS - (node.long_id ^ self.own_id).bit_length(), len(self.buckets) - 1)

    def bucket_of(self, long_id: int) -> Bucket:
        """The bucket whose range holds `long_id`."""
        return self.buckets[min(ID_BITS - (long_id ^ self.own_id).bit_length(), len(self.buckets) - 1)]

    def offer(self, contact: Contact) -> Offer:
        """Put in a contact that has just answered us."""
        known = self._by_key.get(contact.key)
        if known is not None:
            self.suspects.discard(contact.key)
            if known is contact or known == contact:
                # Most recently seen last (Kademlia paper, section 2.2).
                self.bucket_of(contact.long_id).add_node(known)
                return Offer.KNOWN
            # It moved. Its seat is filled only after it had the choice: a new port must not cost an old contact it.
            vacated = self._take_out(known)
            outcome = self._insert(contact)
            self._promote(vacated)
            return outcome
        return self._insert(contact)

    def _insert(self, contact: Contact) -> Offer:
        if contact.long_id == self.own_id:
            return Offer.CROWDED
        while True:
            bucket = self.bucket_of(contact.long_id)
            if self._crowded(contact, bucket):
                return Offer.CROWDED
            if bucket.add_node(contact):
                # It may have waited for this seat under another address: left there, it would succeed itself when dead.
                bucket.replacement_nodes.pop(contact.id, None)
                self._count(contact, 1)
                self._by_key[contact.key] = contact
                return Offer.ADDED
            # Split only around our own id (Kademlia paper, section 2.4).
            if bucket.width == 0 or not bucket.low <= self.own_id <= bucket.range[1]:
                return Offer.FULL
            bucket.replacement_nodes.pop(contact.id, None)
            self._split(bucket)

    def _split(self, bucket: Bucket) -> None:
        one, two = bucket.split()
        far, near = (two, one) if self.own_id < two.low else (one, two)
        self.buckets[-1:] = [far, near]
        self._promote(far)
        self._promote(near)

    def discard(self, contact: Contact) -> Contact | None:
        """Take a contact out. Returns the replacement that took its place, if any."""
        if self._by_key.get(contact.key) != contact:
            self.bucket_of(contact.long_id).replacement_nodes.pop(contact.id, None)
            return None
        return self._promote(self._take_out(contact))

    def _take_out(self, contact: Contact) -> Bucket:
        bucket = self.bucket_of(contact.long_id)
        del bucket.nodes[contact.id]
        del self._by_key[contact.key]
        self.suspects.discard(contact.key)
        self._count(contact, -1)
        return bucket

    def _promote(self, bucket: Bucket) -> Contact | None:
        """Fill the room in `bucket` with its newest replacements; return the last one that moved up."""
        promoted = None
        while bucket.replacement_nodes and len(bucket.nodes) < self.ksize:
            _, replacement = bucket.replacement_nodes.popitem()
            if replacement.key not in self._by_key and not self._crowded(replacement, bucket):
                bucket.nodes[replacement.id] = replacement
                self._count(replacement, 1)
                self._by_key[replacement.key] = replacement
                self.promoted += 1
                promoted = replacement
        return promoted

    def oldest(self, long_id: int) -> Contact | None:
        """The least recently seen contact of the bucket that `long_id` falls into."""
        return next(iter(self.bucket_of(long_id).nodes.values()), None)

    def has_room(self, contact: Contact) -> bool:
        """Whether `contact` would be new and would fit, so that asking it is worth a datagram."""
        if contact.key in self._by_key or contact.long_id == self.own_id:
            return False
        bucket = self.bucket_of(contact.long_id)
        open_range = bucket.low <= self.own_id <= bucket.range[1]
        return (len(bucket) < self.ksize or open_range) and not self._crowded(contact, bucket)

    def neighbours(self, target: int, count: int, *, suspects: bool = False) -> list[Contact]:
        """The `count` contacts nearest to `target` by XOR, nearest first: exact. Suspects only when asked for."""
        buckets = self.buckets
        index = min(ID_BITS - (target ^ self.own_id).bit_length(), len(buckets) - 1)
        found = list(buckets[index].nodes.values())
        shunned = self.suspects if not suspects else ()
        # What shares more bits with us than the target does is all nearer to it than what shares fewer.
        if len(found) - len(shunned) < count:
            for bucket in buckets[index + 1 :]:
                found += bucket.nodes.values()
        while index and len(found) - len(shunned) < count:
            index -= 1
            found += buckets[index].nodes.values()
        if shunned:
            found = [node for node in found if node.key not in shunned]
        # Ids are unique in a table, and sorting bare integers costs half of sorting by a key.
        by_distance = {node.long_id ^ target: node for node in found}
        return [by_distance[distance] for distance in sorted(by_distance)[:count]]

    def reach(self, count: int) -> int:
        """Distance from our own id to the `count`-th nearest contact; 0 with fewer. The table is best around ourselves,
        so this follows the growth of the network by itself."""
        near = self.neighbours(self.own_id, count)
        return near[-1].long_id ^ self.own_id if len(near) == count else 0

    def stale_buckets(self, before: float) -> list[Bucket]:
        """Buckets nobody looked into since `before` (Unix seconds)."""
        return [bucket for bucket in self.buckets if bucket.refreshed < before]

    def touch(self, target: int, now: float) -> None:
        """Note that a look-up went into the bucket of `target`."""
        self.bucket_of(target).refreshed = now

    def rebuilt(self, own_id: int, now: float) -> Table:
        """The same contacts around another id of ours."""
        table = Table(own_id, self._config, now)
        for contact in self:
            table.offer(contact)
        table.suspects = self.suspects & table._by_key.keys()
        return table

    def _crowded(self, contact: Contact, bucket: Bucket) -> bool:
        # Exempt addresses are not counted.
        in_table = self._prefixes.get(contact.prefix, 0)
        if not in_table or contact.exempt:
            return False
        if in_table >= self._config.table_prefix_limit:
            return True
        if in_table < self._config.bucket_prefix_limit:
            return False
        same = sum(node.prefix == contact.prefix for node in bucket.nodes.values())
        return same >= self._config.bucket_prefix_limit

    def _count(self, contact: Contact, step: int) -> None:
        if not contact.exempt:
            count = self._prefixes.get(contact.prefix, 0) + step
            if count:
                self._prefixes[contact.prefix] = count
            else:
                del self._prefixes[contact.prefix]


def diverse(contacts: list[Contact], count: int, limit: int) -> list[Contact]:
    """The first `count` of `contacts`, at most `limit` of one /24 or /48 (private addresses not counted)."""
    chosen: list[Contact] = []
    seen: dict[bytes, int] = {}
    for contact in contacts:
        if len(chosen) == count:
            break
        if not contact.exempt:
            seen[contact.prefix] = seen.get(contact.prefix, 0) + 1
            if seen[contact.prefix] > limit:
                continue
        chosen.append(contact)
    return chosen
