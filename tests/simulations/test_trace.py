import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulations.errors import BadScenario
from simulations.trace import Trace, first_divergence

A, B = ("11.0.0.1", 1), ("11.0.0.2", 2)
ROOT = Path(__file__).resolve().parents[2]
RUN = "import runpy; print(runpy.run_path('tests/simulations/conftest.py')['traced_run'](7).hexdigest())"


def test_same_seed_same_hash_whatever_python_hashes_text_to(make_trace):
    runs = [
        subprocess.run(
            [sys.executable, "-c", RUN],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] == make_trace(7).hexdigest()
    assert len(runs[0]) == 64


def test_another_seed_is_another_run_and_the_first_difference_is_found(make_trace):
    left, same, right = (make_trace(seed, keep_all=True) for seed in (7, 7, 8))
    assert left.hexdigest() == same.hexdigest() != right.hexdigest()
    assert left.count > 200
    assert first_divergence(left, same) is None
    found = first_divergence(left, right)
    assert found is not None
    assert list(left.events)[: found.index] == list(right.events)[: found.index]
    assert found.left != found.right


def test_every_part_of_a_delivery_counts():
    base = (1.0, A, B, b"data")
    variants = [
        (1.000001, A, B, b"data"),
        (1.0, B, B, b"data"),
        (1.0, A, A, b"data"),
        (1.0, A, B, b"datA"),
        (1.0, A, B, b"data "),
    ]
    hashes = set()
    for delivery in (base, *variants):
        trace = Trace()
        trace.delivered(*delivery)
        hashes.add(trace.hexdigest())
    assert len(hashes) == 6


def test_a_run_that_ends_earlier_diverges_where_it_ends():
    long, short = Trace(keep_all=True), Trace(keep_all=True)
    for time in (1.0, 2.0):
        long.delivered(time, A, B, b"x")
    short.delivered(1.0, A, B, b"x")
    found = first_divergence(long, short)
    assert found is not None and found.left is not None
    assert (found.index, found.left.time, found.right) == (1, 2.0, None)
    assert "delivery 1 differs" in str(found)


def test_the_ring_keeps_the_last_deliveries_for_printing():
    trace = Trace(keep=2)
    for time in (1.0, 2.0, 3.0):
        trace.delivered(time, A, B, b"xyz")
    assert trace.events is not None
    assert [event.time for event in trace.events] == [2.0, 3.0]
    lines = trace.last().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("2.000000 11.0.0.1:1 > 11.0.0.2:2 3 B ")
    with pytest.raises(BadScenario, match="keep_all"):
        first_divergence(trace, trace)
