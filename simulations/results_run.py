"""What a run gave, all seeds together: its tables, its figures with intervals, and what is to be said about it.

Decides which figures a summary has and over what their intervals are taken. Refuses to know files and drawings.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from simulations.errors import BadScenario
from simulations.metrics import OPERATION_FIGURES, Expectation
from simulations.results_operations import MEANS, Operations
from simulations.results_summary import OperationRow, Summary, ValueRow
from simulations.settings import RunSpec
from simulations.statistics import Interval, of_mean, of_percentile, of_share, over_seeds


@dataclass
class Run:
    """The results of a run; also of one that is not done. Made by `RunFolder.load`."""

    spec: RunSpec
    meta: dict[str, Any]
    """What run.json says beside spec and seeds; see `RunFolder.meta`."""
    asked: tuple[int, ...]
    """Every seed that was asked for."""
    seeds: tuple[int, ...]
    """The seeds whose results are here."""
    tables: dict[str, Any]
    """Each of `TABLES` as a `pyarrow.Table`, with a column `seed` before the others."""
    expectations: list[Expectation] = field(default_factory=list)
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    stopped: dict[int, str] = field(default_factory=dict)
    """Why seeds ended early, those that did."""
    errors: dict[int, str] = field(default_factory=dict)
    """What went wrong in seeds, those in which something did."""
    sources: dict[int, str] = field(default_factory=dict)
    """Hash of the sources that played each seed."""
    path: Path | None = None

    # What was run

    @property
    def title(self) -> str:
        """One line that names it: the one given, or the scenario's own, or the name of its script."""
        from simulations.scenario import named

        if self.spec.title:
            return self.spec.title
        try:
            return named(self.spec.scenario).title
        except BadScenario:
            # A script of the user's, or a scenario that this version has no more.
            return re.split(r"[/\\]", self.spec.scenario)[-1]

    @property
    def engine(self) -> str:
        """Which engine played it: `protocol` or `model`; what the seeds say counts."""
        return self._told("engine", str(self.meta.get("engine") or self.spec.engine))

    @property
    def seal(self) -> str:
        """`real` or `cheap` boxes; empty where the engine seals nothing."""
        return self._told("seal", str(self.meta.get("seal", "")))

    def _told(self, fact: str, otherwise: str) -> str:
        told = sorted({str(facts[fact]) for facts in self.facts.values() if facts.get(fact)})
        return " and ".join(told) or otherwise

    @property
    def missing(self) -> tuple[int, ...]:
        """Seeds asked for whose results are not here."""
        return tuple(seed for seed in self.asked if seed not in self.seeds)

    @property
    def ok(self) -> bool:
        """Whether every seed ran to its end and met what was expected of it."""
        whole = bool(self.seeds) and not (self.missing or self.stopped or self.errors)
        return whole and all(expectation.met for expectation in self.expectations)

    @property
    def notes(self) -> list[str]:
        """What a reader must know to trust the figures rightly: missing seeds, early ends, one seed only, …"""
        notes = []
        if self.missing:
            listed = ", ".join(map(str, self.missing[:10])) + (", …" if len(self.missing) > 10 else "")
            notes.append(f"{len(self.missing)} of {len(self.asked)} seeds are missing: {listed}")
        notes += [f"seed {seed} ended early: {why}" for seed, why in self.stopped.items()]
        notes += [f"seed {seed} failed: {why}" for seed, why in self.errors.items()]
        if "cheap" in self.seal:
            notes.append("cheap seal: boxes were stood in by ones of equal size, so nothing here shows that they hold")
        if len(self.seeds) == 1:
            notes.append("one seed only: intervals are over its operations and speak for this one network")
        if len({one for one in self.sources.values() if one}) > 1:
            notes.append("the seeds were played by different versions of the code")
        return notes

    # Figures

    @cached_property
    def operations(self) -> Operations:
        """The operations of all seeds, sorted for questions."""
        return Operations(self.tables["operations"], self.seeds)

    @cached_property
    def values(self) -> dict[str, tuple[str, dict[int, float]]]:
        """Each figure of a whole run: its unit, and its value by seed."""
        found: dict[str, tuple[str, dict[int, float]]] = {}
        columns = self.tables["values"].select(["seed", "metric", "value", "unit"]).to_pydict()
        for seed, metric, value, unit in zip(*columns.values(), strict=True):
            found.setdefault(metric, (unit, {}))[1][seed] = value
        return found

    def per_seed(self, name: str, phase: str | None = None) -> list[float]:
        """One figure of each seed, named as for `Metrics.figure`; NaN in seeds without it.

        Raises `BadScenario` for a name that no seed recorded.
        """
        kind, _, what = name.rpartition(".")
        if what in OPERATION_FIGURES and kind in self.operations.kinds:
            return [self.operations.figure(kind, what, seed=seed, phase=phase) for seed in self.seeds]
        if name in self.values:
            return [self.values[name][1].get(seed, math.nan) for seed in self.seeds]
        last = self._last_samples(name)
        if last is None:
            known = sorted({*self.values, *(f"{one}.{figure}" for one in self.operations.kinds for figure in MEANS)})
            raise BadScenario(f"no figure {name!r} was recorded; there are: {', '.join(known) or 'none'}")
        return last

    def figure(self, name: str, phase: str | None = None) -> Interval:
        """One figure with its interval: over seeds, or over operations where there is one seed."""
        kind, _, what = name.rpartition(".")
        figures = self.per_seed(name, phase)
        if what not in OPERATION_FIGURES or kind not in self.operations.kinds:
            return over_seeds(figures)
        interval = over_seeds(figures)
        if interval.over == "seeds" and not (what == "success" and interval.half_width == 0):
            return interval.clipped(0, 1 if what == "success" else math.inf)
        # One seed; or shares that are alike in all seeds, most often 1, of which seeds alone would say "exactly".
        whole = self._over_operations(kind, what, phase)
        return whole if whole.known else interval

    def _over_operations(self, kind: str, what: str, phase: str | None) -> Interval:
        if what == "success":
            ok = self.operations.of_kind(kind, "ok", phase=phase)
            return of_share(int(ok.sum()), len(ok))
        if what in MEANS:
            return of_mean(self.operations.of_kind(kind, MEANS[what], phase=phase).astype(np.float64)).clipped(0)
        if what in ("count", "max"):
            return Interval(math.nan)
        return of_percentile(np.sort(self.operations.of_kind(kind, "took", phase=phase)), int(what[1:]) / 100)

    def _last_samples(self, metric: str) -> list[float] | None:
        import pyarrow.compute as pc

        series = self.tables["series"]
        rows = series.filter(pc.equal(series.column("metric"), metric))
        if not rows.num_rows:
            return None
        last = dict(zip(rows.column("seed").to_pylist(), rows.column("value").to_pylist(), strict=True))
        return [last.get(seed, math.nan) for seed in self.seeds]

    @cached_property
    def _summary(self) -> Summary:
        return Summary(
            run=about(self),
            operations=[
                OperationRow(phase, kind, {what: self.figure(f"{kind}.{what}", phase) for what in OPERATION_FIGURES})
                for phase, kind in self.operations.keys
            ],
            values=[
                ValueRow(metric, unit, over_seeds(list(by_seed.values())))
                for metric, (unit, by_seed) in self.values.items()
            ],
            expectations=list(self.expectations),
        )

    def summary(self) -> Summary:
        """Every figure with its interval, and what was expected: for tables, JSON and reports."""
        return self._summary


def about(run: Run) -> dict[str, Any]:
    """What was run, for JSON."""
    return {
        "scenario": run.spec.scenario,
        "title": run.title,
        "engine": run.engine,
        "seal": run.seal,
        "command": run.meta.get("command", ""),
        "code": run.meta.get("code", ""),
        "started": run.meta.get("started", ""),
        "finished": run.meta.get("finished", ""),
        "seeds": list(run.seeds),
        "missing": list(run.missing),
        "ok": run.ok,
        "notes": run.notes,
        "spec": run.spec.model_dump(mode="json"),
        "facts": {str(seed): facts for seed, facts in run.facts.items()},
    }
