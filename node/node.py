"""The node: every part wired to one configuration. `async with Node(config) as node:` starts and stops it all.

Decides which parts there are, in what order they start, and that stopping takes less than two seconds whatever hangs.
Refuses to decide anything of theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import (
    AddressChanged,
    ClockSuspect,
    HomesChanged,
    Mode,
    ModeChanged,
    ProbeRequested,
    Receipt,
)
from dht.identity import NodeKey, PublicKey
from dht.records import Kind, mutable_place, topic_salt
from node.adapters.file_outcomes import Progress
from node.config import NodeConfig
from node.driver import Datagrams, Driver, Stopped
from node.node_events import (
    AddressSeen,
    ClockWrong,
    EventFeed,
    EventLog,
    HomesFound,
    ModeSet,
    NodeEvent,
    Started,
)
from node.node_events import Stopped as StoppedEvent
from node.node_files import Decide, FileEvent, Files
from node.node_joining import Joining
from node.node_journal import Journal, open_journal, restore, restored_contacts
from node.node_links import Links
from node.node_lookups import Lookups
from node.node_outside import Outside
from node.node_parts import NodeParts, datagrams_for, engine_for, save_within
from node.node_publishing import Publishing
from node.node_results import (
    ConnectOutcome,
    ContactInfo,
    DhtPing,
    FindOutcome,
    GetOutcome,
    LinkInfo,
    LinkPing,
    Reason,
    SendOutcome,
)
from node.node_status import NodeStatus, contact_infos, node_status
from node.node_tasks import Tasks
from node.node_tunnel import TunnelledDatagrams
from node.ports import LinkError, Stream
from node.protocols.peer_record import Capability
from node.storage import DropMeta, Meta, Storage

if TYPE_CHECKING:
    from bootstrap.sources import ListReport
    from node.storage import Snapshot

__all__ = [
    "ConnectOutcome",
    "ContactInfo",
    "DhtPing",
    "FindOutcome",
    "GetOutcome",
    "LinkInfo",
    "LinkPing",
    "Node",
    "NodeEvent",
    "NodeParts",
    "NodeStatus",
    "Receipt",
    "SendOutcome",
]

STOP_TIMEOUT: Final = 0.6
"""Seconds each of the two last steps of stopping gets (links, journal), so that a node ends within 2 s."""

PING_TIMEOUT: Final = 5.0
"""Seconds a ping over a link may take. UNSOURCED"""

_SERVED: Final = "served"
"""Meta row that says the node was a server when it ended, so that it keeps its node key."""


class Node:
    """One peer: its identity, its place in the DHT, its links."""

    def __init__(self, config: NodeConfig, parts: NodeParts | None = None) -> None:
        self.config = config
        self._parts = parts or NodeParts()
        self._events = EventLog()
        self._stack = AsyncExitStack()
        self._started = False

    async def __aenter__(self) -> Node:
        if self._started:
            raise LocalError("a node is started once: make a new one")
        self._started = True
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # What there is to know

    @property
    def identity(self) -> PublicKey:
        """The key others find this node by."""
        return self._identity.public

    @property
    def driver(self) -> Driver[DhtEngine]:
        """What drives the DHT engine: for simulations, which look inside and pull the plug."""
        return self._driver

    def status(self) -> NodeStatus:
        """Everything about the node at this moment."""
        return node_status(
            self.identity,
            self.config,
            self._driver,
            self._datagrams,
            since=self._since,
            joined=self._joining.joined.is_set(),
            published=self._publishing.published,
            links=tuple(self._links.info()),
            report=self._joining.report,
            signaling=self._meeting.calls.counters,
            journal_problem=self._journal.problem,
        )

    def contacts(self) -> list[ContactInfo]:
        """The routing table, nearest first."""
        return contact_infos(self._driver)

    def links(self) -> list[LinkInfo]:
        """The open links."""
        return self._links.info()

    def events(self) -> EventFeed:
        """New events, from this call on."""
        return self._events.follow()

    def recent_events(self) -> list[NodeEvent]:
        """The last events, oldest first."""
        return self._events.recent()

    async def wait_joined(self, timeout: float | None = None) -> bool:
        """Wait until other nodes are known; false when that did not happen in time."""
        try:
            async with asyncio.timeout(timeout):
                await self._joining.joined.wait()
        except TimeoutError:
            return False
        return True

    # The DHT

    async def find(self, peer: PublicKey, *, explain: bool = False) -> FindOutcome:
        """Look up a peer's record; with `explain` the outcome has the trace of who was asked."""
        return await self._lookups.find(peer, explain=explain)

    async def ping_dht(self, peer: PublicKey) -> DhtPing:
        """Look a peer up and ping every node by way of which it is reached."""
        return await self._lookups.ping(peer)

    async def put(
        self, value: bytes, *, salt: bytes | None = None, topic: str | None = None, expected_seq: int | None = None
    ) -> Receipt:
        """Store a value of ours: under our key and `salt`, under a topic, or (neither) under its own hash."""
        if salt is not None and topic is not None:
            raise LocalError("a record has a salt or a topic, not both")
        if topic is not None:
            return await self._publishing.put(Kind.TOPIC, value, salt=topic_salt(topic))
        if salt is not None:
            return await self._publishing.put(Kind.MUTABLE, value, salt=salt, expected_seq=expected_seq)
        return await self._publishing.put(Kind.IMMUTABLE, value)

    async def get(
        self, *, owner: PublicKey | None = None, salt: bytes | None = None, place: bytes | None = None
    ) -> GetOutcome:
        """Read what lies at `place`, or under the key of `owner` (ours if none is given) and `salt`."""
        if place is not None:
            return await self._lookups.get(place, owner)
        if salt is None:
            raise LocalError("say what to read: a salt, or a place")
        owner = owner or self.identity
        return await self._lookups.get(mutable_place(owner, salt), owner)

    def set_status_text(self, text: str) -> None:
        """Show a line of text in our peer record."""
        self._publishing.set_status(text)

    # Links

    async def connect(self, peer: PublicKey, *, timeout: float = 30.0) -> ConnectOutcome:
        """Return a link with `peer`: the open one, or a new one."""
        if peer == self.identity:
            return ConnectOutcome(False, Reason.SELF, "this is the node's own key")
        try:
            return await self._meeting.connect(peer, timeout)
        except Stopped:
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")

    def serve(self, name: str, handler: Callable[[PublicKey, Stream], Awaitable[None]]) -> None:
        """Call `handler(peer, stream)` for every stream `name` that a peer opens, on links there are and will be."""
        if name.startswith("rookery/"):
            raise LocalError(f"stream name {name!r} is not for apps: names that begin with rookery/ are the node's own")
        self._links.serve(name, lambda link: partial(handler, link.peer))

    async def ping_link(self, peer: PublicKey) -> LinkPing:
        """Ping a peer over the data channel, which is opened if need be."""
        outcome = await self.connect(peer)
        if not outcome.connected:
            return LinkPing(False, outcome.reason, outcome.detail, phases=outcome.phases)
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                rtt = await self._links.ping(outcome.link)
        except TimeoutError:
            return LinkPing(False, Reason.TIMEOUT, f"no answer over the link in {PING_TIMEOUT:g} s")
        except LinkError as error:
            return LinkPing(False, Reason.LINK_FAILED, str(error.end))
        return LinkPing(True, Reason.NONE, "", rtt, not outcome.reused, outcome.phases)

    async def send_file(
        self, peer: PublicKey, path: Path, *, on_progress: Progress | None = None, timeout: float = 30.0
    ) -> SendOutcome:
        """Send a file; one that was cut short goes on where it stopped."""
        return await self._files.send(peer, Path(path), lambda: self.connect(peer, timeout=timeout), on_progress)

    async def receive_files(
        self,
        directory: Path | None = None,
        *,
        decide: Decide | None = None,
        on_event: Callable[[FileEvent], object] | None = None,
        count: int | None = None,
    ) -> None:
        """Take files into `directory` until cancelled, or until `count` have come whole.

        `decide` says yes or no to each offer; without it the configuration does.
        """
        self._meeting.attempts.prepare_soon()
        await self._files.receive(directory, decide, on_event, count)

    # Starting

    async def _start(self) -> None:
        config, parts, stack = self.config, self._parts, self._stack
        self._keys = stack.enter_context(parts.open_keys(config))
        self._identity = self._keys.identity()
        storage, snapshot = await open_journal(parts.open_storage, config.journal_file, self._events)
        stack.push_async_callback(save_within, STOP_TIMEOUT, storage.close)
        node_key = self._node_key(snapshot)
        sockets = await datagrams_for(parts, config)
        self._datagrams: Datagrams = TunnelledDatagrams(sockets) if config.gateways else sockets
        stack.callback(self._datagrams.close)
        self._driver = Driver(
            lambda now: engine_for(parts, config, node_key, now),
            self._datagrams.send,
            wall=parts.wall,
        )
        stack.callback(self._driver.close)
        stack.callback(lambda: self._driver.command(lambda engine, now: engine.close(now)))
        self._since = self._driver.now()
        self._answerless = await parts.open_answerless(self._identity, sockets, config, parts.rng)
        if self._answerless is not None:
            stack.push_async_callback(self._answerless.close)
        self._wire(storage, snapshot)
        await self._outside.open(stack)
        self._datagrams.attach(self._driver.receive)
        self._run_everything()
        self._events.add(Started(self._since, self.identity, self._datagrams.port, self._driver.engine.mode.value))

    def _wire(self, storage: Storage, snapshot: Snapshot) -> None:
        config, parts, driver, stack = self.config, self._parts, self._driver, self._stack
        self._storage = storage
        self._tasks = Tasks(self._events, driver.now)
        self._journal = Journal(driver, storage, self._events)
        self._publishing = Publishing(
            self._identity,
            driver,
            storage,
            self._events,
            interval=config.republish_interval,
            ttl=config.record_ttl,
            capabilities=Capability.WEBRTC | Capability.FILES,
            bound=None if config.listen in {"0.0.0.0", "::"} else self._datagrams.addresses[0],
            fingerprint=b"" if self._answerless is None else self._answerless.fingerprint,
            relays=self._relays,
        )
        self._publishing.restore(snapshot)
        self._lookups = Lookups(driver)
        self._links = Links(self._events, driver.now, driver.clock, parts.rng.randbytes, own=self.identity)
        self._files = Files(config, self._links, self._events, driver.now, driver.clock)
        self._outside = Outside(
            self._identity,
            config,
            parts,
            driver,
            self._datagrams,
            self._links,
            self._lookups,
            self._events,
            self._answerless,
        )
        self._meeting = self._outside.meeting
        known = [*config.contacts, *restored_contacts(snapshot)]
        fetch = self._fetch_list if config.bootstrap_lists else None
        served = _SERVED in snapshot.meta
        self._joining = Joining(driver, self._events, known, fetch, parts.rng, served=served)
        driver.subscribe(ProbeRequested, lambda probe: self._datagrams.send_from_elsewhere(probe.data, probe.address))
        driver.subscribe(HomesChanged, lambda event: self._events.add(HomesFound(driver.now(), event.homes)))
        driver.subscribe(AddressChanged, lambda event: self._events.add(AddressSeen(driver.now(), event.address)))
        driver.subscribe(ModeChanged, self._on_mode)
        driver.subscribe(ClockSuspect, lambda event: self._events.add(ClockWrong(driver.now(), event.offset)))
        mode = None if config.mode == "auto" else Mode(config.mode)
        driver.command(lambda engine, now: restore(engine, snapshot, now))
        driver.command(lambda engine, now: engine.set_mode(mode, now))
        driver.command(lambda engine, now: engine.serve_identity(self._identity, now))
        # Undone in reverse: attempts, links, then the tasks, then the last contacts are saved.
        stack.callback(self._save)
        stack.push_async_callback(self._tasks.end)
        stack.push_async_callback(self._links.close)
        stack.push_async_callback(self._outside.close)

    def _run_everything(self) -> None:
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "joining": self._joining.run,
            "publishing the peer record": self._publishing.run_peer_record,
            "publishing the app's records": self._publishing.run_own_records,
            "the journal": self._journal.run,
            **self._outside.work(self._joining),
        }
        for name, work in parts.items():
            self._tasks.start(name, work)

    def _node_key(self, snapshot: Snapshot) -> NodeKey:
        """A server keeps its key, so that others find it again; a client has a new one each time, so that its movements
        cannot be followed."""
        if self.config.mode == "server" or (self.config.mode == "auto" and _SERVED in snapshot.meta):
            return self._keys.node_key()
        return NodeKey.from_secret(self._parts.rng.randbytes(32))

    def _relays(self) -> bool:
        return self._outside.relays()

    async def _fetch_list(self) -> ListReport:
        # Only where there is a list to fetch: its carriers import aiohttp, which takes as long as all the rest.
        from bootstrap.sources import fetch_first_contacts
        from bootstrap.store import FileListStorage
        from bootstrap.trust import TrustRoot

        config = self.config
        trust = TrustRoot(frozenset(config.bootstrap_signers), config.bootstrap_threshold)
        kept = FileListStorage(config.data_dir / "first-contacts.json")
        return await fetch_first_contacts(config.bootstrap_lists, trust, config.network, kept)

    # What happens

    def _on_mode(self, event: ModeChanged) -> None:
        self._events.add(ModeSet(self._driver.now(), event.mode.value, event.reason))
        if self.config.mode != "auto":
            return
        if event.mode is Mode.SERVER:
            self._keys.keep_node_key(self._driver.engine.node_key)
            self._storage.write(Meta(_SERVED, b"1"))
        else:
            self._storage.write(DropMeta(_SERVED))

    # Stopping

    def _save(self) -> None:
        self._journal.save_contacts()
        self._events.add(StoppedEvent(self._driver.now(), self._driver.now() - self._since))
        self._events.end()
