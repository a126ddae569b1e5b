"""Finding peers on the local network: when a node announces itself, asks who is there, and whom it believes.

Decides times, limits, and what an announcement must go through before it counts: it opens under the network's key, its
signature is the identity's, its clock is about ours, it names an address on one of our own networks, and the node there
answers in its box. Refuses to know sockets, mDNS and the DHT: it is handed what came in, and says what is to be done.

The five verbs, with the number of the interface in place of a port. Two ways bring announcements in: datagrams by
multicast and broadcast (`receive_datagram`), and TXT records of mDNS (`receive_txt`). They are the same bytes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from dht.contact import Address, Contact
from dht.errors import BoxError, DecodeError
from dht.identity import IdentityKey, PublicKey
from dht.limits import RateLimiter
from node.protocols.lan_beacon import (
    NONCE_BYTES,
    Announcement,
    LanKeys,
    Query,
    announced_ips,
    decode_message,
    from_datagram,
    from_txt,
    seal_announcement,
    seal_query,
    to_datagram,
    to_txt,
    unseal,
)
from node.protocols.lan_events import Echoed, Foreign, LanEvent, LanPeer, Silenced, TxtDue
from node.protocols.lan_judging import Judging
from node.protocols.lan_peers import Sighting
from node.protocols.lan_segment import Segment, segment_of

BEACON: Final = "beacon"
MDNS: Final = "mdns"

OPENING: Final = (0.0, 0.5, 1.5, 4.0, 10.0, 25.0)
"""Seconds after a start or a change of networks at which a node announces itself, before its steady interval: three
copies in the first two seconds, as RFC 6762 (section 8.3) has at least two, then ever fewer. UNSOURCED beyond that."""

QUERIES: Final = 3
"""Of these announcements, the first so many come with a question who is there: multicast on Wi-Fi is not repeated when
lost (RFC 9119, section 3.1.1)."""

ANSWER_SPREAD: Final = 0.04
"""Seconds over which answers to a question for everybody are spread, so that they do not collide. RFC 6762 (section
6.3) has 20-120 ms; ours are shorter, as a peer is to be found in 50 ms."""

ANSWER_REST: Final = 1.0
"""Seconds between two answers to everybody (RFC 6762, section 6: one second for a multicast record)."""

ASKED_FOR_RATE: Final = 5.0
"""Answers a second to those who look for us by name. UNSOURCED"""

HEARD_RATE: Final = 200.0
SOURCE_RATE: Final = 20.0
"""Datagrams a second taken in from all, and from one address: a signature costs 80 µs, so 2 % of a processor at most.
Bursts of twice that. UNSOURCED beyond the cost."""

QUERY_RATE: Final = 10.0
QUERY_REST: Final = 0.5
"""Questions a second for peers by name, and seconds between two for one peer. UNSOURCED"""

NONCES: Final = 512
"""Datagrams remembered, so that copies by several interfaces, and by broadcast beside multicast, cost nothing."""

UNOPENED: Final = 64
UNOPENED_AGE: Final = 60.0
"""Announcements kept that are not for us, and seconds for which: the next peer we look for may be among them."""

WATCHED: Final = 32
"""Peers that we look for, under whose keys announcements are tried: 2 µs each. UNSOURCED"""

FOREIGN_REST: Final = 600.0
"""Seconds between two reports that others here cannot be read. UNSOURCED"""

TXT_AGE: Final = 1800.0
"""Seconds until the TXT record is signed anew: a quarter of the time that clocks may differ. UNSOURCED"""

ECHO_WAIT: Final = 3.0
"""Seconds for our own announcement to come back to us. UNSOURCED: mDNS has been sent three times by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanSelf:
    """What a node announces."""

    identity: IdentityKey
    node_key: bytes
    port: int
    fingerprint: bytes = b""
    network_secret: bytes = b""
    known_only: bool = False
    """Be readable only for members who know our identity."""
    interval: int = 60
    """Seconds between announcements in the long run."""
    slack: float = 0.0
    """Seconds by which one of those may come early when the node is awake for something else."""


class LanProtocol:
    """One node on the networks around it."""

    def __init__(self, own: LanSelf, rng: Random, now: float) -> None:
        self._own = own
        self._rng = rng
        self._keys = LanKeys(own.network_secret)
        self._readable = [self._keys.network]
        self._own_key = self._keys.of_peer(own.identity.public) if own.known_only else self._keys.network
        if own.known_only:
            self._readable.append(self._own_key)
        self._segments: tuple[Segment, ...] = ()
        self.counters: Counter[str] = Counter()
        """Datagrams and TXT records by what became of them."""
        self._out: list[tuple[bytes, Address]] = []
        self._events: deque[LanEvent] = deque()
        self._judging = Judging(own.identity.public, own.node_key, rng, self._events.append, self.counters)
        self._limit = RateLimiter(HEARD_RATE, 2 * HEARD_RATE)
        self._source_limit = RateLimiter(SOURCE_RATE, 2 * SOURCE_RATE, capacity=1024)
        self._asked_for_limit = RateLimiter(ASKED_FOR_RATE, ASKED_FOR_RATE)
        self._query_limit = RateLimiter(QUERY_RATE, QUERY_RATE)
        self._query_each = RateLimiter(1 / QUERY_REST, 1.0, capacity=WATCHED)
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._unopened: deque[tuple[bytes, str, str, float]] = deque(maxlen=UNOPENED)
        self._watched: OrderedDict[PublicKey, bytes] = OrderedDict()
        self._step = 0
        self._announce_at: float | None = None
        self._answers: dict[int, float] = {}
        self._answered: dict[int, float] = {}
        self._last_time = 0
        self._txt_at: float | None = None
        self._foreign_at = 0.0
        self._echo_due: dict[str, float] = {}
        self._echoed: set[str] = set()
        self._silenced: set[str] = set()
        self._closed = False

    # The five verbs

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take in what came from an IP text over an interface (0: whichever has the IP on its network)."""
        ip, index = addr
        segment = segment_of(ip, tuple(one for one in self._segments if index in (0, one.index)))
        if segment is None:
            self.counters["off_link"] += 1
            return
        if not self._source_limit.allow(ip, now) or not self._limit.allow("all", now):
            self.counters["rate_limited"] += 1
            return
        try:
            sealed = from_datagram(data)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        self._take(sealed, BEACON, ip, segment.index, now)

    def receive_txt(self, instance: str, properties: Mapping[bytes, bytes | None], now: float) -> None:
        """Take in the properties of a TXT record of mDNS."""
        if not self._limit.allow("all", now):
            self.counters["rate_limited"] += 1
            return
        try:
            sealed = from_txt(properties)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        if (sighting := self._take(sealed, MDNS, "", 0, now)) is not None:
            self._judging.remember_instance(instance, sighting)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """What is to go out, each to everybody on the network of an interface: ("", its number)."""
        out, self._out = self._out, []
        return out

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called, Unix seconds."""
        times = [self._announce_at, self._txt_at, self._judging.next_timer(), *self._answers.values()]
        times += [due for way, due in self._echo_due.items() if way not in self._echoed]
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        if self._closed:
            return
        # The first ones come in a certain time, one after another.
        early = 0.0 if self._step < len(OPENING) else min(self._own.slack, self._own.interval / 2)
        if self._announce_at is not None and self._announce_at - early <= now:
            self._announce(now)
        for index in [index for index, due in self._answers.items() if due <= now]:
            del self._answers[index]
            self._answered[index] = now
            self._send_announcement(index, now)
        if self._txt_at is not None and self._txt_at <= now:
            self._txt_at = now + TXT_AGE
            self._events.append(TxtDue())
        for way in [way for way, due in self._echo_due.items() if due <= now]:
            del self._echo_due[way]
            if way not in self._echoed:
                self._silenced.add(way)
                self._events.append(Silenced(way))
        self._judging.handle_timer(now)

    def next_event(self) -> LanEvent | None:
        """The next thing to report, or None."""
        return self._events.popleft() if self._events else None

    # Commands

    def set_segments(self, segments: tuple[Segment, ...], now: float) -> None:
        """Say which networks there are: on new ones the node announces itself at once."""
        if segments == self._segments or self._closed:
            return
        self._segments = segments
        self._judging.set_segments(segments, now)
        self._step = 0
        self._answers.clear()
        self._announce_at = now if segments else None
        self._txt_at = now if segments else None
        self._echoed.clear()
        self._echo_due = {BEACON: now + ECHO_WAIT} if segments else {}

    def look_for(self, peer: PublicKey, now: float) -> None:
        """Ask on every network for one peer, and try what was not for us under its key."""
        if peer not in self._watched:
            self._watched[peer] = self._keys.of_peer(peer)
            if len(self._watched) > WATCHED:
                self._watched.popitem(last=False)
            kept = list(self._unopened)
            self._unopened.clear()
            for sealed, way, ip, then in kept:
                if now - then < UNOPENED_AGE:
                    segment = segment_of(ip, self._segments) if ip else None
                    self._open(sealed, way, ip, segment.index if segment is not None else 0, now)
        self._watched.move_to_end(peer)
        if not self._query_each.allow(peer, now) or not self._query_limit.allow("all", now):
            self.counters["query_limited"] += 1
            return
        for segment in self._segments:
            self._send_query(peer, segment.index)

    def answered(self, place: tuple[bytes, bytes], contact: Contact, rtt: float, now: float) -> None:
        """A node that we were to `Ask` answered in its box."""
        self._judging.answered(place, contact, rtt, now)

    def silent(self, place: tuple[bytes, bytes], now: float) -> None:
        """It did not."""
        self._judging.silent(place, now)

    def txt_gone(self, instance: str, now: float) -> None:
        """mDNS says that an instance is gone. Anybody can say so: the node is asked."""
        self._judging.doubt(instance, now)

    def txt(self, now: float) -> dict[str, bytes]:
        """The properties of our TXT record, for all our networks together."""
        self._echo_due.setdefault(MDNS, now + ECHO_WAIT)
        ips = announced_ips([ip for segment in self._segments for ip in segment.ips])
        return to_txt(self._sealed(ips, now))

    def close(self, now: float) -> None:
        """Say goodbye on every network."""
        for segment in self._segments:
            self._send_announcement(segment.index, now, leaving=True)
        self._closed = True

    # What there is to know

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The networks there are."""
        return self._segments

    def peers(self) -> tuple[LanPeer, ...]:
        """Who has answered, first found first."""
        return self._judging.peers()

    def known(self, peer: PublicKey) -> list[Sighting]:
        """The nodes of one peer, those that have answered first."""
        return self._judging.known(peer)

    # Sending

    def _announce(self, now: float) -> None:
        for segment in self._segments:
            if self._step < QUERIES:
                self._send_query(None, segment.index)
            self._send_announcement(segment.index, now)
        self._step += 1
        if self._step < len(OPENING):
            wait = OPENING[self._step] - OPENING[self._step - 1]
        else:
            wait = self._own.interval * self._rng.uniform(0.9, 1.0)
        self._announce_at = now + wait

    def _send_announcement(self, index: int, now: float, *, leaving: bool = False) -> None:
        segment = next((one for one in self._segments if one.index == index), None)
        ips = () if segment is None else announced_ips(segment.ips)
        if ips:
            self._out.append((to_datagram(self._sealed(ips, now, leaving=leaving)), ("", index)))

    def _send_query(self, peer: PublicKey | None, index: int) -> None:
        sealed = seal_query(peer, self._keys, self._rng)
        # It comes back to us, and is not to be answered: that would keep a newcomer's question waiting.
        self._remember(sealed[:NONCE_BYTES])
        self._out.append((to_datagram(sealed), ("", index)))

    def _sealed(self, ips: tuple[str, ...], now: float, *, leaving: bool = False) -> bytes:
        own = self._own
        self._last_time = max(self._last_time + 1, int(now * 1000))
        said = Announcement(
            own.identity.public, own.node_key, own.port, ips, own.fingerprint, self._last_time, own.interval, leaving
        )
        return seal_announcement(said, own.identity, self._keys, self._rng, known_only=own.known_only)

    # Taking in

    def _take(self, sealed: bytes, way: str, ip: str, index: int, now: float) -> Sighting | None:
        nonce = sealed[:NONCE_BYTES]
        if nonce in self._seen:
            self.counters["repeated"] += 1
            return None
        self._remember(nonce)
        return self._open(sealed, way, ip, index, now)

    def _remember(self, nonce: bytes) -> None:
        self._seen[nonce] = None
        if len(self._seen) > NONCES:
            self._seen.popitem(last=False)

    def _open(self, sealed: bytes, way: str, ip: str, index: int, now: float) -> Sighting | None:
        for key in (*self._readable, *self._watched.values()):
            try:
                message = unseal(sealed, key)
                break
            except BoxError:
                continue
        else:
            self._unopened.append((sealed, way, ip, now))
            self.counters["foreign"] += 1
            if now >= self._foreign_at:
                self._foreign_at = now + FOREIGN_REST
                self._events.append(Foreign(ip or way))
            return None
        try:
            said = decode_message(message, sealed[:NONCE_BYTES], self._keys)
        except DecodeError:
            self.counters["malformed"] += 1
            return None
        if isinstance(said, Query):
            self._on_query(said, index, now)
            return None
        if said.identity == self._own.identity.public and said.node_key == self._own.node_key:
            self._echoed.add(way)
            if way in self._silenced:
                self._silenced.discard(way)
                self._events.append(Echoed(way))
            return None
        self.counters[way] += 1
        return self._judging.heard(said, way, ip, now)

    def _on_query(self, query: Query, index: int, now: float) -> None:
        self.counters["queries"] += 1
        if query.for_all:
            rested = self._answered.get(index, 0.0) + ANSWER_REST
            due = max(now + self._rng.uniform(0.0, ANSWER_SPREAD), rested)
            self._answers.setdefault(index, due)
        elif query.is_for(self._own.identity.public) and self._asked_for_limit.allow("all", now):
            self._send_announcement(index, now)
