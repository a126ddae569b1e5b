"""Which nodes are nearest to a target of all there are: those that should hold its records.

Decides by the order of ids alone; knows no table and no look-up.
"""

from __future__ import annotations

import numpy as np

from simulations.model.compiled import inlined, zero
from simulations.model.ids import BITS, first_from
from simulations.model.tables import Found, Tables, cut, departed, distance_to, sort_part

REGION = 1024
"""Nodes of a region looked at: twice the halves in which fewer than 40 of uniform ids fall on one side never hold."""


@inlined
def empty_region() -> Found:
    """Make room for `closest`."""
    return Found(
        np.zeros(REGION, np.int64), np.zeros(REGION, np.int64), np.zeros((1, 3), np.int64), np.zeros(1, np.uint64)
    )


@inlined
def closest(tables: Tables, target: int, count: int, into: Found) -> int:
    """Put the living nodes nearest to `target` into `into`, nearest first; return how many: `count`, or all."""
    ids = tables.ids
    low = high = first_from(ids, target)
    width = max(0, ids.shift - 1)
    found = zero()
    while found < count and width < BITS:
        width += 1
        prefix = target >> width
        next_low = first_from(ids, prefix << width)
        next_high = first_from(ids, (prefix + 1) << width)
        group = found
        # What the wider prefix adds is farther than all before.
        for index in range(next_low, next_high):
            if (index < low or index >= high) and found < REGION and not departed(tables, index):
                into.node[found] = index
                into.distance[found] = distance_to(ids, index, target)
                found += 1
        found = group + cut(into.node, into.distance, group, found, count - group)
        sort_part(into.node, into.distance, group, found)
        low, high = next_low, next_high
    return found
