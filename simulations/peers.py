"""One place in a world, and the engine that lives there at present: birth, death, return, and what it is asked.

Decides what survives a restart, and how the end of an operation finds who waits for it. Refuses to know other peers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import Event, JoinDone, Mode, OperationEvent, ProbeRequested
from dht.identity import IdentityKey, NodeKey
from simulations.clocks import SkewedClock
from simulations.engines import SimHost
from simulations.errors import BadScenario
from simulations.events import EventQueue
from simulations.hops import Address
from simulations.network import Network
from simulations.profiles import Profile

Ended = Callable[[OperationEvent | None], object]
"""Called with the event that ended an operation, or with None when the peer died before."""


class Surrounding(Protocol):
    """What a peer needs of its world."""

    queue: EventQueue
    network: Network
    watchers: list[Callable[[Peer, Event, float], object]]

    def make_engine(self, peer: Peer) -> DhtEngine:
        """Make the real engine for its present life."""

    def first_contacts(self, peer: Peer) -> list[Contact]:
        """Whom it joins by."""

    def try_again(self, peer: Peer) -> None:
        """Let it join again after a pause."""

    def on_start(self, peer: Peer) -> None:
        """It lives."""

    def on_stop(self, peer: Peer) -> None:
        """It is dead."""

    def on_join(self, peer: Peer, event: JoinDone, started: float) -> None:
        """A join of its that began at `started` has ended."""


class Journal:
    """What a peer's disk holds while it is off."""

    __slots__ = ("contacts", "key", "records", "served")

    def __init__(self, key: NodeKey, served: bool, contacts: list[Contact], records: list[tuple[bytes, float]]) -> None:
        self.key = key
        self.served = served
        """Whether it was a server, which keeps its key."""
        self.contacts = contacts
        self.records = records


class Peer:
    """A numbered place in a world. `engine` is whoever lives there now."""

    __slots__ = (
        "address",
        "births",
        "clock_offset",
        "group",
        "host",
        "identity",
        "index",
        "joined",
        "journal",
        "make",
        "nat",
        "profile",
        "public_ip",
        "second",
        "slot",
        "waiting",
        "world",
    )

    def __init__(self, world: Surrounding, index: int, address: Address, profile: Profile, group: str) -> None:
        self.world = world
        self.index = index
        self.address = address
        """Where it is bound: behind a NAT an address that others cannot use."""
        self.public_ip = address[0]
        self.second: Address | None = None
        """Its address of the other family, where it has both."""
        self.profile = profile
        self.group = group
        self.nat = "none"
        self.clock_offset = 0.0
        self.births = 0
        self.joined = False
        """Whether its last join found anybody."""
        self.host: SimHost[Any] | None = None
        self.identity: IdentityKey | None = None
        self.journal: Journal | None = None
        self.make: Callable[[Peer], Any] | None = None
        """Makes the engine, of a node class of the scenario's own; None for the real one."""
        self.slot = -1
        """Place in the world's list of the living; -1 when dead."""
        self.waiting: dict[int, Ended] = {}

    def __repr__(self) -> str:
        return f"Peer({self.index}, {self.profile.name}, {self.address[0]}:{self.address[1]})"

    @property
    def alive(self) -> bool:
        """Whether an engine runs here."""
        return self.host is not None

    @property
    def settled(self) -> bool:
        """Whether it has joined, or is of a kind that does not."""
        return self.joined or not hasattr(self.engine, "join")

    @property
    def engine(self) -> Any:
        """The engine: a `DhtEngine`, unless the scenario made it. Raises `BadScenario` when there is none."""
        if self.host is None:
            raise BadScenario(f"node {self.index} is not running: it has no engine")
        engine = self.host.engine
        return engine.inner if isinstance(engine, SkewedClock) else engine

    @property
    def contact(self) -> Contact:
        """The living node as others know it, if it can be reached at its own address."""
        return Contact(self.engine.own_key, (self.public_ip, self.address[1]))

    @property
    def contacts(self) -> list[Contact]:
        """The same, at each of its addresses."""
        more = [] if self.second is None else [Contact(self.engine.own_key, self.second)]
        return [self.contact, *more]

    def start(self) -> None:
        """Bring it to life and let it join; what its journal kept is restored."""
        if self.host is not None:
            raise BadScenario(f"node {self.index} is running already")
        world = self.world
        engine = world.make_engine(self) if self.make is None else self.make(self)
        self.births += 1
        if self.clock_offset:
            engine = SkewedClock(engine, self.clock_offset)
        self.host = SimHost(world.network, self.address, engine, self._on_event, self.second)
        world.on_start(self)
        if hasattr(self.engine, "join"):
            self._restore()
            self.join()

    def stop(self, *, keep_state: bool) -> None:
        """End it without a word. Operations under way are lost."""
        if self.host is None:
            raise BadScenario(f"node {self.index} is not running, so it cannot be stopped")
        engine = self.engine
        self.journal = None
        if keep_state and isinstance(engine, DhtEngine):
            self.journal = Journal(engine.node_key, engine.mode is Mode.SERVER, engine.contacts(), engine.records())
        self.host.detach()
        self.host = None
        self.joined = False
        waiting, self.waiting = self.waiting, {}
        for ended in waiting.values():
            ended(None)
        self.world.on_stop(self)

    def ask(self, command: Callable[[Any, float], int], ended: Ended) -> int:
        """Run `command(engine, now)`, which returns an operation's number; `ended` is called when that ends."""
        if self.host is None:
            raise BadScenario(f"node {self.index} is not running: it takes no commands")
        engine = self.engine

        def run(_: Any, now: float) -> int:
            # Registered before the drain, since the answer may be an event of this very instant.
            op = command(engine, now + self.clock_offset)
            self.waiting[op] = ended
            return op

        return self.host.command(run)

    def ask_many(self, command: Callable[[Any, float], list[int]], ended: Callable[[int, Any], None]) -> int:
        """Run `command(engine, now)`, which returns the numbers of several operations, and return how many there are;
        `ended` is called when one of them ends, with its place among them and as in `ask`."""
        if self.host is None:
            raise BadScenario(f"node {self.index} is not running: it takes no commands")
        engine = self.engine

        def run(_: Any, now: float) -> int:
            ops = command(engine, now + self.clock_offset)
            self.waiting.update((op, partial(ended, at)) for at, op in enumerate(ops))
            return len(ops)

        return self.host.command(run)

    def join(self) -> None:
        """Walk to its neighbourhood by way of the world's first contacts; try again while nobody answers."""
        started = self.world.queue.now
        contacts = self.world.first_contacts(self)
        if not contacts and not self.engine.contacts():
            # The first of all: there is nobody to ask, so there is no join that could fail.
            self.world.try_again(self)
            return
        self.ask(lambda engine, now: int(engine.join(contacts, now)), lambda event: self._joined(event, started))

    def _joined(self, event: Any, started: float) -> None:
        if event is None:
            return
        self.joined = event.contacts > 0
        self.world.on_join(self, event, started)

    def _restore(self) -> None:
        journal, self.journal = self.journal, None
        if journal is None:
            return
        engine = self.engine
        engine.restore(journal.contacts, journal.records, self.world.queue.now + self.clock_offset)

    def _on_event(self, host: SimHost[Any], event: Event) -> None:
        if isinstance(event, OperationEvent):
            ended = self.waiting.pop(event.op, None)
            if ended is not None:
                ended(event)
        elif isinstance(event, ProbeRequested):
            host.send_from_elsewhere(event.data, event.address)
        for watch in self.world.watchers:
            watch(self, event, self.world.queue.now)
