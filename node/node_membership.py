"""One topic that this node is in: announced, looked up, connected.

Decides which streams stand, and carries out what `TopicMembers` and `TopicMesh` decide. Refuses to know apps: a `Topic`
(node_topics.py) is what they hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dht.errors import DecodeError
from dht.identity import IdentityKey, PublicKey
from dht.limits import RateLimiter
from node.driver import Stopped
from node.node_events import EventLog
from node.node_links import Links
from node.node_member_events import (
    BroadcastOutcome,
    DirectOutcome,
    Message,
    PeerJoined,
    PeerLeft,
    TopicAnnounced,
    TopicEvent,
    TopicPeer,
    TopicPeerChanged,
)
from node.node_member_places import TopicPlaces
from node.node_member_wire import CROSSING, CUT, FAREWELL_TIMEOUT, TopicWire, read_greeting
from node.node_results import ConnectOutcome
from node.ports import Stream
from node.protocols.topic_members import (
    SHARE_EVERY,
    AnnounceNow,
    DialNow,
    LookUpNow,
    MembersConfig,
    TopicMembers,
)
from node.protocols.topic_mesh import Delivery, Lost, Received, Told, TopicMesh
from node.protocols.topic_messages import (
    TOPIC_STREAM,
    Hello,
    HelloFlags,
    Refused,
    TopicRefusal,
    framed,
)
from node.protocols.topics import TopicKey

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

MAX_DIRECT: Final = 16
"""Members beside the neighbours that have come to say something to us alone. UNSOURCED"""

DIRECT_IDLE: Final = 60.0
"""Seconds after which a stream for direct messages that nobody used is closed. UNSOURCED"""

ROOM_EVERY: Final = 5.0
"""Seconds between two neighbours that make room for one in need: who plays needy cannot turn over all. UNSOURCED"""

HELLO_RATE, HELLO_BURST = 0.2, 10.0
"""Greetings a second taken from one peer. UNSOURCED"""

DIAL_TIMEOUT: Final = 20.0
"""Seconds a dial may take. UNSOURCED: half of a call's worst case"""


@dataclass(frozen=True, slots=True)
class TopicParts:
    """What a topic needs of its node."""

    identity: IdentityKey
    driver: Driver[DhtEngine]
    links: Links
    connect: Callable[[PublicKey, float], Awaitable[ConnectOutcome]]
    joined: asyncio.Event
    """Set while the node knows others."""
    events: EventLog
    rng: random.Random
    config: MembersConfig


class TopicSession:
    """This node's part in one topic."""

    def __init__(
        self, parts: TopicParts, key: TopicKey, app: str, app_version: int, tell: Callable[[TopicEvent], None]
    ) -> None:
        self.key, self.app, self.app_version = key, app, app_version
        self._parts, self._tell = parts, tell
        self._own = parts.identity.public
        self._now = parts.driver.now
        self.places = TopicPlaces(parts.identity, parts.driver, parts.rng, key)
        self.mesh = TopicMesh(parts.identity, key.tag)
        self.members = TopicMembers(self._own, key, self.places.own_shard, self._now(), parts.rng, parts.config)
        self._wires: dict[PublicKey, TopicWire] = {}
        self._opening: set[PublicKey] = set()
        self._dialled: set[PublicKey] = set()
        """Peers whose links are there for this topic."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self.changed = asyncio.Event()
        """Set, and cleared at once, whenever a neighbour comes or goes."""
        self._hellos = RateLimiter(HELLO_RATE, HELLO_BURST, capacity=1024)
        self._room_at = 0.0
        self._share_at = self._now() + SHARE_EVERY
        self.closed = False

    # What the app asks

    def peers(self) -> tuple[TopicPeer, ...]:
        """Those connected."""
        return tuple(
            TopicPeer(one.peer, one.initiated, one.since, one.app_version, one.in_mesh) for one in self._wires.values()
        )

    def broadcast(self, data: bytes) -> BroadcastOutcome:
        """Say something to everybody in the topic."""
        deliveries = self.mesh.broadcast(data, self._now())
        self._stir()
        if deliveries is None:
            return BroadcastOutcome(False, {}, "too many messages: others would leave them out")
        return BroadcastOutcome(True, deliveries, "" if deliveries else "nobody is connected yet")

    async def send(self, peer: PublicKey, data: bytes) -> DirectOutcome:
        """Say something to one member, who is dialled when it is no neighbour."""
        if peer == self._own:
            return DirectOutcome(Delivery.NOT_CONNECTED, "that is this node itself")
        detail = ""
        if peer not in self._wires:
            detail = await self._open(peer, HelloFlags.DIRECT_ONLY)
        delivery = self.mesh.direct(peer, data, self._now())
        self._stir()
        return DirectOutcome(delivery, detail if delivery is Delivery.NOT_CONNECTED else "")

    # Life

    async def run(self) -> None:
        """Announce, look up and connect until `close`."""
        await self._parts.joined.wait()
        while not self.closed:
            self._wake.clear()
            for decision in self.members.handle_timer(self._now()):
                match decision:
                    case AnnounceNow():
                        self._start(self._announce(decision))
                    case LookUpNow():
                        self._start(self._look_up(decision))
                    case DialNow():
                        self._start(self._dial(decision))
            self.mesh.handle_timer(self._now())
            self._share()
            self._drop_idle()
            self._drain()
            due = [at for at in (self.members.next_timer(), self.mesh.next_timer()) if at is not None]
            wait = min(max(0.0, min(due, default=self._share_at) - self._now()), SHARE_EVERY)
            if any(not one.in_mesh for one in self._wires.values()):
                wait = min(wait, DIRECT_IDLE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait + 0.001):
                    await self._wake.wait()

    async def close(self, withdraw_within: float) -> None:
        """Leave: neighbours are told, and the announcement is withdrawn as far as time allows."""
        self.closed = True
        self._wake.set()
        for wire in self._wires.values():
            wire.end(TopicRefusal.LEAVING)
        with contextlib.suppress(TimeoutError, Stopped):
            async with asyncio.timeout(withdraw_within):
                await self.places.withdraw()
                while self._wires:
                    await asyncio.sleep(0.02)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(Stopped):  # The node ends: so does the topic.
            await work
        self._stir()

    async def _announce(self, decision: AnnounceNow) -> None:
        await self._parts.joined.wait()
        heard = await self.places.announce(decision, self._parts.config.lifetime)
        self.members.announced(heard.stored, heard.needed, heard.full, self._now(), wait=heard.wait)
        self._parts.events.add(TopicAnnounced(self._now(), self.key.name, heard.stored, heard.asked))

    async def _look_up(self, decision: LookUpNow) -> None:
        await self._parts.joined.wait()
        self.members.found(await self.places.look_up(decision), self._now())

    # Connecting

    async def _dial(self, decision: DialNow) -> None:
        try:
            await self._open(decision.peer, HelloFlags.NEEDY if decision.needy else HelloFlags(0))
        finally:
            self.members.settled(decision.peer, self._now())

    async def _open(self, peer: PublicKey, flags: HelloFlags) -> str:
        """Connect to a member; returns why not."""
        if peer in self._opening or peer in self._wires:
            return "it is being connected" if peer not in self._wires else ""
        self._opening.add(peer)
        try:
            outcome = await self._parts.connect(peer, DIAL_TIMEOUT)
            if not outcome.connected:
                self.members.failed(peer, self._now())
                return f"{outcome.reason.value} {outcome.detail}".strip()
            if not outcome.reused:
                self._dialled.add(peer)
            return await self._greet(peer, await outcome.link.open_stream(TOPIC_STREAM), flags)
        except (DecodeError, TimeoutError, *CUT) as error:
            self.members.failed(peer, self._now())
            return str(error) or "no answer in time"
        finally:
            self._opening.discard(peer)

    async def _greet(self, peer: PublicKey, stream: Stream, flags: HelloFlags) -> str:
        proof = self.key.proof(self._own, peer, answering=False)
        await stream.write(framed(Hello(proof, self.app, self.app_version, flags)))
        answer = await read_greeting(stream)
        if isinstance(answer, Refused):
            self.members.learn(self.members.read(answer.records, self._now()), peer, self._now())
            self.members.refused(peer, answer.reason, self._now())
            return f"refused: {answer.reason.name.lower().replace('_', '-')}"
        expected = self.key.proof(self._own, peer, answering=True)
        if not isinstance(answer, Hello) or not answer.answers or answer.proof != expected:
            stream.reset()
            self.members.refused(peer, TopicRefusal.NOT_MEMBER, self._now())
            return "it did not show that it is in the topic"
        if self.closed or peer in self._wires:
            stream.reset()
            self.members.refused(peer, TopicRefusal.DUPLICATE, self._now())
            return "" if peer in self._wires else "this node has left the topic"
        self._start(self._keep(self._adopt(peer, stream, answer, flags, initiated=True), stream))
        return ""

    async def accept(self, peer: PublicKey, stream: Stream, hello: Hello) -> None:
        """Serve a stream that a peer opened and whose first message shows that it is in the topic."""
        reason = self._judge(peer, hello)
        if reason is not None:
            records = self.members.share(peer, self._now()) if reason is TopicRefusal.FULL else ()
            await stream.write(framed(Refused(reason, records)))
            return
        old = self._wires.pop(peer, None)
        if old is not None:
            old.lost(TopicRefusal.DUPLICATE, "")
            self.mesh.remove(peer)
            self._gone(old, TopicRefusal.DUPLICATE, "it has opened another stream")
        wire = self._adopt(peer, stream, hello, hello.flags, initiated=False)
        proof = self.key.proof(peer, self._own, answering=True)
        try:
            await stream.write(framed(Hello(proof, self.app, self.app_version, answers=True)))
        except CUT as error:
            self._gone(wire, TopicRefusal.UNSPECIFIED, str(error))
            return
        await self._keep(wire, stream)

    def _judge(self, peer: PublicKey, hello: Hello) -> TopicRefusal | None:
        if self.closed:
            return TopicRefusal.LEAVING
        if not self._hellos.allow(peer, self._now()):
            return TopicRefusal.RATE
        if hello.app != self.app:
            return TopicRefusal.OTHER_APP
        old = self._wires.get(peer)
        ours = peer in self._opening or (old is not None and old.initiated and self._now() - old.since < CROSSING)
        if ours and self._own.raw < peer.raw:
            return TopicRefusal.DUPLICATE  # Both opened one at once: the lower key's counts.
        if old is not None:
            return None
        if HelloFlags.DIRECT_ONLY in hello.flags:
            direct = sum(not one.in_mesh for one in self._wires.values())
            return TopicRefusal.FULL if direct >= MAX_DIRECT else None
        if self.members.full and not (HelloFlags.NEEDY in hello.flags and self._make_room()):
            return TopicRefusal.FULL
        return None

    def _make_room(self) -> bool:
        """Let go of a neighbour that came to us: those we chose ourselves nobody can push out."""
        now = self._now()
        came = [one for one in self._wires.values() if one.in_mesh and not one.initiated and one.ending is None]
        if now < self._room_at or not came:
            return False
        self._room_at = now + ROOM_EVERY
        gone = self._parts.rng.choice(came)
        gone.end(TopicRefusal.MADE_ROOM)
        self.members.unlinked(gone.peer, TopicRefusal.MADE_ROOM, now)
        return True

    def _adopt(self, peer: PublicKey, stream: Stream, hello: Hello, flags: HelloFlags, *, initiated: bool) -> TopicWire:
        now, in_mesh = self._now(), HelloFlags.DIRECT_ONLY not in flags
        wire = TopicWire(
            peer,
            stream,
            self.mesh,
            self._now,
            self._stir,
            initiated=initiated,
            app_version=hello.app_version,
            in_mesh=in_mesh,
        )
        self._wires[peer] = wire
        self._pulse()
        self.mesh.add(peer, now, mesh=in_mesh)
        if in_mesh:
            self.members.linked(peer)
            self.mesh.tell_members(peer, self.members.share(peer, now), now)
            self._parts.events.add(TopicPeerChanged(now, self.key.name, peer, True))
            self._tell(PeerJoined(peer, hello.app_version))
        self._stir()
        return wire

    async def _keep(self, wire: TopicWire, stream: Stream) -> None:
        reason, detail = TopicRefusal.UNSPECIFIED, "this node leaves the topic"
        try:
            reason, detail = await wire.run()
        finally:
            if wire.said_farewell:
                # A reset now would overtake it: the other end drops what it has not read.
                asyncio.get_running_loop().call_later(FAREWELL_TIMEOUT, stream.reset)
            else:
                stream.reset()
            self._gone(wire, wire.ending or reason, detail)

    def _gone(self, wire: TopicWire, reason: TopicRefusal, detail: str) -> None:
        """A stream has ended: tell whom it concerns, once."""
        if self._wires.get(wire.peer) is wire:
            del self._wires[wire.peer]
            self.mesh.remove(wire.peer)
        elif reason is not TopicRefusal.DUPLICATE:
            return
        self._pulse()
        now = self._now()
        if wire.in_mesh:
            if reason is not TopicRefusal.MADE_ROOM or wire.peer in self.members.neighbours:
                self.members.unlinked(wire.peer, reason, now)
            word = "lost" if reason is TopicRefusal.UNSPECIFIED else reason.name.lower().replace("_", "-")
            self._parts.events.add(TopicPeerChanged(now, self.key.name, wire.peer, False, detail or word))
            self._tell(PeerLeft(wire.peer, word, detail))
        if wire.peer in self._dialled:  # A link that others asked for is theirs.
            self._dialled.discard(wire.peer)
            self._parts.links.close_when_idle(wire.peer)
        self._stir()

    def _pulse(self) -> None:
        self.changed.set()
        self.changed.clear()

    # What the mesh says

    def _stir(self) -> None:
        """Something has changed: hand over what there is, and let `run` look at its timers."""
        self._drain()
        self._wake.set()

    def _drain(self) -> None:
        while (event := self.mesh.next_event()) is not None:
            match event:
                case Received():
                    sent = None if event.direct else event.number / 1e6
                    self._tell(Message(event.author, event.data, event.direct, event.via, sent))
                case Told():
                    self.members.learn(self.members.read(event.records, self._now()), event.peer, self._now())
                case Lost():
                    wire = self._wires.get(event.peer)
                    if wire is not None:
                        wire.lost(event.reason, event.detail)
        for peer in self.mesh.waiting():
            if (wire := self._wires.get(peer)) is not None:
                wire.wake()

    def _share(self) -> None:
        """Tell neighbours of others from time to time: who was hidden by a flood of announcements gets known so."""
        now = self._now()
        if now >= self._share_at:
            self._share_at = now + SHARE_EVERY * self._parts.rng.uniform(0.8, 1.2)
            for wire in self._wires.values():
                if wire.in_mesh:
                    self.mesh.tell_members(wire.peer, self.members.share(wire.peer, now), now)

    def _drop_idle(self) -> None:
        for wire in self._wires.values():
            if not wire.in_mesh and wire.ending is None and self._now() - wire.used > DIRECT_IDLE:
                wire.end(TopicRefusal.UNSPECIFIED)
