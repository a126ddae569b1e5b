"""Keepers of entries by place and family of addresses, each called when it wants to be.

Who has both families keeps entries in both: most of them in the main one, and in the other as many as the kind of entry
asks for. What the main family lacks, because its way out has died or few nodes are there, the other makes up for, until
it is back. Refuses to know what an entry is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Generic, TypeVar

from dht.family import Family
from dht.keeping import EntryKeeper
from dht.operation import Context

K = TypeVar("K", bound=EntryKeeper)


class Keepers(Generic[K]):
    """All keepers of one kind."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._makers: dict[bytes, Callable[[Family, float], K]] = {}
        self._keepers: dict[tuple[bytes, Family], K] = {}
        self._times: dict[tuple[bytes, Family], float] = {}
        self._families: tuple[Family, ...] = ()
        """Those that are kept in, the main one first."""
        self.due = inf
        """When `tick` is to be called, Unix seconds."""

    def __len__(self) -> int:
        """How many places there are."""
        return len(self._makers)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._keepers.values()))

    def __contains__(self, place: bytes) -> bool:
        return place in self._makers

    def at(self, place: bytes) -> list[K]:
        """The keepers of a place, that of the main family first."""
        found = (self._keepers.get((place, family)) for family in self._families)
        return [keeper for keeper in found if keeper is not None]

    def add(self, place: bytes, make: Callable[[Family, float], K], now: float) -> None:
        """Keep entries near a place from now on; `make` makes the keeper for a family."""
        self._makers[place] = make
        if not self._follow(now):
            self._make(place, now)

    def pop(self, place: bytes) -> list[K]:
        """Call the keepers of a place no more; return them."""
        keepers = self.at(place)
        self._makers.pop(place, None)
        for keeper in keepers:
            self._drop(keeper)
        return keepers

    def tick(self, now: float) -> None:
        """Call those that are due, and with them those of the same place, so that the radio is woken once for both."""
        self._follow(now)
        for place in dict.fromkeys(place for (place, _), at in self._times.items() if at <= now):
            for keeper in self.at(place):
                self._times[place, keeper.family] = keeper.tick(now)
        self.due = min(self._times.values(), default=inf)

    def look_soon(self, now: float, family: Family | None = None) -> None:
        """The network around us has changed; `family`: that one alone."""
        self._follow(now)
        for keeper in self:
            if family in (None, keeper.family):
                keeper.look_soon(now)
                self._set(keeper, now)

    def renew_all(self, now: float, family: Family | None = None) -> None:
        """Our address is another; `family`: that one alone."""
        self._follow(now)
        for keeper in self:
            if family in (None, keeper.family):
                keeper.renew_all(now)
                self._set(keeper, now)

    def close(self) -> None:
        """Keep nothing any more, without a word to anybody."""
        self._makers.clear()
        for keeper in self:
            self._drop(keeper)

    def _follow(self, now: float) -> bool:
        """Have keepers for the families that look-ups go through at present. Returns whether those have changed."""
        families = tuple(self._context.families.walked)
        if families == self._families:
            return False
        self._families = families
        for keeper in self:
            if keeper.family not in families:
                self._drop(keeper)
                keeper.end(now)
        for place in self._makers:
            self._make(place, now)
        return True

    def _make(self, place: bytes, now: float) -> None:
        """Have a keeper of a place for each family."""
        for family in self._families:
            if (place, family) not in self._keepers:
                keeper = self._makers[place](family, now)
                keeper.wanted = lambda at, keeper=keeper: self._set(keeper, at)  # type: ignore[misc]
                keeper.noticed = lambda then: self._balance(place, then)
                keeper.siblings = lambda: self.at(place)
                keeper.count = 0 if family is not self._families[0] else keeper.full
                self._keepers[place, family] = keeper
                self._set(keeper, now)
        self._balance(place, now)

    def _balance(self, place: bytes, now: float) -> None:
        """Say how many entries each family is to have."""
        keepers = self.at(place)
        if not keepers:
            return
        main, *others = keepers
        main.resize(main.full, now)
        lacking = main.full - len(main.entries)
        least = main.least_elsewhere
        for other in others:
            if lacking <= 0 and least is not None:
                other.resize(least, now)
            elif other.count < (least or 0) or (main.idle and other.count < lacking):
                other.resize(max(least or 0, lacking if main.idle else 0), now)

    def _drop(self, keeper: K) -> None:
        keeper.wanted = keeper.noticed = lambda _at: None
        keeper.siblings = lambda: (keeper,)
        self._keepers.pop((keeper.place, keeper.family), None)
        self._times.pop((keeper.place, keeper.family), None)
        self.due = min(self._times.values(), default=inf)

    def _set(self, keeper: K, at: float) -> None:
        each = (keeper.place, keeper.family)
        if self._keepers.get(each) is keeper:
            self._times[each] = at
            self.due = min(self._times.values())
