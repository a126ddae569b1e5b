"""Whether a link's path still lives: when to ask the other end for a sign of life, and when its silence means death.

Decides how long silence may last, which depends on who waits for what. Refuses to know what a sign of life looks like.
Sans-IO: it is asked every now and then, and needs no clock of its own.

Anything that arrives counts as life, as in QUIC (RFC 9000 section 10.1); a link on which nothing happens is asked ever
more seldom, so that a phone's radio may sleep.
"""

from __future__ import annotations

import enum
from typing import Final

SILENT_FOR: Final = 2.0
"""Seconds without a sign of life, while one is due, after which a path is suspected. UNSOURCED: several round trips
round the world, and short of what people take for a hang."""
LONGEST_WAIT: Final = 8.0
"""Seconds of that on a path whose round trips are long, as behind full queues. UNSOURCED"""
ROUND_TRIPS: Final = 4.0
"""Round trips that a sign of life may take. UNSOURCED: three repeats of RFC 9002's probe time-out."""

ASK_AFTER: Final = 0.75
"""Seconds of silence on a link in use before a sign of life is asked for. UNSOURCED"""
ACTIVE_FOR: Final = 10.0
"""Seconds after the last message in which a link is in use. UNSOURCED"""
ASK_SELDOM: Final = 20.0
"""Seconds between questions on a link not used for long: 15-25 s keep most UDP mappings (RFC 4787 REQ-5: 2 min at
least, some routers 30 s)."""

LOOK_OFTEN, LOOK_SELDOM = 0.25, 2.0
"""Seconds between looks at a link, in use and not. Bounds what is added to the silence above."""
LATE: Final = 1.0
"""Seconds a look may be late before its silence proves nothing: we slept ourselves, or the machine did."""

SUSPENDED_FOR: Final = 30.0
"""Seconds a link waits for another path: two attempts that fail, and a walk from one network to another. UNSOURCED"""
MIN_PROBED_GAP: Final = 0.05
"""Seconds between answers to questions of the other end. Bounds what a flood of questions makes us send."""


class Look(enum.Enum):
    """What a look at a path shows."""

    WELL = "well"
    ASK = "ask"
    """Send a probe."""
    SUSPECT = "suspect"
    """The path has been silent for too long: look for another. Said once for each silence."""
    OVER = "over"
    """No path for too long: the link is lost."""


class Liveness:
    """What is known of the life of one link's path."""

    def __init__(self, now: float, suspended_for: float = SUSPENDED_FOR) -> None:
        self.rtt: float | None = None
        """Smoothed seconds of round trips over the link."""
        self.suspected_at: float | None = None
        self._suspended_for = suspended_for
        self._heard_at = now
        self._used_at = now
        self._waiting_since: float | None = None
        self._asked_at: float | None = None
        self._token = 0
        self._looked_at = now
        self._answered_at = now - MIN_PROBED_GAP

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        if self.suspected_at is not None or self._waiting_since is not None:
            return LOOK_OFTEN
        return LOOK_OFTEN if self._looked_at - self._used_at < ACTIVE_FOR else LOOK_SELDOM

    @property
    def patience(self) -> float:
        """Seconds of silence that are allowed now."""
        return min(max(SILENT_FOR, ROUND_TRIPS * (self.rtt or 0.0)), LONGEST_WAIT)

    def look(self, now: float, *, heard: bool, used: bool, waiting: bool) -> Look:
        """Judge. `heard`: anything came, or went on, since the last look; `used`: messages that count were sent or
        came; `waiting`: the other end has something to acknowledge.
        """
        late = now - self._looked_at > self.pause + LATE
        self._looked_at = now
        if used:
            self._used_at = now
        if late:
            # What came meanwhile may still wait to be read.
            if self._waiting_since is not None:
                self._waiting_since = now
            if self.suspected_at is not None:
                self.suspected_at = now
        if heard:
            self._heard_at = now
            self._waiting_since = now if waiting or self._asked_at is not None else None
            self.suspected_at = None
            return Look.WELL
        if self._waiting_since is None and waiting:
            self._waiting_since = now
        if self.suspected_at is not None and now - self.suspected_at >= self._suspended_for:
            return Look.OVER
        if (
            self.suspected_at is None
            and self._waiting_since is not None
            and now - self._waiting_since >= self.patience - LOOK_OFTEN / 2
        ):
            self.suspected_at = now
            return Look.SUSPECT
        return Look.ASK if self._should_ask(now) else Look.WELL

    def ask(self, now: float) -> int:
        """A probe leaves: return its token."""
        self._asked_at = now
        if self._waiting_since is None:
            self._waiting_since = now
        self._token = (self._token + 1) % 2**32
        return self._token

    def on_answer(self, token: int, now: float) -> None:
        """The answer to a probe came."""
        if token == self._token and self._asked_at is not None:
            took = now - self._asked_at
            self.rtt = took if self.rtt is None else 0.75 * self.rtt + 0.25 * took
            self._asked_at = None

    def may_answer(self, now: float) -> bool:
        """Whether a probe of the other end is to be answered now."""
        if now - self._answered_at < MIN_PROBED_GAP:
            return False
        self._answered_at = now
        return True

    def suspect(self, now: float) -> bool:
        """Somebody else knows that the path is dead; False when it was suspected already."""
        if self.suspected_at is not None:
            return False
        self.suspected_at = now
        return True

    def renew(self, now: float) -> None:
        """The link goes on over another path."""
        self.suspected_at = self._waiting_since = self._asked_at = None
        self._heard_at = self._used_at = self._looked_at = now
        self.rtt = None

    def _should_ask(self, now: float) -> bool:
        if self._asked_at is not None and now - self._asked_at < LONGEST_WAIT:
            return False  # The path loses nothing: the first question is still good.
        silent, idle = now - self._heard_at, now - self._used_at
        # In use every 0.75 s of silence; then ever more seldom.
        return silent >= (ASK_AFTER if idle < ACTIVE_FOR else min(idle / 2, ASK_SELDOM))
