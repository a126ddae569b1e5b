"""Who has IPv4 and IPv6 hears of records of either, and is called by either, also when the one it uses first dies.

    rookery simulate run families-reached --seeds 1,2

Clients with both families follow a record of each kind of publisher, and are called by clients with one family. Then
their IPv4 is cut off, without a word to their machines, and all of it happens again.
"""

from __future__ import annotations

from pydantic import Field

from dht.engine import DhtEngine
from dht.events import Mode, SignalDone
from dht.identity import IdentityKey
from dht.records import Refusal, peer_place
from simulations.hops import Address, Drop
from simulations.observations_watching import Told, follow
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.scenario import scenario
from simulations.scenarios.families import CARRIED_WITHIN, Mixed, mixed
from simulations.workload import PutOutcome
from simulations.world import World
from simulations.world_stacks import with_stack

CLIENT = Profile(name="client", mode=Mode.CLIENT, identity=True)
"""Who is called by way of home nodes."""

HEALING = 60.0
"""Seconds after the cut by which everybody is to be reached again: subscriptions are renewed every 25 s, homes asked
every 6 s."""


class Reached(Mixed):
    """Whether clients with both families are told of records and called, by whichever family, also with one cut off."""

    clients: int = Field(30, ge=1, description="clients with both families")
    rounds: int = Field(3, ge=1, description="records of each kind of publisher that are replaced, before and after")


@scenario("families-reached", "Both families reach who has both", Reached, loss=0.01)
async def families_reached(world: World, p: Reached) -> None:
    """Follow and call; cut IPv4 off; follow and call."""
    world.planned = 200 + p.nodes / 50 + 2 * (HEALING + p.rounds * (CARRIED_WITHIN + 5))
    peers = await mixed(world, p)
    clients = world.add(p.clients, CLIENT, group="clients", node=with_stack(world, "dual"))
    callers = {stack: world.add(5, CLIENT, node=with_stack(world, stack)) for stack in ("v4", "v6")}
    await world.settle()
    owners = {stack: IdentityKey.from_seed(world.streams.stream(f"reached/{stack}").randbytes(32)) for stack in peers}
    latest = {stack: await world.put(owner=owners[stack], by=of_it[0]) for stack, of_it in peers.items()}
    told = Told()
    world.watchers.append(told)
    for client in clients:
        for one in latest.values():
            follow(client, one.record.place)
    await world.run(seconds=HEALING)
    homes = [{":" in home.ip for home in client.engine.homes()} for client in clients]
    world.metrics.value("clients with homes in both families", sum(len(one) > 1 for one in homes))
    await _all(world, p, "both", told, clients, callers, peers, owners, latest)

    gone = {client.address for client in clients}
    began = world.queue.now

    def cut(src: Address, dst: Address, _size: int, _now: float) -> Drop | None:
        return Drop("cut") if src in gone or dst in gone else None

    world.network.add_fault(cut)
    await world.run(seconds=HEALING - (world.queue.now - began))
    await _all(world, p, "one cut off", told, clients, callers, peers, owners, latest)


async def _all(
    world: World,
    p: Reached,
    phase: str,
    told: Told,
    clients: list[Peer],
    callers: dict[str, list[Peer]],
    peers: dict[str, list[Peer]],
    owners: dict[str, IdentityKey],
    latest: dict[str, PutOutcome],
) -> None:
    with world.metrics.during(phase):
        for _ in range(p.rounds):
            for stack, of_it in peers.items():
                await _replace(world, told, clients, stack, of_it[0], owners[stack], latest)
        for stack, of_it in callers.items():
            for number, client in enumerate(clients):
                await _call(world, of_it[number % len(of_it)], client, stack)
    for stack in peers:
        world.metrics.expect(f"told by {stack}.success", at_least=0.99, phase=phase)
    for stack in callers:
        # Of who has IPv4 alone only homes with both families know a way to who has lost it.
        expected = 0.99 if stack == "v6" or phase == "both" else 0.5
        world.metrics.expect(f"called by {stack}.success", at_least=expected, phase=phase)


async def _replace(
    world: World,
    told: Told,
    clients: list[Peer],
    stack: str,
    publisher: Peer,
    owner: IdentityKey,
    latest: dict[str, PutOutcome],
) -> None:
    """Store a newer record, and see who is told of it within the time that carrying it over may take."""
    began, seq = world.queue.now, latest[stack].record.seq + 1
    latest[stack] = await world.put(owner=owner, seq=seq, by=publisher)
    place = latest[stack].record.place
    await world.run(seconds=CARRIED_WITHIN)
    for client in clients:
        at = told.at.get((client.index, place, seq))
        took = CARRIED_WITHIN if at is None else at - began
        world.metrics.operation(f"told by {stack}", started=began - world.started, took=took, ok=at is not None)


async def _call(world: World, caller: Peer, client: Peer, stack: str) -> None:
    """Send a signal by all home nodes that the client's record would name and the caller's family reaches."""
    named = (*client.engine.homes(), *client.engine.homes_elsewhere())
    ways = [home for home in named if (":" in home.ip) == (stack == "v6")]
    place, began = peer_place(world.identity_of(client).public), world.queue.now

    def signal(engine: DhtEngine, now: float) -> int:
        return engine.signal(place, b"offer", ways, now)

    done = await world.ask(caller, signal)
    assert isinstance(done, SignalDone)
    ok = done.refusal is Refusal.NONE
    reason = "" if ok else done.refusal.name.lower()
    took = world.queue.now - began
    world.metrics.operation(f"called by {stack}", started=began - world.started, took=took, ok=ok, reason=reason)
