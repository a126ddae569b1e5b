"""A seed played again: the same run or not, to the same event, with a log of it."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from simulations.replay import LAST, event_text, replay, same_results, twice
from simulations.running import run_seed
from simulations.settings import RunSpec
from tests.simulations.quick_script import QUICK, quick_script

STORY = RunSpec.model_validate(
    {
        "scenario": "story",
        "parameters": {
            "nodes": [{"count": 10, "group": "ten"}],
            "steps": [
                {"do": "settle"},
                {"do": "put", "count": 2},
                {"do": "expect", "figure": "put.success", "at_least": 1.1, "strict": True},
            ],
        },
    }
)


def test_a_failing_seed_is_played_again_to_the_same_event() -> None:
    recorded = run_seed(STORY, 3)
    lines: list[str] = []
    again = replay(STORY, 3, recorded.facts["trace_hash"], write=lines.append)
    assert again.same is True
    assert again.result.error == recorded.error
    assert again.result.facts["deliveries"] == recorded.facts["deliveries"]
    assert list(again.last) == lines[-LAST:]
    deliveries = [line for line in lines if " → " in line]
    assert len(deliveries) == recorded.facts["deliveries"]
    numbers = [int(line.split()[1].replace(",", "")) for line in deliveries]
    assert numbers == list(range(1, len(numbers) + 1))
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)
    assert " node 5 (ten) 11.0.5.1:4000" in " ".join(deliveries)
    events = [line for line in lines if " → " not in line]
    assert any("(ten)" in line and ": JoinDone op=" in line for line in events)
    assert any(": PutDone " in line or ": PutAcknowledged " in line for line in events)


def test_another_run_is_told_from_the_recorded_one() -> None:
    assert replay(STORY, 3, "0" * 64).same is False
    assert replay(STORY, 3, "").same is None


def test_a_part_of_it() -> None:
    recorded = run_seed(STORY, 3).facts
    lines: list[str] = []
    part = replay(STORY, 3, recorded["trace_hash"], events=(50, 60), write=lines.append)
    numbers = [int(line.split()[1]) for line in lines if " → " in line]
    assert numbers == list(range(50, 61))
    assert part.result.stopped.startswith("replayed up to event 60, at ")
    assert part.same is None
    early = replay(STORY, 3, recorded["trace_hash"], until=0.3)
    assert early.result.stopped == "replayed up to 0.300 s"
    assert early.result.facts["virtual_seconds"] == pytest.approx(0.3)
    assert early.result.facts["deliveries"] < recorded["deliveries"]


def test_twice_the_same() -> None:
    divergence, results = twice(STORY, 3)
    assert divergence is None
    assert same_results(results)


def test_the_first_event_that_differs_is_found(tmp_path: Path) -> None:
    # What a script keeps from one run to the next makes the next one another.
    path = tmp_path / "loose.py"
    path.write_text(
        QUICK.replace("bootstraps=1", "bootstraps=3").replace(
            "    await world.run(seconds=p.wait)",
            "    world.add(5)\n    await world.settle()\n    CALLS.append(1)\n"
            "    world.add(len(CALLS))\n    await world.settle()",
        )
        + "\nCALLS = []\n"
    )
    spec = RunSpec.model_validate({"scenario": str(path)})
    divergence, results = twice(spec, 1)
    assert divergence is not None
    assert not same_results(results)
    # Up to there, the joining of the first five, both are the same.
    assert 20 < divergence.index < min(result.facts["deliveries"] for result in results)


def test_other_figures_are_other_results(tmp_path: Path) -> None:
    spec = RunSpec.model_validate({"scenario": str(quick_script(tmp_path))})
    results = [run_seed(spec, 1), run_seed(spec, 1)]
    assert same_results(results)
    results[1].tables["values"].columns["value"][0] = 7
    assert not same_results(results)


class Colour(Enum):
    RED = "red"


@dataclass
class Happened:
    op: int
    data: bytes
    took: float
    colour: Colour
    many: tuple[int, ...]
    who: str


def test_events_are_short() -> None:
    text = event_text(Happened(3, b"0123456789", 0.12345678, Colour.RED, (1, 2, 3), "a"))
    assert text == "Happened op=3, data=3031323334353637… (10 B), took=0.123457, colour=RED, many=[3 of them], who='a'"
    assert len(event_text(Happened(3, b"", 1.0, Colour.RED, (), "x" * 500))) == 200
    assert event_text(7) == "7"
