"""Every built-in scenario at a size that a test can afford: one table, which whoever adds a scenario adds a line to.

Small enough for a second or two of one core, large enough that everything the scenario records is recorded.
"""

from functools import cache
from typing import Any

from simulations.metrics import SeedResult
from simulations.running import run_seed
from simulations.settings import Engine, RunSpec
from simulations.trace import Trace

SMALL: dict[str, dict[str, Any]] = {
    "bootstrap-outage": {"nodes": 30, "newcomers": 5, "patience": 15},
    "churn": {"nodes": 40, "records": 10, "minutes": 10, "reads_a_minute": 3},
    "cold-start": {"nodes": 30, "records": 8, "reads": 16, "off_minutes": 1, "within": 30},
    "crawl": {"nodes": 40},
    "crowds": {"draws": 100, "nodes": 30, "lookups": 1},
    "devices": {"servers": 20, "each": 1, "minutes": 5, "reads": 10},
    "diurnal": {"nodes": 20, "hours": 2, "records": 5, "reads_an_hour": 5},
    "families-reached": {"nodes": 30, "v6": 0.2, "clients": 3, "rounds": 1},
    "families": {"nodes": 50, "records": 4, "reads": 8, "quiet": 5},
    "flash-crowd": {"nodes": 40, "reads": 60, "seconds": 5, "calm": 10},
    "flood": {"nodes": 30, "targets": 2, "per_second": 100, "reads": 10},
    "homes": {"nodes": 50, "peers": 6, "rounds": 1, "calm": 1},
    "hostile": {"nodes": 30, "records": 3, "reads": 5, "lookups": 1},
    "ladder": {"nodes": 25, "rounds": 1},
    "lookup-scaling": {"nodes": 50, "lookups": 20, "records": 8, "reads": 20},
    "kademlia-package": {"nodes": 15, "records": 4, "operations": 6},
    "mass-death": {"nodes": 40, "records": 10, "reads": 20, "minutes": 19},
    "meeting": {"nodes": 20, "full": 6, "calls": 4, "files": 1, "file_bytes": 20_000, "minutes": 1},
    "nat-mix": {"nodes": 40, "dialable": 0.5, "records": 5, "operations": 10, "pairs": 12},
    "ordinary": {"nodes": 40, "records": 6, "minutes": 4, "a_minute": 8},
    "partition": {"nodes": 36, "records": 6, "reads": 12, "minutes": 18, "rounds": 6},
    "presence": {"nodes": 30, "within": 0.2, "quiet": 1, "joins": 2, "deaths": 2, "partition": 1},
    "poisoning": {"nodes": 40, "share": 0.4, "prefixes": 1, "minutes": 2, "reads": 5, "records": 1},
    "profiles": {"servers": 20, "each": 1, "friends": 1, "minutes": 3, "rounds": 1},
    "publish-many": {"nodes": 40, "records": 20, "publishers": 2, "reads": 10},
    "record-survival": {"nodes": 25, "records": 6, "reads": 10, "hours": 2, "repair_hours": 0.5},
    "republish": {"nodes": 30, "records": 1, "hours": 0.5},
    "spoof": {"nodes": 20, "per_second": 20, "seconds": 1},
    "story": {
        "nodes": [{"count": 20}],
        "steps": [
            {"do": "settle"},
            {"do": "put", "count": 5},
            {"do": "kill", "fraction": 0.2},
            {"do": "get", "count": 5},
        ],
    },
    "sybil": {"nodes": 40, "records": 5, "reads": 10, "lookups": 0},
    "two-engines": {"nodes": 30, "operations": 15, "minutes": 1},
    "topic": {"nodes": 20, "members": 6, "broadcasts": 2, "spread": 5, "quiet": 2},
    "topic-flood": {
        "nodes": 22,
        "members": 12,
        "made_up": 150,
        "networks": 8,
        "per_second": 10,
        "ahead": 15,
        "minutes": 1,
        "readers": 4,
    },
    "watch": {"nodes": 30, "watchers": 4, "records": 2, "calm": 2, "minutes": 3, "puts_a_minute": 2},
    "weather": {"nodes": 30, "records": 8, "reads": 20},
}
"""Parameters by the scenario's name; what they do not name has its default."""


def play(
    name: str, seed: int = 1, *, trace: Trace | None = None, engine: Engine = "protocol", **more: Any
) -> SeedResult:
    """Play a scenario at its small size. Fails the test if it did not come to its end."""
    spec = RunSpec.model_validate({"scenario": name, "engine": engine, "parameters": {**SMALL[name], **more}})
    result = run_seed(spec, seed, trace=trace)
    assert not result.error, f"{result.error}\n{result.facts.get('traceback', '')}"
    assert not result.stopped
    return result


@cache
def played(name: str) -> tuple[SeedResult, Trace]:
    """A scenario played once, with all its deliveries: for every test that only looks."""
    trace = Trace(keep_all=True)
    return play(name, trace=trace), trace


def value(result: SeedResult, name: str) -> float:
    """A figure of the whole run. Fails the test if there is none of that name."""
    columns = result.tables["values"].columns
    assert name in columns["metric"], f"{name!r} is none of {', '.join(columns['metric'])}"
    return float(columns["value"][columns["metric"].index(name)])


def samples(result: SeedResult, metric: str) -> list[float]:
    """A quantity over time."""
    return [float(it) for _, name, _, it in result.tables["series"].rows() if name == metric]


def phases(result: SeedResult, kind: str) -> list[str]:
    """The phases in which there were operations of a kind, in order."""
    return list(dict.fromkeys(phase for phase, one, *_ in result.tables["operations"].rows() if one == kind))


def unmet(result: SeedResult) -> list[str]:
    """The expectations that did not hold."""
    return [str(one) for one in result.expectations if not one.met]
