"""Runs begun, interrupted, gone on with: alone and over a grid."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from simulations.errors import BadScenario
from simulations.executors import Here, Job
from simulations.metrics import SeedResult
from simulations.results import BadResults, RunFolder
from simulations.settings import RunSpec
from simulations.sweeps import (
    SCRIPT,
    begin,
    begin_sweep,
    grid,
    jobs_of,
    named,
    other_code,
    play,
    reopen,
    script_of,
    still_to_play,
)
from tests.simulations.quick_script import QUICK, quick_script


def quick(folder: Path, **parameters: Any) -> RunSpec:
    return RunSpec.model_validate({"scenario": str(quick_script(folder)), "parameters": parameters})


def test_a_grid_has_every_combination() -> None:
    assert grid({"a": [1, 2], "world.b": ["x", "y"]}) == [
        {"a": 1, "world.b": "x"},
        {"a": 1, "world.b": "y"},
        {"a": 2, "world.b": "x"},
        {"a": 2, "world.b": "y"},
    ]
    with pytest.raises(BadScenario, match="a is varied over no values"):
        grid({"a": []})
    with pytest.raises(BadScenario, match="give --vary KEY=VALUES"):
        grid({})
    with pytest.raises(BadScenario, match="a sweep of 1,000,000 points"):
        grid({"a": range(1000), "b": range(1000)})


def test_a_run_is_kept_seed_by_seed_and_gone_on_with(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", quick(tmp_path, fails=[2]), [1, 2, 3, 4], command="rookery simulate run quick")

    class Killed(BaseException):
        pass

    def took(job: Job, result: SeedResult) -> None:
        if job.seed == 2:
            raise Killed

    with pytest.raises(Killed):
        play([folder], jobs_of([folder]), Here(), took=took)
    # What was done is on disk, whatever became of the process.
    again = RunFolder.open(tmp_path / "run")
    assert again.finished() == [1, 2]
    assert again.meta["command"] == "rookery simulate run quick"
    assert still_to_play(again) == [3, 4]
    sweep, folders = reopen(tmp_path / "run")
    assert sweep is None
    play(folders, jobs_of(folders), Here())
    run = folders[0].finish()
    assert run.seeds == (1, 2, 3, 4)
    assert list(run.errors) == [2]
    # A failure of the scenario is a result, which would only come again.
    assert still_to_play(folders[0]) == []


def test_what_was_interrupted_or_killed_is_played_again(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", quick(tmp_path), [1, 2, 3])
    results: dict[int, SeedResult] = {}
    play([folder], jobs_of([folder]), Here(), took=lambda job, result: results.update({job.seed: result}))
    assert still_to_play(folder) == []
    results[1].stopped = "interrupted at 1.000 s"
    results[2].error, results[2].facts["trace_hash"] = "seed 2: its process was killed", ""
    results[3].error = "seed 3 at 1.000 s: AssertionError"
    for result in results.values():
        folder.add(result)
    assert still_to_play(folder) == [1, 2]


def test_a_script_is_kept_with_its_run(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", quick(tmp_path), [1])
    (tmp_path / "quick.py").write_text(QUICK.replace('"wait"', '"changed"'))
    assert (tmp_path / "run" / SCRIPT).read_text() == QUICK
    assert script_of(folder) == QUICK
    play([folder], jobs_of([folder]), Here())
    assert list(folder.load().operations.kinds) == ["wait"]


def test_a_sweep_is_a_run_for_each_point(tmp_path: Path) -> None:
    sweep, folders = begin_sweep(
        tmp_path / "sweep", quick(tmp_path), [1, 2], {"nodes": [1, 5], "world.loss": [0.0, 0.5]}, command="x"
    )
    assert [point.settings for point in sweep.points] == grid({"nodes": [1, 5], "world.loss": [0.0, 0.5]})
    assert [folder.spec.parameters["nodes"] for folder in folders] == [1, 1, 5, 5]
    assert [folder.spec.world for folder in folders] == [{"loss": 0.0}, {"loss": 0.5}] * 2
    assert len(jobs_of(folders)) == 8
    play(folders, jobs_of(folders)[:3], Here())
    whole, again = reopen(tmp_path / "sweep")
    assert whole is not None
    todo = jobs_of(again)
    assert [(job.point, job.seed) for job in todo] == [(1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    assert named(todo[0], again) == "nodes=1, world.loss=0.5, seed 2"
    play(again, todo, Here())
    assert [point["nodes"] for point, _ in whole.figures("nodes")] == [1, 1, 5, 5]
    assert [interval.value for _, interval in whole.figures("nodes")] == [1, 1, 5, 5]


def test_a_sweep_whose_beginning_was_cut_short(tmp_path: Path) -> None:
    _, folders = begin_sweep(tmp_path / "sweep", quick(tmp_path), [1, 2], {"nodes": [1, 5]})
    shutil.rmtree(folders[1].path)
    _, again = reopen(tmp_path / "sweep")
    assert again[1].spec == folders[1].spec
    assert again[1].seeds == (1, 2)
    assert again[1].meta["point"] == {"nodes": 5}
    for folder in again:
        shutil.rmtree(folder.path)
    with pytest.raises(BadResults, match="none of the sweep's runs was begun"):
        reopen(tmp_path / "sweep")


def test_nothing_is_written_before_every_point_is_checked(tmp_path: Path) -> None:
    with pytest.raises(BadScenario, match=r"quick: world\.loss = 2: should be less than or equal to 1"):
        begin_sweep(tmp_path / "sweep", quick(tmp_path), [1], {"world.loss": [0, 1, 2]})
    assert not (tmp_path / "sweep").exists()


def test_other_code_is_told(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", quick(tmp_path), [1])
    assert other_code(folder) == ""
    folder.meta["sources"] = "0" * 16
    assert other_code(folder).startswith(f"{folder.path} was begun by other code (sources {'0' * 16}, now ")
