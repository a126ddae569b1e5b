import json
import math
from pathlib import Path

import pytest

from simulations.errors import BadScenario
from simulations.results import RunFolder
from simulations.results_summary import with_interval
from simulations.scenario import scenarios
from simulations.statistics import Interval
from simulations.tables import number, seconds, share
from tests.simulations.made_results import SPEC, made_run


def test_summary_has_every_phase_and_kind_with_intervals_over_seeds(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    summary = run.summary()
    assert {(row.phase, row.kind) for row in summary.operations} == {
        (phase, kind) for phase in ("before", "after") for kind in ("get", "put", "find_node")
    }
    get = next(row for row in summary.operations if (row.phase, row.kind) == ("after", "get"))
    for what in ("p50", "p95", "hops", "requests"):
        interval = get.figures[what]
        assert interval.over == "seeds"
        assert interval.n == 3
        assert interval.low < interval.value < interval.high
    assert get.figures["success"].high <= 1
    assert {row.metric: row.unit for row in summary.values} == {
        "stale contacts": "share",
        "republish traffic": "bytes/day",
    }


def test_one_seed_has_intervals_over_operations_and_says_so(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [1])
    p50, success = run.figure("get.p50"), run.figure("get.success")
    assert p50.over == success.over == "operations"
    assert p50.low < p50.value < p50.high
    assert not run.figure("stale contacts").known
    assert any("one seed only" in note for note in run.notes)


def test_shares_alike_in_all_seeds_are_not_called_certain(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", failing=-1.0)
    interval = run.figure("get.success")
    assert (interval.value, interval.high, interval.over) == (1.0, 1.0, "operations")
    assert 0.99 < interval.low < 1


def test_unknown_figures_are_refused(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", [1], operations=20)
    with pytest.raises(BadScenario, match=r"no figure 'steal\.p50'.*stale contacts"):
        run.figure("steal.p50")


def test_text_and_json(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    text = run.summary().text()
    for expected in ("before", "find_node", "±", "stale contacts", "bytes/day", "get.success ≥ 0.95", "cheap seal"):
        assert expected in text
    told = json.loads(json.dumps(run.summary().to_json(), allow_nan=False))
    assert told["seeds"] == [1, 2, 3]
    assert told["seal"] == "cheap"
    assert told["command"].startswith("rookery simulate run")
    row = told["operations"][0]
    assert row["p95"]["low"] < row["p95"]["value"] < row["p95"]["high"]
    assert row["p95"]["over"] == "seeds"


def test_a_run_without_a_title_has_that_of_its_scenario(tmp_path: Path) -> None:
    title = scenarios()["mass-death"].title
    for scenario, expected in (("mass-death", title), ("/home/me/my_own.py:Mine", "my_own.py:Mine")):
        spec = SPEC.model_copy(update={"title": "", "scenario": scenario})
        assert RunFolder.create(tmp_path / expected, spec, [1]).load().title == expected


def test_how_intervals_look() -> None:
    assert with_interval(Interval(0.031, 0.029, 0.033, 3, "seeds"), seconds) == "31.0 ± 2.0 ms"
    assert with_interval(Interval(0.998, 0.991, 0.999, 500, "operations"), share) == "99.80 (99.10 … 99.90) %"
    assert with_interval(Interval(1.4522, 1.33, 1.5744, 3, "seeds"), seconds) == "1.45 ± 0.12 s"
    assert with_interval(Interval(1_145_678.0, 1_100_000.0, 1_191_356.0, 3, "seeds"), number) == "1,146,000 ± 46,000"
    assert with_interval(Interval(2.0), seconds) == "2 s"
    assert with_interval(Interval(math.nan), seconds) == "–"
