"""Nodes that break one rule each: what is changed in the real engine, and which checks must say so."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from nacl import bindings
from nacl.exceptions import CryptoError

from dht.contact import Address, pack_address
from dht.errors import BoxError
from dht.records import Refusal, SignedRecord
from dht.sealing import Sealer
from dht.wire import FindNode, Get, Have, Message, Ping, Pong, Put, Request
from node.conformance.datagrams import NO_SECRET
from tests.node.conformance_lab import Breakage

DOUBLES: dict[str, tuple[Breakage, set[str]]] = {}
"""What is wrong, the change, and the checks that fail."""


def double(what: str, *failing: str) -> Callable[[Breakage], Breakage]:
    """Register a way to be broken."""

    def register(breakage: Breakage) -> Breakage:
        DOUBLES[what] = (breakage, set(failing))
        return breakage

    return register


def before(engine: Any, change: Callable[[bytes, Address, float], bytes]) -> None:
    """Alter every datagram before the engine sees it."""
    real = engine.receive_datagram
    engine.receive_datagram = lambda data, addr, now: real(change(data, addr, now), addr, now)


def babble(engine: Any, *counters: str) -> None:
    """Answer with a PONG whatever is dropped for these reasons."""
    real = engine.receive_datagram

    def receive(data: bytes, addr: Address, now: float) -> None:
        dropped = sum(engine.counters[name] for name in counters)
        real(data, addr, now)
        if sum(engine.counters[name] for name in counters) > dropped and len(data) > 37:
            engine._exchange.send(data[5:37], addr, Pong(7, b"", pack_address(addr), int(now)))

    engine.receive_datagram = receive


def answering(engine: Any, kind: type[Request], change: Callable[[Any, Any, Any], Any]) -> None:
    """Alter what is answered to a kind of request: `change(request, asking, right answer)`."""
    real = engine._dispatch._answer

    def answer(request: Request, asking: Any, own_id: int, now: float) -> Any:
        right = real(request, asking, own_id, now)
        return change(request, asking, right) if isinstance(request, kind) else right

    engine._dispatch._answer = answer


@double("its PONG names another endpoint", "ping")
def _(engine: Any) -> None:
    there = pack_address(("11.9.9.9", 9))
    answering(engine, Ping, lambda request, asking, right: msgspec.structs.replace(right, observed=there))


@double("its clock is a day off", "ping")
def _(engine: Any) -> None:
    answering(engine, Ping, lambda request, asking, right: msgspec.structs.replace(right, time=right.time + 86400))


@double("it takes any version", "unknown-version")
def _(engine: Any) -> None:
    before(engine, lambda data, addr, now: engine._exchange._prefix[:1] + data[1:] if len(data) > 77 else data)


@double("it takes any network", "wrong-tag")
def _(engine: Any) -> None:
    prefix = engine._exchange._prefix
    before(engine, lambda data, addr, now: prefix + data[5:] if data[:1] == prefix[:1] else data)


@double("it answers boxes that do not open", "malformed-box", "direction", "sent-back")
def _(engine: Any) -> None:
    babble(engine, "dropped_box")


class Careless(Sealer):
    """Opens what goes the other way, and what is its own."""

    def open(self, datagram: bytes) -> tuple[bytes, bytes]:
        key, nonce = datagram[5:37], datagram[37:61]
        try:
            return key, bindings.crypto_box_open_easy_afternm(datagram[61:], nonce, self.derive(key))
        except (CryptoError, ValueError):
            raise BoxError("no") from None


@double("it does not look at the direction", "direction", "sent-back", "unasked")
def _(engine: Any) -> None:
    careless = Careless(engine.node_key, Random(99))
    engine._exchange._sealer = careless
    # What it hears of itself it answers, as what nobody asked.
    babble(engine, "reply_unasked")


class Trusting(Sealer):
    """Agrees on a key with anybody."""

    def derive(self, key: bytes) -> bytes:
        try:
            return super().derive(key)
        except BoxError:
            return NO_SECRET


@double("it agrees on a key with points of small order", "weak-key")
def _(engine: Any) -> None:
    engine._exchange._sealer = Trusting(engine.node_key, Random(99))


@double("it answers datagrams that are too long", "datagram-size")
def _(engine: Any) -> None:
    babble(engine, "dropped_size")
    real = engine.receive_datagram
    # Too short ones it still drops.
    silent = engine.__class__.receive_datagram
    engine.receive_datagram = lambda data, addr, now: (real if len(data) > 1232 else silent.__get__(engine))(
        data, addr, now
    )


@double(
    "it answers what is no message",
    "unknown-message",
    "malformed-message",
    "field-sizes",
    "put-many-sizes",
    "compare-sizes",
    "register-for",
)
def _(engine: Any) -> None:
    babble(engine, "dropped_malformed")


@double("it wants every field to be written", "optional-fields")
def _(engine: Any) -> None:
    answering(engine, Ping, lambda request, asking, right: right if request.pad else None)


@double("it answers what it did not ask for", "unasked")
def _(engine: Any) -> None:
    babble(engine, "reply_unasked", "probe_unasked")


@double("it answers everything three times", "replay", "amplification", "signal", "watch-address")
def _(engine: Any) -> None:
    real = engine._exchange.reply

    def reply(asking: Any, message: Message) -> bool:
        return all([real(asking, message) for _ in range(3)])

    engine._exchange.reply = reply


def _matching(by: Callable[[Any, int, bytes, Address], bool]) -> Breakage:
    def breakage(engine: Any) -> None:
        requests = engine.requests
        requests.match = lambda rid, key, address: next(
            (each for each in requests._pending.values() if by(each, rid, key, address)), None
        )

    return breakage


double("it takes replies from any endpoint", "wrong-endpoint")(
    _matching(lambda each, rid, key, address: each.rid == rid and each.contact.key == key)
)
double("it takes replies under any key", "wrong-endpoint")(
    _matching(lambda each, rid, key, address: each.rid == rid and each.address == address)
)
double("it takes replies of any number", "wrong-endpoint")(
    _matching(lambda each, rid, key, address: each.contact.key == key and each.address == address)
)


@double("its contacts are in no order", "find-node", "families-wanted")
def _(engine: Any) -> None:
    def backwards(request: Any, asking: Any, right: Any) -> Any:
        packed = [right.nodes4[at : at + 38] for at in range(0, len(right.nodes4), 38)]
        return msgspec.structs.replace(right, nodes4=b"".join(reversed(packed)))

    answering(engine, FindNode, backwards)


@double("its contacts are cut", "find-node", "families-wanted")
def _(engine: Any) -> None:
    answering(engine, FindNode, lambda request, asking, right: msgspec.structs.replace(right, nodes4=right.nodes4[:-1]))


@double("it makes records up", "get-nothing", "put-get", "put-many")
def _(engine: Any) -> None:
    def more(request: Any, asking: Any, right: Any) -> Any:
        return msgspec.structs.replace(right, records=[*right.records, b"made up"], total=right.total + 1)

    answering(engine, Get, more)


@double(
    "it acknowledges records and drops them",
    *("put-get", "refusals", "compare", "put-many", "wait", "wait-token"),
    *("watch", "watch-address", "watch-behind", "watch-gap", "watch-silent"),
)
def _(engine: Any) -> None:
    def answer(request: Any, asking: Any, right: Any) -> Any:
        return msgspec.structs.replace(right, seq=1)

    engine._store.put = lambda *args, **more: (Refusal.NONE, [])
    answering(engine, Put, answer)


@double("it wants what it has", "compare", "compare-sizes")
def _(engine: Any) -> None:
    answering(engine, Have, lambda request, asking, right: msgspec.structs.replace(right, bits=b"\xff\xff"))


@double("it verifies no signatures", "refusals", "put-many")
def _(engine: Any) -> None:
    class Gullible:
        def knows(self, digest: bytes) -> bool:
            return True

        def add(self, digest: bytes) -> None: ...

    engine._responder._verdicts = Gullible()


@double("it takes older records", "refusals", "put-many")
def _(engine: Any) -> None:
    real = engine._store.put

    def put(record: SignedRecord, now: float, **more: Any) -> Any:
        for entry in engine._store.entries():
            if entry.record.place == record.place and entry.record.seq > record.seq:
                engine._store._remove(entry)
        return real(record, now, **more)

    engine._store.put = put


@double("it sends as much as it likes", "amplification")
def _(engine: Any) -> None:
    real = engine._responder.asking

    def asking(*args: Any) -> Any:
        who = real(*args)
        who.room = 1155
        return who

    engine._responder.asking = asking


@double("it wants a token before it says anything of nodes and records", "padded-first", "find-node")
def _(engine: Any) -> None:
    answering(engine, FindNode, lambda request, asking, right: right if asking.proven else None)
    answering(engine, Get, lambda request, asking, right: right if asking.proven else None)
