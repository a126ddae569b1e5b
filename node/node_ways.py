"""A race of ways to one peer: several are tried at once, the first link counts, and what became of each is kept.

Decides who has won, what happens to the others, and which failure is told. Refuses to know what the ways are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from node.node_results import Reason
from node.ports import Link, LinkError, Session, WayTried

T = TypeVar("T")

CANDIDATES_SHOWN: Final = 32
"""Addresses and pairs of one way kept for people to read. UNSOURCED: 256 sockets would fill a screen each."""


class AttemptFailed(Exception):
    """Carries a reason out of the middle of an attempt."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Trace:
    """What was tried in one attempt, and how long it took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.phases: dict[str, float] = {}
        """Seconds by phase: lookup, gather, signaling, ice, dtls, sctp …"""
        self._ways: dict[str, WayTried] = {}

    @property
    def ways(self) -> tuple[WayTried, ...]:
        """Each way that was tried or passed over, in the order in which they began."""
        return tuple(sorted(self._ways.values(), key=lambda way: way.started))

    @property
    def elapsed(self) -> float:
        """Seconds since the attempt began."""
        return self._clock() - self._began

    async def timed(self, work: Awaitable[T], phase: str) -> T:
        """Wait for `work`, and note how long it took."""
        started = self._clock()
        try:
            return await work
        finally:
            self.phases[phase] = self._clock() - started

    def skipped(self, way: str, why: str) -> None:
        """A way was not tried."""
        self._ways[way] = WayTried(way, self.elapsed, 0.0, "skipped", why)

    async def way(self, way: str, work: Awaitable[T], session: Session | None = None) -> T:
        """Wait for one way to open; `session` knows the candidates and pairs."""
        started = self.elapsed
        self._ways[way] = WayTried(way, started, 0.0, "trying")
        try:
            opened = await work
        except asyncio.CancelledError:
            self._end(way, started, "overtaken", "another way was quicker", session)
            raise
        except LinkError as error:
            self._end(way, started, "failed", str(error.end), session)
            raise
        except AttemptFailed as failed:
            self._end(way, started, "failed", f"{failed.reason.value} {failed.detail}".strip(), session)
            raise
        self._end(way, started, "opened", "", session)
        return opened

    def _end(self, way: str, started: float, outcome: str, detail: str, session: Session | None) -> None:
        tried = WayTried(way, started, self.elapsed - started, outcome, detail)
        if session is not None:
            tried = replace(
                tried,
                pairs=session.tried[:CANDIDATES_SHOWN],
                local=session.local_candidates[:CANDIDATES_SHOWN],
                remote=session.remote_candidates[:CANDIDATES_SHOWN],
            )
        self._ways[way] = tried


class Race:
    """Ways that run at once. A way's coroutine ends in a link, in None (it only began others), or raises."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Link | None], str] = {}
        self._failures: dict[str, Exception] = {}
        self._changed = asyncio.Event()
        self._won: Link | None = None

    @property
    def direct(self) -> bool:
        """Whether a link that no third party carries has won."""
        return self._won is not None and self._won.stats.path.direct

    def add(self, way: str, work: Coroutine[Any, Any, Link | None], *, after: float = 0.0) -> None:
        """Begin a way, at once or `after` seconds; what it waits for is cut short when nothing else is left to try."""

        async def run() -> Link | None:
            try:
                if after > 0:
                    await self._head_start(after)
            except BaseException:
                work.close()
                raise
            return await work

        task = asyncio.get_running_loop().create_task(run())
        self._tasks[task] = way
        task.add_done_callback(self._on_done)

    async def first(self) -> Link:
        """The first link. Raises what is most telling of the failures when none comes."""
        while self._won is None:
            if not self._tasks:
                raise self._most_telling()
            self._changed.clear()
            await self._changed.wait()
        return self._won

    def stop(self, *, but: tuple[str, ...] = ()) -> set[asyncio.Task[Link | None]]:
        """Give up the ways that still run, except those of `but`, which are returned."""
        left = {task for task, way in self._tasks.items() if way in but}
        for task in self._tasks.keys() - left:
            task.cancel()
        return left

    async def stopped(self) -> None:
        """Give up everything, and wait until it has ended."""
        self.stop()
        if tasks := list(self._tasks):
            await asyncio.wait(tasks)

    async def _head_start(self, seconds: float) -> None:
        """Wait, but no longer than the ways before this one are at it."""
        waiting = asyncio.current_task()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(task is not waiting and not task.done() for task in self._tasks):
                    self._changed.clear()
                    await self._changed.wait()

    def _on_done(self, task: asyncio.Task[Link | None]) -> None:
        way = self._tasks.pop(task)
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                self._failures[way] = error
            elif error is None and (link := task.result()) is not None and self._won is None:
                self._won = link
        self._changed.set()

    def _most_telling(self) -> Exception:
        """Why there is no link: a fault of ours first, then what the peer or its home nodes said, then the paths."""
        failures = list(self._failures.values())
        for error in failures:
            if not isinstance(error, AttemptFailed | LinkError):
                return error
        for error in failures:
            if isinstance(error, AttemptFailed):
                return error
        if not failures:
            return AttemptFailed(Reason.STOPPING, "the attempt was given up")
        said = "; ".join(f"{way}: {error}" for way, error in self._failures.items())
        return failures[0] if len(failures) == 1 else AttemptFailed(Reason.LINK_FAILED, said)
