"""The page that lays both engines and the papers side by side, as Markdown.

Decides words and order. Every figure on it is handed in, with the command and the seeds that gave it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from simulations.agreement_published import Row
from simulations.agreement_verdicts import RULES, Verdict
from simulations.agreement_worlds import ENGINES, Setting

CITED: Final = (
    (
        "Hole punching, 70 ± 7.1 % with the published shares of NAT kinds (arXiv 2510.27500)",
        "`tests/simulations/test_nat_punching.py`, `tests/simulations/test_nat_mix.py`",
    ),
    (
        "Outcomes of RFC 4787 mapping and filtering, every pair, against a log of packets",
        "`tests/simulations/test_nat_oracle.py`, `tests/simulations/test_nat.py`",
    ),
    (
        "Latency percentiles within 2 %, triangle violations",
        "`tests/simulations/test_latency_fitted.py`, `tests/simulations/test_latency_models.py`",
    ),
    ("Shares and shapes of sessions", "`tests/simulations/test_sessions.py`"),
)
"""What is reproduced elsewhere: the figure, and the tests that hold it."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One world, compared."""

    setting: Setting
    verdicts: Sequence[Verdict]
    facts: str
    """Dead contacts and contacts a node, in words."""
    picture: str = ""
    """File name of its picture, if it has one."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """One kind of operation of one system in one phase."""

    system: str
    phase: str
    kind: str
    count: int
    success: float
    requests: float
    mean: float
    p50: float
    p95: float


def page(
    worlds: Sequence[Compared],
    rows: Sequence[Row],
    baseline: Sequence[Baseline],
    *,
    command: str,
    code: str,
    commands: Iterable[str],
    prose: str,
) -> str:
    """The whole page."""
    words = [one.word for compared in worlds for one in compared.verdicts]
    parts = [
        "# Do the two engines agree, and with the papers?\n",
        f"Made by `{command}` with {code}; runs that were played before are kept and gone on with. Every world's own "
        "commands and seeds are listed at the end.\n",
        f"Of {len(words)} figures {words.count('agree')} agree, {words.count('differ')} differ and "
        f"{words.count('open')} stay open. Of {len(rows)} published figures asked "
        f"{sum(row.word == 'reproduced' for row in rows)} are reproduced.\n",
        prose,
        "## The rule\n",
        "The difference of a figure, model less protocol-true engine, has a 95 % interval: over seeds by Welch's t, "
        "over operations where there is one seed. *Agree*: all of the interval lies within what is allowed. *Differ*: "
        "all of it lies outside. *Open*: it lies across, the runs were too few to say. Distance is Kolmogorov's and "
        "Smirnov's, the largest difference between the two distributions' shares at any value.\n",
        table(
            ("figure", "allowed", "why"),
            [(rule.name, _allowed(rule.share, rule.least), rule.reason) for rule in RULES],
        ),
        "## The same worlds by both engines\n",
    ]
    for compared in worlds:
        parts += _world(compared)
    parts += ["## Published figures\n"]
    for name in dict.fromkeys(row.table for row in rows):
        parts += _published(name, [row for row in rows if row.table == name])
    parts += [
        "### Held by tests\n",
        table(("figure", "tests"), CITED),
        "## The kademlia package on the same loop and network\n",
        "Version 2.2.3, not a line changed (`simulations/scenarios/kademlia_baseline.py`): the same hosts' latencies, "
        "one operation at a time; *requests* are all datagrams that the asking node sent meanwhile. The package tells "
        "no hops. It waits 5 s for each dead contact, round by round.\n",
        table(
            ("system", "when", "operation", "n", "success", "requests", "mean", "p50", "p95"),
            [
                (
                    one.system,
                    one.phase or "joining",
                    one.kind,
                    str(one.count),
                    f"{one.success:.1%}",
                    f"{one.requests:.1f}",
                    *(f"{value:.3f} s" for value in (one.mean, one.p50, one.p95)),
                )
                for one in baseline
            ],
        ),
        "## Commands\n",
        "```\n" + "\n".join(commands) + "\n```\n",
    ]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)]) + "\n"


def commands_of(settings: Iterable[Setting]) -> list[str]:
    """What plays each world by each engine."""
    return [setting.command(engine) for setting in settings for engine in ENGINES]


def _world(one: Compared) -> list[str]:
    seeds = ", ".join(map(str, one.setting.seeds))
    parts = [f"### {one.setting.name}\n", f"{one.setting.told}; seeds {seeds}. {one.facts}\n"]
    if one.picture:
        parts.append(f"![Distributions of hops, requests and seconds by both engines]({one.picture})\n")
    rows = [
        (
            verdict.rule.name,
            _interval(verdict.protocol.value, verdict.protocol.half_width),
            _interval(verdict.model.value, verdict.model.half_width),
            _interval(verdict.difference.value, verdict.difference.half_width, sign=_sign(verdict)),
            f"{verdict.allowed:.3g}",
            f"**{verdict.word}**" if verdict.word == "differ" else verdict.word,
        )
        for verdict in one.verdicts
    ]
    return [*parts, table(("figure", "protocol-true", "model", "difference", "allowed", ""), rows)]


def _published(name: str, rows: Sequence[Row]) -> list[str]:
    cells = [
        (
            row.figure,
            row.by,
            _plain(row.published),
            _interval(row.found, row.spread or math.nan),
            row.bound or f"± {_plain(row.allowed)}",
            row.word if row.word == "reproduced" else f"**{row.word}**",
            row.note,
        )
        for row in rows
    ]
    return [
        f"### {name[0].upper()}{name[1:]}\n",
        table(("figure", "by", "published", "found", "allowed", "", "note"), cells),
    ]


def _sign(verdict: Verdict) -> str:
    return "" if verdict.rule.figure == "distance" else "+"


def _allowed(share: float, least: float) -> str:
    parts = [f"± {share:.0%}"] if share else []
    parts += [f"± {least:g}"] if least else []
    return ", at least ".join(parts)


def _interval(value: float, reach: float, *, sign: str = "") -> str:
    if math.isnan(value):
        return ""
    text = f"{value:{sign}.3f}"
    return text if math.isnan(reach) else f"{text} ± {reach:.3f}"


def _plain(value: float) -> str:
    return f"{value:.4g}"
