"""Who of a topic is known, whom a member connects to, and when it announces itself and looks for others.

Decides times, numbers and choice. Refuses to know how anything is announced, read or dialled: it says what is due, and
is told what came of it. Strangers may announce under any topic, so whoever is known is a candidate and no more.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from dht.errors import DecodeError
from dht.identity import PublicKey
from dht.limits import RateLimiter
from dht.records import RecordRefused, decode_record, verify_record
from node.protocols.topic_messages import MAX_RECORDS, TopicRefusal
from node.protocols.topics import SHARDS, Announcement, AnnouncementFlags, TopicKey

MAX_KNOWN: Final = 512
"""Members remembered of one topic: bounds what a flood of announcements takes. UNSOURCED: 0.2 MB"""

PER_SOURCE: Final = 32
"""Of them, those that one neighbour named: it cannot fill the list with its own. UNSOURCED"""

DIALS_AT_ONCE: Final = 3
"""Members dialled at the same time. UNSOURCED"""

DIALS_A_MINUTE: Final = 20.0
"""Bounds the work that made-up announcements cause: a look-up each. UNSOURCED"""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 600.0
"""Seconds between look-ups while there are too few neighbours, doubling; the longest also while there are enough, for
who looks never again stays in its corner when a topic splits. UNSOURCED"""

FIRST_RETRY, LONGEST_RETRY = 30.0, 3600.0
"""Seconds until a member that was not reached is dialled again, doubling. UNSOURCED"""

DEAD_AFTER: Final = 3
"""Dials in vain until an announcement counts as dead; a newer one of the same owner counts anew. UNSOURCED"""

ANNOUNCE_RETRY, LONGEST_ANNOUNCE_RETRY = 5.0, 300.0
"""Seconds until an announcement that too few stored is made again, doubling. As for records of an app's own."""

JITTER: Final = 0.2
"""Part by which pauses are longer or shorter, so that members that began together do not stay together. UNSOURCED"""

CROWDED: Final = 64
"""Announcements found at the first place from which on further ones are read: half of what it holds."""

SHARE_EVERY: Final = 300.0
"""Seconds between two times that a neighbour is told of others. UNSOURCED"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersConfig:
    """How many neighbours, and how often announced."""

    target: int = 6
    """Neighbours a member looks for: a random graph of degree 6 hangs together with 10,000 nodes (Erdős-Rényi: more
    than ln n = 9.2 between them, and each is found by others as well)."""
    most: int = 12
    """Neighbours it takes: twice what it looks for."""
    announce_every: float = 900.0
    """Seconds between announcements, which live for twice that and a minute: who dies is forgotten in half an hour."""

    @property
    def lifetime(self) -> float:
        """Seconds an announcement lives."""
        return 2 * self.announce_every + 60.0


@dataclass(frozen=True, slots=True)
class AnnounceNow:
    """Announce at these places (0 is the first)."""

    flags: AnnouncementFlags
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LookUpNow:
    """Read these places."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DialNow:
    """Connect to this member."""

    peer: PublicKey
    needy: bool
    """Whether we have fewer than two neighbours."""


Decision = AnnounceNow | LookUpNow | DialNow


@dataclass(slots=True)
class Known:
    """A member as its announcement has it, and what we found of it."""

    announcement: Announcement
    heard: float
    source: PublicKey | None
    """The neighbour that named it; None when it was read in the DHT, or came to us itself."""
    failures: int = 0
    retry_at: float = 0.0
    dead: bool = False
    """Not dialled until there is a newer announcement."""


@dataclass(slots=True)
class MembersCounters:
    """What there is to know."""

    announced: int = 0
    looked_up: int = 0
    dialled: int = 0
    dead: int = 0
    crowded_out: int = 0
    """Announcements that were left out because too many were known."""


class TopicMembers:
    """The members of one topic that one member knows."""

    def __init__(
        self,
        own: PublicKey,
        key: TopicKey,
        own_shard: int,
        now: float,
        rng: random.Random,
        config: MembersConfig | None = None,
    ) -> None:
        """`own_shard`: the further place of our announcements, where the first one is full."""
        self._own = own
        self._key = key
        self._own_shard = own_shard
        self._rng = rng
        self.config = config or MembersConfig()
        self._known: dict[PublicKey, Known] = {}
        self._neighbours: set[PublicKey] = set()
        self._dialling: set[PublicKey] = set()
        self._limit = RateLimiter(DIALS_A_MINUTE / 60.0, DIALS_A_MINUTE)
        self._announce_at: float | None = now
        self._announce_retry = ANNOUNCE_RETRY
        self._spilt = False
        self._look_up_at: float | None = now
        self._pause = FIRST_PAUSE
        self._crowded = False
        self._dial_at: float | None = None
        self.counters = MembersCounters()

    @property
    def neighbours(self) -> frozenset[PublicKey]:
        """Those connected."""
        return frozenset(self._neighbours)

    @property
    def known(self) -> tuple[PublicKey, ...]:
        """Everybody who is announced, and not known to be dead."""
        return tuple(peer for peer, one in self._known.items() if not one.dead)

    @property
    def needy(self) -> bool:
        """Whether we are about to lose the topic."""
        return len(self._neighbours) < 2

    @property
    def full(self) -> bool:
        """Whether no further neighbour is taken."""
        return len(self._neighbours) >= self.config.most

    # What is due

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to say."""
        return min((at for at in (self._announce_at, self._look_up_at, self._dial_at) if at is not None), default=None)

    def handle_timer(self, now: float) -> list[Decision]:
        """What is to be done now."""
        due: list[Decision] = []
        if self._announce_at is not None and self._announce_at <= now:
            self._announce_at = None
            flags = AnnouncementFlags.FULL if self.full else AnnouncementFlags(0)
            due.append(AnnounceNow(flags, (0, self._own_shard) if self._spilt else (0,)))
            self.counters.announced += 1
        if self._look_up_at is not None and self._look_up_at <= now:
            self._look_up_at = None
            further = self._rng.sample(range(1, SHARDS + 1), 2) if self._crowded else []
            due.append(LookUpNow((0, *further)))
            self.counters.looked_up += 1
        due += self._dials(now)
        return due

    def _dials(self, now: float) -> list[Decision]:
        self._dial_at = None
        wanted = min(
            self.config.target - len(self._neighbours) - len(self._dialling), DIALS_AT_ONCE - len(self._dialling)
        )
        if wanted <= 0:
            return []
        candidates = self._candidates(now)
        self._rng.shuffle(candidates)
        full = AnnouncementFlags.FULL
        candidates.sort(key=lambda one: (one.failures, full in one.announcement.flags, one.source is not None))
        dials: list[Decision] = []
        for one in candidates[:wanted]:
            if not self._limit.allow("dials", now):
                break
            self._dialling.add(one.announcement.member)
            self.counters.dialled += 1
            dials.append(DialNow(one.announcement.member, self.needy))
        waiting = [one.retry_at for one in self._known.values() if one.retry_at > now and not one.dead]
        if len(dials) < wanted and len(dials) < len(candidates):
            self._dial_at = now + 60.0 / DIALS_A_MINUTE
        elif len(dials) < wanted and waiting:
            self._dial_at = min(waiting)
        return dials

    def _candidates(self, now: float) -> list[Known]:
        return [
            one
            for peer, one in self._known.items()
            if not one.dead
            and one.retry_at <= now
            and one.announcement.record.expires > now
            and peer not in self._neighbours
            and peer not in self._dialling
        ]

    # What came of it

    def announced(self, stored: int, needed: int, full: int, now: float, *, wait: float = 0.0) -> None:
        """An announcement was stored by `stored` of `needed` nodes; `full` had no room; others take it after `wait`."""
        if full > stored and not self._spilt:
            self._spilt = True
            self._announce_at = now  # The further place has room, most likely.
        elif wait and stored < needed:
            self._announce_at = now + wait
        elif stored >= max(1, needed) or (self._spilt and stored):
            self._announce_retry = ANNOUNCE_RETRY
            self._announce_at = now + self._jittered(self.config.announce_every)
        else:
            self._announce_at = now + self._jittered(self._announce_retry)
            self._announce_retry = min(2 * self._announce_retry, LONGEST_ANNOUNCE_RETRY)

    def found(self, announcements: Iterable[Announcement], now: float) -> None:
        """A look-up has ended, and brought these."""
        heard = list(announcements)
        self._crowded = len(heard) >= CROWDED
        # All of a crowd would push one another out: a handful of each time is enough, and each time another one.
        if len(heard) > MAX_KNOWN // 4:
            heard = self._rng.sample(heard, MAX_KNOWN // 4)
        self.learn(heard, None, now)
        missing = self.config.target - len(self._neighbours)
        enough = missing <= 0 or len(self._candidates(now)) + len(self._dialling) >= missing
        self._look_up_at = now + self._jittered(LONGEST_PAUSE if enough else self._pause)
        self._pause = FIRST_PAUSE if missing <= 0 else min(2 * self._pause, LONGEST_PAUSE)
        self._dial_at = now

    def learn(self, announcements: Iterable[Announcement], source: PublicKey | None, now: float) -> None:
        """Take in announcements, each checked before; `source` is the neighbour that named them."""
        for said in announcements:
            member = said.member
            if member == self._own or said.record.expires <= now:
                continue
            known = self._known.get(member)
            if AnnouncementFlags.LEAVING in said.flags:
                if known is not None and said.record.seq > known.announcement.record.seq:
                    known.announcement, known.dead = said, True
                continue
            if known is None:
                if self._room_for(source):
                    self._known[member] = Known(said, now, source)
                else:
                    self.counters.crowded_out += 1
            elif said.record.seq > known.announcement.record.seq:
                self._known[member] = Known(said, now, known.source if source is not None else None)
            else:
                known.heard = now
                if source is None:
                    known.source = None
        self._dial_at = now

    def _room_for(self, source: PublicKey | None) -> bool:
        if source is not None and sum(one.source == source for one in self._known.values()) >= PER_SOURCE:
            return False
        if len(self._known) < MAX_KNOWN:
            return True
        # The dead go first, then hearsay; what was read in the DHT makes room for what is read there later.
        spare = [peer for peer in self._known if peer not in self._neighbours and peer not in self._dialling]
        worst = min(
            spare,
            key=lambda peer: (
                not self._known[peer].dead,
                self._known[peer].source is None,
                -self._known[peer].failures,
                self._known[peer].heard,
            ),
            default=None,
        )
        if worst is None or (source is not None and not self._known[worst].dead and self._known[worst].source is None):
            return False
        del self._known[worst]
        return True

    def linked(self, peer: PublicKey) -> None:
        """A neighbour: it was dialled, or it came."""
        self._dialling.discard(peer)
        self._neighbours.add(peer)
        known = self._known.get(peer)
        if known is not None:
            known.failures, known.retry_at, known.dead = 0, 0.0, False

    def unlinked(self, peer: PublicKey, reason: TopicRefusal, now: float) -> None:
        """A neighbour no longer."""
        was_enough = len(self._neighbours) >= self.config.target
        self._neighbours.discard(peer)
        self._judge(peer, reason, now)
        self._short(now, again=was_enough)

    def failed(self, peer: PublicKey, now: float) -> None:
        """It was dialled in vain."""
        self._dialling.discard(peer)
        known = self._known.get(peer)
        if known is not None:
            known.retry_at = now + self._jittered(min(FIRST_RETRY * 2**known.failures, LONGEST_RETRY))
            known.failures += 1
            if known.failures >= DEAD_AFTER:
                known.dead = True
                self.counters.dead += 1
        self._short(now, again=False)

    def settled(self, peer: PublicKey, now: float) -> None:
        """A dial has ended, however it did."""
        self._dialling.discard(peer)
        known = self._known.get(peer)
        if known is not None and peer not in self._neighbours:
            known.retry_at = max(known.retry_at, now + 1.0)

    def refused(self, peer: PublicKey, reason: TopicRefusal, now: float) -> None:
        """It was reached, and would not."""
        self._dialling.discard(peer)
        self._judge(peer, reason, now)
        self._short(now, again=False)

    def _judge(self, peer: PublicKey, reason: TopicRefusal, now: float) -> None:
        known = self._known.get(peer)
        if known is None:
            return
        if reason in (TopicRefusal.NOT_MEMBER, TopicRefusal.LEAVING, TopicRefusal.OTHER_APP):
            known.dead = True
        elif reason in (TopicRefusal.FULL, TopicRefusal.MADE_ROOM, TopicRefusal.TOO_SLOW, TopicRefusal.RATE):
            known.retry_at = now + self._jittered(120.0 if not self.needy else 20.0)
        else:
            known.retry_at = now + self._rng.uniform(1.0, 4.0)

    def _short(self, now: float, *, again: bool) -> None:
        """There may be too few now: dial, and look again where nobody is left to dial."""
        self._dial_at = now if self._dial_at is None else min(now, self._dial_at)
        if again:
            self._pause = FIRST_PAUSE
        missing = self.config.target - len(self._neighbours) - len(self._dialling)
        if missing > 0 and len(self._candidates(now)) < missing and self._look_up_at is not None:
            self._look_up_at = min(self._look_up_at, now + self._jittered(self._pause))

    # Others, for others

    def share(self, but: PublicKey, now: float) -> tuple[bytes, ...]:
        """Announcements for a neighbour, those of our own neighbours first."""
        fresh = [
            one
            for peer, one in self._known.items()
            if peer != but and not one.dead and not one.failures and one.announcement.record.expires > now + 60.0
        ]
        self._rng.shuffle(fresh)
        fresh.sort(key=lambda one: one.announcement.member not in self._neighbours)
        return tuple(one.announcement.record.raw for one in fresh[:MAX_RECORDS])

    def read(self, records: Iterable[bytes], now: float) -> list[Announcement]:
        """Announcements that a neighbour handed on, those that hold; a stranger's bytes never raise."""
        places = {self._key.place(shard) for shard in range(SHARDS + 1)}
        read = []
        for raw in records:
            try:
                unverified = decode_record(raw)
                if unverified.place not in places:
                    continue
                read.append(self._key.read(verify_record(unverified, now)))
            except (RecordRefused, DecodeError):
                continue
        return read

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)
