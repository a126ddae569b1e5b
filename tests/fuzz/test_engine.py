"""A mutation fuzzer on the whole engine: a stranger's datagrams never raise, and leave no record or contact behind.

Two ways in: mutants of real datagrams (most fail at the box), and well sealed mutants of messages by a stranger who
knows the protocol, which reach every handler.
"""

from collections.abc import Iterator
from random import Random

import msgspec
import pytest

from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import Mode
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, sign_record
from dht.sealing import Sealer
from dht.wire import FindNode, Get, Ping, Put, Register, RegisterFor, Request, Signal, encode_message

NOW = 1_800_000_000.0
ADDRESSES = [("127.0.0.1", 4701), ("127.0.0.1", 4702), ("127.0.0.1", 4703)]
STRANGER = ("127.0.0.1", 6666)


def engines(seed: int) -> list[DhtEngine]:
    keys = [NodeKey.from_secret(bytes([number]) * 32) for number in (1, 2, 3)]
    made = [DhtEngine(DhtConfig(), key, Random(seed + at), NOW) for at, key in enumerate(keys)]
    first = Contact(keys[0].public, ADDRESSES[0])
    for engine in made:
        engine.set_mode(Mode.SERVER, NOW)
    for engine in made[1:]:
        engine.join([first], NOW)
    return made


def deliver(made: list[DhtEngine], now: float) -> list[tuple[bytes, int, int]]:
    """Run until nobody has anything to send. Returns datagram, receiver and sender."""
    seen = []
    for _ in range(50):
        moved = False
        for sender, engine in enumerate(made):
            for data, address in engine.datagrams_to_send(now):
                moved = True
                if address in ADDRESSES:
                    receiver = ADDRESSES.index(address)
                    seen.append((data, receiver, sender))
                    made[receiver].receive_datagram(data, ADDRESSES[sender], now)
        if not moved:
            break
    return seen


def drain(engine: DhtEngine) -> int:
    count = 0
    while engine.next_event() is not None:
        count += 1
    return count


def mutants(seed: bytes, rng: Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        data = bytearray(seed)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data)) if data else 0
            match rng.randrange(4):
                case 0 if data:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at : at + rng.randint(1, 8)]
                case 2:
                    data[at:at] = rng.randbytes(rng.randint(1, 8))
                case _:
                    data = data[: rng.randint(0, len(data))]
        yield bytes(data)


def requests(rng: Random) -> list[Request]:
    """What a stranger may ask, with random ids and no token."""
    owner = IdentityKey.from_seed(rng.randbytes(32))
    record = sign_record(owner, Kind.PEER, b"x", seq=1, expires=NOW + 60)
    place = rng.randbytes(20)
    return [
        Ping(rng.getrandbits(64), b"", True, bytes(48)),
        FindNode(rng.getrandbits(64), b"", True, place, bytes(700)),
        Get(rng.getrandbits(64), b"", False, place, True, 0, bytes(900)),
        Put(rng.getrandbits(64), rng.randbytes(8), True, record.raw, 60, True),
        Signal(rng.getrandbits(64), b"", False, place, place, b"sealed"),
        Register(rng.getrandbits(64), b"", False, owner.public.raw, int(NOW) + 60, bytes(64)),
        RegisterFor(rng.getrandbits(64), b"", False, owner.public.raw, int(NOW) + 60, bytes(64), 355, 290),
    ]


def mutated_real_datagrams(tries: int) -> None:
    rng = Random(11)
    made = engines(1)
    seen = deliver(made, NOW)
    assert len(seen) >= 4
    now = NOW
    for _ in range(tries // 20):
        data, receiver, sender = rng.choice(seen)
        now += 0.01
        for mutant in mutants(data, rng, 20):
            made[receiver].receive_datagram(mutant, rng.choice([ADDRESSES[sender], STRANGER]), now)
        made[receiver].handle_timer(now)
        deliver(made, now)
        drain(made[receiver])
    assert all(engine.held_records() == 0 for engine in made)
    assert all(len(engine.contacts()) <= 2 for engine in made)


def mutated_messages(tries: int) -> None:
    rng = Random(12)
    made = engines(2)
    deliver(made, NOW)
    target = made[0]
    now, sent, came = NOW, 0, 0
    for number in range(tries // 30):
        stranger = Sealer(NodeKey.from_secret(rng.randbytes(32)), rng)
        now += 1.0
        address = (f"9.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 4701)
        for request in requests(rng):
            message = encode_message(request)
            for mutant in [message, *mutants(message, rng, 4)]:
                data = stranger.seal(target.node_key.public, mutant)
                target.receive_datagram(data, address, now)
                answers = [answer for answer, where in target.datagrams_to_send(now) if where == address]
                if not request.server:
                    # Nobody proved the address: no more may come back than went there.
                    assert sum(map(len, answers)) <= len(data)
                came += len(data)
                sent += sum(map(len, answers))
        target.handle_timer(now)
        drain(target)
    assert 0 < sent <= came
    assert target.held_records() == 0


def test_mutants_of_real_datagrams() -> None:
    mutated_real_datagrams(4_000)


def test_mutants_of_messages_in_good_boxes() -> None:
    mutated_messages(1_500)


@pytest.mark.parametrize("server", [False, True])
def test_an_unproven_address_gets_no_more_bytes_than_it_sent(server: bool) -> None:
    made, rng = engines(3), Random(13)
    deliver(made, NOW)
    for number, request in enumerate(requests(rng)):
        bare = msgspec.structs.replace(request, server=server, **({"pad": b""} if hasattr(request, "pad") else {}))
        address = (f"9.1.1.{number + 1}", 4701)
        stranger = Sealer(NodeKey.from_secret(rng.randbytes(32)), rng)
        data = stranger.seal(made[0].node_key.public, encode_message(bare))
        made[0].receive_datagram(data, address, NOW + 5)
        sent = 0
        for later in (5, 6, 7, 10, 30, 90):
            made[0].handle_timer(NOW + later)
            sent += sum(len(answer) for answer, where in made[0].datagrams_to_send(NOW + later) if where == address)
        assert sent <= len(data), type(request).__name__


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_mutants_of_real_datagrams() -> None:
    mutated_real_datagrams(1_000_000)
