"""Home nodes die: how soon a peer has others, and whether signals come through as long as one of three lives.

    rookery simulate run homes --seeds 1,2

Peers behind routers are called by one another through the home nodes that their records name. First one of each
peer's three dies, then two of three at once, again and again, and callers know of it only once a new record is out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from pydantic import Field

from dht.contact import Contact
from dht.events import Event, HomesChanged, Mode, SignalDone, SignalReceived
from dht.records import Refusal, peer_place
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

REACHED = Profile(name="reached", mode=Mode.CLIENT, behind=True, identity=True)
"""Who is called: a client, behind a router where the world has them."""

HOMES: Final = 3
"""Home nodes of a peer."""

PUBLISHED_AFTER: Final = 2.0
"""Seconds until others read of new home nodes: a node waits 0.3 s for more of them, and a put takes 0.7 s
(docs/results/watch.md, p95). UNSOURCED beyond that."""

PATIENCE: Final = 60.0
"""Seconds of being watched after deaths: two renewals of a slow keep-alive."""


class Homes(Parameters):
    """Whether signals arrive while one of three home nodes lives, and how soon dead ones are replaced."""

    nodes: int = Field(300, ge=20, description="servers, which are home nodes")
    peers: int = Field(40, ge=2, description="clients that are called, and call")
    rounds: int = Field(5, ge=1, description="times that one home node of each peer dies, and then two")
    signals: int = Field(12, ge=1, description="calls to each peer in the minute after deaths")
    calm: int = Field(10, ge=1, description="minutes of quiet over which traffic is measured")
    check: float = Field(0.0, ge=0, le=300, description="seconds of silence allowed to a home node; 0: the default")


class Ears:
    """What peers hear: signals, and which home nodes they have, since when."""

    def __init__(self) -> None:
        self.received: dict[bytes, float] = {}
        self.homes: dict[int, list[tuple[float, tuple[Contact, ...]]]] = {}

    def __call__(self, peer: Peer, event: Event, now: float) -> None:
        """Take in an event of a peer's."""
        if isinstance(event, SignalReceived):
            self.received.setdefault(event.blob, now)
        elif isinstance(event, HomesChanged):
            self.homes.setdefault(peer.index, []).append((now, event.homes))

    def named(self, peer: Peer, now: float) -> tuple[Contact, ...]:
        """The home nodes that the peer's record names: what others can know."""
        known = [homes for at, homes in self.homes[peer.index] if homes and at <= now - PUBLISHED_AFTER]
        return known[-1]

    def replaced(self, peer: Peer, since: float, dead: set[bytes]) -> float | None:
        """When the peer had three home nodes again, none of them dead."""
        for at, homes in self.homes[peer.index]:
            if at >= since and len(homes) == HOMES and not any(home.key in dead for home in homes):
                return at
        return None


@scenario("homes", "Home nodes die, signals arrive", Homes, nat="published", loss=0.01)
async def homes(world: World, p: Homes) -> None:
    """Kill one home node of each peer, then two of three; call all the while; let the dead come back."""
    world.planned = p.nodes / 50 + 120 + 60 * p.calm + p.rounds * 2 * (PATIENCE + 90)
    if p.check:
        world.config = replace(world.config, home_check=p.check)
    ears = Ears()
    world.watchers.append(ears)
    world.add(p.nodes)
    await world.settle()
    # Deaths must not all come at the same moment of the peers' renewals.
    peers = world.add(p.peers, REACHED, spread=world.config.home_keepalive)
    await world.settle()
    await world.run(minutes=2)
    before, changes = _moved(world, peers), sum(map(len, ears.homes.values()))
    await world.run(minutes=p.calm)
    world.metrics.value("bytes a peer and hour", (_moved(world, peers) - before) / p.peers * 60 / p.calm)
    world.metrics.value("changes of home nodes in the quiet", sum(map(len, ears.homes.values())) - changes)
    for _ in range(p.rounds):
        for dead in (1, 2):
            with world.metrics.during(f"{dead} of 3 dead"):
                await _round(world, p, ears, peers, dead)
    world.metrics.expect("delivered.success", at_least=0.999, phase="2 of 3 dead")
    world.metrics.expect("delivered.p95", at_most=1.5, phase="2 of 3 dead")
    world.metrics.expect("replaced.p95", at_most=10.0, phase="1 of 3 dead")


def _moved(world: World, peers: Sequence[Peer]) -> int:
    """Bytes of datagrams that peers have sent and received so far."""
    hosts = [world.network.hosts[peer.address[0]] for peer in peers]
    return sum(host.bytes_sent + host.bytes_received for host in hosts)


async def _round(world: World, p: Homes, ears: Ears, peers: Sequence[Peer], dead: int) -> None:
    """Kill `dead` home nodes of as many peers as can be; watch for a minute; bring them back."""
    rng = world.streams.stream(f"homes/{dead}/{world.elapsed:.0f}")
    await world.run(seconds=rng.uniform(0.0, world.config.home_keepalive))
    living = {peer.engine.own_key: peer for peer in world.living}
    homes = {peer.index: [living[home.key] for home in peer.engine.homes() if home.key in living] for peer in peers}
    victims = _victims(homes, dead, rng)
    keys = {key for key, peer in living.items() if peer.index in victims}
    world.kill(peers=[peer for peer in living.values() if peer.index in victims])
    died = world.queue.now
    struck = [one for one in peers if sum(home.index in victims for home in homes[one.index]) == dead]
    async with asyncio.TaskGroup() as group:
        for peer in struck:
            for _ in range(p.signals):
                caller = rng.choice([other for other in peers if other is not peer])
                group.create_task(_call(world, ears, caller, peer, rng.randbytes(16), rng.uniform(0.0, PATIENCE)))
        await world.run(seconds=PATIENCE)
    for peer in struck:
        at = ears.replaced(peer, died, keys)
        took = PATIENCE if at is None else at - died
        world.metrics.operation(
            "replaced", started=died - world.started, took=took, ok=at is not None, reason="", node=peer.index
        )
    world.restart([peer for peer in world.peers if peer.index in victims], spread=5.0)
    await world.run(seconds=90)


def _victims(homes: dict[int, list[Peer]], dead: int, rng: Random) -> set[int]:
    """Whom to kill: as many peers as possible lose `dead` home nodes, and none of those that had three loses more."""
    victims: set[int] = set()
    order = [mine for mine in homes.values() if len(mine) == HOMES]
    rng.shuffle(order)
    for mine in order:
        more = dead - sum(home.index in victims for home in mine)
        if more <= 0:
            continue
        chosen = victims | {home.index for home in rng.sample([one for one in mine if one.index not in victims], more)}
        if all(sum(home.index in chosen for home in other) <= dead for other in order):
            victims = chosen
    return victims


async def _call(world: World, ears: Ears, caller: Peer, called: Peer, blob: bytes, after: float) -> None:
    """Send one signal as a caller does who reads the record; record whether it arrived, and was acknowledged."""
    await asyncio.sleep(after)
    began, ways = world.queue.now, ears.named(called, world.queue.now)
    place = peer_place(world.identity_of(called).public)
    done = await world.ask(caller, lambda engine, now: int(engine.signal(place, blob, ways, now)))
    arrived = ears.received.get(blob)
    refusal = done.refusal if isinstance(done, SignalDone) else Refusal.TIMEOUT
    for kind, ok, at in (
        ("delivered", arrived is not None, arrived),
        ("acknowledged", refusal is Refusal.NONE, world.queue.now),
    ):
        world.metrics.operation(
            kind,
            started=began - world.started,
            took=(at or world.queue.now) - began,
            ok=ok,
            reason="" if ok else refusal.name.lower(),
            node=caller.index,
        )
