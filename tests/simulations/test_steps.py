"""Every step of a story, played in a small world."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from simulations.metrics import SeedResult
from simulations.running import run_seed
from simulations.settings import RunSpec
from simulations.steps import STEPS, AnyStep


def tell(*steps: dict[str, Any], nodes: list[dict[str, Any]] | None = None, **world: Any) -> SeedResult:
    parameters = {"nodes": nodes or [{"count": 15}], "steps": [{"do": "settle"}, *steps]}
    return run_seed(RunSpec.model_validate({"scenario": "story", "parameters": parameters, "world": world}), 1)


def marks(result: SeedResult) -> list[str]:
    assert not result.error, result.error
    return list(result.tables["marks"].columns["text"])


def alive(result: SeedResult) -> int:
    return sum(result.tables["nodes"].columns["alive"])


def test_every_step_is_in_the_table() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(AnyStep)
    schema = adapter.json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(STEPS)
    for name, step in STEPS.items():
        assert step.__doc__, name
        undescribed = [key for key, field in step.model_fields.items() if not field.description and key != "do"]
        assert not undescribed, (name, undescribed)


def test_time_passes_as_said() -> None:
    before = tell().facts["virtual_seconds"]
    result = tell({"do": "run", "hours": 0.01, "minutes": 1, "seconds": 4})
    assert result.facts["virtual_seconds"] == pytest.approx(before + 100)


def test_records_are_put_and_read_in_phases() -> None:
    result = tell(
        {"do": "put", "count": 4},
        {"do": "get", "count": 6, "phase": "calm"},
        {"do": "loss", "share": 1.0},
        {"do": "put", "count": 2, "phase": "storm"},
        {"do": "get", "count": 3, "paths": 1},
        {"do": "find", "count": 2, "per_second": 5.0},
        {"do": "expect", "figure": "get.success", "phase": "calm", "at_least": 1.0},
        {"do": "expect", "figure": "put.failures", "phase": "storm", "at_most": 1.0},
    )
    assert [one.met for one in result.expectations] == [True, False]
    assert result.facts["dropped"]["loss"] > 10
    kinds = result.tables["operations"].columns["kind"]
    assert [kinds.count(kind) for kind in ("put", "get", "find_node")] == [6, 9, 2]
    assert "loss 1" in marks(result)


def test_death_and_return() -> None:
    nodes: list[dict[str, Any]] = [{"count": 10}, {"count": 5, "group": "late", "spread": 2}]
    dead = tell({"do": "kill", "fraction": 1.0, "group": "late"}, nodes=nodes)
    assert alive(dead) == 13  # Ten, and the three first contacts that a world has.
    back = tell(
        {"do": "kill", "fraction": 1.0, "group": "late"},
        {"do": "run", "minutes": 1},
        {"do": "restart", "spread": 5},
        {"do": "run", "minutes": 1},
        nodes=nodes,
    )
    assert alive(back) == 18
    assert "5 killed" in marks(back)
    assert "5 restarted" in marks(back)


def test_standstill_and_waking() -> None:
    result = tell({"do": "freeze", "fraction": 0.5}, {"do": "run", "seconds": 10}, {"do": "wake"})
    assert [mark for mark in marks(result) if "frozen" in mark or "woken" in mark] == ["9 frozen", "9 woken"]


def test_a_cut_and_its_end() -> None:
    result = tell(
        {"do": "partition", "fractions": [0.5]},
        {"do": "put", "count": 2},
        {"do": "heal"},
        {"do": "put", "count": 1, "phase": "healed"},
        {"do": "expect", "figure": "put.success", "phase": "healed", "at_least": 1},
    )
    assert [mark.split()[0] for mark in marks(result) if "cut" in mark or "healed" in mark] == ["cut", "healed"]
    assert result.facts["dropped"]["partition"] > 0
    assert result.ok


def test_more_nodes_other_latency_and_a_word() -> None:
    result = tell(
        {"do": "add", "count": 4, "group": "new"},
        {"do": "latency", "model": "constant:10ms"},
        {"do": "mark", "text": "here"},
        {"do": "settle"},
    )
    assert alive(result) == 22
    assert marks(result)[-2:] == ["latency constant:10ms", "here"]


def test_churn() -> None:
    result = tell(
        {"do": "churn", "sessions": "exponential:1m", "downtime": "exponential:1m"}, {"do": "run", "minutes": 5}
    )
    assert any("churn" in mark for mark in marks(result))
    assert 3 <= alive(result) < 18


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"do": "get", "count": 1}], "nothing was put that could be read"),
        ([{"do": "restart"}], "nobody is dead"),
        ([{"do": "wake"}], "nobody is frozen"),
        ([{"do": "heal"}], "not cut"),
        ([{"do": "kill", "fraction": 1.0, "group": "x"}], "there is no group 'x'"),
    ],
)
def test_steps_that_cannot_be_played(steps: list[dict[str, Any]], said: str) -> None:
    result = tell(*steps)
    assert said in result.error
    assert result.error.startswith("seed 1 at ")
