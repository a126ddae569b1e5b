"""What can be said from a few runs: intervals that hold the true figure in 95 of 100 cases, and tests of difference.

Decides which method is used for which kind of figure. Seeds are independent of each other, operations of one seed are
not (they share a network), so an interval over operations speaks for that one network only: every interval says over
what it was taken. Refuses to know where figures come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
"""Share of cases in which an interval holds the true figure: the convention of the field's papers."""

RESAMPLES: Final = 1000
"""Resamples of a bootstrap: enough for 95 % limits (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
section 13.3)."""

BOOTSTRAP_MOST: Final = 2000
"""Operations up to which means are bootstrapped; beyond, the central limit theorem gives the same limits at once.
UNSOURCED"""

Over = Literal["seeds", "operations", ""]
"""Over what an interval was taken; empty where there is none."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float = math.nan
    """NaN, as `high`, where nothing can be said: one seed and no operations to go by."""
    high: float = math.nan
    n: int = 1
    """Number of seeds, or of operations, it was taken over."""
    over: Over = ""

    @property
    def half_width(self) -> float:
        """Half the length of the interval: NaN without one."""
        return (self.high - self.low) / 2

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def clipped(self, low: float, high: float = math.inf) -> Interval:
        """The same within what the quantity can be at all: no share above 1, no time below 0."""
        if not self.known:
            return self
        return Interval(self.value, max(self.low, low), min(self.high, high), self.n, self.over)

    def to_json(self) -> dict[str, Any]:
        """As JSON says it; NaN becomes null."""
        return {
            "value": _finite(self.value),
            "low": _finite(self.low),
            "high": _finite(self.high),
            "n": self.n,
            "over": self.over or None,
        }


def over_seeds(figures: Sequence[float]) -> Interval:
    """Mean of one figure per seed, with Student's t interval; NaN figures count as seeds that had none."""
    from scipy.special import stdtrit

    known = [figure for figure in figures if not math.isnan(figure)]
    if not known:
        return Interval(math.nan, n=0)
    mean = math.fsum(known) / len(known)
    if len(known) < 2:
        return Interval(mean)
    error = float(np.std(known, ddof=1)) / math.sqrt(len(known))
    reach = float(stdtrit(len(known) - 1, 0.5 + CONFIDENCE / 2)) * error
    return Interval(mean, mean - reach, mean + reach, len(known), "seeds")


def of_share(successes: int, trials: int) -> Interval:
    """A share of operations with Wilson's score interval (E. B. Wilson, JASA 22, 1927): sound at 0 and 1 too."""
    if not trials:
        return Interval(math.nan, n=0)
    z, p = _z(), successes / trials
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    # At the ends rounding would leave the share itself just outside.
    return Interval(p, min(p, middle - reach), max(p, middle + reach), trials, "operations").clipped(0, 1)


def nearest_rank(ordered: Floats, share: float) -> float:
    """Give the nearest-rank percentile of ascending values, defined as `Metrics.figure` defines it; NaN of none."""
    if not len(ordered):
        return math.nan
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def of_percentile(ordered: Floats, share: float) -> Interval:
    """A percentile of ascending values with the distribution-free interval between two of them.

    Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2. Without an interval where the values are
    too few for one: the 99th percentile needs hundreds.
    """
    n, value = len(ordered), nearest_rank(ordered, share)
    reach = _z() * math.sqrt(n * share * (1 - share))
    low, high = math.ceil(n * share - reach) - 1, math.ceil(n * share + reach) - 1
    if low < 0 or high >= n or share >= 1:
        return Interval(value, n=n)
    return Interval(value, float(ordered[low]), float(ordered[high]), n, "operations")


def of_mean(values: Floats) -> Interval:
    """A mean over operations: bootstrapped, or by the central limit theorem where there are very many."""
    n = len(values)
    if not n:
        return Interval(math.nan, n=0)
    mean = float(values.mean())
    if n < 2:
        return Interval(mean)
    if n > BOOTSTRAP_MOST:
        reach = _z() * float(values.std(ddof=1)) / math.sqrt(n)
        return Interval(mean, mean - reach, mean + reach, n, "operations")
    # A fixed seed: the same results give the same report. It decides nothing about a run.
    rng = np.random.Generator(np.random.PCG64(0))
    # How often each distinct value is drawn is multinomial; hops and requests have few distinct values.
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 200:
        means = rng.multinomial(n, counts / n, size=RESAMPLES) @ distinct / n
    else:
        means = np.array([values[rng.integers(0, n, n)].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(mean, float(low), float(high), n, "operations")


# Tests of difference: each gives the probability that chance alone makes so large a difference


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    """Welch's t test of figures per seed (B. L. Welch, Biometrika 34, 1947).

    Figures that never vary differ for certain or not at all: then 0 or 1.
    """
    from scipy.special import stdtr

    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(x) < 2 or len(y) < 2:
        return math.nan
    difference = float(x.mean() - y.mean())
    vx, vy = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
    noise = math.sqrt(vx + vy)
    # Rounding makes the mean of equal numbers differ from them in the last digit.
    if noise <= 1e-12 * max(abs(float(x.mean())), abs(float(y.mean())), 1e-300):
        return 1.0 if math.isclose(float(x.mean()), float(y.mean()), rel_tol=1e-9) else 0.0
    freedom = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    return float(2 * stdtr(freedom, -abs(difference) / noise))


def fisher(good_a: int, all_a: int, good_b: int, all_b: int) -> float:
    """Fisher's exact test of two shares."""
    from scipy.stats import fisher_exact

    if not all_a or not all_b:
        return math.nan
    return float(fisher_exact(np.array([[good_a, all_a - good_a], [good_b, all_b - good_b]]))[1])


def same_percentile(a: Floats, b: Floats, share: float) -> float:
    """Test whether two ascending samples have one percentile: Fisher's test of how many of each lie above it.

    Mood's median test, for any percentile (Conover, section 4.3).
    """
    if not len(a) or not len(b):
        return math.nan
    bar = nearest_rank(np.sort(np.concatenate([a, b])), share)
    above_a = len(a) - int(np.searchsorted(a, bar, "right"))
    above_b = len(b) - int(np.searchsorted(b, bar, "right"))
    return fisher(above_a, len(a), above_b, len(b))


def mann_whitney(a: Floats, b: Floats) -> float:
    """Mann and Whitney's test of whether values of one sample tend to be larger than those of the other."""
    from scipy.stats import mannwhitneyu

    if not len(a) or not len(b):
        return math.nan
    if a.min() == a.max() == b.min() == b.max():
        return 1.0
    return float(mannwhitneyu(a, b, method="auto").pvalue)


def holm(chances: Sequence[float]) -> list[float]:
    """Correct for the number of tests: S. Holm, Scandinavian Journal of Statistics 6, 1979. NaN is no test."""
    tested = sorted((chance, at) for at, chance in enumerate(chances) if not math.isnan(chance))
    corrected = [math.nan] * len(chances)
    least = 0.0
    for rank, (chance, at) in enumerate(tested):
        least = max(least, min(1.0, chance * (len(tested) - rank)))
        corrected[at] = least
    return corrected


def _z() -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + CONFIDENCE / 2))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
