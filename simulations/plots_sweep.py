"""Plots of sweeps: a figure against what was varied, with the interval of each point.

Decides which setting lies along the axis: the first one varied over numbers; others make lines. Refuses to know files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from simulations.plots_style import colour, counted, dash, drawn, legend, named, panels, shortened
from simulations.results_summary import SHOWN
from simulations.tables import number, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.results_sweep import Sweep
    from simulations.statistics import Interval

Rows = Sequence[tuple[dict[str, Any], "Interval"]]


@drawn
def against_setting(sweep: Sweep, names: Sequence[str]) -> Figure:
    """Figures against what was varied, a panel for each."""
    figure, all_axes = panels(len(names))
    for axes, name in zip(all_axes, names, strict=True):
        _panel(axes, name, sweep.figures(name), sweep.varied)
    return figure


def figures_worth_drawing(sweep: Sweep) -> list[str]:
    """The figures that reports draw: those that summaries show, and values; only such as some run has a number for."""
    shown = {what for what, _, _ in SHOWN}
    return [
        name
        for name in sweep.names()
        if ("." not in name or name.rpartition(".")[2] in shown)
        and any(math.isfinite(interval.value) for _, interval in sweep.figures(name))
    ]


def _panel(axes: Axes, name: str, rows: Rows, varied: Sequence[str]) -> None:
    along = next((one for one in varied if all(is_number(settings.get(one)) for settings, _ in rows)), varied[0])
    others = [one for one in varied if one != along]
    lines: dict[str, list[tuple[Any, Interval]]] = {}
    for settings, interval in rows:
        key = ", ".join(f"{one}={settings.get(one)}" for one in others)
        lines.setdefault(key, []).append((settings.get(along), interval))
    numeric = all(is_number(settings.get(along)) for settings, _ in rows)
    places = {value: at for at, value in enumerate(dict.fromkeys(str(settings.get(along)) for settings, _ in rows))}
    for at, (key, points) in enumerate(lines.items()):
        ordered = sorted(points, key=lambda point: point[0]) if numeric else points
        xs = [float(value) if numeric else float(places[str(value)]) for value, _ in ordered]
        ys = [interval.value for _, interval in ordered]
        down = [interval.value - interval.low if interval.known else 0.0 for _, interval in ordered]
        up = [interval.high - interval.value if interval.known else 0.0 for _, interval in ordered]
        axes.errorbar(
            xs,
            ys,
            # Rounding can put an end of the interval a hair on the wrong side of the figure.
            yerr=[[max(0.0, one) for one in down], [max(0.0, one) for one in up]],
            color=colour(at),
            linestyle=dash(at),
            marker="osD^vP"[at % 6],
            markersize=4.5,
            capsize=3,
            label=named(key),
        )
    if numeric:
        values = [float(settings[along]) for settings, _ in rows]
        if min(values) > 0 and max(values) / min(values) >= 20:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xticks(list(places.values()), [shortened(one, 14) for one in places], rotation=20)
    what = name.rpartition(".")[2]
    counted(axes)
    if what == "success":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif what in ("p50", "p95", "p99", "mean"):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
        axes.set_ylim(bottom=0)
    axes.set_title(shortened(name, 42))
    axes.set_xlabel(shortened(along, 40))
    legend(axes)


def is_number(value: object) -> bool:
    """Whether a setting is a number that has a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
