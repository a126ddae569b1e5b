"""Which home node is to say AGAIN after what silence, and what it means when it does or does not.

One at a time is awaited, another one each time, so that no home node alone can mislead us. What is missed counts only
once its home node has shown that it lives. Refuses to send: `dht/meeting_homes.py` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import Final

from dht.contact import Address, Contact
from dht.keeping_mapping import MappingLifetime

GRACE: Final = 3.0
"""Seconds for which an AGAIN may be late: the longest time-out. A radio that was asleep is up within 2 s (3G)."""

SHORTLY: Final = 2.0
"""Seconds after a registration within which a word with the home node does not end the silence; and by which an AGAIN
may be early. UNSOURCED: two long round trips."""


@dataclass(slots=True)
class Awaited:
    """An AGAIN that is to come."""

    home: Contact
    silence: float
    """Seconds after the registration."""
    alone: bool
    """Whether the others are renewed meanwhile."""
    rid: int = 0
    since: float | None = None
    """When the registration was granted."""


class Heard(Enum):
    """What an AGAIN was to us."""

    UNASKED = 0
    EARLY = 1
    """It proves less than was asked for."""
    LATE = 2
    """It had been given up, wrongly."""
    IN_TIME = 3


class Silences:
    """The one that is awaited, the one that was missed, and the intervals that follow."""

    def __init__(self, mapping: MappingLifetime, heard: Callable[[Contact], float], sent: Callable[[], float]) -> None:
        """`heard`: when a home node answered us last, or asked. `sent`: when we last sent anything to anybody: a router
        may have one mapping for all."""
        self._mapping = mapping
        self._heard = heard
        self._sent = sent
        self._awaited: Awaited | None = None
        self._missed: Awaited | None = None
        self._suspect: Awaited | None = None
        """What was missed last, whose home node is asked where it sees us now."""
        self._doubted: Contact | None = None
        """Whose word was missed last: it is not asked again before another's is."""
        self._turn = 0

    @property
    def interval(self) -> float:
        """Seconds between renewals."""
        return self._mapping.interval

    @property
    def alone(self) -> Contact | None:
        """Who is left alone at present, while the others are renewed."""
        awaited = self._awaited
        return awaited.home if awaited is not None and awaited.alone and awaited.since is not None else None

    def wait(self, home: Contact) -> float:
        """Seconds from a registration to the next one: somewhat longer while an AGAIN should come first."""
        awaited = self._awaited
        if awaited is None or awaited.since is None:
            return self.interval
        if not awaited.alone:
            return self.interval + GRACE
        return awaited.silence + GRACE if home == awaited.home else self.interval

    def choose(self, able: Sequence[Contact], now: float, *, others: bool) -> None:
        """One of those renewed now is to say AGAIN, whatever was awaited before; `others`: whether one may be left
        alone, since there are more to be reached by."""
        self._awaited = None
        able = [home for home in able if home != self._doubted] or able
        if able:
            self._turn += 1
            longer = self._mapping.to_try(now) if others else None
            silence = self.interval if longer is None else longer
            self._awaited = Awaited(able[self._turn % len(able)], silence, alone=longer is not None)

    def wanted_of(self, home: Contact) -> tuple[float, int]:
        """What to register for: seconds until the next renewal, and seconds until AGAIN, 0 for none."""
        awaited = self._awaited
        if awaited is None or awaited.home != home or awaited.since is not None:
            return self.interval, 0
        return awaited.silence, ceil(awaited.silence)

    def asked(self, home: Contact, rid: int) -> None:
        """The registration is on its way."""
        awaited = self._awaited
        if awaited is not None and awaited.home == home and awaited.since is None:
            awaited.rid = rid

    def granted(self, home: Contact, rid: int, now: float) -> bool:
        """A registration stands. Returns whether this home node's word was missed: then it should be asked where it
        sees us now."""
        awaited, missed = self._awaited, self._missed
        if awaited is not None and awaited.rid == rid and awaited.home == home:
            awaited.since = now
        if missed is None or missed.home != home:
            return False
        # It lives, and its word did not come in: lost on the way, or forgotten by the router.
        self._missed, self._suspect, self._doubted = None, missed, home
        self._mapping.missed(missed.silence, now, alone=missed.alone)
        if awaited is not None and awaited.silence > self.interval and not awaited.alone:
            self._awaited = None  # given up before it was tried
        return True

    def lost(self, home: Contact) -> None:
        """A home node is silent: that it did not say AGAIN says nothing."""
        if self._missed is not None and self._missed.home == home:
            self._missed = None

    def moved(self, home: Contact, now: float) -> None:
        """A home node sees us at another port than before."""
        suspect, self._suspect = self._suspect, None
        if suspect is not None and suspect.home == home:
            self._mapping.missed(suspect.silence, now, alone=suspect.alone, certain=True)
        else:
            self._mapping.missed(self.interval, now, alone=False, certain=True)

    def overdue(self, entries: dict[Contact, float], now: float) -> bool:
        """Whether what is awaited has not come; then nothing is awaited any more."""
        awaited = self._awaited
        if awaited is None or awaited.since is None:
            return False
        late = now - (awaited.since + awaited.silence + GRACE)
        if late < -GRACE / 2:
            return False
        self._awaited = None
        # Who wakes much later was asleep, and heard nothing for that reason; what was said in between ends a silence.
        if late <= GRACE and awaited.home in entries and self._was_silent(awaited):
            self._missed = awaited
        return True

    def on_again(self, key: bytes, address: Address, rid: int, now: float) -> Heard:
        """A home node says something unasked."""
        for one in (self._awaited, self._missed):
            if one is None or one.rid != rid or (one.home.key, one.home.address) != (key, address):
                continue
            if one.since is None or now < one.since + one.silence - SHORTLY:
                return Heard.EARLY
            if self._was_silent(one) and (one.alone or self._sent() <= one.since + SHORTLY):
                self._mapping.outlived(one.silence, alone=one.alone)
            if one is self._missed:
                self._missed = None
                return Heard.LATE
            self._awaited = None
            return Heard.IN_TIME
        return Heard.UNASKED

    def _was_silent(self, awaited: Awaited) -> bool:
        return awaited.since is not None and self._heard(awaited.home) <= awaited.since + SHORTLY
