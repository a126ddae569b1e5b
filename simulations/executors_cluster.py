"""Seeds on a cluster: the same jobs through the executor of a Dask distributed client.

Decides that workers must run the very code that asks, and what is said when they do not or are not there. Which
worker plays what, and what happens when one dies, is the scheduler's: it gives a job to another worker, until its
`allowed-failures` workers have died of it. (https://distributed.dask.org/en/stable/resilience.html)
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final

from simulations.board import Notice
from simulations.executors import Job, Unplayable, play_job
from simulations.metrics import SeedResult
from simulations.results_code import code_version

CONNECT_WITHIN: Final = 20.0
WORKERS_WITHIN: Final = 30.0
"""Seconds for the scheduler to answer, and for a first worker to be there. UNSOURCED"""


class Cluster:
    """A Dask cluster."""

    width: int = sys.maxsize
    """All at once: the scheduler deals them out, also to workers that come later."""

    def __init__(self, address: str) -> None:
        """Connect to the scheduler and compare code with the workers.

        Raises `Unplayable` when nobody answers, no worker comes, or a worker has other code than this process.
        """
        from distributed import Client

        self.address = address
        try:
            _knock(address)
            # The client has no types of its own.
            connect: Any = Client
            self._client: Any = connect(address, timeout=CONNECT_WITHIN, set_as_default=False)
        except (OSError, ValueError) as error:
            raise Unplayable(
                f"no Dask scheduler answers at {address}: {error}; start one with `dask scheduler`, "
                "and workers with `dask worker ADDRESS --nthreads 1`"
            ) from None
        try:
            self._meet_workers()
        except BaseException:
            self.end()
            raise

    def start(self) -> Executor:
        """The client's executor."""
        executor: Executor = self._client.get_executor(pure=False)
        return executor

    def task(self) -> Callable[[Job], SeedResult]:
        """Plays a job on a worker, if that has our code."""
        return _OnWorker(code_here())

    def progress(self) -> list[Notice]:
        """Nothing: workers tell when a seed is done."""
        return []

    def ask_to_stop(self) -> None:
        """Nothing to ask: a seed under way on a worker is cancelled, and gives nothing."""

    def end(self) -> None:
        """Leave the cluster; what is not done is cancelled."""
        self._client.close()

    def _meet_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=WORKERS_WITHIN)
        except TimeoutError:
            raise Unplayable(
                f"the scheduler at {self.address} has no workers: start some with "
                f"`dask worker {self.address} --nthreads 1`"
            ) from None
        answers: dict[str, Any] = self._client.run(code_here, on_error="return")
        ours = code_here()
        for worker, code in sorted(answers.items()):
            if isinstance(code, Exception):
                raise Unplayable(f"worker {worker} cannot load Rookery: {type(code).__name__}: {code}")
            if code != ours:
                raise Unplayable(mismatch(worker, code, ours))


def _knock(address: str) -> None:
    """Raise `OSError` unless somebody listens: a client that cannot connect would leave its thread behind."""
    from distributed.comm.core import connect
    from distributed.utils import LoopRunner

    connection: Any = connect

    async def knock() -> None:
        comm = await connection(address, timeout=CONNECT_WITHIN)
        await comm.close()

    runner: Any = LoopRunner
    runner().run_sync(knock)


def code_here() -> dict[str, str]:
    """What must be equal on both sides: sources, and the Python they run on."""
    return {"sources": code_version()["sources"], "python": ".".join(platform.python_version_tuple()[:2])}


def mismatch(where: str, theirs: dict[str, str], ours: dict[str, str]) -> str:
    """The sentence about two sides that differ."""
    told = [f"{what} {theirs.get(what)} there, {ours[what]} here" for what in ours if theirs.get(what) != ours[what]]
    return f"worker {where} runs other code ({'; '.join(told)}): install the same Rookery and Python on both sides"


class _OnWorker:
    """Plays a job on a worker. A class, since what is sent must carry the code that asks."""

    def __init__(self, code: dict[str, str]) -> None:
        self.code = code

    def __call__(self, job: Job) -> SeedResult:
        # A worker may have joined after everybody was asked.
        code = code_here()
        if code != self.code:
            raise Unplayable(mismatch(platform.node(), code, self.code))
        return play_job(job)
