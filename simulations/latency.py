"""How long a packet is under way from one host to another, one way, in seconds.

Decides the distribution only; who may talk to whom, and what is lost, is the network's affair. Two packets of one
pair may overtake each other wherever a model has spread: that is how reordering comes about.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Protocol

from simulations.errors import BadScenario
from simulations.hops import Address
from simulations.randomness import Streams

EARTH_RADIUS_KM = 6371.0
"""Mean radius of the Earth (IUGG R1, rounded)."""
BASE_ROUND_TRIP = 0.0317
"""Round trip at distance zero, seconds: least squares over 59,244 city pairs, WonderNetwork pings, November 2018."""
ROUND_TRIP_PER_KM = 0.0000174
"""Further round-trip seconds a kilometre, from the same fit."""

Point = tuple[float, ...]
"""Coordinates in km: two for a plane, three for a place on (or in) the globe."""


class Latency(Protocol):
    """A model of one-way delay."""

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Draw the seconds that one packet from `src` to `dst` takes; never negative."""
        ...


class Constant:
    """The same delay for everybody."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = _not_negative("seconds", seconds)

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Give the constant."""
        return self.seconds


class Uniform:
    """Anything between two bounds, equally likely."""

    __slots__ = ("_span", "high", "low")

    def __init__(self, low: float, high: float) -> None:
        self.low = _not_negative("low", low)
        self._span = _not_negative("high - low", high - low)
        self.high = high

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Draw between the bounds."""
        return self.low + self._span * rng.random()


class LogNormal:
    """A median and a long tail to the right, as measured round trips have it; `sigma` is that of the logarithm."""

    __slots__ = ("_mu", "median", "sigma")

    def __init__(self, median: float, sigma: float) -> None:
        if not median > 0:
            raise BadScenario(f"median = {median!r} is no latency: expected seconds above 0")
        self.median = median
        self._mu = math.log(median)
        self.sigma = _not_negative("sigma", sigma)

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Draw around the median."""
        return math.exp(self._mu + self.sigma * rng.gauss(0.0, 1.0))


class Geographic:
    """Delay that grows with distance, the same in both directions and for every packet of a pair."""

    __slots__ = ("_arc", "_base", "_per_km", "_place_of", "_places")

    def __init__(
        self,
        place_of: Callable[[str], Point],
        *,
        base: float = BASE_ROUND_TRIP,
        per_km: float = ROUND_TRIP_PER_KM,
        arc: bool = True,
    ) -> None:
        """`place_of(ip)` is asked once a host; `arc` measures three coordinates round the globe, not through it."""
        self._place_of = place_of
        self._places: dict[str, Point] = {}
        self._base = _not_negative("base", base) / 2
        self._per_km = _not_negative("per_km", per_km) / 2
        self._arc = arc

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Give half the fitted round trip over the distance."""
        return self._base + self._per_km * self.distance(src[0], dst[0])

    def coordinates(self, ip: str) -> tuple[float, float] | None:
        """Give a host's longitude and latitude in degrees; `None` on a plane."""
        place = self._place_of(ip)
        if len(place) < 3:
            return None
        x, y, z = place
        return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))

    def distance(self, a: str, b: str) -> float:
        """Kilometres between two hosts."""
        places = self._places
        here = places.get(a)
        if here is None:
            here = places[a] = self._place_of(a)
        there = places.get(b)
        if there is None:
            there = places[b] = self._place_of(b)
        chord = math.dist(here, there)
        if not self._arc or len(here) < 3:
            return chord
        # Rounding can put the chord of two antipodes a hair beyond the diameter, where asin has no value.
        return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, chord / (2 * EARTH_RADIUS_KM)))


class Jitter:
    """Another model's delay, and on top an exponentially distributed wait as of queues on the way."""

    __slots__ = ("_rate", "base", "mean")

    def __init__(self, base: Latency, mean: float) -> None:
        self.base = base
        self.mean = mean
        if not mean > 0:
            raise BadScenario(f"mean = {mean!r} is no jitter: expected seconds above 0")
        self._rate = 1 / mean

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Draw the base, then the wait."""
        return self.base.delay(src, dst, rng) + rng.expovariate(self._rate)


def on_globe(latitude: float, longitude: float) -> Point:
    """Turn degrees into the three coordinates that `Geographic` measures arcs between."""
    phi, lam = math.radians(latitude), math.radians(longitude)
    ring = EARTH_RADIUS_KM * math.cos(phi)
    return (ring * math.cos(lam), ring * math.sin(lam), EARTH_RADIUS_KM * math.sin(phi))


def scattered(streams: Streams) -> Callable[[str], Point]:
    """Give each host a place anywhere on the globe that depends on seed and IP only, not on who was asked first."""

    def place_of(ip: str) -> Point:
        rng = streams.stream(f"place/{ip}")
        # Sine of the latitude, not the latitude, is what is uniform over a sphere (Archimedes).
        return on_globe(math.degrees(math.asin(rng.uniform(-1.0, 1.0))), rng.uniform(-180.0, 180.0))

    return place_of


def _not_negative(name: str, value: float) -> float:
    if not 0 <= value < math.inf:
        raise BadScenario(f"{name} = {value!r} is no latency: expected a finite number from 0 up")
    return value
