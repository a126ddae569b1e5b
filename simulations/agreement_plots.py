"""Distributions of both engines over one another, as pictures for the page.

Decides what a picture shows. Importing this file imports matplotlib.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import PercentFormatter

from simulations.agreement_verdicts import Sample
from simulations.plots_style import colour, dash, drawn, legend, panels, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS: Final = (("hops", "Hops"), ("requests", "Requests sent"), ("seconds", "Seconds until the end"))

POINTS: Final = 150
"""Points of a line: more are not seen, and the files stay small."""

LAST: Final = 0.998
"""Share of the operations that the axis holds: the last few would stretch it until the rest is a sliver."""


@drawn
def distributions(protocol: Sample, model: Sample) -> Figure:
    """Share of operations up to a value: hops, requests and seconds, a line for each engine."""
    figure, all_axes = panels(len(COLUMNS))
    for axes, (column, title) in zip(all_axes, COLUMNS, strict=True):
        samples = [np.sort(np.concatenate(one[column])) for one in (protocol, model)]
        last = max(float(np.quantile(one, LAST)) for one in samples)
        first = min(float(one[0]) for one in samples)
        counted = column != "seconds"
        grid = np.arange(first - 1, last + 2) if counted else np.linspace(0.9 * first, last, POINTS)
        for at, (name, one) in enumerate(zip(("protocol-true", "model"), samples, strict=True)):
            shares = np.searchsorted(one, grid, "right") / len(one)
            style = "steps-post" if counted else "default"
            axes.plot(grid, shares, dash(at), color=colour(at), label=name, drawstyle=style)
        axes.set_ylim(0, 1.01)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(title)
        axes.set_ylabel("operations")
    legend(all_axes[0], loc="lower right")
    return figure


def draw(path: Path, protocol: Sample, model: Sample) -> Path:
    """Write the picture of one world, by the path's ending."""
    return save(distributions(protocol, model), path)
