"""What a run records, and how figures are asked for."""

import math
import pickle

import pytest

from simulations.errors import BadScenario
from simulations.metrics import TABLES, Metrics, SeedResult, Unmet


@pytest.fixture
def metrics():
    clock = iter(range(1000))
    return Metrics(7, lambda: float(next(clock)))


def record(metrics, times, *, kind="get", ok=True, **more):
    for took in times:
        metrics.operation(kind, started=0.0, took=took, ok=ok, **more)


def test_percentiles_are_times_that_occurred(metrics):
    record(metrics, [0.4, 0.1, 0.3, 0.2])
    assert [metrics.figure(f"get.{what}") for what in ("p50", "p90", "max", "mean", "count")] == [
        0.2,
        0.4,
        0.4,
        0.25,
        4.0,
    ]


def test_success_and_means_are_over_all_operations_of_a_kind(metrics):
    record(metrics, [1.0] * 3, hops=2, requests=10, failures=1)
    record(metrics, [5.0], ok=False, reason="not-found", requests=30)
    record(metrics, [9.0], kind="put")
    assert metrics.figure("get.success") == 0.75
    assert metrics.figure("get.hops") == 1.5
    assert metrics.figure("get.requests") == 15.0
    assert metrics.figure("get.failures") == 0.75
    assert metrics.figure("put.count") == 1.0


def test_phases_tell_before_from_after(metrics):
    with metrics.during("before"):
        record(metrics, [1.0])
        with metrics.during("worse"):
            record(metrics, [3.0])
        record(metrics, [1.0])
    record(metrics, [9.0])
    assert metrics.figure("get.p50", phase="before") == 1.0
    assert metrics.figure("get.p50", phase="worse") == 3.0
    assert metrics.figure("get.max") == 9.0
    assert math.isnan(metrics.figure("get.p50", phase="never"))
    assert [(row["phase"], row["count"]) for row in metrics.summary()] == [("before", 2), ("worse", 1), ("", 1)]


def test_values_are_replaced_and_series_give_their_last(metrics):
    metrics.value("found", 1.0)
    metrics.value("found", 2.0, "records")
    metrics.sample("alive", 10)
    metrics.sample("alive", 7)
    assert metrics.figure("found") == 2.0
    assert metrics.figure("alive") == 7.0
    assert list(metrics.tables["values"].rows()) == [("found", 2.0, "records")]
    assert list(metrics.tables["series"].rows()) == [(0.0, "alive", "", 10.0), (1.0, "alive", "", 7.0)]


def test_a_figure_nobody_recorded_is_refused_with_those_there_are(metrics):
    metrics.value("found", 1.0)
    record(metrics, [1.0], kind="put")
    with pytest.raises(BadScenario, match=r"no figure 'get\.p50' was recorded; there are: found, put\.count"):
        metrics.figure("get.p50")


def test_expectations_name_seed_and_time(metrics):
    record(metrics, [1.0])
    assert metrics.expect("get.p50", at_most=1.0)
    assert not metrics.expect("get.p50", at_least=2.0)
    assert str(metrics.expectations[1]) == "get.p50 ≥ 2: not met with 1, seed 7, at 1.000 s"
    with pytest.raises(Unmet, match="seed 7, at 2"):
        metrics.expect("get.success", at_most=0.5, strict=True)
    with pytest.raises(BadScenario, match="nothing is expected"):
        metrics.expect("get.p50")


def test_nothing_at_all_meets_no_expectation(metrics):
    record(metrics, [1.0])
    assert not metrics.expect("get.p50", at_least=0.0, phase="never")


def test_a_result_survives_the_way_between_processes(metrics):
    record(metrics, [1.0], reason="")
    metrics.mark("a third killed")
    result = SeedResult(7, metrics.tables, metrics.expectations, {"trace_hash": "00"})
    back = pickle.loads(pickle.dumps(result))
    assert list(back.tables["marks"].rows()) == [(0.0, "a third killed")]
    assert list(back.tables["operations"].rows()) == list(metrics.tables["operations"].rows())
    assert back.ok
    metrics.expect("get.p50", at_least=2.0)
    assert not SeedResult(7, metrics.tables, metrics.expectations).ok
    assert not SeedResult(7, {}, stopped="interrupted").ok


def test_rows_have_every_column_of_their_table(metrics):
    with pytest.raises(ValueError, match="argument"):
        metrics.tables["marks"].add(1.0)
    assert [*metrics.tables] == [*TABLES]


def test_the_table_is_text_that_names_what_failed(metrics):
    record(metrics, [0.031, 1.2])
    metrics.value("nodes", 12345)
    metrics.expect("get.p50", at_least=2.0)
    text = metrics.table()
    assert "31 ms" in text
    assert "100 %" in text
    assert "12,345" in text
    assert "NOT MET" in text
    assert "\x1b" not in text
