"""Seeds on a real Dask scheduler and real workers, each a process of its own, on loopback."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulations import executors_cluster
from simulations.executors import Here, Unplayable, play_all
from simulations.executors_cluster import Cluster, code_here, mismatch
from simulations.results_code import code_version
from tests.simulations.test_executors import jobs, played

ROOT = Path(__file__).parents[2]

QUIET = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    # Given up when a third worker has died of it.
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
}


class Network:
    """A scheduler and its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        log = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = str(waited(log, r"Scheduler at: +(tcp://\S+)"))

    def add_workers(self, count: int) -> None:
        """Start workers without nannies: nobody brings them back."""
        logs = [
            self._start(
                "worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0",
                "--local-directory", str(self.folder),
            )
            for _ in range(count)
        ]  # fmt: skip
        for log in logs:
            waited(log, r"Registered to: +(tcp://\S+)")

    def end(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def _start(self, what: str, *arguments: str) -> Path:
        log = self.folder / f"{what}-{len(self.processes)}.log"
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        with log.open("wb") as out:
            self.processes.append(
                subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=QUIET, cwd=self.folder)
            )
        return log


def waited(log: Path, pattern: str) -> str:
    """What a process wrote once it was ready."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if match := re.search(pattern, log.read_text()):
            return match[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    network = Network(tmp_path_factory.mktemp("cluster"))
    try:
        network.add_workers(2)
        # As fresh as the workers': the sources may have been edited since these tests began.
        code_version.cache_clear()
        yield network
    finally:
        network.end()


def test_a_cluster_gives_the_same_runs_as_this_process(network: Network, tmp_path: Path) -> None:
    todo = jobs(tmp_path, 1, 2, 3, fails=[2])
    (tmp_path / "script.txt").write_text((tmp_path / "quick.py").read_text())
    todo = [type(job)(job.spec, job.seed, (tmp_path / "script.txt").read_text()) for job in todo]
    here = played(todo, Here())
    # The workers need not have the script: its text goes with the job.
    (tmp_path / "quick.py").unlink()
    there = played(todo, Cluster(network.address))
    assert sorted(there) == [1, 2, 3]
    assert there[2].error.startswith("seed 2 at 10.000 s: AssertionError")
    for seed, result in there.items():
        assert result.facts["trace_hash"] == here[seed].facts["trace_hash"]
        assert result.facts["sources"] == code_here()["sources"]


def test_a_worker_that_is_killed_in_mid_seed_loses_nothing(network: Network, tmp_path: Path) -> None:
    (tmp_path / "began").mkdir()
    todo = jobs(tmp_path, 1, 2, deadly=[2], once=str(tmp_path / "died"), began=str(tmp_path / "began"))
    results = played(todo, Cluster(network.address))
    assert (tmp_path / "died").exists()
    assert all(result.ok for result in results.values()), [result.error for result in results.values()]
    # Played by two workers, the second of which lived.
    assert len({file.name for file in (tmp_path / "began").iterdir() if file.name.startswith("2-")}) == 2
    assert sum(process.poll() is None for process in network.processes) == 2


def test_a_seed_that_kills_every_worker_is_given_up(network: Network, tmp_path: Path) -> None:
    (tmp_path / "began").mkdir()
    network.add_workers(3)
    todo = jobs(tmp_path, 1, 2, 3, deadly=[2], began=str(tmp_path / "began"))
    results = played(todo, Cluster(network.address))
    assert results[1].ok
    assert results[3].ok
    assert results[2].error.startswith("seed 2: KilledWorker: ")
    began = [file.name for file in (tmp_path / "began").iterdir() if file.name.startswith("2-")]
    assert len(began) == 3
    assert sum(process.poll() is None for process in network.processes) == 2


def test_other_code_on_a_worker_is_refused(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(executors_cluster, "code_version", lambda: {"sources": "0" * 16})
    said = rf"worker .* runs other code \(sources .* there, {'0' * 16} here\): install the same Rookery and Python"
    # Already when connecting; a worker that comes later refuses the job itself.
    with pytest.raises(Unplayable, match=said):
        Cluster(network.address)
    monkeypatch.setattr(Cluster, "_meet_workers", lambda self: None)
    with pytest.raises(Unplayable, match=said):
        play_all(jobs(tmp_path, 1), Cluster(network.address), lambda job, result: None)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors_cluster, "CONNECT_WITHIN", 0.3)
    with pytest.raises(Unplayable, match=r"no Dask scheduler answers at 127\.0\.0\.1:1: .*`dask scheduler`"):
        Cluster("127.0.0.1:1")


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(executors_cluster, "WORKERS_WITHIN", 0.3)
    alone = Network(tmp_path)
    try:
        with pytest.raises(Unplayable, match=r"has no workers: start some with `dask worker tcp://"):
            Cluster(alone.address)
    finally:
        alone.end()


def test_what_differs_is_named() -> None:
    theirs = {"sources": "a", "python": "3.12"}
    assert "python 3.12 there, 3.11 here" in mismatch("w", theirs, {"sources": "a", "python": "3.11"})
    assert "sources" not in mismatch("w", theirs, {"sources": "a", "python": "3.11"})
