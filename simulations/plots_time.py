"""Plots over virtual time: success, and every sampled quantity, with what happened to the network.

Decides what shares an axis: all kinds of operations, and all labels of one quantity. Refuses to know files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import FuncFormatter

from simulations.plots_style import (
    colour,
    counted,
    dash,
    drawn,
    legend,
    named,
    panels,
    shortened,
    time_unit,
    vertical_marks,
)
from simulations.results_curves import Curve, duration, marks, series_curves, success_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.results_run import Run

MOST_LINES: Final = 12
"""Lines of one quantity that are drawn; more cannot be told apart. UNSOURCED"""

SIZE: Final = (13.2, 3.5)
"""Inches of one plot over time."""


@drawn
def success_over_time(run: Run) -> Figure:
    """Share of operations that succeeded against when they began; bands from lowest to highest seed."""
    figure, (axes,) = panels(1, wide=SIZE[0], high=SIZE[1])
    curves = success_curves(run)
    _lines(axes, curves, run)
    lowest = min((float(curve.low[curve.low == curve.low].min()) for curve in curves), default=0.0)
    bottom = max(0.0, lowest - 0.05) if lowest > 0.5 else 0.0
    # A little room above, where most of it lies, but no tick there: there is no success of 101 %.
    axes.set_ylim(bottom, 1 + 0.03 * (1 - bottom))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.4g} %" if share < 1.0001 else ""))
    axes.set_title("Operations that succeeded")
    axes.set_ylabel("success")
    return figure


@drawn
def series_over_time(run: Run, metric: str) -> Figure:
    """One sampled quantity, a line for each label; bands from lowest to highest seed."""
    figure, (axes,) = panels(1, wide=SIZE[0], high=SIZE[1])
    curves = [curve for curve in series_curves(run) if curve.metric == metric]
    _lines(axes, curves[:MOST_LINES], run)
    lowest = min((float(curve.low.min()) for curve in curves), default=0.0)
    if lowest >= 0:
        axes.set_ylim(0, axes.get_ylim()[1])
    counted(axes)
    more = f" (first {MOST_LINES} of {len(curves)} lines)" if len(curves) > MOST_LINES else ""
    axes.set_title(shortened(metric, 60) + more)
    axes.set_ylabel(shortened(metric, 30))
    return figure


def _lines(axes: Axes, curves: list[Curve], run: Run) -> None:
    unit, unit_name = time_unit(duration(run))
    axes.set_xlim(0, duration(run) / unit)
    for at, curve in enumerate(curves):
        axes.plot(curve.times / unit, curve.mean, dash(at), color=colour(at), label=named(curve.label))
        # What has no neighbour makes no line: it gets a dot.
        gaps = np.isnan(np.concatenate([[np.nan], curve.mean, [np.nan]]))
        alone = ~gaps[1:-1] & gaps[:-2] & gaps[2:]
        axes.plot(curve.times[alone] / unit, curve.mean[alone], "o", color=colour(at), markersize=4)
        if len(run.seeds) > 1:
            axes.fill_between(curve.times / unit, curve.low, curve.high, color=colour(at), alpha=0.18, linewidth=0)
    vertical_marks(axes, marks(run), unit)
    axes.set_xlabel(f"virtual time, {unit_name}")
    legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
