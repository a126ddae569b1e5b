"""Every plot of a run or a sweep, by name, and as files.

Decides which plots there are: only those for which something was recorded. Refuses to know how each is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simulations.errors import BadScenario
from simulations.plots_nodes import bytes_by_profile
from simulations.plots_operations import hops_and_requests, latency_distribution
from simulations.plots_style import save
from simulations.plots_sweep import against_setting, figures_worth_drawing
from simulations.plots_time import series_over_time, success_over_time

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simulations.results_run import Run
    from simulations.results_sweep import Sweep

MOST_SERIES: Final = 24
"""Quantities over time that are drawn. UNSOURCED"""

A_PAGE: Final = 9
"""Figures of a sweep that share a plot: three by three. UNSOURCED"""

FORMATS: Final = ("png", "svg")
"""File formats of plots."""


def plots(run: Run) -> Iterator[tuple[str, Figure]]:
    """Draw everything there is to draw, one after the other: name and figure."""
    if len(run.operations):
        yield "latency", latency_distribution(run)
        yield "success", success_over_time(run)
        yield "hops", hops_and_requests(run)
    metrics = list(dict.fromkeys(run.tables["series"].column("metric").to_pylist()))
    for metric, name in zip(metrics[:MOST_SERIES], file_names(metrics), strict=False):
        yield f"series-{name}", series_over_time(run, metric)
    if run.tables["nodes"].num_rows:
        yield "bytes", bytes_by_profile(run)


def sweep_plots(sweep: Sweep, names: Sequence[str] = ()) -> Iterator[tuple[str, Figure]]:
    """Figures against what was varied, nine a plot."""
    chosen = list(names) or figures_worth_drawing(sweep)
    for page, start in enumerate(range(0, len(chosen), A_PAGE), 1):
        yield f"sweep-{page}", against_setting(sweep, chosen[start : start + A_PAGE])


def save_plots(
    what: Run | Sweep, folder: Path | str, formats: Sequence[str] = FORMATS, *, tell: Callable[[Path], object] = str
) -> list[Path]:
    """Draw a run or a sweep into files NAME.png and NAME.svg; `tell` hears of each. Gives the files.

    Raises `BadScenario` for other formats.
    """
    from simulations.results_sweep import Sweep

    if wrong := [one for one in formats if one not in FORMATS]:
        raise BadScenario(f"plots are not written as {', '.join(wrong)}: there are {', '.join(FORMATS)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in sweep_plots(what) if isinstance(what, Sweep) else plots(what):
        for one in formats:
            files.append(save(figure, folder / f"{name}.{one}"))
            tell(files[-1])
    return files


def file_names(texts: Sequence[str]) -> list[str]:
    """Texts as names of files that differ from each other: letters, digits and dashes."""
    names: list[str] = []
    for text in texts:
        plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "unnamed"
        name, again = plain, 2
        while name in names:
            name, again = f"{plain}-{again}", again + 1
        names.append(name)
    return names
