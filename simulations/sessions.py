"""Session models by name, as scenarios give them, and sessions read from trace files.

Decides names, published settings and the form of the file; the distributions are in `session_lengths.py`, the daily
wave of arrivals in `diurnal.py`.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from simulations.diurnal import Diurnal
from simulations.durations import parse_duration
from simulations.errors import BadScenario
from simulations.session_lengths import Exponential, LogNormal, Measured, Pareto, Sessions, Weibull

__all__ = ["FORMS", "PUBLISHED", "Diurnal", "Session", "Sessions", "gaps", "lengths", "named", "read_trace"]

MINUTE, HOUR = 60.0, 3600.0
IPFS_8H, IPFS_24H = 1 - 0.876, 0.025
"""Shares of IPFS sessions longer than 8 and 24 hours: 87.6 % are shorter than the one, 2.5 % longer than the other
(Trautwein et al., "Design and Evaluation of IPFS", SIGCOMM 2022)."""

PUBLISHED: dict[str, Sessions] = {
    # Fitted to three BitTorrent swarms: Stutzbach and Rejaie, "Understanding Churn in Peer-to-Peer Networks", IMC 2006.
    "stutzbach-1": Weibull(0.34, 21.3 * MINUTE),
    "stutzbach-2": Weibull(0.38, 42.4 * MINUTE),
    "stutzbach-3": Weibull(0.59, 41.9 * MINUTE),
    # The only Weibull distribution through both published figures.
    "ipfs-2022": Weibull.through((8 * HOUR, IPFS_8H), (24 * HOUR, IPFS_24H)),
    # A setting, not a measurement: shape 3 and a mean of half an hour; Leonard, Rai and Loguinov, SIGMETRICS 2005.
    "leonard-2005": Pareto(3.0, HOUR),
}
"""Session models by the name of whoever published their settings."""

FORMS = (
    "exponential:1h",
    "weibull:0.59,41.9m",
    "lognormal:1h,1.5",
    "pareto:3,1h",
    *PUBLISHED,
    "trace:FILE",
    "trace-gaps:FILE",
)
"""One example of each form."""
_COLUMNS = ["node", "start", "end"]


class Session(NamedTuple):
    """One stay of one node."""

    node: str
    start: float
    """Seconds; from when is the file's affair."""
    end: float


def named(spec: str | Sessions) -> Sessions:
    """Make the model that a text names; a model is given back as it is.

    "weibull:SHAPE,SCALE", "lognormal:MEDIAN,SIGMA" and "pareto:SHAPE,SCALE" take one plain number and one span of
    time. "trace:FILE" has the file's sessions, "trace-gaps:FILE" the times between two sessions of one node.
    """
    if not isinstance(spec, str):
        return spec
    if spec in PUBLISHED:
        return PUBLISHED[spec]
    name, _, setting = spec.partition(":")
    if name == "exponential":
        return Exponential(_span(spec, setting))
    if name in ("weibull", "lognormal", "pareto"):
        first, comma, second = (part.strip() for part in setting.partition(","))
        if not comma:
            raise _bad(spec)
        if name == "lognormal":
            return LogNormal(_span(spec, first), _plain(spec, second))
        return (Weibull if name == "weibull" else Pareto)(_plain(spec, first), _span(spec, second))
    if name in ("trace", "trace-gaps") and setting:
        stays = read_trace(setting)
        found = lengths(stays) if name == "trace" else gaps(stays)
        if not found:
            raise BadScenario(f"{setting}: no node has two sessions with a gap between: expected at least one such")
        return Measured(found)
    raise _bad(spec)


def read_trace(path: str | Path) -> list[Session]:
    """Read a CSV file with the columns node, start, end (seconds), in the order of nodes and starts.

    Raises `BadScenario` with file and line for what is no number, ends before it starts, or overlaps.
    """
    found: list[Session] = []
    line_of: dict[Session, int] = {}
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                line = reader.line_num
                if not cells or (line == 1 and [cell.strip().lower() for cell in cells] == _COLUMNS):
                    continue
                if len(cells) != len(_COLUMNS):
                    raise BadScenario(f"{path}, line {line}: {len(cells)} columns: expected {', '.join(_COLUMNS)}")
                try:
                    stay = Session(cells[0].strip(), float(cells[1]), float(cells[2]))
                except ValueError:
                    raise BadScenario(f"{path}, line {line}: {cells}: expected a name and two numbers") from None
                if not -math.inf < stay.start < stay.end < math.inf:
                    raise BadScenario(f"{path}, line {line}: from {stay.start:g} to {stay.end:g}: expected start < end")
                found.append(stay)
                line_of[stay] = line
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise BadScenario(f"{path} cannot be read as a session trace: {problem}") from problem
    if not found:
        raise BadScenario(f"{path} holds no session: expected lines of {', '.join(_COLUMNS)}")
    found.sort()
    for before, after in itertools.pairwise(found):
        if before.node == after.node and after.start < before.end:
            raise BadScenario(
                f"{path}, line {line_of[after]}: node {after.node!r} starts at {after.start:g} while its session of "
                f"line {line_of[before]} runs until {before.end:g}: expected one session at a time"
            )
    return found


def lengths(stays: Sequence[Session]) -> list[float]:
    """Give the length of each session in seconds."""
    return [stay.end - stay.start for stay in stays]


def gaps(stays: Sequence[Session]) -> list[float]:
    """Give the seconds between two sessions of one node, for all that have two; sessions as `read_trace` gives them."""
    return [
        after.start - before.end
        for before, after in itertools.pairwise(stays)
        if before.node == after.node and after.start > before.end
    ]


def _bad(spec: str) -> BadScenario:
    return BadScenario(f"sessions {spec!r} name no model: expected one of {', '.join(FORMS)}")


def _span(spec: str, text: str) -> float:
    return parse_duration(text, f"span of sessions {spec!r}:")


def _plain(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadScenario(f"sessions {spec!r}: {text!r} is no number: expected one, as in {FORMS[1]}") from None
