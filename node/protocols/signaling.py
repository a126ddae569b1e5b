"""Offers and answers between two identities, sealed, through the peer's home nodes.

Decides sessions: one retry through other home nodes, one answer for an offer, a verdict for every call. Refuses to know
what is offered, how signals are forwarded, and what time it is.

Both call each other at once: the offer of the lower key (as 32 bytes) counts, as one side of RFC 8445's role conflict
yields (section 7.3.1.1). The loser's call ends in the winner's offer. The winner sends its offer once more through
the loser's reply handle, a way that has just been shown to work.

Who may be refused: only an authenticated sender hears a reason. Rubbish, replays and whoever is over its rate get
silence.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dht.constants import SIGNAL_HANDLE_BYTES
from dht.contact import Contact
from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey, PublicKey
from dht.records import Refusal, peer_place
from node.protocols.signaling_events import (
    AnswerReceived,
    CallFailed,
    CallRefused,
    Fault,
    HomesWanted,
    OfferReceived,
    OutgoingSignal,
    Reason,
    SignalingEvent,
)
from node.protocols.signaling_guard import Guard
from node.protocols.signaling_seal import SESSION_BYTES, Signal, SignalKind, box_key, seal, unseal

HOMES_AT_ONCE: Final = 3
"""Home nodes asked in parallel: as many as a peer has, so that one alive is enough."""

RETRY_AFTER: Final = 3.0
"""Seconds without an answer until the second attempt. UNSOURCED: several round trips and the gathering of candidates"""

CALL_TIMEOUT: Final = 10.0
"""Seconds until a call has failed. UNSOURCED: the retry, and as long again as a slow peer takes."""

ANSWER_LIFETIME: Final = 30.0
"""Seconds an offer can be answered: as long as its reply handle lives at the home node."""

MAX_CALLS: Final = 64
"""Own calls under way. UNSOURCED"""

MAX_OFFERS: Final = 64
"""Offers remembered for their answer; further ones are refused as busy. UNSOURCED: 64 kB"""

RESENDS: Final = 2 * HOMES_AT_ONCE
"""Times an offer that comes again gets its answer again: each attempt comes by as many ways as there are homes."""

_WORST_FIRST: Final = (Refusal.UNREACHED, Refusal.NOT_REGISTERED)
"""Of several outcomes, the one that came nearest to the peer is told."""


class TooManyCalls(LocalError):
    """Raised when a call is one too many, or a second one to the same peer."""


@dataclass(slots=True)
class _Call:
    """An offer of ours that waits for its answer."""

    peer: PublicKey
    session: bytes
    payload: bytes
    homes: list[Contact]
    deadline: float
    retry_at: float
    attempts: int = 0
    unsettled: int = 0
    """Signals handed out whose outcome is not known."""
    delivered: bool = False
    rubbish: bool = False
    outcomes: set[Refusal] = field(default_factory=set)
    handles: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Offer:
    """A peer's offer that we answer, or have answered."""

    peer: PublicKey
    session: bytes
    payload: bytes
    expires: float
    ways: list[tuple[bytes, Contact]]
    """Reply handles and the nodes they are known at."""
    answer: tuple[SignalKind, bytes] | None = None
    resends: int = RESENDS


class Signaling:
    """One identity's calls. `rng` makes keys: outside of simulations it must be `random.SystemRandom`."""

    def __init__(self, identity: IdentityKey, rng: random.Random) -> None:
        self._identity = identity
        self._box_secret = identity.curve25519_secret()
        self._place = peer_place(identity.public)
        self._rng = rng
        self._guard = Guard()
        self._calls: dict[bytes, _Call] = {}
        self._handles: dict[bytes, _Call] = {}
        self._offers: dict[tuple[bytes, bytes], _Offer] = {}
        self._outgoing: deque[OutgoingSignal] = deque()
        self._events: deque[SignalingEvent] = deque()
        self.counters: Counter[str] = Counter()
        """Why incoming signals were dropped, and how calls ended."""

    # Commands

    def call(self, peer: PublicKey, homes: Sequence[Contact], payload: bytes, now: float) -> bytes:
        """Offer `payload` to `peer` through its `homes`, best first; returns the session. Raises `TooManyCalls`."""
        if peer == self._identity.public:
            raise LocalError(f"{peer.short}… is this node itself: there is nobody else to call")
        if len(self._calls) >= MAX_CALLS or self.calling(peer):
            raise TooManyCalls(f"a call to {peer.short}… is under way, or {MAX_CALLS} calls are")
        box_key(peer)  # Raises for a key that nobody can hold the secret of.
        self._guard.make_known(peer.raw)
        session = self._rng.randbytes(SESSION_BYTES)
        call = _Call(peer, session, payload, list(dict.fromkeys(homes)), now + CALL_TIMEOUT, now + RETRY_AFTER)
        self._calls[session] = call
        self._attempt(call, now)
        return session

    def calling(self, peer: PublicKey) -> bool:
        """Whether a call to `peer` is under way."""
        return self._call_to(peer) is not None

    def more_homes(self, session: bytes, homes: Iterable[Contact], now: float) -> None:
        """Answer `HomesWanted` with what a fresh look-up found; empty when it found nothing."""
        call = self._calls.get(session)
        if call is None:
            return
        call.homes = list(dict.fromkeys(homes))
        if call.homes:
            self._send_offer(call, now)
        elif not call.delivered:
            self._fail(call)

    def signal_done(self, session: bytes, refusal: Refusal, now: float) -> None:
        """Take what came of an `OutgoingSignal` of a call."""
        call = self._calls.get(session)
        if call is None:
            return
        call.unsettled -= 1
        if refusal is Refusal.NONE:
            call.delivered = True
            return
        call.outcomes.add(refusal)
        if call.unsettled or call.delivered:
            return
        if call.attempts < 2:
            self._attempt(call, now)
        else:
            self._fail(call)

    def cancel(self, session: bytes) -> None:
        """Forget a call: nobody waits for its answer."""
        if (call := self._calls.get(session)) is not None:
            self._end(call)

    def answer(self, offer: OfferReceived, payload: bytes, now: float) -> bool:
        """Answer an offer; false when it came too late for that."""
        return self._reply(offer, SignalKind.ANSWER, payload, now)

    def refuse(self, offer: OfferReceived, reason: Reason, now: float) -> bool:
        """Refuse an offer with a reason; false when it came too late for that."""
        return self._reply(offer, SignalKind.REFUSAL, bytes((reason,)), now)

    # Signals in and out

    def receive_signal(self, recipient: bytes, reply: bytes, blob: bytes, via: Contact, now: float) -> None:
        """Take a signal that the engine received. Never raises for what is in it."""
        call = self._handles.get(recipient)
        if call is None and recipient != self._place:
            self.counters["late_or_unknown"] += 1
            return
        try:
            signal = unseal(blob, self._identity, self._box_secret)
        except DecodeError:
            self.counters["undecodable"] += 1
            if call is not None:
                call.rubbish = True
            return
        if signal.kind is SignalKind.OFFER:
            self._on_offer(signal, reply, via, now)
        elif call is None or signal.session != call.session or signal.sender != call.peer:
            self.counters["misdirected"] += 1
            if call is not None:
                call.rubbish = True
        elif signal.kind is SignalKind.ANSWER:
            self._end(call)
            self._report(AnswerReceived(call.peer, call.session, signal.payload))
        else:
            self._end(call)
            self._report(CallRefused(call.peer, call.session, _reason(signal.payload)))

    def signals_to_send(self) -> list[OutgoingSignal]:
        """Hand out what is to be sent, once."""
        out = list(self._outgoing)
        self._outgoing.clear()
        return out

    def next_timer(self) -> float | None:
        """Say when `handle_timer` wants to be called."""
        times = [min(call.deadline, call.retry_at) for call in self._calls.values()]
        times += [offer.expires for offer in self._offers.values()]
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """Retry, give up and forget what is due."""
        for call in list(self._calls.values()):
            if call.deadline <= now:
                self._fail(call)
            elif call.retry_at <= now:
                self._attempt(call, now)
        for key in [key for key, offer in self._offers.items() if offer.expires <= now]:
            if self._offers.pop(key).answer is None:
                self.counters["unanswered"] += 1

    def next_event(self) -> SignalingEvent | None:
        """Hand out the next thing to report, once."""
        return self._events.popleft() if self._events else None

    # Calling

    def _attempt(self, call: _Call, now: float) -> None:
        call.attempts += 1
        if call.attempts >= 2:
            call.retry_at = call.deadline
        if call.homes:
            self._send_offer(call, now)
        else:
            self._report(HomesWanted(call.peer, call.session))

    def _send_offer(self, call: _Call, now: float) -> None:
        homes, call.homes = call.homes[:HOMES_AT_ONCE], call.homes[HOMES_AT_ONCE:]
        self._send_offer_to(call, peer_place(call.peer), tuple(homes), now)

    def _send_offer_to(self, call: _Call, recipient: bytes, homes: tuple[Contact, ...], now: float) -> None:
        handle = self._rng.randbytes(SIGNAL_HANDLE_BYTES)
        call.handles.append(handle)
        self._handles[handle] = call
        call.unsettled += 1
        blob = self._seal(SignalKind.OFFER, call.peer, call.session, call.payload, now)
        self._outgoing.append(OutgoingSignal(recipient, blob, homes, handle, call.session))

    def _end(self, call: _Call) -> None:
        self._calls.pop(call.session, None)
        for handle in call.handles:
            self._handles.pop(handle, None)

    def _fail(self, call: _Call) -> None:
        self._end(call)
        told = next((one for one in _WORST_FIRST if one in call.outcomes), None)
        if call.rubbish:
            fault, detail = Fault.BAD_ANSWER, "what came back was not sealed and signed by the peer for this call"
        elif call.delivered:
            fault, detail = Fault.NO_ANSWER, f"the peer took the offer and sent no answer within {CALL_TIMEOUT:.0f} s"
        elif told is Refusal.UNREACHED:
            fault, detail = Fault.UNREACHED, "a home node forwarded the offer, and the peer did not take it"
        elif told is Refusal.NOT_REGISTERED:
            fault, detail = Fault.NOT_REGISTERED, "its home nodes have no entry for it: it is offline"
        elif call.outcomes:
            said = ", ".join(sorted(outcome.name.lower() for outcome in call.outcomes))
            fault, detail = Fault.NO_HOME_NODE, f"none of its home nodes forwarded the offer ({said})"
        else:
            fault, detail = Fault.NO_HOME_NODE, "its record names no home node that could be asked"
        self._report(CallFailed(call.peer, call.session, fault, detail))

    # Being called

    def _on_offer(self, signal: Signal, reply: bytes, via: Contact, now: float) -> None:
        key = (signal.sender.raw, signal.session)
        offer = self._offers.get(key)
        if offer is not None:
            self._on_repeated_offer(offer, signal, reply, via, now)
        elif len(reply) != SIGNAL_HANDLE_BYTES or signal.sender == self._identity.public:
            self.counters["unanswerable"] += 1
        elif self._guard.seen(key) and not self._wins_over(signal.sender):
            self.counters["replays"] += 1
        elif not self._guard.allow(signal.sender.raw, now):
            self.counters["rate_limited"] += 1
        elif not self._guard.in_window(signal.time, now):
            self.counters["wrong_clock"] += 1
            self._send_reply(signal, SignalKind.REFUSAL, bytes((Reason.WRONG_CLOCK,)), (reply, via), now)
        else:
            self._guard.remember(key, signal.time, now)
            self._on_new_offer(signal, reply, via, now)

    def _on_new_offer(self, signal: Signal, reply: bytes, via: Contact, now: float) -> None:
        own = self._call_to(signal.sender)
        if own is not None and self._wins_over(signal.sender):
            self.counters["collisions_won"] += 1
            self._send_offer_to(own, reply, (via,), now)
            return
        if len(self._offers) >= MAX_OFFERS:
            self.counters["busy"] += 1
            self._send_reply(signal, SignalKind.REFUSAL, bytes((Reason.BUSY,)), (reply, via), now)
            return
        replaces = b""
        if own is not None:
            self.counters["collisions_lost"] += 1
            replaces = own.session
            self._end(own)
        self._offers[signal.sender.raw, signal.session] = _Offer(
            signal.sender, signal.session, signal.payload, now + ANSWER_LIFETIME, [(reply, via)]
        )
        self._report(OfferReceived(signal.sender, signal.session, signal.payload, replaces))

    def _call_to(self, peer: PublicKey) -> _Call | None:
        return next((call for call in self._calls.values() if call.peer == peer), None)

    def _wins_over(self, peer: PublicKey) -> bool:
        """Whether we call `peer` ourselves, and our call counts."""
        return self._identity.public.raw < peer.raw and self._call_to(peer) is not None

    def _on_repeated_offer(self, offer: _Offer, signal: Signal, reply: bytes, via: Contact, now: float) -> None:
        """The peer's retry, a second way of the same attempt, or a replay: all get the same answer, a few times."""
        if signal.payload != offer.payload or len(reply) != SIGNAL_HANDLE_BYTES or offer.resends == 0:
            self.counters["replays"] += 1
            return
        if (reply, via) in offer.ways:
            return
        offer.resends -= 1
        offer.ways.append((reply, via))
        if offer.answer is not None:
            self._send_reply(offer, *offer.answer, (reply, via), now)

    def _reply(self, received: OfferReceived, kind: SignalKind, payload: bytes, now: float) -> bool:
        offer = self._offers.get((received.peer.raw, received.session))
        if offer is None or offer.answer is not None or offer.expires <= now:
            return False
        offer.answer = (kind, payload)
        for way in offer.ways:
            self._send_reply(offer, kind, payload, way, now)
        return True

    def _send_reply(
        self, to: Signal | _Offer, kind: SignalKind, payload: bytes, way: tuple[bytes, Contact], now: float
    ) -> None:
        peer = to.sender if isinstance(to, Signal) else to.peer
        blob = self._seal(kind, peer, to.session, payload, now)
        self._outgoing.append(OutgoingSignal(way[0], blob, (way[1],), b"", b""))

    def _seal(self, kind: SignalKind, peer: PublicKey, session: bytes, payload: bytes, now: float) -> bytes:
        return seal(kind, self._identity, peer, session, payload, now, self._rng)

    def _report(self, event: SignalingEvent) -> None:
        self.counters[type(event).__name__] += 1
        self._events.append(event)


def _reason(payload: bytes) -> Reason:
    try:
        return Reason(payload[0])
    except (IndexError, ValueError):
        return Reason.UNSPECIFIED
