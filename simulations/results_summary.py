"""The figures of a run with their intervals, as tables for people and as JSON.

Decides their order and how an interval looks. Refuses to know how figures are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from simulations.metrics import Expectation
from simulations.results_tables import plain
from simulations.statistics import Interval
from simulations.tables import as_text, number, seconds, share

SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("success", "success", share),
    ("p50", "p50", seconds),
    ("p95", "p95", seconds),
    ("p99", "p99", seconds),
    ("hops", "hops", number),
    ("requests", "requests", number),
    ("failures", "time-outs", number),
)
"""Figures of operations that tables show: name, heading, and how its values look."""


FACTORS: dict[str, float] = {"ms": 1000, "s": 1, "min": 1 / 60, "%": 100}
"""By what a figure is multiplied to be said in a unit of `simulations.tables`."""


@dataclass(frozen=True, slots=True)
class OperationRow:
    """Figures of the operations of one kind in one phase."""

    phase: str
    kind: str
    figures: dict[str, Interval]
    """By the names of `OPERATION_FIGURES`."""


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One figure of the whole run."""

    metric: str
    unit: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a run."""

    run: dict[str, Any]
    """What was run: scenario, title, engine, seal, command, code, seeds, missing, ok, notes, spec, facts."""
    operations: list[OperationRow]
    values: list[ValueRow]
    expectations: list[Expectation]

    def to_json(self) -> dict[str, Any]:
        """As JSON says it: plain lists, numbers and text, NaN as null."""
        content = {
            **self.run,
            "operations": [
                {
                    "phase": row.phase,
                    "kind": row.kind,
                    **{what: interval.to_json() for what, interval in row.figures.items()},
                }
                for row in self.operations
            ],
            "values": [{"metric": row.metric, "unit": row.unit, **row.interval.to_json()} for row in self.values],
            "expectations": [
                {"text": one.text, "met": one.met, "value": one.value, "seed": one.seed, "time": one.time}
                for one in self.expectations
            ],
        }
        ready: dict[str, Any] = plain(content)
        return ready

    def tables(self) -> list[Table]:
        """For a terminal; those that would be empty are left out."""
        tables = []
        if self.operations:
            phased = any(row.phase for row in self.operations)
            table = Table(*(["phase"] if phased else []), "operation", box=None)
            for heading in ("count", *(heading for _, heading, _ in SHOWN)):
                table.add_column(heading, justify="right")
            for row in self.operations:
                cells = [escape(row.phase), escape(row.kind)] if phased else [escape(row.kind)]
                cells.append(number(round(row.figures["count"].value)))
                table.add_row(*cells, *(with_interval(row.figures[what], look) for what, _, look in SHOWN))
            tables.append(table)
        if self.values:
            table = Table("figure", box=None)
            table.add_column("value", justify="right")
            table.add_column("unit")
            for value in self.values:
                table.add_row(escape(value.metric), with_interval(value.interval, number), escape(value.unit))
            tables.append(table)
        if self.expectations:
            table = Table("expected", "verdict", box=None)
            table.add_column("is", justify="right")
            for text, met, values in by_text(self.expectations):
                low, high = number(min(values)), number(max(values))
                verdict = "met" if met == len(values) else f"NOT MET by {len(values) - met} of {len(values)} seeds"
                table.add_row(escape(text), verdict, low if low == high else f"{low} … {high}")
            tables.append(table)
        return tables

    def text(self) -> str:
        """The tables and notes as plain text."""
        parts = [as_text(*self.tables()), *(f"Note: {note}" for note in self.run["notes"])]
        return "\n".join(part for part in parts if part)


def by_text(expectations: Sequence[Expectation]) -> list[tuple[str, int, list[float]]]:
    """Expectations of all seeds together: text, how many met it, the values."""
    found: dict[str, tuple[list[bool], list[float]]] = {}
    for one in expectations:
        met, values = found.setdefault(one.text, ([], []))
        met.append(one.met)
        values.append(one.value)
    return [(text, sum(met), values) for text, (met, values) in found.items()]


def with_interval(interval: Interval, look: Callable[[float], str]) -> str:
    """For example `1.45 ± 0.12 s`, or with both ends where they lie unevenly: `99.8 (99.1 … 99.9) %`."""
    value, ends, unit = in_parts(interval, look)
    if ends:
        ends = f" {ends}" if ends.startswith("±") else f" ({ends})"
    return f"{value}{ends}{f' {unit}' if unit else ''}"


def in_parts(interval: Interval, look: Callable[[float], str]) -> tuple[str, str, str]:
    """The figure, its interval (`± 0.12` or `99.1 … 99.9`; empty without one) and the unit of both."""
    value, _, unit = look(interval.value).rpartition(" ")
    if not value:
        value, unit = unit, ""
    if not interval.known or interval.low == interval.high:
        return value, "", unit
    factor = FACTORS.get(unit, 1.0)
    # Two digits of its width, and no more of the figure: more would claim to know it better than it is known.
    digits = 1 - math.floor(math.log10((interval.high - interval.low) * factor))

    def said(one: float) -> str:
        return f"{round(one * factor, digits):,.{max(0, digits)}f}"

    down, up = interval.value - interval.low, interval.high - interval.value
    even = abs(down - up) <= 0.05 * max(down, up)
    return (
        said(interval.value),
        f"± {said(interval.half_width)}" if even else f"{said(interval.low)} … {said(interval.high)}",
        unit,
    )
