"""Whole networks to be measured, each in a process of its own: what a node takes can only be told from a fresh one."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from random import Random
from typing import Any

import psutil
from kademlia.network import Server

from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import GetDone, JoinDone, Mode, PutDone
from dht.identity import IdentityKey, NodeKey
from dht.records import Kind, SignedRecord, VerdictCache, sign_record
from simulations.cluster import Cluster
from simulations.events import EventQueue
from simulations.foreign import domesticated
from simulations.latency import LogNormal
from simulations.loop import collecting_seldom, on_host, run
from simulations.network import Network
from simulations.randomness import Streams
from simulations.seal import CheapSeals, RealSeals, Seals

LATENCY = LogNormal(0.05, 0.4)
JOIN_EVERY = 0.02
"""Virtual seconds between two newcomers."""
FIRST_CONTACTS = 3
READS = 100

Figures = dict[str, float]
Command = Callable[[DhtEngine, float], int]


class Meter:
    """CPU seconds, datagrams and memory from one point to the next."""

    def __init__(self, network: Network, nodes: int) -> None:
        self._network = network
        self._nodes = nodes
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self.figures: Figures = {}
        self._since = time.process_time(), 0

    def sent(self) -> int:
        """Datagrams of the whole network so far."""
        return sum(host.sent for host in self._network.hosts.values())

    def reset(self) -> None:
        """What comes now is measured."""
        self._since = time.process_time(), self.sent()

    def lap(self, what: str, *, virtual: float = 0.0) -> float:
        """Note what it took since `reset`; with `virtual` seconds also how many of them passed in one of CPU."""
        seconds = time.process_time() - self._since[0]
        sent = self.sent() - self._since[1]
        self.figures[f"{what}_datagrams_per_s"] = sent / seconds
        self.figures[f"{what}_datagrams"] = sent
        self.figures[f"{what}_kib_a_node"] = (self._process.memory_info().rss - self._before) / 1024 / self._nodes
        if virtual:
            self.figures[f"{what}_times_real_time"] = virtual / seconds
        return seconds


def rookery(seal: str, nodes: int, hours: float) -> Figures:
    """One network, as a world runs it."""
    with collecting_seldom():
        return _rookery(seal, nodes, hours)


def _rookery(seal: str, nodes: int, hours: float) -> Figures:
    """Join `nodes` full nodes, write and read a few records, then leave them alone for some virtual hours."""
    streams = Streams(1)
    network = Network(EventQueue(), streams, latency=LATENCY)
    meter = Meter(network, nodes)
    seals: Seals = CheapSeals(1) if seal == "cheap" else RealSeals()
    verdicts = VerdictCache()

    def make(index: int, address: tuple[str, int], rng: Random, now: float) -> DhtEngine:
        key = NodeKey.from_secret(rng.randbytes(32))
        engine = DhtEngine(DhtConfig(), key, rng, now, verdicts=verdicts, sealer=seals.sealer(key, rng))
        engine.set_mode(Mode.SERVER, now)
        return engine

    def ends(kind: type[Any]) -> Callable[[int, Any], bool]:
        return lambda op, event: isinstance(event, kind) and event.op == op

    def join(first: list[Contact]) -> Command:
        return lambda engine, now: engine.join(first, now)

    def put(record: SignedRecord) -> Command:
        return lambda engine, now: engine.put(record, now)

    def get(record: SignedRecord) -> Command:
        return lambda engine, now: engine.get(record.place, now)

    cluster = Cluster(network, streams, make, nodes)
    rng = streams.stream("benchmark")
    meter.reset()
    cluster.start()
    joins = []
    for index in range(1, nodes):
        known = [cluster.nodes[rng.randrange(index)] for _ in range(FIRST_CONTACTS)]
        first = [Contact(node.engine.own_key, node.address) for node in known]
        joins.append(cluster.submit(index, join(first), ends(JoinDone)))
        cluster.run_for(JOIN_EVERY)
    cluster.wait(joins)
    meter.figures["joined_per_s"] = nodes / meter.lap("join", virtual=network.queue.elapsed)
    meter.reset()
    found = 0
    for _ in range(READS):
        owner = IdentityKey.from_seed(rng.randbytes(32))
        record = sign_record(
            owner, Kind.MUTABLE, rng.randbytes(200), seq=1, expires=network.queue.now + 9000, salt=b"s"
        )
        writer, reader = rng.randrange(nodes), rng.randrange(nodes)
        cluster.wait([cluster.submit(writer, put(record), ends(PutDone))])
        read = cluster.submit(reader, get(record), ends(GetDone))
        cluster.wait([read])
        found += record in read.event.records
    meter.lap("put_and_get")
    meter.figures["found"] = found / READS
    meter.reset()
    cluster.run_for(hours * 3600)
    meter.lap("idle", virtual=hours * 3600)
    return meter.figures


def kademlia(nodes: int, hours: float) -> Figures:
    """The same with the kademlia package's own `Server`, which neither signs nor seals, on the virtual loop."""
    streams = Streams(1)
    network = Network(EventQueue(), streams, latency=LATENCY)
    meter = Meter(network, nodes)
    rng = streams.stream("benchmark")

    async def main() -> None:
        servers: list[Server] = []
        joins = []
        for index in range(nodes):
            server = Server()
            with on_host(f"11.{index >> 8}.{index & 255}.1"):
                await server.listen(8468)
                if index:
                    first = {rng.randrange(index) for _ in range(FIRST_CONTACTS)}
                    known = [(f"11.{peer >> 8}.{peer & 255}.1", 8468) for peer in sorted(first)]
                    joins.append(asyncio.ensure_future(server.bootstrap(known)))
            servers.append(server)
            await asyncio.sleep(JOIN_EVERY)
        await asyncio.gather(*joins)
        meter.figures["joined_per_s"] = nodes / meter.lap("join", virtual=network.queue.elapsed)
        meter.reset()
        found = 0
        for number in range(READS):
            await servers[rng.randrange(nodes)].set(str(number), "x" * 200)
            found += await servers[rng.randrange(nodes)].get(str(number)) is not None
        meter.lap("put_and_get")
        meter.figures["found"] = found / READS
        meter.reset()
        await asyncio.sleep(hours * 3600)
        meter.lap("idle", virtual=hours * 3600)
        for server in servers:
            server.stop()

    with domesticated(network.queue, streams.stream("kademlia")):
        meter.reset()
        run(main(), network)
    return meter.figures


def apart(measure: Callable[..., Figures], *args: object) -> Figures:
    """Run a measurement in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()
