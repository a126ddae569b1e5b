"""What a scenario is, and which there are: a name, a title, typed parameters, and one coroutine that plays it.

Decides how a scenario is written and found. Refuses to know how runs are started, kept or drawn.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from simulations.errors import BadScenario
from simulations.settings import Engine, Parameters, RunSpec, WorldSettings

if TYPE_CHECKING:
    from simulations.metrics import Metrics
    from simulations.world import World

P = TypeVar("P", bound=Parameters)

Play = Callable[["World", Any], Awaitable[None]]
"""Plays the scenario in a fresh world: `await play(world, parameters)`."""

Model = Callable[["ModelRun", Any], None]
"""Computes the scenario with the model engine: `model(run, parameters)`."""


@dataclass(frozen=True, slots=True)
class ModelRun:
    """What a computation with the model engine is given."""

    seed: int
    world: WorldSettings
    metrics: Metrics
    progress: Callable[[int, int], object] = lambda done, total: None
    """To be called now and then with work done and work in all; may raise to end the run."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario."""

    name: str
    title: str
    parameters: type[Parameters]
    play: Play | None = None
    model: Model | None = None
    world: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Settings of the world that differ from the defaults."""

    @property
    def engines(self) -> tuple[Engine, ...]:
        """By which engines it can be run."""
        return (*(("protocol",) if self.play else ()), *(("model",) if self.model else ()))

    @property
    def description(self) -> str:
        """What it shows: the docstring of its parameters."""
        return " ".join((self.parameters.__doc__ or "").split())

    def settings_for(self, spec: RunSpec) -> tuple[WorldSettings, Parameters]:
        """World and parameters of a run. Raises pydantic's `ValidationError` for what is not allowed."""
        if spec.engine not in self.engines:
            raise BadScenario(f"scenario {self.name} runs by {' or '.join(self.engines)}, not by {spec.engine!r}")
        return WorldSettings(**{**self.world, **spec.world}), self.parameters(**spec.parameters)


_found: dict[str, Scenario] = {}


def scenario(
    name: str, title: str, parameters: type[P], *, model: Callable[[ModelRun, P], None] | None = None, **world: Any
) -> Callable[[Callable[[World, P], Awaitable[None]]], Callable[[World, P], Awaitable[None]]]:
    """Make a coroutine function a scenario; `world` are settings of its world that differ from the defaults.

    class Parameters(...): ...

    @scenario("mass-death", "A third of the network dies at once", MassDeath, latency="cities")
    async def mass_death(world: World, p: MassDeath) -> None: ...
    """
    try:
        WorldSettings(**world)
    except ValidationError as error:
        raise BadScenario(f"scenario {name}: {error.errors(include_url=False)[0]['msg']}") from None

    def register(play: Callable[[World, P], Awaitable[None]]) -> Callable[[World, P], Awaitable[None]]:
        add(Scenario(name, title, parameters, play, model, MappingProxyType(world)))
        return play

    return register


def add(one: Scenario) -> None:
    """Make a scenario known under its name; another one of that name from elsewhere is refused."""
    there = _found.get(one.name)
    if there is not None and there.parameters.__module__ != one.parameters.__module__:
        raise BadScenario(f"there are two scenarios named {one.name!r}: give yours another name")
    _found[one.name] = one


def scenarios() -> dict[str, Scenario]:
    """Every scenario that comes with Rookery, and those of scripts loaded so far, by name."""
    # By name: built-in scenarios stand above this file, and import it.
    package = importlib.import_module("simulations.scenarios")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_found.items()))


def named(name: str) -> Scenario:
    """The scenario of that name. Raises `BadScenario` that lists those there are."""
    known = scenarios()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadScenario(f"there is no scenario {name!r}: {hint}there are {', '.join(known)}")
    return known[name]
