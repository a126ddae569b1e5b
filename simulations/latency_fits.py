"""What the fitted latency models carry of their data: quantiles, a few weights, and where they come from.

Decides numbers only. The arithmetic on them is in `latency_fitted.py`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from simulations.errors import BadScenario
from simulations.places import REGIONS


def _quantiles(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split()))


MEASURED_AT = _quantiles(
    """
    0 0.001 0.005 0.01 0.02 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.55 0.6 0.65 0.7 0.75 0.8 0.85 0.9 0.93
    0.95 0.97 0.98 0.99 0.995 0.999 1
    """
)
"""The probabilities at which quantiles are given."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What one model carries of its data."""

    name: str
    source: str
    region_weights: tuple[float, ...]
    """Relative weight of a city, by region: chosen so that distances alone come near the measured distribution."""
    access: float
    """Mean milliseconds that a host's access line adds to a raw round trip (exponential)."""
    spread: float
    """Standard deviation of the logarithm of a pair's factor: fitted to the measured triangle violations."""
    raw: tuple[float, ...]
    """Quantiles of raw round trips, in ms, at `MEASURED_AT`: what two hosts drawn at random have."""
    measured: tuple[float, ...]
    """Quantiles of measured round trips, in ms, at `MEASURED_AT`."""
    violations: float
    """Measured share of (pair, third host) in which the way over the third host is shorter."""

    def __post_init__(self) -> None:
        if len(self.region_weights) != len(REGIONS):
            raise BadScenario(f"fit {self.name!r} has {len(self.region_weights)} weights: expected {len(REGIONS)}")
        if len(self.raw) != len(self.measured) or len(self.raw) < 2:
            raise BadScenario(f"fit {self.name!r} has {len(self.raw)} raw and {len(self.measured)} measured quantiles")
        for name, values in (("raw", self.raw), ("measured", self.measured)):
            if any(low >= high for low, high in itertools.pairwise(values)):
                raise BadScenario(f"the {name} quantiles of fit {self.name!r} do not grow")


PLANETLAB = Fit(
    "planetlab",
    "119,805 pairs of 490 PlanetLab hosts; Zhu et al., IEEE/ACM Transactions on Networking 25(2), 2017, data MIT",
    (0.72, 1.0, 0.96, 0.32, 0.18, 0.62, 0.44),
    2.0,
    0.042,
    _quantiles(
        """
        0.0 1.5 4.2 6.41 9.41 15.33 23.4 31.39 40.58 51.09 62.88 76.9 98.97 113.88 125.21 135.44 145.06 154.84
        165.5 179.32 198.5 221.16 242.88 258.35 271.57 288.77 300.61 317.88 330.43 349.63 400.94
        """
    ),
    _quantiles(
        """
        0.09 0.18 2.54 6.12 10.76 19.31 31.63 40.38 49.15 59.28 74.95 92.6 108.4 121.95 135.01 147.98 161.07
        174.4 188.24 201.76 220.49 249.27 290.71 309.91 324.91 349.39 370.78 412.62 496.04 770.9 2984.1
        """
    ),
    0.0586,
)
CITIES = Fit(
    "cities",
    "59,244 directed pairs of 242 cities; WonderNetwork pings of November 2018, averages of each pair",
    (0.58, 0.41, 1.0, 0.12, 0.34, 0.40, 0.45),
    1.0,
    0.01,
    _quantiles(
        """
        0.0 0.71 2.54 5.5 9.74 18.2 29.89 42.9 54.8 66.67 79.98 97.97 114.32 129.15 140.93 151.74 161.85 173.3
        188.79 205.37 221.17 237.24 256.11 271.25 283.63 297.34 308.8 323.05 329.65 342.43 361.19
        """
    ),
    _quantiles(
        """
        0.06 3.33 6.85 9.38 13.85 23.2 35.14 47.06 61.72 77.01 92.51 105.9 118.36 131.16 143.06 155.02 167.94
        181.39 198.18 217.57 239.74 262.21 290.89 312.97 331.22 360.73 386.9 442.45 516.88 852.79 1554.27
        """
    ),
    0.0558,
)
FITS = {fit.name: fit for fit in (PLANETLAB, CITIES)}
"""The fitted models, by name."""
