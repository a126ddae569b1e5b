"""The node, as a program has it: `async with Node(config) as node:` starts and stops it all.

Decides what can be asked of a node. Refuses to know how its parts are put together: `node_inside.py` does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import (
    Receipt,
)
from dht.identity import PublicKey
from dht.records import mutable_place, peer_place
from node.adapters.file_outcomes import Progress
from node.config import NodeConfig
from node.driver import Driver, Stopped
from node.node_book import book_of
from node.node_doctor import examine
from node.node_events import (
    EventFeed,
    EventLog,
    NodeEvent,
)
from node.node_facts import Finding
from node.node_files import Decide, FileEvent
from node.node_inside import Inside
from node.node_inviting import Inviting
from node.node_lan import Lan
from node.node_parts import NodeParts
from node.node_presence import GossipPresence
from node.node_redeeming import Redeeming
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
from node.node_topics import Topics
from node.node_values import Value
from node.node_watching import RecordNews
from node.ports import LinkError, Stream

if TYPE_CHECKING:
    pass

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
    "RecordNews",
    "SendOutcome",
]

PING_TIMEOUT: Final = 5.0
"""Seconds a ping over a link may take. UNSOURCED"""


class Node:
    """One peer: its identity, its place in the DHT, its links."""

    def __init__(self, config: NodeConfig, parts: NodeParts | None = None) -> None:
        self.config = config
        self._events = EventLog()
        self.inside = Inside(config, parts or NodeParts(), self._events)
        """The parts: for simulations and tests, which look inside and pull the plug."""
        self.book = book_of(config)
        """What this machine's user calls peers. Nobody else learns it."""
        self._stack = AsyncExitStack()
        self._started = False

    async def __aenter__(self) -> Node:
        if self._started:
            raise LocalError("a node is started once: make a new one")
        self._started = True
        try:
            await self.inside.open(self._stack)
            self.inside.presence.befriend(self.book.peers)
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
    def topics(self) -> Topics:
        """The topics this node is in: `topic = await node.topics.join("chess")`."""
        return self.inside.topics

    @property
    def identity(self) -> PublicKey:
        """The key others find this node by."""
        return self.inside.identity

    @property
    def driver(self) -> Driver[DhtEngine]:
        """What drives the DHT engine: for simulations, which look inside and pull the plug."""
        return self.inside.driver

    @property
    def inviting(self) -> Inviting:
        """The invites this node has made: makes them, lists them, takes them back."""
        return self.inside.inviting

    @property
    def redeeming(self) -> Redeeming:
        """Redeems invites into the network this node is in."""
        return self.inside.redeeming

    @property
    def presence(self) -> GossipPresence:
        """Who is there: set our status, ask for peers', watch them come and go."""
        return self.inside.presence

    def status(self) -> NodeStatus:
        """Everything about the node at this moment."""
        return node_status(
            self.identity,
            self.config,
            self.inside.driver,
            self.inside.datagrams,
            since=self.inside.since,
            joined=self.inside.joining.joined.is_set(),
            published=self.inside.publishing.published,
            links=tuple(self.inside.links.info()),
            report=self.inside.joining.report,
            signaling=self.inside.outside.meeting.calls.counters,
            ladder=self.inside.outside.ladder.status(),
            journal_problem=self.inside.journal.problem,
            lan=self.inside.lan.status(),
        )

    @property
    def lan(self) -> Lan:
        """The local network: who is there, and its state."""
        return self.inside.lan

    async def examine(self) -> tuple[Finding, ...]:
        """Say what is wrong with this node's network, and what to do: pings known nodes, singly and all at once."""
        return await examine(self.inside, self.config)

    def contacts(self) -> list[ContactInfo]:
        """The routing table, nearest first."""
        return contact_infos(self.inside.driver)

    def links(self) -> list[LinkInfo]:
        """The open links."""
        return self.inside.links.info()

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
                await self.inside.joining.joined.wait()
        except TimeoutError:
            return False
        return True

    # The DHT

    async def find(self, peer: PublicKey, *, explain: bool = False) -> FindOutcome:
        """Look up a peer's record; with `explain` the outcome has the trace of who was asked."""
        return await self.inside.lookups.find(peer, explain=explain)

    async def ping_dht(self, peer: PublicKey) -> DhtPing:
        """Look a peer up and ping every node by way of which it is reached."""
        return await self.inside.lookups.ping(peer)

    async def put(
        self, value: bytes, *, salt: bytes | None = None, topic: str | None = None, expected_seq: int | None = None
    ) -> Receipt:
        """Store a value of ours: under our key and `salt`, under a topic, or (neither) under its own hash."""
        return await self.inside.publishing.put(Value(value, salt, topic), expected_seq=expected_seq)

    async def put_many(self, values: Sequence[Value]) -> list[Receipt]:
        """Store many values of ours in one go, which costs less than one by one; a receipt for each, in order.

        Raises `LocalError` naming the one that is no record before any is stored.
        """
        return await self.inside.publishing.put_many(values)

    async def get(
        self, *, owner: PublicKey | None = None, salt: bytes | None = None, place: bytes | None = None
    ) -> GetOutcome:
        """Read what lies at `place`, or under the key of `owner` (ours if none is given) and `salt`."""
        if place is not None:
            return await self.inside.lookups.get(place, owner)
        if salt is None:
            raise LocalError("say what to read: a salt, or a place")
        owner = owner or self.identity
        return await self.inside.lookups.get(mutable_place(owner, salt), owner)

    async def watch(
        self, peer: PublicKey | None = None, *, salt: bytes | None = None, place: bytes | None = None
    ) -> AsyncGenerator[RecordNews, None]:
        """Yield a record as it is now and whenever it changes: the peer's own one, its record under `salt`, or whatever
        lies at `place`. Its holders tell of changes; nothing is asked again and again.

        Close the iterator to end it (`contextlib.aclosing`); it ends by itself when the node stops.
        """
        if (peer is None) == (place is None) or (place is not None and salt is not None):
            raise LocalError("say what to watch: a peer, a peer's record by its salt, or a place")
        if place is None:
            assert peer is not None
            place = peer_place(peer) if salt is None else mutable_place(peer, salt)
        async with aclosing(self.inside.watches.follow(place)) as changes:
            async for news in changes:
                yield news

    def set_status_text(self, text: str) -> None:
        """Show a line of text in our peer record."""
        self.inside.publishing.set_status(text)

    # Links

    async def connect(self, peer: PublicKey, *, timeout: float = 30.0) -> ConnectOutcome:
        """Return a link with `peer`: the open one, or a new one."""
        if peer == self.identity:
            return ConnectOutcome(False, Reason.SELF, "this is the node's own key")
        try:
            return await self.inside.outside.meeting.connect(peer, timeout)
        except Stopped:
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")

    def serve(self, name: str, handler: Callable[[PublicKey, Stream], Awaitable[None]]) -> None:
        """Call `handler(peer, stream)` for every stream `name` that a peer opens, on links there are and will be."""
        if name.startswith("rookery/"):
            raise LocalError(f"stream name {name!r} is not for apps: names that begin with rookery/ are the node's own")
        self.inside.links.serve(name, lambda link: partial(handler, link.peer))

    async def ping_link(self, peer: PublicKey) -> LinkPing:
        """Ping a peer over the data channel, which is opened if need be."""
        outcome = await self.connect(peer)
        if not outcome.connected:
            return LinkPing(False, outcome.reason, outcome.detail, phases=outcome.phases)
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                rtt = await self.inside.links.ping(outcome.link)
        except TimeoutError:
            return LinkPing(False, Reason.TIMEOUT, f"no answer over the link in {PING_TIMEOUT:g} s")
        except LinkError as error:
            return LinkPing(False, Reason.LINK_FAILED, str(error.end))
        return LinkPing(True, Reason.NONE, "", rtt, not outcome.reused, outcome.phases)

    async def send_file(
        self, peer: PublicKey, path: Path, *, on_progress: Progress | None = None, timeout: float = 30.0
    ) -> SendOutcome:
        """Send a file; one that was cut short goes on where it stopped."""
        return await self.inside.files.send(peer, Path(path), lambda: self.connect(peer, timeout=timeout), on_progress)

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
        self.inside.outside.meeting.attempts.prepare_soon()
        await self.inside.files.receive(directory, decide, on_event, count)
