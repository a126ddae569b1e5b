"""A comparison as tables for people: what differs first, then the rest.

Decides order and looks. Refuses to know tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from simulations.results_summary import with_interval
from simulations.tables import as_text, number, seconds, share

if TYPE_CHECKING:
    from simulations.comparison import Comparison, Row


def look_of(row: Row) -> Callable[[float], str]:
    """How values of a figure look."""
    return {"share": share, "s": seconds}.get(row.unit, number)


def difference_text(row: Row) -> str:
    """The difference with its sign, and in percent where that says more."""
    if math.isnan(row.difference):
        return "–"
    sign = "+" if row.difference > 0 else "−" if row.difference < 0 else "±"
    if row.unit == "share":
        return f"{sign}{abs(row.difference) * 100:.3g} points"
    change = f" ({sign}{abs(row.change) * 100:.2g} %)" if math.isfinite(row.change) else ""
    return f"{sign}{look_of(row)(abs(row.difference))}{change}"


def chance_text(chance: float) -> str:
    """A probability in few characters."""
    return "–" if math.isnan(chance) else "< 0.001" if chance < 0.001 else f"{chance:.2g}"


def ordered(comparison: Comparison) -> list[Row]:
    """What differs first, the surest first; then the rest as it came."""
    differing = [row for row in comparison.rows if row.verdict == "differs"]
    rest = [row for row in comparison.rows if row.verdict != "differs"]
    return sorted(differing, key=lambda row: row.corrected) + rest


def comparison_tables(comparison: Comparison) -> list[Table]:
    """For a terminal: settings that differ, then figures beneath the verdict."""
    tables = []
    if comparison.settings:
        table = Table("setting", "a", "b", box=None)
        for name, a, b in comparison.settings:
            table.add_row(escape(name), escape(setting_text(a)), escape(setting_text(b)))
        tables.append(table)
    table = Table("figure", box=None, title=comparison.verdict, title_justify="left")
    for heading in ("a", "b", "b − a", "chance"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", no_wrap=True)
    for row in ordered(comparison):
        look = look_of(row)
        verdict = row.verdict.upper() if row.verdict == "differs" else row.verdict
        cells = [with_interval(row.a, look), with_interval(row.b, look), difference_text(row)]
        table.add_row(escape(row.name), *cells, chance_text(row.corrected), verdict)
    tables.append(table)
    return tables


def comparison_text(comparison: Comparison) -> str:
    """Verdict, tables and notes as plain text."""
    return "\n".join([as_text(*comparison_tables(comparison)), *(f"Note: {note}" for note in comparison.notes)])


def setting_text(value: Any) -> str:
    """A setting's value; what is not set has its default."""
    return "(default)" if value is None else str(value)
