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


_HALF: Final = {"nodes": 500, "operations": 200, "minutes": 2.0}
_SMALL: Final = {"nodes": 300, "operations": 200, "minutes": 2.0}
_CITIES: Final = {"latency": "cities"}

WORLDS: Final = (
    Setting("quiet", "500 nodes, nothing lost, nobody dead", _HALF),
    Setting("cities", "300 nodes between cities", _SMALL, _CITIES),
    Setting("alpha-3", "300 nodes, α = 3", {**_SMALL, "alpha": 3}),
    Setting("alpha-1", "300 nodes, α = 1", {**_SMALL, "alpha": 1}),
    Setting("k-8", "300 nodes, k = 8, α = 3", {**_SMALL, "k": 8, "alpha": 3}),
    Setting("loss", "300 nodes, 5 % of datagrams lost", _SMALL, {"loss": 0.05}),
    Setting("third-dead", "300 nodes, a third died a moment ago", {**_SMALL, "killed": 0.333}),
    Setting("third-dead-cities", "the same between cities", {**_SMALL, "killed": 0.333}, _CITIES),
    Setting(
        "churn",
        "about 200 at a time, sessions as in BitTorrent (stutzbach-3), away for an hour",
        {"nodes": 200, "operations": 200, "sessions": "stutzbach-3", "minutes": 30.0},
    ),
    Setting("get", "300 nodes, reads of records", {**_SMALL, "ask": "get"}),
    Setting("get-third-dead", "300 nodes, reads, a third dead", {**_SMALL, "ask": "get", "killed": 0.333}),
    Setting("put", "300 nodes, writes of records", {**_SMALL, "ask": "put"}),
    Setting("thousand", "1,000 nodes, nothing lost, nobody dead", {**_HALF, "nodes": 1000}, {}, (1, 2, 3)),
    Setting("ten-thousand", "10,000 nodes", {"nodes": 10_000, "operations": 1000, "minutes": 2.0}, {}, (1,)),
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
