"""Which messages of a topic were had before: numbers by author, in bounded memory.

Decides what is new, what came before, and what is too old to tell. Refuses to know messages.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Final

from dht.identity import PublicKey
from dht.records import CLOCK_TOLERANCE

MAX_AUTHORS: Final = 4096
"""Authors remembered. Who makes authors up to have one forgotten can have its messages of the last hours told once
more. UNSOURCED: 1 MB when all of them talk"""

WINDOW: Final = 128
"""Numbers remembered of an author: messages that overtake each other by more are lost. UNSOURCED"""

MAX_AGE: Final = CLOCK_TOLERANCE + 120.0
"""Seconds by which the number of a message, a time, may be past: a wrong clock is granted what records grant it."""


class Novelty(enum.Enum):
    """What a message is."""

    NEW = "new"
    SEEN = "seen"
    OLD = "old"
    """Below what is remembered of its author, or of another day."""


class SeenMessages:
    """What one member of a topic has had."""

    def __init__(self) -> None:
        self._authors: OrderedDict[PublicKey, tuple[int, set[int]]] = OrderedDict()
        """By author: the number up to which nothing counts any more, and those above it that were had."""

    def __len__(self) -> int:
        return len(self._authors)

    def knows(self, author: PublicKey) -> bool:
        """Whether anything of an author was had."""
        return author in self._authors

    def judge(self, author: PublicKey, number: int, now: float) -> Novelty:
        """What a message is, without remembering it."""
        age = now - number / 1e6
        if not -CLOCK_TOLERANCE <= age <= MAX_AGE:
            return Novelty.OLD
        floor, had = self._authors.get(author, (0, set()))
        if number in had:
            return Novelty.SEEN
        return Novelty.OLD if number <= floor else Novelty.NEW

    def add(self, author: PublicKey, number: int) -> None:
        """Remember it."""
        floor, had = self._authors.pop(author, (0, set()))
        had.add(number)
        if len(had) > WINDOW:
            floor = min(had)
            had.discard(floor)
        self._authors[author] = (floor, had)
        if len(self._authors) > MAX_AUTHORS:
            self._authors.popitem(last=False)
