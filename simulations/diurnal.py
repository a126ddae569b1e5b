"""Load that follows the sun: how much more or less happens at an hour of the day, and arrivals drawn accordingly.

Decides a factor around 1 and times; what arrives is the scenario's affair.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from simulations.errors import BadScenario

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DAY = 86_400.0


class Diurnal:
    """A daily wave with mean 1: `1 + amplitude` at the peak hour of the place, `1 - amplitude` half a day later."""

    __slots__ = ("amplitude", "peak", "period")

    def __init__(self, amplitude: float, peak_hour: float, period: float = DAY) -> None:
        """Take an amplitude of 0 to 1, the local hour of the peak, and the length of a day in seconds."""
        if not 0 <= amplitude <= 1:
            raise BadScenario(f"amplitude = {amplitude!r} of a daily wave: expected 0 to 1")
        if not 0 < period < math.inf:
            raise BadScenario(f"period = {period!r} of a daily wave: expected finite seconds above 0")
        if not 0 <= peak_hour * 3600 <= period:
            raise BadScenario(f"peak_hour = {peak_hour!r} of a daily wave: expected 0 to {period / 3600:g} hours")
        self.amplitude = amplitude
        self.peak = peak_hour * 3600 / period
        self.period = period

    @property
    def highest(self) -> float:
        """The factor at the peak."""
        return 1 + self.amplitude

    def factor(self, now: float, longitude: float = 0.0) -> float:
        """Give the factor at the Unix time `now`, where local noon is an hour earlier for each 15° east."""
        turn = now / self.period + longitude / 360 - self.peak
        return 1 + self.amplitude * math.cos(2 * math.pi * (turn - math.floor(turn)))

    def next_arrival(self, now: float, rate: float, rng: Random, longitude: float = 0.0) -> float:
        """Draw the time of the next arrival after `now`, of `rate` a second on average over the day (thinning)."""
        most = _rate(rate) * self.highest
        while True:
            now += rng.expovariate(most)
            if rng.random() * self.highest < self.factor(now, longitude):
                return now

    def factors(self, times: NDArray[np.float64], longitude: float = 0.0) -> NDArray[np.float64]:
        """Give the factor at each of the times."""
        import numpy as np

        turn = times / self.period + longitude / 360 - self.peak
        found: NDArray[np.float64] = 1 + self.amplitude * np.cos(2 * math.pi * (turn - np.floor(turn)))
        return found

    def arrivals(
        self, start: float, span: float, rate: float, rng: np.random.Generator, longitude: float = 0.0
    ) -> NDArray[np.float64]:
        """Draw all arrivals from `start` for `span` seconds, in order."""
        import numpy as np

        count = rng.poisson(_rate(rate) * self.highest * span)
        times = np.sort(start + span * rng.random(count))
        kept: NDArray[np.float64] = times[rng.random(count) * self.highest < self.factors(times, longitude)]
        return kept


def _rate(rate: float) -> float:
    if not 0 < rate < math.inf:
        raise BadScenario(f"rate = {rate!r} of arrivals: expected a finite number a second, above 0")
    return rate
