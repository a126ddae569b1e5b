"""Plots of nodes: what each device class carried.

Decides that traffic is shown as boxes on a logarithmic axis, since a few nodes carry much. Refuses to know files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator

from simulations.plots_style import colour, drawn, panels, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simulations.results_run import Run

MOST_CLASSES: Final = 12
"""Device classes that are drawn. UNSOURCED"""


@drawn
def bytes_by_profile(run: Run) -> Figure:
    """Bytes that each node sent and received in the whole run: median, quartiles, 5th and 95th percentile."""
    table = run.tables["nodes"]
    profiles = np.array(table.column("profile").to_pylist(), dtype=object)
    names = list(dict.fromkeys(profiles.tolist()))[:MOST_CLASSES]
    figure, (axes,) = panels(1, wide=13.2, high=3.5)
    for side, column in enumerate(("bytes_sent", "bytes_received")):
        carried = table.column(column).to_numpy()
        boxes = []
        for name in names:
            # A node that sent nothing has no place on a logarithmic axis: it lies at one byte.
            own = np.maximum(carried[profiles == name], 1)
            low, first, middle, third, high = np.percentile(own, [5, 25, 50, 75, 95]).tolist()
            boxes.append({"med": middle, "q1": first, "q3": third, "whislo": low, "whishi": high, "fliers": []})
        tint = colour(side)
        axes.bxp(
            boxes,
            positions=[at + (side - 0.5) * 0.36 for at in range(len(names))],
            widths=0.3,
            patch_artist=True,
            boxprops={"facecolor": f"{tint}55", "edgecolor": tint, "hatch": "" if side == 0 else "////"},
            medianprops={"color": tint, "linewidth": 2.2},
            whiskerprops={"color": tint},
            capprops={"color": tint},
            manage_ticks=False,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: byte_text(value)))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_xticks(range(len(names)), [shortened(name or "(none)", 18) for name in names])
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_title("Bytes per node in the whole run, by device class")
    axes.set_ylabel("bytes")
    axes.legend(
        handles=[
            Patch(facecolor=f"{colour(0)}55", edgecolor=colour(0), label="sent"),
            Patch(facecolor=f"{colour(1)}55", edgecolor=colour(1), hatch="////", label="received"),
        ],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return figure


def byte_text(value: float) -> str:
    """Bytes for people: 10 kB, 1 MB; decimal, as network rates are."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"
