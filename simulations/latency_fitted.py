"""Latency as measured between real hosts: models on the globe, fitted to published round-trip matrices.

A host lives in a city. The raw round trip of a pair is the distance at the speed of the measured fit, times a
factor of the pair's own, plus what each host's access line adds; a fixed monotone curve then turns raw round trips
into the measured distribution. So percentiles are those measured, near hosts stay near, each pair keeps its value
in both directions, and as many triangles are violated as in the data. What a host is follows from seed and IP (or
seed and number) alone: nothing is kept but a cache, and no matrix of pairs is ever made.

Decides the numbers; `latency_kernel.py` is the same for arrays and compiled code.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from random import Random
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from simulations.hops import Address
from simulations.latency import ROUND_TRIP_PER_KM
from simulations.latency_fits import Fit
from simulations.places import Place, arcs_km, cities, region_of
from simulations.randomness import Streams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simulations.latency_kernel import Tables

SLOTS = 4096
"""Entries of the table that draws a city from 12 bits: shares are exact to 1/4096. UNSOURCED"""
STEPS = 1024
"""Values that an access line or a pair's factor can take, at equal steps of probability. UNSOURCED"""
CELLS = 2048
"""Straight pieces of the curve: a quarter of a millisecond each. UNSOURCED"""
MIXER = 0x9E3779B1
"""Odd constant whose product with the two hosts' keys, combined, picks the pair's factor (2³²/golden ratio)."""
SCATTER = 0.5
"""Degrees by which hosts of one city are drawn apart on maps; it does not touch latency. UNSOURCED"""


class Settled(NamedTuple):
    """What the model knows of a host."""

    city: int
    arcs: tuple[float, ...]
    """Raw milliseconds to every city."""
    access: float
    """Raw milliseconds of its own line."""
    key: int
    """32 bits that decide, with another host's, the factor of the pair."""


class Fitted:
    """A fitted model with hosts in it: `delay` for the packet engine, `round_trips` for arrays of host numbers."""

    __slots__ = (
        "_access",
        "_arcs",
        "_arrays",
        "_curve",
        "_factors",
        "_hosts",
        "_key",
        "_per_cell",
        "_slots",
        "fit",
        "offset",
    )

    def __init__(self, fit: Fit, streams: Streams) -> None:
        self.fit = fit
        rng = streams.stream(f"latency/{fit.name}")
        self._key = rng.randbytes(32)
        self.offset = rng.getrandbits(64)
        """What host numbers are counted from before they are hashed."""
        self._hosts: dict[str, Settled] = {}
        self._arrays: Tables | None = None
        self._slots, self._arcs, self._access, self._factors, self._curve, self._per_cell = _tables(fit)

    def delay(self, src: Address, dst: Address, rng: Random) -> float:
        """Give the pair's one-way delay: half its round trip, the same for every packet in both directions."""
        hosts = self._hosts
        a = hosts.get(src[0])
        if a is None:
            a = self._settle(src[0])
        b = hosts.get(dst[0])
        if b is None:
            b = self._settle(dst[0])
        city, _, access, key = b
        factor = self._factors[((a[3] ^ key) * MIXER & 0xFFFFFFFF) >> 22]
        at = (a[1][city] * factor + (a[2] + access)) * self._per_cell
        cell = int(at)
        if cell >= CELLS:
            return self._curve[CELLS] / 2
        low = self._curve[cell]
        return (low + (self._curve[cell + 1] - low) * (at - cell)) / 2

    def place(self, ip: str) -> Place:
        """Give the city in which a host lives."""
        return cities()[self._host(ip).city]

    def coordinates(self, ip: str) -> tuple[float, float]:
        """Give longitude and latitude in degrees, hosts of one city drawn a little apart."""
        word = self._word(ip)
        place = self.place(ip)
        east, north = (((word >> shift & 31) + 0.5) / 32 - 0.5 for shift in (22, 27))
        return place.longitude + 2 * SCATTER * east, place.latitude + 2 * SCATTER * north

    def round_trips(self, a_index: NDArray[np.integer], b_index: NDArray[np.integer]) -> NDArray[np.float64]:
        """Give the round trips in seconds between hosts of those numbers, element by element."""
        from simulations.latency_kernel import round_trips

        return round_trips(a_index, b_index, self.tables())

    def tables(self) -> Tables:
        """Give all that the model is, as arrays: what compiled code needs (`latency_kernel.pair_round_trip`)."""
        from simulations.latency_kernel import tables_of

        if self._arrays is None:
            self._arrays = tables_of(
                self.offset, self._slots, self._arcs, self._access, self._factors, self._curve, self._per_cell
            )
        return self._arrays

    def _word(self, ip: str) -> int:
        return int.from_bytes(hashlib.blake2b(ip.encode(), key=self._key, digest_size=8).digest(), "big")

    def _host(self, ip: str) -> Settled:
        return self._hosts.get(ip) or self._settle(ip)

    def _settle(self, ip: str) -> Settled:
        word = self._word(ip)
        city = self._slots[word & (SLOTS - 1)]
        host = Settled(city, self._arcs[city], self._access[word >> 12 & (STEPS - 1)], word >> 32)
        self._hosts[ip] = host
        return host


_Tables = tuple[
    tuple[int, ...], tuple[tuple[float, ...], ...], tuple[float, ...], tuple[float, ...], tuple[float, ...], float
]


@cache
def _tables(fit: Fit) -> _Tables:
    """Work out the tables that no seed changes: cities by slot, raw arcs, access, factors, curve, cells a raw ms."""
    weights = [fit.region_weights[region_of(place.latitude, place.longitude)] for place in cities()]
    slots: list[int] = []
    total, reached = sum(weights), 0.0
    for number, weight in enumerate(weights):
        reached += weight
        slots += [number] * (round(reached / total * SLOTS) - len(slots))
    per_km = ROUND_TRIP_PER_KM * 1000
    arcs = tuple(tuple(km * per_km for km in row) for row in arcs_km())
    middle = [(step + 0.5) / STEPS for step in range(STEPS)]
    access = tuple(-fit.access * math.log(1 - p) for p in middle)
    normal = NormalDist(0.0, fit.spread)
    factors = tuple(math.exp(normal.inv_cdf(p)) for p in middle)
    per_cell = CELLS / fit.raw[-1]
    curve, knot = [], 0
    for cell in range(CELLS + 1):
        raw = cell / per_cell
        while knot < len(fit.raw) - 2 and fit.raw[knot + 1] < raw:
            knot += 1
        share = (raw - fit.raw[knot]) / (fit.raw[knot + 1] - fit.raw[knot])
        low, high = fit.measured[knot], fit.measured[knot + 1]
        curve.append((low + (high - low) * min(1.0, share)) / 1000)
    return tuple(slots), arcs, access, factors, tuple(curve), per_cell
