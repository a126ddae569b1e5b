"""Routing tables that are not stored: what a node knows follows from its index.

Decides which contacts a node has in which bucket and which of them it names, as `dht/routing.py` does: bucket m holds
up to k nodes that share exactly m leading bits with the owner, all of them where there are no more; an answer is the k
nearest to the target of the whole table. Which k of a crowded bucket is a draw without replacement from a stream
named by owner and bucket, so that the same node gives the same answer each time it is asked. Knows no time.

Neighbours: a real bucket is filled by look-ups, and whoever looks for one place comes back with contacts that lie
around it. Part of a crowded bucket is therefore one run of neighbours, which lead to fewer places than as many
contacts at random would.

Dead contacts: a share of the places in the order of ids belongs to ghosts, nodes that left within the last
liveness interval. Each table has by now noticed that with a likelihood that grows with the time since, and has another
contact in that seat; the others still name the ghost.

Crowding: up to `crowd` further ids, an attacker's, may lie next to one target of a look-up. They are known to
whoever has room for them in the bucket that the target falls into, like any other node there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from simulations.model.compiled import Array, inlined, zero
from simulations.model.draws import below, hashed, hashed_unit, start
from simulations.model.ids import BITS, Ids, bit_length, first_from, id_at

ANSWER: Final = 20
"""Contacts in an answer: `MAX_CONTACTS` of the wire format, and the paper's k."""

_TOWARD, _AWAY = range(2)
_TRIES: Final = 16
"""Draws for one seat: enough where a good part of a bucket lives; else the seat is as well left empty."""


class Tables(NamedTuple):
    """All tables at once, as compiled code takes them."""

    ids: Ids
    k: int
    """Contacts of a bucket."""
    seed: int
    """Names the draws; 62 bits."""
    ghosts: float
    """Share of the places that belong to nodes which have left."""
    noticing: bool = True
    """Whether tables have begun to notice who left; else all who left did so a moment ago."""
    together: int = 0
    """Seats of a crowded bucket that one walk has filled: with contacts that lie side by side."""


class Found(NamedTuple):
    """Where one answer is put together."""

    node: Array
    """int64: the nodes."""
    distance: Array
    """int64: of each, to the target."""
    away: Array
    """int64: bucket, first index and size of those that were put off."""
    stream: Array
    """The state of the stream that buckets are drawn from."""


@inlined
def departed(tables: Tables, index: int) -> bool:
    """Whether a node has left the network."""
    return tables.ghosts > 0.0 and hashed_unit(tables.seed + 1, index) < tables.ghosts


@inlined
def _noticed(tables: Tables, owner: int, index: int) -> bool:
    """Whether a table has noticed that a node left: the longer ago within the liveness interval, the likelier."""
    if not tables.noticing:
        return False
    return departed(tables, index) and hashed_unit(hashed(tables.seed + 2, owner), index) < hashed_unit(
        tables.seed + 3, index
    )


@inlined
def _draw(tables: Tables, owner: int, bucket: tuple[int, int, int, int], out: Array, found: int, stream: Array) -> int:
    """Append the members of a bucket (number, first index, ids in its range, crowding ids); return the new count.

    Those others have negative indices: -2, -3 and so on.
    """
    k = tables.k
    number, low, size, crowd = bucket
    total = size + crowd
    if total <= k:
        for index in range(low, low + size):
            out[found] = index
            found += index != owner
        if tables.ghosts > 0.0:
            last = found
            found -= size - (low <= owner < low + size)
            for seat in range(found, last):
                index = out[seat]
                if not _noticed(tables, owner, index):
                    out[found] = index
                    found += 1
        for other in range(crowd):
            out[found] = -2 - other
            found += 1
        return found
    start(stream, tables.seed, hashed(owner, number))
    first = found
    drawn = 0
    run = min(tables.together, size)
    begin = below(stream, size - run + 1) if run else 0
    for last in range(total - k, total - run):
        # Floyd's sampling (Bentley, CACM 30(9), 1987): without replacement, in k draws.
        place = below(stream, last + 1)
        # One bit for each draw says mostly that this one is new, without a look at all of them.
        if (drawn >> (place % BITS)) & 1:
            for seat in range(first, found):
                if out[seat] == place:
                    place = last
                    break
        drawn |= 1 << (place % BITS)
        out[found] = place
        found += 1
    for seat in range(first, found):
        # The others were drawn as if the run of neighbours were not there.
        place = out[seat] + (run if out[seat] >= begin else 0)
        out[seat] = low + place if place < size else -2 - (place - size)
    for place in range(begin, begin + run):
        out[found] = low + place
        found += 1
    if tables.ghosts > 0.0:
        found = _reseat(tables, owner, bucket, out, first, found, stream)
    return found


@inlined
def _reseat(
    tables: Tables, owner: int, bucket: tuple[int, int, int, int], out: Array, first: int, found: int, stream: Array
) -> int:
    """Give the seats of contacts found dead to others; where few are left, some stay empty. Returns the new count."""
    _, low, size, crowd = bucket
    kept = first
    for seat in range(first, found):
        index = out[seat]
        out[kept] = index
        kept += index < 0 or not _noticed(tables, owner, index)
    for _ in range((found - kept) * _TRIES):
        place = below(stream, size + crowd)
        index = low + place if place < size else -2 - (place - size)
        free = index < 0 or not _noticed(tables, owner, index)
        for other in range(first, kept):
            free = free and out[other] != index
        if free:
            out[kept] = index
            kept += 1
            if kept == found:
                break
    return kept


@inlined
def distance_to(ids: Ids, index: int, target: int) -> int:
    """How far a node is from a target. Crowding ids are nearer than any other, in the order of their numbers."""
    return -1 - index if index < 0 else id_at(ids, index) ^ target


@inlined
def _gather(
    tables: Tables,
    owner: int,
    bucket: tuple[int, int, int, int],
    target: int,
    need: int,
    bound: int,
    at: int,
    into: Found,
) -> tuple[int, int]:
    """Append the `need` members of one bucket that are nearest to the target, and nearer than `bound`.

    Returns the new count and how many are still needed: none once a member was too far, for the next are farther.
    """
    end = _draw(tables, owner, bucket, into.node, at, into.stream)
    kept = at
    for seat in range(at, end):
        index = into.node[seat]
        distance = distance_to(tables.ids, index, target)
        if distance < bound:
            into.node[kept] = index
            into.distance[kept] = distance
            kept += 1
    if kept - at >= need:
        cut(into.node, into.distance, at, kept, need)
        return at + need, 0
    return kept, 0 if kept < end else need - (kept - at)


@inlined
def nearest(tables: Tables, owner: int, own: int, target: int, count: int, bound: int, crowd: int, into: Found) -> int:
    """Find the `count` contacts nearest to `target` in the table of `owner`, whose id is `own`, in no certain order.

    `owner` is an index, or for one that stands in nobody's table any negative number. Of the `count`, only those nearer
    than `bound` are wanted, which spares most of the work. Returns how many were found.
    """
    ids = tables.ids
    shared = depth = BITS - bit_length(own ^ target)
    width = BITS - shared
    first = low = first_from(ids, (own >> width) << width)
    last = high = first_from(ids, ((own >> width) + 1) << width)
    found = away = zero()
    need = count
    phase = _TOWARD
    while need:
        if phase == _TOWARD:
            # Where our bit differs from the target's, our bucket lies on its side, and all that is in it is nearer than
            # all that is left. The others wait: of these the later is the nearer.
            if high - low <= tables.k or depth == BITS:
                # Our last bucket, not split because it is not full.
                begin, size, bucket = low, high - low, depth
                phase = _AWAY
            else:
                bucket = depth
                width = BITS - depth - 1
                middle = first_from(ids, ((own >> width) | 1) << width)
                upper = (own >> width) & 1
                begin, size = (low, middle - low) if upper else (middle, high - middle)
                low, high = (middle, high) if upper else (low, middle)
                depth += 1
                if (((own >> width) ^ (target >> width)) << width) >= bound:
                    phase = _AWAY
                if upper == (target >> width) & 1:
                    into.away[away, 0], into.away[away, 1], into.away[away, 2] = bucket, begin, size
                    away += 1
                    continue
        elif away:
            away -= 1
            bucket, begin, size = into.away[away, 0], into.away[away, 1], into.away[away, 2]
            width = BITS - bucket - 1
            if (((own >> width) ^ (target >> width) ^ 1) << width) >= bound:
                break
        else:
            # What shares fewer bits with us than the target does is farther than all that, the farther the fewer.
            if shared == 0:
                break
            shared -= 1
            bucket = shared
            width = BITS - bucket - 1
            if 1 << width >= bound:
                break
            upper = (own >> width) & 1
            edge = first_from(ids, ((own >> width) + (-1 if upper else 2)) << width)
            begin, size = (edge, first - edge) if upper else (last, edge - last)
            first, last = (edge, last) if upper else (first, edge)
        found, need = _gather(tables, owner, (bucket, begin, size, crowd), target, need, bound, found, into)
        crowd = zero()
    return found


@inlined
def cut(out: Array, far: Array, first: int, last: int, count: int) -> int:
    """Leave the `count` nearest of places `first` to `last` at the front of these; return how many were left."""
    if last - first <= count:
        return last - first
    # A bounded insertion: most of what comes late is farther than all that are kept.
    for seat in range(first + 1, last):
        distance, index = far[seat], out[seat]
        end = min(seat, first + count)
        if seat >= end and distance >= far[end - 1]:
            continue
        at = end
        if seat >= first + count:
            at = end - 1
        while at > first and far[at - 1] > distance:
            far[at] = far[at - 1]
            out[at] = out[at - 1]
            at -= 1
        far[at] = distance
        out[at] = index
    return count


@inlined
def sort_part(out: Array, far: Array, first: int, last: int) -> None:
    """Sort places `first` to `last` by distance."""
    for seat in range(first + 1, last):
        distance, index = far[seat], out[seat]
        at = seat
        while at > first and far[at - 1] > distance:
            far[at] = far[at - 1]
            out[at] = out[at - 1]
            at -= 1
        far[at] = distance
        out[at] = index


@inlined
def nobody_found(k: int) -> Found:
    """Make room for one answer of tables with buckets of `k`."""
    return Found(
        np.zeros(2 * (k + ANSWER), np.int64),
        np.zeros(2 * (k + ANSWER), np.int64),
        np.zeros((BITS, 3), np.int64),
        np.zeros(1, np.uint64),
    )
