"""Plots of operations: how long they took, how many hops and requests they needed.

Decides which operations share an axis: phases of one kind for times, kinds for hops. Refuses to know files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from simulations.plots_style import colour, dash, drawn, legend, log_seconds, named, panels, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simulations.results_run import Run

STEPS: Final = 220
"""Points of a distribution's line. UNSOURCED"""

MOST_PANELS: Final = 9
"""Kinds of operations that are drawn. UNSOURCED"""

LEAST_TIME: Final = 1e-4
"""Seconds: what took less, such as an answer from the own store, is drawn as this on a logarithmic axis."""

Floats = NDArray[np.float64]


@drawn
def latency_distribution(run: Run) -> Figure:
    """Share of operations done within a time: a panel for each kind, a line for each phase, bands over seeds."""
    kinds = run.operations.kinds[:MOST_PANELS]
    figure, all_axes = panels(len(kinds))
    for axes, kind in zip(all_axes, kinds, strict=True):
        phases = [phase for phase, one in run.operations.keys if one == kind]
        for at, phase in enumerate(phases):
            samples = [run.operations.of((phase, kind), "took", seed) for seed in run.seeds]
            distribution(axes, samples, at, phase)
        finish_distribution(axes, shortened(kind, 40))
        legend(axes, loc="lower right")
    return figure


def distribution(axes: Axes, samples: list[Floats], at: int, label: str) -> None:
    """Draw the distribution of samples, one for each seed, as line number `at` with its band."""
    ordered = [np.maximum(np.sort(sample), LEAST_TIME) for sample in samples if len(sample)]
    if not ordered:
        return
    low = min(float(sample[0]) for sample in ordered)
    high = max(float(sample[-1]) for sample in ordered)
    grid = np.geomspace(low, max(high, low * 1.001), STEPS)
    shares = np.array([np.searchsorted(sample, grid, "right") / len(sample) for sample in ordered])
    axes.plot(grid, shares.mean(axis=0), dash(at), color=colour(at), label=named(label))
    if len(ordered) > 1:
        axes.fill_between(grid, shares.min(axis=0), shares.max(axis=0), color=colour(at), alpha=0.2, linewidth=0)


def finish_distribution(axes: Axes, title: str) -> None:
    """Give a distribution of times its axes."""
    log_seconds(axes)
    axes.set_ylim(0, 1.01)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(title)
    axes.set_xlabel("time until the end")
    axes.set_ylabel("operations done")


@drawn
def hops_and_requests(run: Run) -> Figure:
    """Share of operations by number of hops, requests and time-outs, a line of steps for each kind."""
    columns = [("hops", "Hops"), ("requests", "Requests sent"), ("failures", "Requests that timed out")]
    figure, all_axes = panels(len(columns))
    for axes, (column, title) in zip(all_axes, columns, strict=True):
        for at, kind in enumerate(run.operations.kinds[:MOST_PANELS]):
            counts = np.bincount(np.maximum(run.operations.of_kind(kind, column), 0))
            shares = counts / counts.sum()
            # The last thousandth would stretch the axis until the rest is a sliver.
            last = int(np.searchsorted(np.cumsum(shares), 0.999)) + 1
            shown = shares[: last + 1]
            edges = np.arange(len(shown) + 1) - 0.5
            axes.stairs(shown, edges, color=colour(at), linestyle=dash(at), linewidth=1.8, label=named(kind))
            axes.stairs(shown, edges, color=colour(at), fill=True, alpha=0.12)
        axes.set_title(title)
        axes.set_xlabel(f"{column} of one operation")
        axes.set_ylabel("operations")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(all_axes[0], loc="upper right")
    return figure
