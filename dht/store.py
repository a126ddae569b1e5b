"""Others' records that this node holds, in bounded memory: quotas, expiry, eviction.

Takes only verified records. Knows no requests and no network; the responder asks, the journal listens to events.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from dht.config import DhtConfig
from dht.records import Kind, Refusal, SignedRecord, check_replaces


@dataclass(slots=True)
class Held:
    """A record in the store."""

    record: SignedRecord
    expires: float
    prefix: bytes
    """/24 or /48 it came from; empty for none to count against."""
    refreshed: float
    """When it was last stored, by whomever: holders repair only what nobody has refreshed."""


class Store:
    """Records by place, then owner."""

    def __init__(self, own_id: int, config: DhtConfig) -> None:
        self._config = config
        self._own_id = own_id
        self._places: dict[bytes, dict[bytes, Held]] = {}
        self._count = 0
        self._bytes = 0
        self._owners: dict[bytes, int] = {}
        self._prefixes: dict[bytes, int] = {}
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

    def move(self, own_id: int) -> None:
        """Our id has changed."""
        self._own_id = own_id
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
    ) -> tuple[Refusal, list[SignedRecord]]:
        """Store or refresh a record. Returns why not (`NONE` when stored), and the records pushed out for it."""
        expires = float(record.expires) if expires is None else min(expires, record.expires)
        old = self.held(record.place, record.owner)
        if old is not None and old.expires <= now:
            self._remove(old)
            old = None
        refusal = check_replaces(record, old.record if old else None, expected_seq)
        if refusal is not Refusal.NONE:
            return refusal, []
        if old is not None and old.record.raw == record.raw:
            old.refreshed = now
            old.expires = max(old.expires, expires)
            self._push_deadline(old)
            return Refusal.NONE, []
        if old is None:
            refusal = self._over_quota(record, prefix)
            if refusal is not Refusal.NONE:
                return refusal, []
        dropped: list[SignedRecord] = []
        if old is not None:
            self._remove(old)
        while self.full:
            farthest = self._farthest()
            if farthest is None or self._distance(farthest.record.place) <= self._distance(record.place):
                return Refusal.FULL, dropped
            self._remove(farthest)
            dropped.append(farthest.record)
        self._add(Held(record, expires, prefix, now))
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

    def _over_quota(self, record: SignedRecord, prefix: bytes) -> Refusal:
        config = self._config
        if record.owner and self._owners.get(record.owner, 0) >= config.owner_quota:
            return Refusal.OWNER_QUOTA
        if prefix and self._prefixes.get(prefix, 0) >= config.prefix_quota:
            return Refusal.PREFIX_QUOTA
        if record.kind is Kind.TOPIC and len(self._places.get(record.place, ())) >= config.topic_quota:
            return Refusal.FULL
        return Refusal.NONE

    def _add(self, entry: Held) -> None:
        record = entry.record
        self._places.setdefault(record.place, {})[record.owner] = entry
        self._count += 1
        self._bytes += len(record.raw)
        if record.owner:
            self._owners[record.owner] = self._owners.get(record.owner, 0) + 1
        if entry.prefix:
            self._prefixes[entry.prefix] = self._prefixes.get(entry.prefix, 0) + 1
        self._push_deadline(entry)
        heapq.heappush(self._by_distance, (-self._distance(record.place), record.place, record.owner))
        if len(self._by_distance) > 64 + 2 * self._count:
            self._rank()

    def _remove(self, entry: Held) -> None:
        record = entry.record
        place = self._places[record.place]
        del place[record.owner]
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

    def _farthest(self) -> Held | None:
        while self._by_distance:
            _, place, owner = self._by_distance[0]
            entry = self.held(place, owner)
            if entry is not None:
                return entry
            heapq.heappop(self._by_distance)
        return None

    def _rank(self) -> None:
        self._by_distance = [(-self._distance(e.record.place), e.record.place, e.record.owner) for e in self.entries()]
        heapq.heapify(self._by_distance)

    def _distance(self, place: bytes) -> int:
        return int.from_bytes(place, "big") ^ self._own_id


def _count_down(counts: dict[bytes, int], key: bytes) -> None:
    if key in counts:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
