"""Runs begun, gone on with and played: one, or one for each point of a grid.

Decides which seeds are still to be played, and that each result is on disk before the next is looked at. Refuses to
know where seeds are played and what anybody is shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from simulations.errors import BadScenario
from simulations.executors import Job, Place, play_all
from simulations.metrics import SeedResult
from simulations.results import BadResults, RunFolder
from simulations.results_code import code_version
from simulations.results_sweep import Sweep, label
from simulations.running import check_spec
from simulations.scripts import absolute, script_text
from simulations.settings import RunSpec
from simulations.written import applied

SCRIPT: Final = "script.py"
"""Where a run keeps a copy of the user's own script: replayed is what was run, whatever became of the original."""

MOST_POINTS: Final = 100_000
"""Points of one grid: more is a slip of the pen. UNSOURCED"""


def begin(
    path: Path, spec: RunSpec, seeds: Sequence[int], *, command: str = "", point: Mapping[str, Any] | None = None
) -> RunFolder:
    """Begin a run in a folder; with the text of its script, if it has one. Raises `BadScenario`, `BadResults`."""
    text = script_text(spec.scenario)
    check_spec(spec, text)
    spec = spec.model_copy(update={"scenario": absolute(spec.scenario)})
    folder = RunFolder.create(path, spec, seeds, command=command, extra={"point": dict(point)} if point else None)
    if text is not None:
        (path / SCRIPT).write_text(text, encoding="utf-8")
    return folder


def script_of(folder: RunFolder) -> str | None:
    """The text of a run's script, as it was when the run began; None for a scenario that comes with Rookery."""
    file = folder.path / SCRIPT
    return file.read_text(encoding="utf-8") if file.is_file() else script_text(folder.spec.scenario)


def grid(vary: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last key changing fastest. Raises `BadScenario` for none, or too many."""
    count = 1
    for key, values in vary.items():
        if not values:
            raise BadScenario(f"{key} is varied over no values")
        count *= len(values)
    if not vary or count > MOST_POINTS:
        raise BadScenario(f"a sweep of {count:,} points: give --vary KEY=VALUES, and at most {MOST_POINTS:,} points")
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def begin_sweep(
    path: Path, spec: RunSpec, seeds: Sequence[int], vary: Mapping[str, Sequence[Any]], *, command: str = ""
) -> tuple[Sweep, list[RunFolder]]:
    """Begin a run for each point of a grid, in folders of their own. Nothing is written before all are checked."""
    points = grid(vary)
    text = script_text(spec.scenario)
    for point in points:
        check_spec(applied(spec, point), text)
    sweep = Sweep.create(path, points, scenario=spec.scenario, title=spec.title, command=command)
    return sweep, [
        begin(point.path, applied(spec, point.settings), seeds, command=command, point=point.settings)
        for point in sweep.points
    ]


def reopen(path: Path) -> tuple[Sweep | None, list[RunFolder]]:
    """Open what was begun: a run, or a sweep with its runs. Raises `BadResults`."""
    if not (path / "sweep.json").is_file():
        return None, [RunFolder.open(path)]
    sweep = Sweep.open(path)
    begun = [point for point in sweep.points if (point.path / "run.json").is_file()]
    if not begun:
        raise BadResults(f"{path}: none of the sweep's runs was begun: begin it again in another folder")
    pattern = RunFolder.open(begun[0].path)
    folders = []
    for point in sweep.points:
        if point in begun:
            folders.append(RunFolder.open(point.path))
            continue
        # Whoever began it was killed between two folders. Every point sets the same keys, so any run tells the rest.
        command = str(pattern.meta.get("command", ""))
        spec = applied(pattern.spec, point.settings)
        folders.append(begin(point.path, spec, pattern.seeds, command=command, point=point.settings))
    return sweep, folders


def still_to_play(folder: RunFolder) -> list[int]:
    """Seeds without a result, and those that were interrupted or whose process was killed."""
    missing = folder.missing()
    if len(missing) == len(folder.seeds):
        return missing
    run = folder.load()
    again = {*missing, *run.stopped}
    # A process that was killed leaves no trace; an error in the scenario does, and would only happen again.
    again |= {seed for seed in run.errors if not run.facts[seed].get("trace_hash")}
    return [seed for seed in folder.seeds if seed in again]


def other_code(folder: RunFolder) -> str:
    """What to say when a run goes on with other code than it began with; empty when it does not."""
    ours, theirs = code_version()["sources"], str(folder.meta.get("sources", ""))
    if not theirs or ours == theirs:
        return ""
    return f"{folder.path} was begun by other code (sources {theirs}, now {ours}): its seeds may not be comparable"


def jobs_of(folders: Sequence[RunFolder]) -> list[Job]:
    """Every seed that is still to be played, run by run."""
    return [
        Job(folder.spec, seed, script_of(folder), point)
        for point, folder in enumerate(folders)
        for seed in still_to_play(folder)
    ]


def play(
    folders: Sequence[RunFolder],
    jobs: Iterable[Job],
    place: Place,
    *,
    took: Callable[[Job, SeedResult], object] = lambda job, result: None,
    look: Callable[[], object] = lambda: None,
) -> None:
    """Play jobs and keep each result in its run's folder as soon as it is there; see `play_all`."""

    def take(job: Job, result: SeedResult) -> None:
        folders[job.point].add(result)
        took(job, result)

    play_all(jobs, place, take, look=look)


def named(job: Job, folders: Sequence[RunFolder]) -> str:
    """A job for people: `seed 3`, or `nodes=100, seed 3` in a sweep."""
    point = folders[job.point].meta.get("point")
    return f"{label(point)}, seed {job.seed}" if point else f"seed {job.seed}"
