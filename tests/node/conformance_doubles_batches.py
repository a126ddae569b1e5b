"""Nodes that break one rule each, continued: of many records at once, crowded topics, families, and AGAIN."""

from __future__ import annotations

from typing import Any

import msgspec

from dht.contact import Address, Contact
from dht.errors import BoxError
from dht.events import ProbeRequested
from dht.identity import PublicKey
from dht.records import Refusal, decode_record, peer_place
from dht.wire import (
    Again,
    FindNode,
    Have,
    Message,
    Put,
    PutMany,
    Registered,
    RegisterFor,
    StoredMany,
    Want,
)
from tests.dht.handdriven import node_key, place6_of
from tests.node.conformance_doubles import answering, double
from tests.node.conformance_lab import Breakage


def answer_malformed(number: int, reply: Message) -> Breakage:
    """Answer what is no message if it has this number."""

    def breakage(engine: Any) -> None:
        real = engine.receive_datagram

        def receive(data: bytes, addr: Address, now: float) -> None:
            dropped = engine.counters["dropped_malformed"]
            real(data, addr, now)
            if engine.counters["dropped_malformed"] > dropped:
                try:
                    key, plain = engine._exchange._sealer.open(data)
                    fields = msgspec.msgpack.decode(plain)
                except (BoxError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    return
                if isinstance(fields, list) and fields and fields[0] == number:
                    engine._exchange.send(key, addr, reply)

        engine.receive_datagram = receive

    return breakage


double("it answers batches of any size", "put-many-sizes")(
    answer_malformed(23, StoredMany(7, b"", [(Refusal.MALFORMED, 0)], b"", b""))
)
double("it compares with no record, and with any number", "compare-sizes")(answer_malformed(21, Want(7, b"", b"")))
double("it says AGAIN after any time", "register-for")(answer_malformed(25, Registered(7, b"", Refusal.NONE, 90)))


@double("it judges the first of many records alone", "put-many")
def _(engine: Any) -> None:
    def first(request: Any, asking: Any, right: Any) -> Any:
        return msgspec.structs.replace(right, verdicts=[right.verdicts[0]] * len(right.verdicts))

    answering(engine, PutMany, first)


@double("its verdicts are in another order", "put-many")
def _(engine: Any) -> None:
    answering(
        engine, PutMany, lambda request, asking, right: msgspec.structs.replace(right, verdicts=right.verdicts[::-1])
    )


@double("it counts a batch as one request", "put-many-rate")
def _(engine: Any) -> None:
    responder = engine._responder
    real = responder.on_put_many

    def on_put_many(*args: Any) -> Any:
        responder.admit = lambda address, now: True
        try:
            return real(*args)
        finally:
            del responder.admit

    responder.on_put_many = on_put_many


@double("its WANT sets more bits than it was asked for", "compare", "compare-sizes")
def _(engine: Any) -> None:
    def more(request: Any, asking: Any, right: Any) -> Any:
        return msgspec.structs.replace(right, bits=right.bits[:-1] + bytes((right.bits[-1] | 0x1F,)))

    answering(engine, Have, more)


@double("it names contacts of another family than it was asked over", "families-wanted")
def _(engine: Any) -> None:
    stranger = Contact(node_key(77).public, place6_of(77)).packed
    answering(engine, FindNode, lambda request, asking, right: msgspec.structs.replace(right, nodes6=stranger))


@double("it lets nobody wait", "wait", "wait-token")
def _(engine: Any) -> None:
    engine._store._waiting = lambda announced, near, prefix: 0.0


@double("it keeps what it says has to wait", "wait", "wait-token")
def _(engine: Any) -> None:
    def kept(request: Any, asking: Any, right: Any) -> Any:
        if right.status == Refusal.WAIT:
            engine._store.put(decode_record(request.record), 0.0)
        return right

    answering(engine, Put, kept)


@double("its WAIT says no time", "wait")
def _(engine: Any) -> None:
    def soon(request: Any, asking: Any, right: Any) -> Any:
        return msgspec.structs.replace(right, seq=0) if right.status == Refusal.WAIT else right

    answering(engine, Put, soon)


@double("it lets members wait who are there already", "wait", "wait-token")
def _(engine: Any) -> None:
    def always(request: Any, asking: Any, right: Any) -> Any:
        place = decode_record(request.record).place if right.status == Refusal.NONE else b""
        if len(engine._store._places.get(place, ())) > 64:
            return msgspec.structs.replace(right, status=Refusal.WAIT, seq=5)
        return right

    answering(engine, Put, always)


@double("it never lets in who has waited", "wait-token")
def _(engine: Any) -> None:
    engine._responder._tokens.age = lambda token, now: 0.0


@double("it remembers who waits, and takes any token", "wait-token")
def _(engine: Any) -> None:
    real, since = engine._store.put, dict[bytes, float]()

    def put(record: Any, now: float, **more: Any) -> Any:
        waited = now - since.setdefault(record.raw, now)
        return real(record, now, **{**more, "waited": waited})

    engine._store.put = put


@double("it grants entries of any life", "register-for")
def _(engine: Any) -> None:
    answering(
        engine,
        RegisterFor,
        lambda request, asking, right: msgspec.structs.replace(right, lifetime=request.lifetime or right.lifetime),
    )


@double("it forgets entries sooner than it said", "entry-lives")
def _(engine: Any) -> None:
    def shorter(request: Any, asking: Any, right: Any) -> Any:
        entry = engine._inbox._forwarding._entries.get(peer_place(PublicKey(request.owner)))
        if entry is not None:
            entry.expires = min(entry.expires, engine._responder._tokens._rotates - 300 + 90)
        return right

    answering(engine, RegisterFor, shorter)


@double("it never says AGAIN", "again", "again-latest", "again-rate")
def _(engine: Any) -> None:
    engine._inbox._reminders.set = lambda *wish: None


@double("it says AGAIN too early", "again")
def _(engine: Any) -> None:
    real = engine._inbox._reminders.set
    engine._inbox._reminders.set = lambda place, contact, rid, again, now: real(place, contact, rid, again and 0.5, now)


def _saying(change: Any) -> Breakage:
    """AGAINs sent otherwise: `change(engine, send, key, address, message)`."""

    def breakage(engine: Any) -> None:
        real = engine._exchange.send

        def send(key: bytes, address: Address, message: Message) -> None:
            if isinstance(message, Again):
                change(engine, real, key, address, message)
            else:
                real(key, address, message)

        engine._exchange.send = send

    return breakage


double("it says AGAIN twice", "again", "again-latest")(
    _saying(lambda engine, send, key, address, message: [send(key, address, message) for _ in range(2)])
)
double("its AGAIN has another number", "again", "again-latest")(
    _saying(lambda engine, send, key, address, message: send(key, address, Again(message.rid ^ 1, b"")))
)
double("it says AGAIN from another port", "again")(
    _saying(
        lambda engine, send, key, address, message: engine.emit(
            ProbeRequested(engine._exchange.seal(key, message), address)
        )
    )
)


@double("it says AGAIN for each REGISTER_FOR", "again-latest")
def _(engine: Any) -> None:
    real = engine._inbox._reminders.set
    engine._inbox._reminders.set = lambda place, contact, rid, again, now: real(
        place + rid.to_bytes(8, "big"), contact, rid, again, now
    )


@double("it says AGAIN at any rate", "again-rate")
def _(engine: Any) -> None:
    engine._inbox._reminders._rate.allow = lambda source, now: True
