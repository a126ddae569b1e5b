"""What a person typed after `run` or `sweep`, turned into a run: scenario, settings, seeds, things to vary.

Decides how NAME and FILE are told apart, and what `--nodes 100` means. Refuses to play anything.
"""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from simulations.errors import BadScenario
from simulations.settings import RunSpec


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be played."""

    spec: RunSpec
    seeds: tuple[int, ...]
    vary: dict[str, list[Any]] = field(default_factory=dict)
    name: str = ""
    """What folders are named by: the scenario, or the file that was given."""


def asked(
    what: str,
    free: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    world: Sequence[str] = (),
    engine: str | None = None,
    title: str = "",
    seed: int | None = None,
    seeds: str = "",
    vary: Sequence[str] = (),
) -> Asked:
    """Put together a run. Raises `BadScenario` for what cannot be run."""
    from simulations.running import check_spec
    from simulations.scripts import absolute, is_script, scenario_of, script_path
    from simulations.written import applied, assignment, assignments, values

    if what.endswith(".toml"):
        there = _from_file(Path(what))
    else:
        name = script_path(what).stem if is_script(what) else what
        there = Asked(RunSpec.model_validate({"scenario": absolute(what)}), (), name=name)
    changes: dict[str, Any] = {}
    if engine is not None:
        if engine not in ("protocol", "model"):
            raise BadScenario(f"--engine {engine!r}: allowed are protocol and model")
        changes["engine"] = engine
    if title:
        changes["title"] = title
    spec = there.spec.model_copy(update=changes)
    given = {**assignments(settings), **{f"world.{key}": new for key, new in assignments(world).items()}}
    given |= _from_flags(free, spec, scenario_of(spec).parameters.model_fields)
    spec = applied(spec, given)
    check_spec(spec)
    varied = {key: values(text) for key, text in map(assignment, vary)}
    return Asked(spec, _seeds(seed, seeds) or there.seeds or (1,), {**there.vary, **varied}, there.name)


def _from_file(path: Path) -> Asked:
    from simulations.specfile import STORY, read_file

    told = read_file(path)
    # A story without a name of its own goes by its file's.
    title = told.spec.title or (path.stem if told.spec.scenario == STORY else "")
    return Asked(told.spec.model_copy(update={"title": title}), told.seeds, told.vary, path.stem)


def _from_flags(free: Sequence[str], spec: RunSpec, parameters: Any) -> dict[str, Any]:
    """Read `--nodes 100` and `--loss=0.1`: parameters of the scenario, or else settings of the world."""
    from simulations.settings import WorldSettings
    from simulations.written import value

    found: dict[str, Any] = {}
    words = list(free)
    while words:
        word = words.pop(0)
        flag, equals, text = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or not name:
            raise BadScenario(f"{word!r} is one word too many: one scenario is run at a time")
        if name not in parameters and name not in WorldSettings.model_fields:
            known = [*parameters, *WorldSettings.model_fields]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean --{near[0].replace('_', '-')}? " if near else ""
            settings = ", ".join(f"--{one.replace('_', '-')}" for one in known)
            raise BadScenario(f"there is no option {flag}: {hint}scenario {spec.scenario} has {settings}")
        if not equals:
            if not words:
                raise BadScenario(f"{flag} needs a value")
            text = words.pop(0)
        found[name if name in parameters else f"world.{name}"] = value(text)
    return found


def _seeds(seed: int | None, seeds: str) -> tuple[int, ...]:
    from simulations.specfile import seeds_of

    if seed is not None and seeds:
        raise BadScenario("give either --seed or --seeds")
    if seed is not None:
        return (seed,)
    if not seeds:
        return ()
    try:
        if seeds.strip().isdigit():
            return seeds_of(int(seeds))
        return seeds_of([int(part) for part in seeds.split(",")])
    except ValueError as error:
        reason = f": {error}" if "invalid literal" not in str(error) else ""
        raise BadScenario(f"--seeds {seeds!r} is neither how many nor a list such as 3,7,9{reason}") from None


def command_line(ctx: typer.Context) -> str:
    """The command as it was typed, to be kept with results."""
    name = ctx.info_name or ""
    typed = sys.argv[sys.argv.index(name) + 1 :] if name in sys.argv else []
    return " ".join([ctx.command_path, shlex.join(typed)]).strip()


def complete_names(incomplete: str) -> list[str]:
    """Scenario names that begin so, for shells."""
    from simulations.scenario import scenarios

    return [name for name in scenarios() if name.startswith(incomplete)]
