"""Carrying records from one family of addresses to the other: so that who has IPv6 alone finds what who has IPv4 alone
has stored.

A holder with both families, to whom a record came over one of them, sees to it that holders of the other have it, too.
1. The holders wait by their rank, the nearest first: most often one finds nothing over there, and stores; those after
   it find the record at the first holder that they ask, and are done with.
2. A record that has come over both needs nobody: its publisher has both families, or somebody was faster.
3. Once over there, copies are kept there as any are, by those that hold them.
4. Where a topic is crowded over there, its holders have everybody new wait: it is tried again when they said, a few
   times, unless one of them has the record by then.

Refuses to know how records are compared and kept within a family.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from math import inf
from random import Random
from typing import Final

from dht.config import DhtConfig
from dht.contact import Contact
from dht.events import Receipt
from dht.family import Family
from dht.limits import RateLimiter
from dht.operation import Context
from dht.publish import PutWalk
from dht.records import Refusal, SignedRecord
from dht.requests import Pending
from dht.store import Held, Store
from dht.wire import Have, Message, Want

FIRST: Final = 2.0
"""Seconds that the nearest holder waits: a publisher with both families is done by then (docs/results/watch.md: a put
takes 0.7 s at the 95th percentile)."""

STEP: Final = 1.0
"""Seconds more for each holder that is nearer: about what carrying takes, so that the next one finds it done. Twenty
holders have all had their turn after 22 s. UNSOURCED"""

RATE: Final = 2.0
"""Records a second that one node looks into: about 40 datagrams each at the most. Bounds whoever stores records only to
have others do the same again."""

BURST: Final = 16.0

MAX_WAITING: Final = 1024
"""Records that wait their turn: what more comes is left to the other holders, and to the next time it is published."""


WAITS: Final = 3
"""Times that a record is tried again because holders had us wait, each of which takes 300 s at most, as long as
a token keeps what was waited. Who has waited as long as told is let in; the others are for a topic that others
fill meanwhile. UNSOURCED"""

SPARING: Final = 3
"""Requests in flight while it is not known whether the record is over there already: it mostly is. UNSOURCED"""


class Look(Enum):
    """Whether a holder of the other family has been asked for the record."""

    AHEAD = 0
    ASKING = 1
    LACKED = 2


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record whose turn is to come."""

    place: bytes
    owner: bytes
    mark: bytes
    """Its fingerprint: a newer one has a turn of its own."""
    waits: int = 0
    """How often its holders have had it wait."""
    asker: Contact | None = None
    """The nearest of those."""


class Carrying(PutWalk):
    """Stores a record over the other family, unless the first of its holders there that is asked has it already."""

    def __init__(
        self,
        context: Context,
        held: Held,
        family: Family,
        now: float,
        then: Callable[[Receipt, float], None],
        *,
        asker: Contact | None = None,
    ) -> None:
        """`then` is told what came of it, if it was stored with anybody. `asker`: who had us wait, the first to be
        asked whether the record has come by way of somebody else."""
        super().__init__(context, 0, held.record, now, expected_seq=None, family=family)
        self._then = then
        self._asker = asker
        self._lifetime = max(0, min(int(held.expires - now), 2**32 - 1))
        self._print = held.print
        self._look = Look.AHEAD
        self._sure_within = 0

    def wanted(self) -> int:
        """Few, until it is known that the record is to be stored."""
        return super().wanted() if self._look is Look.LACKED else SPARING

    def advance(self, now: float) -> None:
        """Ask the first that should be a holder whether it is one; go on when it is not."""
        if self.ended or self._look is Look.ASKING:
            return
        if self._look is Look.AHEAD and self._asker is not None:
            self._ask(self._asker, now)
            return
        if self._look is Look.AHEAD and self.region:
            nearest = next(iter(self.lookup.closest(1)), None)
            if nearest is not None and nearest.long_id ^ self.lookup.target < self.region // 2:
                self._ask(nearest, now)
                return
        super().advance(now)

    def finish_walk(self, now: float) -> None:
        """The nearest are known: ask the first of them, if that has not been done."""
        nearest = next(iter(self.lookup.closest(1)), None)
        if self._look is Look.AHEAD and nearest is not None:
            self._ask(nearest, now)
        else:
            super().finish_walk(now)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """It has the record, and all is well; or this walk goes on."""
        if not isinstance(message, Want):
            super().on_reply(pending, message, now)
        elif message.bits[:1] < b"\x80":
            self.ended = True
            self.context.count("carried_already")
        else:
            self._go_on(now)

    def on_slow(self, pending: Pending, now: float) -> None:
        """The question whether it is there is no step of the walk."""
        if pending.reply is not Want:
            super().on_slow(pending, now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """Of who does not say whether it has the record, nothing is learned."""
        if pending.reply is Want:
            self._go_on(now)
        else:
            super().on_failure(pending, now)

    def acknowledge(self, receipt: Receipt, now: float) -> None:
        """Nobody waits for it."""

    def report(self, receipt: Receipt, now: float) -> None:
        """Count what came of it."""
        self.context.count("carried" if receipt.ok else "carried_in_part")
        self._then(receipt, now)

    def _ask(self, holder: Contact, now: float) -> None:
        self._look = Look.ASKING
        self.context.request(holder, self, Have, (self._print,), now, resend=True)

    def _go_on(self, now: float) -> None:
        self._look = Look.LACKED
        self._sure_within = self.region
        self.advance(now)


class Bridge:
    """The records of one node that wait to be carried over."""

    def __init__(self, context: Context, config: DhtConfig, store: Store, rng: Random) -> None:
        self._context = context
        self._config = config
        self._store = store
        self._rng = rng
        self._rate = RateLimiter(RATE, BURST)
        self._waiting: list[tuple[float, int, Waiting]] = []
        """A heap: when, how many came before, and what."""
        self._pushed = 0
        self.due = inf
        """When `tick` is to be called, Unix seconds."""

    def on_stored(self, record: SignedRecord, now: float) -> None:
        """A record is held that is new here, or newer."""
        families = self._context.families.walked
        held = self._store.held(record.place, record.owner)
        if len(families) == 1 or held is None:
            return
        family = next((family for family in families if family.bit == held.via), None)
        own = family.own_contact if family is not None else None
        if family is None or own is None:
            return
        near = family.table.neighbours(held.number, self._config.k)
        rank = sum(contact.long_id ^ held.number < own.long_id ^ held.number for contact in near)
        at = now + FIRST + STEP * (rank + self._rng.random())
        self._push(at, Waiting(record.place, record.owner, held.print))

    def tick(self, now: float) -> None:
        """See to those whose turn it is."""
        while self._waiting and self._waiting[0][0] <= now:
            if not self._rate.allow("all", now):
                self.due = now + 1 / RATE
                return
            self._carry(heapq.heappop(self._waiting)[2], now)
        self.due = self._waiting[0][0] if self._waiting else inf

    def _carry(self, waiting: Waiting, now: float) -> None:
        held = self._store.held(waiting.place, waiting.owner)
        families = self._context.families.walked
        if held is None or held.print != waiting.mark or len(families) == 1:
            return
        other = next((family for family in families if not held.via & family.bit), None)
        if other is None:
            return
        Carrying(self._context, held, other, now, partial(self._wait, waiting), asker=waiting.asker).start(now)

    def _wait(self, waiting: Waiting, receipt: Receipt, now: float) -> None:
        """Come back for those that did not let us in yet."""
        askers = [verdict.contact for verdict in receipt.verdicts if verdict.refusal is Refusal.WAIT]
        if receipt.ok or not askers or waiting.waits >= WAITS:
            return
        number = int.from_bytes(waiting.place, "big")
        nearest = min(askers, key=lambda asker: asker.long_id ^ number)
        self._context.count("carrying_waits")
        again = replace(waiting, waits=waiting.waits + 1, asker=nearest)
        self._push(now + receipt.wait + self._rng.random() * STEP, again)

    def _push(self, at: float, waiting: Waiting) -> None:
        if len(self._waiting) >= MAX_WAITING:
            return
        self._pushed += 1
        heapq.heappush(self._waiting, (at, self._pushed, waiting))
        self.due = self._waiting[0][0]
