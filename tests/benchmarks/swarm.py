"""Two swarms for comparison, each of N nodes on real loopback sockets in one process: ours, the kademlia package's.

Both keep their own defaults. "Dead" means the socket is closed without a word.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil
from kademlia.network import Server

from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import GetDone, JoinDone, Mode, PutAcknowledged, PutDone, Receipt
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, sign_record
from node.adapters.udp import UdpSockets
from node.driver import Driver

VALUE_BYTES = 200
"""With the envelope of a signed record about 320 bytes, as the comparison with other systems was made."""


@dataclass(frozen=True)
class Load:
    """What a series of operations took."""

    operations: int
    succeeded: int
    seconds: float
    cpu_seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds for each operation: every node is in this process, so this is the whole network's cost."""
        return self.cpu_seconds / self.operations * 1000

    def percentile(self, share: float) -> float:
        """Latency in milliseconds below which `share` of the operations stayed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    def figures(self, name: str) -> dict[str, float]:
        """For a benchmark's extra columns."""
        return {
            f"{name}_per_s": round(self.rate, 1),
            f"{name}_cpu_ms": round(self.cpu_ms, 2),
            f"{name}_p50_ms": round(self.percentile(0.5), 1),
            f"{name}_p95_ms": round(self.percentile(0.95), 1),
            f"{name}_p99_ms": round(self.percentile(0.99), 1),
            f"{name}_success": round(self.succeeded / self.operations, 4),
        }


async def measure(operation: Callable[[int], Awaitable[bool]], count: int, in_flight: int) -> Load:
    """Run `operation(0..count-1)`, `in_flight` at a time."""
    latencies: list[float] = []
    succeeded = 0
    todo = iter(range(count))

    async def worker() -> None:
        nonlocal succeeded
        for index in todo:
            began = time.perf_counter()
            ok = await operation(index)  # not `+= await`: that reads the sum before it waits
            succeeded += ok
            latencies.append(time.perf_counter() - began)

    usage = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    return Load(count, succeeded, seconds, cpu, tuple(latencies))


def memory_kib() -> float:
    """Resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 1024


class Swarm(ABC):
    """N nodes, their life, and two operations."""

    def __init__(self, size: int, seed: int = 1) -> None:
        self.size = size
        self.rng = random.Random(seed)
        self.living = list(range(size))

    @abstractmethod
    async def start(self) -> Load:
        """Start and join all nodes, eight at a time."""

    @abstractmethod
    async def put(self, index: int) -> bool:
        """Store value number `index`, acknowledged."""

    @abstractmethod
    async def get(self, index: int) -> bool:
        """Read value number `index` from a random living node; whether it was the right one."""

    @abstractmethod
    def kill(self, share: float) -> None:
        """Close the sockets of a share of the nodes, silently."""

    @abstractmethod
    async def stop(self) -> None:
        """Close everything."""

    def pick(self) -> int:
        """A random living node."""
        return self.rng.choice(self.living)

    def victims(self, share: float) -> list[int]:
        """Choose who dies."""
        chosen = self.rng.sample(self.living, round(share * len(self.living)))
        self.living = [index for index in self.living if index not in set(chosen)]
        return chosen


class Ours(Swarm):
    """Engines, drivers and sockets as a node has them; records signed and verified."""

    def __init__(self, size: int, seed: int = 1, *, host: str = "127.0.0.1") -> None:
        super().__init__(size, seed)
        self.host = host

    async def start(self) -> Load:
        """Every node joins by way of the first."""
        self.sockets = [UdpSockets.open([self.host], 0) for _ in range(self.size)]
        self.drivers = [self._node(sockets) for sockets in self.sockets]
        first = Contact(self.drivers[0].engine.own_key, self.sockets[0].addresses[0])
        self.owners = [IdentityKey.from_seed(self.rng.randbytes(32)) for _ in range(64)]
        self.places: dict[int, tuple[bytes, bytes]] = {}

        async def join(index: int) -> bool:
            done = await self.drivers[index + 1].run(lambda engine, now: engine.join([first], now), JoinDone)
            return done.contacts > 0

        return await measure(join, self.size - 1, 8)

    def _node(self, sockets: UdpSockets) -> Driver[DhtEngine]:
        def make(now: float) -> DhtEngine:
            engine = DhtEngine(DhtConfig(), NodeKey.generate(), random.SystemRandom(), now)
            engine.set_mode(Mode.SERVER, now)
            return engine

        driver = Driver(make, sockets.send)
        sockets.attach(driver.receive)
        return driver

    async def put(self, index: int) -> bool:
        """Sign, walk, store; done at 15 of 20 acknowledgements."""
        receipt = await self.put_receipt(index)
        return receipt.ok

    async def put_receipt(self, index: int) -> Receipt:
        """The same, with the receipt."""
        owner = self.owners[index % len(self.owners)]
        payload = self.rng.randbytes(VALUE_BYTES)
        record = sign_record(
            owner, Kind.MUTABLE, payload, seq=1, expires=time.time() + 86_400, salt=b"bench/%d" % index
        )
        self.places[index] = (record.place, payload)
        driver = self.drivers[self.pick()]
        done: PutAcknowledged | PutDone = await driver.run(lambda engine, now: engine.put(record, now))
        return done.receipt

    async def get(self, index: int) -> bool:
        """Look up, verify, compare."""
        place, payload = self.places[index]
        done = await self.drivers[self.pick()].run(lambda engine, now: engine.get(place, now), GetDone)
        return any(record.payload == payload for record in done.records)

    def kill(self, share: float) -> None:
        """Close sockets; the engines go with them."""
        for index in self.victims(share):
            self.sockets[index].close()
            self.drivers[index].close()

    async def stop(self) -> None:
        """Close what still lives."""
        for index in self.living:
            self.drivers[index].close()
            self.sockets[index].close()


class Package(Swarm):
    """The kademlia package's own `Server`: unsigned values."""

    async def start(self) -> Load:
        """Every server bootstraps from the first."""
        self.servers = [Server() for _ in range(self.size)]
        self.values: dict[int, bytes] = {}
        self.ports: list[int] = []
        for server in self.servers:
            await server.listen(0, interface="127.0.0.1")
            self.ports.append(server.transport.get_extra_info("sockname")[1])

        async def join(index: int) -> bool:
            return bool(await self.servers[index + 1].bootstrap([("127.0.0.1", self.ports[0])]))

        return await measure(join, self.size - 1, 8)

    async def put(self, index: int) -> bool:
        """Its `set`."""
        self.values[index] = self.rng.randbytes(VALUE_BYTES + 117)
        return bool(await self.servers[self.pick()].set(f"bench/{index}", self.values[index]))

    async def get(self, index: int) -> bool:
        """Its `get`."""
        return bool(await self.servers[self.pick()].get(f"bench/{index}") == self.values[index])

    def kill(self, share: float) -> None:
        """Stop servers."""
        for index in self.victims(share):
            self.servers[index].stop()

    async def stop(self) -> None:
        """Stop what still lives."""
        for index in self.living:
            self.servers[index].stop()
        await asyncio.sleep(0)
