"""Every scenario, played twice with one seed, is the same to the last datagram."""

import pytest

from simulations.scenario import scenarios
from simulations.trace import Trace, first_divergence
from tests.simulations.scenarios.small import SMALL, play, played

BUILT_IN = [name for name, one in scenarios().items() if one.parameters.__module__.startswith("simulations.scenarios.")]

QUICK = {"churn", "flood", "meeting", "nat-mix", "partition", "presence", "story", "sybil", "watch"}
"""Between them they use every part of a world, whole nodes among it; the others are played twice by the slow tests."""

PROTOCOL = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in BUILT_IN
    if "protocol" in scenarios()[name].engines
]


def test_every_scenario_has_small_parameters() -> None:
    missing = [name for name in BUILT_IN if name not in SMALL]
    assert not missing, f"give {', '.join(missing)} small parameters in SMALL of tests/simulations/scenarios/small.py"
    gone = [name for name in SMALL if name not in BUILT_IN]
    assert not gone, f"there is no scenario {', '.join(gone)} any more: take it out of SMALL"


@pytest.mark.parametrize("name", PROTOCOL)
def test_a_seed_is_played_the_same_twice(name: str) -> None:
    assert name in SMALL, f"give {name} small parameters in SMALL of tests/simulations/scenarios/small.py"
    left, before = played(name)
    trace = Trace(keep_all=True)
    right = play(name, trace=trace)
    divergence = first_divergence(before, trace)
    assert divergence is None, f"{name}, seed 1: {divergence}"
    assert left.facts["trace_hash"] == right.facts["trace_hash"]
    assert trace.count > 0
    # What is recorded may depend on more than what is sent. As text, since NaN is not equal to itself.
    for table, one in left.tables.items():
        assert repr(one.columns) == repr(right.tables[table].columns), f"{name}, seed 1: table {table} differs"


@pytest.mark.parametrize("name", [name for name in BUILT_IN if "model" in scenarios()[name].engines])
def test_the_model_gives_a_seed_the_same_figures_twice(name: str) -> None:
    left, right = (play(name, seed=3, engine="model") for _ in range(2))
    assert left.facts["trace_hash"] == right.facts["trace_hash"]
    assert play(name, seed=4, engine="model").facts["trace_hash"] != left.facts["trace_hash"]
