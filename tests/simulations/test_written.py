"""Values, ranges and keys as people write them."""

from typing import Any

import pytest

from simulations.errors import BadScenario
from simulations.settings import RunSpec
from simulations.written import applied, assignments, changed, value, values


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("100", 100),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("false", False),
        ("cities", "cities"),
        ("lognormal:50ms,0.4", "lognormal:50ms,0.4"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("", ""),
    ],
)
def test_a_value(text: str, read: Any) -> None:
    assert value(text) == read
    assert type(value(text)) is type(read)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("100,1000,10000", [100, 1000, 10000]),
        ("0:0.3:0.1", [0.0, 0.1, 0.2, 0.3]),
        ("1:4", [1, 2, 3, 4]),
        ("10:1:-3", [10, 7, 4, 1]),
        ("5:5", [5]),
        ("cities,planetlab", ["cities", "planetlab"]),
        ("lognormal:50ms,,0.4,cities", ["lognormal:50ms,0.4", "cities"]),
        ("true,false", [True, False]),
    ],
)
def test_several_values(text: str, read: list[Any]) -> None:
    assert values(text) == read


@pytest.mark.parametrize("text", ["", "1,", ",1", "1:2:0", "1:5:-1", "0:1:0.00001", "1:e:2"])
def test_no_values(text: str) -> None:
    with pytest.raises(BadScenario, match=r"names no values|never gets|has 100,001 values|is no range"):
        values(text)


def test_assignments() -> None:
    assert assignments(["a=1", "b=x=y", "a=2"]) == {"a": 2, "b": "x=y"}
    for wrong in ("a", "=1"):
        with pytest.raises(BadScenario, match="is not KEY=VALUE"):
            assignments([wrong])


def test_settings_are_applied_to_world_and_parameters() -> None:
    spec = RunSpec.model_validate({"scenario": "x", "world": {"loss": 0.1}, "parameters": {"nodes": 5}})
    new = applied(spec, {"world.loss": 0.2, "nodes": 6})
    assert (new.world, new.parameters) == ({"loss": 0.2}, {"nodes": 6})
    assert spec.parameters == {"nodes": 5}


def test_a_key_may_reach_into_lists() -> None:
    parameters: dict[str, Any] = {"nodes": [{"count": 1}], "steps": [{"do": "run"}, {"do": "kill", "fraction": 0.1}]}
    new = changed(parameters, "step[2].fraction", 0.5)
    assert new["steps"] == [{"do": "run"}, {"do": "kill", "fraction": 0.5}]
    assert parameters["steps"][1]["fraction"] == 0.1
    assert changed(parameters, "nodes[1].count", 9)["nodes"] == [{"count": 9}]
    with pytest.raises(BadScenario, match="there is no element 3, only 2"):
        changed(parameters, "step[3].fraction", 0.5)
    with pytest.raises(BadScenario, match="lies in nothing that has names"):
        changed(parameters, "step[1].do.x", 0.5)
    with pytest.raises(BadScenario, match="is no key"):
        changed(parameters, "step[x]", 0.5)
