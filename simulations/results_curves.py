"""What happened over virtual time, all seeds together, in few enough points to be drawn.

Decides how samples of many seeds become one line with a band: cut into equal spans of time, averaged within each, then
averaged over seeds; the band reaches from the lowest seed to the highest. Refuses to know how lines are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulations.results_run import Run

Floats = NDArray[np.float64]

POINTS: Final = 240
"""Spans a line is cut into: more than that no screen shows. UNSOURCED"""

SUCCESS_POINTS: Final = 60
"""Spans for shares of operations, of which a span needs some. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over virtual time; NaN in spans without samples."""

    metric: str
    label: str
    times: Floats
    """Middle of each span, seconds since the start."""
    mean: Floats
    low: Floats
    """Lowest of the seeds."""
    high: Floats
    """Highest of the seeds."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the network."""

    time: float
    text: str


def duration(run: Run) -> float:
    """How long the run was, in virtual seconds: the latest thing of any seed; at least a thousandth."""
    latest = [0.001]
    for name, column in (("series", "time"), ("marks", "time"), ("operations", "started")):
        times = run.tables[name].column(column)
        if len(times):
            latest.append(float(np.nanmax(times.to_numpy())))
    told = [facts.get("virtual_seconds") for facts in run.facts.values()]
    latest += [float(span) for span in told if isinstance(span, int | float)]
    return max(latest)


def marks(run: Run) -> list[Mark]:
    """The marks of the first seed that has any: seeds tell one story, at times that may differ a little."""
    table = run.tables["marks"].to_pydict()
    if not table["seed"]:
        return []
    first = table["seed"][0]
    rows = zip(table["seed"], table["time"], table["text"], strict=True)
    return sorted((Mark(time, text) for seed, time, text in rows if seed == first), key=lambda mark: mark.time)


def series_curves(run: Run, points: int = POINTS) -> list[Curve]:
    """Every series, in the order in which they first came: metric by metric, label by label."""
    table = run.tables["series"]
    metrics, metric_names = _codes(table.column("metric"))
    labels, label_names = _codes(table.column("label"))
    lines = metrics * max(1, len(label_names)) + labels
    times, values, seeds = (table.column(name).to_numpy() for name in ("time", "value", "seed"))
    span = duration(run)
    order = np.argsort(lines, kind="stable")
    found, starts, counts = np.unique(lines[order], return_index=True, return_counts=True)
    curves = []
    for line, start, count in zip(found.tolist(), starts.tolist(), counts.tolist(), strict=True):
        rows = order[start : start + count]
        curves.append(
            _curve(
                metric_names[line // len(label_names)],
                label_names[line % len(label_names)],
                _binned(times[rows], values[rows], seeds[rows], run.seeds, span, points),
                span,
            )
        )
    return curves


def success_curves(run: Run, points: int = SUCCESS_POINTS) -> list[Curve]:
    """The share of operations that succeeded, for each kind, by when they began."""
    span = duration(run)
    table = run.tables["operations"]
    kinds, names = _codes(table.column("kind"))
    times, oks, seeds = (
        table.column("started").to_numpy(),
        table.column("ok").to_numpy(),
        table.column("seed").to_numpy(),
    )
    curves = []
    for code, name in enumerate(names):
        rows = kinds == code
        if rows.any():
            binned = _binned(times[rows], oks[rows].astype(np.float64), seeds[rows], run.seeds, span, points)
            curves.append(_curve("success", name, binned, span))
    return curves


def _binned(times: Floats, values: Floats, seeds: Any, every: Sequence[int], span: float, points: int) -> Floats:
    """Mean of each seed (rows) in each span of time (columns); NaN without samples."""
    rows = []
    # Never more spans than samples: a line with gaps between all of its points is none.
    most = max((int((seeds == seed).sum()) for seed in every), default=1)
    points = max(1, min(points, most))
    for seed in every:
        mine = seeds == seed
        at = np.clip((times[mine] / span * points).astype(np.int64), 0, points - 1)
        sums = np.bincount(at, weights=values[mine], minlength=points)
        counts = np.bincount(at, minlength=points)
        rows.append(np.divide(sums, counts, out=np.full(points, np.nan), where=counts > 0))
    return np.array(rows).reshape(-1, points)


def _curve(metric: str, label: str, binned: Floats, span: float) -> Curve:
    points = binned.shape[1]
    times = (np.arange(points) + 0.5) * span / points
    some = ~np.isnan(binned)
    seen = some.sum(axis=0)
    mean = np.divide(np.where(some, binned, 0).sum(axis=0), seen, out=np.full(points, np.nan), where=seen > 0)
    low = np.where(seen > 0, np.where(some, binned, np.inf).min(axis=0), np.nan)
    high = np.where(seen > 0, np.where(some, binned, -np.inf).max(axis=0), np.nan)
    kept = seen > 0
    if not kept.all() and metric != "success":
        # Series sampled seldom: join what there is. Gaps in success mean that nobody asked, and stay.
        times, mean, low, high = times[kept], mean[kept], low[kept], high[kept]
    return Curve(metric, label, times, mean, low, high)


def _codes(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    chunks = column.combine_chunks()
    return chunks.indices.to_numpy(zero_copy_only=False).astype(np.int64), chunks.dictionary.to_pylist()
