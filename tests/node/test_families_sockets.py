"""The DHT on real loopback sockets: on IPv4, on IPv6, and on both at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dht import repair_bridge
from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import GetDone, JoinDone, Mode, PutDone, RecordChanged, SignalDone, SignalReceived
from dht.identity import NodeKey
from dht.records import Refusal, peer_place
from node.adapters.udp import UdpSockets
from node.driver import Driver
from tests.dht.handdriven import identity
from tests.dht.handdriven import record as made_record

V4, V6 = "127.0.0.1", "::1"


class SocketNode:
    """An engine on sockets of its own."""

    def __init__(self, hosts: list[str], mode: Mode) -> None:
        self.sockets = UdpSockets.open(hosts, 0)
        rng = random.Random(self.sockets.port)
        key = NodeKey.from_secret(rng.randbytes(32))
        self.driver = Driver(lambda now: DhtEngine(DhtConfig(), key, rng, now), self.sockets.send)
        self.sockets.attach(self.driver.receive)
        own = tuple(self.sockets.addresses)
        self.driver.command(lambda engine, now: engine.set_own_addresses(own, now))
        self.driver.command(lambda engine, now: engine.set_mode(mode, now))
        self.contacts = [Contact(key.public, address) for address in own]

    @property
    def engine(self) -> DhtEngine:
        return self.driver.engine

    def close(self) -> None:
        self.driver.close()
        self.sockets.close()

    async def put(self, payload: bytes) -> PutDone:
        record = made_record(payload=payload, expires=int(self.driver.now()) + 3600)
        return await self.driver.run(lambda engine, now: engine.put(record, now), PutDone)

    async def payloads(self) -> list[bytes]:
        place = made_record().place
        done = await self.driver.run(lambda engine, now: engine.get(place, now), GetDone)
        return [record.payload for record in done.records]


Start = Callable[..., Awaitable[SocketNode]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        nodes: list[SocketNode] = []

        async def start(*hosts: str, mode: Mode = Mode.SERVER) -> SocketNode:
            one = SocketNode(list(hosts), mode)
            stack.callback(one.close)
            first = nodes[0].contacts if nodes else []
            nodes.append(one)
            await one.driver.run(lambda engine, now: engine.join(first, now), JoinDone)
            return one

        yield start


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await what():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("host", [V4, V6])
async def test_one_family_writes_reads_watches_and_signals(start: Start, host: str) -> None:
    nodes = [await start(host) for _ in range(6)]
    watcher, bob = await start(host, mode=Mode.CLIENT), await start(host, mode=Mode.CLIENT)
    heard: list[bytes] = []
    watcher.driver.subscribe(RecordChanged, lambda event: heard.append(event.record.payload))
    watcher.driver.command(lambda engine, now: engine.watching.watch(made_record().place, now))
    done = await nodes[3].put(b"here")
    assert (done.receipt.stored, done.receipt.family) == (6, "IPv6" if host == V6 else "IPv4")
    assert await nodes[5].payloads() == [b"here"]
    assert await watcher.payloads() == [b"here"]

    async def told() -> bool:
        return heard == [b"here"]

    await until(told)
    bob.driver.command(lambda engine, now: engine.serve_identity(identity(7), now))

    async def has_homes() -> bool:
        return len(bob.engine.homes()) == 3

    await until(has_homes)
    blobs: list[bytes] = []
    bob.driver.subscribe(SignalReceived, lambda event: blobs.append(event.blob))
    place, homes = peer_place(identity(7).public), bob.engine.homes()
    sent = await watcher.driver.run(lambda engine, now: engine.signal(place, b"sealed", homes, now), SignalDone)
    assert sent.refusal is Refusal.NONE
    assert set(blobs) == {b"sealed"}
    assert {(":" in contact.ip) for node in nodes for contact in node.engine.contacts()} == {host == V6}


@pytest.mark.parametrize("writes, reads", [(V4, V6), (V6, V4)])
async def test_who_has_one_finds_what_was_stored_over_the_other(
    start: Start, monkeypatch: pytest.MonkeyPatch, writes: str, reads: str
) -> None:
    monkeypatch.setattr(repair_bridge, "FIRST", 0.1)
    monkeypatch.setattr(repair_bridge, "STEP", 0.05)
    both = [await start(V4, V6) for _ in range(3)]
    writer, *_ = [await start(writes) for _ in range(2)]
    reader, *_ = [await start(reads) for _ in range(2)]
    done = await writer.put(b"across")
    assert done.receipt.ok
    assert done.receipt.families == ()

    async def found() -> bool:
        return await reader.payloads() == [b"across"]

    await until(found)
    assert await both[0].payloads() == [b"across"]
    # Nobody has sent anything by a family it has not.
    assert not any(one.sockets.counters["no_family"] for one in (writer, reader))


async def test_who_has_both_says_of_each_what_became_of_a_put(start: Start) -> None:
    both = [await start(V4, V6) for _ in range(3)]
    await start(V4)
    await start(V6)
    done = await both[1].put(b"both")
    assert [(one.family, one.stored) for one in done.receipt.families] == [("IPv4", 4), ("IPv6", 4)]
    assert done.receipt.family == "IPv4 and IPv6"
