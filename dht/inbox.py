"""Answers to the requests of meeting: SIGNAL, REGISTER, REGISTER_FOR and DIAL_BACK; the signals that are for us."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from dht.config import DhtConfig
from dht.contact import Address, Contact, pack_address
from dht.dialback import DialBackAnswers
from dht.events import ProbeRequested, SignalReceived
from dht.exchange import Exchange
from dht.forwarding import Forwarding
from dht.forwarding_reminders import Reminders
from dht.identity import IdentityKey, PublicKey
from dht.limits import RateLimiter, source_of
from dht.meeting import Forward
from dht.operation import Context
from dht.records import Refusal, peer_place
from dht.responder import Asking
from dht.wire import Again, DialBack, Dialed, Message, Probe, Register, Registered, RegisterFor, Signal, Signaled

_HANDLE_LIFETIME: Final = 60.0
"""Seconds we take answers under a reply handle of ours. UNSOURCED: twice what home nodes keep theirs."""

_MAX_HANDLES: Final = 1024
"""Reply handles of ours remembered: more meetings than begin in a minute."""


class Inbox:
    """What is handed to us for somebody, ourselves included."""

    def __init__(
        self, context: Context, exchange: Exchange, config: DhtConfig, public: Callable[[], tuple[Address, ...]]
    ) -> None:
        """`public`: where the network reaches us, one address a family."""
        self._context = context
        self._exchange = exchange
        self._public = public
        self._forwarding = Forwarding(config, context.own_key)
        self._dial_backs = DialBackAnswers()
        self._identities: set[bytes] = set()
        self._handles: OrderedDict[bytes, float] = OrderedDict()
        self._own_rate = RateLimiter(config.signal_rate * 4, config.signal_rate * 16)
        self._in_flight: dict[tuple[bytes, int], Forward] = {}
        self._reminders = Reminders()

    @property
    def due(self) -> float:
        """When `tick` is to be called, Unix seconds."""
        return self._reminders.due

    def tick(self, now: float) -> None:
        """Say AGAIN to those who wanted to hear it by now."""
        for contact, rid in self._reminders.take_due(now):
            self._exchange.send(contact.key, contact.address, Again(rid, b""))

    @property
    def forwards(self) -> int:
        """Forwarding entries held for others."""
        return len(self._forwarding)

    def registered(self, recipient: bytes, now: float) -> Contact | None:
        """Who is registered here as `recipient`."""
        return self._forwarding.find(recipient, now)

    def serve(self, identity: IdentityKey) -> None:
        """Take signals for this identity."""
        self._identities.add(peer_place(identity.public))

    def expect(self, handle: bytes, now: float) -> None:
        """Take answers under this reply handle for a while."""
        self._handles[handle] = now + _HANDLE_LIFETIME
        while len(self._handles) > _MAX_HANDLES or next(iter(self._handles.values())) <= now:
            self._handles.popitem(last=False)

    def on_signal(
        self, request: Signal, contact: Contact, asking: Asking, now: float, *, server: bool
    ) -> Message | None:
        """SIGNAL → SIGNALED; None while the peer it is forwarded to has not answered."""
        refusal = self._judge_signal(request, contact, asking, now, server=server)
        return None if refusal is None else Signaled(request.rid, asking.token, refusal)

    def on_register(self, request: Register, contact: Contact, asking: Asking, now: float) -> Message:
        """REGISTER or REGISTER_FOR → REGISTERED."""
        refusal, lifetime = Refusal.BAD_TOKEN, 0.0
        if asking.proven:
            refusal, lifetime = self._forwarding.register(
                request.owner,
                contact,
                request.token,
                request.expires,
                request.signature,
                now,
                wanted=request.lifetime if isinstance(request, RegisterFor) else 0.0,
            )
        if refusal is Refusal.NONE:
            again = request.again if isinstance(request, RegisterFor) else 0
            self._reminders.set(peer_place(PublicKey(request.owner)), contact, request.rid, again, now)
        ipv6 = ":" in asking.address[0]
        elsewhere = (pack_address(own) for own in self._public() if (":" in own[0]) != ipv6)
        other = next(elsewhere, b"") if refusal is Refusal.NONE else b""
        return Registered(request.rid, asking.token, refusal, int(lifetime), other)

    def on_dial_back(self, request: DialBack, asking: Asking, now: float) -> Message:
        """DIAL_BACK → DIALED, and a probe from another socket."""
        refusal = self._dial_backs.judge(asking, source_of(asking.address), now)
        if refusal is Refusal.NONE:
            probe = self._exchange.seal(asking.key, Probe(self._exchange.requests.new_id(), b"", request.nonce))
            self._context.emit(ProbeRequested(probe, asking.address))
        return Dialed(request.rid, asking.token, refusal)

    def _judge_signal(
        self, request: Signal, contact: Contact, asking: Asking, now: float, *, server: bool
    ) -> Refusal | None:
        recipient = request.recipient
        ours = recipient in self._identities or self._handles.get(recipient, 0.0) > now
        if ours:
            if not self._own_rate.allow(asking.key, now):
                return Refusal.RATE_LIMITED
            self._context.emit(SignalReceived(recipient, request.reply, request.blob, contact))
            return Refusal.NONE
        if not server:
            return Refusal.NOT_SERVER
        if not asking.proven:
            return Refusal.BAD_TOKEN
        peer = self._forwarding.find(recipient, now)
        if peer is None:
            return Refusal.NOT_REGISTERED
        if not self._forwarding.allow(recipient, now):
            return Refusal.RATE_LIMITED
        if request.reply and not self._forwarding.remember_reply(request.reply, contact, now):
            return Refusal.CONFLICT
        under_way = self._in_flight.get((asking.key, request.rid))
        if under_way is not None:
            under_way.again(now)
            return None
        answer = self._answer_later(request.rid, asking.key, asking.address, asking.token)
        forward = Forward(self._context, peer, (recipient, request.reply, request.blob), answer)
        self._in_flight[asking.key, request.rid] = forward
        forward.start(now)
        return None

    def _answer_later(self, rid: int, key: bytes, address: Address, token: bytes) -> Callable[[Refusal, float], None]:
        def answer(refusal: Refusal, now: float) -> None:
            self._in_flight.pop((key, rid), None)
            self._exchange.send(key, address, Signaled(rid, token, refusal))

        return answer
