"""Nodes that know each other, for tests of whole nodes: on loopback sockets, or on the simulated network's clock."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from dht.identity import PublicKey
from node.adapters.memory_link import MemoryChannelPair
from node.adapters.memory_storage import MemoryStorage, Rows
from node.adapters.udp_transport import TransportSockets
from node.config import NodeConfig
from node.node import Node, NodeParts
from node.ports import Extras, LinkEnd, LinkError, LinkFault, LinkPath, Opened, PairTried


class MemorySessions:
    """Makes sessions whose offers find each other in a dictionary: what WebRTC does, without its half second."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, MemorySession] = {}
        self.pairs: list[MemoryChannelPair] = []
        self.hang = False
        self.hopeless = False
        self.fail: LinkEnd | None = None
        self.opened = 0

    def __call__(self, config: object) -> MemorySession:
        return MemorySession(self)

    def new_name(self, session: MemorySession) -> bytes:
        name = b"session %d" % next(self._numbers)
        self._waiting[name] = session
        return name

    def find(self, name: bytes) -> MemorySession:
        if name not in self._waiting:
            raise LinkError(LinkEnd(LinkFault.BAD_DESCRIPTION, "no such session"))
        return self._waiting[name]


class MemorySession:
    """One attempt at one link."""

    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self.phases: dict[str, float] = {}
        self.on_candidates: Callable[[bytes], None] = lambda _payload: None
        self._offered: bytes = b""
        self._caller: MemorySession | None = None
        self.far: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self.peer: asyncio.Future[PublicKey] = asyncio.get_running_loop().create_future()

    @property
    def local_candidates(self) -> tuple[str, ...]:
        """Ours, for people."""
        return ()

    @property
    def remote_candidates(self) -> tuple[str, ...]:
        """The peer's, for people."""
        return ()

    @property
    def tried(self) -> tuple[PairTried, ...]:
        """The pairs of addresses that were tried."""
        return ()

    @property
    def hopeless(self) -> bool:
        """Whether no direct path can be expected."""
        return self._sessions.hopeless

    def add_remote(self, payload: bytes) -> None:
        """Take further candidates of the peer."""

    async def offer(self, extras: Extras = ()) -> bytes:
        return self._sessions.new_name(self)

    async def answer(self, offer: bytes, extras: Extras = ()) -> bytes:
        self._caller = self._sessions.find(offer)
        return self._sessions.new_name(self)

    async def connect(self, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None) -> Opened:
        if self._sessions.fail is not None:
            raise LinkError(self._sessions.fail)
        if self._sessions.hang:
            await asyncio.Event().wait()
        self.phases = {"ice": 0.001, "dtls": 0.001, "sctp": 0.001}
        if answer is None:
            self.peer.set_result(peer)
            try:
                async with asyncio.timeout(timeout):
                    return await self.far
            except TimeoutError:
                raise LinkError(LinkEnd(LinkFault.ICE_TIMEOUT, "nobody connected")) from None
        other = self._sessions.find(answer)
        await other.peer
        pair = MemoryChannelPair()
        self._sessions.pairs.append(pair)
        self._sessions.opened += 1
        other.far.set_result(Opened(pair.far, LinkPath(), self.phases))
        return Opened(pair.near, LinkPath(), self.phases)

    async def close(self) -> None:
        """Nothing to give up."""


async def nobody_dials(*_: object) -> None:
    """All links are made by offer and answer, where a test can lay hands on them."""


class NodeNetwork:
    """Makes nodes that all know the first, and stops them."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.sessions = MemorySessions()
        self.nodes: list[Node] = []
        self.parts: dict[str, Any] = {
            "new_session": self.sessions,
            "open_answerless": nobody_dials,
            "watch_interfaces": False,
            "map_ports": False,
        }

    def config(self, name: str, **settings: Any) -> NodeConfig:
        """The settings of the node `name`, which knows the first node there is."""
        known = (self.nodes[0].status().contact,) if self.nodes else ()
        given: dict[str, Any] = {
            "data_dir": self._folder / name,
            "listen": "127.0.0.1",
            "port": 0,
            "mode": "server",
            "include_loopback": True,
            "contacts": known,
            # Links that a test did not ask for would be in its way: gossip goes over those it makes.
            "presence_links": False,
        }
        return NodeConfig(**given | settings)

    async def start(self, name: str, *, parts: dict[str, Any] | None = None, **settings: Any) -> Node:
        """A running node."""
        node = Node(self.config(name, **settings), NodeParts(**(self.parts | (parts or {}))))
        await self._stack.enter_async_context(node)
        self.nodes.append(node)
        return node

    async def servers(self, count: int) -> list[Node]:
        """So many servers, all in the network."""
        made = [await self.start(f"server{len(self.nodes)}") for _ in range(count)]
        for node in made:
            assert await node.wait_joined(10)
        return made


class VirtualNetwork(NodeNetwork):
    """The same on the simulated network: hours pass in a moment, and rows outlive a node in `self.rows`."""

    def __init__(self, folder: Path, stack: AsyncExitStack, seed: int = 1) -> None:
        super().__init__(folder, stack)
        self.rows: dict[str, Rows] = {}
        self.parts |= {
            "open_datagrams": TransportSockets.open,
            "open_storage": self._open_storage,
            "rng": random.Random(seed),
            "wall": None,
        }

    async def _open_storage(self, path: Path) -> MemoryStorage:
        return MemoryStorage(self.rows.setdefault(path.parent.name, Rows()))


@contextlib.asynccontextmanager
async def network(folder: Path) -> AsyncIterator[NodeNetwork]:
    """A network on loopback, stopped at the end."""
    async with AsyncExitStack() as stack:
        yield NodeNetwork(folder, stack)


async def until(check: Callable[[], object], what: str, timeout: float = 20.0) -> None:
    """Wait until `check()` holds."""
    try:
        async with asyncio.timeout(timeout):
            while not check():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen in {timeout:g} s") from None


async def found(by: Node, peer: Node, timeout: float = 20.0) -> None:
    """Wait until one node finds the other's record with a way to reach it."""
    async with asyncio.timeout(timeout):
        while True:
            outcome = await by.find(peer.identity)
            if outcome.found and outcome.ways:
                return
            await asyncio.sleep(0.05)


def kinds(node: Node) -> list[str]:
    """What has happened to a node, by the names of its events."""
    return [type(event).__name__ for event in node.recent_events()]
