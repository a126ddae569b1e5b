"""Reports: one HTML file that holds everything, for a run, a comparison or a sweep.

Decides what stands on a page. A page takes nothing from outside and says so to the browser, so that it can be sent,
kept and opened offline; every text in it is data and escaped. Refuses to know how figures are made.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from simulations.comparison_tables import chance_text, difference_text, look_of, ordered, setting_text
from simulations.plots import plots, sweep_plots
from simulations.plots_comparison import latency_of_both
from simulations.plots_style import svg_text
from simulations.report_cards import (
    header,
    kind_cards,
    reasons,
    seed_rows,
    summary_rows,
    value_cards,
    verdict,
)
from simulations.report_map import map_data
from simulations.report_timeline import timeline_data
from simulations.results import RunFolder
from simulations.results_summary import with_interval
from simulations.results_sweep import Sweep, label
from simulations.results_tables import settle
from simulations.tables import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from simulations.comparison import Comparison
    from simulations.results_run import Run

FOLDER: Final = Path(__file__).resolve().parent / "page"
"""Templates, style and scripts of the pages."""

SHOWN_PLOTS: Final = ("latency", "success", "hops", "bytes")
"""Plots that stand open on the page; series are in its time line, and folded below."""

PLOT_TITLES: Final = {
    "latency": "How long operations took",
    "hops": "Hops, requests and time-outs of operations",
}
"""Headings of plots that have several panels; the others have that of their one panel."""

BOTH: Final = "Operations done within a time: a solid, b dashed"
AGAINST: Final = "Means over seeds, with 95 % intervals"


def write_report(run: Run, path: Path | str) -> Path:
    """Write the report of a run, also of one that is not done. Gives the file."""
    drawn = [_plot(name, figure) for name, figure in plots(run)]
    headings, cells = summary_rows(run)
    return _write(
        path,
        "run.html.j2",
        title=run.title,
        head=header(run),
        notes=run.notes,
        verdict=verdict(run),
        kinds=kind_cards(run),
        values=value_cards(run),
        headings=headings,
        cells=cells,
        all_values=[(row.metric, with_interval(row.interval, number), row.unit) for row in run.summary().values],
        reasons=reasons(run),
        seeds=seed_rows(run),
        plots=[plot for plot in drawn if plot["name"] in SHOWN_PLOTS],
        folded=[plot for plot in drawn if plot["name"] not in SHOWN_PLOTS],
        map=_data(map_data(run)),
        timeline=_data(timeline_data(run)),
        scripts=_scripts("chart.js", "map.js", "timeline.js"),
    )


def write_comparison(comparison: Comparison, path: Path | str) -> Path:
    """Write the report of a comparison. Gives the file."""
    rows = [
        {
            "name": row.name,
            "a": with_interval(row.a, look_of(row)),
            "b": with_interval(row.b, look_of(row)),
            "difference": difference_text(row),
            "chance": chance_text(row.corrected),
            "verdict": row.verdict,
            "test": row.test,
            "shift": _shift(row.change),
        }
        for row in ordered(comparison)
    ]
    return _write(
        path,
        "comparison.html.j2",
        title=_both(comparison.a.title, comparison.b.title),
        verdict=comparison.verdict,
        state="open" if comparison.differs else "good",
        notes=comparison.notes,
        heads=[header(comparison.a), header(comparison.b)],
        settings=[(name, setting_text(a), setting_text(b)) for name, a, b in comparison.settings],
        rows=rows,
        plots=[_plot(*one, BOTH) for one in latency_of_both(comparison.a, comparison.b)],
        scripts=_scripts(),
    )


def write_sweep_report(sweep: Sweep, path: Path | str) -> Path:
    """Write the report of a sweep: figures against what was varied. Gives the file."""
    table = sweep.table()
    columns = [list(column.cells) for column in table.columns]
    return _write(
        path,
        "sweep.html.j2",
        title=sweep.title,
        meta=[(key, str(sweep.meta.get(key, ""))) for key in ("scenario", "command", "code", "started")],
        varied=sweep.varied,
        points=[label(point.settings) for point in sweep.points],
        begun=len(sweep.runs),
        notes=sweep.notes,
        headings=[str(column.header) for column in table.columns],
        cells=[list(row) for row in zip(*columns, strict=True)],
        plots=[_plot(*one, AGAINST) for one in sweep_plots(sweep)],
        scripts=_scripts(),
    )


def read_folder(folder: Path | str) -> Run | Sweep:
    """What a folder holds, a run or a sweep. Raises `BadResults` for anything else."""
    folder = Path(folder)
    return Sweep.open(folder) if (folder / "sweep.json").is_file() else RunFolder.open(folder).load()


def write(what: Run | Sweep, path: Path | str) -> Path:
    """Write the report of a run or a sweep."""
    return write_sweep_report(what, path) if isinstance(what, Sweep) else write_report(what, path)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _write(path: Path | str, template: str, **context: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _environment().get_template(template).render(style=Markup(_file("page.css")), **context)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    settle(part, path)
    return path


def _plot(name: str, figure: Figure, title: str = "") -> dict[str, Any]:
    shown = [axes for axes in figure.axes if axes.get_visible()]
    said = [(axes.get_title(loc="left"), axes.get_ylabel(), axes.get_xlabel() or "class") for axes in shown]
    what = "; ".join(f"{panel}: {up} by {along}" for panel, up, along in said)
    title = title or PLOT_TITLES.get(name, "")
    if len(shown) == 1:
        # It stands above the plot, as text of the page.
        title = said[0][0]
        shown[0].set_title("", loc="left")
    return {"name": name, "title": title, "what": what, "svg": Markup(svg_text(figure, _word(name)))}


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", name)


def _data(content: dict[str, Any] | None) -> Markup | None:
    """Data for the page's script, in a form that cannot end the script's element."""
    if content is None:
        return None
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _scripts(*names: str) -> Markup:
    return Markup("\n".join(_file(name) for name in names))


@cache
def _file(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _both(a: str, b: str) -> str:
    return f"{a}, twice" if a == b else f"{a} – {b}"


def _shift(change: float) -> float | None:
    """The change for a bar, at most doubled or gone."""
    return max(-1.0, min(1.0, change)) if math.isfinite(change) else None
