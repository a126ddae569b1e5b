"""The candidates of a look-up, nearest first.

Decides what is kept and in which order; never whom to ask. As in `dht/lookup.py` a candidate enters once, from whoever
named it first. What is known of it has a number that stays, while the order of the numbers changes: a request under
way finds its candidate again, even one that was since pushed off the list.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from simulations.model.compiled import Array, inlined

EVER: Final = 8192
"""Candidates of one look-up, forgotten ones included: 256 requests that name 20 each, and 20 of one's own."""


class Shortlist(NamedTuple):
    """The nearest candidates so far."""

    number: Array
    """int32, by rank: the candidate."""
    distance: Array
    """int64, by rank: to the target."""
    node: Array
    """int64, by number: the node, negative for one of a crowd of Sybils."""
    state: Array
    """int8, by number: what became of it, 0 for not asked."""
    hops: Array
    """int32, by number: 1 for what the origin knew itself, one more than its referrer's else."""
    size: Array
    """int64: how many are on the list, and how many ever were."""


@inlined
def empty(room: int) -> Shortlist:
    """Make a list for at most `room` candidates."""
    return Shortlist(
        np.zeros(room, np.int32),
        np.zeros(room, np.int64),
        np.zeros(EVER, np.int64),
        np.zeros(EVER, np.int8),
        np.zeros(EVER, np.int32),
        np.zeros(2, np.int64),
    )


@inlined
def insert(listed: Shortlist, index: int, distance: int, hops: int) -> None:
    """Put in a candidate unless it is known or too far; where the list is full, the farthest is forgotten."""
    count, made = listed.size[0], listed.size[1]
    far = listed.distance
    if made == EVER or (count == len(far) and distance >= far[count - 1]):
        return
    at = count
    while at > 0 and far[at - 1] >= distance:
        at -= 1
    same = at
    while same < count and far[same] == distance:
        if listed.node[listed.number[same]] == index:
            return
        same += 1
    if count < len(far):
        count += 1
        listed.size[0] = count
    for seat in range(count - 1, at, -1):
        listed.number[seat] = listed.number[seat - 1]
        far[seat] = far[seat - 1]
    listed.number[at] = made
    far[at] = distance
    listed.node[made] = index
    listed.state[made] = 0
    listed.hops[made] = hops
    listed.size[1] = made + 1


@inlined
def bound_of(listed: Shortlist) -> int:
    """Distance from which on a further candidate would not be taken."""
    count = listed.size[0]
    return listed.distance[count - 1] if count == len(listed.distance) else 1 << 62


@inlined
def clear(listed: Shortlist) -> None:
    """Forget all."""
    listed.size[0] = listed.size[1] = 0
