"""A node and its flooder in processes of their own, steered over pipes: what either uses is told from the other's."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import random
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from dht.config import DhtConfig
from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.events import GetDone, JoinDone, Mode
from dht.identity import NodeKey
from dht.sealing import Sealer
from dht.wire import REPLY_ROOM_FIND, FindNode, Ping, Request, encode_message
from node.adapters.udp import UdpSockets
from node.driver import Driver
from tests.benchmarks.swarm import Load, memory_kib
from tests.benchmarks.swarm_process import new_loop

KINDS: Final = ("garbage", "wrong-tag", "forged", "fresh-keys", "ping", "find-node", "many-sources")
"""What a flooder sends. `forged`: boxes that do not open, under a key that is known. `many-sources`: PINGs
of fresh keys from a new address each, as who owns a /64 can."""

MADE: Final = 20_000
"""Datagrams made beforehand, then sent again and again: five times the box keys that a node keeps."""

BURST: Final = 0.002
"""Seconds between two bursts: a flood comes through a line of some speed, and not at once."""

GAP: Final = 0.1
"""Seconds between two reads by one node."""

Read = tuple[bytes, bytes]
"""Place and payload of a value."""


@dataclass(frozen=True)
class Used:
    """What a node has used until now."""

    cpu_seconds: float
    rss_kib: float
    counters: dict[str, int]


class NodeProcess:
    """One node. Made by `node_process`."""

    def __init__(self, pipe: Connection, contact: Contact) -> None:
        self._pipe, self.contact = pipe, contact

    async def join(self, first: Contact) -> None:
        """Join by way of a contact."""
        await self._call("join", first)

    async def read(self, values: list[Read], seconds: float) -> Load:
        """Read values in turn for so long."""
        load = await self._call("read", (values, seconds))
        assert isinstance(load, Load)
        return load

    async def used(self) -> Used:
        """CPU, memory, and what was counted."""
        used = await self._call("used", None)
        assert isinstance(used, Used)
        return used

    async def _call(self, name: str, argument: object) -> Any:
        self._pipe.send((name, argument))
        await arrived(self._pipe)
        return self._pipe.recv()


async def arrived(pipe: Connection) -> None:
    """Wait until there is something to receive."""
    loop, there = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe.fileno(), there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(pipe.fileno())


@contextmanager
def node_process(host: str = "127.0.0.1") -> Iterator[NodeProcess]:
    """Run a node in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_node, args=(theirs, host), daemon=True)
    process.start()
    try:
        yield NodeProcess(ours, ours.recv())
    finally:
        process.kill()
        process.join()


@contextmanager
def flooding(kind: str, target: Contact, per_second: float) -> Iterator[Callable[[], int]]:
    """Flood a node from a process of its own; the value says how many datagrams have left."""
    context = multiprocessing.get_context("spawn")
    sent = context.Value("Q", 0)
    ready = context.Event()
    process = context.Process(target=_flood, args=(kind, target.key, target.address, per_second, sent, ready))
    process.daemon = True
    process.start()
    assert ready.wait(60)
    try:
        yield lambda: int(sent.value)
    finally:
        process.kill()
        process.join()


async def read(driver: Driver[DhtEngine], values: list[Read], seconds: float) -> Load:
    """Read values in turn, one each `GAP` seconds: an open loop, so that a slow answer keeps no question waiting."""
    count = round(seconds / GAP)
    began = time.perf_counter()
    latencies: list[float] = []

    async def timed(index: int) -> bool:
        place, payload = values[index % len(values)]
        await asyncio.sleep(index * GAP - (time.perf_counter() - began))
        asked = time.perf_counter()
        done = await driver.run(lambda engine, now: engine.get(place, now), GetDone)
        latencies.append(time.perf_counter() - asked)
        return any(record.payload == payload for record in done.records)

    found = await asyncio.gather(*(timed(index) for index in range(count)))
    return Load(count, sum(found), time.perf_counter() - began, 0.0, tuple(latencies))


def _node(pipe: Connection, host: str) -> None:
    loop = new_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_serve(pipe, host))


async def _serve(pipe: Connection, host: str) -> None:
    sockets = UdpSockets.open([host], 0)

    def make(now: float) -> DhtEngine:
        engine = DhtEngine(DhtConfig(), NodeKey.generate(), random.SystemRandom(), now)
        engine.set_mode(Mode.SERVER, now)
        return engine

    driver = Driver(make, sockets.send)
    sockets.attach(driver.receive)

    async def join(first: Contact) -> None:
        await driver.run(lambda engine, now: engine.join([first], now), JoinDone)

    pipe.send(Contact(driver.engine.own_key, sockets.addresses[0]))
    while True:
        await arrived(pipe)
        name, argument = pipe.recv()
        if name == "join":
            await join(argument)
            pipe.send(True)
        elif name == "read":
            pipe.send(await read(driver, *argument))
        else:
            gc.collect()
            usage = resource.getrusage(resource.RUSAGE_SELF)
            counted = dict(driver.engine.counters + sockets.counters)
            pipe.send(Used(usage.ru_utime + usage.ru_stime, memory_kib(), counted))


def _flood(kind: str, key: bytes, address: Address, per_second: float, sent: Any, ready: Any) -> None:
    rng = random.Random(1)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    datagrams = made(kind, key, rng)
    # Each of these is a source of its own to a node on a loopback address, as an address is elsewhere.
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(512 if kind == "many-sources" else 1)]
    ready.set()
    began, done = time.perf_counter(), 0
    while True:
        due = int((time.perf_counter() - began) * per_second)
        while done < due:
            sockets[done % len(sockets)].sendto(datagrams[done % len(datagrams)], address)
            done += 1
        sent.value = done
        time.sleep(BURST)


def made(kind: str, key: bytes, rng: random.Random) -> list[bytes]:
    """The datagrams of a flood, for the node `key`."""
    if kind == "garbage":
        return [rng.randbytes(rng.randrange(1, 1232)) for _ in range(2000)]
    sealer = _sealer(rng)
    if kind == "wrong-tag":
        sealed = sealer.seal(key, encode_message(_ping(rng)))
        return [sealed[:1] + rng.randbytes(4) + sealed[5:] for _ in range(2000)]
    if kind == "forged":
        right = sealer.seal(key, encode_message(_ping(rng)))
        return [right, *(right[:-16] + rng.randbytes(16) for _ in range(2000))]
    every = []
    for _ in range(MADE):
        if kind in ("fresh-keys", "many-sources"):
            sealer = _sealer(rng)
        message = _find(rng) if kind == "find-node" else _ping(rng)
        every.append(sealer.seal(key, encode_message(message)))
    return every


def _sealer(rng: random.Random) -> Sealer:
    return Sealer(NodeKey.from_secret(rng.randbytes(32)), rng)


def _ping(rng: random.Random) -> Request:
    return Ping(rng.getrandbits(64), b"", False, bytes(48))


def _find(rng: random.Random) -> Request:
    return FindNode(rng.getrandbits(64), b"", False, rng.randbytes(20), bytes(REPLY_ROOM_FIND - 39))
