"""The matrix for people: a page of Markdown with a grid, a summary, and what did not come out as it must.

Decides words and columns. Refuses to know how results came about.
"""

from __future__ import annotations

import platform
import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import quantiles

from tests.natlab.kinds import Expected
from tests.natlab.matrix import LIMITS, OPEN_NODES, Pair, Result

COMMAND = "make natlab"
WIDTH = 120


def page(results: Sequence[Result], late: dict[str, str], seconds: float, delay: float = 0.0) -> str:
    """The page, of results that took so many seconds in a lab with this delay one way."""
    apart = [result for result in results if not result.pair.together]
    together = [result for result in results if result.pair.together]
    lines = [
        "# Which pairs meet, and how",
        "",
        _paragraph(
            f"Made by `{COMMAND}` in {seconds:.0f} s, {_versions()}. Every node is a process of its own on a machine "
            f"of its own (a network namespace), with {OPEN_NODES} servers in the open and a router of the named kind "
            f"before each of the two: see [the NAT lab](../nat-lab.md). {_round_trip(delay)} The row dials the column."
        ),
        "",
        *_summary(results),
        "",
        "## In places of their own",
        "",
        *_grid(apart),
        "",
        _paragraph(
            "The way that opened the link, and milliseconds: direct by ICE or by dialling at once, **relayed** over "
            "other nodes; after an arrow, when it ran directly. **✗** no link. **!** in front: not what "
            "[must come of the pair](../nat-lab.md#what-must-come-of-a-pair).",
        ),
    ]
    if together:
        lines += ["", "## Behind one box", "", *_together(together)]
    missing = [result for result in results if not result.holds]
    if missing:
        lines += ["", "## What did not come out as it must", "", *_missing(missing)]
    if late:
        lines += ["", "## Nodes that did not join in time", ""]
        lines += [f"- {name}: {_cell(why)}" for name, why in sorted(late.items())]
    return "\n".join(lines) + "\n"


def _round_trip(delay: float) -> str:
    if not delay:
        return (
            "Round trips take a fraction of a millisecond, so that times to open are those of processing, time-outs "
            "and pauses."
        )
    return f"A round trip between two places takes {delay * 2000:.0f} ms."


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def _summary(results: Sequence[Result]) -> list[str]:
    connected = [result for result in results if result.outcome != "failed"]
    held = [result for result in results if result.holds]
    lines = [
        "| | pairs | connected | as they must | p50, s | p95, s | p95 to keep to, s |",
        "|---|---|---|---|---|---|---|",
        f"| all | {len(results)} | {_share(connected, results)} | {_share(held, results)} | | | |",
    ]
    for kind in Expected:
        of = [result for result in connected if result.outcome == kind.value]
        p50, p95 = (f"{_percentile([result.seconds for result in of], part):.2f}" if of else "" for part in (50, 95))
        lines.append(f"| {kind.value} | {len(of)} | | | {p50} | {p95} | {LIMITS[kind]} |")
    return lines


def _grid(results: Sequence[Result]) -> list[str]:
    rows = list(dict.fromkeys(result.pair.dialler for result in results))
    columns = list(dict.fromkeys(result.pair.listener for result in results))
    cells = _cells(results)
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return lines + [
        f"| **{row}** | " + " | ".join(cells.get(Pair(row, column), "") for column in columns) + " |" for row in rows
    ]


def _together(results: Sequence[Result]) -> list[str]:
    cells = _cells(results)
    kinds = list(dict.fromkeys(result.pair.dialler for result in results))
    return [
        "The second column's boxes keep their hosts apart: only a hairpin is a direct way.",
        "",
        "| | one box | kept apart |",
        "|---|---|---|",
        *(
            f"| **{kind}** | " + " | ".join(cells.get(Pair(kind, kind, how), "") for how in ("one-box", "apart")) + " |"
            for kind in kinds
        ),
    ]


def _missing(results: Iterable[Result]) -> list[str]:
    lines = ["| pair | must be | is | why |", "|---|---|---|---|"]
    return lines + [
        f"| {result.pair.text} | {result.pair.expected.value} | {result.outcome} | {_cell(result.reason)} |"
        for result in results
    ]


def _cells(results: Iterable[Result]) -> dict[Pair, str]:
    """By pair, what is shown of it: of several rounds the worst, and of these the slowest."""
    worst: dict[Pair, Result] = {}
    for result in results:
        before = worst.get(result.pair)
        if before is None or _badness(result) > _badness(before):
            worst[result.pair] = result
    return {pair: _short(result) for pair, result in worst.items()}


def _badness(result: Result) -> tuple[int, float, float]:
    return ("direct", "relayed", "failed").index(result.outcome), result.upgraded, result.seconds


def _short(result: Result) -> str:
    mark = "" if result.holds else "! "
    if result.outcome == "failed":
        return f"{mark}**✗**"
    way = result.way or result.path
    text = f"{way} {result.seconds * 1000:.0f}"
    if result.upgraded:
        return f"{mark}**{text}** → {result.upgraded * 1000:.0f}"
    return f"{mark}**{text}**" if result.outcome == "relayed" else f"{mark}{text}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _share(part: Sequence[Result], whole: Sequence[Result]) -> str:
    return f"{len(part)} ({100 * len(part) / len(whole):.1f} %)" if whole else "0"


def _percentile(values: list[float], part: int) -> float:
    return values[0] if len(values) == 1 else quantiles(values, n=100, method="inclusive")[part - 1]


def _versions() -> str:
    tool = subprocess.run(["nft", "--version"], capture_output=True, text=True, check=False).stdout.split()
    kernel = ".".join(platform.release().split(".")[:2])
    nft = tool[1].lstrip("v") if len(tool) > 1 else "?"
    return f"rookery {version('rookery')}, Python {platform.python_version()}, Linux {kernel}, nftables {nft}"
