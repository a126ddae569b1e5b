"""How plots look: colours that colour-blind people tell apart, sizes, axes in units that people read.

Decides nothing about what is drawn. Figures are made as objects, never through pyplot, whose state is everybody's.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from simulations.tables import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simulations.results_curves import Mark

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#B8A800")
"""Okabe and Ito, "Color Universal Design" (2008), order changed, grey for their black; they read on light and dark."""

DASHES: Final = ("-", "--", ":", "-.")
"""Beside colours, so that lines are told apart without them."""

INK: Final = "#20242c"
"""Text and axes; becomes the colour of the page's text in a report."""

STYLE: Final[Any] = {
    # Texts are data: a dollar in a label is a dollar.
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.7,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}

P = ParamSpec("P")
R = TypeVar("R")


def drawn(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in our style, and leave everybody else's as it was."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


def panels(count: int, *, wide: float = 4.4, high: float = 3.1, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of so many axes, side by side and then below."""
    columns = max(1, min(across, count))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(max(wide * columns, 6.4 if count == 1 else 0), high * rows))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.set_visible(False)
    return figure, list(grid[:count])


def colour(at: int) -> str:
    """The colour of line number `at`."""
    return PALETTE[at % len(PALETTE)]


def dash(at: int) -> str:
    """The dashes of line number `at`: they differ where the colours come round again, and between neighbours."""
    return DASHES[(at + at // len(PALETTE)) % len(DASHES)]


def legend(axes: Axes, **where: Any) -> None:
    """Name the lines, if there are several or the one has a name."""
    handles, labels = axes.get_legend_handles_labels()
    if handles and any(label.strip() for label in labels):
        axes.legend(handles, labels, **where)


def named(label: str, otherwise: str = "") -> str:
    """A name as matplotlib takes it: those that begin with an underscore would not be shown."""
    text = shortened(label or otherwise, 40)
    return f" {text}" if text.startswith("_") else text


def shortened(text: str, most: int) -> str:
    """The text in one line of so many characters at most."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def log_seconds(axes: Axes) -> None:
    """A logarithmic axis of seconds, labelled 10 ms, 1 s, 100 s."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, numticks=8))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value * 1000:g} ms" if value < 1 else f"{value:g} s")
    )
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def time_unit(span: float) -> tuple[float, str]:
    """Seconds in the unit that suits a span of virtual time, and the unit's name."""
    for length, name, least in ((86_400.0, "days", 3.0), (3600.0, "hours", 2.0), (60.0, "minutes", 3.0)):
        if span >= least * length:
            return length, name
    return 1.0, "seconds"


def counted(axes: Axes) -> None:
    """Label the y axis with plain numbers, thousands apart; so many ticks that they can be read."""
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def vertical_marks(axes: Axes, marks: Sequence[Mark], unit: float) -> None:
    """Draw what happened as dashed lines with their texts; of marks at one place the first is named."""
    low, high = axes.get_xlim()
    last = -float("inf")
    for mark in marks[:60]:
        at = mark.time / unit
        axes.axvline(at, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.55)
        if at - last > (high - low) * 0.035:
            axes.annotate(
                shortened(mark.text, 34),
                (at, 1),
                (5, -3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                va="top",
                ha="left",
                fontsize=7.5,
                alpha=0.8,
            )
            last = at


def _settled(figure: Figure) -> Figure:
    """Lay the figure out once and for all: saving would draw it twice for that."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    return figure


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # A label in a script that the font lacks shows boxes in a PNG; SVG takes the reader's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG, by the path's ending."""
    with mpl.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": path.stem}), _quiet():
        dated: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {"dpi": 150}
        _settled(figure).savefig(path, facecolor="white", **dated)
    return path


def svg_text(figure: Figure, name: str) -> str:
    """The figure as SVG to be put into a page: without outside names, in the page's colours and fonts.

    `name` keeps ids of several figures in one page apart; it must be a word of letters, digits and dashes.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": name}), _quiet():
        _settled(figure).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 inherit", text)
    text = re.sub(r'<svg width="[\d.]+pt" height="[\d.]+pt"', "<svg", text)
    text = re.sub(r"(\d\.\d{2})\d+", r"\1", text)
    for at, tint in enumerate(PALETTE):
        # The page has brighter ones on dark ground.
        text = text.replace(tint.lower(), f"var(--c{at})")
    return text.replace(INK, "currentColor")
