"""Whether more nodes lie around a place than chance puts there: ids that were made for it (Sybils) push the honest
holders of a record out of the k nearest.

With n nodes at random ids, the number nearer to a place than a distance is Poisson distributed around n times that part
of the id space. Refuses to know who the nodes are, and what is done about a crowd.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

LOOKED_AT: Final = 2
"""Nearest nodes that are counted, times k."""

ALLOWANCE: Final = 1.25
"""How much denser than estimated the network may be. The estimate of 4 look-ups is good to 11 % (`dht.size`)."""

DEVIATIONS: Final = 3.5
"""Standard deviations of a Poisson count that are no chance any more. Drawn 10^5 times with an estimate good to 11 %,
0.36 % of places without any Sybil count as crowded; with 20 in the nearest quarter of the distance that k should span
all do, with 20 in the nearest half 93 %, and there a third of the 20 nearest is honest."""

FEWEST: Final = 8
"""Nodes that are a crowd at least: fewer are a Poisson distribution's long tail."""

WIDER: Final = 1.5
"""Distance over which a crowded place's records are written and read, in units of the one that k should span: whoever
estimates 25 % too little still reaches the holders of whoever estimates right."""

WIDEST: Final = 8
"""Most holders of a record at a crowded place, times k: bounds what a crowd, or the names of one, can make us ask."""


def is_crowded(distances: Sequence[int], region: int, k: int) -> bool:
    """Whether nodes at these distances, in order, are too many for a place where k should lie within `region`."""
    if not region:
        return False
    for count, distance in enumerate(distances[: LOOKED_AT * k], 1):
        expected = ALLOWANCE * k * distance / region
        if count >= FEWEST and count > expected + DEVIATIONS * sqrt(expected):
            return True
    return False
