"""Entries of ours at other nodes near a place, in one family of addresses: asked for, renewed before they end, and made
anew elsewhere when lost.

Decides when. What an entry is, who may hold it and how candidates are found is the subclass's; how many there are to be
in either family is decided in `dht.keeping_families`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from dht.contact import Contact
from dht.family import Family
from dht.operation import Context, Operation
from dht.records import Refusal
from dht.requests import Pending

SOON: Final = 0.1
"""Seconds until the next tick at the least: what is due is done in the tick itself. UNSOURCED"""

RENEWED_AFTER: Final = 8 / 9
"""Part of an entry's life after which it is renewed at the latest: 80 of 90 s leave three time-outs."""

_LOST_AFTER: Final = 5.0
"""Seconds a node has to answer when our address has changed. UNSOURCED: longer than the longest time-out."""

_TRIES: Final = 2
"""Questions to one node in a row, where the first only brings the token for the second."""


def refusal_of(status: int) -> Refusal:
    """A status from the wire; one of a later time is no success."""
    try:
        return Refusal(status)
    except ValueError:
        return Refusal.UNKNOWN_VERSION


class EntryKeeper(Operation):
    """Keeps entries at `count` nodes near a place alive. Never ends: `tick` renews what is due and looks anew when an
    entry is lost or once in a while, since nodes come and go."""

    least_elsewhere: int | None = 0
    """Entries to be had in the other family while there are enough here; None: that is still being found out."""

    def __init__(self, context: Context, place: bytes, count: int, family: Family, now: float) -> None:
        super().__init__(context, 0)
        self.place = place
        self.target = int.from_bytes(place, "big")
        self.family = family
        self.full = count
        """How many are enough."""
        self.count = count
        """How many are to be had here, at present."""
        self.candidates: list[Contact] = []
        """Who may be asked for an entry, best first."""
        self.entries: dict[Contact, float] = {}
        """Where entries stand, and when they end."""
        self.granted: dict[Contact, tuple[float, float]] = {}
        """When entries were granted or renewed last, and for how many seconds."""
        self.trying: dict[Contact, int] = {}
        self.refused: set[Contact] = set()
        self.looking = False
        self.next_look = now
        self.looked = -inf
        """When the last look began."""
        self.wanted: Callable[[float], object] = lambda _at: None
        """Told when `tick` is to be called, whenever that has changed."""
        self.noticed: Callable[[float], object] = lambda _now: None
        """Told when entries may have come or gone."""
        self.siblings: Callable[[], Sequence[EntryKeeper]] = lambda: (self,)
        """Those of all families that keep entries of the same kind near the same place, this one among them."""

    @property
    @abstractmethod
    def lifetime(self) -> float:
        """Seconds an entry lives."""

    @property
    @abstractmethod
    def keepalive(self) -> float:
        """Seconds between renewals."""

    @abstractmethod
    def ask(self, node: Contact, now: float) -> None:
        """Ask a node for an entry, or for its renewal."""

    @abstractmethod
    def look(self, now: float) -> None:
        """Look for candidates. Sets `next_look`, and calls `found` in the end."""

    def changed(self, now: float) -> None:
        """Entries may have come or gone."""

    @property
    def beat(self) -> float:
        """Seconds until an empty place is filled, and by which entries are renewed early to be renewed together."""
        return self.context.config.home_keepalive / 5

    def tick(self, now: float) -> float:
        """Do what is due, and what soon will be: entries are renewed together. Returns when to call again."""
        for node in [node for node, until in self.entries.items() if until <= now]:
            del self.entries[node]
        for node in self.to_renew(now):
            if node not in self.trying:
                self._try(node, 1, now)
        if self.count and not self.looking and now >= self.next_look:
            self.looking = True
            self.looked = now
            self.look(now)
        self._report(now)
        return self.next_tick(now)

    def renew_at(self, node: Contact) -> float:
        """When the entry at a node is to be renewed at the latest."""
        at, lifetime = self.granted.get(node, (0.0, 0.0))
        return at + min(self.wait(node), lifetime * RENEWED_AFTER)

    def wait(self, node: Contact) -> float:
        """Seconds from one renewal at a node to the next, as far as it is ours to say."""
        return self.keepalive

    def to_renew(self, now: float) -> list[Contact]:
        """Where entries are to be renewed now."""
        early = now + max(self.beat, self.context.config.timer_slack)
        return [node for node in self.entries if self.renew_at(node) <= early]

    def next_tick(self, now: float) -> float:
        """When something is to be done: never sooner than in a moment, and not later than anything could go wrong."""
        waiting = [until for node, until in self.entries.items() if node in self.trying]
        waiting += [self.renew_at(node) for node in self.entries if node not in self.trying]
        if self.count and not self.looking:
            waiting.append(self.next_look)
        return max(now + SOON, min(waiting, default=now + self.beat if self.count else inf))

    def renew_all(self, now: float) -> None:
        """Our address is another: ask for every entry again, now."""
        self.entries = dict.fromkeys(self.entries, now + _LOST_AFTER)
        self.granted.clear()
        self.look_soon(now)

    def look_soon(self, now: float) -> None:
        """The network around us has changed: look for nodes at the next tick."""
        self.next_look = min(self.next_look, now)
        self.wanted(self.next_tick(now))

    def found(self, candidates: list[Contact], now: float) -> None:
        """The look-up has ended."""
        if self.ended:
            return
        self.looking = False
        self.refused.clear()
        self.candidates = candidates
        self.fill(now)
        self._report(now)
        self.wanted(self.next_tick(now))

    def settle(self, node: Contact, refusal: Refusal, lifetime: float, now: float) -> None:
        """A node has answered."""
        tries = self.trying.pop(node, 0)
        if self.ended:
            return
        if refusal is Refusal.NONE and node not in self.entries and len(self.entries) >= self.count:
            self.give_up(node, now)  # fewer are wanted by now
        elif refusal is Refusal.NONE:
            lifetime = min(lifetime, self.lifetime)
            self.entries[node] = now + lifetime
            self.granted = {one: self.granted[one] for one in self.entries if one in self.granted}
            self.granted[node] = now, lifetime
        elif refusal is Refusal.BAD_TOKEN and tries < _TRIES:
            self._try(node, tries + 1, now)
            return
        else:
            self.lose(node, now)
        self._report(now)
        self.wanted(self.next_tick(now))

    def on_failure(self, pending: Pending, now: float) -> None:
        """A node is gone: take the next candidate, and look for others."""
        self.trying.pop(pending.contact, None)
        if self.ended:
            return
        self.lose(pending.contact, now)
        self._report(now)
        self.wanted(self.next_tick(now))

    def lose(self, node: Contact, now: float) -> None:
        """There is no entry at a node, nor will there be before the next look."""
        self.entries.pop(node, None)
        self.refused.add(node)
        self.fill(now)
        if len(self.entries) + len(self.trying) < self.count:
            self.next_look = min(self.next_look, max(now, self.looked + self.beat))

    def fill(self, now: float) -> None:
        """Ask candidates until enough entries stand or are asked for."""
        taken = self.taken()
        for candidate in self.candidates:
            if len(self.entries) + len(self.trying) >= self.count:
                break
            if candidate.key not in taken and candidate not in self.refused:
                self._try(candidate, 1, now)

    def taken(self) -> set[bytes]:
        """Node keys of those that hold an entry or are asked for one, in whichever family: a node keeps one for us, and
        would take a second for a sign that we have moved."""
        return {node.key for keeper in self.siblings() for node in (*keeper.entries, *keeper.trying)}

    @property
    def idle(self) -> bool:
        """Whether nothing is under way that may bring further entries."""
        return not self.looking and not self.trying and self.looked > -inf

    def resize(self, count: int, now: float) -> None:
        """Have so many entries from now on."""
        if count == self.count:
            return
        self.count = count
        for node in list(self.entries)[count:]:
            del self.entries[node]
            self.give_up(node, now)
        self.fill(now)
        if self.idle and len(self.entries) < count:
            self.next_look = min(self.next_look, now)
        self._report(now)
        self.wanted(self.next_tick(now))

    def give_up(self, node: Contact, now: float) -> None:
        """The entry at a node is wanted no more; it runs out by itself."""

    def end(self, now: float) -> None:
        """Keep nothing any more."""
        self.ended = True
        self.entries.clear()

    def _report(self, now: float) -> None:
        self.changed(now)
        self.noticed(now)

    def _try(self, node: Contact, tries: int, now: float) -> None:
        self.trying[node] = tries
        self.ask(node, now)
