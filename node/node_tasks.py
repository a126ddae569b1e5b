"""The parts of a node that run as long as it does, each started again when it fails.

Decides that a fault ends one turn of one part and nothing else: a full disk today must not keep the node silent
tomorrow. Refuses to know what the parts do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from dht.errors import LocalError
from node.driver import Stopped
from node.node_events import EventLog, PartFailed

log = logging.getLogger("rookery.node")

RESTART_PAUSE: Final = 5.0
"""Seconds until a part that failed is started again. UNSOURCED"""


class Tasks:
    """Runs parts until `end`."""

    def __init__(self, events: EventLog, now: Callable[[], float], *, pause: float = RESTART_PAUSE) -> None:
        self._events = events
        self._now = now
        self._pause = pause
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work()` now, and again whenever it fails."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep_going(name, work), name=name))

    async def end(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_going(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Stopped:
                return
            except LocalError as error:
                self._events.add(PartFailed(self._now(), name, str(error)))
            except Exception as error:
                log.exception("%s failed", name)
                self._events.add(PartFailed(self._now(), name, f"{type(error).__name__}: {error}"))
            await asyncio.sleep(self._pause)
