"""Complete nodes in a world: `node.node.Node`, unmodified, beside bare engines on one virtual clock.

    shells = FullNodes(world)
    nodes = shells.add(20, profile="home")
    await world.settle()
    outcome = await nodes[0].node.connect(nodes[1].key)

Each is a peer of its world: killed, restarted, cut off, put behind routers, sampled and counted like any other. Decides
what a node is given in place of sockets, disk, clock, randomness and WebRTC, and what its disk holds while it is off.
A killed node says nothing any more and its tasks end. A frozen one hears and says nothing until it wakes, but its
timers run on, unlike a bare engine's. Refuses to know what is asked of nodes.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from dht import events as dht_events
from dht.engine import DhtEngine
from dht.events import Event, JoinDone, Mode, OperationEvent
from dht.identity import IdentityKey, NodeKey, PublicKey
from node.adapters.memory_storage import MemoryStorage, Rows
from node.adapters.udp_transport import TransportSockets
from node.config import NodeConfig
from node.node import Node, NodeParts
from simulations.cluster import public_address
from simulations.errors import BadScenario, SimulationError
from simulations.hops import Address
from simulations.link_dial import SimulatedAnswerless
from simulations.links import LinkHost
from simulations.loop import VirtualLoop, on_host
from simulations.peers import Journal, Peer
from simulations.profiles import Profile, profile_named
from simulations.world import JOINS_A_SECOND, World

log = logging.getLogger("rookery.simulations")

T = TypeVar("T")

EVENT_KINDS: Final = tuple(
    kind for kind in vars(dht_events).values() if isinstance(kind, type) and issubclass(kind, Event)
)
"""Every kind of event an engine has: a driver tells of each kind by itself."""


class Disk(Journal):
    """What a full node's disk holds while it is off: a bare peer's journal, and the rows of the node's own."""

    __slots__ = ("rows",)

    def __init__(self, engine: DhtEngine, rows: Rows) -> None:
        served = engine.mode is Mode.SERVER
        super().__init__(engine.node_key, served, engine.contacts(), engine.records())
        # The dying node may still write for a moment; whoever comes after it shall not see that.
        self.rows = copy.copy(rows)
        for name in ("held", "own", "contacts", "meta", "sequences"):
            setattr(self.rows, name, dict(getattr(rows, name)))


class GivenKeys:
    """Keys that follow from the seed: a node's `Keys`."""

    def __init__(self, identity: IdentityKey, kept: NodeKey | None, fresh: NodeKey) -> None:
        """`kept` is the node key of an earlier life, `fresh` the one it gets if it has to keep one."""
        self._identity = identity
        self._kept = kept
        self._fresh = fresh

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def identity(self) -> IdentityKey:
        """The node's identity."""
        return self._identity

    def node_key(self) -> NodeKey:
        """The kept key, or else a fresh one, which is kept from now on."""
        self._kept = self._kept or self._fresh
        return self._kept

    def keep_node_key(self, key: NodeKey) -> None:
        """Keep it, unless there is one."""
        self._kept = self._kept or key


class NodeHost:
    """A running node as a peer sees it: the counterpart of `SimHost`."""

    __slots__ = ("address", "links", "node", "rows", "sockets")

    def __init__(self, address: Address, node: Node, sockets: TransportSockets, links: LinkHost, rows: Rows) -> None:
        self.address = address
        self.node = node
        self.sockets = sockets
        self.links = links
        self.rows = rows

    @property
    def engine(self) -> DhtEngine:
        """The node's engine."""
        return self.node.driver.engine

    def command(self, call: Callable[[DhtEngine, float], T]) -> T:
        """Run `call(engine, now)` as a user of the engine would, and send what comes of it."""
        return self.node.driver.command(call)

    def unplug(self) -> None:
        """Take the machine off the network this instant: nothing leaves it and nothing arrives."""
        self.links.cut()
        self.sockets.close()
        self.node.driver.close()


class NodePeer(Peer):
    """A place in a world where a full node lives."""

    __slots__ = ("shells",)

    host: NodeHost | None  # type: ignore[assignment]  # in place of a `SimHost`

    def __init__(self, shells: FullNodes, index: int, address: Address, profile: Profile, group: str) -> None:
        super().__init__(shells.world, index, address, profile, group)
        self.shells = shells

    def start(self) -> None:
        """Bring the node to life; it joins and publishes by itself."""
        if self.host is not None:
            raise BadScenario(f"node {self.index} is running already")
        self.host = self.shells.make(self)
        self.journal = None
        self.births += 1
        driver, host = self.host.node.driver, self.host
        for kind in EVENT_KINDS:
            driver.subscribe(kind, lambda event: self._on_node_event(host, event))
        self.world.on_start(self)

    def stop(self, *, keep_state: bool) -> None:
        """End it without a word: its sockets are gone at this instant, its tasks end within two seconds."""
        host = self.host
        if host is None:
            raise BadScenario(f"node {self.index} is not running, so it cannot be stopped")
        self.journal = Disk(host.engine, host.rows) if keep_state else None
        host.unplug()
        self._gone()
        self.shells.bury(host.node)

    async def leave(self) -> None:
        """End it in good order: farewells are said, and its disk keeps everything."""
        host = self.host
        if host is None:
            raise BadScenario(f"node {self.index} is not running, so it cannot be stopped")
        engine = host.engine
        await host.node.__aexit__(None, None, None)
        host.links.cut()
        if self.host is host:  # Else it was killed while it said farewell.
            self.journal = Disk(engine, host.rows)
            self._gone()

    def join(self) -> None:
        """Do nothing: the node joins by itself, and tries again by itself."""

    def _gone(self) -> None:
        self.host = None
        self.joined = False
        waiting, self.waiting = self.waiting, {}
        for ended in waiting.values():
            ended(None)
        self.world.on_stop(self)

    def _on_node_event(self, host: NodeHost, event: Event) -> None:
        if self.host is not host:
            return
        world = self.shells.world
        if isinstance(event, JoinDone) and not self.joined:
            self.joined = event.contacts > 0
            if self.joined:
                world.on_join(self, event, world.queue.now - event.stats.seconds)
        if isinstance(event, OperationEvent):
            ended = self.waiting.pop(event.op, None)
            if ended is not None:
                ended(event)
        for watch in world.watchers:
            watch(self, event, world.queue.now)


class FullNode:
    """One full node of a world, through all its lives."""

    def __init__(self, peer: NodePeer) -> None:
        self.peer = peer
        """Its place in the world, for `kill`, `restart`, `partition` and whatever else takes peers."""

    def __repr__(self) -> str:
        return f"FullNode({self.peer.index}, {self.peer.profile.name}, {self.peer.nat})"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.peer.host is not None

    @property
    def node(self) -> Node:
        """The node of its present life. Raises `BadScenario` when it does not run."""
        if self.peer.host is None:
            raise BadScenario(f"node {self.peer.index} is not running")
        return self.peer.host.node

    @property
    def key(self) -> PublicKey:
        """The key others find it by, whether it runs or not."""
        return self.peer.shells.world.identity_of(self.peer).public

    @property
    def open_links(self) -> int:
        """Links that are open at this end."""
        return 0 if self.peer.host is None else self.peer.host.links.open_links

    @property
    def folder(self) -> Path:
        """Where it puts received files. They outlive it, and end with the world."""
        return self.peer.shells.folder_of(self.peer) / "received"

    def start(self) -> None:
        """Bring it to life now, with what its disk holds."""
        self.peer.start()

    def kill(self, *, keep_state: bool = True) -> None:
        """End it without a word."""
        self.peer.shells.world.kill(peers=[self.peer], keep_state=keep_state)

    async def stop(self) -> None:
        """End it in good order, which takes up to two virtual seconds."""
        await self.peer.leave()


class FullNodes:
    """The full nodes of one world, and the folder their received files lie in, which ends with this object."""

    def __init__(self, world: World, *, watch_interfaces: bool = False, **settings: Any) -> None:
        """`settings` are settings of `NodeConfig` for every node, such as `republish_interval`. `watch_interfaces`:
        they look at their own addresses again and again, which costs events and shows nothing new."""
        self._watch_interfaces = watch_interfaces
        self.world = world
        self.nodes: list[FullNode] = []
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="rookery-world-"))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._burials: set[asyncio.Task[None]] = set()
        # What nodes report is their user's; that of hundreds would bury what the simulation says. Faults are shown.
        node_log = logging.getLogger("rookery.node")
        if not node_log.hasHandlers():
            faults = logging.StreamHandler()
            faults.setLevel(logging.ERROR)
            node_log.addHandler(faults)

    def add(
        self, count: int, profile: str | Profile = "server", *, group: str = "", spread: float | None = None
    ) -> list[FullNode]:
        """Add nodes of a device class; they start and join, one after another, within `spread` virtual seconds.

        As `World.add`, but they are whole. Their clocks are not skewed.
        """
        if not count > 0:
            raise BadScenario(f"{count!r} nodes cannot be added: expected a whole number above 0")
        if not _on_virtual_loop():
            raise SimulationError("full nodes live on the virtual loop: start the script with simulations.run(main)")
        world, kind = self.world, profile_named(profile)
        spread = count / JOINS_A_SECOND if spread is None else spread
        peers = []
        for index in range(len(world.peers), len(world.peers) + count):
            peer = NodePeer(self, index, public_address(index), kind, group or kind.name)
            world.surroundings.place(peer)
            peer.clock_offset = 0.0  # A node's clock is the loop's.
            world.peers.append(peer)
            world.start_within(spread, peer)
            peers.append(peer)
        if kind.sessions:
            world.churn(kind.sessions, kind.downtime or kind.sessions, peers, after=spread)
        added = [FullNode(peer) for peer in peers]
        self.nodes += added
        return added

    def file(self, name: str, size: int) -> Path:
        """Make a file of random bytes for a node to send: the same in every run of one seed, its date included."""
        path = self._folder / name
        path.write_bytes(self.world.streams.stream(f"file/{name}").randbytes(size))
        # A node tells the other end how old a file is, so that only the same file is continued.
        os.utime(path, (self.world.started, self.world.started))
        return path

    def make(self, peer: NodePeer) -> NodeHost:
        """Make and start the node for a peer's present life."""
        world = self.world
        rng = world.rng_of(peer)
        fresh = NodeKey.from_secret(rng.randbytes(32))
        disk = peer.journal
        rows = disk.rows if isinstance(disk, Disk) else Rows()
        kept = disk.key if disk is not None and (disk.served or peer.profile.mode is Mode.SERVER) else None
        links = LinkHost(world.network, peer.address[0], world.streams.stream(f"links/{peer.index}/{peer.births}"))
        opened: list[TransportSockets] = []

        async def open_datagrams(hosts: list[str], port: int) -> TransportSockets:
            opened.append(await TransportSockets.open(hosts, port))
            return opened[-1]

        async def open_storage(_: Path) -> MemoryStorage:
            return MemoryStorage(rows)

        async def open_answerless(identity: IdentityKey, *_: object) -> SimulatedAnswerless:
            return SimulatedAnswerless(links, opened[-1], identity.public)

        node = Node(
            self._config(peer),
            NodeParts(
                open_datagrams=open_datagrams,
                open_storage=open_storage,
                open_keys=lambda _: GivenKeys(world.identity_of(peer), kept, fresh),
                open_answerless=open_answerless,
                watch_interfaces=self._watch_interfaces,
                own_addresses=lambda: frozenset({peer.address[0]}),
                lan=None,
                map_ports=False,
                ways_out=lambda: frozenset({peer.address[0]}),
                new_session=links.new_session,
                rng=rng,
                wall=None,
                dht=world.config,
                sealer=world.sealer,
            ),
        )
        with on_host(peer.address[0]):
            _at_once(node.__aenter__())
        return NodeHost(peer.address, node, opened[-1], links, rows)

    def folder_of(self, peer: NodePeer) -> Path:
        """Where a node's files lie."""
        return self._folder / str(peer.index)

    def bury(self, node: Node) -> None:
        """End the tasks of a node that was unplugged."""
        burial = asyncio.get_running_loop().create_task(_end(node), name="a killed node's end")
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)

    def close(self) -> None:
        """Remove the received files."""
        self._remove()

    def _config(self, peer: NodePeer) -> NodeConfig:
        mode = peer.profile.mode
        given: dict[str, Any] = {
            "data_dir": self.folder_of(peer),
            "listen": peer.address[0],
            "port": peer.address[1],
            "mode": "auto" if mode is None else mode.value,
            "contacts": tuple(self.world.first_contacts(peer)),
            "receive": "accept",
            "accept_from": ("all",),
            # Links that a script did not ask for would be in the way of what it asks; `presence_links=True` has them.
            "presence_links": False,
        }
        return NodeConfig(**given | self._settings)


async def _end(node: Node) -> None:
    try:
        await node.__aexit__(None, None, None)
    except Exception:
        log.exception("the end of a killed node failed")


def _at_once(starting: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits: everything a simulated node starts with is in memory."""
    try:
        starting.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    starting.close()
    raise SimulationError("a node waited for something while it started, which nothing simulated may need")


def _on_virtual_loop() -> bool:
    try:
        return isinstance(asyncio.get_running_loop(), VirtualLoop)
    except RuntimeError:
        return False
