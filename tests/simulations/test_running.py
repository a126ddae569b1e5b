"""One seed: what becomes of failures and interrupts, and that it is the same run every time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from simulations.errors import BadScenario
from simulations.metrics import Metrics
from simulations.running import Progress, ReplayEnded, check_spec, results_hash, run_seed
from simulations.scenario import ModelRun, Scenario
from simulations.scenario import add as add_scenario
from simulations.settings import Parameters, RunSpec
from simulations.trace import Trace
from simulations.world import World
from tests.simulations.quick_script import QUICK, quick_script

STORY = {
    "scenario": "story",
    "parameters": {
        "nodes": [{"count": 15}],
        "steps": [
            {"do": "settle"},
            {"do": "put", "count": 3},
            {"do": "kill", "fraction": 0.3},
            {"do": "get", "count": 5},
        ],
    },
}


def spec(**given: Any) -> RunSpec:
    return RunSpec.model_validate(given)


def quick(folder: Path, **parameters: Any) -> RunSpec:
    return spec(scenario=str(quick_script(folder)), parameters=parameters)


def test_a_seed_gives_figures_and_facts() -> None:
    result = run_seed(spec(**STORY, expect=[{"figure": "get.success", "at_least": 0.99}]), 1)
    assert result.ok, result.error
    assert [one.text for one in result.expectations] == ["get.success ≥ 0.99"]
    facts = result.facts
    assert facts["engine"] == "protocol"
    assert facts["seal"] == "real"
    assert facts["virtual_seconds"] > 1
    assert facts["wall_seconds"] > 0
    assert facts["peak_memory"] > 10_000_000
    assert facts["events"] > facts["deliveries"] > 100
    assert len(facts["trace_hash"]) == 64


def test_the_same_seed_is_the_same_run_whatever_the_hash_seed() -> None:
    ours = run_seed(spec(**STORY), 5).facts["trace_hash"]
    assert run_seed(spec(**STORY), 5).facts["trace_hash"] == ours
    assert run_seed(spec(**STORY), 6).facts["trace_hash"] != ours
    code = (
        "import json, sys; from simulations.running import run_seed; from simulations.settings import RunSpec;"
        "print(run_seed(RunSpec(**json.loads(sys.argv[1])), 5).facts['trace_hash'])"
    )
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code, json.dumps(STORY)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == ours


def test_being_watched_changes_nothing() -> None:
    told: list[Progress] = []
    assert (
        run_seed(spec(**STORY), 5, progress=told.append).facts["trace_hash"]
        == run_seed(spec(**STORY), 5).facts["trace_hash"]
    )


def test_a_failed_assertion_names_seed_time_and_place(tmp_path: Path) -> None:
    result = run_seed(quick(tmp_path, fails=[3], wait=10), 3)
    line = QUICK.splitlines().index('    assert world.seed not in p.fails, f"seed {world.seed} was to fail"') + 1
    assert result.error == f"seed 3 at 10.000 s: AssertionError: seed 3 was to fail (quick.py:{line})"
    assert not result.ok
    assert "Traceback" in result.facts["traceback"]
    # What was recorded before is still there.
    assert result.tables["operations"].columns["kind"] == ["wait"]
    assert run_seed(quick(tmp_path, fails=[3]), 4).ok


def test_an_assertion_without_words_shows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "terse.py"
    path.write_text(QUICK.replace(', f"seed {world.seed} was to fail"', ""))
    result = run_seed(spec(scenario=str(path), parameters={"fails": [1]}), 1)
    assert "AssertionError: assert world.seed not in p.fails (terse.py:" in result.error


def test_an_exception_in_a_task_group_is_told_as_itself(tmp_path: Path) -> None:
    path = tmp_path / "grouped.py"
    path.write_text(
        QUICK
        + """
async def fail():
    raise ValueError("bad luck")

@scenario("grouped", "Fails in a group", Quick)
async def grouped(world, p):
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
"""
    )
    error = run_seed(spec(scenario=f"{path}:grouped"), 2).error
    assert error.startswith("seed 2 at 0.000 s: ValueError: bad luck (grouped.py:")


def test_a_strict_expectation_ends_the_run() -> None:
    steps = [
        {"do": "settle"},
        {"do": "put", "count": 2},
        {"do": "expect", "figure": "put.success", "at_least": 1.1, "strict": True},
        {"do": "mark", "text": "not reached"},
    ]
    result = run_seed(spec(scenario="story", parameters={"nodes": [{"count": 10}], "steps": steps}), 4)
    assert result.error.startswith("put.success ≥ 1.1: not met with 1, seed 4, at ")
    assert "not reached" not in result.tables["marks"].columns["text"]


def test_an_expectation_on_what_nobody_recorded_is_an_error(tmp_path: Path) -> None:
    result = run_seed(
        quick(tmp_path).model_copy(update={"expect": spec(**STORY, expect=[{"figure": "x.p50", "at_most": 1}]).expect}),
        1,
    )
    assert result.error.startswith("seed 1 at 10.000 s: BadScenario: no figure 'x.p50' was recorded; there are:")


def test_a_spec_that_cannot_be_played_is_refused() -> None:
    with pytest.raises(BadScenario, match=r"story: nodes: is missing"):
        check_spec(spec(scenario="story"))
    with pytest.raises(BadScenario, match=r"story: world\.loss = 3: should be less than or equal to 1"):
        run_seed(spec(**STORY, world={"loss": 3}), 1)
    with pytest.raises(BadScenario, match=r"story: steps\[1\]\.do = \"x\": is no step"):
        check_spec(spec(scenario="story", parameters={"nodes": [{"count": 1}], "steps": [{"do": "x"}]}))


def test_a_report_that_answers_true_stops_the_seed_which_gives_what_it_has(tmp_path: Path) -> None:
    told: list[Progress] = []

    def report(progress: Progress) -> bool:
        told.append(progress)
        return True

    began = time.monotonic()
    result = run_seed(quick(tmp_path, slow=30.0, wait=50), 1, progress=report)
    assert time.monotonic() - began < 10
    assert result.stopped.startswith("interrupted at ")
    assert not result.error
    assert not result.ok
    assert result.tables["operations"].columns["kind"] == ["wait"]
    assert len(told) == 1
    assert (told[0].seed, told[0].planned) == (1, 50.0)
    assert told[0].done >= 50
    assert told[0].memory > 10_000_000
    assert told[0].events > 0


def test_somebody_may_look_closer_and_end_it() -> None:
    trace = Trace(keep_all=True)

    def end(world: World) -> None:
        raise ReplayEnded(f"at {world.elapsed:g}")

    result = run_seed(
        spec(**STORY), 1, trace=trace, prepare=lambda world: world.queue.at(world.started + 0.5, end, world)
    )
    assert result.stopped == "at 0.5"
    assert trace.events is not None
    assert trace.count == len(trace.events) == result.facts["deliveries"]
    assert result.facts["trace_hash"] == trace.hexdigest()


class Computed(Parameters):
    """Computes."""

    fails: bool = False


def compute(run: ModelRun, p: Computed) -> None:
    for step in range(3):
        run.progress(step, 3)
        run.metrics.operation("lookup", started=0.0, took=run.seed + step, ok=True)
    assert not p.fails


def test_a_model_is_run_without_a_world() -> None:
    add_scenario(Scenario("test-computed", "A computation", Computed, None, compute))
    result = run_seed(spec(scenario="test-computed", engine="model"), 7)
    assert result.ok, result.error
    assert result.facts["engine"] == "model"
    assert result.tables["operations"].columns["took"] == [7, 8, 9]
    assert result.facts["trace_hash"] == run_seed(spec(scenario="test-computed", engine="model"), 7).facts["trace_hash"]
    assert result.facts["trace_hash"] != run_seed(spec(scenario="test-computed", engine="model"), 8).facts["trace_hash"]
    failed = run_seed(spec(scenario="test-computed", engine="model", parameters={"fails": True}), 7)
    assert failed.error.startswith("seed 7 at 0.000 s: AssertionError: assert not ")
    with pytest.raises(BadScenario, match="runs by model, not by 'protocol'"):
        check_spec(spec(scenario="test-computed"))


def test_the_hash_of_results_does_not_depend_on_who_made_the_numbers() -> None:
    import numpy

    hashes = []
    for kind in (float, numpy.float64):
        metrics = Metrics(1, lambda: 0.0)
        metrics.operation("lookup", started=kind(0.0), took=kind(0.1), ok=True)
        hashes.append(results_hash(metrics))
    assert hashes[0] == hashes[1]
