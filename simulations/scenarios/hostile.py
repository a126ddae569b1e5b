"""A share of all nodes lies, hides, dawdles or is silent: what reads by one path and by several are worth, and cost.

    rookery simulate sweep hostile --vary share=0,0.1,0.2,0.3,0.5

Attackers are ordinary nodes until the attack, so that everybody's tables know them. They turn to one behaviour after
another; before each, owners write a newer version of every record. Reads by 1, 2, 4 and 8 disjoint paths (S/Kademlia,
Baumgart and Mies 2007, section 4.4), and some that begin from contacts drawn at random, take turns, so that all of
them meet the same tables.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from pydantic import Field

from dht.contact import Contact
from dht.identity import IdentityKey
from dht.records import Kind, SignedRecord, sign_record
from simulations.attackers import ATTACKERS, Plot, Turncoat, attacker
from simulations.errors import BadScenario
from simulations.peers import Peer
from simulations.scenario import scenario
from simulations.seats import everywhere
from simulations.settings import Parameters
from simulations.workload import RECORD_LIFE, GetOutcome
from simulations.world import World

ORDER: Final = ("stale", "denying", "wrong-neighbours", "bogus-neighbours", "silent", "slow")
"""Those that change others' tables last: who does not answer is soon dropped."""

HOW: Final[dict[str, dict[str, Any]]] = {
    "d=1": {"paths": 1},
    "d=2": {"paths": 2},
    "d=4": {"paths": 4},
    "d=8": {"paths": 8},
    "d=1 random start": {"paths": 1, "random_start": True},
    "d=4 random start": {"paths": 4, "random_start": True},
    "first answer": {"paths": 1, "quorum": 1},
}
"""The ways to read. The last is what most DHTs do, and what the others are held against."""

TURNS: Final = 5
"""Times that each way to read has its turn with each behaviour. UNSOURCED"""

MADE_UP: Final = 20
"""Contacts made up beside each record, as many as an answer has room for."""


class Hostile(Parameters):
    """What share of reads is right, and what they cost, past attackers of every behaviour."""

    nodes: int = Field(250, ge=20, description="nodes, attackers among them")
    share: float = Field(0.2, ge=0, le=0.8, description="attackers' share of the nodes")
    behaviour: str = Field("all", description=f"one of {', '.join(ORDER)}; or all, one after another")
    records: int = Field(20, ge=1, description="records")
    reads: int = Field(50, ge=TURNS, description="reads in each way, for each behaviour")
    lookups: int = Field(
        2, ge=0, description="look-ups of each honest node before, which tell it how large the network is"
    )


@scenario("hostile", "A share of the nodes attacks", Hostile)
async def hostile(world: World, p: Hostile) -> None:
    """Let everybody join, then have the attackers turn, write, and read, behaviour by behaviour."""
    behaviours = ORDER if p.behaviour == "all" else (p.behaviour,)
    if not set(behaviours) <= set(ORDER):
        raise BadScenario(f"behaviour = {p.behaviour!r}: there are all, {', '.join(ORDER)}")
    world.planned = p.nodes / 50 + 80 + len(behaviours) * len(HOW) * p.reads / 10
    plot = Plot()
    attackers = round(p.nodes * p.share)
    honest = world.add(p.nodes - attackers, group="honest")
    bad = world.add(attackers, group="bad", node=attacker(world, plot, Turncoat)) if attackers else []
    await world.settle()
    await world.run(minutes=1)
    for _ in range(p.lookups):
        await asyncio.gather(*(world.find_node(by=peer) for peer in honest))

    rng = world.streams.stream("hostile/owners")
    keys = [IdentityKey.from_seed(rng.randbytes(32)) for _ in range(p.records)]
    records = await _write(world, keys, honest, seq=1)
    fellows, made_up = list(plot.named), _beside(records, p.nodes, rng)
    plot.attacking = True
    for number, behaviour in enumerate(behaviours if bad else ("nobody",)):
        plot.named[:] = made_up if behaviour == "bogus-neighbours" else fellows
        for peer in bad:
            peer.engine.turn(ATTACKERS[behaviour])
        world.metrics.mark(f"the attackers turn: {behaviour}")
        with world.metrics.during(f"{behaviour} write"):
            records = await _write(world, keys, honest, seq=2 + number)
        outcomes: dict[str, list[GetOutcome]] = {how: [] for how in HOW}
        for _ in range(TURNS):
            for how, arguments in HOW.items():
                with world.metrics.during(f"{behaviour} {how}"):
                    outcomes[how] += await world.gets(p.reads // TURNS, records, by=honest, **arguments)
        for how in HOW:
            _judge(world, behaviour, how, outcomes[how])
    _conclude(world, p.share, behaviours if bad else ("nobody",))


async def _write(world: World, keys: Sequence[IdentityKey], by: Sequence[Peer], *, seq: int) -> list[SignedRecord]:
    expires = world.queue.now + RECORD_LIFE
    made = [sign_record(key, Kind.MUTABLE, bytes(100), seq=seq, expires=expires, salt=b"hostile") for key in keys]
    for record in made:
        await world.put_record(record, world.asker(by))
    return made


def _beside(records: Sequence[SignedRecord], nodes: int, rng: Random) -> list[Contact]:
    """Contacts that do not exist, nearer to the records than anybody who does."""
    seats = (seat for record in records for seat in everywhere(record.place, MADE_UP, nodes.bit_length() + 2, rng))
    return [Contact(seat.key.public, seat.address) for seat in seats]


def _judge(world: World, behaviour: str, how: str, outcomes: Sequence[GetOutcome]) -> None:
    right = sum(outcome.ok for outcome in outcomes) / len(outcomes)
    stats = [outcome.done.stats for outcome in outcomes if outcome.done is not None]
    phase = f"{behaviour} {how}"
    world.metrics.value(f"right {phase}", right)
    world.metrics.value(f"requests {phase}", sum(one.requests for one in stats) / len(stats))
    world.metrics.value(f"p95 {phase}", world.metrics.figure("get.p95", phase=phase), "s")
    world.metrics.value(f"flagged {phase}", sum(one.crowded for one in stats) / len(stats))


def _conclude(world: World, share: float, behaviours: Sequence[str]) -> None:
    """Sum up over all behaviours."""
    for how in HOW:
        for what, summed in (("right", min), ("requests", max), ("p95", max)):
            figures = [world.metrics.figure(f"{what} {behaviour} {how}") for behaviour in behaviours]
            world.metrics.value(f"{what} at worst {how}", summed(figures))
    if share <= 0.2:
        world.metrics.expect("right at worst d=1", at_least=0.9)
