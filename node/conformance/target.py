"""The node under test, and those who speak to it: a key of ours at an address of ours, and what the node says to it.

Decides how a question is asked so that loss is not taken for an answer. Refuses to know what is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Final, Protocol, TypeVar

from dht.constants import OVERHEAD_BYTES
from dht.contact import Address
from dht.errors import BoxError, DecodeError
from dht.identity import NodeKey
from dht.sealing import Sealer
from dht.stun import is_stun
from dht.wire import AnyMessage, Message, Ping, Pong, Request, decode_message, encode_message

M = TypeVar("M", bound=Message)

TRIES: Final = 3
"""Times a question is sent before the node counts as silent: of three datagrams one arrives. UNSOURCED"""

PATIENCE: Final = 1.0
"""Seconds to wait for an answer to each. UNSOURCED: twice the first time-out of the DHT itself."""

LINGER: Final = 0.05
"""Seconds in which whatever is still to come must come. UNSOURCED: datagrams of one path rarely overtake each other,
and a later question has been answered by then."""

PING_PAD: Final = 48
"""Bytes of padding that make a PING as long as its PONG."""


class Failed(Exception):
    """The node does not do what the protocol says; the text says what it did."""


class Mute(Failed):
    """It does not answer at all."""


class Unjudged(Exception):
    """Whether it does could not be found out here; the text says why."""


class Line(Protocol):
    """A UDP socket of ours, with the node under test at the other end."""

    @property
    def address(self) -> Address | None:
        """Where the node sees us, if that is certain: on this machine."""

    def send(self, data: bytes) -> None:
        """Send a datagram to the node."""

    async def receive(self, timeout: float) -> bytes | None:
        """The next datagram that came, from whatever address; None after `timeout` seconds without."""

    def from_target(self) -> bool:
        """Whether what `receive` returned last came from the very address we send to."""

    async def pause(self, seconds: float) -> None:
        """Let time pass."""

    def now(self) -> float:
        """Unix seconds."""


Lines = Callable[[], AbstractAsyncContextManager[Line]]
"""Opens another line, from another port of ours."""


class Speaker:
    """One node key of ours on one line."""

    def __init__(self, target: Target, line: Line, key: NodeKey) -> None:
        self.target = target
        self.line = line
        self.key = key
        self._sealer = Sealer(key, target.rng, network_key=target.network_key, name=target.network)
        self._rids = target.rng
        target.sealers.append(self._sealer)
        self.token = b""
        """The one the node gave last."""
        self.sent = 0
        """Bytes of datagrams."""
        self.received = 0

    def rid(self) -> int:
        """A fresh request id."""
        return self._rids.getrandbits(64)

    def seal(self, message: Message | bytes) -> bytes:
        """The datagram of a message, or of bytes that are none."""
        plain = message if isinstance(message, bytes) else encode_message(message)
        return self._sealer.seal(self.target.key, plain)

    def throw(self, data: bytes) -> None:
        """Send a datagram as it is."""
        self.sent += len(data)
        self.line.send(data)

    def say(self, message: Message | bytes) -> None:
        """Send a message."""
        self.throw(self.seal(message))

    async def hear(self, timeout: float = PATIENCE) -> AnyMessage | None:
        """The next message for this key; None when none comes. Raises `Failed` for one that breaks the protocol."""
        while (data := await self.line.receive(timeout)) is not None:
            self.received += len(data)
            if is_stun(data):
                continue
            try:
                key, plain = self._sealer.open(data)
            except BoxError as error:
                if self.target.is_for_another(data):
                    continue  # A late answer to who spoke on this line before.
                raise Failed(f"it sent {len(data)} bytes that we cannot open: {error}") from None
            if key != self.target.key:
                raise Failed("it answered under another node key than the one it is known by")
            try:
                message = decode_message(plain)
            except DecodeError as error:
                raise Failed(f"it sent a message that breaks the protocol: {error}") from None
            if message.token:
                self.token = message.token
            return message
        return None

    async def ask(self, request: Request, kind: type[M], *, tries: int = TRIES) -> M:
        """Send a request until it is answered, and return the answer. Raises `Failed` when it is not, or otherwise."""
        data = self.seal(request)
        for _ in range(tries):
            self.throw(data)
            while (message := await self.hear()) is not None:
                if message.rid != request.rid:
                    continue  # Late, or its own question.
                if not isinstance(message, kind):
                    raise Failed(f"it answered {type(request).__name__} with {type(message).__name__}")
                if not self.line.from_target():
                    raise Failed(f"it answered {type(request).__name__} from another address than the one asked")
                return message
        raise Mute(f"no answer to {type(request).__name__} ({len(data)} bytes, sent {tries} times)")

    async def ping(self) -> Pong:
        """A padded PING, which every node answers."""
        return await self.ask(Ping(self.rid(), b"", False, bytes(PING_PAD)), Pong)

    async def prove(self) -> bytes:
        """Get a token; returns it."""
        pong = await self.ping()
        if not pong.token:
            raise Failed("its PONG brings no token")
        return self.token

    async def silent(self, what: str, *datagrams: bytes) -> None:
        """Send datagrams that must bring nothing back. Raises `Failed` when they do."""
        await self.drain()
        for data in datagrams:
            self.throw(data)
        # Whoever is up answers this; what it had to say to the others has come by then.
        barrier = Ping(self.rid(), b"", False, bytes(PING_PAD))
        data = self.seal(barrier)
        for _ in range(TRIES):
            self.throw(data)
            answered = False
            while (message := await self.hear(LINGER if answered else PATIENCE)) is not None:
                if isinstance(message, Pong) and message.rid == barrier.rid:
                    answered = True
                elif not isinstance(message, Request):
                    raise Failed(f"it answered {what} with {type(message).__name__}")
            if answered:
                return
        raise Failed(f"after {what} it no longer answers a PING")

    async def drain(self) -> int:
        """Take in whatever has come unasked; how many bytes that were."""
        got = 0
        while (data := await self.line.receive(LINGER)) is not None:
            self.received += len(data)
            got += len(data)
        return got


class Target:
    """The node under test."""

    def __init__(
        self,
        key: bytes,
        lines: Lines,
        rng: Random,
        *,
        network: bytes,
        network_key: bytes = b"",
        thorough: bool = False,
    ) -> None:
        self.key = key
        """Its node key, 32 bytes."""
        self.lines = lines
        self.rng = rng
        self.network = network
        self.network_key = network_key
        self.thorough = thorough
        """Whether checks that take minutes, or send in masses, are wanted."""

        self.sealers: list[Sealer] = []
        """Those of everybody who has spoken to it."""

    def is_for_another(self, data: bytes) -> bool:
        """Whether one of ours can open this."""
        for sealer in self.sealers:
            try:
                sealer.open(data)
            except BoxError:
                continue
            return True
        return False

    def node_key(self) -> NodeKey:
        """A fresh key for a speaker."""
        return NodeKey.from_secret(self.rng.randbytes(32))

    def speaker(self, line: Line) -> Speaker:
        """Somebody new on a line."""
        return Speaker(self, line, self.node_key())


def room(data: bytes) -> int:
    """Message bytes in a datagram."""
    return len(data) - OVERHEAD_BYTES
