"""Whom to believe on the local network: from an announcement with a good signature to a peer, and when it is gone.

Decides what is checked of an announcement, who is asked for a sign of life and when, and what its silence means.
Refuses to know how announcements come in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final

from dht.contact import Contact
from dht.identity import PublicKey
from dht.limits import RateLimiter
from node.protocols.lan_beacon import Announcement
from node.protocols.lan_events import Ask, ClockApart, Found, Heard, LanEvent, LanPeer, Lost, OutOfReach
from node.protocols.lan_peers import Book, Place, Sighting, Taken
from node.protocols.lan_segment import Segment, segment_of

MAX_SKEW: Final = 7200.0
"""Seconds that clocks may differ: what calls and records grant (`dht.records.CLOCK_TOLERANCE`), for a peer with another
clock could not be called either. Within it, an announcement of an hour ago can be repeated; its node is asked."""

MAX_ASKED: Final = 4
"""Addresses asked of one node. UNSOURCED: two families, and a second interface."""

ASK_RATE: Final = 20.0
"""Nodes asked a second, bursts of twice as many: what made-up announcements make us send, and to our own networks
only. UNSOURCED"""

RETRIES: Final = (1.0, 3.0)
"""Seconds until a node that did not answer is asked again; then it is forgotten. UNSOURCED: a machine that has just got
its address answers within these."""

MISSED: Final = 2.5
"""Intervals without a word of a peer until it is asked. UNSOURCED: two announcements were lost."""

REPORT_REST: Final = 600.0
"""Seconds between two reports of the same trouble with a peer. UNSOURCED"""

MAX_REPORTED: Final = 64
MAX_INSTANCES: Final = 256
"""Peers whose trouble was reported, and instances of mDNS remembered; the oldest is forgotten."""


class Judging:
    """The book of one node, and the rules for it."""

    def __init__(
        self,
        own: PublicKey,
        own_key: bytes,
        rng: Random,
        emit: Callable[[LanEvent], object],
        counters: Counter[str],
    ) -> None:
        self._own = own
        self._own_key = own_key
        self._rng = rng
        self._emit = emit
        self._counters = counters
        self._book = Book()
        self._segments: tuple[Segment, ...] = ()
        self._ask_limit = RateLimiter(ASK_RATE, 2 * ASK_RATE)
        self._reported: OrderedDict[tuple[str, PublicKey], float] = OrderedDict()
        self._instances: OrderedDict[str, Place] = OrderedDict()

    def set_segments(self, segments: tuple[Segment, ...], now: float) -> None:
        """The networks are others now: everybody is asked whether they are still there."""
        self._segments = segments
        for sighting in list(self._book.sightings.values()):
            sighting.contacts = self._near(sighting.said, "")
            if sighting.contacts:
                sighting.ask_at = now
            else:
                self._drop(sighting, "this machine left its network")

    def heard(self, said: Announcement, way: str, ip: str, now: float) -> Sighting | None:
        """An announcement with a good signature came by a way, from an address (none by mDNS)."""
        offset = said.time / 1000 - now
        if abs(offset) > MAX_SKEW:
            self._counters["clock"] += 1
            if self._may_report("clock", said.identity, now):
                self._emit(ClockApart(said.identity, offset))
            return None
        if said.leaving:
            self._on_goodbye(said)
            return None
        contacts = self._near(said, ip)
        if not contacts:
            self._counters["out_of_reach"] += 1
            if self._may_report("reach", said.identity, now):
                self._emit(OutOfReach(said.identity, said.ips))
            return None
        source = ip or contacts[0].ip
        segment = segment_of(source, self._segments)
        new = Sighting(said, contacts, source, "" if segment is None else segment.name, now, now, {way})
        known = self._book.sightings.get(new.place)
        before = None if known is None else known.contacts
        taken, sighting = self._book.take(new)
        self._counters[taken.value] += 1
        if taken is Taken.FULL:
            return None
        moved = before is not None and set(before) != set(sighting.contacts)
        if taken is Taken.NEW or (taken is Taken.NEWER and moved):
            sighting.asked = 0
            self._emit(Heard(said.identity))
            self._ask(sighting, now)
        elif sighting.proven is not None and taken is Taken.NEWER:
            sighting.ask_at = self._later(sighting)
        return sighting

    def answered(self, place: Place, contact: Contact, rtt: float, now: float) -> None:
        """A node answered in its box, where it was asked: the address is its own."""
        sighting = self._book.sightings.get(place)
        if sighting is None or contact.key != sighting.said.node_key:
            return
        sighting.asking, sighting.asked = False, 0
        sighting.contact, sighting.rtt, sighting.heard = contact, rtt, now
        sighting.contacts = (contact, *(one for one in sighting.contacts if one != contact))
        sighting.ask_at = self._later(sighting)
        if sighting.proven is None:
            known = any(one.proven is not None for one in self._book.of(sighting.said.identity))
            sighting.proven = now
            if not known:
                self._emit(Found(peer_of(sighting)))

    def silent(self, place: Place, now: float) -> None:
        """A node did not answer where it was asked."""
        sighting = self._book.sightings.get(place)
        if sighting is None:
            return
        sighting.asking = False
        sighting.asked += 1
        if sighting.asked > len(RETRIES):
            self._counters["unproven" if sighting.proven is None else "fell_silent"] += 1
            self._drop(sighting, "it no longer answers")
        else:
            sighting.ask_at = now + RETRIES[sighting.asked - 1]

    def remember_instance(self, instance: str, sighting: Sighting) -> None:
        """Whose instance of mDNS this is."""
        self._instances[instance] = sighting.place
        self._instances.move_to_end(instance)
        if len(self._instances) > MAX_INSTANCES:
            self._instances.popitem(last=False)

    def doubt(self, instance: str, now: float) -> None:
        """Somebody says that an instance is gone."""
        place = self._instances.pop(instance, None)
        sighting = None if place is None else self._book.sightings.get(place)
        if sighting is not None:
            sighting.ways.discard("mdns")
            sighting.asked = max(sighting.asked, len(RETRIES) - 1)
            self._ask(sighting, now)

    def next_timer(self) -> float | None:
        """When somebody is to be asked next."""
        return min((one.ask_at for one in self._book.sightings.values() if one.ask_at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Ask who is to be asked."""
        for sighting in list(self._book.sightings.values()):
            if sighting.ask_at is not None and sighting.ask_at <= now:
                self._ask(sighting, now)

    def peers(self) -> tuple[LanPeer, ...]:
        """The nodes that have answered, one a peer, first found first."""
        found: dict[PublicKey, LanPeer] = {}
        for sighting in self._book.proven():
            found.setdefault(sighting.said.identity, peer_of(sighting))
        return tuple(found.values())

    def known(self, peer: PublicKey) -> list[Sighting]:
        """The nodes of one peer, those that have answered first."""
        return self._book.of(peer)

    def _ask(self, sighting: Sighting, now: float) -> None:
        if sighting.asking:
            sighting.ask_at = None
            return
        if not self._ask_limit.allow("all", now):
            self._counters["ask_limited"] += 1
            sighting.ask_at = now + self._rng.uniform(0.5, 1.5)
            return
        sighting.asking, sighting.ask_at = True, None
        self._emit(Ask(sighting.place, sighting.contacts[:MAX_ASKED]))

    def _later(self, sighting: Sighting) -> float:
        return sighting.heard + MISSED * sighting.said.interval

    def _near(self, said: Announcement, ip: str) -> tuple[Contact, ...]:
        """Its addresses on our networks that are not our own, that from which it spoke first."""
        if said.node_key == self._own_key:
            return ()
        own = {address for segment in self._segments for address in segment.ips}
        ips = [one for one in said.ips if segment_of(one, self._segments) is not None]
        # Several nodes of one machine have its addresses in common; their ports tell them apart.
        ips.sort(key=lambda one: (one != ip, one in own, ":" in one))
        return tuple(Contact(said.node_key, (one, said.port)) for one in ips)

    def _on_goodbye(self, said: Announcement) -> None:
        sighting = self._book.sightings.get((said.identity.raw, said.node_key))
        if sighting is not None and said.time > sighting.said.time:
            self._drop(sighting, "it said goodbye")

    def _drop(self, sighting: Sighting, reason: str) -> None:
        self._book.drop(sighting)
        peer = sighting.said.identity
        if sighting.proven is not None and not any(one.proven is not None for one in self._book.of(peer)):
            self._emit(Lost(peer, reason))

    def _may_report(self, what: str, peer: PublicKey, now: float) -> bool:
        last = self._reported.pop((what, peer), None)
        due = last is None or now - last >= REPORT_REST
        self._reported[what, peer] = now if due or last is None else last
        if len(self._reported) > MAX_REPORTED:
            self._reported.popitem(last=False)
        return due


def peer_of(sighting: Sighting) -> LanPeer:
    """What is told of a node that has answered."""
    contact = sighting.contact or sighting.contacts[0]
    return LanPeer(
        sighting.said.identity,
        contact,
        sighting.said.fingerprint,
        sighting.rtt,
        sighting.proven or 0.0,
        sighting.heard,
        sighting.segment,
        tuple(sorted(sighting.ways)),
    )
