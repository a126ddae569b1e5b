"""A topic's places in the DHT: announcing a member there, withdrawing it, and reading who else is.

Decides sequence numbers, and under which key a member of a private topic announces. Refuses to know when.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dht.errors import DecodeError
from dht.events import GetDone, PutDone, Receipt
from dht.identity import IdentityKey
from dht.records import Kind, Refusal, SignedRecord
from node.protocols.topic_members import AnnounceNow, LookUpNow
from node.protocols.topics import Announcement, AnnouncementFlags, TopicKey

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

WITHDRAWN_FOR: Final = 120.0
"""Seconds that the word of our leaving lives. Who missed it has an announcement that nobody answers to. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class Announced:
    """What came of announcing."""

    stored: int
    """Nodes that hold it, at the place where most do."""
    needed: int
    asked: int
    full: int
    """Nodes that had no room."""
    wait: float
    """Seconds after which enough of those that ask us to wait would take it; 0 without any."""


class TopicPlaces:
    """One member's way to the places of one topic."""

    def __init__(self, identity: IdentityKey, driver: Driver[DhtEngine], rng: random.Random, key: TopicKey) -> None:
        self._identity = identity
        self._driver = driver
        self._rng = rng
        self._key = key
        # In a private topic a key made for this alone: holders see announcements, not whose.
        self._owner = IdentityKey.from_seed(rng.randbytes(32)) if key.is_private else identity
        self._seq = 0
        self._shards: tuple[int, ...] = ()
        self.stored = 0
        """Nodes that hold our last announcement."""

    @property
    def own_shard(self) -> int:
        """The further place of our announcements."""
        return self._key.shard_of(self._owner.public.raw)

    async def announce(self, decision: AnnounceNow, lifetime: float) -> Announced:
        """Announce, at each place of the decision."""
        expires = self._driver.now() + lifetime
        receipts = await self._put(decision.shards, decision.flags, expires)
        self._shards = decision.shards
        best = max(receipts, key=lambda receipt: receipt.stored)
        self.stored = best.stored
        full = sum(
            verdict.refusal in (Refusal.FULL, Refusal.PREFIX_QUOTA)
            for receipt in receipts
            for verdict in receipt.verdicts
        )
        return Announced(best.stored, best.needed, len(best.verdicts), full, best.wait)

    async def withdraw(self) -> None:
        """Say at each place that we have left."""
        await self._put(self._shards, AnnouncementFlags.LEAVING, self._driver.now() + WITHDRAWN_FOR)

    async def look_up(self, decision: LookUpNow) -> list[Announcement]:
        """Who is announced there, as far as it is well said."""
        found = []
        for shard in decision.shards:
            for record in (await self._get(self._key.place(shard))).records:
                if record.kind is Kind.TOPIC:
                    with contextlib.suppress(DecodeError):
                        found.append(self._key.read(record))
        return found

    async def _get(self, place: bytes) -> GetDone:
        return await self._driver.run(lambda engine, now: engine.get(place, now), GetDone)

    async def _put(self, shards: Sequence[int], flags: AnnouncementFlags, expires: float) -> list[Receipt]:
        records = [self._announcement(shard, flags, expires) for shard in shards]
        done = await self._driver.run_many(lambda engine, now: engine.put_many(records, now), PutDone)
        return [each.receipt for each in done]

    def _announcement(self, shard: int, flags: AnnouncementFlags, expires: float) -> SignedRecord:
        # Milliseconds: one who comes back within a second is told from one who left.
        self._seq = max(self._seq + 1, int(self._driver.now() * 1000))
        return self._key.announce(
            self._identity,
            self._owner,
            flags,
            shard=shard,
            seq=self._seq,
            expires=expires,
            nonce=self._rng.randbytes(24),
        )
