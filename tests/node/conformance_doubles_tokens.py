"""Nodes that break one rule each, continued: of tokens, rates, and what servers do for others."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec

from dht.contact import Address, Contact
from dht.events import ProbeRequested
from dht.forwarding import Entry
from dht.identity import PublicKey
from dht.limits import _token
from dht.notices import Notices
from dht.records import Refusal, peer_place
from dht.stun import BINDING_SUCCESS, HEADER, is_stun
from dht.wire import Message, Probe, Put, Signal, Signaled
from tests.node.conformance_doubles import answering, double
from tests.node.conformance_lab import Breakage


def _judging(right: Callable[[bytes, bytes, bytes, Address], bool]) -> Breakage:
    """Tokens judged otherwise: `right(token given, secret, key, address)`."""

    def breakage(engine: Any) -> None:
        tokens = engine._responder._tokens

        def judge(token: bytes, key: bytes, address: Address, now: float) -> tuple[bytes, bool]:
            current = tokens.make(key, address, now)
            return current, right(token, tokens._current, key, address)

        tokens.judge = judge
        tokens.age = lambda token, now: float("inf")  # There may be no token to tell it from.

    return breakage


ALL_TOKENS = (
    "token-missing",
    "token-foreign",
    "token-address",
    "token-key",
    "token-expired",
    "amplification",
    "watch-address",
)

double("it takes any token, or none", *ALL_TOKENS)(_judging(lambda token, secret, key, address: True))
double("it takes any token but none", *ALL_TOKENS[1:5], "watch-address")(
    _judging(lambda token, secret, key, address: bool(token))
)
double(
    "it takes no token",
    "token-taken",
    "put-get",
    "refusals",
    "register",
    "signal",
    "dial-back",
    "optional-fields",
    "find-node",
    *("put-many", "put-many-sizes", "wait", "wait-token", "register-for", "again", "again-latest", "again-rate"),
    *("watch-lifetime", "watch-gap", "watch-bounds", "watch-silent"),
)(_judging(lambda token, secret, key, address: False))


def _loose(change: Callable[[bytes, Address], tuple[bytes, Address]]) -> Breakage:
    """Tokens that leave something out."""

    def breakage(engine: Any) -> None:
        tokens = engine._responder._tokens

        def judge(token: bytes, key: bytes, address: Address, now: float) -> tuple[bytes, bool]:
            tokens.make(key, address, now)
            stamp = token[0] if token else 0
            made = _token(tokens._current, stamp, *change(key, address))
            return made, token in (made, _token(tokens._previous, stamp, *change(key, address)))

        tokens.judge = judge

    return breakage


double("its tokens leave out the port", "token-address", "watch-address")(
    _loose(lambda key, address: (key, (address[0], 0)))
)
double("its tokens leave out the key", "token-key")(_loose(lambda key, address: (bytes(32), address)))


@double("its tokens live for ever", "token-expired")
def _(engine: Any) -> None:
    engine._responder._tokens._rotates = float("inf")


@double("it answers no STUN", "stun")
def _(engine: Any) -> None:
    engine._exchange._answer_stun = False


@double("it answers all STUN", "stun-strict")
def _(engine: Any) -> None:
    real = engine.receive_datagram

    def receive(data: bytes, addr: Address, now: float) -> None:
        refused = engine.counters["dropped_stun"]
        real(data, addr, now)
        if engine.counters["dropped_stun"] > refused and is_stun(data):
            engine._exchange._out.append((HEADER.pack(BINDING_SUCCESS, 0, 0x2112A442, data[8:20]), addr))

    engine.receive_datagram = receive


@double("it answers STUN at any rate", "stun-rate")
def _(engine: Any) -> None:
    engine._exchange._stun_limit.allow = lambda source, now: True


@double("it answers requests at any rate", "request-rate", "put-many-rate")
def _(engine: Any) -> None:
    engine._responder.admit = lambda address, now: True


@double("it registers whom anybody names", "register", "register-for")
def _(engine: Any) -> None:
    forwarding = engine._inbox._forwarding

    def register(owner: bytes, contact: Contact, *rest: Any, **_more: Any) -> tuple[Refusal, float]:
        forwarding._entries[peer_place(PublicKey(owner))] = Entry(contact, rest[-1] + 90)
        return Refusal.NONE, 90.0

    forwarding.register = register


@double("it says that a signal arrived before it did", "signal")
def _(engine: Any) -> None:
    def early(request: Any, asking: Any, right: Any) -> Any:
        return right or Signaled(request.rid, asking.token, Refusal.NONE)

    answering(engine, Signal, early)


@double("it forwards other bytes than it was given", "signal")
def _(engine: Any) -> None:
    real = engine._exchange.request

    def request(contact: Any, owner: Any, kind: Any, fields: Any, now: float, **more: Any) -> None:
        if kind.__name__ == "Signal":
            fields = (fields[0], fields[1], b"other")
        real(contact, owner, kind, fields, now, **more)

    engine.request = request


@double("it dials back from the address it was asked at", "dial-back")
def _(engine: Any) -> None:
    real = engine.next_event

    def next_event() -> Any:
        event = real()
        if isinstance(event, ProbeRequested):
            engine._exchange._out.append((event.data, event.address))
            return SimpleNamespace()
        return event

    engine.next_event = next_event


@double("its probes have another nonce", "dial-back")
def _(engine: Any) -> None:
    real = engine._exchange.seal

    def seal(key: bytes, message: Message) -> Any:
        return real(key, msgspec.structs.replace(message, nonce=bytes(8)) if isinstance(message, Probe) else message)

    engine._exchange.seal = seal


@double("it tells nobody of newer records", "watch", "watch-address", "watch-behind", "watch-gap", "watch-silent")
def _(engine: Any) -> None:
    engine._notices._tell = lambda subscription, now: None


@double("it tells of what is stored again", "watch", "watch-gap")
def _(engine: Any) -> None:
    def again(request: Any, asking: Any, right: Any) -> Any:
        notices: Notices = engine._notices
        for place in notices._subscriptions._places.values():
            for each in place.values():
                each.seq = -1
                notices._enqueue(each, 0.0)
        notices.tick(engine._responder._tokens._rotates)
        return right

    answering(engine, Put, again)


@double("it goes on telling after the end", "watch")
def _(engine: Any) -> None:
    engine._notices._subscriptions.unsubscribe = lambda place, contact: None


@double("it is gone", "ping")
def _(engine: Any) -> None:
    engine.receive_datagram = lambda data, addr, now: None
