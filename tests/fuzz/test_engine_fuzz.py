"""A storm of real datagrams gone wrong: nothing is ever raised, nothing grows, and the network works afterwards.

The datagrams are captured from a small network that joins, writes, reads, registers and signals; each try mutates one.
"""

from collections.abc import Callable, Iterator, Sized
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dht.config import DhtConfig
from dht.constants import MAX_DATAGRAM, MAX_MESSAGE
from dht.engine import DhtEngine
from dht.events import GetDone, Mode, PutDone
from dht.identity import NodeKey
from dht.records import Refusal, peer_place
from dht.sealing import Sealer
from dht.wire import (
    AnyMessage,
    Get,
    Message,
    Ping,
    Put,
    Stored,
    Value,
    encode_message,
)
from tests.dht.handdriven import NOW, Datagram, Stranger, Wire, identity, node_key, place_of, record

MESSAGES = AnyMessage.__args__

BOUNDS = {
    "counters": 64,
    "events": 0,  # taken out after every try
    "_exchange._out": 0,
    "_exchange._sealer._keys._strangers": 4096,
    "_exchange._stun_limit._sources": 8192,
    "_limit._each._sources": 8192,
    "_limit._networks._sources": 8192,
    "requests._pending": 1024,
    "requests._timers": 4096,
    "requests._peers": 4096,
    "verdicts._good": 4096,
    "_store._deadlines": 64 + 4 * 64,
    "_store._prints": 64,
    "families.main.maintenance.repair._newcomers": 64,
    "_bridge._waiting": 1024,
    "_inbox._handles": 1024,
    "_inbox._in_flight": 512,
    "_inbox._forwarding._entries": 4096,
    "_inbox._forwarding._handles": 4096,
    "_inbox._forwarding._rate._sources": 8192,
    "_inbox._own_rate._sources": 8192,
    "_inbox._reminders._wanted": 4096,
    "_inbox._reminders._order": 2 * 4096 + 64,
    "_inbox._reminders._rate._sources": 8192,
    "_inbox._dial_backs._limit._sources": 8192,
    "families.main.maintenance._asked_each._sources": 8192,
    "families.main.maintenance._hints_in._sources": 8192,
    "families.main.maintenance._hints_out._sources": 8192,
}
"""How large what an engine remembers may get. Whatever is not named here has at most 512 entries."""

OTHERWISE = 512


def containers(thing: object, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """Every container below `thing`, by the names that lead there, and how much is in it."""
    seen = set() if seen is None else seen
    if id(thing) in seen or not (type(thing).__module__ or "").startswith("dht."):
        return
    seen.add(id(thing))
    names = list(getattr(thing, "__dict__", {}))
    names += [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in names:
        value = getattr(thing, name, None)
        where = f"{path}.{name}".lstrip(".")
        ours = (type(value).__module__ or "").startswith("dht.")  # measured by what is in it
        if isinstance(value, Sized) and not ours and not isinstance(value, (str, bytes)):
            yield where, len(value)
        yield from containers(value, where, seen)


class Storm:
    """A network that was alive, and its datagrams."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.wire = wire = Wire(4)
        # Renews rarely, and measures what its router allows.
        self.bob = wire.add(5, mode=Mode.CLIENT, config=DhtConfig(home_check=300.0))
        wire.join_all()
        self.bob.serve_identity(identity(9), wire.now)
        wire.advance(5.0)
        one, two, *_ = wire.engines.values()
        self.bob.watching.watch(record().place, wire.now)
        one.put(record(), wire.now)
        two.get(record().place, wire.now)
        wire.advance(1.0)
        one.put_many([record(seq=2), record(salt=b"1"), record(salt=b"2")], wire.now)
        two.signal(peer_place(identity(9).public), b"sealed", self.bob.homes(), wire.now, reply=bytes(range(20)))
        wire.advance(60.0)
        self.seeds = list(wire.carried)
        assert len(self.seeds) > 100
        wire.carried.clear()
        self.keys = {place_of(number): node_key(number) for number in range(1, 6)}
        self.sealers = {place: Sealer(key, Random(number)) for number, (place, key) in enumerate(self.keys.items())}
        self.plain = [(seed, self.sealers[seed.target].open(seed.data)[1]) for seed in self.seeds]
        self.ways: list[Callable[[Datagram], Datagram]] = [
            self.flipped, self.cut, self.spliced, self.same, self.elsewhere, self.strange,
            self.resealed, self.resealed, self.resealed,
        ]  # fmt: skip

    def flipped(self, seed: Datagram) -> Datagram:
        data = bytearray(seed.data)
        for _ in range(self.rng.randint(1, 4)):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return Datagram(bytes(data), seed.source, seed.target)

    def cut(self, seed: Datagram) -> Datagram:
        return Datagram(seed.data[: self.rng.randrange(len(seed.data) + 1)], seed.source, seed.target)

    def spliced(self, seed: Datagram) -> Datagram:
        other = self.rng.choice(self.seeds).data
        at = self.rng.randrange(len(seed.data))
        return Datagram((seed.data[:at] + other[at:])[:MAX_DATAGRAM], seed.source, seed.target)

    def same(self, seed: Datagram) -> Datagram:
        return seed

    def elsewhere(self, seed: Datagram) -> Datagram:
        return Datagram(seed.data, place_of(self.rng.randrange(1, 3000)), seed.target)

    def resealed(self, seed: Datagram) -> Datagram:
        """What a member of the network says is mutated inside a good box."""
        _, plain = self.plain[self.rng.randrange(len(self.plain))]
        return Datagram(self.seal(seed.source, seed.target, self.mutated(plain)), seed.source, seed.target)

    def strange(self, seed: Datagram) -> Datagram:
        """The same from somebody nobody knows."""
        _, plain = self.plain[self.rng.randrange(len(self.plain))]
        stranger = Sealer(NodeKey.from_secret(self.rng.randbytes(32)), self.rng)
        key = self.keys[seed.target].public
        return Datagram(stranger.seal(key, self.mutated(plain)), place_of(self.rng.randrange(10, 60000)), seed.target)

    def seal(self, source: tuple[str, int], target: tuple[str, int], plain: bytes) -> bytes:
        return self.sealers[source].seal(self.keys[target].public, plain)

    def mutated(self, plain: bytes) -> bytes:
        rng = self.rng
        if rng.random() < 0.5:
            # By structure: a field becomes another value, or is doubled, or goes.
            fields = msgspec.msgpack.decode(plain)
            at = rng.randrange(len(fields))
            match rng.randrange(4):
                case 0:
                    fields[at] = rng.choice([0, -1, 2**63, 2**64 - 1, None, True, b"", "", rng.randbytes(20), [], 1.5])
                case 1:
                    fields[at] = rng.choice(fields)
                case 2:
                    del fields[at]
                case _:
                    fields.append(fields[at])
            plain = msgspec.msgpack.encode(fields)
        else:
            data = bytearray(plain)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            plain = bytes(data)
        return plain[:MAX_MESSAGE]

    def rage(self, tries: int) -> int:
        """Let it loose; say how many datagrams the engines sent for it."""
        rng, wire = self.rng, self.wire
        answers = 0
        for number in range(tries):
            datagram = rng.choice(self.ways)(rng.choice(self.seeds))
            engine = wire.engines[datagram.target]
            wire.now += 0.002
            engine.receive_datagram(datagram.data, datagram.source, wire.now)
            answers += self.calm(engine)
            if number % 50 == 0:
                for each in wire.engines.values():
                    each.handle_timer(wire.now)
                    answers += self.calm(each)
        return answers

    def calm(self, engine: DhtEngine) -> int:
        while engine.next_event() is not None:
            pass
        sent = engine.datagrams_to_send(self.wire.now)
        for data, target in sent:
            known = self.wire.engines.get(target)
            if known is not None and self.rng.random() < 0.5:
                known.receive_datagram(data, self.wire.address(engine), self.wire.now)
        return len(sent)

    def settle(self) -> None:
        """The storm is over: everybody says what is left, and the network does its work."""
        wire = self.wire
        wire.advance(120.0)
        wire.carried.clear()
        one, two, *_ = wire.engines.values()
        one.join([wire.contact(two)], wire.now)
        wire.advance(5.0)
        fresh = record(7, seq=3, expires=wire.now + 600)
        one.put(fresh, wire.now)
        wire.advance(5.0)
        assert wire.last(one, PutDone).receipt.ok
        two.get(fresh.place, wire.now)
        wire.advance(5.0)
        assert wire.last(two, GetDone).records == (fresh,)

    def check_bounds(self) -> None:
        for engine in self.wire.engines.values():
            while engine.next_event() is not None:
                pass
            engine.datagrams_to_send(self.wire.now)
            sizes = dict(containers(engine))
            # A container that is renamed must not slip out of sight.
            assert len(sizes) > 40
            for name, size in sizes.items():
                bound = next((most for end, most in BOUNDS.items() if name.endswith(end)), OTHERWISE)
                assert size <= bound, f"{name} has {size} entries, at most {bound} are allowed"
            assert engine.held_records() <= 64


def storm(tries: int, seed: int) -> None:
    made = Storm(seed)
    answers = made.rage(tries)
    assert answers > tries // 50
    made.check_bounds()
    made.settle()
    made.check_bounds()


def test_twenty_thousand_mutants_of_real_datagrams() -> None:
    storm(20_000, 1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_mutants_of_real_datagrams() -> None:
    storm(1_000_000, 2)


def forge(rng: Random, good: bytes, older: list[bytes]) -> bytes:
    """A record that must not replace the good one."""
    match rng.randrange(6):
        case 0:
            data = bytearray(good)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return bytes(data)
        case 1:
            return rng.choice(older)
        case 2:  # another payload under the old signature
            return record(payload=rng.randbytes(5), seq=rng.randrange(10, 99)).raw[:-64] + good[-64:]
        case 3:  # signed by somebody else, under the owner's name
            return good[:2] + good[2:34] + record(2, seq=99).raw[34:]
        case 4:
            return record(seq=rng.randrange(10, 99), expires=NOW - rng.randrange(1, 9999)).raw
        case _:
            at = rng.randrange(len(good))
            return good[:at] + rng.randbytes(rng.randint(1, 8)) + good[at + 1 :]


def forgeries(tries: int) -> None:
    rng = Random(3)
    wire = Wire(1)
    (engine,) = wire.engines.values()
    stranger = Stranger(wire)
    stranger.say(engine, Ping(1, b"", False, bytes(48)))
    good = record(seq=9, expires=NOW + 40_000)
    older = [record(seq=seq, expires=NOW + 40_000).raw for seq in range(9)]
    older += [record(seq=9, payload=b"other", expires=NOW + 40_000).raw]
    (stored,) = stranger.say(engine, Put(1, stranger.token, False, good.raw, 3600, False))
    assert isinstance(stored, Stored)
    assert stored.status == Refusal.NONE
    refused = 0
    for number in range(tries):
        wire.now += 0.002
        raw = forge(rng, good.raw, older)
        if raw == good.raw or len(raw) > 1000:
            continue
        (stored,) = stranger.say(engine, Put(number, stranger.token, False, raw, 3600, False))
        assert isinstance(stored, Stored)
        assert Refusal(stored.status) not in (Refusal.NONE, Refusal.BAD_TOKEN), raw.hex()
        refused += 1
    assert refused > tries * 0.95
    assert engine.held_records() == 1
    (value,) = stranger.say(engine, Get(1, stranger.token, False, good.place, False))
    assert isinstance(value, Value)
    assert value.records == [good.raw]


def test_no_forged_old_or_expired_record_is_taken() -> None:
    forgeries(2_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_none_of_a_hundred_thousand_forgeries_is_taken() -> None:
    forgeries(100_000)


class Target:
    """One engine for all of hypothesis' examples."""

    def __init__(self) -> None:
        self.wire = Wire(2)
        self.wire.join_all()
        self.engine = next(iter(self.wire.engines.values()))
        self.stranger = Sealer(node_key(900), Random(1))

    def hit(self, data: bytes) -> None:
        self.wire.now += 0.01
        self.engine.receive_datagram(data, place_of(900), self.wire.now)
        self.engine.handle_timer(self.wire.now)
        self.engine.datagrams_to_send(self.wire.now)
        while self.engine.next_event() is not None:
            pass


TARGET = Target()

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=60) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)

FIELDS: dict[str, st.SearchStrategy[object]] = {
    "rid": st.integers(0, 2**64 - 1),
    "token": st.binary(max_size=8),
    "server": st.booleans(),
    "pad": st.binary(max_size=50),
    "other": st.binary(max_size=18),
    "observed": st.binary(max_size=18),
    "time": st.integers(0, 2**32 - 1),
    "target": st.binary(min_size=20, max_size=20),
    "place": st.binary(min_size=20, max_size=20),
    "recipient": st.binary(min_size=20, max_size=20),
    "reply": st.binary(max_size=20),
    "blob": st.binary(max_size=50),
    "nodes": st.booleans(),
    "nodes4": st.binary(max_size=80) | st.binary(min_size=38, max_size=38) | st.binary(min_size=76, max_size=76),
    "nodes6": st.binary(max_size=60) | st.binary(min_size=50, max_size=50),
    "skip": st.integers(0, 65535),
    "records": st.lists(st.binary(max_size=200), max_size=4),
    "total": st.integers(0, 65535),
    "record": st.binary(max_size=300),
    "items": st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 2**32 - 1)), min_size=1, max_size=4),
    "verdicts": st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**63 - 1)), max_size=4),
    "prints": st.binary(max_size=64),
    "bits": st.binary(max_size=8),
    "lifetime": st.integers(0, 2**32 - 1),
    "again": st.integers(0, 300),
    "expected_seq": st.none() | st.integers(0, 2**63 - 1),
    "status": st.integers(0, 255),
    "seq": st.integers(0, 2**63 - 1),
    "owner": st.binary(min_size=32, max_size=32),
    "expires": st.integers(0, 2**63 - 1),
    "signature": st.binary(min_size=64, max_size=64),
    "nonce": st.binary(min_size=8, max_size=8),
}


def messages() -> st.SearchStrategy[Message]:
    """Any message whose fields have the right types."""
    return st.one_of(
        [
            st.builds(kind, **{field.name: FIELDS[field.name] for field in msgspec.structs.fields(kind)})
            for kind in MESSAGES
        ]
    )


@given(st.binary(max_size=1400))
def test_arbitrary_bytes(data: bytes) -> None:
    TARGET.hit(data)
    TARGET.hit(TARGET.engine._exchange._prefix + data)
    assert TARGET.engine.contacts() != []


@given(st.binary(max_size=500) | st.lists(VALUES, max_size=8).map(msgspec.msgpack.encode))
def test_arbitrary_bytes_and_values_in_a_good_box(plain: bytes) -> None:
    TARGET.hit(TARGET.stranger.seal(TARGET.engine.own_key, plain))
    assert TARGET.engine.held_records() == 0


@settings(max_examples=400)
@given(messages())
def test_arbitrary_messages_in_a_good_box(message: Message) -> None:
    plain = encode_message(message)
    if len(plain) <= MAX_MESSAGE:
        TARGET.hit(TARGET.stranger.seal(TARGET.engine.own_key, plain))
    assert TARGET.engine.held_records() == 0
