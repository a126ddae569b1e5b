"""Nodes in several networks, in one process: those that run beside the command's own.

Decides that each runs for itself: one that cannot start is told, and takes none of the others down; and that all end at
once. Refuses to know how a node is run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from dht.errors import RookeryError

log = logging.getLogger("rookery.networks")


class Further:
    """The nodes beside a command's own, by the names of their networks."""

    def __init__(self, names: Sequence[str], run: Callable[[str], Awaitable[None]]) -> None:
        """`run(name)` runs the node in that network until cancelled. Raises `RookeryError` when it cannot."""
        self._names = names
        self._run = run
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start them all."""
        for name in self._names:
            self._tasks.append(asyncio.get_running_loop().create_task(self._carefully(name)))

    def cancel(self) -> None:
        """Tell them to end; their ends take place beside that of the command's own node."""
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until they have ended."""
        self.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _carefully(self, name: str) -> None:
        try:
            await self._run(name)
        except RookeryError as error:
            log.error("no node runs in the network %s: %s", name, error)
        except Exception:
            log.exception("the node in the network %s has ended", name)
