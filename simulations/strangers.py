"""Hosts that are no nodes and send what they like: floods of requests, rubbish, replays, under any source address.

Decides how such datagrams are made and sent, and counts what comes back. Refuses to know what a scenario concludes.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final, Literal, get_args

from dht.constants import ID_BYTES, KEY_BYTES, MAX_MESSAGE, MAX_SIGNAL, SIGNATURE_BYTES
from dht.contact import Contact
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, sign_record
from dht.sealing import Sealing
from dht.stun import BINDING_REQUEST, HEADER, MAGIC_COOKIE
from dht.wire import (
    REPLY_ROOM_FIND,
    DialBack,
    FindNode,
    Get,
    Ping,
    Put,
    Register,
    Request,
    Signal,
    encode_message,
)
from simulations.hops import Address
from simulations.network import Endpoint
from simulations.world import World

Sent = Literal[
    "ping",
    "find-node",
    "find-node-bare",
    "get",
    "get-bare",
    "put",
    "dial-back",
    "signal",
    "register",
    "stun",
    "garbage",
]
"""What a stranger can send. `bare`: without the padding that an honest newcomer adds to make room for the reply."""

SENT: Final[tuple[Sent, ...]] = get_args(Sent)


def stranger_address(number: int) -> Address:
    """An address outside of 11.0.0.0/8, where the world's peers live; each in another /24."""
    return (f"13.{number >> 8 & 255}.{number & 255}.7", 4000)


class Stranger:
    """A host that is no node. `sent`, `bytes_sent`: by it; `received`, `bytes_received`: at its own address."""

    def __init__(self, world: World, number: int, *, claims: Address | None = None) -> None:
        """`claims`: the source address that its datagrams bear in place of its own (no filter of BCP 38 on the way)."""
        self.address = stranger_address(number)
        self.sent = self.bytes_sent = self.received = self.bytes_received = 0
        self._world = world
        self._rng = world.streams.stream(f"stranger/{number}")
        self._sealer = self._newcomer()
        own = world.network.bind(self.address, self._receive)
        # A spoofed datagram leaves from this host, whatever its source address says.
        self._out = own if claims is None else Endpoint(claims, own.host, self._receive)

    def send(self, contact: Contact, data: bytes) -> None:
        """Send a datagram to a node."""
        self.sent += 1
        self.bytes_sent += len(data)
        self._world.network.send(self._out, contact.address, data)

    def made(self, what: Sent, contact: Contact, *, fresh: bool = False, server: bool = True) -> bytes:
        """Make a datagram for a node. `fresh`: under a node key never used before. `server`: claim to be one."""
        rng = self._rng
        if what == "stun":
            return HEADER.pack(BINDING_REQUEST, 0, MAGIC_COOKIE, rng.randbytes(12))
        if what == "garbage":
            return rng.randbytes(rng.randrange(1, 1232))
        if fresh:
            self._sealer = self._newcomer()
        message = _request(what, rng, server, self._world.queue.now)
        return self._sealer.seal(contact.key, encode_message(message))

    def _newcomer(self) -> Sealing:
        return self._world.sealer(NodeKey.from_secret(self._rng.randbytes(KEY_BYTES)), self._rng)

    def _receive(self, data: bytes, src: Address) -> None:
        self.received += 1
        self.bytes_received += len(data)


class Flood:
    """Strangers who send to some nodes, in turn, at a steady rate together, until `end`."""

    def __init__(
        self,
        world: World,
        strangers: Sequence[Stranger],
        targets: Sequence[Contact],
        what: Sent,
        *,
        per_second: float,
        fresh: bool = False,
        replayed: bool = False,
    ) -> None:
        """`replayed`: each stranger sends each target the very same datagram again and again."""
        self._world = world
        self._strangers = strangers
        self._targets = targets
        self._what: Sent = what
        self._gap = 1 / per_second
        self._fresh = fresh
        self._replayed: dict[tuple[int, int], bytes] | None = {} if replayed else None
        self._turn = 0
        self._on = True
        self._next()

    def end(self) -> None:
        """Send no more."""
        self._on = False

    def _next(self) -> None:
        if not self._on:
            return
        who = self._turn % len(self._strangers)
        whom = self._turn // len(self._strangers) % len(self._targets)
        self._turn += 1
        stranger, contact = self._strangers[who], self._targets[whom]
        kept = self._replayed
        data = kept.get((who, whom)) if kept is not None else None
        if data is None:
            data = stranger.made(self._what, contact, fresh=self._fresh)
            if kept is not None:
                kept[who, whom] = data
        stranger.send(contact, data)
        self._world.queue.after(self._gap, self._next)


def _request(what: Sent, rng: Random, server: bool, now: float) -> Request:
    rid, place = rng.getrandbits(64), rng.randbytes(ID_BYTES)
    match what:
        case "ping":
            return Ping(rid, b"", server, bytes(48))
        case "find-node":
            return FindNode(rid, b"", server, place, bytes(REPLY_ROOM_FIND - 39))
        case "find-node-bare":
            return FindNode(rid, b"", server, place)
        case "get":
            return Get(rid, b"", server, place, True, 0, bytes(MAX_MESSAGE - 48))
        case "get-bare":
            return Get(rid, b"", server, place, True)
        case "put":
            owner = IdentityKey.from_seed(rng.randbytes(32))
            record = sign_record(owner, Kind.MUTABLE, rng.randbytes(200), seq=1, expires=now + 3600, salt=b"stranger")
            return Put(rid, b"", server, record.raw, 3600, True)
        case "dial-back":
            return DialBack(rid, b"", server, rng.randbytes(8))
        case "signal":
            return Signal(rid, b"", server, place, rng.randbytes(ID_BYTES), rng.randbytes(MAX_SIGNAL // 2))
        case _:
            owner = IdentityKey.from_seed(rng.randbytes(32))
            return Register(rid, b"", server, owner.public.raw, int(now) + 600, rng.randbytes(SIGNATURE_BYTES))
