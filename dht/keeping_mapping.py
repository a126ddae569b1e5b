"""How long a router keeps a mapping that nobody uses, as far as it was proven: the interval between renewals.

Proof is a datagram that nobody asked for at that time and that came in after a silence. A longer interval is first
tried with one entry alone, while the others are renewed as before; what a silence of one proves of all is seen once all
keep it. Decides intervals; refuses to know who is asked, and how.
"""

from __future__ import annotations

from math import inf
from typing import Final

LEAST_KEEPALIVE: Final = 15.0
"""Seconds to which the interval between renewals shrinks at the most: the interval that RFC 6263
gives keep-alives over UDP by default (Tr). Behind a router that forgets sooner nobody can be called."""

MOST_KEEPALIVE: Final = 290.0
"""Seconds to which it grows at the most: less than a token is fresh (300 s), so that a renewal is one exchange."""

SHORTER: Final = 2 / 3
"""Of an interval that a router's mapping did not outlive, the next that is tried. UNSOURCED: 60 s, 40, 27, 18, 15."""

LONGER: Final = 3 / 2
"""Of an interval that was proven, the next that is tried. UNSOURCED: 25 s, 38, 56, 84, 127, 190, 285."""

STRIKES: Final = 2
"""Datagrams that must be missed before an interval counts as too long: they get lost for other reasons, too. Where one
in twenty does, that errs once in 400 times."""

SHORT: Final = 30.0
SHORT_STRIKES: Final = 3
"""Of an interval of no more than `SHORT` seconds, which the strictest common routers allow, so many must be missed in a
row: there are many of them, and to go below costs a battery most. Once in 8,000 times, or 55 hours."""

FIRST_PAUSE: Final = 3600.0
LONGEST_PAUSE: Final = 86_400.0
"""Seconds until an interval that was too long is tried again, doubling from the first to the longest. UNSOURCED: lines
and routers change rarely, and a trial costs one entry's reach for the last third of one interval."""


class MappingLifetime:
    """The interval, which grows while silences are outlived, and shrinks when one is not."""

    def __init__(self, interval: float, most: float) -> None:
        """`interval`: to begin with. `most`: beyond which it does not grow, `MOST_KEEPALIVE` at the most."""
        self.interval = interval
        """Seconds between renewals."""
        self._most = max(interval, min(most, MOST_KEEPALIVE))
        self._proven = 0.0
        """The longest silence of all entries that was outlived, as long as `interval` is no shorter."""
        self._misses = 0
        """Datagrams missed in a row at the present interval."""
        self._strikes = 0
        """Datagrams missed at the next longer one."""
        self._bound = inf
        """An interval that was too long."""
        self._pause = FIRST_PAUSE
        self._retry_at = inf

    def to_try(self, now: float) -> float | None:
        """The longer interval that one entry should try alone; None while the present one is not proven, or where
        nothing longer is to be had."""
        if now >= self._retry_at:
            self._bound, self._retry_at, self._strikes = inf, inf, 0
        longer = min(self.interval * LONGER, self._most)
        if self._proven < self.interval or longer <= self.interval or longer >= self._bound:
            return None
        return longer

    def outlived(self, silence: float, *, alone: bool) -> None:
        """A datagram came in after `silence` seconds of one entry, or of all."""
        if alone:
            self.interval = max(self.interval, min(silence, self._most))
        elif silence >= self.interval:
            self._misses = 0
            if silence > self._proven:
                self._proven = silence
                self._strikes = 0

    def missed(self, silence: float, now: float, *, alone: bool, certain: bool = False) -> None:
        """None came, though who should have sent it lives; `certain`: nor could it, for the port has changed."""
        if alone or 0 < self._proven < silence:
            # A step that is being made, or was just made: there is somewhere to go back to.
            self._strikes += STRIKES if certain else 1
            if not alone:
                self.interval = min(self.interval, self._proven)
            if self._strikes >= STRIKES:
                # Where one entry outlived what all did not, others keep its mapping open: to see it again costs calls.
                self._give_up(silence, now, for_long=not alone)
        elif silence == self.interval:
            self._misses += 1
            if certain or self._misses >= (SHORT_STRIKES if self.interval <= SHORT else STRIKES):
                self._misses = 0
                self._proven = 0.0
                self.interval = min(self.interval, max(LEAST_KEEPALIVE, self.interval * SHORTER))
                self._give_up(silence, now)

    def _give_up(self, silence: float, now: float, *, for_long: bool = False) -> None:
        self._bound = min(self._bound, silence)
        if for_long:
            self._pause = LONGEST_PAUSE
        self._retry_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
