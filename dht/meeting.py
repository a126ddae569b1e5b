"""Signals: who wants to reach a peer, and the home node between them. What keeps a peer's home nodes is in
`dht/meeting_homes.py`; what is inside a signal is `node/protocols`' affair, here it is sealed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dht.contact import Contact
from dht.events import SignalDone
from dht.keeping import refusal_of
from dht.operation import Context, Operation
from dht.records import Refusal
from dht.requests import Pending
from dht.wire import Message, Signal, Signaled


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
