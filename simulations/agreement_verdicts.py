"""Whether two engines agree on a figure: the rule, stated before anything is measured.

The protocol-true engine's figure and the model's are taken once for each seed; their difference has a 95 % interval by
Welch's t. They *agree* where that whole interval lies within what is allowed, *differ* where all of it lies outside,
and where it lies across the border the runs were too few to say: `open`. So more runs can only make it clearer, and
few runs can never make two engines agree (an equivalence test: Schuirmann, Journal of Pharmacokinetics and
Biopharmaceutics 15, 1987). Decides this only; knows no engine and no file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.statistics import CONFIDENCE, Interval, nearest_rank, of_mean, of_percentile, of_share, over_seeds

Floats = NDArray[np.float64]
Sample = dict[str, list[Floats]]
"""By column (hops, requests, failures, seconds, success) one array for each seed."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What difference of a figure is allowed."""

    column: str
    figure: str
    """`mean`, a percentile such as `p90`, or `distance`: the largest difference of the distributions' shares."""
    share: float = 0.0
    """Of the protocol-true engine's figure."""
    least: float = 0.0
    """In the figure's own unit, where that is more."""
    reason: str = ""

    @property
    def name(self) -> str:
        """For example `seconds p90`."""
        return f"{self.column} {self.figure}"


RULES: Final = (
    Rule("hops", "mean", 0.05, 0.0, "a twentieth: a tenth of a hop, less than a doubling of the network adds"),
    Rule("hops", "p90", 0.0, 1.0, "a whole number: one more or less"),
    Rule("hops", "distance", 0.0, 0.15, "counts: a mean that is off by 5 % moves up to a tenth across one border"),
    Rule("requests", "mean", 0.05, 0.0, "a twentieth: one and a half requests of thirty"),
    Rule("requests", "p90", 0.10, 1.0, "a tenth, or one request"),
    Rule("requests", "p99", 0.15, 2.0, "of hundreds of look-ups a few decide"),
    Rule("requests", "distance", 0.0, 0.25, "counts within a few of one another: one more for all moves a third"),
    Rule("failures", "mean", 0.10, 0.10, "a tenth, or one time-out in ten look-ups"),
    Rule("seconds", "mean", 0.05, 0.0, "a twentieth: less than a change of one constant is measured by"),
    Rule("seconds", "p50", 0.05, 0.0, "the same"),
    Rule("seconds", "p90", 0.05, 0.0, "the same"),
    Rule("seconds", "p99", 0.10, 0.0, "a tenth: of hundreds of look-ups a few decide"),
    Rule("seconds", "distance", 0.0, 0.15, "a shift by a third of a standard deviation"),
    Rule("success", "mean", 0.0, 0.01, "one in a hundred"),
)
"""Every figure that is compared, and what is allowed with its reason."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One figure of one world by both engines."""

    rule: Rule
    protocol: Interval
    model: Interval
    difference: Interval
    """Model less protocol; of a distance, the distance itself."""
    allowed: float
    word: str
    """`agree`, `differ` or `open`."""


def verdict(rule: Rule, protocol: Sample, model: Sample) -> Verdict:
    """Compare one figure: over seeds, or where there is one network only over its operations."""
    left, right = protocol[rule.column], model[rule.column]
    if rule.figure == "distance":
        return _by_distance(rule, left, right)
    if rule.column == "success":
        return _by_share(rule, left, right)
    if min(len(left), len(right)) < 2:
        # One network only: what is said holds for that one, and is over its operations.
        mine, other = (_of_operations(np.concatenate(seeds), rule.figure) for seeds in (left, right))
        reach = math.hypot(mine.half_width, other.half_width)
        value = other.value - mine.value
        difference = Interval(value, value - reach, value + reach, mine.n, "operations")
    else:
        a, b = ([_figure(one, rule.figure) for one in seeds] for seeds in (left, right))
        difference = difference_of(a, b)
        mine, other = over_seeds(a), over_seeds(b)
    allowed = max(rule.share * abs(mine.value), rule.least)
    return Verdict(rule, mine, other, difference, allowed, judged(difference, allowed))


def judged(difference: Interval, allowed: float) -> str:
    """The word for a difference with its interval."""
    if not difference.known:
        return "open"
    if max(abs(difference.low), abs(difference.high)) <= allowed:
        return "agree"
    if difference.low > allowed or difference.high < -allowed:
        return "differ"
    return "open"


def difference_of(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The mean of `b` less that of `a`, with Welch's interval (B. L. Welch, Biometrika 34, 1947)."""
    from scipy.special import stdtrit

    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    value = float(y.mean() - x.mean())
    if len(x) < 2 or len(y) < 2:
        return Interval(value)
    vx, vy = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
    if vx + vy == 0.0:
        return Interval(value, value, value, len(x), "seeds")
    freedom = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    reach = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(vx + vy)
    return Interval(value, value - reach, value + reach, len(x), "seeds")


def distance(a: Floats, b: Floats) -> float:
    """Kolmogorov's and Smirnov's: the largest difference between the shares of both samples up to any value."""
    x, y = np.sort(a), np.sort(b)
    both = np.concatenate([x, y])
    return float(np.abs(np.searchsorted(x, both, "right") / len(x) - np.searchsorted(y, both, "right") / len(y)).max())


def _by_distance(rule: Rule, left: list[Floats], right: list[Floats]) -> Verdict:
    a, b = np.concatenate(left), np.concatenate(right)
    found = distance(a, b)
    # By how much each sample's distribution may be off its own true one (Massart, Annals of Probability 18, 1990).
    bound = math.sqrt(math.log(2 / (1 - CONFIDENCE)) / 2)
    reach = bound * math.sqrt(1 / len(a) + 1 / len(b))
    interval = Interval(found, max(0.0, found - reach), found + reach, len(a), "operations")
    nothing = Interval(math.nan, n=0)
    return Verdict(rule, nothing, nothing, interval, rule.least, judged(interval, rule.least))


def _by_share(rule: Rule, left: list[Floats], right: list[Floats]) -> Verdict:
    # Shares at or near 1 are alike in all seeds, of which seeds alone would say "exactly". Newcombe's interval of a
    # difference (Statistics in Medicine 17, 1998, method 10) is made of Wilson's two.
    a, b = (of_share(int(sum(map(np.sum, seeds))), sum(map(len, seeds))) for seeds in (left, right))
    value = b.value - a.value
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    found = Interval(value, low, high, a.n, "operations")
    return Verdict(rule, a, b, found, rule.least, judged(found, rule.least))


def _of_operations(values: Floats, figure: str) -> Interval:
    if figure == "mean":
        return of_mean(values)
    return of_percentile(np.sort(values), int(figure[1:]) / 100)


def _figure(values: Floats, figure: str) -> float:
    if figure == "mean":
        return float(values.mean())
    return nearest_rank(np.sort(values), int(figure[1:]) / 100)
