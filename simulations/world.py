"""A world: one seed, one network, many peers, and what a script does to them.

    async def main() -> None:
        world = World(seed=7, latency="cities", nat="published")
        world.add(1000, profile="home")
        await world.run(hours=2)
        world.kill(fraction=0.3)
        records = await world.puts(100)
        await world.gets(100, records)
        print(world.metrics.table())

    simulations.run(main)

Decides how settings become a world, how an engine is made, and what a run gives in the end. What befalls peers stands
in `lives`, what they are asked for in `workload`. Refuses to know files and results on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import Mode
from dht.identity import IdentityKey, NodeKey
from dht.records import VerdictCache
from dht.sealing import Sealing
from simulations import loop as loops
from simulations.cluster import public_address
from simulations.conditions import Surroundings, seals_of
from simulations.errors import BadScenario, SimulationError
from simulations.events import EventQueue
from simulations.latency import Latency
from simulations.latency_models import named as latency_named
from simulations.latency_models import place_of
from simulations.lives import Lives
from simulations.loop import VirtualLoop
from simulations.metrics import SeedResult
from simulations.network import Network
from simulations.peers import Peer
from simulations.profiles import Profile, profile_named
from simulations.randomness import Streams
from simulations.sampling import Sampler, node_rows
from simulations.settings import WorldSettings, first_fault
from simulations.trace import Trace
from simulations.workload import Workload

T = TypeVar("T")
E = TypeVar("E", bound=DhtEngine)

JOINS_A_SECOND: Final = 50.0
"""Peers that start in a second of virtual time unless `add` says otherwise. UNSOURCED: fast, and still each newcomer
finds those before it."""

VERDICTS_KEPT: Final = 100_000
"""Verified records whose verdict all peers of a world share. UNSOURCED: about 10 MB."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a script's coroutine function on virtual time, as `asyncio.run` does on real time."""
    return loops.run(main(), Network(EventQueue(), Streams(0)))


class World(Lives, Workload):
    """One simulated world. Made inside `simulations.run`, or outside and then played with `play`."""

    def __init__(
        self,
        *,
        seed: int = 1,
        latency: str | Latency = "cities",
        loss: float = 0.0,
        burst: float = 1.0,
        reordering: float = 0.0,
        duplication: float = 0.0,
        nat: str = "none",
        bandwidth: bool = False,
        clock_skew: float = 0.0,
        seal: str = "real",
        bootstraps: int = 3,
        sample_every: float = 60.0,
        config: DhtConfig | None = None,
        trace: Trace | None = None,
    ) -> None:
        """The settings are explained in `WorldSettings`; `config` are the tunables of every engine.

        Raises `BadScenario` for what is not allowed.
        """
        try:
            self.settings = WorldSettings(
                latency=latency if isinstance(latency, str) else type(latency).__name__,
                loss=loss,
                burst=burst,
                reordering=reordering,
                duplication=duplication,
                nat=nat,
                bandwidth=bandwidth,
                clock_skew=clock_skew,
                seal=seal,  # type: ignore[arg-type]  # checked here
                bootstraps=bootstraps,
                sample_every=sample_every,
            )
        except ValidationError as error:
            raise BadScenario(f"World: {first_fault(error)}") from None
        streams, trace = Streams(seed), trace or Trace()
        loop = _running_loop()
        queue = EventQueue() if loop is None else loop.network.queue
        self.latency = latency_named(latency, streams)
        # Loss that comes in bursts is each peer's own line's: see `conditions`.
        even = loss if burst == 1 else 0.0
        network = Network(queue, streams, latency=self.latency, loss=even, duplication=duplication, trace=trace)
        if loop is not None:
            loop.network = network
        super().__init__(seed, queue, network, streams, trace)
        self.config = config or DhtConfig()
        self.surroundings = Surroundings(self.settings, network, streams)
        self._seals = seals_of(self.settings.seal, streams)
        self._verdicts = VerdictCache(VERDICTS_KEPT)
        self._contacts_rng = streams.stream("world/first contacts")
        self._known: dict[int, list[Contact]] = {}
        Sampler(self, self.settings.sample_every)
        self.bootstraps = self.add(bootstraps, "server", group="bootstrap", spread=0.0)

    @classmethod
    def of(cls, settings: WorldSettings, seed: int, *, trace: Trace | None = None) -> World:
        """A world of checked settings."""
        return cls(seed=seed, trace=trace, **settings.model_dump())

    # Peers

    def add(
        self,
        count: int,
        profile: str | Profile = "server",
        *,
        group: str = "",
        spread: float | None = None,
        node: Callable[[Peer], Any] | None = None,
    ) -> list[Peer]:
        """Add peers of a device class; they start and join, one after another, within `spread` virtual seconds.

        `group` names them (default: the profile's name). `node(peer)` makes another engine than the real one: an
        attacker, an older release. Where the profile has sessions, they come and go by these from then on.
        """
        if not count > 0:
            raise BadScenario(f"{count!r} peers cannot be added: expected a whole number above 0")
        kind = profile_named(profile)
        spread = count / JOINS_A_SECOND if spread is None else spread
        added = []
        for index in range(len(self.peers), len(self.peers) + count):
            peer = Peer(self, index, public_address(index), kind, group or kind.name)
            peer.make = node
            self.surroundings.place(peer)
            self.peers.append(peer)
            added.append(peer)
            self.start_within(spread, peer)
        if kind.sessions:
            self.churn(kind.sessions, kind.downtime or kind.sessions, added, after=spread)
        return added

    def make_engine(
        self,
        peer: Peer,
        kind: type[E] = DhtEngine,  # type: ignore[assignment]  # PEP 696 has a word for it, in Python 3.13
        *,
        key: NodeKey | None = None,
    ) -> E:
        """Make the real engine for a peer's present life. For node classes of a script: what they may build on.

        `kind` is a class derived from the real one; `key` a node key of the script's own choice.
        """
        rng = self.rng_of(peer)
        secret = rng.randbytes(32)
        journal, mode = peer.journal, peer.profile.mode
        # A server keeps its key, so that others find it again; a client has a new one each time (`node.node`).
        kept = journal is not None and (mode is Mode.SERVER or journal.served)
        if key is None:
            key = journal.key if journal is not None and kept else NodeKey.from_secret(secret)
        now = self.queue.now + peer.clock_offset
        # The sealer first: it draws from the same randomness, and an engine that makes its own does so before all else.
        sealer = self._seals.sealer(key, rng)
        engine = kind(self.config, key, rng, now, verdicts=self._verdicts, sealer=sealer)
        engine.set_mode(mode, now)
        if peer.profile.identity:
            engine.serve_identity(self.identity_of(peer), now)
        return engine

    def sealer(self, key: NodeKey, rng: Random) -> Sealing:
        """Who seals as the node of that key would, in this world: for strangers that are no engines."""
        return self._seals.sealer(key, rng)

    def rng_of(self, peer: Peer) -> Random:
        """Fresh randomness for a peer's present life."""
        return self.streams.stream(f"node/{peer.index}/{peer.births}")

    def identity_of(self, peer: Peer) -> IdentityKey:
        """The key that names a peer for ever."""
        if peer.identity is None:
            peer.identity = IdentityKey.from_seed(self.streams.stream(f"identity/{peer.index}").randbytes(32))
        return peer.identity

    def first_contacts(self, peer: Peer) -> list[Contact]:
        """Whom a newcomer joins by: all of the list in an order of its own, whether or not they live."""
        for one in self.bootstraps:
            if one.alive:
                self._known[one.index] = one.contacts
        known = [contact for index, contacts in self._known.items() if index != peer.index for contact in contacts]
        self._contacts_rng.shuffle(known)  # So that the first of a list does not meet every newcomer.
        return known

    def longitude(self, peer: Peer) -> float:
        """Degrees east of a peer's place; 0 in a world without places."""
        place = place_of(self.latency, peer.public_ip)
        return 0.0 if place is None else place[0]

    # Time

    async def run(self, *, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0) -> None:
        """Let virtual time pass."""
        span = hours * 3600 + minutes * 60 + seconds
        if not span >= 0:
            raise BadScenario(f"{span!r} seconds cannot pass: expected 0 or more")
        if _running_loop() is None:
            raise SimulationError("time only passes on the virtual loop: start the script with simulations.run(main)")
        await asyncio.sleep(span)

    async def settle(self, *, within: float = 600.0) -> None:
        """Let time pass until every peer that lives has joined. Raises `SimulationError` after `within` seconds."""
        deadline = self.queue.now + within
        while self.starting or not all(peer.settled for peer in self.living):
            if self.queue.now >= deadline:
                alone = sum(not peer.settled for peer in self.living)
                raise SimulationError(
                    f"seed {self.seed}: after {within:g} s, at {self.elapsed:.3f} s, {alone} of {len(self.living)} "
                    f"peers had not joined and {self.starting} had not started"
                )
            await self.run(seconds=1.0)

    def play(self, script: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this world's own clock: for a world that was made outside `simulations.run`."""
        return loops.run(script, self.network)

    # What a run gives

    def result(self) -> SeedResult:
        """Everything recorded, with the nodes as they are now."""
        nodes = self.metrics.tables["nodes"]
        nodes.clear()
        for row in node_rows(self, self.latency):
            nodes.add(*row)
        facts = {
            "engine": "protocol",
            "seal": self.settings.seal,
            "trace_hash": self.trace.hexdigest(),
            "deliveries": self.trace.count,
            "datagrams": sum(host.sent for host in self.network.hosts.values()),
            "dropped": dict(sorted(self.network.dropped.items())),
            "virtual_seconds": self.elapsed,
            "nodes": len(self.peers),
            "abandoned": self.abandoned,
        }
        return SeedResult(self.seed, self.metrics.tables, self.metrics.expectations, facts)


def _running_loop() -> VirtualLoop | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop if isinstance(loop, VirtualLoop) else None
