"""Many seeds: handed to a `concurrent.futures` executor, taken back one by one as they are done.

Decides what happens when a process dies under a seed (the others lose nothing, the seed is played once more, alone,
and then given up) and when somebody presses Ctrl-C (seeds under way give what they have). Where seeds are played is a
`Place`: here, in processes of this machine, or on a cluster (`executors_cluster`). Refuses to know where results go.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, Final, Protocol

from simulations.board import Board, Notice
from simulations.errors import BadScenario, SimulationError
from simulations.memory import free_memory
from simulations.metrics import TABLES, SeedResult, Table
from simulations.results_code import code_version
from simulations.running import Progress, run_seed
from simulations.settings import RunSpec

LOOK_EVERY: Final = 0.25
"""Seconds between looks at how far everybody is. UNSOURCED"""

GRACE: Final = 15.0
"""Seconds that seeds under way have to give what they have, once they were asked to stop. UNSOURCED"""

DEATHS: Final = 2
"""Processes that a seed may take with it: the second time nothing else was going on, so it is to blame."""

MEMORY_A_NODE: Final = 200 * 1024
"""Bytes a node of the protocol engine is expected to need at most. UNSOURCED: twice what idle ones were measured at."""


@dataclass(frozen=True, slots=True)
class Job:
    """One seed of one run, to be played anywhere."""

    spec: RunSpec
    seed: int
    script: str | None = None
    """Text of the scenario's file, where it is one of the user's own: other machines need not have it."""
    point: int = 0
    """Which run of a sweep it belongs to."""

    @property
    def name(self) -> str:
        """Tells it from the others."""
        return f"{self.point}-{self.seed}"


class Place(Protocol):
    """Where seeds are played."""

    width: int
    """Seeds under way at once."""

    def start(self) -> Executor:
        """Make an executor; again, when the last one broke."""
        ...

    def task(self) -> Callable[[Job], SeedResult]:
        """What the executor is to call with each job."""
        ...

    def progress(self) -> list[Notice]:
        """How far everything under way is, as far as that is known here."""
        ...

    def ask_to_stop(self) -> None:
        """Ask seeds under way to give what they have."""
        ...

    def end(self) -> None:
        """Leave nothing behind: no process and no file."""
        ...


Take = Callable[[Job, SeedResult], object]


def play_all(jobs: Iterable[Job], place: Place, take: Take, *, look: Callable[[], object] = lambda: None) -> None:
    """Play every job and hand each result to `take` as soon as it is there; `look()` is called now and then.

    A job whose process dies is played again, and given up as a `SeedResult` with an error. After Ctrl-C seeds under
    way end early and are taken, as far as they can, and `KeyboardInterrupt` is raised. Raises `BadScenario` when a
    spec cannot be played at all.
    """
    play = _Playing(deque(jobs), place, take, look)
    try:
        play.loop()
    except KeyboardInterrupt:
        play.gather()
        raise
    finally:
        place.end()


class _Playing:
    def __init__(self, waiting: deque[Job], place: Place, take: Take, look: Callable[[], object]) -> None:
        self.waiting = waiting
        self.suspects: deque[Job] = deque()
        """Jobs that were under way when a process died: played one at a time, so that it shows which is to blame."""
        self.deaths: dict[str, int] = {}
        self.running: dict[Future[SeedResult], Job] = {}
        self.place = place
        self.take = take
        self.look = look
        self.executor = place.start()

    def loop(self) -> None:
        while self.waiting or self.suspects or self.running:
            broken = self.submit()
            if self.running:
                done, _ = wait(self.running, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED)
                broken |= self.settle(done)
            self.look()
            if broken:
                self.recover()

    def submit(self) -> bool:
        """Hand out as many jobs as may be under way; true when the executor turned out to be broken."""
        source, width = (self.suspects, 1) if self.suspects else (self.waiting, self.place.width)
        task = self.place.task()
        while source and len(self.running) < width:
            try:
                future = self.executor.submit(task, source[0])
            except BrokenExecutor:
                return True
            self.running[future] = source.popleft()
        return False

    def settle(self, done: Iterable[Future[SeedResult]]) -> bool:
        """Take what is done; true when the executor broke. Jobs that it took with it stay in `running`."""
        broken = False
        for future in sorted(done, key=lambda one: self.running[one].name):
            try:
                result = future.result()
            except BrokenExecutor:
                broken = True
                continue
            except (BadScenario, Unplayable):
                raise
            except CancelledError:
                raise Unplayable(
                    "the executor gave up seeds that were under way: is the cluster still there?"
                ) from None
            except Exception as error:
                job = self.running[future]
                result = failed(job, f"seed {job.seed}: {_line(error)}")
            job = self.running.pop(future)
            self.take(job, result)
            if result.stopped and isinstance(self.place, Here):
                raise KeyboardInterrupt
        return broken

    def recover(self) -> None:
        """Go on with a new executor after a process died."""
        wait(self.running, timeout=GRACE)
        self.settle([future for future in self.running if future.done()])
        lost = sorted(self.running.values(), key=lambda job: job.name)
        self.running.clear()
        for job in lost:
            self.deaths[job.name] = self.deaths.get(job.name, 0) + 1
            if len(lost) == 1 and self.deaths[job.name] >= DEATHS:
                self.take(job, failed(job, f"seed {job.seed}: its process was killed {DEATHS} times (out of memory?)"))
            else:
                self.suspects.append(job)
        self.executor = self.place.start()

    def gather(self) -> None:
        """Take what seeds under way have, within `GRACE`; a second Ctrl-C ends that, too."""
        with suppress(KeyboardInterrupt):
            self.place.ask_to_stop()
            for future in self.running:
                future.cancel()
            deadline = time.monotonic() + GRACE
            while self.running and time.monotonic() < deadline:
                done, _ = wait(self.running, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED)
                for future in done:
                    job = self.running.pop(future)
                    if not future.cancelled() and future.exception() is None:
                        self.take(job, future.result())
                self.look()


class Unplayable(SimulationError):
    """Raised when seeds cannot be played where they were to be: another version of the code, a cluster that is gone."""


def failed(job: Job, error: str) -> SeedResult:
    """The result of a seed of which nothing is left but what went wrong."""
    facts = {"engine": job.spec.engine, "seal": str(job.spec.world.get("seal", "")), "trace_hash": "", "sources": ""}
    return SeedResult(job.seed, {name: Table(name) for name in TABLES}, [], facts, error=error)


def play_job(job: Job, report: Callable[[Progress], object] | None = None) -> SeedResult:
    """Play one job, in whatever process this is; the result says which code it was played with."""
    result = run_seed(job.spec, job.seed, progress=report, script=job.script)
    result.facts["sources"] = code_version()["sources"]
    return result


# Here


class Here:
    """This process: one seed after the other."""

    width = 1

    def __init__(self) -> None:
        self.look: Callable[[], object] = lambda: None
        """Called by a thread of the seed's, twice a second: the main thread is busy until the seed ends."""
        self._notice: Notice | None = None

    def start(self) -> Executor:
        """An executor that runs what it is given at once."""
        return _AtOnce()

    def task(self) -> Callable[[Job], SeedResult]:
        """Plays a job, and keeps how far it is."""

        def play(job: Job) -> SeedResult:
            def report(progress: Progress) -> None:
                self._notice = Notice(job.name, os.getpid(), progress)
                self.look()

            try:
                return play_job(job, report)
            finally:
                self._notice = None

        return play

    def progress(self) -> list[Notice]:
        """The seed under way."""
        notice = self._notice
        return [] if notice is None else [notice]

    def ask_to_stop(self) -> None:
        """Nothing is under way any more when this can be called."""

    def end(self) -> None:
        """Nothing was left."""


class _AtOnce(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


# Processes of this machine

_board: Board | None = None


class Processes:
    """Processes of this machine, each playing one seed at a time."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._board = Board.make()
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> Executor:
        """A new pool. Its processes begin as fresh interpreters on every system, so that all are alike."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        context = get_context("spawn")
        folder = str(self._board.folder)
        self._pool = ProcessPoolExecutor(self.width, mp_context=context, initializer=_begin, initargs=(folder,))
        return self._pool

    def task(self) -> Callable[[Job], SeedResult]:
        """What a process of the pool does with a job."""
        return _play_in_pool

    def progress(self) -> list[Notice]:
        """What the processes wrote on the board."""
        return self._board.read()

    def ask_to_stop(self) -> None:
        """Ask by the board."""
        self._board.ask_to_stop()

    def end(self) -> None:
        """End the processes, at once where a seed is still under way, and the board."""
        for notice in self._board.read():
            with suppress(OSError):
                os.kill(notice.pid, signal.SIGTERM)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._board.remove()


def _begin(folder: str) -> None:
    """Make this a process that plays seeds: deaf to Ctrl-C between seeds, and gone when its parent is."""
    global _board  # noqa: PLW0603
    _board = Board(Path(folder))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def watch() -> None:
            # A pool's process waits for work for ever, also of a parent that was killed.
            connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _play_in_pool(job: Job) -> SeedResult:
    board = _board
    assert board is not None
    # A Ctrl-C of the terminal reaches every process of it; while a seed is played that is just as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        board.write(job.name, Progress(job.seed, 0.0, 0.0, 0, 0, 0.0))
        return play_job(job, lambda progress: board.write(job.name, progress))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        board.wipe(job.name)


def default_jobs(nodes: int) -> int:
    """How many seeds at once: one a core, and no more than there is memory for at `nodes` nodes each."""
    cores = os.cpu_count() or 1
    free = free_memory()
    if not free or not nodes:
        return cores
    return max(1, min(cores, free // (nodes * MEMORY_A_NODE)))


def _line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
