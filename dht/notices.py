"""The holder's side of watching: takes subscriptions, and tells subscribers of what is stored where they watch.

A notice goes only to the address that showed a token, is acknowledged, and is given up after a few misses. Decides
when one is sent; who may subscribe stands in `dht.subscriptions`.
"""

from __future__ import annotations

import heapq
from math import inf
from typing import Final

from dht.config import DhtConfig
from dht.contact import Contact
from dht.keeping import refusal_of
from dht.limits import RateLimiter
from dht.operation import Context, Operation
from dht.records import Kind, Refusal, SignedRecord
from dht.requests import Pending
from dht.responder import Asking
from dht.store import Store
from dht.subscriptions import Subscription, Subscriptions
from dht.wire import Message, Notice, Noticed, Watch, Watched

GAP: Final = 1.0
"""Seconds between two notices to one subscription: of what is stored in between, it is told the newest. UNSOURCED"""

REPEAT: Final = 10.0
"""Seconds until a record is sent a second time to one that acknowledged it and then asks as if it had not: whoever
repeats an old WATCH has one notice in ten seconds sent to where it came from."""

MISSES: Final = 3
"""Notices in a row without an acknowledgement (each is sent twice) after which a subscription ends: 7 kB at most to a
subscriber that vanished."""

RETRY: Final = 2.0
"""Seconds until the first notice missed is sent again; twice as many until the next."""

MAX_OPEN: Final = 64
"""Notices on their way at once: leaves most of `max_in_flight` to look-ups."""

PAUSE: Final = 0.25
"""Seconds until it is tried again where rate or room is used up. UNSOURCED"""

SWEEP: Final = 60.0
"""Seconds between looks for subscriptions that have expired. UNSOURCED"""


class Notices(Operation):
    """Subscriptions of others, and what they are told."""

    def __init__(self, context: Context, config: DhtConfig, store: Store) -> None:
        super().__init__(context, 0)
        self._config = config
        self._store = store
        self._subscriptions = Subscriptions(config)
        self._rate = RateLimiter(config.watch_rate, config.watch_rate)
        self._queue: list[tuple[float, int, Subscription]] = []
        self._queued = 0
        self._open = 0
        self._next_sweep = inf
        self.due = inf
        """When `tick` is to be called, Unix seconds."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    def on_watch(self, request: Watch, contact: Contact, asking: Asking, now: float) -> Message:
        """WATCH → WATCHED, and a NOTICE where we hold a newer record than the subscriber."""
        refusal, lifetime = Refusal.BAD_TOKEN, 0
        if asking.proven:
            refusal, lifetime = self._subscribe(request, contact, now)
        return Watched(request.rid, asking.token, refusal, lifetime)

    def on_stored(self, record: SignedRecord, now: float) -> None:
        """A new or newer record is held: tell who watches its place. Topics are not watched: one notice at a time would
        leave out most of what many owners announce."""
        if not len(self._subscriptions) or record.kind is Kind.TOPIC:
            return
        for subscription in self._subscriptions.at(record.place, now):
            if subscription.seq < record.seq:
                self._enqueue(subscription, max(now, subscription.told_at + GAP))
        self.tick(now)

    def tick(self, now: float) -> None:
        """Send what is due, forget what has expired."""
        if self._next_sweep <= now:
            self._subscriptions.sweep(now)
            self._next_sweep = now + SWEEP if len(self._subscriptions) else inf
        while self._queue and self._queue[0][0] <= now:
            if self._open >= MAX_OPEN:
                break
            at, _, subscription = heapq.heappop(self._queue)
            if at == subscription.queued:
                subscription.queued = inf
                self._tell(subscription, now)
        self._set_due(now)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """The subscriber has spoken: it has the record, or a newer one, or does not want it."""
        subscription, seq = self._closed(pending)
        if isinstance(message, Noticed) and self._subscriptions.holds(subscription):
            refusal = refusal_of(message.status)
            if refusal is Refusal.NOT_REGISTERED:
                self._subscriptions.drop(subscription)
            else:
                subscription.misses = 0
                # Refused or not: this one it shall not be sent again.
                subscription.seq = max(subscription.seq, seq)
                held = self._newest(subscription.place, now)
                if held is not None and held.seq > subscription.seq and refusal is not Refusal.RATE_LIMITED:
                    self._enqueue(subscription, max(now, subscription.told_at + GAP))
        self.tick(now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """The subscriber is silent: tell it once more after a while, or give it up."""
        subscription, _ = self._closed(pending)
        if self._subscriptions.holds(subscription):
            subscription.misses += 1
            if subscription.misses >= MISSES:
                self.context.count("watchers_lost")
                self._subscriptions.drop(subscription)
            else:
                self._enqueue(subscription, now + RETRY * 2 ** (subscription.misses - 1))
        self.tick(now)

    def _subscribe(self, request: Watch, contact: Contact, now: float) -> tuple[Refusal, int]:
        if not request.lifetime:
            self._subscriptions.unsubscribe(request.place, contact)
            return Refusal.NONE, 0
        lifetime = min(request.lifetime, int(self._config.watch_lifetime))
        seq = -1 if request.seq is None else request.seq
        refusal, subscription = self._subscriptions.subscribe(request.place, contact, seq, lifetime, now)
        if subscription is None:
            self.context.count("watch_refused_" + refusal.name.lower())
            return refusal, 0
        self._next_sweep = min(self._next_sweep, now + SWEEP)
        held = self._newest(request.place, now)
        if held is not None and held.seq > seq:
            self._enqueue(subscription, max(now, subscription.told_at + REPEAT))
        self._set_due(now)
        return Refusal.NONE, lifetime

    def _tell(self, subscription: Subscription, now: float) -> None:
        if subscription.open or not self._subscriptions.holds(subscription) or subscription.expires <= now:
            return
        held = self._newest(subscription.place, now)
        if held is None or held.seq <= subscription.seq:
            return
        if self.context.requests.room < self._config.alpha or not self._rate.allow("all", now):
            self._enqueue(subscription, now + PAUSE)
            return
        subscription.open, subscription.told_at = True, now
        self._open += 1
        self.context.count("notices")
        self.context.request(
            subscription.contact, self, Notice, (held.raw,), now, tag=(subscription, held.seq), resend=True
        )

    def _closed(self, pending: Pending) -> tuple[Subscription, int]:
        assert isinstance(pending.tag, tuple)
        subscription, seq = pending.tag
        subscription.open = False
        self._open -= 1
        return subscription, seq

    def _newest(self, place: bytes, now: float) -> SignedRecord | None:
        records = [record for record in self._store.get(place, now) if record.kind is not Kind.TOPIC]
        return max(records, key=lambda record: record.seq, default=None)

    def _enqueue(self, subscription: Subscription, at: float) -> None:
        if subscription.queued <= at or subscription.open:
            return  # What is sent is the newest then; or the answer brings us back here.
        subscription.queued = at
        self._queued += 1
        heapq.heappush(self._queue, (at, self._queued, subscription))

    def _set_due(self, now: float) -> None:
        first = self._queue[0][0] if self._queue else inf
        if self._open >= MAX_OPEN:
            first = inf  # The next answer or time-out makes room.
        self.due = min(first, self._next_sweep)
