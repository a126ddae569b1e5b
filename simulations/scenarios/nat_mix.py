"""A network most of whose nodes cannot be dialled: who serves, what is found, and who reaches whom.

    rookery simulate sweep nat-mix --vary dialable=0.1,0.2,0.4 --vary world.nat=dcutr-2025,home,symmetric

Nobody is told what it is: each node learns from others whether it is reached from outside. Peers behind boxes are
signalled to by their home nodes, and pairs of them try to get through to each other by sending at the same time.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from pydantic import Field

from dht.engine import DhtEngine
from dht.events import Event, Mode, SignalDone, SignalReceived
from dht.records import Refusal, peer_place
from simulations.conditions import nat_shares
from simulations.modelled import tabulate
from simulations.nat_kinds import can_punch, kind_named
from simulations.nat_mix import punchable
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.punching import Mirror, punch
from simulations.scenario import ModelRun, scenario
from simulations.settings import Parameters
from simulations.world import World

OPEN = Profile(name="open", identity=True)
"""A machine without any box before it, which does not know that: it serves once others have reached it."""


class NatMix(Parameters):
    """Who becomes a server, success of look-ups, reads and signals, and of hole punching in theory and in deed."""

    nodes: int = Field(200, ge=40, description="size of the network")
    dialable: float = Field(0.1, gt=0, le=1, description="share of nodes that stand behind nothing")
    records: int = Field(50, ge=1, description="records put")
    operations: int = Field(200, ge=1, description="reads, and look-ups")
    pairs: int = Field(200, ge=1, description="pairs of nodes that signal, and punch")


def modelled(run: ModelRun, p: NatMix) -> None:
    """What is found, by the model engine, and what theory says of pairs; nobody signals there."""
    from simulations.model import ModelWorld

    hidden = 1 - p.dialable
    world = ModelWorld(p.nodes, run.seed, latency=run.world.latency, loss=run.world.loss, clients=hidden)
    tabulate(run.metrics, "put", world.writes(p.records))
    tabulate(run.metrics, "get", world.reads(p.operations, progress=run.progress))
    tabulate(run.metrics, "find_node", world.lookups(p.operations))
    run.metrics.value("punchable by theory", punchable(nat_shares(run.world.nat)))
    run.metrics.expect("get.success", at_least=0.99)
    run.metrics.expect("find_node.success", at_least=0.99)


@scenario("nat-mix", "Nine in ten cannot be dialled", NatMix, model=modelled, nat="dcutr-2025")
async def nat_mix(world: World, p: NatMix) -> None:
    """Let everybody find out what it is; then ask, signal and punch."""
    world.planned = p.nodes / 50 + 180 + (p.records + 2 * p.operations) / 10 + p.pairs / 10 + 20
    dialable = round(p.nodes * p.dialable)
    world.add(dialable, OPEN)
    world.add(p.nodes - dialable, "home")
    await world.settle()
    await world.run(minutes=3)
    _who_serves(world)

    records = await world.puts(p.records)
    await world.gets(p.operations, records)
    await world.find_nodes(p.operations)

    rng = world.streams.stream("nat-mix/pairs")
    reachable = [peer for peer in world.living if peer.identity is not None]
    boxed = [peer for peer in reachable if not kind_named(peer.nat).open]
    world.metrics.value("homes a node", sum(len(peer.engine.homes()) for peer in reachable) / len(reachable))
    received: set[bytes] = set()

    def watch(peer: Peer, event: Event, now: float) -> None:
        if isinstance(event, SignalReceived):
            received.add(event.blob)

    world.watchers.append(watch)
    world.metrics.mark("signals begin")
    async with asyncio.TaskGroup() as group:
        for number in range(p.pairs):
            await asyncio.sleep(0.1)
            sender, recipient = rng.sample(reachable, 2)
            group.create_task(_signal(world, sender, recipient, b"hello %d" % number))
    world.metrics.value("signals received", len(received) / p.pairs)
    if boxed:
        await _punch_all(world, [(rng.choice(boxed), rng.choice(boxed)) for _ in range(p.pairs)])

    world.metrics.expect("hidden servers", at_most=0.0)
    world.metrics.expect("dialable servers", at_least=0.95)
    world.metrics.expect("get.success", at_least=0.99)
    world.metrics.expect("find_node.success", at_least=0.99)
    world.metrics.expect("signal.success", at_least=0.98)


def _who_serves(world: World) -> None:
    kinds = Counter(peer.nat for peer in world.living)
    serving = Counter(peer.nat for peer in world.living if peer.engine.mode is Mode.SERVER)
    for kind, count in sorted(kinds.items()):
        world.metrics.value(f"servers, {kind}", serving[kind] / count, f"of {count}")
    world.metrics.value("dialable servers", serving["none"] / kinds["none"])
    # Whoever no stranger can reach, and serves, is in tables where it does harm.
    hidden = sum(serving[kind] for kind in kinds if kind_named(kind).filtering or kind_named(kind).mapping)
    world.metrics.value("hidden servers", hidden)


async def _signal(world: World, sender: Peer, recipient: Peer, blob: bytes) -> None:
    homes = recipient.engine.homes()
    place = peer_place(world.identity_of(recipient).public)
    started = world.queue.now

    def begin(engine: DhtEngine, now: float) -> int:
        return engine.signal(place, blob, homes, now)

    done = await world.ask(sender, begin)
    assert isinstance(done, SignalDone)
    world.metrics.operation(
        "signal",
        started=started - world.started,
        took=world.queue.now - started,
        ok=done.refusal is Refusal.NONE,
        reason="" if done.refusal is Refusal.NONE else done.refusal.name.lower(),
        requests=len(homes),
        node=sender.index,
    )


async def _punch_all(world: World, pairs: list[tuple[Peer, Peer]]) -> None:
    pairs = [(a, b) for a, b in pairs if a is not b]
    mirror = Mirror(world.network, ("12.0.0.1", 3478))
    world.metrics.mark(f"{len(pairs)} pairs punch")
    through = await asyncio.gather(
        *(punch(world.network, mirror, a.address[0], b.address[0], number=at) for at, (a, b) in enumerate(pairs))
    )
    theory = [can_punch(a.nat, b.nat) for a, b in pairs]
    world.metrics.value("punchable by theory", sum(theory) / len(pairs))
    world.metrics.value("punched", sum(through) / len(pairs))
    differ = sum(said is not did for said, did in zip(theory, through, strict=True))
    world.metrics.value("theory and deed differ", differ)
    if not world.settings.loss:
        world.metrics.expect("theory and deed differ", at_most=0.0)
