"""Whether more nodes lie around a place than chance puts there: ids that were made for it (Sybils) push the honest
holders of a record out of the k nearest.

Of nodes at random ids the distance of the i-th nearest to any place is gamma distributed of order i, in units of the
mean spacing; a spacing estimated from m distances in all is gamma distributed of order m. Their ratio follows an F
distribution with 2 i and 2 m degrees of freedom, whatever the network's size, so each nearest node's distance has an
exact probability. Refuses to know who the nodes are, and what is done about a crowd.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

LOOKED_AT: Final = 2
"""Nearest nodes whose distances are judged, times k."""

DEVIATIONS: Final = 3.2
"""Standard deviations by which the nearest of these distances may fall short. Drawn 200,000 times, 0.5 % of places
without any Sybil do, whether the estimate stems from 1 look-up or 15 (`docs/results/hostile.md`)."""

FEWEST: Final = 8
"""Nodes that are a crowd at least: with twelve more honest ones among 20, they hide nothing from a quorum of six."""

WIDER: Final = 1.5
"""Distance over which a crowded place's records are written and read, in units of the one that k should span: whoever
estimates 25 % too little still reaches the holders of whoever estimates right."""

WIDEST: Final = 8
"""Most holders of a record at a crowded place, times k: bounds what a crowd, or the names of one, can make us ask."""


def is_crowded(distances: Sequence[int], region: int, k: int, counted: int) -> bool:
    """Whether nodes at these distances, in order, lie nearer than chance puts them where k should span `region`.

    `counted`: the distances that `region` was estimated from, 0 if there is no estimate.
    """
    if not (region and counted):
        return False
    # The cube root of an F variable is nearly normal (Paulson 1942, after Wilson and Hilferty 1931).
    spread = 1 / (9 * counted)
    for rank, distance in enumerate(distances[FEWEST - 1 : LOOKED_AT * k], FEWEST):
        own_spread = 1 / (9 * rank)
        root = (distance * k / (region * rank)) ** (1 / 3)
        if (1 - own_spread) - (1 - spread) * root > DEVIATIONS * sqrt(own_spread + spread * root * root):
            return True
    return False
