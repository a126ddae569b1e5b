"""The ids of all nodes, sorted, in about five bytes each.

Decides where ids lie and finds them by prefix; knows nothing of tables or look-ups. Ids are uniform over the space,
exactly as hashes are (counts of the blocks are multinomial, the places in a block independent), because hop figures
depend on how unevenly ids fall. An id here is the first 62 bits of one of 160: positive, so that plain signed
arithmetic serves; of these 35 (10^3 nodes) to 55 (10^9) bits are random and the rest zero. Two nodes that share all
of them are as rare as 1 in 10^4 networks of 10^3, and are told apart by their index.

Layout: 64 neighbours share a base of 8 bytes and have an offset of 4 bytes each, so that the id of an index takes two
reads; the index of the first id of each block of about 4 to 8 ids makes finding a prefix two reads as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from simulations.errors import BadScenario
from simulations.model.compiled import Array, compiled, inlined
from simulations.model.draws import hashed, seed_of

BITS: Final = 62
"""Bits of an id."""
MOST: Final = 2**32 - 1
"""Nodes that 4-byte indices can tell apart."""
_GROUP: Final = 6
"""log2 of the ids that share a base."""
_FINE: Final = 20
"""log2 of the blocks that are counted or filled by one call: a tenth of a second of work, between which a caller can
interrupt, and 8 MB on the way."""


class Ids(NamedTuple):
    """Sorted ids, as compiled code takes them."""

    offsets: Array
    """uint32: of each id, from the base of its group."""
    bases: Array
    """int64: one for every 64 ids."""
    starts: Array
    """uint32: the index of the first id of each block, and the number of ids at the end."""
    shift: int
    """Low bits that are zero in every id."""
    block: int
    """Bits of an id below those that number its block."""
    total: int
    """How many ids there are."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return int(self.offsets.nbytes + self.bases.nbytes + self.starts.nbytes)


def spread(count: int, seed: int) -> Ids:
    """Lay out `count` ids uniformly. Equal for equal seed and count.

    Raises `BadScenario` for fewer than 2 or more than 2^32 - 1.
    """
    if not 2 <= count <= MOST:
        raise BadScenario(f"nodes = {count!r} is no size of a network here: expected 2 to {MOST}")
    top = max(0, count.bit_length() - 3)
    starts = _occupancy(count, top, np.random.Generator(np.random.PCG64(seed_of(seed, "ids"))))
    block = BITS - top
    offsets = np.empty(count, np.uint32)
    key = seed_of(seed, "places")
    for first in range(0, 1 << top, 1 << _FINE):
        _fill(offsets, starts, first, min(first + (1 << _FINE), 1 << top), key)
    # A place in a block has 32 random bits.
    bases = np.empty((count >> _GROUP) + 1, np.int64)
    widest = _widest_group(offsets, starts, block)
    shift = max(block - 32, widest.bit_length() - 32, 0)
    _rebase(offsets, bases, starts, block, shift)
    return Ids(offsets, bases, starts, shift, block, count)


def all_ids(ids: Ids) -> Array:
    """Every id, sorted, as int64 (8 bytes each: for tests and small networks)."""
    index = np.arange(ids.total)
    found: Array = (ids.bases[index >> _GROUP] + ids.offsets) << ids.shift
    return found


def _occupancy(count: int, top: int, rng: np.random.Generator) -> Array:
    """Where each of 2^top equal blocks begins in the order of ids: the counts are halved again and again."""
    coarse = _halved(np.array([count], np.int64), max(0, top - _FINE), rng)
    starts = np.zeros((1 << top) + 1, np.uint32)
    each = (1 << top) // len(coarse)
    passed = 0
    for number, within in enumerate(coarse):
        fine = _halved(np.array([within], np.int64), min(top, _FINE), rng)
        starts[1 + number * each : 1 + (number + 1) * each] = passed + np.cumsum(fine)
        passed += int(within)
    return starts


def _halved(counts: Array, times: int, rng: np.random.Generator) -> Array:
    for _ in range(times):
        left = rng.binomial(counts, 0.5)
        counts = np.stack((left, counts - left), axis=1).reshape(-1)
    return counts


@compiled
def _fill(offsets: Array, starts: Array, first: int, last: int, key: int) -> None:
    """Draw and sort the places within each block."""
    for block in range(first, last):
        low, high = np.int64(starts[block]), np.int64(starts[block + 1])
        for index in range(low, high):
            place = hashed(key, index) >> 30
            at = index
            while at > low and offsets[at - 1] > place:
                offsets[at] = offsets[at - 1]
                at -= 1
            offsets[at] = place


@inlined
def _raw(offsets: Array, number: int, index: int, block: int) -> int:
    """The id of an index whose block is known, before the change of layout."""
    if block >= 32:
        return (number << block) + (np.int64(offsets[index]) << (block - 32))  # type: ignore[return-value]
    return (number << block) + (np.int64(offsets[index]) >> (32 - block))  # type: ignore[return-value]


@compiled
def _widest_group(offsets: Array, starts: Array, block: int) -> int:
    """The greatest difference of two ids that are to share a base, and one for rounding."""
    widest = base = 0
    for number in range(len(starts) - 1):
        for index in range(np.int64(starts[number]), np.int64(starts[number + 1])):
            own = _raw(offsets, number, index, block)
            if index & 63 == 0:
                base = own
            widest = max(widest, own - base)
    return widest + 1


@compiled
def _rebase(offsets: Array, bases: Array, starts: Array, block: int, shift: int) -> None:
    """Turn places within blocks into offsets from bases, in units of 2^shift."""
    base = 0
    for number in range(len(starts) - 1):
        for index in range(np.int64(starts[number]), np.int64(starts[number + 1])):
            # Cutting low bits leaves an id in its block: a block is a whole number of units.
            own = _raw(offsets, number, index, block) >> shift
            if index & 63 == 0:
                base = own
                bases[index >> 6] = base
            offsets[index] = own - base


@inlined
def id_at(ids: Ids, index: int) -> int:
    """The id of a node."""
    return (ids.bases[index >> 6] + np.int64(ids.offsets[index])) << ids.shift  # type: ignore[no-any-return]


@inlined
def first_from(ids: Ids, value: int) -> int:
    """The index of the first id that is not below `value` (0 to 2^62)."""
    number = value >> ids.block
    low = np.int64(ids.starts[number])
    if value == number << ids.block:
        return low  # type: ignore[return-value]
    high = np.int64(ids.starts[number + 1])
    while low < high:
        middle = (low + high) >> 1
        if id_at(ids, middle) < value:  # type: ignore[arg-type]
            low = middle + 1
        else:
            high = middle
    return low  # type: ignore[return-value]


@inlined
def bit_length(value: int) -> int:
    """How many bits a number of at most 62 needs."""
    length = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> step:
            value >>= step
            length += step
    return length + (value > 0)
