"""The channels a lasting link runs over: the one in use, those it leaves, those it may come to use.

Decides that a channel is closed once, and beside everything else. Refuses to know which one is in use.
"""

from __future__ import annotations

import asyncio

from node.adapters.lasting_greeting import Greeted
from node.protocols.continuity import Hello, Way


class Path:
    """One channel, and its way."""

    __slots__ = ("channel", "greeted", "greeting", "path", "way")

    def __init__(self, greeted: Greeted, way: Way, greeting: bool) -> None:
        self.greeted = greeted
        self.channel = greeted.channel
        self.path = greeted.opened.path
        self.way = way
        self.greeting = greeting
        """Whether the other end has yet to say hello."""


class Paths:
    """The channels of one link."""

    def __init__(self) -> None:
        self._by_way: dict[Way, Path] = {}
        self._later: tuple[Greeted, Hello] | None = None
        self._closings: set[asyncio.Task[None]] = set()

    def __contains__(self, way: Way) -> bool:
        return way in self._by_way

    @property
    def all(self) -> list[Path]:
        """Those that are open."""
        return list(self._by_way.values())

    def add(self, greeted: Greeted, way: Way, *, greeting: bool = False) -> Path:
        """Take a channel in; with `greeting` its first message has yet to come."""
        path = self._by_way[way] = Path(greeted, way, greeting)
        return path

    def release(self, way: Way) -> None:
        """Let go of a channel that stays open."""
        self._by_way.pop(way, None)

    def close(self, way: Way) -> bool:
        """Close a channel; False when it was before."""
        path = self._by_way.pop(way, None)
        if path is not None:
            self.refuse(path.greeted)
        return path is not None

    def refuse(self, greeted: Greeted) -> None:
        """Close a channel that never was one of the link's."""
        task = asyncio.get_running_loop().create_task(greeted.close())
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)

    def put_off(self, greeted: Greeted, hello: Hello) -> None:
        """Keep a channel of the peer's until it is known whether it counts; one is kept, the newest."""
        self.refuse_later()
        self._later = (greeted, hello)

    def later(self) -> tuple[Greeted, Hello] | None:
        """Return the channel that was put off, and keep it no more."""
        kept, self._later = self._later, None
        return kept

    def refuse_later(self) -> None:
        """The channel that was put off does not count."""
        if (kept := self.later()) is not None:
            self.refuse(kept[0])

    async def closed(self) -> None:
        """Wait until everything closed has ended."""
        if self._closings:
            await asyncio.wait(set(self._closings))
