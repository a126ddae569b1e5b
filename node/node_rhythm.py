"""Pauses and timers of a node's upkeep: what will be due soon is done when the node is awake anyway.

On a battery it is waking that costs, not what is done then. Decides how long a pause is, when it may end early, and how
late a timer may be. Refuses to know what is done after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

USUAL: Final = 15.0
"""Upkeep interval in seconds for which pauses are written; a longer one stretches them all."""


MOST_EARLY, MOST_LATE = 0.9, 0.1
"""Parts of a pause by which it may be shorter or longer: so one of a minute falls in with whatever else wakes the node
about once a minute, at whatever moment that does. UNSOURCED"""


class Alarm:
    """A timer that calls when the node is awake within a span of time, and at the end of it at the latest."""

    def __init__(self, rhythm: Rhythm, call: Callable[[], object]) -> None:
        self._rhythm = rhythm
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float, patience: float = 0.0) -> None:
        """Call in so many seconds, or up to `patience` later where nothing wakes the node before."""
        self.cancel()
        if patience > 0:
            self._rhythm.waiting[self] = self._rhythm.clock() + seconds
        latest = max(0.0, seconds) + patience
        self._handle = asyncio.get_running_loop().call_later(latest, self._rang)

    def cancel(self) -> None:
        """Do not call."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._rhythm.waiting.pop(self, None)

    def ring(self) -> None:
        """Call now: the node is awake."""
        self.cancel()
        self._call()

    def _rang(self) -> None:
        self.ring()
        self._rhythm.awake()


class Rhythm:
    """One node's pauses."""

    def __init__(self, clock: Callable[[], float], *, interval: float = USUAL, slack: float = 0.0) -> None:
        """`interval` is the upkeep interval, `slack` the seconds by which a pause may be shorter."""
        self.clock = clock
        self.factor = max(1.0, interval / USUAL)
        self.slack = slack
        self.waiting: dict[Alarm, float] = {}
        """Alarms that may ring before they must, and from when on."""

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, stretched as the upkeep is; up to the slack less when the node is awake then."""
        await self._wait(seconds * self.factor, 0.0)

    async def rest(self, seconds: float) -> None:
        """Wait `seconds`, not stretched; less when the node is awake, and a little more when it soon will be."""
        await self._wait(seconds, min(self.slack, MOST_LATE * seconds))

    async def _wait(self, seconds: float, late: float) -> None:
        early = min(self.slack, MOST_EARLY * seconds)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not over.done():
                over.set_result(None)

        alarm = Alarm(self, end)
        alarm.set(seconds - early, early + late)
        try:
            await over
        finally:
            alarm.cancel()

    def awake(self) -> None:
        """The node is awake: what is nearly due is done."""
        if self.waiting:
            now = self.clock()
            for alarm in [alarm for alarm, early in self.waiting.items() if early <= now]:
                if alarm in self.waiting:
                    alarm.ring()
