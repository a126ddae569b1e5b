"""Randomness without state: numbers that follow from a seed and a counter.

Decides how draws are made, never what for. Every look-up has a stream of its own, named by its number, and every
property of a node is a hash of its index: so results depend neither on the number of threads nor on the order of
work. The generator is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
2014; constants of its variant 13 by Stafford), which passes BigCrush.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

import numpy as np

from simulations.model.compiled import Array, inlined

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio, made odd: the step between two states."""
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S2, _S11, _S32 = (np.uint64(bits) for bits in (30, 27, 31, 2, 11, 32))
_UNIT: Final = 2.0**-53


def seed_of(seed: int, label: str) -> int:
    """Give 62 bits that follow from a seed and a purpose, alike on every machine."""
    digest = hashlib.blake2b(f"{seed}/{label}".encode(), person=b"rookery-model", digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


@inlined
def _mixed(state: np.uint64) -> np.uint64:
    state = (state ^ (state >> _S30)) * _FIRST
    state = (state ^ (state >> _S27)) * _SECOND
    return state ^ (state >> _S31)


@inlined
def hashed(a: int, b: int) -> int:
    """Hash two numbers to one of 62 bits."""
    return np.int64(_mixed(_mixed(np.uint64(a) + _GAMMA) + np.uint64(b) * _GAMMA + _GAMMA) >> _S2)  # type: ignore[return-value]


@inlined
def hashed_unit(a: int, b: int) -> float:
    """Hash two numbers to one from 0 up to but not including 1."""
    return float(hashed(a, b) >> 9) * _UNIT


@inlined
def start(stream: Array, seed: int, number: int) -> None:
    """Set a stream (one uint64 in an array) to the beginning of the one that has this number."""
    stream[0] = _mixed(_mixed(np.uint64(seed) + _GAMMA) + np.uint64(number) * _GAMMA)


@inlined
def bits(stream: Array) -> int:
    """Draw 62 bits."""
    stream[0] += _GAMMA
    return np.int64(_mixed(stream[0]) >> _S2)  # type: ignore[return-value]


@inlined
def unit(stream: Array) -> float:
    """Draw from 0 up to but not including 1."""
    stream[0] += _GAMMA
    return float(_mixed(stream[0]) >> _S11) * _UNIT


@inlined
def below(stream: Array, bound: int) -> int:
    """Draw a whole number from 0 up to but not including `bound`, which is less than 2^32."""
    # Lemire's multiplication in place of a remainder; its bias is bound / 2^32 at most, in a figure nobody can see.
    stream[0] += _GAMMA
    return np.int64(((_mixed(stream[0]) >> _S32) * np.uint64(bound)) >> _S32)  # type: ignore[return-value]


@inlined
def normal(stream: Array) -> float:
    """Draw from the standard normal distribution (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - unit(stream)))
    return radius * math.cos(2.0 * math.pi * unit(stream))
