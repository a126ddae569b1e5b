"""Keeping copies of records where they belong while their publishers are away.

Holders compare what they have: one names its records, eight bytes each, to whoever else should hold them (HAVE), is
told what they lack (WANT), and stores just that with them. Upkeep costs a few bytes a record while nothing is missing.

1. A record is due when nobody has compared it for an interval. Jitter lets one of its twenty holders do it; the others
   see that they were asked and wait in turn (Kademlia paper, section 2.5), but not for ever: who only claims to look
   after a record must not keep the others from doing it.
2. What is due soon comes along, so that a datagram carries many records.
3. The interval follows what is found missing: nodes that come and go fast are compared with often.
4. Who newly comes near is given what belongs to it by the three holders nearest to each record.

Refuses to know how records are read and written for an application.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from dht.config import DhtConfig
from dht.constants import MAX_PRINTS
from dht.contact import Contact
from dht.family import Family
from dht.operation import Context, Operation
from dht.publish import replica_width
from dht.records import Refusal
from dht.requests import Pending
from dht.routing import diverse
from dht.store import Held, Store
from dht.walks import GetWalk
from dht.wire import Have, Message, Put, Stored, Want

EARLY: Final = 0.75
"""Part of the interval after which a record comes along with another that is due. UNSOURCED"""

JITTER: Final = 0.25
"""Mean wait of a holder with a record that is due, in intervals: with twenty waiting, the first one comes soon, and the
others see it. UNSOURCED"""

TRUSTED_ROUNDS: Final = 12.0
"""Intervals for which others' comparisons stand in for our own. Bounds whoever claims to look after a record and lets
it die; each holder's own look costs a twelfth of what it would alone. UNSOURCED"""

OUTSIDER_ROUNDS: Final = 4.0
"""Intervals after which a holder that is no longer among the nearest looks whether the record still lives there: the
nearest may all have come since."""

RICH, POOR = 0.1, 0.2
"""Parts of the copies found missing below which the interval grows, above which it shrinks. Of 20 copies 16 may be read
and written to as if all were there. UNSOURCED"""

GROWTH, SHRINKAGE = 1.2, 0.7
"""What a tick's findings change the interval by. UNSOURCED"""

SLOWEST, FASTEST = 4.0, 16.0
"""The interval stays within its configured value multiplied by the one and divided by the other. UNSOURCED"""

_GAIN: Final = 0.125
"""Weight of one answer in the mean of what is missing: a memory of eight neighbours."""

PUTS_AT_ONCE: Final = 4
"""Records in flight to one node that lacks many: it may be on a thin line. UNSOURCED"""

MOST_A_ROUND: Final = 1024
"""Records compared in one tick: bounds the work of a full store."""

GIVERS: Final = 3
"""Holders nearest to a record that hand it to a newcomer: one may be dead, one stale. UNSOURCED"""

SETTLED_AFTER: Final = (10.0, 60.0)
"""Seconds, from and to, until a newcomer is given what belongs to it: it may be gone again at once, and givers should
not all come in the same second. UNSOURCED"""

MAX_NEWCOMERS: Final = 64
"""Newcomers remembered: bounds a crowd that comes at once; whoever is left out is reached by the interval."""


class CatchUp(GetWalk):
    """Reads what is stored at a place, and holds the newest of it."""

    def report(self, now: float) -> None:
        """Keep what is newer than ours."""
        for record in self.newest:
            if self.context.keep(record, record.expires, None, now) is Refusal.NONE:
                self.context.count("caught_up")


class Compare(Operation):
    """Names records to one node, and stores with it those that it lacks."""

    def __init__(
        self,
        context: Context,
        batch: list[Held],
        on_stale: Callable[[Held, Contact, float], None],
        learn: Callable[[int, int], None] | None = None,
    ) -> None:
        """`on_stale` is told of a copy of ours that is not the newest and of who has a newer one, `learn` how many were
        asked for and missing."""
        super().__init__(context, 0)
        self._on_stale = on_stale
        self._learn = learn
        self._batch = batch
        self._wanted: list[Held] = []
        self._open: dict[int, Held] = {}

    def start(self, contact: Contact, now: float) -> None:
        """Send the HAVE."""
        self.context.count("compared")
        prints = b"".join(held.print for held in self._batch)
        self.context.request(contact, self, Have, (prints,), now, resend=True)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Store what is lacked; a newer copy over there replaces ours."""
        if isinstance(message, Want):
            self._wanted = _chosen(self._batch, message.bits)
            if self._learn is not None:
                self._learn(len(self._batch), len(self._wanted))
        elif isinstance(message, Stored):
            held = self._open.pop(pending.rid, None)
            if held is not None and message.status == Refusal.OLDER:
                self._on_stale(held, pending.contact, now)
        self._store(pending.contact, now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """Of who is silent nothing is learned: the table drops it."""
        if self._open.pop(pending.rid, None) is not None:
            self._store(pending.contact, now)

    def _store(self, contact: Contact, now: float) -> None:
        while self._wanted and len(self._open) < PUTS_AT_ONCE:
            held = self._wanted.pop(0)
            lifetime = max(0, min(int(held.expires - now), 2**32 - 1))
            self.context.count("repairs")
            rid = self.context.request(contact, self, Put, (held.record.raw, lifetime, False), now, resend=True)
            self._open[rid] = held
        self.ended = not self._open


class Repair:
    """Sees to the copies of what one node holds."""

    def __init__(self, context: Context, config: DhtConfig, store: Store, rng: Random) -> None:
        self._context = context
        self._config = config
        self._store = store
        self._rng = rng
        self._newcomers: list[tuple[float, Contact]] = []
        self._stale: set[bytes] = set()
        """Fingerprints of copies that are being replaced: many will say that they are old."""
        self._missing = (RICH + POOR) / 2
        self._learned = False
        self.interval = config.repair_interval
        """Seconds after which a record that nobody has compared is compared again."""

    def tick(self, tick: float, now: float) -> None:
        """Do what is due; called every `tick` seconds."""
        self._adapt()
        self._stale.clear()
        due = self._due(tick, now)
        if due:
            self._spread(due, now)
        if self._newcomers and self._newcomers[0][0] <= now:
            self._welcome(now)

    def on_newcomer(self, contact: Contact, now: float) -> None:
        """A node has come into the table: if it is near, it should hold what we do."""
        family = self._context.families.of(contact.ip, now)
        own = family.own_contact
        if own is None or not len(self._store) or len(self._newcomers) == MAX_NEWCOMERS:
            return
        reach = family.table.reach(2 * self._config.k)
        if not reach or contact.long_id ^ own.long_id < reach:
            self._newcomers.append((now + self._rng.uniform(*SETTLED_AFTER), contact))
            self._newcomers.sort(key=lambda entry: entry[0])

    def _catch_up(self, held: Held, by: Contact, now: float) -> None:
        if held.print not in self._stale:
            self._stale.add(held.print)
            family = self._context.families.of(by.ip, now)
            quorum = self._config.read_quorum
            CatchUp(self._context, 0, held.record.place, now, quorum=quorum, family=family).start(now)

    def _note_missing(self, asked: int, missing: int) -> None:
        self._missing += _GAIN * (missing / asked - self._missing)
        self._learned = True

    def _adapt(self) -> None:
        if not self._learned:
            return
        self._learned = False
        base = self._config.repair_interval
        if self._missing < RICH:
            self.interval = min(self.interval * GROWTH, base * SLOWEST)
        elif self._missing > POOR:
            self.interval = max(self.interval * SHRINKAGE, base / FASTEST)

    def _due(self, tick: float, now: float) -> list[Held]:
        interval = self.interval
        # Drawn once a tick, however many are ripe: holders that share many would all begin at once. And drawn first:
        # a look through the store costs more than all else that a node at rest does.
        if not len(self._store) or self._rng.random() > tick / (interval * JITTER):
            return []
        entries = self._store.entries()
        if not any(self._is_ripe(held, now) for held in entries):
            return []
        soon = [held for held in entries if now - held.refreshed >= EARLY * interval or self._is_ripe(held, now)]
        return soon[:MOST_A_ROUND]

    def _is_ripe(self, held: Held, now: float) -> bool:
        return now - held.refreshed >= self.interval or now - held.compared >= TRUSTED_ROUNDS * self.interval

    def _spread(self, due: list[Held], now: float) -> None:
        """Compare each record with all who should hold it."""
        batches: dict[Contact, list[Held]] = {}
        families = self._context.families.walked
        for held in due:
            others: dict[bytes, Contact] = {}
            for family in families:
                for contact in self._others(held, family, len(families) == 1, now):
                    others.setdefault(contact.key, contact)  # Who has both families holds one copy for both.
            for contact in others.values():
                batches.setdefault(contact, []).append(held)
            if others:
                held.refreshed = held.compared = now
        for contact, batch in batches.items():
            for some in _datagrams(batch):
                Compare(self._context, some, self._catch_up, self._note_missing).start(contact, now)

    def _others(self, held: Held, family: Family, only: bool, now: float) -> list[Contact]:
        """With whom of a family to compare a record. Where it came to us over the other one alone, and our place there
        is far, we know nothing of who should hold it: `dht.bridge` looks for them."""
        others, ours = self._replica_set(held, family)
        outsider = only or held.via & family.bit
        if ours or (outsider and now - held.refreshed >= OUTSIDER_ROUNDS * self.interval):
            return others
        return []

    def _replica_set(self, held: Held, family: Family) -> tuple[list[Contact], bool]:
        """Who else should hold a record, nearest first, and whether we should."""
        config = self._config
        place = held.number
        own = family.own_contact
        width = replica_width(family, config.k, place)
        found = diverse(family.table.neighbours(place, 2 * width), width, config.bucket_prefix_limit)
        if own is None:
            return found, False
        if len(found) < width:
            return found, True
        ours = own.long_id ^ place < found[-1].long_id ^ place
        return (found[:-1] if ours else found), ours

    def _welcome(self, now: float) -> None:
        while self._newcomers and self._newcomers[0][0] <= now:
            _, contact = self._newcomers.pop(0)
            family = self._context.families.of(contact.ip, now)
            own = family.own_contact
            if own is None or family.table.get(contact.key) != contact:
                continue
            batch = [held for held in self._store.entries() if self._gives(held, contact, own, family)]
            # What it lacks for being new says nothing of how fast copies vanish.
            for some in _datagrams(batch[:MOST_A_ROUND]):
                Compare(self._context, some, self._catch_up).start(contact, now)

    def _gives(self, held: Held, newcomer: Contact, own: Contact, family: Family) -> bool:
        """Whether it is on us to hand a record to a newcomer."""
        distance = own.long_id ^ held.number
        near = family.table.neighbours(held.number, self._config.k)
        if newcomer not in near:
            return False
        return sum(contact.long_id ^ held.number < distance for contact in near if contact != newcomer) < GIVERS


def _datagrams(batch: list[Held]) -> list[list[Held]]:
    return [batch[start : start + MAX_PRINTS] for start in range(0, len(batch), MAX_PRINTS)]


def _chosen(batch: list[Held], bits: bytes) -> list[Held]:
    """Those of a batch whose bit is set; bits beyond it, or too few, say nothing."""
    chosen = int.from_bytes(bits, "big")
    length = 8 * len(bits)
    return [held for at, held in enumerate(batch[:length]) if chosen >> (length - 1 - at) & 1]
