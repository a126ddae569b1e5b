"""Two runs side by side, and which of their figures differ beyond noise.

Decides which test is used, and that a figure differs when chance alone would make such a difference in fewer than one
of twenty comparisons, after correction for the number of figures compared. With three seeds or more on each side,
seeds are compared, and what is found holds for the settings; with fewer, operations are, and what is found holds only
for the very networks that were simulated: the comparison says which. Refuses to know how runs are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from simulations.results_run import Run, about
from simulations.results_tables import plain
from simulations.statistics import Interval, fisher, holm, mann_whitney, over_seeds, same_percentile, welch

if TYPE_CHECKING:
    from rich.table import Table

SIGNIFICANT: Final = 0.05
"""Chance below which a difference counts as one: the convention, as for 95 % intervals."""

SEEDS_NEEDED: Final = 3
"""Seeds on each side from which seeds are compared: of two, Welch's test can tell nothing but huge differences."""

FIGURES: Final = ("success", "mean", "p50", "p95", "p99", "hops", "requests", "failures")
"""Figures of operations that are compared."""

Verdict = Literal["differs", "same within noise", "cannot tell", "only in a", "only in b"]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both runs."""

    phase: str
    figure: str
    """`KIND.FIGURE`, a value's name, or `METRIC (mean over time)`."""
    a: Interval
    b: Interval
    unit: str = ""
    chance: float = math.nan
    """Probability that chance alone makes so large a difference, not corrected; NaN where there is no test."""
    corrected: float = math.nan
    """The same after Holm's correction for all figures compared."""
    test: str = ""
    """Which test it was, and over what."""

    @property
    def name(self) -> str:
        """The figure with its phase."""
        return f"{self.figure} ({self.phase})" if self.phase else self.figure

    @property
    def difference(self) -> float:
        """B minus a."""
        return self.b.value - self.a.value

    @property
    def change(self) -> float:
        """The difference as a share of a; NaN where a is 0."""
        return self.difference / abs(self.a.value) if self.a.value else math.nan

    @property
    def verdict(self) -> Verdict:
        """What the test says."""
        if math.isnan(self.a.value) or math.isnan(self.b.value):
            return "only in a" if math.isnan(self.b.value) else "only in b"
        if math.isnan(self.corrected):
            return "cannot tell"
        return "differs" if self.corrected < SIGNIFICANT else "same within noise"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side."""

    a: Run
    b: Run
    rows: list[Row]
    settings: list[tuple[str, Any, Any]]
    """Settings that differ: name, a's value, b's value; None where one has its default."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know: different scenarios, engines or code, few seeds, …"""

    @property
    def differs(self) -> bool:
        """Whether some figure differs beyond noise."""
        return any(row.verdict == "differs" for row in self.rows)

    @property
    def identical(self) -> bool:
        """Whether both are the very same run: the same seeds with the same traces."""
        return traces(self.a) == traces(self.b) and bool(traces(self.a))

    @property
    def verdict(self) -> str:
        """One line that says what came out."""
        differing = [row for row in self.rows if row.verdict == "differs"]
        tested = [row for row in self.rows if not math.isnan(row.chance)]
        if self.identical:
            return "identical: the same seeds gave the same traces"
        if not tested:
            return "nothing can be said: no figure could be tested"
        if not differing:
            return f"no difference beyond noise in {len(tested)} figures"
        return f"{len(differing)} of {len(tested)} figures differ beyond noise"

    def to_json(self) -> dict[str, Any]:
        """As JSON says it, NaN as null."""
        content = {
            "verdict": self.verdict,
            "differs": self.differs,
            "identical": self.identical,
            "notes": self.notes,
            "settings": [{"setting": name, "a": a, "b": b} for name, a, b in self.settings],
            "a": about(self.a),
            "b": about(self.b),
            "rows": [
                {
                    "figure": row.figure,
                    "phase": row.phase,
                    "unit": row.unit,
                    "a": row.a.to_json(),
                    "b": row.b.to_json(),
                    "difference": row.difference,
                    "change": row.change,
                    "chance": row.chance,
                    "corrected": row.corrected,
                    "test": row.test,
                    "verdict": row.verdict,
                }
                for row in self.rows
            ],
        }
        ready: dict[str, Any] = plain(content)
        return ready

    def tables(self) -> list[Table]:
        """For a terminal: settings that differ, then figures beneath the verdict."""
        from simulations.comparison_tables import comparison_tables

        return comparison_tables(self)

    def text(self) -> str:
        """Tables and notes as plain text."""
        from simulations.comparison_tables import comparison_text

        return comparison_text(self)


def compare(a: Run, b: Run) -> Comparison:
    """Lay two runs side by side. Different scenarios or engines are allowed: the notes say so."""
    rows = [*_operation_rows(a, b), *_value_rows(a, b), *_series_rows(a, b)]
    corrected = holm([row.chance for row in rows])
    rows = [
        Row(row.phase, row.figure, row.a, row.b, row.unit, row.chance, better, row.test)
        for row, better in zip(rows, corrected, strict=True)
    ]
    return Comparison(a, b, rows, _settings(a, b), _notes(a, b))


def traces(run: Run) -> dict[int, str]:
    """The trace hash of each seed that has one."""
    return {seed: str(facts["trace_hash"]) for seed, facts in run.facts.items() if facts.get("trace_hash")}


def over_seeds_both(a: Run, b: Run) -> bool:
    """Whether there are seeds enough on both sides to compare seeds."""
    return min(len(a.seeds), len(b.seeds)) >= SEEDS_NEEDED


def _operation_rows(a: Run, b: Run) -> list[Row]:
    keys = dict.fromkeys([*a.operations.keys, *b.operations.keys])
    rows = []
    for phase, kind in keys:
        for what in FIGURES:
            name = f"{kind}.{what}"
            sides = [
                run.figure(name, phase) if (phase, kind) in run.operations.keys else Interval(math.nan, n=0)
                for run in (a, b)
            ]
            unit = "share" if what == "success" else "" if what in ("hops", "requests", "failures") else "s"
            chance, test = _chance(a, b, phase, kind, what)
            rows.append(Row(phase, name, sides[0], sides[1], unit, chance, test=test))
    return rows


def _chance(a: Run, b: Run, phase: str, kind: str, what: str) -> tuple[float, str]:
    """The chance of the difference, and by which test."""
    key = (phase, kind)
    if key not in a.operations.keys or key not in b.operations.keys:
        return math.nan, ""
    if over_seeds_both(a, b):
        figures = [[one for one in run.per_seed(f"{kind}.{what}", phase) if not math.isnan(one)] for run in (a, b)]
        varies = any(len(set(side)) > 1 for side in figures)
        # Shares that are alike in all seeds, most often 1, leave nothing for a t test to measure noise by.
        if varies or what != "success":
            return welch(*figures), "Welch's t over seeds"
    if what == "success":
        oks = [run.operations.of(key, "ok") for run in (a, b)]
        chance = fisher(int(oks[0].sum()), len(oks[0]), int(oks[1].sum()), len(oks[1]))
        return chance, "Fisher's exact over operations"
    column = what if what in ("hops", "requests", "failures") else "took"
    x, y = (np.sort(run.operations.of(key, column)) for run in (a, b))
    if what.startswith("p"):
        return same_percentile(x, y, int(what[1:]) / 100), "Mood's percentile test over operations"
    return mann_whitney(x, y), "Mann-Whitney over operations"


def _value_rows(a: Run, b: Run) -> list[Row]:
    rows = []
    for metric in dict.fromkeys([*a.values, *b.values]):
        unit = next(run.values[metric][0] for run in (a, b) if metric in run.values)
        sides = [list(run.values[metric][1].values()) if metric in run.values else [] for run in (a, b)]
        rows.append(_by_seed("", metric, unit, *sides))
    return rows


def _series_rows(a: Run, b: Run) -> list[Row]:
    means = [series_means(run) for run in (a, b)]
    rows = []
    for metric, label in dict.fromkeys([*means[0], *means[1]]):
        name = f"{metric}{f' [{label}]' if label else ''} (mean over time)"
        rows.append(_by_seed("", name, "", *(side.get((metric, label), []) for side in means)))
    return rows


def series_means(run: Run) -> dict[tuple[str, str], list[float]]:
    """The mean over all samples of each series, one for each seed that has it."""
    import pyarrow as pa

    table = run.tables["series"]
    # Text as codes cannot be grouped by; there are few series, so the texts cost little.
    plain_table = pa.table({name: table.column(name).cast(pa.string()) for name in ("metric", "label")})
    plain_table = plain_table.append_column("seed", table.column("seed")).append_column("value", table.column("value"))
    grouped = plain_table.group_by(["metric", "label", "seed"], use_threads=False).aggregate([("value", "mean")])
    found: dict[tuple[str, str], list[float]] = {}
    for row in grouped.to_pylist():
        found.setdefault((row["metric"], row["label"]), []).append(row["value_mean"])
    return found


def _by_seed(phase: str, name: str, unit: str, a: list[float], b: list[float]) -> Row:
    known = [[one for one in side if not math.isnan(one)] for side in (a, b)]
    enough = min(len(side) for side in known) >= SEEDS_NEEDED
    chance = welch(*known) if enough else math.nan
    test = "Welch's t over seeds" if enough else ""
    return Row(phase, name, over_seeds(known[0]), over_seeds(known[1]), unit, chance, test=test)


def _settings(a: Run, b: Run) -> list[tuple[str, Any, Any]]:
    sides = [_flat(run.spec.model_dump(mode="json")) for run in (a, b)]
    names = dict.fromkeys([*sides[0], *sides[1]])
    return [(name, *(side.get(name) for side in sides)) for name in names if sides[0].get(name) != sides[1].get(name)]  # type: ignore[misc]


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def _notes(a: Run, b: Run) -> list[str]:
    notes = []
    for what, one, other in (
        ("scenarios", a.spec.scenario, b.spec.scenario),
        ("engines", a.engine, b.engine),
        ("seals", a.seal, b.seal),
        ("code", str(a.meta.get("code", "")), str(b.meta.get("code", ""))),
    ):
        if one != other:
            notes.append(f"different {what}: {one or 'none'} and {other or 'none'}")
    if not over_seeds_both(a, b):
        notes.append(
            f"with {len(a.seeds)} and {len(b.seeds)} seeds, operations are compared: what differs, differs between "
            f"these networks, not between their settings; {SEEDS_NEEDED} seeds each would tell"
        )
    for name, run in (("a", a), ("b", b)):
        notes += [f"{name}: {note}" for note in run.notes if "one seed only" not in note]
    return notes
