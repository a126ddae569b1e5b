"""Peers and relays joined by memory links, each with a mesh of its own, on the virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from dht.events import GetDone, LookupStats
from dht.identity import IdentityKey, PublicKey
from node.adapters.memory_link import MemoryChannelPair
from node.adapters.stream_link import link_over
from node.node_events import EventLog
from node.node_links import Links
from node.node_mesh import Mesh
from node.node_terms import MeshTerms
from node.ports import Link, LinkEnd, LinkError, LinkFault, LinkPath, Opened
from node.protocols.circuit_relays import RelayContact
from node.protocols.relaying import RelayLimits
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams

T = TypeVar("T")


def played(main: Coroutine[Any, Any, T]) -> T:
    """Run on the virtual clock."""
    return run(main, Network(EventQueue(), Streams(1), latency=Constant(0.05)))


class NoDht:
    """In place of a driver: a DHT in which nothing lies."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.clock = self.now = loop.time
        self.reads = 0

    async def run(self, call: Callable[..., object], until: type[object]) -> GetDone:
        self.reads += 1
        return GetDone(0, bytes(20), (), 0, (), (), LookupStats(0, 0, 0, 0, 0.0), ())


class MeshNode:
    """One machine."""

    def __init__(
        self, network: MeshNetwork, number: int, *, willing: bool, limits: RelayLimits | None, v6: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()
        self.network = network
        self.identity = IdentityKey.from_seed(bytes([number]) * 32)
        self.key = self.identity.public
        rng = random.Random(number)
        self.willing = willing
        self.events = EventLog()
        self.links = Links(EventLog(), loop.time, loop.time, rng.randbytes)
        address = (f"2001:db8:{number}::1", 4000) if v6 else (f"198.51.{number}.1", 4000)
        self.contact = RelayContact(self.key, (address,), bytes([number]) * 31 + b"\0")
        self.families = frozenset({4, 6})
        self.dht = NoDht()
        self.mesh = Mesh(
            self.identity,
            self.links,
            self.dht,  # type: ignore[arg-type]
            self.reach,
            self.events,
            rng,
            loop.time,
            loop.time,
            lambda: self.willing,
            families=lambda: self.families,
            limits=limits,
        )
        self.mesh.serve()

    async def reach(self, relay: RelayContact, timeout: float) -> Link:
        """A direct link with a relay."""
        return self.links.get(relay.identity) or await self.network.link(self, self.network.nodes[relay.identity])

    def knows(self, *relays: MeshNode) -> None:
        """Have found these relays."""
        for relay in relays:
            self.mesh.book.learn(relay.contact)


class MeshNetwork:
    """Who is there, and who cannot reach whom."""

    def __init__(self, delay: float = 0.02) -> None:
        self.nodes: dict[PublicKey, MeshNode] = {}
        self.apart: set[frozenset[PublicKey]] = set()
        self.pairs: dict[frozenset[PublicKey], MemoryChannelPair] = {}
        self._delay = delay

    def add(self, *, relay: bool = False, limits: RelayLimits | None = None, v6: bool = False) -> MeshNode:
        """A machine, which relays or does not."""
        node = MeshNode(self, len(self.nodes) + 1, willing=relay, limits=limits, v6=v6)
        self.nodes[node.key] = node
        return node

    def part(self, one: MeshNode, other: MeshNode) -> None:
        """No direct way between these."""
        self.apart.add(frozenset({one.key, other.key}))

    async def link(self, dialler: MeshNode, listener: MeshNode) -> Link:
        """Link two machines directly."""
        both = frozenset({dialler.key, listener.key})
        if both in self.apart:
            raise LinkError(LinkEnd(LinkFault.ICE_FAILED, "no way there"))
        await asyncio.sleep(4 * self._delay)
        pair = MemoryChannelPair(delay=self._delay)
        self.pairs[both] = pair
        loop = asyncio.get_running_loop()
        for node, other, channel in ((dialler, listener, pair.near), (listener, dialler, pair.far)):
            path = LinkPath(remote_address=other.contact.addresses[0])
            made = link_over(Opened(channel, path), other.key, initiated=node is dialler, clock=loop.time)
            node.links.add(made)
        link = dialler.links.get(listener.key)
        assert link is not None
        return link

    def kill(self, node: MeshNode) -> None:
        """A machine dies: its links break at both ends, and nobody reaches it."""
        self.apart |= {frozenset({node.key, other}) for other in self.nodes if other != node.key}
        for both, pair in self.pairs.items():
            if node.key in both:
                pair.break_path("the machine has died")

    async def close(self) -> None:
        """End everything."""
        for node in self.nodes.values():
            await node.mesh.close()
            await node.links.close()


@contextlib.asynccontextmanager
async def network(delay: float = 0.02) -> AsyncIterator[Any]:
    """A `MeshNetwork`, untyped for tests that put their own in place of its parts; it ends with the block."""
    made = MeshNetwork(delay)
    try:
        yield made
    finally:
        await made.close()


def agreed(one: MeshNode, other: MeshNode) -> tuple[MeshTerms, MeshTerms]:
    """Offer and answer have crossed."""
    offered = one.mesh.propose(other.key)
    return offered, other.mesh.accept(one.key, offered.extras)


async def opened(
    one: MeshNode, other: MeshNode, terms: tuple[MeshTerms, MeshTerms] | None = None, timeout: float = 12.0
) -> tuple[Opened, Opened]:
    """Both ends of a link through relays. Raises the first end's `LinkError`."""
    mine, theirs = terms or agreed(one, other)
    both = await asyncio.gather(
        one.mesh.open(other.key, mine, theirs.extras, initiated=True, timeout=timeout),
        other.mesh.open(one.key, theirs, mine.extras, initiated=False, timeout=timeout),
        return_exceptions=True,
    )
    for end in both:
        if isinstance(end, BaseException):
            raise end
    return both[0], both[1]  # type: ignore[return-value]


async def linked(one: MeshNode, other: MeshNode) -> tuple[Link, Link]:
    """The same, and links made of them that end with their channels."""
    near, far = await opened(one, other)
    clock = asyncio.get_running_loop().time
    return (
        link_over(near, other.key, initiated=True, clock=clock),
        link_over(far, one.key, initiated=False, clock=clock),
    )
