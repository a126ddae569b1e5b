"""Many engines of one kind on one network: start, commands, deaths, returns, waiting.

Decides who is where and who lives. Generic over the engine: how one is made is a factory's affair, what a command
or an event means is the scenario's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from node.driver import Engine
from simulations.engines import SimHost
from simulations.errors import BadScenario, SimulationError
from simulations.hops import Address
from simulations.network import Network
from simulations.randomness import Streams

E = TypeVar("E", bound=Engine)
E_co = TypeVar("E_co", bound=Engine, covariant=True)

PORT = 4000
"""Port of every node unless the scenario places them itself. UNSOURCED"""


class Factory(Protocol[E_co]):
    """How a node is made."""

    def __call__(self, index: int, address: Address, rng: Random, now: float) -> E_co:
        """Make the engine of node `index`, which will be bound to `address`."""
        ...


def public_address(index: int) -> Address:
    """Give node `index` an IPv4 address of its own, each in another /24 for the first 65,536.

    11.0.0.0/8 is global unicast space (so rules for private addresses do not apply) that nobody routes to in here.
    The first 262,144 also differ in the bits of which BEP 42 makes ids: that mask leaves six bits of the number out
    (0x030F3FFF), so the last byte says them again. Otherwise nodes would share id prefixes, and lie in clumps.
    """
    if not 0 <= index < 1 << 24:
        raise BadScenario(f"node {index} has no address: a cluster numbers at most {1 << 24} nodes")
    second, third = index >> 8 & 255, index & 255
    masked_out = second >> 4 << 2 | third >> 6
    return (f"11.{second}.{third}.{1 + ((index >> 16) + 4 * masked_out) % 254}", PORT)


class Pending:
    """A command under way: `event` is its answer once there is one."""

    __slots__ = ("answered", "event", "lost", "result", "started", "took")

    def __init__(self, started: float, answered: Callable[[Any, Any], bool]) -> None:
        self.started = started
        self.answered = answered
        self.result: Any = None
        """What the command itself returned."""
        self.event: Any = None
        self.lost = False
        """Whether the node died before it answered."""
        self.took = math.nan
        """Virtual seconds from command to answer."""

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        return self.event is not None


class Node(Generic[E]):
    """A place in the cluster, and the engine that lives there at present, if any."""

    __slots__ = ("address", "births", "host", "index", "pending")

    def __init__(self, index: int, address: Address) -> None:
        self.index = index
        self.address = address
        self.births = 0
        self.host: SimHost[E] | None = None
        self.pending: list[Pending] = []

    @property
    def alive(self) -> bool:
        """Whether an engine runs here."""
        return self.host is not None

    @property
    def engine(self) -> E:
        """The engine; raises when there is none."""
        if self.host is None:
            raise BadScenario(f"node {self.index} is not running: start or restart it first")
        return self.host.engine


class Cluster(Generic[E]):
    """`size` nodes made by one factory."""

    def __init__(
        self,
        network: Network,
        streams: Streams,
        factory: Factory[E],
        size: int,
        *,
        address_of: Callable[[int], Address] = public_address,
        on_event: Callable[[Node[E], Any, float], object] | None = None,
    ) -> None:
        """`on_event(node, event, now)` sees every event of every engine, after pending commands have."""
        self.network = network
        self.queue = network.queue
        self.nodes: list[Node[E]] = [Node(index, address_of(index)) for index in range(size)]
        self._streams = streams
        self._factory = factory
        self._on_event = on_event
        self._start_rng = streams.stream("cluster/start")
        self._kill_rng = streams.stream("cluster/kill")

    def start(self, spread: float = 0.0, *, first: int = 0, last: int | None = None) -> None:
        """Start nodes `first` up to `last` at random times of the next `spread` seconds, the first of them at once.

        Without a spread all of them run when this returns.
        """
        for node in self.nodes[first:last]:
            delay = self._start_rng.uniform(0.0, spread)
            if delay == 0 or node.index == first:
                self._birth(node)
            else:
                self.queue.after(delay, self._birth, node)

    def kill(self, which: float | Iterable[int]) -> list[int]:
        """Kill nodes without a word: a share (0.0-1.0) of the living, chosen at random, or those named.

        What is sent to them from now on is lost as `no-listener`. Their hosts stay up: another node may live there.
        """
        if isinstance(which, (int, float)):
            if not 0 <= which <= 1:
                raise BadScenario(f"{which!r} is no share of the nodes: expected 0.0 to 1.0, or a list of indices")
            living = self.living()
            victims = sorted(self._kill_rng.sample(living, round(which * len(living))))
        else:
            victims = list(which)
        for index in victims:
            node = self.nodes[index]
            if node.host is None:
                raise BadScenario(f"node {index} is not running, so it cannot be killed")
            node.host.detach()
            node.host = None
            for pending in node.pending:
                pending.lost = True
            node.pending.clear()
        return victims

    def restart(self, index: int) -> None:
        """Bring a dead node back at its old address, with a new engine and fresh randomness."""
        node = self.nodes[index]
        if node.host is not None:
            raise BadScenario(f"node {index} is running already")
        self._birth(node)

    def living(self) -> list[int]:
        """Indices of the nodes that run."""
        return [node.index for node in self.nodes if node.host is not None]

    def submit(
        self,
        index: int,
        command: Callable[[E, float], Any],
        answered: Callable[[Any, Any], bool],
    ) -> Pending:
        """Run `command(engine, now)` on a node; its answer is the first event with `answered(result, event)`."""
        node = self.nodes[index]
        if node.host is None:
            raise BadScenario(f"node {index} is not running: it takes no commands")
        pending = Pending(self.queue.now, answered)

        def run(engine: E, now: float) -> None:
            # Registered before the drain, since the answer may be an event of this very instant.
            pending.result = command(engine, now)
            node.pending.append(pending)

        node.host.command(run)
        return pending

    def ask(
        self,
        index: int,
        command: Callable[[E, float], Any],
        answered: Callable[[Any, Any], bool],
        timeout: float = 60.0,
    ) -> Any:
        """Run a command and the network until it is answered; give the event."""
        pending = self.submit(index, command, answered)
        self.wait([pending], timeout)
        if pending.lost:
            raise SimulationError(f"node {index} died before it answered")
        return pending.event

    def wait(self, pendings: Iterable[Pending], timeout: float = 60.0) -> None:
        """Run the network until all are answered or lost with their nodes, or raise `VirtualTimeout`."""
        # The last one looked at stays the one asked first: each event costs one look, not one look a command.
        left = [pending for pending in pendings if not (pending.done or pending.lost)]

        def all_done() -> bool:
            while left and (left[-1].done or left[-1].lost):
                left.pop()
            return not left

        self.run_until(all_done, timeout, what="an answer to every command")

    def run_until(
        self,
        predicate: Callable[[], bool],
        timeout: float,
        *,
        what: str = "the awaited condition",
        check_every: float = 0.0,
    ) -> None:
        """Run the network until the predicate is true; see `EventQueue.run_until`."""
        self.queue.run_until(predicate, timeout, what=what, check_every=check_every)

    def run_for(self, span: float) -> int:
        """Run the network for a span of virtual time; say how many events that were."""
        return self.queue.run_for(span)

    def _birth(self, node: Node[E]) -> None:
        if node.host is not None:
            raise BadScenario(f"node {node.index} is running already")
        rng = self._streams.stream(f"node/{node.index}/{node.births}")
        node.births += 1
        engine = self._factory(node.index, node.address, rng, self.queue.now)

        def on_event(host: SimHost[E], event: Any) -> None:
            self._event(node, event)

        node.host = SimHost(self.network, node.address, engine, on_event)

    def _event(self, node: Node[E], event: Any) -> None:
        now = self.queue.now
        for pending in node.pending:
            if pending.answered(pending.result, event):
                pending.event = event
                pending.took = now - pending.started
                node.pending.remove(pending)
                break
        if self._on_event is not None:
            self._on_event(node, event, now)
