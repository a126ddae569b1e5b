import json
import math
from pathlib import Path

from simulations.comparison import compare
from tests.simulations.made_results import SPEC, made_run

OTHER = SPEC.model_copy(update={"world": {"latency": "planetlab", "seal": "cheap"}, "parameters": {"nodes": 300}})


def test_what_differs_is_found_over_seeds(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", range(1, 6))
    b = made_run(tmp_path / "b", range(11, 16), slower=1.5, spec=OTHER)
    comparison = compare(a, b)
    assert comparison.differs
    rows = {row.name: row for row in comparison.rows}
    slower = rows["get.p50 (before)"]
    assert slower.verdict == "differs"
    assert slower.test == "Welch's t over seeds"
    assert 0.3 < slower.change < 0.7
    assert rows["get.hops (before)"].verdict == "same within noise"
    assert rows["stale contacts"].verdict == "same within noise"
    assert ("world.latency", "cities", "planetlab") in comparison.settings
    assert ("parameters.share", 0.33, None) in comparison.settings


def test_runs_that_are_alike_do_not_differ(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", range(1, 6))
    b = made_run(tmp_path / "b", range(21, 26))
    comparison = compare(a, b)
    assert not comparison.differs, [row for row in comparison.rows if row.verdict == "differs"]
    assert "no difference beyond noise" in comparison.verdict
    assert not comparison.identical


def test_the_same_run_is_called_identical(tmp_path: Path) -> None:
    a, b = made_run(tmp_path / "a"), made_run(tmp_path / "b")
    comparison = compare(a, b)
    assert comparison.identical
    assert not comparison.differs
    assert "identical" in comparison.verdict


def test_few_seeds_compare_operations_and_say_so(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", [1], operations=3000)
    b = made_run(tmp_path / "b", [2], operations=3000, slower=1.3, failing=0.1)
    comparison = compare(a, b)
    rows = {row.name: row for row in comparison.rows}
    assert rows["get.success (before)"].test == "Fisher's exact over operations"
    assert rows["get.success (before)"].verdict == "differs"
    assert rows["get.p95 (after)"].test == "Mood's percentile test over operations"
    assert rows["get.mean (before)"].verdict == "differs"
    assert rows["get.hops (before)"].verdict == "same within noise"
    assert rows["stale contacts"].verdict == "cannot tell"
    assert any("3 seeds each would tell" in note for note in comparison.notes)


def test_shares_of_one_in_every_seed_are_compared_by_operations(tmp_path: Path) -> None:
    a, b = (made_run(tmp_path / name, failing=-1.0) for name in "ab")
    row = next(row for row in compare(a, b).rows if row.figure == "get.success")
    assert row.test == "Fisher's exact over operations"
    assert row.chance == 1.0


def test_different_scenarios_and_engines_are_compared_and_named(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", operations=60)
    b = made_run(tmp_path / "b", operations=60, spec=SPEC.model_copy(update={"scenario": "churn"}))
    b.tables["values"] = b.tables["values"].slice(0, 0)
    comparison = compare(a, b)
    assert "different scenarios: mass-death and churn" in comparison.notes
    row = next(row for row in comparison.rows if row.figure == "stale contacts")
    assert row.verdict == "only in a"
    assert math.isnan(row.difference)


def test_text_and_json(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", range(1, 6))
    b = made_run(tmp_path / "b", range(11, 16), slower=1.5, spec=OTHER)
    comparison = compare(a, b)
    text = comparison.text()
    first_figure = next(line for line in text.splitlines() if "DIFFERS" in line)
    assert "+" in first_figure
    for expected in ("planetlab", "(default)", "get.p95 (after)", "same within noise", "Note: a: cheap seal"):
        assert expected in text
    told = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert told["differs"] is True
    assert {row["verdict"] for row in told["rows"]} >= {"differs", "same within noise"}
    assert told["a"]["seeds"] == [1, 2, 3, 4, 5]
