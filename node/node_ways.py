"""A race of ways to one peer: several are tried at once, the first link counts, and what became of each is kept.

Decides who has won, what happens to the others, and which failure is told. Refuses to know what the ways are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from node.node_results import Reason, RungTried
from node.ports import Link, LinkError, LinkFault, Session, WayTried

T = TypeVar("T")

CANDIDATES_SHOWN: Final = 32
"""Addresses and pairs of one way kept for people to read. UNSOURCED: 256 sockets would fill a screen each."""


class AttemptFailed(Exception):
    """Carries a reason out of the middle of an attempt."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class CallAgain(AttemptFailed):
    """Says that what the last call could not name is known now: the peer is to be called once more."""


class Trace:
    """What was tried in one attempt, and how long it took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.phases: dict[str, float] = {}
        """Seconds by phase: lookup, gather, signaling, ice, dtls, sctp …"""
        self._ways: dict[object, WayTried] = {}
        self._rungs: dict[str, RungTried] = {}

    @property
    def rungs(self) -> tuple[RungTried, ...]:
        """Each rung of the ladder that was stood on or passed over, in the order in which they began."""
        return tuple(sorted(self._rungs.values(), key=lambda rung: rung.started))

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

    def at(self, way: str, doing: str) -> None:
        """What a way that is being tried is at."""
        for key, tried in self._ways.items():
            if tried.way == way and tried.outcome == "trying":
                self._ways[key] = replace(tried, detail=doing)

    async def way(
        self, way: str, work: Awaitable[T], session: Session | None = None, *, rung: str = "", remote: str = ""
    ) -> T:
        """Wait for one way to open; `session` knows the candidates and pairs. `rung` named what is tried at `remote`,
        which may be tried several times under one name.
        """
        begun = WayTried(way, self.elapsed, 0.0, "trying", remote=(remote,) if remote else (), rung=rung)
        key = (way, rung, remote)
        self._ways.pop(way, None)  # It was passed over before somebody named an address.
        self._ways[key] = begun
        try:
            opened = await work
        except asyncio.CancelledError:
            self._ways[key] = self._ended(begun, "overtaken", "another way was quicker", session)
            raise
        except LinkError as error:
            self._ways[key] = self._ended(begun, "failed", str(error.end), session)
            raise
        except AttemptFailed as failed:
            self._ways[key] = self._ended(begun, "failed", f"{failed.reason.value} {failed.detail}".strip(), session)
            raise
        self._ways[key] = self._ended(begun, "opened", "", session)
        return opened

    def _ended(self, begun: WayTried, outcome: str, detail: str, session: Session | None) -> WayTried:
        tried = replace(begun, seconds=self.elapsed - begun.started, outcome=outcome, detail=detail)
        if session is None:
            return tried
        return replace(
            tried,
            pairs=session.tried[:CANDIDATES_SHOWN],
            local=session.local_candidates[:CANDIDATES_SHOWN],
            remote=session.remote_candidates[:CANDIDATES_SHOWN],
        )

    async def rung(self, name: str, work: Awaitable[T], said: Callable[[T], str]) -> T:
        """Wait for what a rung finds; `said` tells it in words, empty for nothing."""
        started = self.elapsed
        self._rungs[name] = RungTried(name, started, 0.0, "trying")
        outcome, detail = "overtaken", "another was quicker"
        try:
            found = await work
            detail = said(found)
            outcome = "found" if detail else "nothing"
        except (AttemptFailed, LinkError) as error:
            outcome, detail = "failed", str(error)
            raise
        finally:
            self._rungs[name] = RungTried(name, started, self.elapsed - started, outcome, detail)
        return found

    def passed_over(self, name: str, why: str) -> None:
        """A rung was not stood on."""
        self._rungs[name] = RungTried(name, self.elapsed, 0.0, "skipped", why)

    def won(self, name: str) -> None:
        """The link came of what this rung had found."""
        if name in self._rungs:
            self._rungs[name] = replace(self._rungs[name], outcome="won")

    def over(self, still: Collection[str] = ()) -> None:
        """There is a link: whatever has not ended was overtaken, but for the ways that are `still` tried."""
        for key, way in self._ways.items():
            if way.outcome == "trying" and way.way not in still:
                self._ways[key] = self._ended(way, "overtaken", "another way was quicker", None)
        for name, rung in self._rungs.items():
            if rung.outcome == "trying":
                took = self.elapsed - rung.started
                self._rungs[name] = replace(rung, seconds=took, outcome="overtaken", detail="another was quicker")


class Race:
    """Ways that run at once. A way's coroutine ends in a link, in None (it only began others), or raises."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Link | None], str] = {}
        self._failures: dict[str, Exception] = {}
        self._changed = asyncio.Event()
        self._won: Link | None = None
        self._over: LinkError | CallAgain | None = None

    @property
    def direct(self) -> bool:
        """Whether a link that no third party carries has won."""
        return self._won is not None and self._won.stats.path.direct

    def add(
        self,
        way: str,
        work: Coroutine[Any, Any, Link | None],
        *,
        after: float = 0.0,
        behind: Collection[str] | None = None,
    ) -> None:
        """Begin a way, at once or `after` seconds; what it waits for is cut short when none of the ways `behind` (None:
        no other) is at it any more."""

        async def run() -> Link | None:
            try:
                if after > 0:
                    await self._wait(after, behind)
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
            if self._over is not None:
                raise self._over
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

    def runs(self, *ways: str) -> bool:
        """Whether one of these is at it."""
        return any(way in ways and not task.done() for task, way in self._tasks.items())

    async def head_start(self, seconds: float | None, behind: Collection[str]) -> None:
        """Wait `seconds`, for ever when None, but no longer than one of the ways `behind` is at it."""
        await self._wait(seconds, behind)

    async def _wait(self, seconds: float | None, behind: Collection[str] | None) -> None:
        waiting = asyncio.current_task()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(
                    task is not waiting and not task.done() and (behind is None or way in behind)
                    for task, way in self._tasks.items()
                ):
                    self._changed.clear()
                    await self._changed.wait()

    def _on_done(self, task: asyncio.Task[Link | None]) -> None:
        way = self._tasks.pop(task)
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                self._failures[way] = error
                # Who is not let in is so by no other way.
                not_admitted = LinkFault.NOT_ADMITTED
                if isinstance(error, CallAgain) or (isinstance(error, LinkError) and error.end.fault is not_admitted):
                    self._over = error
            elif error is None and (link := task.result()) is not None and self._won is None:
                self._won = link
        self._changed.set()

    def _most_telling(self) -> Exception:
        """Why there is no link: a fault of ours first, then what the peer or its home nodes said, then the paths."""
        failures = list(self._failures.values())
        for error in failures:
            if not isinstance(error, AttemptFailed | LinkError):
                return error
        said_so = [error for error in failures if isinstance(error, AttemptFailed)]
        for error in said_so:
            if error.reason not in (Reason.NOT_FOUND, Reason.NOT_JOINED):
                return error  # It was found after all.
        if said_so:
            return said_so[0]
        if not failures:
            return AttemptFailed(Reason.STOPPING, "the attempt was given up")
        said = "; ".join(f"{way}: {error}" for way, error in self._failures.items())
        return failures[0] if len(failures) == 1 else AttemptFailed(Reason.LINK_FAILED, said)
