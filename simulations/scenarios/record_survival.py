"""Records whose publisher has gone for good, in a network whose nodes come and go.

Holders look after them: one compares its records with those that should hold them now, and stores what they lack. Sweep
`repair_hours` to see what rarer looks save, and when they are too rare.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import Field

from dht.config import DhtConfig
from dht.records import MAX_LIFETIME
from simulations.errors import BadScenario
from simulations.observations import copies, traffic
from simulations.scenario import ModelRun, scenario
from simulations.settings import Parameters
from simulations.traffic import Metered, Tally

if TYPE_CHECKING:
    from simulations.peers import Peer
    from simulations.world import World

HOUR, DAY = 3600.0, 86_400.0


class RecordSurvival(Parameters):
    """The share of records that outlive their publisher, over days of churn, and what a record costs a day."""

    nodes: int = Field(50, ge=25, description="peers, of which those away at any time are part")
    sessions: str = Field("exponential:4h", description="model of the time on")
    downtime: str = Field("exponential:2h", description="model of the time off; the model engine knows none")
    keep_state: bool = Field(False, description="whether a holder that comes back still has its copies (protocol only)")
    repair_hours: float = Field(
        4.0, ge=0.25, description="hours after which a record that nobody compared is compared; adapts from there"
    )
    records: int = Field(50, ge=1, description="records put by one publisher, which then goes")
    hours: int = Field(16, ge=1, description="time that is watched after it has gone")
    reads: int = Field(100, ge=1, description="reads of random records in the end")

    @property
    def config(self) -> DhtConfig:
        """The engines' tunables."""
        return replace(DhtConfig(), repair_interval=self.repair_hours * HOUR)


def modelled(run: ModelRun, p: RecordSurvival) -> None:
    """The same by the model engine, where ten thousand records over a week take seconds."""
    from simulations.model import ModelWorld

    world = ModelWorld(p.nodes, run.seed, sessions=p.sessions, loss=run.world.loss, config=p.config)
    found = world.records_alive(p.records, seconds=p.hours * HOUR, progress=run.progress)
    for time, alive, held in zip(found.times.tolist(), found.alive.tolist(), found.copies.tolist(), strict=True):
        run.metrics.tables["series"].add(time, "records alive", "", alive)
        run.metrics.tables["series"].add(time, "copies a record", "", held)
    run.metrics.value("records alive at the end", float(found.alive[-1]))
    run.metrics.value("copies of a record, mean", float(found.copies.mean()))
    run.metrics.value("repairs a record and day", found.stores / world.k / (p.hours * HOUR / DAY))
    run.metrics.expect("records alive at the end", at_least=0.99)


@scenario(
    "record-survival",
    "Records without their publisher",
    RecordSurvival,
    model=modelled,
    seal="cheap",
    sample_every=600.0,
)
async def record_survival(world: World, p: RecordSurvival) -> None:
    """Churn; put the records, end their publisher, and count hour by hour what is left."""
    life = (p.hours + 1) * HOUR
    if life > MAX_LIFETIME:
        longest = MAX_LIFETIME / HOUR - 1
        raise BadScenario(
            f"hours = {p.hours}: records live too short for more than {longest:g}, but in the model engine"
        )
    world.planned = p.nodes / 50 + HOUR + life
    counted: Counter[str] = Counter()

    tallies: dict[int, Tally] = {}

    class Counting(Metered):
        """An engine whose counts outlive it."""

        def count(self, what: str) -> None:
            """Count here and for the whole network."""
            super().count(what)
            counted[what] += 1

    def make(peer: Peer) -> Metered:
        engine = world.make_engine(peer, Counting)
        engine.meter(tallies.setdefault(peer.index, Tally()))
        return engine

    world.config = p.config
    # The list's servers were there before: they live anew by the new rule.
    for peer in world.bootstraps:
        peer.make = make
    world.restart(world.kill(peers=world.bootstraps))
    world.add(p.nodes, node=make)
    (publisher,) = world.add(1, group="publisher", node=make)
    await world.settle()
    world.churn(p.sessions, p.downtime, world.group("server"), keep_state=p.keep_state)
    # Until as many are away as will be from now on.
    await world.run(hours=1)

    records = [(await world.put(life=life, by=publisher)).record for _ in range(p.records)]
    await world.run(seconds=5)
    world.kill(peers=[publisher])
    world.metrics.mark("the publisher has gone")

    sent, living = traffic(world), 0.0
    before = sum(tally.bytes["repair"] for tally in tallies.values())
    counted.clear()
    held = copies(world, records)
    counts = [fmean(held)]
    for _ in range(p.hours):
        await world.run(hours=1)
        held = copies(world, records)
        counts.append(fmean(held))
        living += len(world.living) / p.hours
        world.metrics.sample("records alive", sum(map(bool, held)) / len(held))
        world.metrics.sample("copies a record", counts[-1])
        world.metrics.sample("copies of the rarest", min(held))
    days = p.hours * HOUR / DAY
    spent, repairs = traffic(world) - sent, counted["repairs"] / p.records / days
    await world.gets(p.reads, records)

    value = world.metrics.value
    value("records alive at the end", sum(map(bool, held)) / len(held))
    value("copies of a record, mean", fmean(counts))
    value("repairs a record and day", repairs)
    upkeep = (sum(tally.bytes["repair"] for tally in tallies.values()) - before) / p.records / days
    value("comparisons a record and day", counted["compared"] / p.records / days)
    value("upkeep a record and day", upkeep, "B")
    value("upkeep a holder, record and day", upkeep / fmean(counts), "B")
    value("all traffic a node and day", spent / living / days, "B")
    world.metrics.expect("records alive at the end", at_least=0.99)
    world.metrics.expect("get.success", at_least=0.99)
