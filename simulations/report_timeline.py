"""What the interactive time line of a report draws: rows of lines with bands, and marks.

Decides which quantities have a row and how many points a line has. Refuses to know how they are drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from simulations.plots_style import time_unit
from simulations.results_curves import Curve, duration, marks, series_curves, success_curves

if TYPE_CHECKING:
    from simulations.results_run import Run

MOST_ROWS: Final = 9
"""Quantities with a row of their own. UNSOURCED"""

MOST_LINES: Final = 6
"""Lines in a row. UNSOURCED"""

MOST_MARKS: Final = 200
"""Marks that are drawn; a run with more has one at every few pixels. UNSOURCED"""

FIRST: Final = ("alive", "servers", "datagrams/s")
"""Standard series that stand on top, where they were recorded."""


def timeline_data(run: Run) -> dict[str, Any] | None:
    """What the time line needs, for JSON; None where nothing has a time."""
    rows: dict[str, list[Curve]] = {}
    for curve in series_curves(run):
        rows.setdefault(curve.metric, []).append(curve)
    ordered = [metric for metric in FIRST if metric in rows] + [metric for metric in rows if metric not in FIRST]
    success = success_curves(run)
    kept = ordered[: MOST_ROWS - bool(success)]
    told = [_row(metric, rows[metric]) for metric in kept]
    if success:
        # After what is counted, before what is special to the scenario.
        told.insert(min(len(told), sum(metric in FIRST for metric in kept)), _row("success", success, share=True))
    if not told:
        return None
    unit, name = time_unit(duration(run))
    return {
        "span": duration(run),
        "unit": unit,
        "unitName": name,
        "band": len(run.seeds) > 1,
        "marks": [{"t": round(mark.time, 3), "text": mark.text[:200]} for mark in marks(run)[:MOST_MARKS]],
        "rows": told,
        "left": len(ordered) - len(kept),
    }


def _row(metric: str, curves: list[Curve], *, share: bool = False) -> dict[str, Any]:
    return {
        "metric": metric[:60],
        "share": share,
        "left": max(0, len(curves) - MOST_LINES),
        "lines": [
            {
                "label": curve.label[:40],
                "t": _short(curve.times),
                "m": _short(curve.mean),
                "lo": _short(curve.low),
                "hi": _short(curve.high),
            }
            for curve in curves[:MOST_LINES]
        ],
    }


def _short(values: Any) -> list[float | None]:
    """Five digits of each: more cannot be seen, and would make up most of the page."""
    return [float(f"{one:.5g}") if math.isfinite(one) else None for one in values.tolist()]
