"""Independent streams of randomness from one seed.

Decides how a seed and a label become a generator. One stream per purpose means that a scenario which draws one
more number for losses does not change who is killed. Labels are hashed with BLAKE2b, never with `hash()`, whose
result for text differs between two starts of Python.
"""

from __future__ import annotations

import hashlib
import random


class Streams:
    """A seed, and the named generators that follow from it."""

    __slots__ = ("seed",)

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, label: str) -> random.Random:
        """Give a fresh generator for `label`: equal for equal seed and label, unrelated to every other."""
        # A full-length digest (64 bytes) seeds the Mersenne Twister with more entropy than any seed holds.
        digest = hashlib.blake2b(f"{self.seed}/{label}".encode(), person=b"rookery-sim").digest()
        return random.Random(int.from_bytes(digest, "big"))
