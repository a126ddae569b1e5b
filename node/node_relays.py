"""Which relays a node knows, which of them it takes, and how it finds and is found as one.

Decides topics, how long what was found counts, and the choice: by round trip and load, no two of one network. Refuses
to know what relays are asked for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dht.contact import Contact
from dht.errors import DecodeError, WeakKey
from dht.events import GetDone, PingDone, PutDone
from dht.identity import IdentityKey, PublicKey, address_prefix, is_exempt
from dht.records import Kind, sign_record, topic_place, topic_salt
from node.protocols.circuit import RelayRefusal
from node.protocols.circuit_relays import DISTANCE_STEP, UNKNOWN_DISTANCE, RelayAnnouncement, RelayContact

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

TOPICS: Final = 8
"""Relays announce themselves under one of so many topics, by the last bits of their key: a place holds 128
announcements, so 1,024 relays can be found in all, and no 20 nodes answer everybody who looks for one."""

TOPICS_AT_ONCE: Final = 4
"""Topics read at the same time; the other half only while too few relays were found."""

ENOUGH: Final = 6
"""Relays that end a search: twice what a description names. UNSOURCED"""

MAX_KNOWN: Final = 64
"""Bounds memory, and what a flood of false announcements can push out. UNSOURCED"""

FRESH: Final = 600.0
"""Seconds after which what was found is looked for again; it still counts for as long again."""

PINGED: Final = 8
"""Relays whose round trip is measured after a search. UNSOURCED"""

FAILED_FOR: Final = 60.0
"""Seconds in which a relay that failed is not proposed, doubling with each failure up to an hour. UNSOURCED"""

ANNOUNCE_EVERY: Final = 600.0
"""Seconds between announcements, which live for twice that and a bit: who stops is forgotten soon."""

FIRST_RETRY, LONGEST_RETRY = 2.5, 60.0
"""Half of the seconds until a search that found nothing is made again, doubling; and the most. UNSOURCED"""

ENOUGH_EMPTY: Final = 4
"""Searches in a row that find nothing, until only who needs a relay goes on. UNSOURCED: half a minute after joining"""

UNKNOWN_RTT: Final = 0.15
"""Seconds assumed of a relay that was not measured: a third of the way round the world. UNSOURCED"""


def topic_of(relay: PublicKey) -> str:
    """The topic under which a relay announces itself."""
    return topic_name(relay.raw[-1] % TOPICS)


def topic_name(number: int) -> str:
    """The name of one of the topics."""
    return f"rookery/relays/{number}"


@dataclass(slots=True)
class KnownRelay:
    """A relay this node has heard of from the relay's own signed announcement, or from its own user."""

    contact: RelayContact
    load: int
    found: float
    rtt: float | None = None
    failures: int = 0
    failed_until: float = 0.0

    def cost(self) -> float:
        """What it costs to go through it: seconds, more the busier it is."""
        return (UNKNOWN_RTT if self.rtt is None else self.rtt + 0.005) * (1 + 3 * (self.load / 255) ** 2)

    @property
    def distance(self) -> int:
        """Its round trip as descriptions say it."""
        return UNKNOWN_DISTANCE if self.rtt is None else min(UNKNOWN_DISTANCE - 1, round(self.rtt / DISTANCE_STEP))


class RelayBook:
    """The relays a node knows."""

    def __init__(
        self,
        own: PublicKey,
        clock: Callable[[], float],
        linked: Callable[[PublicKey], bool] = lambda _: False,
        silent: Callable[[PublicKey], bool] = lambda _: False,
    ) -> None:
        """`linked`: whether a direct link with a relay stands. `silent`: whether there is one whose path has died."""
        self._own = own
        self._silent = silent
        self._linked = linked
        self._clock = clock
        self._known: dict[PublicKey, KnownRelay] = {}
        self.on_learned: Callable[[], object] = lambda: None
        """Called when a relay was heard of."""

    def __len__(self) -> int:
        return len(self._known)

    def get(self, relay: PublicKey) -> KnownRelay | None:
        """What is known of a relay."""
        return self._known.get(relay)

    def learn(self, contact: RelayContact, load: int = 0) -> None:
        """Take a relay in; what was known of it is kept."""
        if contact.identity == self._own:
            return
        known = self._known.get(contact.identity)
        if known is not None:
            known.contact, known.load, known.found = contact, load, self._clock()
            return
        if len(self._known) >= MAX_KNOWN:
            # One never measured goes first, then the dearest: a flood of names does not push out what works.
            worst = max(self._known.values(), key=lambda one: (one.rtt is None, one.cost()))
            del self._known[worst.contact.identity]
        self._known[contact.identity] = KnownRelay(contact, load, self._clock())
        self.on_learned()

    def measured(self, relay: PublicKey, rtt: float | None) -> None:
        """Its round trip; None when it did not answer."""
        known = self._known.get(relay)
        if known is not None and rtt is not None:
            known.rtt = rtt
        elif known is not None:
            self.failed(relay)

    def failed(self, relay: PublicKey) -> None:
        """It was not reached, or carried nothing."""
        known = self._known.get(relay)
        if known is not None:
            known.failures += 1
            known.failed_until = self._clock() + min(3600.0, FAILED_FOR * 2 ** min(known.failures - 1, 6))

    def refused(self, relay: PublicKey, reason: RelayRefusal) -> None:
        """It was reached and would not."""
        known = self._known.get(relay)
        if known is not None and reason in (RelayRefusal.FULL, RelayRefusal.OVERLOADED):
            known.load = 255
        elif reason in (RelayRefusal.NOT_WILLING, RelayRefusal.RATE_LIMITED, RelayRefusal.PEER_QUOTA):
            self.failed(relay)

    def worked(self, relay: PublicKey) -> None:
        """It was reached."""
        known = self._known.get(relay)
        if known is not None:
            known.failures, known.failed_until = 0, 0.0

    def failing(self, relay: PublicKey) -> bool:
        """Whether it failed lately, or does so now."""
        known = self._known.get(relay)
        return self._silent(relay) or (known is not None and known.failed_until > self._clock())

    def reaches(self, relay: RelayContact, families: frozenset[int]) -> bool:
        """Whether we get to a relay: over one of our families of addresses, or because a link with it stands, over TCP
        where no UDP gets through."""
        return bool(relay.families & families) or self._linked(relay.identity)

    def all(self) -> list[KnownRelay]:
        """Every relay known, whether it failed for us or not."""
        return list(self._known.values())

    def fresh(self) -> list[KnownRelay]:
        """Those that count, cheapest first; what was not announced again is forgotten."""
        now = self._clock()
        self._known = {key: one for key, one in self._known.items() if now - one.found < 2 * FRESH}
        usable = [one for key, one in self._known.items() if one.failed_until <= now and not self._silent(key)]
        return sorted(usable, key=KnownRelay.cost)

    def choose(
        self,
        count: int,
        *,
        families: frozenset[int] = frozenset({4, 6}),
        without: Iterable[PublicKey] = (),
        first: Iterable[PublicKey] = (),
    ) -> list[KnownRelay]:
        """The `count` cheapest that can be reached over one of `families`, or are linked with (`linked`); those of
        `first` (reserved) before all others, then those linked with; no two of one /24 or /48 while there are others.
        """
        left, front = set(without), set(first)
        usable = [
            one for one in self.fresh() if one.contact.identity not in left and self.reaches(one.contact, families)
        ]
        usable.sort(key=lambda one: (one.contact.identity not in front, not self._linked(one.contact.identity)))
        chosen: list[KnownRelay] = []
        beside: list[KnownRelay] = []
        prefixes: set[bytes] = set()
        for one in usable:
            own = {address_prefix(host) for host, _ in one.contact.addresses if not is_exempt(host)}
            (beside if own & prefixes else chosen).append(one)
            prefixes |= own
        return (chosen + beside)[:count]


class RelaySearch:
    """Finds relays in the DHT, and announces this node as one."""

    def __init__(
        self,
        identity: IdentityKey,
        driver: Driver[DhtEngine],
        book: RelayBook,
        rng: random.Random,
    ) -> None:
        self._identity = identity
        self._driver = driver
        self._book = book
        self._rng = rng
        self._searching: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._searched: float | None = None
        self._empty = 0
        self.searches = 0

    def soon(self) -> asyncio.Task[None]:
        """Begin a search, or join the one under way."""
        if self._searching is None or self._searching.done():
            self._searching = asyncio.get_running_loop().create_task(self._search())
            # A search that fails leaves the book as it was: the next one is as good as any.
            self._searching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._searching

    @property
    def retry(self) -> float:
        """Seconds after which a search that found nothing is made again: few at first, while this node joins."""
        return float(min(FIRST_RETRY * 2**self._empty, LONGEST_RETRY))

    def due(self, wait: float = FRESH) -> bool:
        """Whether the last search is longer ago than `wait` seconds."""
        return self._searched is None or self._driver.clock() - self._searched >= wait

    @property
    def tried(self) -> bool:
        """Whether a search has found relays, or enough have found none to think that there are none."""
        return self._searched is not None and not 0 < self._empty < ENOUGH_EMPTY

    async def close(self) -> None:
        """Give up the search under way."""
        for task in (self._searching, self._measuring):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def announce(self, contact: RelayContact, load: int, capacity: int) -> int:
        """Say under the topic that this node relays; returns how many nodes hold it."""
        now = self._driver.now()
        payload = RelayAnnouncement(contact, load, min(capacity, 65535)).to_bytes()
        record = sign_record(
            self._identity,
            Kind.TOPIC,
            payload,
            seq=int(now),
            expires=now + 2 * ANNOUNCE_EVERY + 60,
            salt=topic_salt(topic_of(self._identity.public)),
        )
        done = await self._driver.run(lambda engine, then: engine.put(record, then), PutDone)
        return done.receipt.stored

    async def _search(self) -> None:
        self.searches += 1
        numbers = list(range(TOPICS))
        self._rng.shuffle(numbers)
        found = 0
        for start in range(0, TOPICS, TOPICS_AT_ONCE):
            reads = [self._read(topic_name(number)) for number in numbers[start : start + TOPICS_AT_ONCE]]
            found += sum(await asyncio.gather(*reads))
            if found >= ENOUGH:
                break
        self._searched = self._driver.clock()
        self._empty = 0 if found else self._empty + 1
        # Who waits for relays does not wait for their round trips.
        self._measuring = asyncio.get_running_loop().create_task(self._measure())
        self._measuring.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _read(self, topic: str) -> int:
        place = topic_place(topic)
        done = await self._driver.run(lambda engine, now: engine.get(place, now), GetDone)
        records = [record for record in done.records if record.kind is Kind.TOPIC]
        # All of a crowded topic would only push one another out: a handful of each is more than enough.
        if len(records) > MAX_KNOWN // TOPICS:
            records = self._rng.sample(records, MAX_KNOWN // TOPICS)
        taken = 0
        for record in records:
            try:
                said = RelayAnnouncement.from_bytes(record.payload, PublicKey(record.owner))
            except (DecodeError, WeakKey):
                continue
            if topic_of(said.relay.identity) == topic and said.relay.identity != self._identity.public:
                self._book.learn(said.relay, said.load)
                taken += 1
        return taken

    async def _measure(self) -> None:
        unmeasured = [one for one in self._book.fresh() if one.rtt is None and one.contact.contacts]
        asked = self._rng.sample(unmeasured, min(PINGED, len(unmeasured)))
        rtts = await asyncio.gather(*(self._ping(one.contact.contacts[0]) for one in asked))
        for one, rtt in zip(asked, rtts, strict=True):
            # Silence of one datagram's round is no failure: a relay may be behind what drops strangers' requests.
            if rtt is not None:
                self._book.measured(one.contact.identity, rtt)

    async def _ping(self, contact: Contact) -> float | None:
        done = await self._driver.run(lambda engine, now: engine.ping(contact, now), PingDone)
        return done.rtt
