"""The node's gossip: presence of peers over its links, for apps, people, and the look-up of peers.

Decides which links gossip goes over, when links are opened for it, and what becomes an event. Refuses to know how
presence spreads (`node.protocols.presence`) and how links come to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from random import Random
from typing import Final

from dht.identity import IdentityKey, PublicKey
from node.node_events import EventLog
from node.node_links import Links
from node.node_meeting import Meeting
from node.node_presence_events import (
    Edge,
    OwnPresence,
    PeerAway,
    PeerOffline,
    PeerOnline,
    PeerSuspected,
    PresenceEvent,
    PresenceInfo,
    StatusChanged,
)
from node.node_presence_friends import Followed, Friends
from node.node_presence_talk import Talk
from node.node_publishing import Publishing
from node.node_rhythm import Alarm, Rhythm
from node.ports import Hint, Link, LinkError, Stream, StreamHandler
from node.protocols import presence as gossip
from node.protocols import presence_events as found
from node.protocols.presence_beats import MARK_BYTES, Status
from node.protocols.presence_book import Entry, status_of
from node.protocols.presence_ground import PresenceSettings
from node.protocols.presence_wire import STREAM

log = logging.getLogger("rookery.presence")

ASK_FOR: Final = 0.3
"""Seconds to wait for the neighbours' answer about a peer: its rung of the ladder is 200-500 ms."""
LOOK_EVERY: Final = 5.0
"""Seconds between looks at where this node can be reached, and at who its friends are. UNSOURCED"""
LEAVE_FOR: Final = 0.2
"""Seconds the farewell gets to leave when the node stops. UNSOURCED"""
SPARE_FOR: Final = 60.0
"""Seconds a link that gossip opened stays open when gossip no longer needs it; an app may have begun to use it.
UNSOURCED"""


class GossipPresence:
    """Who is there. `node.presence`."""

    def __init__(
        self,
        identity: IdentityKey,
        settings: PresenceSettings,
        links: Links,
        meeting: Meeting,
        publishing: Publishing,
        events: EventLog,
        rng: Random,
        now: Callable[[], float],
        rhythm: Rhythm,
        *,
        enabled: bool = True,
    ) -> None:
        """`now` gives Unix seconds. Not `enabled`, it says nothing, hears nothing, and knows nobody."""
        self.name = "gossip"
        self._identity = identity.public
        self._links = links
        self._meeting = meeting
        self._publishing = publishing
        self._events = events
        self._now = now
        self._core = gossip.Presence(identity, settings, Random(rng.getrandbits(64)), now())
        self._followed = Followed()
        self._talks: dict[bytes, Talk] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened: set[bytes] = set()
        """Peers whose link was opened for gossip."""
        self._asking: dict[bytes, list[asyncio.Future[None]]] = {}
        self._rhythm = rhythm
        self._alarm = Alarm(rhythm, self._on_timer)
        self._closed = not enabled
        self._sent = self._received = 0
        if enabled:
            links.serve(STREAM, self._on_link)
            self._pump()

    # For apps

    def set(self, status: str, text: str = "") -> None:
        """Say what we are: online, away or busy, and a line of text. Raises `LocalError` for a text that does not fit.

        Told to all at once by gossip, and shown in our peer record.
        """
        wanted = Status[status.upper()]
        shown = text if wanted is Status.ONLINE else f"{status}: {text}" if text else status
        self._publishing.set_status(shown)
        self._core.set_status(wanted, text, self._now())
        self._pump()

    def of(self, peer: PublicKey) -> PresenceInfo | None:
        """What is known of a peer; None when nothing is."""
        entry = self._core.book.get(peer.raw)
        return None if entry is None else self._info(entry)

    def all(self) -> list[PresenceInfo]:
        """What is known of everybody: the close ones first, then by how near they are."""
        known = [self._info(entry) for _, entry in self._core.book]
        return sorted(known, key=lambda one: (not one.close, one.state == "offline", one.hops, one.peer.raw))

    def own(self) -> OwnPresence:
        """What we say of ourselves, and how gossip goes."""
        core = self._core
        return OwnPresence(
            self._identity,
            core.own.status.name.lower(),
            core.own.text,
            tuple(PublicKey(link.peer) for link in core.ground.neighbours),
            core.book.known(),
            len(core.book),
            core.spread.horizon,
            core.watch.health,
            self._sent,
            self._received,
            dict(core.ground.counters),
        )

    def topology(self) -> list[Edge]:
        """Who is linked with whom, as the peers that we know say themselves."""
        keys = {owner[:MARK_BYTES]: owner for owner, _ in self._core.book}
        keys[self._identity.raw[:MARK_BYTES]] = self._identity.raw
        said = {
            owner: {keys[mark] for mark in entry.card.neighbours if mark in keys}
            for owner, entry in self._core.book
            if entry.state is not found.State.OFFLINE
        }
        said[self._identity.raw] = {link.peer for link in self._core.ground.neighbours}
        pairs = {tuple(sorted((one, other))) for one, others in said.items() for other in others}
        return [
            Edge(PublicKey(one), PublicKey(other), other in said.get(one, ()) and one in said.get(other, ()))
            for one, other in sorted(pairs)
        ]

    def follow(self, peers: Iterable[PublicKey], *, ask: bool = True) -> None:
        """Care for these peers (at most 512, with friends; an earlier list is replaced): they are never forgotten, and
        their events are told at level info. With `ask` they are sought beyond what a node hears by itself, by which its
        neighbours learn who they are.
        """
        self._followed.name(peers, ask=ask)
        self._look_at_friends()

    def befriend(self, friends: Friends) -> None:
        """Care for whoever `friends` names, too, now and whenever that has changed; nobody is asked for them."""
        self._followed.friends.append(friends)

    def _look_at_friends(self) -> None:
        changes = self._followed.changes()
        if changes is not None:
            self._core.set_interests(*changes)
            self._pump()

    async def watch(self) -> AsyncGenerator[PresenceEvent, None]:
        """Every presence event from this call on, until closed or the node stops."""
        async with aclosing(self._events.follow()) as events:
            async for event in events:
                if isinstance(event, PresenceEvent):
                    yield event

    # For the ladder

    async def find(self, peer: PublicKey) -> Hint | None:
        """Where a peer can be reached, by its own signed word: at once when we know, else from the neighbours."""
        hint = self._hint(peer)
        if hint is not None or self._closed:
            return hint
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking.setdefault(peer.raw, []).append(waiting)
        try:
            asked = self._core.seek(peer.raw)
            self._pump()
            if asked:
                await asyncio.wait([waiting], timeout=ASK_FOR)
        finally:
            waiting.cancel()
            self._asking[peer.raw].remove(waiting)
            if not self._asking[peer.raw]:
                del self._asking[peer.raw]
        return self._hint(peer)

    def _hint(self, peer: PublicKey) -> Hint | None:
        entry = self._core.book.get(peer.raw)
        if entry is None or entry.state is found.State.OFFLINE or not entry.card.reachable:
            return None
        return Hint(entry.card.direct, entry.card.homes, entry.card.fingerprint)

    # Running

    async def run(self) -> None:
        """Say where this node can be reached, whenever that has changed for good, and care for friends. Ends only by
        being cancelled."""
        before = None
        while not self._closed:
            self._look_at_friends()
            record = self._publishing.current()
            ways = (record.direct, record.homes, record.fingerprint)
            # Homes are found one after another: only what stood for a while is told to all.
            if ways == before:
                self._core.set_ways(*ways, self._now())
                self._pump()
            before = ways
            await self._rhythm.pause(LOOK_EVERY)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Say farewell, and end."""
        if self._closed:
            return
        self._core.leave(self._now())
        self._pump()
        self._closed = True
        self._alarm.cancel()
        if self._talks:
            leaving = [asyncio.ensure_future(talk.idle.wait()) for talk in self._talks.values()]
            _, late = await asyncio.wait(leaving, timeout=LEAVE_FOR)
            for waiting in late:
                waiting.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _pump(self) -> None:
        """Carry what the core has to say, and see when it is to be called again."""
        if self._closed:
            return
        now = self._now()
        for message, peer in self._core.messages_to_send(now):
            if (talk := self._talks.get(peer)) is not None:
                self._sent += len(message) + 2
                talk.send(message)
        while (event := self._core.next_event()) is not None:
            self._on_event(event)
        due = self._core.next_timer()
        if due is None:
            self._alarm.cancel()
        else:  # With nobody to talk to, nothing is urgent.
            self._alarm.set(max(0.0, due - now), 0.0 if self._talks else self._rhythm.slack)

    def _on_timer(self) -> None:
        self._core.handle_timer(self._now())
        self._pump()

    def _spawn(self, work: asyncio.Task[None]) -> None:
        self._tasks.add(work)
        work.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("gossip failed", exc_info=error)

    # Links

    def _on_link(self, link: Link) -> StreamHandler:
        if link.initiated and not self._closed:
            self._spawn(asyncio.get_running_loop().create_task(self._begin(link)))
        return partial(self._talk, link)

    async def _begin(self, link: Link) -> None:
        try:
            stream = await link.open_stream(STREAM)
        except LinkError:
            return
        await self._talk(link, stream)

    async def _talk(self, link: Link, stream: Stream) -> None:
        peer = link.peer.raw
        before = self._talks.get(peer)
        if self._closed or (before is not None and before.link is link):
            return  # One stream is enough: a second would only say the same.
        talk = self._talks[peer] = Talk(link, stream)
        self._core.add_link(peer, self._now(), direct=link.stats.path.direct)
        self._pump()

        def take(message: bytes) -> None:
            self._received += len(message) + 2
            self._core.receive_message(message, peer, self._now())
            self._pump()

        try:
            await talk.run(take)
        finally:
            if self._talks.get(peer) is talk:
                del self._talks[peer]
                if not self._closed:
                    self._core.drop_link(peer, self._now(), lost=talk.lost)
                    self._pump()

    async def _dial(self, peer: PublicKey) -> None:
        outcome = await self._meeting.dial(peer, relayed=False)
        if outcome.connected:
            self._opened.add(peer.raw)
            return
        self._core.dial_failed(peer.raw, self._now())
        self._pump()

    async def _spare(self, peer: bytes) -> None:
        """Close a link that was opened for gossip, when neither end's gossip needs it and nothing else runs on it."""
        await asyncio.sleep(SPARE_FOR)
        link = self._core.ground.links.get(peer)
        open_link = self._links.get(PublicKey(peer))
        if peer not in self._opened or link is None or link.neighbour or open_link is None:
            return
        quiet = open_link.stats.messages_received
        await asyncio.sleep(SPARE_FOR)
        # An app's stream says more than a beat now and then.
        if open_link.stats.messages_received - quiet < SPARE_FOR and not link.neighbour:
            self._opened.discard(peer)
            await open_link.close()

    # Events

    def _close_to_us(self, owner: bytes) -> bool:
        return owner in self._core.ground.interests or owner in self._core.ground.links

    def _on_event(self, event: found.PresenceEvent) -> None:
        peer, now, close = PublicKey(event.owner), self._now(), self._close_to_us(event.owner)
        match event:
            case found.CameOnline(_, Status.AWAY, text):
                self._events.add(PeerAway(now, peer, close, text))
            case found.CameOnline(_, status, text):
                self._events.add(PeerOnline(now, peer, close, status.name.lower(), text, False))
            case found.Changed(_, Status.AWAY, text, before, _) if before is not Status.AWAY:
                self._events.add(PeerAway(now, peer, close, text))
            case found.Changed(_, status, text, before, text_before):
                words = (status.name.lower(), text, before.name.lower(), text_before)
                self._events.add(StatusChanged(now, peer, close, *words))
            case found.Suspected(_, accusers, own):
                self._events.add(PeerSuspected(now, peer, close, accusers, own))
            case found.Cleared():
                entry = self._core.book.get(event.owner)
                if entry is not None:
                    said = (status_of(entry).name.lower(), entry.card.text)
                    self._events.add(PeerOnline(now, peer, close, *said, True))
            case found.WentOffline(_, why, last_seen):
                self._events.add(PeerOffline(now, peer, close, why.value, last_seen))
            case found.LinkWanted():
                self._spawn(asyncio.get_running_loop().create_task(self._dial(peer)))
            case found.LinkSpare() if event.owner in self._opened:
                self._spawn(asyncio.get_running_loop().create_task(self._spare(event.owner)))
            case found.Answered():
                for waiting in self._asking.get(event.owner, ()):
                    if not waiting.done():
                        waiting.set_result(None)

    def _info(self, entry: Entry) -> PresenceInfo:
        owner = entry.beat.owner
        link = self._core.ground.links.get(owner)
        return PresenceInfo(
            PublicKey(owner),
            status_of(entry).name.lower(),
            entry.card.text,
            entry.state.value,
            entry.seen,
            entry.beat.version[0],
            entry.hops,
            link is not None,
            link is not None and link.neighbour,
            self._close_to_us(owner),
            entry.beat.known,
        )
