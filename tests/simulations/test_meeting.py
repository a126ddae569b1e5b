"""The scenario of nodes that meet: what it records is what happened."""

import pytest

from simulations.nat_kinds import can_punch
from simulations.running import run_seed
from simulations.settings import RunSpec

SMALL = {"nodes": 25, "full": 8, "calls": 12, "files": 1, "file_bytes": 20_000, "minutes": 1.0}


def played(seed=1, **world):
    return run_seed(RunSpec(scenario="meeting", world={"seal": "cheap", **world}, parameters=SMALL), seed)


@pytest.fixture(scope="module")
def result():
    return played()


def test_its_expectations_are_met(result):
    assert [str(one) for one in result.expectations if not one.met] == []
    assert len(result.expectations) == 4


def test_it_records_every_call_with_its_end(result):
    values = dict(zip(*(result.tables["values"].columns[name] for name in ("metric", "value")), strict=True))
    rows = result.tables["operations"].columns
    calls = [
        (kind, ok, reason)
        for kind, ok, reason in zip(rows["kind"], rows["ok"], rows["reason"], strict=True)
        if kind in ("meet", "unpunchable")
    ]
    assert len(calls) == 24
    assert all(ok is (kind == "meet") for kind, ok, _ in calls)
    assert {reason for _, ok, reason in calls if not ok} <= {"link-failed ice-failed"}
    assert 0.2 < values["total, median"] < 5
    assert sum(share for name, share in values.items() if name.startswith("path ")) == pytest.approx(1)
    assert values["links to the dead at once"] > values["links to the dead"] == 0


def test_success_by_pairs_of_routers_is_what_theory_says(result):
    values = zip(*(result.tables["values"].columns[name] for name in ("metric", "value")), strict=True)
    pairs = [(name.removeprefix("connected ").split(" with "), share) for name, share in values if " with " in name]
    assert len(pairs) > 2
    assert all(share == can_punch(*kinds) for kinds, share in pairs)
