"""The `kademlia` package, not a line of it changed, on the loop and network that our own nodes have: a baseline.

    rookery simulate run kademlia-package --seeds 2
    rookery simulate run kademlia-package --seeds 2 --set system=rookery
    rookery simulate compare FIRST SECOND

Joins, writes, reads and look-ups, then the same after a share of the nodes has died. One operation at a time, so that
what a node sends in the meantime is what its operation cost; hops the package does not tell.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from simulations.foreign import domesticated
from simulations.hops import Address
from simulations.loop import on_host
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.workload import PAYLOAD_BYTES
from simulations.world import World

if TYPE_CHECKING:
    from random import Random

PORT: Final = 8468
"""The package's own default (its README)."""

Ask = Callable[[Any], Awaitable[Any]]
"""What a server of the package is asked to do."""

BOOTSTRAPS: Final = 3
"""Servers whom newcomers join by, as many as a world of ours has."""


class KademliaPackage(Parameters):
    """Joins, writes, reads and look-ups of the kademlia package, or of ours, before and after a share has died."""

    system: Literal["kademlia", "rookery"] = Field("kademlia", description="whose nodes")
    nodes: int = Field(100, ge=10, description="size of the network before")
    killed: float = Field(1 / 3, ge=0, lt=1, description="share that dies")
    records: int = Field(20, ge=1, description="records written before")
    operations: int = Field(50, ge=1, description="look-ups, and reads, before and after")


@scenario("kademlia-package", "The kademlia package as a baseline", KademliaPackage)
async def kademlia_package(world: World, p: KademliaPackage) -> None:
    """Play it with the nodes of either."""
    # Where a time-out takes 5 s, an operation among the dead takes a few of them.
    world.planned = 3.0 * p.nodes + 12.0 * p.operations
    if p.system == "rookery":
        await _ours(world, p)
        return
    rng = world.streams.stream("kademlia-package")
    with domesticated(world.queue, rng), _silent():
        await _Package(world, p, rng).play()


async def _ours(world: World, p: KademliaPackage) -> None:
    world.add(p.nodes - len(world.bootstraps))
    await world.settle()
    await world.run(minutes=2)
    records = []
    with world.metrics.during("before"):
        for _ in range(p.records):
            records.append(await world.put())
    await world.run(seconds=10)
    pick = world.streams.stream("kademlia-package/reads")
    for phase in ("before", "after"):
        if phase == "after":
            world.kill(fraction=p.killed)
        with world.metrics.during(phase):
            for _ in range(p.operations):
                await world.find_node()
            for _ in range(p.operations):
                await world.get(pick.choice(records))


@contextmanager
def _silent() -> Iterator[None]:
    """The package writes a line on standard error for every dead contact: thousands here."""
    loggers = [logging.getLogger(name) for name in ("kademlia", "rpcudp")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


class _Package:
    """A network of the package's servers on the hosts of a world."""

    def __init__(self, world: World, p: KademliaPackage, rng: Random) -> None:
        self.world, self.p, self.rng = world, p, rng
        self.servers: list[Any] = []
        self.living: list[int] = []

    async def play(self) -> None:
        try:
            await self._join()
            await self.world.run(minutes=2)
            with self.world.metrics.during("before"):
                for number in range(self.p.records):
                    await self._timed("put", _set(f"record {number}"))
                await self._ask()
            self._kill()
            with self.world.metrics.during("after"):
                await self._ask()
        finally:
            for server in self.servers:
                server.stop()

    async def _join(self) -> None:
        from kademlia.network import Server

        for number in range(self.p.nodes):
            server = Server()
            self.servers.append(server)
            self.living.append(number)
            with on_host(_ip(number)):
                await server.listen(PORT)
                if not number:
                    continue
                first = (_ip(self.rng.randrange(min(number, BOOTSTRAPS))), PORT)
                await self._timed("join", _bootstrap(first), number)

    def _kill(self) -> None:
        dead = self.rng.sample(self.living, round(self.p.killed * len(self.living)))
        for number in dead:
            self.world.network.take_down(_ip(number))
        gone = set(dead)
        self.living = [number for number in self.living if number not in gone]
        self.world.metrics.mark(f"{len(dead)} killed")

    async def _ask(self) -> None:
        for _ in range(self.p.operations):
            await self._timed("find_node", _find(self.rng.randbytes(20)))
        for _ in range(self.p.operations):
            await self._timed("get", _get(f"record {self.rng.randrange(self.p.records)}"))

    async def _timed(self, kind: str, ask: Ask, number: int | None = None) -> None:
        """Let a server (a random living one, unless given) do something, and record it."""
        world = self.world
        number = self.rng.choice(self.living) if number is None else number
        host, started = world.network.host(_ip(number)), world.queue.now
        sent = host.sent
        found = await ask(self.servers[number])
        world.metrics.operation(
            kind,
            started=started - world.started,
            took=world.queue.now - started,
            ok=bool(found),
            reason="" if found else "not-found",
            requests=host.sent - sent,
            node=number,
        )


def _bootstrap(first: Address) -> Ask:
    return lambda server: server.bootstrap([first])


def _set(name: str) -> Ask:
    return lambda server: server.set(name, "x" * PAYLOAD_BYTES)


def _get(name: str) -> Ask:
    return lambda server: server.get(name)


def _find(target: bytes) -> Ask:
    """A look-up, which the package has no verb for: its own crawl, as its `bootstrap` begins one."""
    from kademlia.crawling import NodeSpiderCrawl
    from kademlia.node import Node

    def find(server: Any) -> Any:
        node = Node(target)
        nearest = server.protocol.router.find_neighbors(node)
        return NodeSpiderCrawl(server.protocol, node, nearest, server.ksize, server.alpha).find()

    return find


def _ip(number: int) -> str:
    """An address of its own, apart from those of the world's own nodes."""
    return f"12.{number >> 8 & 255}.{number & 255}.1"
