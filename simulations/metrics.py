"""What a run records while it goes: operations, samples over time, single figures, marks, nodes, expectations.

Decides the tables, their columns and how a figure is named (`get.p95`, `get.success`). Refuses to know where figures
come from and how results are kept or drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from simulations.errors import BadScenario, SimulationError
from simulations.tables import as_text, expectations_table, operations_table, values_table

TABLES: Final[dict[str, dict[str, type]]] = {
    # One row for each operation that ended. Times are virtual seconds since the start of the run.
    "operations": {
        "phase": str,
        "kind": str,
        "started": float,
        "took": float,
        "ok": bool,
        "reason": str,
        "hops": int,
        "requests": int,
        "failures": int,
        "node": int,
    },
    # A quantity over virtual time; `label` tells several lines of one quantity apart.
    "series": {"time": float, "metric": str, "label": str, "value": float},
    # One figure of the whole run.
    "values": {"metric": str, "value": float, "unit": str},
    # What happened to the network, for time lines: a third killed, a partition healed.
    "marks": {"time": float, "text": str},
    # The nodes as they were at the end; x and y are longitude and latitude where the latency model knows places.
    "nodes": {
        "node": int,
        "profile": str,
        "nat": str,
        "x": float,
        "y": float,
        "alive": bool,
        "role": str,
        "contacts": int,
        "records": int,
        "sent": int,
        "received": int,
        "bytes_sent": int,
        "bytes_received": int,
    },
}
"""Every table, its columns and their types."""

OPERATION_FIGURES: Final = (
    "success",
    "count",
    "mean",
    "p50",
    "p90",
    "p95",
    "p99",
    "max",
    "hops",
    "requests",
    "failures",
)
"""What can be asked of a kind of operation; `hops`, `requests` and `failures` are means, times are in seconds."""


class Unmet(SimulationError):
    """Raised when an expectation that ends the run was not met; names the seed and the time."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something a scenario demanded of a figure."""

    text: str
    """For example `get.success ≥ 0.99`."""
    met: bool
    value: float
    seed: int
    time: float
    """Virtual seconds since the start."""

    def __str__(self) -> str:
        verdict = "met" if self.met else "not met"
        return f"{self.text}: {verdict} with {self.value:.6g}, seed {self.seed}, at {self.time:.3f} s"


class Table:
    """Rows of one of `TABLES`, kept by column."""

    __slots__ = ("columns",)

    def __init__(self, name: str) -> None:
        self.columns: dict[str, list[Any]] = {column: [] for column in TABLES[name]}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def add(self, *row: object) -> None:
        """Append a row, in the order of the columns."""
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)

    def clear(self) -> None:
        """Forget every row."""
        for column in self.columns.values():
            column.clear()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row."""
        return zip(*self.columns.values(), strict=True)


@dataclass(slots=True)
class SeedResult:
    """All of one seed's run; can be pickled, so that other processes can send it home."""

    seed: int
    tables: dict[str, Table]
    expectations: list[Expectation] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """engine, seal, trace_hash, events, datagrams, virtual_seconds, wall_seconds, peak_memory (bytes)."""
    stopped: str = ""
    """Why the run ended early: empty when it did not."""
    error: str = ""
    """What went wrong, with seed and virtual time: empty when nothing did."""

    @property
    def ok(self) -> bool:
        """Whether it ran to its end and met what was expected of it."""
        return not (self.stopped or self.error) and all(expectation.met for expectation in self.expectations)


class Metrics:
    """What one run has recorded so far."""

    def __init__(self, seed: int, elapsed: Callable[[], float]) -> None:
        """`elapsed()` gives virtual seconds since the start."""
        self.seed = seed
        self.phase = ""
        """Written into each operation; see `during`."""
        self.tables = {name: Table(name) for name in TABLES}
        self.expectations: list[Expectation] = []
        self._elapsed = elapsed

    # Recording

    def operation(
        self,
        kind: str,
        *,
        started: float,
        took: float,
        ok: bool,
        reason: str = "",
        hops: int = 0,
        requests: int = 0,
        failures: int = 0,
        node: int = -1,
    ) -> None:
        """Record an operation that ended; `started` is in virtual seconds since the start, `took` in seconds."""
        self.tables["operations"].add(self.phase, kind, started, took, ok, reason, hops, requests, failures, node)

    def sample(self, metric: str, value: float, *, label: str = "") -> None:
        """Record what a quantity is now."""
        self.tables["series"].add(self._elapsed(), metric, label, float(value))

    def value(self, metric: str, value: float, unit: str = "") -> None:
        """Record a figure of the whole run; a later one of the same name takes its place."""
        columns = self.tables["values"].columns
        if metric in columns["metric"]:
            at = columns["metric"].index(metric)
            columns["value"][at], columns["unit"][at] = float(value), unit
        else:
            self.tables["values"].add(metric, float(value), unit)

    def mark(self, text: str) -> None:
        """Record that something happened to the network now."""
        self.tables["marks"].add(self._elapsed(), text)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Give the operations that end in the block a phase, so that before and after can be told apart."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    # Asking

    def figure(self, name: str, *, phase: str | None = None) -> float:
        """Give one figure: `KIND.FIGURE` of operations, a value's name, or the last sample of a series.

        NaN where there are no such operations. Raises `BadScenario` for a name that nothing recorded.
        """
        kind, _, what = name.rpartition(".")
        if what in OPERATION_FIGURES and kind in self.tables["operations"].columns["kind"]:
            return self._of_operations(kind, what, phase)
        values = self.tables["values"].columns
        if name in values["metric"]:
            return float(values["value"][values["metric"].index(name)])
        series = self.tables["series"].columns
        for metric, value in zip(reversed(series["metric"]), reversed(series["value"]), strict=True):
            if metric == name:
                return float(value)
        known = sorted(
            {*values["metric"], *series["metric"]}
            | {
                f"{one}.{figure}"
                for one in set(self.tables["operations"].columns["kind"])
                for figure in OPERATION_FIGURES
            }
        )
        raise BadScenario(f"no figure {name!r} was recorded; there are: {', '.join(known) or 'none'}")

    def expect(
        self,
        name: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        phase: str | None = None,
        strict: bool = False,
    ) -> bool:
        """Demand something of a figure; say whether it holds.

        The run goes on if it does not, unless `strict` (then `Unmet` is raised), and counts as failed in the end.
        """
        if at_least is None and at_most is None:
            raise BadScenario(f"nothing is expected of {name!r}: give at_least, at_most or both")
        value = self.figure(name, phase=phase)
        low, high = -math.inf if at_least is None else at_least, math.inf if at_most is None else at_most
        bounds = [f"≥ {at_least:g}"] if at_least is not None else []
        bounds += [f"≤ {at_most:g}"] if at_most is not None else []
        text = f"{name}{f' ({phase})' if phase else ''} {' and '.join(bounds)}"
        # A figure of nothing is NaN, which lies between no bounds: no operation at all meets no expectation.
        expectation = Expectation(text, low <= value <= high, value, self.seed, self._elapsed())
        self.expectations.append(expectation)
        if strict and not expectation.met:
            raise Unmet(str(expectation))
        return expectation.met

    def summary(self) -> list[dict[str, Any]]:
        """One row for each phase and kind of operation, in the order in which they first came."""
        columns = self.tables["operations"].columns
        seen = dict.fromkeys(zip(columns["phase"], columns["kind"], strict=True))
        return [
            {
                "phase": phase,
                "kind": kind,
                **{what: self._of_operations(kind, what, phase) for what in OPERATION_FIGURES},
            }
            for phase, kind in seen
        ]

    def table(self) -> str:
        """The summary, values and expectations as text that a person reads."""
        tables = []
        if rows := self.summary():
            tables.append(operations_table(rows))
        if len(self.tables["values"]):
            tables.append(values_table(self.tables["values"].rows()))
        if self.expectations:
            tables.append(expectations_table((one.text, one.met, one.value) for one in self.expectations))
        return as_text(*tables)

    def _of_operations(self, kind: str, what: str, phase: str | None) -> float:
        columns = self.tables["operations"].columns
        rows = [
            at
            for at, (one, its_phase) in enumerate(zip(columns["kind"], columns["phase"], strict=True))
            if one == kind and phase in (None, its_phase)
        ]
        if what == "count":
            return float(len(rows))
        if not rows:
            return math.nan
        if what == "success":
            return float(sum(columns["ok"][at] for at in rows) / len(rows))
        column = columns[what if what in ("hops", "requests", "failures") else "took"]
        if what in ("hops", "requests", "failures", "mean"):
            return float(math.fsum(column[at] for at in rows) / len(rows))
        # What failed took however long its giving up took, which is a time too: percentiles are over all.
        ordered = sorted(column[at] for at in rows)
        share = 1.0 if what == "max" else int(what[1:]) / 100
        # The nearest-rank percentile: a time that really occurred (NIST/SEMATECH e-Handbook, 7.2.6.2, is its cousin).
        return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])
