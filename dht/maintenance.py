"""Keeping the table alive: asking back who asked us, liveness, bucket refresh, hints of the dead.

Everything here is driven by one tick; all of it is rate-limited, so that a stranger cannot make us busy.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Final

from dht.config import DhtConfig
from dht.constants import ID_BITS, ID_BYTES
from dht.contact import Contact
from dht.events import ContactAdded, ContactRemoved
from dht.family import Family
from dht.limits import RateLimiter
from dht.operation import Context, Operation
from dht.operation_walk import QuietWalk
from dht.repair import Repair
from dht.requests import Pending
from dht.routing import Offer, Table
from dht.wire import FindNode, Message, Nodes

REFRESH_SPREAD: Final = 0.3
"""Part of the refresh interval by which it is shorter at times, at random: 300 nodes that joined in one minute sent 448
datagrams a second an hour later, for some ten otherwise."""

AFTER_JOIN: Final = 60.0
"""Seconds after a join within which the far buckets are looked into. UNSOURCED"""

CHECKS_A_TICK: Final = 8
"""Questionable contacts asked in one tick, so that a thousand silent contacts cost a trickle."""

BOTH_WAYS: Final = 4.0
"""Liveness intervals after which a contact that answers over the main family is asked over the other, too: its way may
have died by itself, but seldom does, and who has both families would else do twice the upkeep. UNSOURCED"""

HINT_INTERVAL: Final = 10.0
"""Seconds between hints to one node, and between heeding hints about one contact: caps what a liar sets off."""

RETRY_AFTER: Final = 1.0
"""Seconds until a contact that left a request unanswered is asked again."""

LOST_KEPT: Final = 64
"""Contacts that left the table for their silence and are remembered, newest last: after a cut of hours, when either
side has dropped the other, they are the only way back together."""

LOST_INTERVAL: Final = 60.0
"""Seconds between questions to one of these. UNSOURCED: one small datagram a minute."""


class Check(Operation):
    """Asks a contact for its nearest to us: shows whether it lives and serves, and may tell of new neighbours."""

    def __init__(self, context: Context, family: Family) -> None:
        super().__init__(context, 0)
        self._family = family

    def start(self, contact: Contact, now: float, *, bare: bool = False) -> None:
        """Send the FIND_NODE; the engine itself notes the answer or the silence."""
        self.context.request(contact, self, FindNode, (self._family.own_place,), now, bare=bare)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Nothing more to do: an answer has been noted for the table already."""
        self.ended = isinstance(message, Nodes)


class Revival(Check):
    """Asks a contact that was lost. If it is back, so may be all that vanished with it: walk to our place by it."""

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """It is back."""
        super().on_reply(pending, message, now)
        self.context.count("revived")
        QuietWalk(self.context, self._family.own_place, now, family=self._family).start(now, [pending.contact])


class Maintenance:
    """What the engine does of its own accord, in one family of addresses."""

    def __init__(
        self, context: Context, family: Family, config: DhtConfig, repair: Repair, rng: Random, now: float
    ) -> None:
        """`repair` is for all of the node; it is called by the upkeep of the main family."""
        self._context = context
        self._family = family
        self._config = config
        self.repair = repair
        self._rng = rng
        self._asked_back = RateLimiter(config.verify_rate, config.verify_rate * 2)
        self._asked_each = RateLimiter(1 / HINT_INTERVAL, 1.0)
        self._hints_out = RateLimiter(1 / HINT_INTERVAL, 1.0)
        self._hints_in = RateLimiter(1 / HINT_INTERVAL, 1.0)
        self._retries: list[tuple[float, Contact]] = []
        self._lost: OrderedDict[bytes, Contact] = OrderedDict()
        self._next_revival = now + LOST_INTERVAL
        self._next_tick = now + rng.uniform(0, config.upkeep_interval)
        self.due = self._next_tick
        """When `tick` is to be called, Unix seconds."""
        self._heard_all_since = 0.0
        """Every contact of `_heard_of` has answered since then."""
        self._heard_of: tuple[Table, int, int] | None = None

    def tick(self, now: float) -> None:
        """Do what is due."""
        while self._retries and self._retries[0][0] <= now:
            _, contact = self._retries.pop(0)
            if contact.key in self._family.table.suspects:
                self.check(contact, now)
        if now >= self._next_tick - self._config.timer_slack:
            self._next_tick = now + self._config.upkeep_interval
            self._look_after(now)
        self._set_due()

    def _set_due(self) -> None:
        self.due = min(self._next_tick, self._retries[0][0]) if self._retries else self._next_tick

    def _look_after(self, now: float) -> None:
        self._check_silent(now)
        self._check_lost(now)
        self._refresh_buckets(now)
        if self._context.families.main is self._family:
            self.repair.tick(self._config.upkeep_interval, now)

    def check(self, contact: Contact, now: float, *, bare: bool = False) -> None:
        """Ask a contact for a sign of life; `bare` for one, without room for neighbours it might name."""
        Check(self._context, self._family).start(contact, now, bare=bare)

    def may_ask_back(self, contact: Contact, now: float) -> bool:
        """Whether to ask back a server that asked us and would fit into the table."""
        # Each rarely: who asks much and answers nothing would be sent a padded question for every one of its own.
        return self._asked_each.allow(contact.key, now) and self._asked_back.allow("all", now)

    def on_answer(self, contact: Contact, now: float) -> None:
        """A server answered us: it belongs into the table."""
        self._lost.pop(contact.key, None)
        table = self._family.table
        before = table.get(contact.key)
        outcome = table.offer(contact)
        if before is not None and before != contact:
            self._context.emit(ContactRemoved(before))
        if outcome is Offer.ADDED:
            self._context.emit(ContactAdded(contact))
            self.repair.on_newcomer(contact, now)
        elif outcome is Offer.FULL:
            self._on_full(contact, now)

    def on_silence(self, contact: Contact, now: float) -> None:
        """A request to `contact` was lost: the first makes it a suspect that is soon asked again, the next drop it."""
        table = self._family.table
        if contact not in table:
            return
        peer = self._context.requests.peer(contact)
        suspect = contact.key in table.suspects
        # Of a peer forgotten meanwhile only this is known: a suspect has left a request unanswered before.
        lost = peer.failures >= self._config.max_failures if peer is not None else suspect
        if not lost:
            if not suspect:
                table.suspects.add(contact.key)
                self._retries.append((now + RETRY_AFTER, contact))
                self._set_due()
            return
        replacement = table.discard(contact)
        self._lost[contact.key] = contact
        self._lost.move_to_end(contact.key)
        if len(self._lost) > LOST_KEPT:
            self._lost.popitem(last=False)
        self._context.emit(ContactRemoved(contact))
        if replacement is not None:
            self._context.emit(ContactAdded(replacement))

    def may_hint(self, referrer: Contact, now: float) -> bool:
        """Whether to tell `referrer` of a dead contact it handed on."""
        return self._hints_out.allow(referrer.key, now)

    def on_hint(self, contacts: list[Contact], now: float) -> None:
        """Somebody says these are dead: see for ourselves, rarely."""
        for contact in contacts:
            if contact in self._family.table and self._hints_in.allow(contact.key, now):
                self.check(contact, now)

    def after_join(self, now: float) -> None:
        """Look into the far buckets soon rather than an hour from now."""
        for bucket in self._family.table.buckets:
            if len(bucket) < self._config.k:
                bucket.refreshed = now - self._config.refresh_interval + self._rng.uniform(0, AFTER_JOIN)

    def _on_full(self, contact: Contact, now: float) -> None:
        """A bucket was full for `contact`: see whether its oldest one still lives (Kademlia paper, section 2.2)."""
        oldest = self._family.table.oldest(contact.long_id)
        if oldest is None:
            return
        peer = self._context.requests.peer(oldest)
        if peer is None or now - peer.seen > self._config.liveness_interval / 3:
            self.check(oldest, now)

    def _check_silent(self, now: float) -> None:
        table, requests = self._family.table, self._context.requests
        before = now - self._config.liveness_interval
        # Nobody can have become silent unseen: who comes in has just answered, but for those counted here.
        state = (table, table.promoted, requests.forgotten)
        if before <= self._heard_all_since and state == self._heard_of:
            return
        silent, self._heard_all_since = requests.silent(table.by_key.values(), before)
        self._heard_of = state
        for contact in [one for one in silent if not self._lives_elsewhere(one, before, now)][:CHECKS_A_TICK]:
            self.check(contact, now)

    def _lives_elsewhere(self, contact: Contact, before: float, now: float) -> bool:
        """Whether its node has answered over the main family: then it lives, and this way is tried more rarely."""
        families, peers = self._context.families, self._context.requests.peer
        other = None if families.main is self._family else families.elsewhere(contact)
        # It may be being asked over there this very moment.
        if other is None or (there := peers(other)) is None or there.seen < before - 2 * self._config.upkeep_interval:
            return False
        here = peers(contact)
        return here is not None and now - here.seen < BOTH_WAYS * self._config.liveness_interval

    def _check_lost(self, now: float) -> None:
        if self._lost and now >= self._next_revival:
            self._next_revival = now + LOST_INTERVAL
            key = self._rng.choice(list(self._lost))
            Revival(self._context, self._family).start(self._lost[key], now)

    def _refresh_buckets(self, now: float) -> None:
        table = self._family.table
        interval = self._config.refresh_interval
        for bucket in table.stale_buckets(now - interval)[:1]:
            target = (bucket.low + self._rng.getrandbits(bucket.width) if bucket.width else bucket.low) % (1 << ID_BITS)
            QuietWalk(self._context, target.to_bytes(ID_BYTES, "big"), now, family=self._family).start(now)
            # As if some time ago: those who joined together shall not look into their buckets together for ever.
            table.bucket_of(target).refreshed = now - self._rng.uniform(0, REFRESH_SPREAD * interval)
