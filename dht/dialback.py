"""Finding out how we are seen: a round asks a few contacts for our address, and to dial back from another socket.

Both sides are here. The dialled address is always the asker's own, proven by its token, so nobody else can be made a
target; a probe is shorter than the request for it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from dht.contact import Address, Contact
from dht.limits import RateLimiter
from dht.operation import Context, Operation
from dht.records import Refusal
from dht.requests import Pending
from dht.responder import Asking
from dht.routing import diverse
from dht.wire import DialBack, Dialed, Message, Ping, Pong

VOTERS: Final = 5
"""Contacts asked in a round: enough for three votes with two of them dead."""

ROUND_SECONDS: Final = 3.0
"""How long probes may take. UNSOURCED: the longest time-out."""

DIAL_RATE: Final = 0.5
"""Dial-backs a second made for one source; a round needs one, and its repetition at a new token another."""


class DialBackRound(Operation):
    """One round: PING for the vote and the token, then DIAL_BACK where our role is to be decided."""

    def __init__(
        self, context: Context, rng: Random, now: float, *, dial: bool, done: Callable[[int, int, float], None]
    ) -> None:
        super().__init__(context, 0)
        self._rng = rng
        self._dial = dial
        self._done = done
        self._nonces: dict[bytes, bytes] = {}
        self._reached: set[bytes] = set()
        self._asked: set[Address] = set()
        self._awaited: set[bytes] = set()
        """Whose pong or probe may still come."""
        self.ends = now + ROUND_SECONDS

    def start(self, contacts: list[Contact], now: float) -> None:
        """Ask up to five contacts of different networks."""
        order = list(contacts)
        self._rng.shuffle(order)
        chosen = diverse(order, VOTERS, 1)
        self._awaited.update(contact.key for contact in chosen)
        self._asked.update(contact.address for contact in chosen)
        for contact in chosen:
            self.context.request(contact, self, Ping, (), now)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """A vote came (the engine counts it): ask for the probe. Or the probe is on its way."""
        key = pending.contact.key
        if self.ended:
            return
        if isinstance(message, Pong) and self._dial:
            self._nonces[key] = self._rng.randbytes(8)
            self.context.request(pending.contact, self, DialBack, (self._nonces[key],), now)
        elif isinstance(message, Pong):
            self._settle(key, now)
        elif isinstance(message, Dialed) and message.status != Refusal.NONE:
            self._nonces.pop(key, None)
            self._settle(key, now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """No vote and no probe from there. Where only DIALED is missing, the probe may still come."""
        if pending.contact.key not in self._nonces:
            self._settle(pending.contact.key, now)

    def on_probe(self, key: bytes, nonce: bytes, source: Address, now: float) -> bool:
        """A PROBE came in from the node `key` at `source`. Returns whether it was asked for, and proves something: from
        the socket we wrote to it would get through any NAT."""
        if self.ended or self._nonces.get(key) != nonce or source in self._asked:
            return False
        self._reached.add(key)
        self._settle(key, now)
        return True

    def finish(self, now: float) -> None:
        """The time is up, or there is nobody left to hear of."""
        if not self.ended:
            self.ended = True
            self._done(len(self._reached), len(self._nonces), now)

    def _settle(self, key: bytes, now: float) -> None:
        self._awaited.discard(key)
        if not self._awaited:
            self.finish(now)


class DialBackAnswers:
    """The other side: who may have a probe."""

    def __init__(self) -> None:
        self._limit = RateLimiter(DIAL_RATE, 4.0)

    def judge(self, asking: Asking, source: object, now: float) -> Refusal:
        """Whether to dial back to who asks."""
        if not asking.proven:
            return Refusal.BAD_TOKEN
        return Refusal.NONE if self._limit.allow(source, now) else Refusal.RATE_LIMITED
