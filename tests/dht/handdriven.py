"""Engines stepped by hand: each datagram, each second is the test's own doing.

    wire = Wire(3)          three servers at 11.0.1.1, 11.0.2.1, 11.0.3.1, port 4000
    wire.roundtrip()        carry datagrams until nobody has anything to say
    wire.drop()             lose what is waiting to be sent
    wire.advance(10.0)      let ten seconds pass, timers and all

Addresses are global unicast ones, so that no rule makes an exception for them. Decides nothing about what engines say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.events import Event, Mode
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, SignedRecord, sign_record
from dht.sealing import Sealer
from dht.size import SizeEstimate
from dht.wire import AnyMessage, Message, decode_message, encode_message

NOW = 1_800_000_000.0
LATENCY = 0.02
"""One way, seconds."""

T = TypeVar("T", bound=Event)


def place_of(number: int) -> Address:
    """Where engine `number` lives: a /24 of its own."""
    return (f"11.{number >> 8}.{number & 255}.1", 4000)


def place6_of(number: int) -> Address:
    """Its IPv6 address, where it has one: a /48 of its own."""
    return (f"2a0e:{number & 15:x}:{number:x}::1", 4000)


def node_key(number: int) -> NodeKey:
    """The key of engine `number`."""
    return NodeKey.from_secret(number.to_bytes(2, "big") * 16)


def identity(number: int) -> IdentityKey:
    """The identity of person `number`."""
    return IdentityKey.from_seed(number.to_bytes(2, "big") * 16)


def record(
    owner: int = 1, payload: bytes = b"hello", *, seq: int = 1, salt: bytes = b"salt", expires: float = NOW + 3600
) -> SignedRecord:
    """A mutable record of person `owner`."""
    return sign_record(identity(owner), Kind.MUTABLE, payload, seq=seq, expires=expires, salt=salt)


def believes(engine: DhtEngine, nodes: int, now: float) -> None:
    """Have an engine take the network for this large, as if it had counted just now."""
    size = SizeEstimate(now)
    size.samples, size._density = 9, 1 / nodes
    engine.families.main.size = size


@dataclass(frozen=True)
class Datagram:
    """Something on its way."""

    data: bytes
    source: Address
    target: Address


class Wire:
    """A handful of engines and all that lies between them."""

    def __init__(
        self,
        count: int = 0,
        *,
        config: DhtConfig | None = None,
        mode: Mode | None = Mode.SERVER,
        network_key: bytes = b"",
    ) -> None:
        self.now = NOW
        self.engines: dict[Address, DhtEngine] = {}
        self.second: dict[Address, Address] = {}
        """The other address of those that have two families, by the first."""
        self.carried: list[Datagram] = []
        """Everything that was delivered or found nobody."""
        self.lost: Callable[[Datagram], bool] = lambda datagram: False
        """What to lose on the way."""
        self._events: dict[Address, list[Event]] = {}
        for number in range(1, count + 1):
            self.add(number, config=config, mode=mode, network_key=network_key)

    def add(
        self,
        number: int,
        *,
        config: DhtConfig | None = None,
        mode: Mode | None = Mode.SERVER,
        network_key: bytes = b"",
        address: Address | None = None,
        second: Address | None = None,
        life: int = 0,
    ) -> DhtEngine:
        """Start engine `number`; another `life` of it has the same key and other randomness. `second`: its IPv6
        address, where it has both families."""
        address = address or place_of(number)
        rng = Random(number * 1000 + life)
        made = DhtEngine(config or DhtConfig(), node_key(number), rng, self.now, network_key=network_key)
        if mode is not None:
            made.set_mode(mode, self.now)
        self.engines[address] = made
        if second is not None:
            self.second[address] = second
        if second is not None or ":" in address[0]:
            made.set_own_addresses((address,) if second is None else (address, second), self.now)
        self._events[address] = []
        return made

    def kill(self, engine: DhtEngine) -> None:
        """End an engine without a word."""
        del self.engines[self.address(engine)]

    def address(self, engine: DhtEngine) -> Address:
        """Where an engine lives."""
        return next(address for address, known in self.engines.items() if known is engine)

    def contact(self, engine: DhtEngine) -> Contact:
        """How others reach an engine."""
        return Contact(engine.own_key, self.address(engine))

    def contacts(self, engine: DhtEngine) -> list[Contact]:
        """The same, at each of its addresses."""
        first = self.address(engine)
        return [Contact(engine.own_key, address) for address in (first, self.second.get(first)) if address]

    def waiting(self) -> list[Datagram]:
        """Take what all engines want sent."""
        return [
            Datagram(data, self._source(source, target), target)
            for source, engine in list(self.engines.items())
            for data, target in engine.datagrams_to_send(self.now)
        ]

    def deliver(self, datagrams: Iterable[Datagram]) -> None:
        """Hand over, in order."""
        for datagram in datagrams:
            if self.lost(datagram):
                continue
            self.carried.append(datagram)
            if (":" in datagram.source[0]) != (":" in datagram.target[0]):
                continue  # No datagram crosses from one family to the other.
            first = next((one for one, second in self.second.items() if second == datagram.target), datagram.target)
            engine = self.engines.get(first)
            if engine is not None:
                engine.receive_datagram(datagram.data, datagram.source, self.now)

    def drop(self) -> list[Datagram]:
        """Lose what waits; say what it was."""
        return self.waiting()

    def step(self) -> bool:
        """Carry what waits one way; false when there was nothing."""
        datagrams = self.waiting()
        if datagrams:
            self.now += LATENCY
            self.deliver(datagrams)
        return bool(datagrams)

    def roundtrip(self) -> None:
        """Carry datagrams until nobody has any."""
        for _ in range(200):
            if not self.step():
                return
        raise AssertionError("200 waves of datagrams, and still talking")

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire when they are due, and what they send is carried."""
        end = self.now + seconds
        self.roundtrip()
        while True:
            due = min((self._timer(engine) for engine in self.engines.values()), default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            for engine in list(self.engines.values()):
                if self._timer(engine) <= self.now:
                    engine.handle_timer(self.now)
            self.roundtrip()
        self.now = max(self.now, end)

    def events(self, engine: DhtEngine, kind: type[T]) -> list[T]:
        """Every event of `kind` the engine has reported so far."""
        seen = self._events[self.address(engine)]
        while (event := engine.next_event()) is not None:
            seen.append(event)
        return [event for event in seen if isinstance(event, kind)]

    def last(self, engine: DhtEngine, kind: type[T]) -> T:
        """The newest event of `kind`."""
        found = self.events(engine, kind)
        assert found, f"no {kind.__name__} was reported"
        return found[-1]

    def join_all(self, seconds: float = 20.0) -> None:
        """Have everybody join by way of the first, and let things settle."""
        engines = list(self.engines.values())
        first = self.contacts(engines[0])
        for engine in engines:
            engine.join(first if engine is not engines[0] else [], self.now)
            self.roundtrip()
        self.advance(seconds)

    def _source(self, first: Address, target: Address) -> Address:
        second = self.second.get(first)
        return second if second is not None and (":" in second[0]) == (":" in target[0]) else first

    def sent_to(self, address: Address) -> int:
        """Bytes that went to an address so far."""
        return sum(len(datagram.data) for datagram in self.carried if datagram.target == address)

    @staticmethod
    def _timer(engine: DhtEngine) -> float:
        timer = engine.next_timer()
        return timer if timer is not None else float("inf")


class Stranger:
    """Somebody who knows the protocol and says what the test wants said."""

    def __init__(
        self, wire: Wire, number: int = 900, *, address: Address | None = None, network_key: bytes = b""
    ) -> None:
        self.wire = wire
        self.key = node_key(number)
        self.address = address or place_of(number)
        self.sealer = Sealer(self.key, Random(number), network_key=network_key)
        self.token = b""
        self.sent = 0
        self.received = 0

    @property
    def contact(self) -> Contact:
        """How engines reach the stranger."""
        return Contact(self.key.public, self.address)

    def seal(self, engine: DhtEngine, message: Message) -> bytes:
        """The datagram of a message to `engine`."""
        return self.sealer.seal(engine.own_key, encode_message(message))

    def open(self, data: bytes) -> AnyMessage:
        """What an engine said."""
        return decode_message(self.sealer.open(data)[1])

    def say(self, engine: DhtEngine, message: Message, *, source: Address | None = None) -> list[AnyMessage]:
        """Send one message; what comes back at once, to wherever it came from. The rest of the wire is lost."""
        return self.throw(engine, self.seal(engine, message), source=source)

    def throw(self, engine: DhtEngine, data: bytes, *, source: Address | None = None) -> list[AnyMessage]:
        """Send one datagram."""
        source = source or self.address
        self.sent += len(data)
        engine.receive_datagram(data, source, self.wire.now)
        back = [data for data, target in engine.datagrams_to_send(self.wire.now) if target == source]
        self.received += sum(map(len, back))
        answers = [self.open(data) for data in back]
        for answer in answers:
            self.token = answer.token or self.token
        return answers
