"""How long hosts stay and how long they are away: distributions of spans of time, by name, with published settings.

Decides lengths in seconds, also what is left of a session that is found running: a network that has been there for
long does not consist of sessions that all begin at zero. Refuses to know hosts and what happens at a session's end.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

from simulations.errors import BadScenario

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sessions(Protocol):
    """A distribution of spans. Each scalar draw has a twin for arrays, which takes a NumPy generator and a count."""

    @property
    def mean(self) -> float:
        """Mean length in seconds; infinite where there is none."""
        ...

    def draw(self, rng: Random) -> float:
        """Draw the length of a session that begins now."""
        ...

    def residual(self, rng: Random) -> float:
        """Draw what is left of a session found running at a random moment (stationary: long ones are found more)."""
        ...

    def draws(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw `count` lengths."""
        ...

    def residuals(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw `count` remainders."""
        ...


class Exponential:
    """Sessions without memory: one found running has as long to go as one that begins."""

    __slots__ = ("mean",)

    def __init__(self, mean: float) -> None:
        self.mean = _positive("mean", mean)

    def draw(self, rng: Random) -> float:
        """Draw a length."""
        return rng.expovariate(1 / self.mean)

    residual = draw

    def draws(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw lengths."""
        return rng.exponential(self.mean, count)

    residuals = draws


class Weibull:
    """Sessions as measured in peer-to-peer networks: with a shape below 1, those that have lasted go on lasting."""

    __slots__ = ("mean", "scale", "shape")

    def __init__(self, shape: float, scale: float) -> None:
        self.shape = _positive("shape", shape)
        self.scale = _positive("scale", scale)
        self.mean = self.scale * math.gamma(1 + 1 / self.shape)

    def draw(self, rng: Random) -> float:
        """Draw a length."""
        return rng.weibullvariate(self.scale, self.shape)

    def residual(self, rng: Random) -> float:
        """Draw a remainder: a uniform part of a session drawn in proportion to its length."""
        # (x/scale)^shape of a length-biased Weibull is a gamma variable with parameter 1 + 1/shape.
        biased: float = rng.gammavariate(1 + 1 / self.shape, 1.0) ** (1 / self.shape)
        return rng.random() * self.scale * biased

    def draws(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw lengths."""
        return self.scale * rng.weibull(self.shape, count)

    def residuals(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw remainders."""
        biased: NDArray[np.float64] = rng.gamma(1 + 1 / self.shape, 1.0, count) ** (1 / self.shape)
        return rng.random(count) * self.scale * biased

    @classmethod
    def through(cls, first: tuple[float, float], second: tuple[float, float]) -> Weibull:
        """Make the one in which the given shares are longer than the given seconds: two pairs (seconds, share)."""
        (early, more), (late, fewer) = first, second
        if not (0 < early < late < math.inf and 0 < fewer < more < 1):
            raise BadScenario(f"no Weibull distribution passes {first} and {second}: expected fewer that last longer")
        shape = math.log(math.log(fewer) / math.log(more)) / math.log(late / early)
        return cls(shape, early / (-math.log(more)) ** (1 / shape))


class LogNormal:
    """Sessions with a median and a long tail; `sigma` is the deviation of the logarithm."""

    __slots__ = ("mean", "median", "sigma")

    def __init__(self, median: float, sigma: float) -> None:
        self.median = _positive("median", median)
        self.sigma = _positive("sigma", sigma)
        self.mean = self.median * math.exp(self.sigma**2 / 2)

    def draw(self, rng: Random) -> float:
        """Draw a length."""
        return self.median * math.exp(self.sigma * rng.gauss(0.0, 1.0))

    def residual(self, rng: Random) -> float:
        """Draw a remainder."""
        # In proportion to length, the logarithm is normal again, its mean moved up by sigma².
        return rng.random() * self.draw(rng) * math.exp(self.sigma**2)

    def draws(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw lengths."""
        return rng.lognormal(math.log(self.median), self.sigma, count)

    def residuals(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw remainders."""
        return rng.random(count) * self.draws(rng, count) * math.exp(self.sigma**2)


class Pareto:
    """Sessions with a power-law tail that begins at zero: a share (1 + x/scale)^-shape lasts longer than x.

    The shifted form of Leonard, Rai and Loguinov, "On Lifetime-Based Node Failure and Stochastic Resilience of
    Decentralized Peer-to-Peer Networks" (SIGMETRICS 2005).
    """

    __slots__ = ("mean", "scale", "shape")

    def __init__(self, shape: float, scale: float) -> None:
        self.shape = _positive("shape", shape)
        self.scale = _positive("scale", scale)
        self.mean = self.scale / (self.shape - 1) if self.shape > 1 else math.inf

    def draw(self, rng: Random) -> float:
        """Draw a length."""
        return self.scale * (rng.paretovariate(self.shape) - 1)

    def residual(self, rng: Random) -> float:
        """Draw a remainder: the same form, its shape less by 1."""
        return self.scale * (rng.paretovariate(self._left()) - 1)

    def draws(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw lengths."""
        return self.scale * rng.pareto(self.shape, count)

    def residuals(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw remainders."""
        return self.scale * rng.pareto(self._left(), count)

    def _left(self) -> float:
        if self.shape <= 1:
            raise BadScenario(f"Pareto sessions of shape {self.shape} have no mean, so none is ever found running")
        return self.shape - 1


class Measured:
    """Sessions exactly as listed, each equally likely."""

    __slots__ = ("_sums", "lengths", "mean")

    def __init__(self, lengths: Sequence[float]) -> None:
        """Take lengths in seconds; at least one, each above 0."""
        if not lengths:
            raise BadScenario("no session was measured: expected at least one length above 0")
        self.lengths = tuple(_positive("length", length) for length in lengths)
        self._sums = tuple(itertools.accumulate(self.lengths))
        self.mean = self._sums[-1] / len(self.lengths)

    def draw(self, rng: Random) -> float:
        """Draw one of them."""
        return self.lengths[rng.randrange(len(self.lengths))]

    def residual(self, rng: Random) -> float:
        """Draw a remainder: a point somewhere on all of them laid end to end."""
        at = rng.random() * self._sums[-1]
        return self._sums[min(bisect.bisect_right(self._sums, at), len(self._sums) - 1)] - at

    def draws(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw lengths."""
        import numpy as np

        return np.array(self.lengths)[rng.integers(0, len(self.lengths), count)]

    def residuals(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw remainders."""
        import numpy as np

        sums = np.array(self._sums)
        at = rng.random(count) * sums[-1]
        left: NDArray[np.float64] = sums[np.minimum(np.searchsorted(sums, at, side="right"), len(sums) - 1)] - at
        return left


def found_running(up: Sessions, down: Sessions, rng: Random) -> tuple[bool, float]:
    """Draw whether a host is up at a random moment of a long life, and the seconds until that changes."""
    whole = up.mean + down.mean
    if not whole < math.inf:
        raise BadScenario("sessions or absences without a mean have no usual moment: choose a Pareto shape above 1")
    is_up = rng.random() * whole < up.mean
    return is_up, (up if is_up else down).residual(rng)


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise BadScenario(f"{name} = {value!r} of sessions: expected a finite number above 0")
    return value
