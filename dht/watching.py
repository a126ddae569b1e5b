"""The subscriber's side of watching: keeps subscriptions at holders of a place, and takes their notices.

A notice counts only from a holder that was asked, and only with a record that verifies and is newer. Every look for
holders is also a read, so that what all of them kept from us is found out all the same. Who has both families of
addresses subscribes in both, and is told of each newer record once.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

from dht.constants import ID_BYTES
from dht.contact import Contact
from dht.errors import LocalError
from dht.events import HoldersChanged, RecordChanged, RecordLapsed
from dht.family import Family
from dht.keeping import SOON, EntryKeeper, refusal_of
from dht.keeping_families import Keepers
from dht.limits import RateLimiter
from dht.operation import Context
from dht.records import Kind, RecordRefused, Refusal, SignedRecord, decode_record, verify_record
from dht.requests import Pending
from dht.responder import Asking
from dht.routing import diverse
from dht.walks import GetWalk
from dht.wire import Message, Notice, Noticed, Watch, Watched

MAX_WATCHED: Final = 1024
"""Places one node watches. UNSOURCED: three subscriptions each renewed every 25 s make 120 datagrams a second, a fourth
in the other family 40 more."""

NOTICE_RATE: Final = 2.0
"""Notices a second looked at from one holder, and four times as many at once: twice as many as an honest one sends of
one place. Bounds what verifying (65 µs) costs when it lies."""

PATIENCE: Final = 4.0
"""Renewals in which a subscription may go unanswered before it has run out at the holder."""

LOOK_PART: Final = 2
"""Looks for holders in one refresh interval: every half hour. One costs 75 kB, as much as 40 minutes of renewing."""

LONGEST_PAUSE: Final = 300.0
"""Seconds between looks while there are too few holders, doubling up to here. UNSOURCED"""


ELSEWHERE: Final = 1
"""Subscriptions in the other family while enough stand in the main one: a record reaches the holders there by itself
within seconds (`dht.repair_bridge`); this one tells of it before, and when the main family's way out has died. It then
takes until the next renewal, and this family has all of them."""


class Followed:
    """What is known of a place that is watched, in whichever family it was heard."""

    def __init__(self, context: Context, place: bytes) -> None:
        self._context = context
        self.place = place
        self.newest: SignedRecord | None = None
        """The newest valid record seen, until it expires."""
        self.reported: tuple[Contact, ...] | None = None
        """The holders that the application was told of last."""

    def take(self, record: SignedRecord, via: Contact | None) -> Refusal:
        """Take in a verified record of this place; says why not."""
        if record.kind is Kind.TOPIC:
            return Refusal.WRONG_PLACE  # Many owners' announcements: there is no newest one.
        known = self.newest
        if known is not None and known.raw == record.raw:
            if record.expires > known.expires:
                self.newest = record  # An immutable one, which holders keep from when they were asked to.
            return Refusal.NONE
        if known is not None and known.owner == record.owner and not record.newer_than(known):
            if record.seq < known.seq:
                return Refusal.OLDER
            if record.raw <= known.raw:  # Of two under one number, all nodes settle on the greater bytes.
                return Refusal.CONFLICT
        self.newest = record
        self._context.emit(RecordChanged(self.place, record, via))
        return Refusal.NONE

    def lapse(self, now: float) -> None:
        """Report the record when it has expired."""
        if self.newest is not None and self.newest.expires <= now:
            lapsed, self.newest = self.newest, None
            self._context.emit(RecordLapsed(self.place, lapsed))


class Reading(GetWalk):
    """Reads a place in one family to the end of the walk, and reports to its watcher alone."""

    def __init__(self, watcher: Watcher, now: float) -> None:
        # More equal answers than there are nodes to give them: the walk ends when the k nearest have answered.
        quorum = watcher.context.config.k + 1
        super().__init__(watcher.context, 0, watcher.place, now, quorum=quorum, family=watcher.family)
        self._watcher = watcher

    def report(self, now: float) -> None:
        """Hand over what was found."""
        self._watcher.on_read(self.newest, self.lookup.closest(self.context.config.k), now)


class Watcher(EntryKeeper):
    """Watches one place in one family."""

    least_elsewhere = ELSEWHERE

    def __init__(self, context: Context, followed: Followed, rng: Random, family: Family, now: float) -> None:
        super().__init__(context, followed.place, context.config.watch_holders, family, now)
        self._followed = followed
        self._rng = rng
        self._pause = self.beat

    @property
    def keepalive(self) -> float:
        """Seconds between renewals: behind a router as often as its mapping needs, so that notices come through."""
        config = self.context.config
        return config.watch_keepalive if self.family.own_contact is not None else self.context.kept_open

    @property
    def lifetime(self) -> float:
        """Seconds that a subscription is asked for."""
        return min(PATIENCE * self.keepalive, self.context.config.watch_lifetime)

    def ask(self, node: Contact, now: float) -> None:
        """Subscribe, or renew."""
        newest = self._followed.newest
        seq = None if newest is None else newest.seq
        self.context.request(node, self, Watch, (self.place, seq, int(self.lifetime)), now, resend=True)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """A holder took the subscription, or did not."""
        if not isinstance(message, Watched) or self.ended:
            return
        refusal = refusal_of(message.status)
        if refusal is Refusal.NONE and message.lifetime < min(self.beat, self.lifetime):
            refusal = Refusal.FULL  # It would be renewed without end.
        if refusal not in (Refusal.NONE, Refusal.BAD_TOKEN):
            self.context.count("watch_declined_" + refusal.name.lower())
        self.settle(pending.contact, refusal, message.lifetime, now)

    def look(self, now: float) -> None:
        """Read the place: who answers nearest to it are its holders."""
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self.next_look = now + self._pause
        Reading(self, now).start(now)

    def look_soon(self, now: float) -> None:
        """The network around us has changed."""
        self._pause = self.beat
        super().look_soon(now)

    def on_read(self, records: tuple[SignedRecord, ...], closest: list[Contact], now: float) -> None:
        """Take in what a read found, and whom it found near the place."""
        if self.ended:
            return
        for record in records:
            self.take(record, None, now)
        config = self.context.config
        # Any of the nearer half, not the very nearest: so the watchers of one place spread over its holders, and
        # whoever crowds the key cannot have all the subscriptions. The farther half is the first to leave the set.
        near = diverse(closest, config.k, config.bucket_prefix_limit)
        half = near[: max(self.count, config.k // 2)]
        self._rng.shuffle(half)
        for node in [node for node in self.entries if near and node not in near]:
            del self.entries[node]  # No holder any more; the subscription there runs out by itself.
        self.found(half + near[len(half) :], now)
        if len(self.entries) + len(self.trying) >= self.count:
            self._pause = self.beat
            self.next_look = now + config.refresh_interval / LOOK_PART * self._rng.uniform(0.8, 1.2)

    def take(self, record: SignedRecord, via: Contact | None, now: float) -> Refusal:
        """Take in a verified record of this place; says why not."""
        refusal = self._followed.take(record, via)
        self.wanted(self.next_tick(now))
        return refusal

    def tick(self, now: float) -> float:
        """Do what is due; say when the record has expired."""
        self._followed.lapse(now)
        return super().tick(now)

    def next_tick(self, now: float) -> float:
        """When the record expires, if nothing is to be done before."""
        at, newest = super().next_tick(now), self._followed.newest
        return at if newest is None else max(now + SOON, min(at, newest.expires))

    def changed(self, now: float) -> None:
        """Report the holders when they are others."""
        siblings = self.siblings()
        holders = tuple(node for keeper in siblings for node in keeper.entries)
        if holders != self._followed.reported and all(one.idle or not one.count for one in siblings):
            self._followed.reported = holders
            self.context.emit(HoldersChanged(self.place, holders))

    def give_up(self, node: Contact, now: float) -> None:
        """End the subscription at a node."""
        self.context.request(node, self, Watch, (self.place, None, 0), now)

    def holder(self, key: bytes) -> Contact | None:
        """The holder of that node key which was asked for a subscription."""
        return next((node for node in (*self.entries, *self.trying) if node.key == key), None)

    def leave(self, now: float) -> None:
        """End the subscriptions."""
        entries = list(self.entries)
        self.end(now)
        for node in entries:
            self.give_up(node, now)


class Watching(Keepers[Watcher]):
    """All places a node watches."""

    def __init__(self, context: Context, rng: Random) -> None:
        super().__init__(context)
        self._rng = rng
        self._followed: dict[bytes, Followed] = {}
        self._limit = RateLimiter(NOTICE_RATE, NOTICE_RATE * 4)

    def watch(self, place: bytes, now: float) -> None:
        """Report `RecordChanged` for the newest record at a place (20 bytes) now, and for each newer one until
        `unwatch`. A place watched already stays so. Raises `LocalError` when there are too many."""
        if len(place) != ID_BYTES:
            raise LocalError(f"a place has {ID_BYTES} bytes, not {len(place)}")
        if place in self:
            return
        if len(self) >= MAX_WATCHED:
            raise LocalError(f"a node watches {MAX_WATCHED} places at most: end another watch first")
        followed = self._followed[place] = Followed(self._context, place)
        self.add(place, partial(Watcher, self._context, followed, self._rng), now)

    def unwatch(self, place: bytes, now: float) -> None:
        """Watch a place no longer."""
        self._followed.pop(place, None)
        for watcher in self.pop(place):
            watcher.leave(now)

    def newest(self, place: bytes) -> SignedRecord | None:
        """The newest record known of a watched place."""
        followed = self._followed.get(place)
        return None if followed is None else followed.newest

    def holders(self, place: bytes) -> tuple[Contact, ...]:
        """The holders with which subscriptions to a place stand, those of the main family first."""
        return tuple(node for watcher in self.at(place) for node in watcher.entries)

    def on_notice(self, request: Notice, asking: Asking, now: float) -> Message:
        """NOTICE → NOTICED."""
        refusal = self._judge(request.record, asking.key, now)
        if refusal is not Refusal.NONE:
            self._context.count("notice_refused_" + refusal.name.lower())
        return Noticed(request.rid, asking.token, refusal)

    def on_stored(self, record: SignedRecord, now: float) -> None:
        """We hold a new record ourselves."""
        for watcher in self.at(record.place)[:1]:
            watcher.take(record, None, now)

    def _judge(self, raw: bytes, key: bytes, now: float) -> Refusal:
        try:
            unverified = decode_record(raw)
            asked = ((watcher, watcher.holder(key)) for watcher in self.at(unverified.place))
            watcher, holder = next(((one, holder) for one, holder in asked if holder is not None), (None, None))
            if watcher is None or holder is None:
                return Refusal.NOT_REGISTERED
            if not self._limit.allow(key, now):
                return Refusal.RATE_LIMITED
            record = verify_record(unverified, now, self._context.verdicts, place=watcher.place)
        except RecordRefused as error:
            if error.refusal is not Refusal.EXPIRED:  # Which is a matter of clocks.
                self._distrust(key, now)
            return error.refusal
        return watcher.take(record, holder, now)

    def _distrust(self, key: bytes, now: float) -> None:
        """A holder sent what no honest one keeps: have another in its place."""
        for watcher in self:
            holder = watcher.holder(key)
            if holder is not None:
                watcher.trying.pop(holder, None)
                watcher.lose(holder, now)
