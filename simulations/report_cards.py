"""Figures of a run in the words and order of a report: cards, verdict, tables.

Decides what is said first. Refuses to know HTML.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from simulations.results_summary import SHOWN, by_text, in_parts, with_interval
from simulations.statistics import Interval
from simulations.tables import number, seconds, share

if TYPE_CHECKING:
    from simulations.results_run import Run

MOST_KINDS: Final = 4
"""Kinds of operations that have a card. UNSOURCED"""

MOST_VALUES: Final = 6
"""Values that have a card. UNSOURCED"""

MOST_REASONS: Final = 30
"""Reasons of failures that are listed. UNSOURCED"""

SEALS: Final = {
    "real": ("Real seal", "datagrams were sealed in real NaCl boxes"),
    "cheap": ("Cheap seal", "boxes were stood in by ones of equal size: nothing here shows that they hold"),
}
"""What is said of a seal."""

ENGINES: Final = {
    "protocol": ("Protocol engine", "the real code on a virtual clock"),
    "model": ("Model engine", "a vectorised stand-in, not the real code"),
}
"""What is said of an engine."""


def spread(interval: Interval) -> str:
    """The interval beneath a big figure, over what it was taken."""
    if not interval.known:
        return "one value, no interval" if math.isfinite(interval.value) else "no such operation"
    if interval.low == interval.high:
        return f"the same in {interval.n} seeds"
    over = f"{interval.n:,} {interval.over}" if interval.over == "operations" else f"{interval.n} seeds"
    return f"95 % interval over {over}"


def kind_cards(run: Run) -> list[dict[str, Any]]:
    """A card for each of the first kinds of operations, all phases together."""
    cards = []
    for kind in run.operations.kinds[:MOST_KINDS]:
        success = run.figure(f"{kind}.success")
        ends = f"{share(_floor(success.low))} … {share(success.high)}" if success.known else ""
        cards.append(
            {
                "name": kind,
                "what": "succeeded",
                "big": share(round(success.value, 4)),
                "ends": ends,
                "over": spread(success),
                "low": success.low if success.known else None,
                "high": success.high if success.known else None,
                "value": success.value,
                "small": [
                    ("median", with_interval(run.figure(f"{kind}.p50"), seconds)),
                    ("95 %", with_interval(run.figure(f"{kind}.p95"), seconds)),
                    ("hops", number(round(run.figure(f"{kind}.hops").value, 2))),
                    ("requests", number(round(run.figure(f"{kind}.requests").value, 1))),
                ],
                "count": f"{int(sum(run.per_seed(f'{kind}.count'))):,}",
            }
        )
    return cards


def value_cards(run: Run) -> list[dict[str, str]]:
    """A card for each of the first figures of the whole run."""
    return [
        {
            "name": row.metric,
            "big": number(float(f"{row.interval.value:.4g}")) if math.isfinite(row.interval.value) else "–",
            "unit": row.unit,
            "ends": f"{number(float(f'{row.interval.low:.3g}'))} … {number(float(f'{row.interval.high:.3g}'))}"
            if row.interval.known and row.interval.low < row.interval.high
            else "",
            "over": spread(row.interval),
        }
        for row in run.summary().values[:MOST_VALUES]
    ]


def verdict(run: Run) -> dict[str, Any]:
    """What became of what was expected; `state` is good, bad or open."""
    rows = [
        {
            "text": text,
            "met": met == len(values),
            "how": "met by every seed" if met == len(values) else f"met by {met} of {len(values)} seeds",
            "values": _range(values),
        }
        for text, met, values in by_text(run.expectations)
    ]
    failed = [row for row in rows if not row["met"]]
    if run.errors:
        state, line = "bad", f"{len(run.errors)} of {len(run.asked)} seeds failed"
    elif failed:
        state, line = "bad", f"{len(failed)} of {len(rows)} expectations not met"
    elif run.missing or run.stopped:
        state, line = "open", f"incomplete: {len(run.seeds) - len(run.stopped)} of {len(run.asked)} seeds are done"
    elif rows:
        state, line = "good", f"all {len(rows)} expectations met" if len(rows) > 1 else "the expectation is met"
    else:
        state, line = "open", "nothing was expected of this run"
    return {"state": state, "line": line, "rows": rows}


def summary_rows(run: Run) -> tuple[list[str], list[list[str | tuple[str, str]]]]:
    """Headings and cells of the table of operations; figures with the interval that stands beneath them."""
    rows = run.summary().operations
    phased = any(row.phase for row in rows)
    headings = [*(["phase"] if phased else []), "operation", "count", *(heading for _, heading, _ in SHOWN)]
    cells: list[list[str | tuple[str, str]]] = [
        [
            *([row.phase] if phased else []),
            row.kind,
            number(round(row.figures["count"].value)),
            *(_cell(row.figures[what], look) for what, _, look in SHOWN),
        ]
        for row in rows
    ]
    return headings, cells


def _cell(interval: Interval, look: Callable[[float], str]) -> tuple[str, str]:
    value, ends, unit = in_parts(interval, look)
    return f"{value} {unit}".strip(), ends


def reasons(run: Run) -> list[tuple[str, str, int]]:
    """Why operations failed: kind, reason, how often; the most frequent first."""
    counted: Counter[tuple[str, str]] = Counter()
    import pyarrow.compute as pc

    table = run.tables["operations"]
    failed = table.filter(pc.invert(table.column("ok")))
    counted.update(zip(failed.column("kind").to_pylist(), failed.column("reason").to_pylist(), strict=True))
    return [(kind, reason or "(not said)", count) for (kind, reason), count in counted.most_common(MOST_REASONS)]


def seed_rows(run: Run) -> list[dict[str, str]]:
    """One row a seed: how it ended, its trace, what it cost."""
    rows = []
    for seed in run.asked:
        facts = run.facts.get(seed, {})
        state = "missing" if seed in run.missing else "failed" if seed in run.errors else "done"
        state = f"ended early: {run.stopped[seed]}" if seed in run.stopped else state
        rows.append(
            {
                "seed": str(seed),
                "state": f"failed: {run.errors[seed]}" if seed in run.errors else state,
                "trace": str(facts.get("trace_hash", ""))[:16],
                "nodes": _fact(facts, "nodes"),
                "datagrams": _fact(facts, "datagrams"),
                "virtual": seconds(_told(facts, "virtual_seconds")),
                "wall": seconds(_told(facts, "wall_seconds")),
            }
        )
    return rows


def header(run: Run) -> dict[str, Any]:
    """What was run, by what, for the top of the page."""
    nodes = [facts["nodes"] for facts in run.facts.values() if isinstance(facts.get("nodes"), int)]
    seal_name, seal_text = SEALS.get(run.seal, (f"Seal: {run.seal}", "") if run.seal else ("", ""))
    engine_name, engine_text = ENGINES.get(run.engine, (f"Engine: {run.engine}", ""))
    spans = [span for facts in run.facts.values() if (span := _told(facts, "virtual_seconds")) > 0]
    seeds = ", ".join(map(str, run.seeds[:12])) + (", …" if len(run.seeds) > 12 else "")
    return {
        "title": run.title,
        "scenario": run.spec.scenario,
        "engine": (engine_name, engine_text),
        "seal": (seal_name, seal_text),
        "seeds": seeds or "none",
        "seed_count": len(run.seeds),
        "nodes": f"{max(nodes):,}" if nodes else "",
        "span": seconds(max(spans)) if spans and max(spans) < 7200 else f"{max(spans) / 3600:.3g} h" if spans else "",
        "operations": f"{len(run.operations):,}",
        "facts": [
            (name, str(run.meta.get(key, "")))
            for name, key in (
                ("command", "command"),
                ("code", "code"),
                ("Python", "python"),
                ("platform", "platform"),
                ("started", "started"),
                ("finished", "finished"),
            )
            if run.meta.get(key)
        ],
        "settings": sorted(
            [(f"world.{key}", str(value)) for key, value in run.spec.world.items()]
            + [(key, str(value)) for key, value in run.spec.parameters.items()]
        ),
    }


def _range(values: list[float]) -> str:
    low, high = number(float(f"{min(values):.5g}")), number(float(f"{max(values):.5g}"))
    return low if low == high else f"{low} … {high}"


def _fact(facts: dict[str, Any], key: str) -> str:
    value = facts.get(key)
    return f"{value:,}" if isinstance(value, int | float) else ""


def _told(facts: dict[str, Any], key: str) -> float:
    """A fact that is a number; NaN for one that was not recorded, or was NaN itself and is null on disk."""
    value = facts.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _floor(value: float) -> float:
    """Four digits, rounded down: the lower end of an interval must not look better than it is."""
    return math.floor(value * 1e4) / 1e4
