"""The worlds in which both engines are asked the same, and what they answered.

Decides sizes, weather, seeds and numbers of operations. Each world is a run of the scenario `two-engines` for each
engine, in a folder of its own (`RunFolder`), so that what was played stays played. Refuses to judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from simulations.agreement_verdicts import Sample
from simulations.errors import SimulationError
from simulations.executors import Here, Place, Processes
from simulations.progress import watch
from simulations.results import RunFolder
from simulations.results_run import Run
from simulations.settings import Engine, RunSpec
from simulations.sweeps import begin, jobs_of, play

SCENARIO: Final = "two-engines"
ENGINES: Final[tuple[Engine, Engine]] = ("protocol", "model")
COLUMNS: Final = {
    "hops": "hops",
    "requests": "requests",
    "failures": "failures",
    "seconds": "took",
    "success": "ok",
}
"""Columns of a sample, and of the table of operations."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One world, asked one thing, by both engines with the same seeds."""

    name: str
    told: str
    """In a few words, for the page."""
    parameters: dict[str, Any]
    world: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3, 4)

    def spec(self, engine: Engine) -> RunSpec:
        """The run by one of the engines. Boxes are stood in for by ones of equal size: nothing here depends on them."""
        world = dict(self.world) | ({"seal": "cheap", "sample_every": 3600.0} if engine == "protocol" else {})
        return RunSpec(
            scenario=SCENARIO, title=self.told, engine=engine, world=world, parameters=self.parameters, expect=()
        )

    def command(self, engine: Engine) -> str:
        """What plays it alone."""
        parts = [f"rookery simulate run {SCENARIO} --engine {engine} --seeds {','.join(map(str, self.seeds))}"]
        spec = self.spec(engine)
        parts += [f"--set {key}={value}" for key, value in spec.parameters.items()]
        parts += [f"--set world.{key}={value}" for key, value in spec.world.items()]
        return " ".join(parts)


_THOUSAND: Final = {"nodes": 1000, "operations": 250}
_FIVE_HUNDRED: Final = {"nodes": 500, "operations": 250}
_CITIES: Final = {"latency": "cities"}
_THREE: Final = (1, 2, 3)

WORLDS: Final = (
    Setting("quiet", "1,000 nodes, nothing lost, nobody dead", _THOUSAND),
    Setting("quiet-cities", "the same between cities", _THOUSAND, _CITIES),
    Setting("alpha-3", "α = 3", {**_THOUSAND, "alpha": 3}, {}, _THREE),
    Setting("alpha-1", "α = 1", {**_THOUSAND, "alpha": 1}, {}, _THREE),
    Setting("k-8", "k = 8, α = 3", {**_THOUSAND, "k": 8, "alpha": 3}, {}, _THREE),
    Setting("loss", "5 % of datagrams lost", _THOUSAND, {"loss": 0.05}),
    Setting("third-dead", "a third died a moment ago", {**_THOUSAND, "killed": 0.333}, {}),
    Setting("third-dead-cities", "the same between cities", {**_THOUSAND, "killed": 0.333}, _CITIES),
    Setting(
        "churn",
        "sessions as in BitTorrent (stutzbach-3), away for an hour",
        {**_FIVE_HUNDRED, "sessions": "stutzbach-3", "minutes": 45.0},
        {},
        _THREE,
    ),
    Setting("get", "reads of records", {**_THOUSAND, "ask": "get"}, {}, _THREE),
    Setting("get-third-dead", "reads, a third dead", {**_THOUSAND, "ask": "get", "killed": 0.333}, {}, _THREE),
    Setting("put", "writes of records", {**_THOUSAND, "ask": "put"}, {}, _THREE),
    Setting("ten-thousand", "10,000 nodes", {"nodes": 10_000, "operations": 1500}, _CITIES, (1, 2)),
)
"""What the page compares."""

QUICK: Final = (
    Setting("quiet", "250 nodes", {"nodes": 250, "operations": 150}, {}, (1, 2, 3)),
    Setting("loss", "5 % of datagrams lost", {"nodes": 250, "operations": 150}, {"loss": 0.05}, (1, 2, 3)),
)
"""A look at whether anything is badly wrong."""


class NotPlayed(SimulationError):
    """Raised when a seed of a comparison failed or was interrupted; the message says which, and why."""


def play_worlds(settings: Iterable[Setting], folder: Path, *, jobs: int = 1, quiet: bool = False) -> dict[str, Run]:
    """Play what is missing of each world by each engine, below `folder`; give every run by `name/engine`.

    Runs that are there are gone on with; they must be of the same settings. Raises `NotPlayed`.
    """
    folders: dict[str, RunFolder] = {}
    for one in settings:
        for engine in ENGINES:
            folders[f"{one.name}/{engine}"] = _folder(one, engine, folder / one.name / engine)
    play_folders(folders, jobs=jobs, quiet=quiet)
    return {name: whole(name, opened.finish()) for name, opened in folders.items()}


def play_folders(folders: dict[str, RunFolder], *, jobs: int = 1, quiet: bool = False) -> None:
    """Play every seed that is missing in any of the folders."""
    opened, names = list(folders.values()), list(folders)
    todo = jobs_of(opened)
    if not todo:
        return
    told = {job.name: f"{names[job.point]}, seed {job.seed}" for job in todo}
    place: Place = Here() if jobs == 1 else Processes(min(jobs, len(todo)))
    with watch(len(todo), place.progress, lambda name: told.get(name, name), quiet=quiet) as shown:
        if isinstance(place, Here):
            place.look = shown.look
        play(opened, todo, place, took=lambda job, result: shown.took(ok=not result.error), look=shown.look)


def whole(name: str, run: Run) -> Run:
    """The run, if every seed of it came to its end."""
    faults = [f"seed {seed}: {why}" for seed, why in {**run.stopped, **run.errors}.items()]
    faults += [f"seed {seed} is missing" for seed in run.missing]
    if faults:
        raise NotPlayed(f"{name}: {'; '.join(faults)}")
    return run


def sample(run: Run, setting: Setting) -> Sample:
    """What a run's operations took: by column an array for each seed."""
    kind = str(setting.parameters.get("ask", "find_node"))
    phase = "asked" if run.engine == "protocol" else ""
    return {
        name: [run.operations.of((phase, kind), column, seed).astype(np.float64) for seed in run.seeds]
        for name, column in COLUMNS.items()
    }


def _folder(setting: Setting, engine: Engine, path: Path) -> RunFolder:
    spec = setting.spec(engine)
    if not (path / "run.json").is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        return begin(path, spec, setting.seeds, command=setting.command(engine))
    there = RunFolder.open(path)
    if there.spec != spec or there.seeds != setting.seeds:
        raise NotPlayed(f"{path} holds a run of other settings: remove it, or choose another folder")
    return there
