"""The scenario of nodes that meet: what it records is what happened."""

import pytest

from simulations.nat_kinds import can_meet, can_punch
from simulations.running import run_seed
from simulations.settings import RunSpec

SMALL = {"nodes": 25, "full": 8, "calls": 12, "files": 1, "file_bytes": 20_000, "minutes": 1.0}


def played(seed=3, **world):
    return run_seed(RunSpec(scenario="meeting", world={"seal": "cheap", **world}, parameters=SMALL), seed)


@pytest.fixture(scope="module")
def result():
    return played()


def test_its_expectations_are_met(result):
    assert [str(one) for one in result.expectations if not one.met] == []
    assert len(result.expectations) == 6


def test_it_records_every_call_with_its_end(result):
    values = dict(zip(*(result.tables["values"].columns[name] for name in ("metric", "value")), strict=True))
    rows = result.tables["operations"].columns
    calls = [
        (kind, ok, reason)
        for kind, ok, reason in zip(rows["kind"], rows["ok"], rows["reason"], strict=True)
        if kind in ("meet", "unpunchable")
    ]
    assert len(calls) == 24
    assert {kind for kind, _, _ in calls} == {"meet", "unpunchable"}
    # A spread of sockets or a relay brings those together who cannot be punched through to.
    assert all(ok and not reason for _, ok, reason in calls)
    assert 0.2 < values["total, median"] < 5
    assert sum(share for name, share in values.items() if name.startswith("path ")) == pytest.approx(1)
    assert values["links to the dead at once"] > values["links to the dead"] == 0


def test_pairs_of_routers_meet_directly_where_theory_says_so(result):
    values = dict(zip(*(result.tables["values"].columns[name] for name in ("metric", "value")), strict=True))
    pairs = [name.removeprefix("connected ") for name in values if name.startswith("connected ") and " with " in name]
    assert len(pairs) > 2
    assert all(values[f"connected {pair}"] == 1 for pair in pairs)
    kinds = {pair: pair.split(" with ") for pair in pairs}
    at_once = {pair for pair in pairs if values[f"direct at once {pair}"] == 1}
    assert {pair for pair in pairs if can_punch(*kinds[pair])} <= at_once
    assert {pair for pair in pairs if can_meet(*kinds[pair])} >= at_once
    assert any(values[f"direct at once {pair}"] == 0 for pair in pairs)
