"""Plots of two runs laid over each other.

Decides that times of one kind and phase share a panel. Refuses to know tests and files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from simulations.plots_operations import distribution, finish_distribution
from simulations.plots_style import drawn, legend, panels, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simulations.results_operations import Key
    from simulations.results_run import Run

A_PAGE: Final = 9
"""Panels in one figure: three by three. UNSOURCED"""


def latency_of_both(a: Run, b: Run) -> Iterator[tuple[str, Figure]]:
    """Share of operations done within a time, of both runs: a panel for each kind and phase that either has."""
    keys = list(dict.fromkeys([*a.operations.keys, *b.operations.keys]))
    for page, start in enumerate(range(0, len(keys), A_PAGE), 1):
        yield f"latency-{page}", _overlaid(a, b, keys[start : start + A_PAGE])


@drawn
def _overlaid(a: Run, b: Run, keys: list[Key]) -> Figure:
    figure, all_axes = panels(len(keys))
    for axes, (phase, kind) in zip(all_axes, keys, strict=True):
        for at, (name, run) in enumerate((("a", a), ("b", b))):
            distribution(axes, [run.operations.of((phase, kind), "took", seed) for seed in run.seeds], at, name)
        finish_distribution(axes, shortened(f"{kind} ({phase})" if phase else kind, 40))
        legend(axes, loc="lower right")
    return figure
