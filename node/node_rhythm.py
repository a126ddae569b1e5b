"""Pauses of a node's upkeep: what will be due soon is done when the node is awake anyway.

On a battery it is waking that costs, not what is done then. Decides how long a pause is and when it may end early.
Refuses to know what is done after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

USUAL: Final = 15.0
"""Upkeep interval in seconds for which pauses are written; a longer one stretches them all."""


class Rhythm:
    """One node's pauses."""

    def __init__(self, clock: Callable[[], float], *, interval: float = USUAL, slack: float = 0.0) -> None:
        """`interval` is the upkeep interval, `slack` the seconds by which a pause may be shorter."""
        self._clock = clock
        self.factor = max(1.0, interval / USUAL)
        self._slack = slack
        self._waiting: dict[asyncio.Future[None], float] = {}

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, stretched as the upkeep is; up to the slack less when the node is awake then."""
        seconds *= self.factor
        if seconds <= self._slack:
            await asyncio.sleep(seconds)
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[over] = self._clock() + seconds - self._slack
        try:
            async with asyncio.timeout(seconds):
                await over
        except TimeoutError:
            pass
        finally:
            del self._waiting[over]

    def awake(self) -> None:
        """The node is awake: end the pauses that are nearly over."""
        if self._waiting:
            now = self._clock()
            for over, early in self._waiting.items():
                if early <= now and not over.done():
                    over.set_result(None)
