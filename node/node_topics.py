"""Topics of a node: `topic = await node.topics.join("chess")`.

Decides who shares a topic's connections (everybody in this program who joined it) and what a slow app misses. Refuses
to know how members find each other: `node_membership.py` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Final

from dht.errors import DecodeError, LocalError
from dht.identity import PublicKey
from dht.limits import RateLimiter
from node.node_member_events import (
    BroadcastOutcome,
    DirectOutcome,
    EventsLost,
    PeerJoined,
    TopicEvent,
    TopicJoined,
    TopicLeft,
    TopicPeer,
    TopicStatus,
)
from node.node_member_wire import CUT, read_greeting
from node.node_membership import HELLO_BURST, HELLO_RATE, TopicParts, TopicSession
from node.ports import Link, Stream, StreamHandler
from node.protocols.topic_messages import TOPIC_STREAM, Hello, Refused, TopicRefusal, check_app, framed
from node.protocols.topics import TopicKey

MAX_TOPICS: Final = 32
"""Topics a node is in at once: with 12 neighbours each they fill its links. UNSOURCED"""

EVENTS: Final = 1024
"""Events a slow app may be behind before the oldest are left out for it, which it is told. UNSOURCED"""

LEAVE_TIMEOUT: Final = 5.0
"""Seconds that leaving may take: the announcement is withdrawn at twenty nodes. UNSOURCED"""

STOP_TIMEOUT: Final = 0.5
"""The same when the node stops, which has to end within 2 s."""


class Topic(AsyncIterator[TopicEvent]):
    """An app's hold on a topic: events by iteration, members, and what to say. Ended by `leave`, or `async with`."""

    def __init__(self, name: str, session: TopicSession, leave: Callable[[Topic], Awaitable[None]]) -> None:
        self.name = name
        self._session = session
        self._leave = leave
        self._events: deque[TopicEvent] = deque()
        self._lost = 0
        self._arrived = asyncio.Event()
        self._ended = False

    async def __aenter__(self) -> Topic:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    @property
    def peers(self) -> tuple[TopicPeer, ...]:
        """Members that are connected with this node."""
        return self._session.peers()

    @property
    def members(self) -> tuple[PublicKey, ...]:
        """Members that are announced, as far as this node knows, and those connected."""
        return tuple({*self._session.members.known, *(one.peer for one in self.peers)})

    async def wait_peers(self, count: int = 1, timeout: float | None = None) -> bool:
        """Wait until so many members are connected; false when that did not happen in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while len(self.peers) < count and not self._ended:
                    await self._session.changed.wait()
        return len(self.peers) >= count

    async def broadcast(self, data: bytes) -> BroadcastOutcome:
        """Say something to everybody in the topic, at most 32,768 bytes; also to those with whom there is no link, whom
        others tell. Raises `LocalError` when it is too long."""
        self._check()
        return self._session.broadcast(data)

    async def send(self, peer: PublicKey, data: bytes) -> DirectOutcome:
        """Say something to one member, who is dialled when it is not connected. Raises `LocalError` when too long."""
        self._check()
        return await self._session.send(peer, data)

    async def leave(self) -> None:
        """Be in it no longer, as far as this app is concerned; the last one withdraws the announcement."""
        if not self._ended:
            self.end()
            await self._leave(self)

    def push(self, event: TopicEvent) -> None:
        """Hand an event over."""
        if len(self._events) >= EVENTS:
            self._events.popleft()
            self._lost += 1
        self._events.append(event)
        self._arrived.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._arrived.set()

    async def __anext__(self) -> TopicEvent:
        while not self._events and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        if not self._events:
            raise StopAsyncIteration
        return self._events.popleft()

    def _check(self) -> None:
        if self._ended:
            raise LocalError(f"the topic {self.name!r} was left")


@dataclass(slots=True)
class _Joined:
    session: TopicSession
    task: asyncio.Task[None]
    holds: list[Topic] = field(default_factory=list)
    kept: Topic | None = None


class Topics:
    """The topics this node is in."""

    def __init__(self, parts: TopicParts) -> None:
        self._parts = parts
        self._joined: dict[bytes, _Joined] = {}
        self._strangers = RateLimiter(HELLO_RATE, HELLO_BURST, capacity=1024)
        self._closed = False

    def serve(self) -> None:
        """Take streams of members on every link there is and will be."""
        self._parts.links.serve(TOPIC_STREAM, self._handler)

    async def join(self, name: str, *, secret: str | None = None, app: str = "", app_version: int = 0) -> Topic:
        """Be in a topic: announce it, find others, connect. Returns at once; members come as `PeerJoined`.

        With a `secret` only those who know it find each other, and nobody else learns who they are. `app` names what
        is spoken: only members that say the same are connected; `app_version` is shown to them. Raises `LocalError`.
        """
        check_app(app)
        if not 0 <= app_version <= 65535:
            raise LocalError(f"an app's version lies in 0..65535, not {app_version}")
        key = await self._key(name, secret)
        if self._closed:
            raise LocalError("the node is stopping")
        joined = self._joined.get(key.tag)
        if joined is not None and joined.session.app != app:
            raise LocalError(f"the topic {key.name!r} was joined for {joined.session.app!r}, not for {app!r}")
        if joined is None:
            joined = self._begin(key, app, app_version)
        topic = Topic(key.name, joined.session, partial(self._release, key.tag))
        for one in joined.session.peers():  # Who comes later is told who is there.
            topic.push(PeerJoined(one.peer, one.app_version))
        joined.holds.append(topic)
        return topic

    async def keep(self, name: str, *, secret: str | None = None, app: str = "", app_version: int = 0) -> TopicStatus:
        """Be in a topic until `drop` or the node's end, whether somebody follows it or not. Raises `LocalError`."""
        topic = await self.join(name, secret=secret, app=app, app_version=app_version)
        joined = next(one for one in self._joined.values() if topic in one.holds)
        if joined.kept is not None:
            await topic.leave()
        else:
            joined.kept = topic
            joined.holds.remove(topic)
        return self._status(joined)

    async def keep_all(self, names: tuple[str, ...]) -> None:
        """Keep these for as long as the node runs."""
        for name in names:
            await self.keep(name)
        await asyncio.Event().wait()

    async def drop(self, name: str, *, secret: str | None = None) -> bool:
        """Undo `keep`; false when there was nothing to undo."""
        joined = self._joined.get((await self._key(name, secret)).tag)
        if joined is None or joined.kept is None:
            return False
        kept, joined.kept = joined.kept, None
        kept.end()
        await self._release(joined.session.key.tag, kept)
        return True

    async def get(self, name: str, *, secret: str | None = None) -> TopicStatus | None:
        """A topic this node is in, or None."""
        joined = self._joined.get((await self._key(name, secret)).tag)
        return None if joined is None else self._status(joined)

    def all(self) -> list[TopicStatus]:
        """Every topic this node is in."""
        return [self._status(joined) for joined in self._joined.values()]

    def connected(self) -> list[PublicKey]:
        """The members of any of them that are connected with this node."""
        return [one.peer for joined in self._joined.values() for one in joined.session.peers()]

    async def close(self) -> None:
        """Leave all of them: the node stops."""
        self._closed = True
        left, self._joined = list(self._joined.values()), {}
        await asyncio.gather(*(self._end(joined, STOP_TIMEOUT) for joined in left))

    def _begin(self, key: TopicKey, app: str, app_version: int) -> _Joined:
        if len(self._joined) >= MAX_TOPICS:
            raise LocalError(f"a node is in at most {MAX_TOPICS} topics at once: leave one first")
        session = TopicSession(self._parts, key, app, app_version, partial(self._tell, key.tag))
        task = asyncio.get_running_loop().create_task(session.run(), name=f"topic {key.name}")
        joined = self._joined[key.tag] = _Joined(session, task)
        self._parts.events.add(TopicJoined(self._parts.driver.now(), key.name, key.is_private))
        return joined

    async def _release(self, tag: bytes, topic: Topic) -> None:
        joined = self._joined.get(tag)
        if joined is None:
            return
        if topic in joined.holds:
            joined.holds.remove(topic)
        if not joined.holds and joined.kept is None:
            del self._joined[tag]
            await self._end(joined, LEAVE_TIMEOUT)
            self._parts.events.add(TopicLeft(self._parts.driver.now(), topic.name))

    async def _end(self, joined: _Joined, timeout: float) -> None:
        for topic in (*joined.holds, joined.kept):
            if topic is not None:
                topic.end()
        await joined.session.close(timeout)
        joined.task.cancel()
        await asyncio.gather(joined.task, return_exceptions=True)

    async def _key(self, name: str, secret: str | None) -> TopicKey:
        if secret is None:
            return TopicKey.public(name)
        return await asyncio.to_thread(TopicKey.private, name, secret)

    def _tell(self, tag: bytes, event: TopicEvent) -> None:
        joined = self._joined.get(tag)
        for topic in () if joined is None else joined.holds:
            topic.push(event)

    def _status(self, joined: _Joined) -> TopicStatus:
        session = joined.session
        counted = session.members.counters
        return TopicStatus(
            topic=session.key.name,
            private=session.key.is_private,
            app=session.app,
            peers=session.peers(),
            known=len(session.members.known),
            announced=session.places.stored,
            kept=joined.kept is not None,
            counters={
                "announced": counted.announced,
                "looked_up": counted.looked_up,
                "dialled": counted.dialled,
                "dead": counted.dead,
                "crowded_out": counted.crowded_out,
                **session.mesh.counters,
            },
        )

    def _handler(self, link: Link) -> StreamHandler:
        return partial(self._on_stream, link)

    async def _on_stream(self, link: Link, stream: Stream) -> None:
        """A peer wants to be a neighbour in some topic: whichever it shows to know."""
        peer, own = link.peer, self._parts.identity.public
        try:
            hello = await read_greeting(stream)
            if not isinstance(hello, Hello) or hello.answers:
                stream.reset()
                return
            for joined in list(self._joined.values()):
                if joined.session.key.proof(peer, own, answering=False) == hello.proof:
                    await joined.session.accept(peer, stream, hello)
                    return
            known = self._strangers.allow(peer, self._parts.driver.now())
            await stream.write(framed(Refused(TopicRefusal.NOT_MEMBER if known else TopicRefusal.RATE)))
        except (DecodeError, TimeoutError, *CUT):
            stream.reset()
