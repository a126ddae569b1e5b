"""The steps of a story: what a TOML file can have happen in a world, one after another.

Decides each step's name, keys and bounds, and which call of the world it is. Refuses to know files, and to do
anything that a script of the user's own could not do with the same world.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from simulations.errors import BadScenario
from simulations.settings import Share
from simulations.steps_base import (
    Count,
    LatencyModel,
    NodeGroup,
    ProfileName,
    Rate,
    SessionsModel,
    Span,
    Step,
    Told,
)

if TYPE_CHECKING:
    from simulations.world import World

__all__ = ["STEPS", "AnyStep", "NodeGroup", "Step", "Told", "tell"]


class Run(Step):
    """Let virtual time pass."""

    do: Literal["run"]
    hours: Span = Field(0.0, description="hours that pass, beside minutes and seconds")
    minutes: Span = Field(0.0, description="minutes that pass")
    seconds: Span = Field(0.0, description="seconds that pass")

    @model_validator(mode="after")
    def _some(self) -> Run:
        if not self.span:
            raise ValueError("give hours, minutes or seconds above 0")
        return self

    def _span(self) -> float:
        return self.hours * 3600 + self.minutes * 60 + self.seconds

    async def _play(self, told: Told) -> None:
        await told.world.run(hours=self.hours, minutes=self.minutes, seconds=self.seconds)


class Settle(Step):
    """Let time pass until every living node has joined."""

    do: Literal["settle"]
    within: Rate = Field(600.0, description="seconds after which a node that has not joined is an error")

    async def _play(self, told: Told) -> None:
        await told.world.settle(within=self.within)


class Add(Step):
    """Let more nodes start."""

    do: Literal["add"]
    count: Count = Field(description="how many")
    profile: ProfileName = Field("server", description="device class: server, home, desktop, phone, sensor")
    group: str = Field("", description="name by which steps speak of them; the profile's unless given")
    spread: Span | None = Field(None, description="seconds within which they start, by default 50 a second")

    async def _play(self, told: Told) -> None:
        told.world.add(self.count, self.profile, group=self.group, spread=self.spread)


class _Asking(Step):
    """What is asked many times."""

    count: Count = Field(description="how many times")
    per_second: Rate = Field(10.0, description="how many begin in a second, on average")
    phase: str = Field("", description="name under which the figures stand apart")

    def _span(self) -> float:
        return self.count / self.per_second

    def during(self, told: Told) -> AbstractContextManager[None]:
        """The phase of what is asked."""
        return told.world.metrics.during(self.phase) if self.phase else nullcontext()


class Put(_Asking):
    """Store new records from random nodes."""

    do: Literal["put"]

    async def _play(self, told: Told) -> None:
        with self.during(told):
            put = await told.world.puts(self.count, per_second=self.per_second)
        told.records += [one for one in put if one.ok]


class Get(_Asking):
    """Read records that were put before, from random nodes."""

    do: Literal["get"]
    group: str | None = Field(None, description="only nodes of this group ask")
    paths: Annotated[int, Field(ge=1)] | None = Field(None, description="disjoint paths of each read")

    async def _play(self, told: Told) -> None:
        if not told.records:
            raise BadScenario('nothing was put that could be read: a step do = "put" must come before do = "get"')
        with self.during(told):
            await told.world.gets(
                self.count, told.records, per_second=self.per_second, by=told.peers(self.group), paths=self.paths
            )


class Find(_Asking):
    """Look for the nodes nearest to random places, from random nodes."""

    do: Literal["find"]

    async def _play(self, told: Told) -> None:
        with self.during(told):
            await told.world.find_nodes(self.count, per_second=self.per_second)


class Kill(Step):
    """End a share of the living nodes without a word."""

    do: Literal["kill"]
    fraction: Share = Field(description="share of the living, 0 to 1")
    group: str | None = Field(None, description="only nodes of this group")
    keep_state: bool = Field(True, description="whether contacts and records are there again after a restart")

    async def _play(self, told: Told) -> None:
        told.killed += told.world.kill(**told.victims(self.fraction, self.group), keep_state=self.keep_state)


class Restart(Step):
    """Bring back every node that was killed."""

    do: Literal["restart"]
    keep_state: bool = Field(True, description="whether they still have their contacts and records")
    spread: Span = Field(0.0, description="seconds within which they start")

    async def _play(self, told: Told) -> None:
        back, told.killed = [peer for peer in told.killed if not peer.alive], []
        if not back:
            raise BadScenario('nobody is dead: a step do = "kill" must come before do = "restart"')
        told.world.restart(back, keep_state=self.keep_state, spread=self.spread)


class Freeze(Step):
    """Stop a share of the living nodes, as SIGSTOP does."""

    do: Literal["freeze"]
    fraction: Share = Field(description="share of the living, 0 to 1")
    group: str | None = Field(None, description="only nodes of this group")

    async def _play(self, told: Told) -> None:
        told.frozen += told.world.freeze(**told.victims(self.fraction, self.group))


class Wake(Step):
    """Let every frozen node run on."""

    do: Literal["wake"]

    async def _play(self, told: Told) -> None:
        if not told.frozen:
            raise BadScenario('nobody is frozen: a step do = "freeze" must come before do = "wake"')
        told.world.wake(told.frozen)
        told.frozen = []


class Partition(Step):
    """Cut the network into parts that cannot reach one another."""

    do: Literal["partition"]
    fractions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        min_length=1, description="shares of the nodes; whoever is left forms one more part"
    )

    async def _play(self, told: Told) -> None:
        told.world.partition(fractions=self.fractions)


class Heal(Step):
    """End the cut."""

    do: Literal["heal"]

    async def _play(self, told: Told) -> None:
        told.world.heal()


class Churn(Step):
    """Let nodes come and go from now on."""

    do: Literal["churn"]
    sessions: SessionsModel = Field(
        description="model of the time on, for example weibull:0.59,41.9m or exponential:1h"
    )
    downtime: SessionsModel = Field(description="model of the time off")
    group: str | None = Field(None, description="only nodes of this group")
    keep_state: bool = Field(True, description="whether they come back with contacts and records")

    async def _play(self, told: Told) -> None:
        among = None if self.group is None else told.world.group(self.group)
        told.world.churn(self.sessions, self.downtime, among, keep_state=self.keep_state)


class Loss(Step):
    """Lose another share of all datagrams from now on."""

    do: Literal["loss"]
    share: Share = Field(description="probability that a datagram is lost, 0 to 1")

    async def _play(self, told: Told) -> None:
        told.world.network.set_loss(self.share)
        told.world.metrics.mark(f"loss {self.share:g}")


class Latency(Step):
    """Take another latency model from now on."""

    do: Literal["latency"]
    model: LatencyModel = Field(description="for example cities, planetlab, lognormal:50ms,0.4")

    async def _play(self, told: Told) -> None:
        from simulations.latency_models import named

        told.world.network.set_latency(named(self.model, told.world.streams))
        told.world.metrics.mark(f"latency {self.model}")


class Mark(Step):
    """Write a word on the time line."""

    do: Literal["mark"]
    text: str = Field(min_length=1, description="what it says")

    async def _play(self, told: Told) -> None:
        told.world.metrics.mark(self.text)


class Expect(Step):
    """Demand something of a figure as it is now."""

    do: Literal["expect"]
    figure: str = Field(description="for example get.success, put.p95")
    at_least: float | None = Field(None, description="smallest allowed value")
    at_most: float | None = Field(None, description="largest allowed value")
    phase: str | None = Field(None, description="only operations of this phase")
    strict: bool = Field(False, description="whether the run ends when it does not hold")

    @model_validator(mode="after")
    def _bounded(self) -> Expect:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self

    async def _play(self, told: Told) -> None:
        told.world.metrics.expect(
            self.figure, at_least=self.at_least, at_most=self.at_most, phase=self.phase, strict=self.strict
        )


AnyStep = Annotated[
    Run
    | Settle
    | Add
    | Put
    | Get
    | Find
    | Kill
    | Restart
    | Freeze
    | Wake
    | Partition
    | Heal
    | Churn
    | Loss
    | Latency
    | Mark
    | Expect,
    Field(discriminator="do"),
]
"""Any step, told apart by `do`."""

STEPS: dict[str, type[Step]] = {
    step.model_fields["do"].annotation.__args__[0]: step  # type: ignore[union-attr]
    for step in (
        Run,
        Settle,
        Add,
        Put,
        Get,
        Find,
        Kill,
        Restart,
        Freeze,
        Wake,
        Partition,
        Heal,
        Churn,
        Loss,
        Latency,
        Mark,
        Expect,
    )
}
"""Every step by its name, in the order of the documentation."""


async def tell(world: World, nodes: Sequence[NodeGroup], steps: Sequence[Step]) -> None:
    """Play a story: all the nodes are added, then step follows step."""
    world.planned = sum(step.span for step in steps)
    told = Told(world)
    for group in nodes:
        group.add_to(world)
    for step in steps:
        await step.play(told)
