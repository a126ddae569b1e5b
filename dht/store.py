"""Others' records that this node holds, in bounded memory: quotas, expiry, eviction.

Takes only verified records. Knows no requests and no network; the responder asks, the journal listens to events.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter

from dht.config import DhtConfig
from dht.limits import waiting_time
from dht.records import Kind, Refusal, SignedRecord, check_replaces, fingerprint


@dataclass(slots=True)
class Held:
    """A record in the store."""

    record: SignedRecord
    expires: float
    prefix: bytes
    """/24 or /48 it came from; empty for none to count against."""
    refreshed: float
    """When it was last stored or compared, by whomever: holders see only to what nobody has seen to."""
    compared: float
    """When we compared it with its other holders ourselves, or first held it."""
    print: bytes
    """Its fingerprint."""
    number: int
    """Its place as an integer."""
    via: int = 0
    """The families over which it was stored here (`wire.WANT_V4`, `wire.WANT_V6`); 0 where nobody else did."""


class Store:
    """Records by place, then owner."""

    def __init__(self, own_id: int, config: DhtConfig) -> None:
        self._config = config
        self._own_ids: tuple[int, ...] = (own_id,)
        self._places: dict[bytes, dict[bytes, Held]] = {}
        self._count = 0
        self._bytes = 0
        self._owners: dict[bytes, int] = {}
        self._prefixes: dict[bytes, int] = {}
        self._prints: dict[bytes, Held] = {}
        self._deadlines: list[tuple[float, bytes, bytes]] = []
        self._by_distance: list[tuple[int, bytes, bytes]] = []
        """A heap, farthest first; what was removed is skipped when it comes up."""

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes of all records held."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether a new record must push another out; tokens are withheld then."""
        return self._count >= self._config.store_max_records or self._bytes >= self._config.store_max_bytes

    def move(self, *own_ids: int) -> None:
        """Our ids have changed: one a family."""
        self._own_ids = own_ids
        self._rank()

    def get(self, place: bytes, now: float) -> list[SignedRecord]:
        """The records at a place that have not expired."""
        held = self._places.get(place)
        if held is None:
            return []
        return [entry.record for entry in held.values() if entry.expires > now]

    def held(self, place: bytes, owner: bytes) -> Held | None:
        """The entry of one owner at a place."""
        return self._places.get(place, {}).get(owner)

    def by_print(self, fingerprint: bytes, now: float) -> Held | None:
        """The entry with that fingerprint, unless it has expired."""
        held = self._prints.get(fingerprint)
        return held if held is not None and held.expires > now else None

    def entries(self) -> list[Held]:
        """Everything held."""
        return [entry for place in self._places.values() for entry in place.values()]

    def put(
        self,
        record: SignedRecord,
        now: float,
        *,
        expires: float | None = None,
        prefix: bytes = b"",
        expected_seq: int | None = None,
        waited: float = math.inf,
        via: int = 0,
    ) -> tuple[Refusal, list[SignedRecord]]:
        """Store or refresh a record. Returns why not (`NONE` when stored), and the records that went: those
        pushed out for it, and what it found expired in its place. `waited`: for how many seconds its sender has; `via`:
        the family it came over."""
        expires = float(record.expires) if expires is None else min(expires, record.expires)
        if expires <= now:
            return Refusal.EXPIRED, []
        old = self.held(record.place, record.owner)
        dropped: list[SignedRecord] = []
        if old is not None and old.expires <= now:
            self._remove(old)
            dropped.append(old.record)
            old = None
        refusal = check_replaces(record, old.record if old else None, expected_seq)
        if refusal is not Refusal.NONE:
            return refusal, dropped
        if old is not None and old.record.raw == record.raw:
            old.refreshed = now
            old.via |= via
            old.expires = max(old.expires, expires)
            self._push_deadline(old)
            return Refusal.NONE, dropped
        gives_way = old
        if old is None:
            refusal, gives_way = self._admit(record, prefix, waited)
            if refusal is not Refusal.NONE:
                return refusal, dropped
        else:
            # It counts for the network that let it in: else who has two could fill a place by way of both.
            prefix = old.prefix
        victims = self._victims(record, gives_way)
        if victims is None:
            return Refusal.FULL, dropped
        if gives_way is not None and old is None:
            victims.append(gives_way)
        for victim in victims:
            self._remove(victim)
            dropped.append(victim.record)
        if old is not None:
            self._remove(old)
        number = int.from_bytes(record.place, "big")
        self._add(Held(record, expires, prefix, now, now, fingerprint(record.raw), number, via))
        return Refusal.NONE, dropped

    def expire(self, now: float) -> list[SignedRecord]:
        """Drop what has expired by `now` and return it."""
        dropped = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, place, owner = heapq.heappop(self._deadlines)
            entry = self.held(place, owner)
            if entry is not None and entry.expires <= now:
                self._remove(entry)
                dropped.append(entry.record)
        return dropped

    def next_expiry(self) -> float | None:
        """When `expire` is worth calling again."""
        return self._deadlines[0][0] if self._deadlines else None

    def waiting(self, place: bytes, prefix: bytes) -> float:
        """Seconds for which somebody new from a /24 or /48 has to have asked, to announce at a place now."""
        announced = self._places.get(place, {})
        near = sum(entry.prefix == prefix for entry in announced.values()) if prefix else 0
        return self._waiting(len(announced), near, prefix)

    def _waiting(self, announced: int, near: int, prefix: bytes) -> float:
        config = self._config
        return waiting_time(
            base=config.topic_wait,
            topic=announced / config.topic_quota,
            store=max(self._count / config.store_max_records, self._bytes / config.store_max_bytes),
            network=self._prefixes.get(prefix, 0) / config.prefix_quota,
            near=near,
        )

    def _admit(self, record: SignedRecord, prefix: bytes, waited: float) -> tuple[Refusal, Held | None]:
        """Whether a record of somebody new is taken; and which announcement gives way to it where its topic is full."""
        config = self._config
        if record.owner and self._owners.get(record.owner, 0) >= config.owner_quota:
            return Refusal.OWNER_QUOTA, None
        if prefix and self._prefixes.get(prefix, 0) >= config.prefix_quota:
            return Refusal.PREFIX_QUOTA, None
        if record.kind is not Kind.TOPIC:
            return Refusal.NONE, None
        announced = self._places.get(record.place, {})
        networks = Counter(entry.prefix for entry in announced.values() if entry.prefix)
        near = networks[prefix] if prefix else 0
        if near >= config.topic_prefix_quota:
            return Refusal.PREFIX_QUOTA, None
        gives_way = None
        if len(announced) >= config.topic_quota:
            # Whichever network has most makes room for one that has less (longest queue drop; Suter and others, 1998).
            greediest, most = max(networks.items(), key=itemgetter(1), default=(b"", 0))
            if most <= near + 1:
                return Refusal.FULL, None
            gives_way = next(entry for entry in reversed(announced.values()) if entry.prefix == greediest)
        wait = self._waiting(len(announced), near, prefix)
        if wait > config.token_rotation:
            return Refusal.PREFIX_QUOTA, None
        return (Refusal.WAIT, None) if waited < wait else (Refusal.NONE, gives_way)

    def _add(self, entry: Held) -> None:
        record = entry.record
        self._places.setdefault(record.place, {})[record.owner] = entry
        self._prints[entry.print] = entry
        self._count += 1
        self._bytes += len(record.raw)
        if record.owner:
            self._owners[record.owner] = self._owners.get(record.owner, 0) + 1
        if entry.prefix:
            self._prefixes[entry.prefix] = self._prefixes.get(entry.prefix, 0) + 1
        self._push_deadline(entry)
        self._push_distance(record.place, record.owner)

    def _remove(self, entry: Held) -> None:
        record = entry.record
        place = self._places[record.place]
        del place[record.owner]
        if self._prints.get(entry.print) is entry:
            del self._prints[entry.print]
        if not place:
            del self._places[record.place]
        self._count -= 1
        self._bytes -= len(record.raw)
        _count_down(self._owners, record.owner)
        _count_down(self._prefixes, entry.prefix)

    def _push_deadline(self, entry: Held) -> None:
        heapq.heappush(self._deadlines, (entry.expires, entry.record.place, entry.record.owner))
        if len(self._deadlines) > 64 + 4 * self._count:
            # Refreshes leave dead entries behind; a flood of them must not grow memory.
            self._deadlines = [(e.expires, e.record.place, e.record.owner) for e in self.entries()]
            heapq.heapify(self._deadlines)

    def _victims(self, record: SignedRecord, old: Held | None) -> list[Held] | None:
        """Who must go, farthest first, so that `record` has room in the place of `old`; None where they are nearer."""
        count, size = self._count, self._bytes
        if old is not None:
            count, size = count - 1, size - len(old.record.raw)
        limit = self._distance(record.place)
        heap = self._by_distance
        victims: dict[tuple[bytes, bytes], Held] = {}
        while count >= self._config.store_max_records or size >= self._config.store_max_bytes:
            if not heap or -heap[0][0] <= limit:
                for place, owner in victims:
                    self._push_distance(place, owner)
                return None
            _, place, owner = heapq.heappop(heap)
            entry = self.held(place, owner)
            if entry is not None and (place, owner) not in victims:
                victims[place, owner] = entry
                count, size = count - 1, size - len(entry.record.raw)
        return list(victims.values())

    def _push_distance(self, place: bytes, owner: bytes) -> None:
        heapq.heappush(self._by_distance, (-self._distance(place), place, owner))
        if len(self._by_distance) > 64 + 2 * self._count:
            self._rank()

    def _rank(self) -> None:
        self._by_distance = [(-self._distance(e.record.place), e.record.place, e.record.owner) for e in self.entries()]
        heapq.heapify(self._by_distance)

    def _distance(self, place: bytes) -> int:
        number = int.from_bytes(place, "big")
        return min([number ^ own_id for own_id in self._own_ids])


def _count_down(counts: dict[bytes, int], key: bytes) -> None:
    if key in counts:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
