"""Signals and forwarding entries: the peer that wants to be reached, who wants to reach it, the home node between them.
What is inside a signal is `node/protocols`' affair; here it is sealed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dht.contact import Contact
from dht.events import HomesChanged, SignalDone
from dht.forwarding import registration_message
from dht.identity import IdentityKey
from dht.operation import Context, Operation, QuietWalk
from dht.records import Refusal, peer_place
from dht.requests import Pending
from dht.routing import diverse
from dht.wire import Message, Register, Registered, Signal, Signaled

_LOST_AFTER = 5.0
"""Seconds a home node has to answer when our address has changed. UNSOURCED: longer than the longest time-out."""

_REGISTER_VALID = 600
"""Seconds a signed registration may be shown: as long as the token inside it can live (BEP 5: 10 minutes)."""


def _refusal(status: int) -> Refusal:
    try:
        return Refusal(status)
    except ValueError:
        return Refusal.UNKNOWN_VERSION


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
        refusal = _refusal(message.status)
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
    """Hands a signal on to the registered peer and tells the sender what became of it."""

    def __init__(self, context: Context, answer: Callable[[Refusal, float], None]) -> None:
        super().__init__(context, 0)
        self._answer = answer

    def start(self, contact: Contact, recipient: bytes, reply: bytes, blob: bytes, now: float) -> None:
        """Forward."""
        timeout = self.context.config.signal_timeout * 0.75
        self.context.request(contact, self, Signal, (recipient, reply, blob), now, resend=True, timeout=timeout)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """The peer spoke."""
        if isinstance(message, Signaled):
            self._answer(_refusal(message.status), now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """The peer did not."""
        self._answer(Refusal.UNREACHED, now)


class HomeKeeper(Operation):
    """Keeps forwarding entries for one identity alive at the nodes closest to its place that grant one.

    Never ends: `tick` renews what is due, and walks anew when an entry is lost or once in a while, since nearer nodes
    may have joined.
    """

    def __init__(self, context: Context, identity: IdentityKey, now: float) -> None:
        super().__init__(context, 0)
        self._identity = identity
        self._place = peer_place(identity.public)
        self._target = int.from_bytes(self._place, "big")
        self._candidates: list[Contact] = []
        self._homes: dict[Contact, float] = {}
        """Home nodes and when their entry ends."""
        self._trying: dict[Contact, int] = {}
        self._refused: set[Contact] = set()
        self._walk: QuietWalk | None = None
        self._next_walk = now
        self._reported: tuple[Contact, ...] = ()

    @property
    def homes(self) -> tuple[Contact, ...]:
        """The nodes that forward to us, nearest to our place first."""
        return tuple(sorted(self._homes, key=lambda home: home.long_id ^ self._target))

    def tick(self, now: float) -> float:
        """Do what is due. Returns when to call again."""
        config = self.context.config
        for home in [home for home, until in self._homes.items() if until <= now]:
            del self._homes[home]
        renew_before = now + config.home_lifetime - config.home_keepalive
        for home in [home for home, until in self._homes.items() if until <= renew_before]:
            if home not in self._trying:
                self._register(home, now)
        if self._walk is None and now >= self._next_walk:
            self._look(now)
        self._report()
        return now + config.home_keepalive / 5

    def renew_all(self, now: float) -> None:
        """Our address is another: register everywhere again, now."""
        self._homes = dict.fromkeys(self._homes, now + _LOST_AFTER)
        self._next_walk = min(self._next_walk, now)

    def look_soon(self, now: float) -> None:
        """The network around us has changed: look for home nodes at the next tick."""
        self._next_walk = min(self._next_walk, now)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """A registration's outcome."""
        if not isinstance(message, Registered):
            return
        home = pending.contact
        tries = self._trying.pop(home, 0)
        refusal = _refusal(message.status)
        if refusal is Refusal.NONE:
            self._homes[home] = now + min(message.lifetime, self.context.config.home_lifetime)
        elif refusal is Refusal.BAD_TOKEN and tries < 2:
            self._register(home, now, tries=tries + 1)
            return
        else:
            self.context.count("register_refused_" + refusal.name.lower())
            self._lose(home, now)
        self._report()

    def on_failure(self, pending: Pending, now: float) -> None:
        """A home node is gone: take the next candidate, and look for nearer ones."""
        self._trying.pop(pending.contact, None)
        self._lose(pending.contact, now)
        self._report()

    def _lose(self, home: Contact, now: float) -> None:
        self._homes.pop(home, None)
        self._refused.add(home)
        self._fill(now)
        if len(self._homes) + len(self._trying) < self.context.config.homes:
            self._next_walk = min(self._next_walk, now + self.context.config.home_keepalive / 5)

    def _look(self, now: float) -> None:
        config = self.context.config
        # Few nodes: look again soon, they are still arriving. Otherwise nearer nodes appear at the pace of churn.
        thin = len(self._homes) < config.homes
        self._next_walk = now + (config.home_keepalive / 5 if thin else config.refresh_interval / 4)
        self._walk = QuietWalk(self.context, self._place, now, self._on_walk)
        self._walk.start(now)

    def _on_walk(self, closest: list[Contact], now: float) -> None:
        self._walk = None
        config = self.context.config
        self._refused.clear()
        self._candidates = diverse(closest, config.k, config.bucket_prefix_limit)
        wanted = self._candidates[: config.homes]
        if len(wanted) == config.homes:
            for home in [home for home in self._homes if home not in wanted]:
                del self._homes[home]  # a nearer node takes its place; the entry there runs out by itself
        self._fill(now)
        self._report()

    def _fill(self, now: float) -> None:
        for candidate in self._candidates:
            if len(self._homes) + len(self._trying) >= self.context.config.homes:
                break
            if candidate not in self._homes and candidate not in self._trying and candidate not in self._refused:
                self._register(candidate, now)

    def _register(self, home: Contact, now: float, *, tries: int = 1) -> None:
        self._trying[home] = tries
        token = self.context.requests.token_for(home.key, now)
        expires = int(now) + _REGISTER_VALID
        signature = self._identity.sign(registration_message(self.context.own_key, home.key, token, expires))
        self.context.request(home, self, Register, (self._identity.public.raw, expires, signature), now, resend=True)

    def _report(self) -> None:
        homes = self.homes
        if homes != self._reported and not self._trying:
            self._reported = homes
            self.context.emit(HomesChanged(self._identity.public.raw, homes))
