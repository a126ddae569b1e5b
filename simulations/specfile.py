"""A scenario file: TOML that says what is run, in which world, with which seeds.

    scenario = "churn"            # or [[nodes]] and [[step]] tables: a story of your own
    seeds = 5

    [world]
    loss = 0.01

    [parameters]
    nodes = 200

    [[expect]]
    figure = "get.success"
    at_least = 0.99

    [sweep]
    nodes = [100, 1000]
    "world.loss" = "0:0.3:0.1"

Decides the file's form, and that whatever is wrong in it is told with file, line, key, value and what is allowed.
Refuses to play anything.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError, field_validator

from simulations.errors import BadScenario
from simulations.running import bad_names
from simulations.scenario import Scenario, named
from simulations.scripts import absolute, is_script, load_script
from simulations.settings import Engine, Expected, RunSpec, Settings, WorldSettings
from simulations.specfile_faults import BadFile, Fault, Faults
from simulations.specfile_lines import key_lines
from simulations.steps import AnyStep, NodeGroup
from simulations.written import WORLD, applied, values

STORY: Final = "story"
"""The scenario of a file that names none."""

_COMES_AFTER: Final = {"get": "put", "restart": "kill", "wake": "freeze", "heal": "partition"}
"""Steps that undo or use what an earlier one did."""

_PLACE: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
"""How `tomllib` of Python 3.11 to 3.13 ends its messages."""


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """What a file asks for."""

    spec: RunSpec
    seeds: tuple[int, ...] = ()
    """Empty where the file leaves it open."""
    vary: dict[str, list[Any]] = field(default_factory=dict)
    """The [sweep] table: keys and the values that each is given in turn."""


class _Written(Settings):
    """The top of a file. World, parameters and sweep are looked at once the scenario is known."""

    scenario: str = Field("", description="name of a scenario, or path of a script; without it a story is told")
    title: str = Field("", description="one line for the report")
    engine: Engine = Field("protocol", description="protocol or model")
    seeds: tuple[int, ...] = Field((), description="how many seeds, or a list of them")
    world: dict[str, Any] = Field(default_factory=dict, description="settings of the world")
    parameters: dict[str, Any] = Field(default_factory=dict, description="parameters of the scenario")
    nodes: tuple[NodeGroup, ...] = Field((), description="groups of nodes of a story")
    step: tuple[AnyStep, ...] = Field((), description="what happens in a story")
    expect: tuple[Expected, ...] = Field((), description="demands on figures at the end")
    sweep: dict[str, list[Any] | str] = Field(default_factory=dict, description="keys and the values they take in turn")

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, given: Any) -> Any:
        if isinstance(given, bool) or not isinstance(given, int | list | tuple):
            raise ValueError("should be how many seeds (1 or more), or a list of seeds")
        return seeds_of(given)


def seeds_of(given: int | list[Any] | tuple[Any, ...]) -> tuple[int, ...]:
    """The seeds of a count (1, 2, 3 …) or of a list. Raises `ValueError`."""
    if isinstance(given, int):
        if given < 1:
            raise ValueError("should be 1 seed or more")
        return tuple(range(1, given + 1))
    if not given or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in given):
        raise ValueError("should be whole numbers, 0 or more, and at least one")
    if len(set(given)) != len(given):
        raise ValueError("names a seed twice")
    return tuple(given)


def read_file(path: Path) -> ScenarioFile:
    """Read a scenario file. Raises `BadFile` with everything that is wrong in it, `OSError` if it cannot be read."""
    return read_text(path.read_bytes(), path)


def read_text(content: bytes, path: Path) -> ScenarioFile:
    """Read the content of a scenario file; `path` is what faults name and where scripts are looked for."""
    data, text = _parsed(content, path)
    faults = Faults(path, data, key_lines(text))
    try:
        written = _Written(**data)
    except ValidationError as error:
        faults.add_all(error, _Written)
        raise BadFile(faults.found) from None
    scenario = _scenario(written, path, faults)
    if scenario is None:
        raise BadFile(faults.found)
    spec = _spec(written, scenario, path)
    _check_world_and_parameters(written, scenario, faults)
    _check_order(written, faults)
    if written.engine not in scenario.engines:
        faults.add(("engine",), f"scenario {scenario.name} runs by {' or '.join(scenario.engines)}")
    vary = _vary(written, scenario, spec, faults) if not faults.found else {}
    if faults.found:
        raise BadFile(faults.found)
    return ScenarioFile(spec, written.seeds, vary)


def _parsed(content: bytes, path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadFile([Fault(path, line, "", f"byte {content[error.start]:#04x} is not UTF-8")]) from None
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = _PLACE.search(said)
        lines = text.splitlines() or [""]
        line, column = (int(place[1]), int(place[2])) if place else (len(lines), len(lines[-1]) + 1)
        message = said[: place.start()] if place else said.removesuffix(" (at end of document)")
        message = message[:1].lower() + message[1:]
        raise BadFile([Fault(path, line, "", f"is not valid TOML: {message}", column=column)]) from None


def _scenario(written: _Written, path: Path, faults: Faults) -> Scenario | None:
    told = written.scenario in ("", STORY)
    for key, given in (("nodes", written.nodes), ("step", written.step)):
        if told and not given:
            faults.add(
                (key,), "is missing: without `scenario` a file tells a story, with [[nodes]] and [[step]] tables"
            )
        elif not told and given:
            faults.add((key,), f"belongs to a story: scenario {written.scenario} brings its own, see [parameters]")
    if told and written.parameters:
        faults.add(("parameters",), "a story has none: say it in [[nodes]] and [[step]]")
    try:
        name = _reference(written, path)
        scenario = load_script(name) if is_script(name) else named(name)
    except BadScenario as error:
        faults.add(("scenario",), str(error))
        return None
    return None if faults.found else scenario


def _reference(written: _Written, path: Path) -> str:
    """The scenario's name; a script is looked for beside the file that names it."""
    if is_script(written.scenario):
        return absolute(str(path.parent / written.scenario))
    return written.scenario or STORY


def _spec(written: _Written, scenario: Scenario, path: Path) -> RunSpec:
    parameters = dict(written.parameters)
    if scenario.name == STORY:
        parameters = {
            "nodes": [group.model_dump(exclude_unset=True) for group in written.nodes],
            "steps": [step.model_dump(exclude_unset=True) for step in written.step],
        }
    return RunSpec(
        scenario=_reference(written, path),
        title=written.title,
        engine=written.engine,
        world=written.world,
        parameters=parameters,
        expect=written.expect,
    )


def _check_world_and_parameters(written: _Written, scenario: Scenario, faults: Faults) -> None:
    try:
        settings = WorldSettings(**{**scenario.world, **written.world})
    except ValidationError as error:
        faults.add_all(error, WorldSettings, ("world",))
    else:
        for key, said in bad_names(settings).items():
            faults.add(("world", key), said)
    if scenario.name != STORY:
        try:
            scenario.parameters(**written.parameters)
        except ValidationError as error:
            faults.add_all(error, scenario.parameters, ("parameters",))


def _check_order(written: _Written, faults: Faults) -> None:
    done: list[str] = []
    for index, step in enumerate(written.step):
        name = str(getattr(step, "do", ""))
        needed = _COMES_AFTER.get(name)
        if needed is not None and needed not in done:
            faults.add(("step", index, "do"), f'a step do = "{needed}" must come before it')
        done.append(name)


def _vary(written: _Written, scenario: Scenario, spec: RunSpec, faults: Faults) -> dict[str, list[Any]]:
    vary: dict[str, list[Any]] = {}
    for key, given in written.sweep.items():
        try:
            vary[key] = values(given) if isinstance(given, str) else list(given)
        except BadScenario as error:
            faults.add(("sweep", key), str(error))
            continue
        if not vary[key]:
            faults.add(("sweep", key), "has no values")
        known = [*(f"{WORLD}{name}" for name in WorldSettings.model_fields), *scenario.parameters.model_fields]
        if key not in known and "[" not in key:
            faults.add_unknown(("sweep", key), known)
            continue
        for one in vary[key]:
            try:
                scenario.settings_for(applied(spec, {key: one}))
            except ValidationError as error:
                faults.add(("sweep", key), f"{one!r}: {error.errors(include_url=False)[0]['msg']}")
            except BadScenario as error:
                faults.add(("sweep", key), str(error))
    return vary
