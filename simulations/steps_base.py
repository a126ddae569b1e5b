"""What the steps of a story have in common: the types of their values, and what one step leaves for the next.

Decides that names are looked up when a step is made. Refuses to know any particular step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from simulations.durations import parse_duration
from simulations.errors import BadScenario
from simulations.randomness import Streams
from simulations.settings import Settings

if TYPE_CHECKING:
    from simulations.peers import Peer
    from simulations.workload import PutOutcome
    from simulations.world import World

Count = Annotated[int, Field(ge=1)]


def _seconds(given: object) -> object:
    if not isinstance(given, str):
        return given
    try:
        return parse_duration(given)
    except BadScenario as error:
        raise ValueError(str(error)) from None


Span = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
"""Seconds, or a text with a unit such as "2min"."""
Rate = Annotated[float, Field(gt=0)]


def _profile(name: str) -> str:
    from simulations.profiles import PROFILES

    if name not in PROFILES:
        raise ValueError(f"there is no such profile: there are {', '.join(PROFILES)}")
    return name


def _sessions(model: str) -> str:
    from simulations.sessions import named

    try:
        named(model)
    except BadScenario as error:
        raise ValueError(str(error)) from None
    return model


def _latency(model: str) -> str:
    from simulations.latency_models import named

    try:
        named(model, Streams(0))
    except BadScenario as error:
        raise ValueError(str(error)) from None
    return model


# Names are looked up when a file is read, so that a slip is told with its line and not an hour into the run.
ProfileName = Annotated[str, AfterValidator(_profile)]
SessionsModel = Annotated[str, AfterValidator(_sessions)]
LatencyModel = Annotated[str, AfterValidator(_latency)]


class NodeGroup(Settings):
    """Nodes of one kind."""

    count: Count = Field(description="how many")
    profile: ProfileName = Field("server", description="device class: server, home, desktop, phone, sensor")
    group: str = Field("", description="name by which steps speak of them; the profile's unless given")
    spread: Span | None = Field(None, description="seconds within which they start, by default 50 a second")

    def add_to(self, world: World) -> None:
        """Put them into a world."""
        world.add(self.count, self.profile, group=self.group, spread=self.spread)


class Told:
    """A story under way: the world, and what later steps speak of."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.records: list[PutOutcome] = []
        """What was put so far and acknowledged by enough nodes: what `get` reads."""
        self.killed: list[Peer] = []
        self.frozen: list[Peer] = []

    def peers(self, group: str | None) -> list[Peer] | None:
        """The living ones of a group; None means whoever the world has."""
        return None if group is None else [peer for peer in self.world.group(group) if peer.alive]

    def victims(self, fraction: float, group: str | None) -> dict[str, Any]:
        """A share of the living, or of the living of a group, as arguments of `World.kill` and `World.freeze`."""
        among = self.peers(group)
        if among is None:
            return {"fraction": fraction}
        rng = self.world.streams.stream(f"story/victims/{len(self.killed)}/{len(self.frozen)}/{self.world.elapsed!r}")
        chosen = rng.sample(among, round(fraction * len(among)))
        return {"peers": sorted(chosen, key=lambda peer: peer.index)}


class Step(Settings):
    """One thing that happens."""

    @property
    def span(self) -> float:
        """Virtual seconds it will take, as far as that is known before."""
        return self._span()

    async def play(self, told: Told) -> None:
        """Let it happen."""
        await self._play(told)

    def _span(self) -> float:
        return 0.0

    async def _play(self, told: Told) -> None:
        raise NotImplementedError
