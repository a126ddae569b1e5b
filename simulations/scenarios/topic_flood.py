"""Made-up members flood a topic from a few networks, and honest ones come later: who gets in, how soon, who is found.

    rookery simulate run topic-flood --world seal=cheap
    rookery simulate sweep topic-flood networks=1,8,64

Members are bare nodes that announce, look up and choose whom to dial as users' nodes do. A dial reaches an honest
member after a second, and a made-up one never: what it costs to tell them apart shows in how long the first neighbour
takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import Field

from dht.events import Mode, OperationEvent
from dht.identity import IdentityKey, PublicKey
from node.node_member_places import TopicPlaces
from node.protocols.topic_members import CROWDED, AnnounceNow, DialNow, LookUpNow, MembersConfig, TopicMembers
from node.protocols.topics import SHARDS, AnnouncementFlags, TopicKey
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

ADDRESSES: Final = 4
"""Addresses of each flooding network that its made-up members come from. UNSOURCED"""

DIAL, DIAL_IN_VAIN = 1.0, 3.0
"""Seconds until a dialled member answers, and until a key nobody has is given up. UNSOURCED"""

_DEVICE: Final = Profile(name="member", mode=Mode.CLIENT)


class TopicFlooded(Parameters):
    """What made-up members of a topic leave to honest ones."""

    nodes: int = Field(60, ge=20, description="bare servers, which are the DHT")
    members: int = Field(100, ge=2, le=1000, description="honest members, each of a network of its own")
    made_up: int = Field(10_000, ge=0, description="made-up members")
    networks: int = Field(8, ge=1, le=250, description="networks (/24) that those are announced from")
    per_second: float = Field(6.0, gt=0, description="announcements of made-up members that are tried in a second")
    ahead: float = Field(400.0, ge=0, description="seconds by which the flood comes before the honest")
    minutes: float = Field(5.0, gt=0, description="time from the first honest member to the count")
    readers: int = Field(30, ge=1, description="newcomers that look the topic up in the end")


class _Line:
    """What `TopicPlaces` needs of a driver, over a peer of this world."""

    def __init__(self, world: World, peer: Peer) -> None:
        self._world, self._peer = world, peer

    def now(self) -> float:
        return self._world.queue.now

    async def run(self, call: Callable[[DhtEngine, float], int], until: type[OperationEvent]) -> OperationEvent:
        event = await self._world.ask(self._peer, call)
        assert event is not None
        return event

    async def run_many(
        self, call: Callable[[DhtEngine, float], list[int]], until: type[OperationEvent]
    ) -> list[OperationEvent]:
        ended: asyncio.Queue[tuple[int, OperationEvent]] = asyncio.Queue()
        count = self._peer.ask_many(call, lambda at, event: ended.put_nowait((at, event)))
        events = dict([await ended.get() for _ in range(count)])
        return [events[at] for at in range(count)]

    def places(self, identity: IdentityKey, key: TopicKey) -> TopicPlaces:
        rng = self._world.streams.stream(f"topic/places/{self._peer.index}/{identity.public.raw.hex()[:8]}")
        return TopicPlaces(identity, cast("Driver[DhtEngine]", self), rng, key)


@scenario("topic-flood", "Made-up members flood a topic", TopicFlooded)
async def topic_flood(world: World, p: TopicFlooded) -> None:
    """Flood, let honest members come, and look who is found."""
    world.planned = p.nodes / 50 + p.ahead + 60 * p.minutes + 120
    world.add(p.nodes)
    await world.settle()
    key = TopicKey.public("chess")
    flooders = [
        world.add(1, _DEVICE, group="flooder", node=_at(world, f"14.{network}.0.{1 + address}"))[0]
        for network in range(p.networks)
        for address in range(ADDRESSES)
    ]
    honest = world.add(p.members, _DEVICE, group="member")
    readers = world.add(p.readers, _DEVICE, group="reader")
    await world.settle()
    world.metrics.mark("the flood begins")
    flood = asyncio.ensure_future(_flood(world, p, key, flooders))
    await world.run(seconds=p.ahead)
    members = {world.identity_of(peer).public for peer in honest}
    world.metrics.mark("the first honest member comes")
    rng = world.streams.stream("topic-flood/comes")
    tasks = [asyncio.ensure_future(_member(world, peer, key, members, rng.uniform(0, 30.0))) for peer in honest]
    await world.run(minutes=p.minutes)
    for task in (flood, *tasks):
        task.cancel()
    for result in await asyncio.gather(flood, *tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result

    shares, found = [], set[PublicKey]()
    for reader in readers:
        seen = await _look(world, reader, key)
        shares.append(len(seen & members) / max(1, len(seen)))
        found |= seen & members
    held = [one.record for peer in world.living for one in peer.engine._store.entries()]
    first = [record.owner for record in held if record.place == key.place()]
    world.metrics.value("honest of those found", sum(shares) / len(shares))
    world.metrics.value("honest found by somebody", len(found) / p.members)
    world.metrics.value("honest of the first place", sum(PublicKey(o) in members for o in first) / max(1, len(first)))
    world.metrics.value("announcements held", len(held))
    world.metrics.expect("admitted.success", at_least=0.99)
    world.metrics.expect("honest found by somebody", at_least=0.99)


def _at(world: World, ip: str) -> Callable[[Peer], Any]:
    def make(peer: Peer) -> Any:
        peer.address = (ip, peer.address[1])
        peer.public_ip = ip
        return world.make_engine(peer)

    return make


async def _look(world: World, peer: Peer, key: TopicKey) -> set[PublicKey]:
    """Who a newcomer learns of: as `TopicMembers` reads a topic the second time."""
    places = _Line(world, peer).places(world.identity_of(peer), key)
    seen = {one.member for one in await places.look_up(LookUpNow((0,)))}
    if len(seen) >= CROWDED:
        further = world.streams.stream(f"topic-flood/reader/{peer.index}").sample(range(1, SHARDS + 1), 2)
        seen |= {one.member for one in await places.look_up(LookUpNow(tuple(further)))}
    return seen


async def _flood(world: World, p: TopicFlooded, key: TopicKey, flooders: list[Peer]) -> None:
    """Try made-up members, one after another, again and again until each is announced wherever it can be."""
    rng = world.streams.stream("topic-flood/made up")
    left = [IdentityKey.from_seed(rng.randbytes(32)) for _ in range(p.made_up)]
    running: set[asyncio.Task[None]] = set()
    for turn in range(int(p.per_second * (p.ahead + 60 * p.minutes))):
        if not left:
            return
        peer, owner = flooders[turn % len(flooders)], left.pop(0)
        task = asyncio.ensure_future(_make_up(world, peer, owner, key, left))
        running.add(task)
        task.add_done_callback(running.discard)
        await world.run(seconds=1 / p.per_second)


async def _make_up(world: World, peer: Peer, owner: IdentityKey, key: TopicKey, left: list[IdentityKey]) -> None:
    places = _Line(world, peer).places(owner, key)
    for shard in (0, places.own_shard):
        decision = AnnounceNow(AnnouncementFlags(0), (shard,))
        heard = await places.announce(decision, MembersConfig().lifetime)
        if heard.stored >= max(1, heard.needed):
            return
    left.append(owner)


async def _member(world: World, peer: Peer, key: TopicKey, honest: set[PublicKey], after: float) -> None:
    await world.run(seconds=after)
    identity, began = world.identity_of(peer), world.elapsed
    places = _Line(world, peer).places(identity, key)
    rng = world.streams.stream(f"topic-flood/member/{peer.index}")
    members = TopicMembers(identity.public, key, places.own_shard, world.queue.now, rng)
    running: set[asyncio.Task[None]] = set()
    done: set[str] = set()

    def note(what: str) -> None:
        if what not in done:
            done.add(what)
            took = world.elapsed - began
            world.metrics.operation(what, started=began, took=took, ok=True, reason="", node=peer.index)

    async def do(decision: AnnounceNow | LookUpNow | DialNow) -> None:
        if isinstance(decision, AnnounceNow):
            heard = await places.announce(decision, members.config.lifetime)
            members.announced(heard.stored, heard.needed, heard.full, world.queue.now, wait=heard.wait)
            if heard.stored >= max(1, heard.needed):
                note("admitted")
        elif isinstance(decision, LookUpNow):
            members.found(await places.look_up(decision), world.queue.now)
        elif decision.peer in honest:
            await world.run(seconds=DIAL)
            members.linked(decision.peer)
            note("first neighbour")
        else:
            await world.run(seconds=DIAL_IN_VAIN)
            members.failed(decision.peer, world.queue.now)

    try:
        while True:
            for decision in members.handle_timer(world.queue.now):
                task = asyncio.ensure_future(do(decision))
                running.add(task)
                task.add_done_callback(running.discard)
            await world.run(seconds=0.5)
    finally:
        for task in running:
            task.cancel()
        for what in {"admitted", "first neighbour"} - done:
            took = world.elapsed - began
            world.metrics.operation(what, started=began, took=took, ok=False, reason="never", node=peer.index)
