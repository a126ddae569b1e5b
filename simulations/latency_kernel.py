"""The fitted latency models for arrays and for compiled code: the arithmetic of `latency_fitted.py`, on tables.

Decides how a host number becomes a host: by a hash, so that 10⁸ hosts need no memory. Compiles nothing itself:
`pair_round_trip` is plain enough for `numba.njit`, and `round_trips` is NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MIXER = np.uint32(0x9E3779B1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""The constants of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
_30, _27, _31, _32, _12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32), np.uint64(12)
_SLOT_MASK, _STEP_MASK = np.uint64(4095), np.uint64(1023)
_22 = np.uint32(22)


class Tables(NamedTuple):
    """A fitted model as arrays: of any number of hosts, less than a megabyte."""

    offset: np.uint64
    """Added to a host's number before hashing; follows from the seed."""
    slots: NDArray[np.int64]
    """City by the lowest 12 bits of a host's word."""
    arcs: NDArray[np.float64]
    """Raw milliseconds between cities, row by row, flat."""
    width: int
    """Cities in a row of `arcs`."""
    access: NDArray[np.float64]
    """Raw milliseconds by the next 10 bits."""
    factors: NDArray[np.float64]
    """Factor of a pair by 10 bits of both keys."""
    curve: NDArray[np.float64]
    """Round trip in seconds at the end of each cell; one more than there are cells."""
    per_cell: float
    """Cells in a raw millisecond."""


def tables_of(
    offset: int,
    slots: Sequence[int],
    arcs: Sequence[Sequence[float]],
    access: Sequence[float],
    factors: Sequence[float],
    curve: Sequence[float],
    per_cell: float,
) -> Tables:
    """Turn the model's tuples into arrays."""
    flat = np.array(arcs, dtype=np.float64)
    return Tables(
        np.uint64(offset),
        np.array(slots, dtype=np.int64),
        flat.ravel(),
        flat.shape[1],
        np.array(access),
        np.array(factors),
        np.array(curve),
        per_cell,
    )


def words(index: NDArray[np.integer], offset: np.uint64) -> NDArray[np.uint64]:
    """Hash host numbers to 64 bits each (SplitMix64)."""
    with np.errstate(over="ignore"):
        z = (index.astype(np.uint64) + offset) * _GOLDEN
        z = (z ^ (z >> _30)) * _M1
        z = (z ^ (z >> _27)) * _M2
        return z ^ (z >> _31)


def round_trips(a: NDArray[np.integer], b: NDArray[np.integer], tables: Tables) -> NDArray[np.float64]:
    """Give round trips in seconds between the hosts numbered in `a` and `b`, element by element."""
    here, there = words(np.asarray(a), tables.offset), words(np.asarray(b), tables.offset)
    with np.errstate(over="ignore"):
        mixed = ((here ^ there) >> _32).astype(np.uint32) * _MIXER >> _22
    row, column = tables.slots[here & _SLOT_MASK], tables.slots[there & _SLOT_MASK]
    raw = tables.arcs[row * tables.width + column] * tables.factors[mixed]
    raw += tables.access[here >> _12 & _STEP_MASK] + tables.access[there >> _12 & _STEP_MASK]
    raw *= tables.per_cell
    last = len(tables.curve) - 2
    cell = np.minimum(raw.astype(np.int64), last)
    share = np.minimum(raw - cell, 1.0)
    low = tables.curve[cell]
    found: NDArray[np.float64] = low + (tables.curve[cell + 1] - low) * share
    return found


def pair_round_trip(a: int, b: int, tables: Tables) -> float:
    """Give the round trip in seconds between hosts `a` and `b`: for `numba.njit`, where integers wrap at 64 bits."""
    here, there = np.uint64(a) + tables.offset, np.uint64(b) + tables.offset
    here, there = here * _GOLDEN, there * _GOLDEN
    here, there = (here ^ (here >> _30)) * _M1, (there ^ (there >> _30)) * _M1
    here, there = (here ^ (here >> _27)) * _M2, (there ^ (there >> _27)) * _M2
    here, there = here ^ (here >> _31), there ^ (there >> _31)
    mixed = np.uint32(np.uint32((here ^ there) >> _32) * _MIXER) >> _22
    row, column = tables.slots[np.int64(here & _SLOT_MASK)], tables.slots[np.int64(there & _SLOT_MASK)]
    raw = tables.arcs[row * tables.width + column] * tables.factors[np.int64(mixed)]
    raw += tables.access[np.int64(here >> _12 & _STEP_MASK)] + tables.access[np.int64(there >> _12 & _STEP_MASK)]
    at = raw * tables.per_cell
    cell = min(int(at), len(tables.curve) - 2)
    low = tables.curve[cell]
    return float(low + (tables.curve[cell + 1] - low) * min(at - cell, 1.0))
