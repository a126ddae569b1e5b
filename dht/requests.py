"""Requests in flight: which reply belongs to which, when one is slow, when it is lost.

A reply counts only with the 64-bit random id of a request, from the endpoint and under the key that was asked.
Time-outs follow RFC 6298 for each peer: mean round trip plus four deviations; a peer never heard of gets a first guess,
or what other peers' round trips suggest. Before a request times out it becomes *slow*: its operation may then ask
another contact beside it (hedging, Dean and Barroso, "The Tail at Scale", 2013) and the time-out costs nobody anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from math import inf
from operator import itemgetter
from random import Random
from typing import Final, Protocol

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.wire import Message, Nodes, Value

PEERS_KEPT: Final = 4096
"""Peers whose round trips and tokens are remembered: about 1 MB. Whoever answered longest ago is forgotten first."""

_ALPHA: Final = 0.125
"""Gain of the mean (RFC 6298 section 2.3)."""

_BETA: Final = 0.25
"""Gain of the deviation (RFC 6298 section 2.3)."""

_K: Final = 4.0
"""Deviations in a time-out (RFC 6298 section 2.3)."""

_HEDGE_K: Final = 2.0
"""Deviations after which a request is slow. UNSOURCED: asks about one contact in twenty without need."""


STALL: Final = 0.05
"""Seconds a timer may be late; beyond, it was us who slept (a busy or suspended machine), and answers may lie unread in
the socket: event loops differ in which of the two they look at first. UNSOURCED: five scheduling quanta."""

EXCUSE: Final = 0.02
"""Seconds to read those answers, once for each request. UNSOURCED: two hundred datagrams' work."""


class Owner(Protocol):
    """What waits for a reply."""

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """The asked node answered."""

    def on_slow(self, pending: Pending, now: float) -> None:
        """It takes longer than it should; a reply still counts."""

    def on_failure(self, pending: Pending, now: float) -> None:
        """It did not answer in time."""


class RoundTrip:
    """Smoothed round trip of one peer or of all (RFC 6298 section 2), in seconds."""

    __slots__ = ("deviation", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0

    def sample(self, seconds: float) -> None:
        """Take in one measured round trip."""
        if self.mean == 0.0:
            self.mean = seconds
            self.deviation = seconds / 2
        else:
            error = seconds - self.mean
            self.deviation += _BETA * (abs(error) - self.deviation)
            self.mean += _ALPHA * error


class PeerState(RoundTrip):
    """What we remember of a node that answered."""

    __slots__ = ("failed_at", "failures", "seen", "spoke", "token", "token_at")

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        """Requests in a row that were lost, each sent after the loss of the one before was known: what is lost together
        was one disturbance."""
        self.failed_at = 0.0
        self.seen = 0.0
        """When it last answered."""
        self.spoke = 0.0
        """When it last handed us a signal."""
        self.token = b""
        self.token_at = 0.0


class Pending:
    """One request in flight."""

    __slots__ = (
        "address",
        "contact",
        "data",
        "deadline",
        "excused",
        "owner",
        "reply",
        "resend",
        "rid",
        "sent",
        "slow",
        "tag",
        "timed",
        "token",
        "token_at",
    )

    def __init__(self, rid: int, contact: Contact, reply: type[Message], owner: Owner, tag: object) -> None:
        self.rid = rid
        self.contact = contact
        self.address = contact.address
        self.reply = reply
        self.owner = owner
        self.tag = tag
        """Whatever the owner wants to find again."""
        self.data = b""
        self.resend = False
        self.sent = 0.0
        self.deadline = 0.0
        self.slow = False
        self.excused = False
        """Whether its timer was put off once because we ourselves were late."""
        self.timed = False
        """Whether its time-out was given, not measured: then its round trip says nothing of the path."""
        self.token = b""
        """The token that it showed."""
        self.token_at = 0.0
        """When that was given to us."""

    def in_vain(self, message: Nodes | Value, since: float) -> bool:
        """Whether the answer says nothing, as to an address that is to be proven, though we showed a token given before
        `since`: our address is another by now. With the token that came with this answer it is worth asking again."""
        if message.token == self.token or not self.token or self.token_at >= since:
            return False
        return not (message.nodes4 or message.nodes6 or (isinstance(message, Value) and message.records))


class Requests:
    """The table of requests in flight and what is known of the peers asked."""

    def __init__(self, config: DhtConfig, rng: Random) -> None:
        self._config = config
        self._random_bits = rng.getrandbits
        self._pending: dict[int, Pending] = {}
        self._timers: list[tuple[float, int]] = []
        self._peers: dict[bytes, PeerState] = {}
        self._doubted: dict[bool, tuple[bytes, float]] = {}
        """By family (is it IPv6): who did not know the token it gave us, the last one, and when it gave it."""
        self._void: dict[bool, float] = {}
        """Tokens given until then are of an address that is ours no more."""
        self.overall: Final = RoundTrip()
        self.forgotten = 0
        """Peers forgotten so far for want of room."""

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def room(self) -> int:
        """Requests that may still be sent."""
        return self._config.max_in_flight - len(self._pending)

    def peer(self, contact: Contact) -> PeerState | None:
        """What is known of a node at its address, or None if it never answered from there."""
        return self._peers.get(contact.packed)

    def note_signal(self, contact: Contact, now: float) -> None:
        """A node handed us a signal; counts where we know it."""
        peer = self._peers.get(contact.packed)
        if peer is not None:
            peer.spoke = now

    def silent(self, contacts: Collection[Contact], before: float) -> tuple[list[Contact], float]:
        """Those of `contacts` that have not answered since `before`, longest silent first; and when the
        one longest silent of all last answered, 0 for who never did, infinity without any."""
        known = self._peers.get
        seen = [peer.seen if (peer := known(contact.packed)) is not None else 0.0 for contact in contacts]
        oldest = min(seen, default=inf)
        if oldest >= before:
            return [], oldest
        found = [(at, contact) for at, contact in zip(seen, contacts, strict=True) if at < before]
        found.sort(key=itemgetter(0))
        return [contact for _, contact in found], oldest

    def token_for(self, contact: Contact, now: float) -> bytes:
        """The token a node gave us last, while it can still hold there; else no bytes. What it gave over IPv4 says
        nothing of our IPv6 address."""
        peer = self._peers.get(contact.packed)
        if peer is None or now - peer.token_at > self._config.token_rotation:
            return b""
        return peer.token if peer.token_at > self._void.get(":" in contact.ip, 0.0) else b""

    def token_at(self, contact: Contact) -> float:
        """When a node gave us its token last, 0 if it did not."""
        peer = self._peers.get(contact.packed)
        return peer.token_at if peer is not None else 0.0

    def doubt_tokens(self, pending: Pending) -> None:
        """The node asked did not know the token it gave us: a router may have given us another port or address since.

        When two say so, no token as old as that is shown any more, to anybody of that family: each would cost a round
        trip. One alone may lie.
        """
        ipv6 = ":" in pending.contact.ip
        key, at = self._doubted.get(ipv6, (pending.contact.key, 0.0))
        if key != pending.contact.key:
            self._void[ipv6] = max(self._void.get(ipv6, 0.0), min(at, pending.token_at))
        self._doubted[ipv6] = (pending.contact.key, pending.token_at)

    def new_id(self) -> int:
        """A request id nobody can guess."""
        return self._random_bits(64)

    def start(self, pending: Pending, data: bytes, now: float, *, resend: bool, timeout: float | None = None) -> None:
        """Put a sent request under watch. `resend`: send the same datagram once more when it is slow.

        `timeout` in seconds overrides what the round trips suggest; 0 fails it at the next timer.
        """
        pending.data = data if resend else b""
        pending.resend = resend
        pending.sent = now
        if timeout is None:
            slow_after, lost_after = self._patience(pending.contact.packed)
            if resend:
                # The second copy gets as long as a first one to a peer never heard of: whoever pauses for a moment
                # (a collection, a disk flush) must not be written off as dead.
                lost_after = slow_after + max(lost_after, self._config.first_timeout)
        else:
            pending.timed = True
            slow_after, lost_after = timeout / 4, timeout
        pending.deadline = now + lost_after
        self._pending[pending.rid] = pending
        heapq.heappush(self._timers, (now + slow_after, pending.rid))

    def match(self, rid: int, key: bytes, address: Address) -> Pending | None:
        """The request that a reply belongs to, or None: unasked, late, or from somewhere else."""
        pending = self._pending.get(rid)
        if pending is None or pending.contact.key != key or pending.address != address:
            return None
        return pending

    def awaits(self, key: bytes) -> bool:
        """Whether a node owes us a reply."""
        return any(pending.contact.key == key for pending in self._pending.values())

    def finish(self, pending: Pending, token: bytes, now: float) -> float:
        """Take the request off: it was answered. Returns the round trip in seconds."""
        del self._pending[pending.rid]
        key = pending.contact.packed
        peers = self._peers
        # Taken out and put in at the end: the first in the dict is who answered longest ago.
        peer = peers.pop(key, None) or PeerState()
        peers[key] = peer
        if len(peers) > PEERS_KEPT:
            del peers[next(iter(peers))]
            self.forgotten += 1
        rtt = now - pending.sent
        if not (pending.timed or (pending.slow and pending.resend)):
            # Karn's algorithm (RFC 6298 section 3): an answer to a datagram sent twice measures nothing.
            peer.sample(rtt)
            self.overall.sample(rtt)
        peer.failures = 0
        peer.seen = now
        if token:
            peer.token = token
            peer.token_at = now
        return rtt

    def next_timer(self) -> float | None:
        """When the next request becomes slow or lost."""
        timers = self._timers
        while timers and timers[0][1] not in self._pending:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def due(self, now: float) -> list[tuple[Pending, bool]]:
        """Requests that by `now` became slow (False) or are lost and taken off (True), in order of time."""
        found: list[tuple[Pending, bool]] = []
        timers = self._timers
        while timers and timers[0][0] <= now:
            at, rid = heapq.heappop(timers)
            pending = self._pending.get(rid)
            if pending is None:
                continue
            if now - at > STALL and not pending.excused:
                pending.excused = True
                heapq.heappush(timers, (now + EXCUSE, rid))
                continue
            lost = at >= pending.deadline
            if lost:
                del self._pending[rid]
                peer = self._peers.get(pending.contact.packed)
                # What waited for a third party says nothing of the peer that was asked.
                if peer is not None and not pending.timed and pending.sent >= peer.failed_at:
                    peer.failures += 1
                    peer.failed_at = now
            else:
                pending.slow = True
                heapq.heappush(timers, (pending.deadline, rid))
            found.append((pending, lost))
        return found

    def _patience(self, packed: bytes) -> tuple[float, float]:
        """Seconds until a request to a contact is slow, and until it is lost."""
        config = self._config
        peer = self._peers.get(packed)
        known = peer if peer is not None and peer.mean else None
        if known is None:
            overall = self.overall
            if not overall.mean:
                return config.first_timeout / 2, config.first_timeout
            slow = overall.mean + max(_K * overall.deviation, config.min_hedge)
            return min(slow, config.first_timeout / 2), config.first_timeout
        # The floors are of the deviation, not of the whole (RFC 6298 section 2.3, G): where every round trip is as long
        # as the last, an answer must not be late for being no earlier.
        lost = known.mean + max(_K * known.deviation, config.min_timeout)
        if peer is not None and peer.failures:
            lost *= 2 ** min(peer.failures, 4)  # RFC 6298 section 5.5
        lost = min(lost, config.max_timeout)
        slow = known.mean + max(_HEDGE_K * known.deviation, config.min_hedge)
        return min(slow, lost - min(config.min_hedge, lost / 10)), lost
