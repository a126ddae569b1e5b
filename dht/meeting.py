"""Signals and forwarding entries: the peer that wants to be reached, who wants to reach it, the home node between them.
What is inside a signal is `node/protocols`' affair; here it is sealed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dht.constants import KEY_BYTES
from dht.contact import PACKED_V4, PACKED_V6, Address, Contact, unpack_address, unpack_contact
from dht.errors import DecodeError
from dht.events import HomesChanged, SignalDone
from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.keeping import SOON, EntryKeeper, refusal_of
from dht.operation import Context, Operation, QuietWalk
from dht.records import Refusal, peer_place
from dht.requests import Pending
from dht.routing import diverse
from dht.wire import Message, Ping, Pong, Register, Registered, Signal, Signaled

_REGISTER_VALID = 600
"""Seconds a signed registration may be shown: as long as the token inside it can live (BEP 5: 10 minutes)."""

FURTHER: Final = 2
"""Nodes asked beyond those needed when none of them has both families: without one that has, nobody of the other family
can call. UNSOURCED: among nodes of which a third has both, that finds one for 87 of 100 peers."""


CHECKS: Final = 2
"""Questions, each sent twice, that a home node leaves unanswered before it counts as dead. Where one datagram in twenty
is lost, and a question or its answer one time in ten, that mistakes one in 10,000: at a question every 6 s to each of
three, one in six hours. UNSOURCED beyond that."""


LEAST_KEEPALIVE: Final = 15.0
"""Seconds to which the interval between renewals shrinks at the most: the interval that RFC 6263
gives keep-alives over UDP by default (Tr). Behind a router that forgets sooner nobody can be called."""

SHORTER: Final = 2 / 3
"""Of an interval that a router's mapping did not outlive, the next that is tried. UNSOURCED: 60 s, 40, 27, 18, 15."""


class SignalOperation(Operation):
    """Sends a blob through every home node at once; the first acknowledgement by the peer ends it well."""

    def __init__(self, context: Context, op: int, recipient: bytes, reply: bytes, blob: bytes) -> None:
        super().__init__(context, op)
        self._fields = (recipient, reply, blob)
        self._ways: dict[Contact, Refusal | None] = {}
        self._retried: set[Contact] = set()

    def start(self, homes: Sequence[Contact], now: float) -> None:
        """Send through each of `homes`."""
        for home in dict.fromkeys(homes):
            self._ways[home] = None
        for home in list(self._ways):
            self._send(home, now)
        if not self._ways:
            self._end(Refusal.NOT_REGISTERED)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """One way has an outcome."""
        if not isinstance(message, Signaled):
            return
        refusal = refusal_of(message.status)
        if refusal is Refusal.BAD_TOKEN and pending.contact not in self._retried:
            self._retried.add(pending.contact)
            self._send(pending.contact, now)
            return
        self._settle(pending.contact, refusal)

    def on_failure(self, pending: Pending, now: float) -> None:
        """That home node is silent."""
        self._settle(pending.contact, Refusal.TIMEOUT)

    def _send(self, home: Contact, now: float) -> None:
        # The home node answers only when the peer has: no round trip to measure, and a time-out of its own.
        timeout = self.context.config.signal_timeout
        self.context.request(home, self, Signal, self._fields, now, resend=True, timeout=timeout)

    def _settle(self, home: Contact, refusal: Refusal) -> None:
        self._ways[home] = refusal
        if self.ended:
            return
        if refusal is Refusal.NONE:
            self._end(Refusal.NONE)
        elif all(way is not None for way in self._ways.values()):
            self._end(next((way for way in self._ways.values() if way is not Refusal.TIMEOUT and way), Refusal.TIMEOUT))

    def _end(self, refusal: Refusal) -> None:
        self.ended = True
        ways = tuple((home, way) for home, way in self._ways.items() if way is not None)
        self.context.emit(SignalDone(self.op, refusal, ways))


class Forward(Operation):
    """Hands a signal on to the registered peer and tells the sender what became of it.

    Nothing is repeated of its own accord, but once when the sender has repeated it: so nobody can have a home node send
    a peer more than was sent to it.
    """

    def __init__(
        self, context: Context, peer: Contact, fields: tuple[object, ...], answer: Callable[[Refusal, float], None]
    ) -> None:
        """`fields`: recipient, reply handle and blob, as they came."""
        super().__init__(context, 0)
        self._peer = peer
        self._fields = fields
        self._answer = answer
        self._repeated = False

    def start(self, now: float) -> None:
        """Forward."""
        timeout = self.context.config.signal_timeout * 0.75
        self.context.request(self._peer, self, Signal, self._fields, now, timeout=timeout)

    def again(self, now: float) -> None:
        """The sender has heard nothing yet, and sent it once more."""
        if not self._repeated:
            self._repeated = True
            self.start(now)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """The peer spoke."""
        if isinstance(message, Signaled):
            self._end(refusal_of(message.status), now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """The peer did not."""
        self._end(Refusal.UNREACHED, now)

    def _end(self, refusal: Refusal, now: float) -> None:
        if not self.ended:
            self.ended = True
            self._answer(refusal, now)


class HomeKeeper(EntryKeeper):
    """Keeps forwarding entries for one identity alive at the nodes closest to its place that grant one."""

    def __init__(self, context: Context, identity: IdentityKey, now: float) -> None:
        super().__init__(context, peer_place(identity.public), context.config.homes, now)
        self._identity = identity
        self._reported: tuple[tuple[Contact, ...], ...] = ()
        self._asked: set[Contact] = set()
        """Home nodes that are asked at present whether they live."""
        self._silent: dict[Contact, int] = {}
        """Questions in a row that home nodes have left unanswered."""
        self._keepalive = context.config.home_keepalive
        self._observed: tuple[Contact, Address] | None = None
        """Which home node last saw us where."""
        self._plain: set[Contact] = set()
        """Who was asked beyond those needed, and has no other address either."""
        self._others: dict[Contact, Contact] = {}
        """Home nodes, and where those reach them that cannot send to the address we know."""

    @property
    def elsewhere(self) -> tuple[Contact, ...]:
        """The home nodes that have an address of the family we do not reach them by, at that address."""
        return tuple(self._others[home] for home in self.homes if home in self._others)

    @property
    def homes(self) -> tuple[Contact, ...]:
        """The nodes that forward to us, nearest to our place first."""
        return tuple(sorted(self.entries, key=lambda home: home.long_id ^ self.target))

    @property
    def lifetime(self) -> float:
        """Seconds a forwarding entry lives."""
        return self.context.config.home_lifetime

    @property
    def keepalive(self) -> float:
        """Seconds between renewals: fewer where the router before us has been seen to forget sooner."""
        return self._keepalive

    def renew_all(self, now: float) -> None:
        """We are on another network: what was learnt of the last one's router says nothing."""
        self._keepalive = self.context.config.home_keepalive
        self._observed = None
        super().renew_all(now)

    def tick(self, now: float) -> float:
        """Do what is due; ask home nodes that have been silent for long, all together."""
        if self._checking:
            early = now - self.context.config.home_check + max(SOON, self.context.config.timer_slack)
            for home in self.entries:
                if home not in self.trying and home not in self._asked and self._heard(home) <= early:
                    self._check(home, now)
        return super().tick(now)

    def next_tick(self, now: float) -> float:
        """When something is to be done: at the latest when a home node has been silent for too long."""
        at = super().next_tick(now)
        if self._checking:
            check = self.context.config.home_check
            quiet = [
                self._heard(home) + check
                for home in self.entries
                if home not in self.trying and home not in self._asked
            ]
            at = min(at, max(now + SOON, min(quiet, default=at)))
        return at

    @property
    def _checking(self) -> bool:
        """Whether home nodes are asked between renewals."""
        return self.context.config.home_check < self.context.config.home_keepalive

    def _heard(self, home: Contact) -> float:
        peer = self.context.requests.peer(home)
        return peer.seen if peer is not None else 0.0

    def _check(self, home: Contact, now: float) -> None:
        self._asked.add(home)
        self.context.request(home, self, Ping, (), now, tag=Ping, resend=True)

    def on_failure(self, pending: Pending, now: float) -> None:
        """A home node is silent. Datagrams get lost: it is replaced when it leaves a second question unanswered."""
        home = pending.contact
        if pending.tag is Ping:
            self._asked.discard(home)
            if home not in self.entries:
                return  # it has been replaced meanwhile
        self._silent[home] = self._silent.get(home, 0) + 1
        if home in self.entries and self._silent[home] < CHECKS:
            self.trying.pop(home, None)
            self._check(home, now)
            self.wanted(self.next_tick(now))
        else:
            self._silent.pop(home)
            super().on_failure(pending, now)

    def ask(self, node: Contact, now: float) -> None:
        """Register."""
        token = self.context.requests.token_for(node, now)
        expires = int(now) + _REGISTER_VALID
        signature = self._identity.sign(registration_message(self.context.own_key, node.key, token, expires))
        self.context.request(node, self, Register, (self._identity.public.raw, expires, signature), now, resend=True)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """A registration's outcome."""
        self._silent.pop(pending.contact, None)
        if pending.tag is Ping:
            self._asked.discard(pending.contact)
            if isinstance(message, Pong):
                self._look_at_mapping(pending.contact, message.observed)
            self.wanted(self.next_tick(now))
            return
        if not isinstance(message, Registered):
            return
        refusal = refusal_of(message.status)
        if refusal not in (Refusal.NONE, Refusal.BAD_TOKEN):
            self.context.count("register_refused_" + refusal.name.lower())
        self._others.pop(pending.contact, None)
        if refusal is Refusal.NONE and (other := _other(pending.contact, message.other)) is not None:
            self._others[pending.contact] = other
        if refusal is Refusal.NONE and not self._checking and pending.contact in self.homes[:1]:
            # Right behind a renewal, by the mapping that it went out by: where does the nearest one see us now?
            self._check(pending.contact, now)
        self.settle(pending.contact, refusal, message.lifetime, now)

    def _look_at_mapping(self, home: Contact, packed: bytes) -> None:
        """Renew sooner from now on where the router has given us another port since the last time: between the two it
        had forgotten us, and a signal would have been lost. One that gives the same port again is not found out."""
        try:
            observed = unpack_address(packed)
        except DecodeError:
            return  # the engine counts it
        last, self._observed = self._observed, (home, observed)
        if self._checking or last is None or last[0] != home or last[1][0] != observed[0] or last[1] == observed:
            return
        self._keepalive = min(self._keepalive, max(LEAST_KEEPALIVE, self._keepalive * SHORTER))
        self.context.count("mapping_lost")

    def settle(self, node: Contact, refusal: Refusal, lifetime: float, now: float) -> None:
        """A node has answered. One more than enough was asked because none had both families: it stays if it has."""
        further = refusal is Refusal.NONE and node not in self.entries and len(self.entries) >= self.count
        if further and node not in self._others:
            self.trying.pop(node, None)
            self._plain.add(node)
        else:
            if further:
                del self.entries[max(self.entries, key=lambda home: home.long_id ^ self.target)]
            super().settle(node, refusal, lifetime, now)
        self._look_further(now)

    def _look_further(self, now: float) -> None:
        if self.trying or len(self.entries) < self.count or any(home in self._others for home in self.entries):
            return
        nearest = [candidate for candidate in self.candidates if candidate not in self.entries][:FURTHER]
        if further := [candidate for candidate in nearest if candidate not in self.refused | self._plain]:
            self._try(further[0], 1, now)

    def look(self, now: float) -> None:
        """Walk to our place."""
        # Few nodes: look again soon, they are still arriving. Otherwise nearer nodes appear at the pace of churn.
        thin = len(self.entries) < self.count
        self.next_look = now + (self.beat if thin else self.context.config.refresh_interval / 4)
        QuietWalk(self.context, self.place, now, self._on_walk).start(now)

    def _on_walk(self, closest: list[Contact], now: float) -> None:
        config = self.context.config
        candidates = diverse(closest, config.k, config.bucket_prefix_limit)
        wanted = candidates[: self.count]
        both = [candidate for candidate in candidates if candidate in self.entries and candidate in self._others]
        if both and not any(candidate in both for candidate in wanted):
            wanted[-1] = both[0]
        if len(wanted) == self.count:
            for home in [home for home in self.entries if home not in wanted]:
                del self.entries[home]  # a nearer node takes its place; the entry there runs out by itself
        self._plain.clear()
        self.found(candidates, now)

    def changed(self, now: float) -> None:
        """Report the home nodes when they are others."""
        homes, elsewhere = self.homes, self.elsewhere
        if (homes, elsewhere) != self._reported and not self.trying:
            self._reported = homes, elsewhere
            self.context.emit(HomesChanged(self._identity.public.raw, homes, elsewhere))


def _other(home: Contact, packed: bytes) -> Contact | None:
    """The other address that a home node says it has; None where that is no host's address of the other family."""
    if len(packed) not in (PACKED_V4 - KEY_BYTES, PACKED_V6 - KEY_BYTES):
        return None
    other = unpack_contact(home.key + packed)
    if other is None or (":" in other.ip) == (":" in home.ip) or (other.exempt and not home.exempt):
        return None
    return other
