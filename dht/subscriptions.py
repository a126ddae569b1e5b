"""Who wants to be told of newer records at which place: bounded by address, network, place and in all, and expiring.

Knows no messages and sends nothing; `dht.notices` does.
"""

from __future__ import annotations

from collections import Counter
from math import inf

from dht.config import DhtConfig
from dht.contact import Contact
from dht.limits import prefix_of, source_of
from dht.records import Refusal


class Subscription:
    """One subscriber of one place, at the address its token proved."""

    __slots__ = ("contact", "expires", "misses", "open", "place", "prefix", "queued", "seq", "source", "told_at")

    def __init__(self, place: bytes, contact: Contact, expires: float, seq: int) -> None:
        self.place = place
        self.contact = contact
        self.expires = expires
        """Unix seconds."""
        self.seq = seq
        """The sequence number it has, as it said or acknowledged; -1 for none."""
        self.misses = 0
        """Notices in a row that it did not acknowledge."""
        self.open = False
        """Whether a notice is on its way."""
        self.queued = inf
        """When the next one is to be sent."""
        self.told_at = 0.0
        """When the last one was sent."""
        self.source = source_of(contact.address)
        self.prefix = prefix_of(contact.address)


class Subscriptions:
    """The subscriptions by place, then by the subscriber's node key."""

    def __init__(self, config: DhtConfig) -> None:
        self._config = config
        self._places: dict[bytes, dict[bytes, Subscription]] = {}
        self._count = 0
        self._sources: Counter[object] = Counter()
        self._prefixes: Counter[object] = Counter()

    def __len__(self) -> int:
        return self._count

    def at(self, place: bytes, now: float) -> list[Subscription]:
        """The subscriptions to a place that still hold."""
        return [each for each in self._places.get(place, {}).values() if each.expires > now]

    def holds(self, subscription: Subscription) -> bool:
        """Whether it is one of ours still."""
        return self._places.get(subscription.place, {}).get(subscription.contact.key) is subscription

    def subscribe(
        self, place: bytes, contact: Contact, seq: int, lifetime: float, now: float
    ) -> tuple[Refusal, Subscription | None]:
        """Set up or renew the subscription of a node. Returns why not, and the subscription where it stands."""
        old = self._places.get(place, {}).get(contact.key)
        if old is not None and old.contact.address == contact.address:
            old.expires, old.seq, old.misses = now + lifetime, seq, 0
            return Refusal.NONE, old
        if old is not None:
            self.drop(old)  # It has moved: counted anew, where it is now.
        new = Subscription(place, contact, now + lifetime, seq)
        refusal = self._over_quota(new)
        if refusal is not Refusal.NONE:
            self.sweep(now)
            refusal = self._over_quota(new)
        if refusal is not Refusal.NONE:
            return refusal, None
        self._places.setdefault(place, {})[contact.key] = new
        self._count += 1
        self._sources[new.source] += 1
        if new.prefix:
            self._prefixes[new.prefix] += 1
        return Refusal.NONE, new

    def unsubscribe(self, place: bytes, contact: Contact) -> None:
        """End the subscription of a node, if it has one from this address."""
        old = self._places.get(place, {}).get(contact.key)
        if old is not None and old.contact.address == contact.address:
            self.drop(old)

    def drop(self, subscription: Subscription) -> None:
        """Forget one that is held."""
        place = self._places[subscription.place]
        del place[subscription.contact.key]
        if not place:
            del self._places[subscription.place]
        self._count -= 1
        _count_down(self._sources, subscription.source)
        _count_down(self._prefixes, subscription.prefix)

    def sweep(self, now: float) -> None:
        """Forget what has expired."""
        for place in list(self._places.values()):
            for each in [each for each in place.values() if each.expires <= now]:
                self.drop(each)

    def _over_quota(self, new: Subscription) -> Refusal:
        config = self._config
        if self._count >= config.max_watches or len(self._places.get(new.place, ())) >= config.watch_place_quota:
            return Refusal.FULL
        if self._sources[new.source] >= config.watch_source_quota:
            return Refusal.PREFIX_QUOTA
        if new.prefix and self._prefixes[new.prefix] >= config.watch_prefix_quota:
            return Refusal.PREFIX_QUOTA
        return Refusal.NONE


def _count_down(counts: Counter[object], key: object) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
