"""Figures as text that a person reads: aligned, with units, coloured only on a terminal.

Decides how numbers look. Refuses to know what they mean.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 120
"""Columns of a table made for text; a terminal narrower than that wraps. UNSOURCED"""


def seconds(value: float) -> str:
    """A span of time: 31 ms, 1.20 s, 5.3 min."""
    if math.isnan(value):
        return "–"
    if value < 1:
        return f"{value * 1000:.3g} ms" if value else "0"
    return f"{value:.3g} s" if value < 120 else f"{value / 60:.3g} min"


def number(value: float) -> str:
    """A figure in few characters: 12,345, 0.9987, 3.1."""
    if math.isnan(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def share(value: float) -> str:
    """A part of the whole in percent."""
    return "–" if math.isnan(value) else f"{value * 100:.4g} %"


def as_text(*tables: Table) -> str:
    """Render without colours, for whoever prints or writes it."""
    console = Console(file=io.StringIO(), width=WIDTH, no_color=True, highlight=False)
    for table in tables:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def operations_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Operations by phase and kind, from rows as `Metrics.summary` gives them."""
    phases = any(row["phase"] for row in rows)
    table = Table(*(["phase"] if phases else []), "operation", box=None)
    for column in ("count", "success", "p50", "p95", "p99", "hops", "requests", "time-outs"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [row["phase"], row["kind"]] if phases else [row["kind"]]
        cells += [number(row["count"]), share(row["success"])]
        cells += [seconds(row[what]) for what in ("p50", "p95", "p99")]
        cells += [number(round(row[what], 2)) for what in ("hops", "requests", "failures")]
        table.add_row(*cells)
    return table


def values_table(rows: Iterable[tuple[str, float, str]]) -> Table:
    """Single figures: name, value, unit."""
    table = Table("figure", box=None)
    table.add_column("value", justify="right")
    table.add_column("unit")
    for metric, value, unit in rows:
        table.add_row(metric, number(value), unit)
    return table


def expectations_table(rows: Iterable[tuple[str, bool, float]]) -> Table:
    """What was expected: text, whether it was met, what it was."""
    table = Table("expected", "verdict", box=None)
    table.add_column("is", justify="right")
    for text, met, value in rows:
        table.add_row(text, "met" if met else "NOT MET", number(value))
    return table
