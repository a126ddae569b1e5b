"""Many seeds at once: what is lost when processes die, and what Ctrl-C leaves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from simulations.board import Board
from simulations.errors import BadScenario
from simulations.executors import Here, Job, Place, Processes, default_jobs, play_all
from simulations.metrics import SeedResult
from simulations.running import Progress
from simulations.settings import RunSpec
from tests.simulations.quick_script import quick_script


def jobs(folder: Path, *seeds: int, **parameters: Any) -> list[Job]:
    spec = RunSpec.model_validate({"scenario": str(quick_script(folder)), "parameters": parameters})
    return [Job(spec, seed) for seed in seeds]


def played(todo: list[Job], place: Place) -> dict[int, SeedResult]:
    taken: dict[int, SeedResult] = {}

    def take(job: Job, result: SeedResult) -> None:
        assert job.seed not in taken, "a seed was taken twice"
        taken[job.seed] = result

    play_all(todo, place, take)
    return taken


@pytest.mark.parametrize("place", [Here, lambda: Processes(2)], ids=["here", "processes"])
def test_every_seed_is_played_once(tmp_path: Path, place: Any) -> None:
    results = played(jobs(tmp_path, 1, 2, 3, 4, fails=[3]), place())
    assert sorted(results) == [1, 2, 3, 4]
    assert [seed for seed in results if not results[seed].ok] == [3]
    assert results[3].error.startswith("seed 3 at 10.000 s: AssertionError")
    assert {len(result.facts["sources"]) for result in results.values()} == {16}


def test_both_places_play_the_same_runs(tmp_path: Path) -> None:
    here = played(jobs(tmp_path, 1, 2), Here())
    there = played(jobs(tmp_path, 1, 2), Processes(2))
    for seed in (1, 2):
        assert here[seed].facts["trace_hash"] == there[seed].facts["trace_hash"]
        for name, table in here[seed].tables.items():
            assert repr(table.columns) == repr(there[seed].tables[name].columns)


def test_a_process_that_is_killed_loses_nothing_when_it_happens_once(tmp_path: Path) -> None:
    results = played(jobs(tmp_path, 1, 2, 3, deadly=[2], once=str(tmp_path / "died")), Processes(2))
    assert (tmp_path / "died").exists()
    assert all(result.ok for result in results.values()), [result.error for result in results.values()]
    assert sorted(results) == [1, 2, 3]


def test_a_seed_that_kills_every_process_is_given_up_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "began").mkdir()
    results = played(jobs(tmp_path, 1, 2, 3, 4, deadly=[2], began=str(tmp_path / "began")), Processes(2))
    assert sorted(seed for seed in results if results[seed].ok) == [1, 3, 4]
    assert results[2].error == "seed 2: its process was killed 2 times (out of memory?)"
    assert results[2].facts["trace_hash"] == ""
    began = [file.name.split("-")[0] for file in (tmp_path / "began").iterdir()]
    assert 2 <= began.count("2") <= 3


def test_a_spec_that_cannot_be_played_ends_it_all(tmp_path: Path) -> None:
    for place in (Here(), Processes(1)):
        with pytest.raises(BadScenario, match=r"quick: wiat = 1: there is no such key: did you mean wait\?"):
            played(jobs(tmp_path, 1, 2, wiat=1), place)


class Told(Processes):
    told = False


def test_ctrl_c_stops_seeds_under_way_which_give_what_they_have(tmp_path: Path) -> None:
    todo = jobs(tmp_path, 1, 2, 3, slow=60.0)
    taken: dict[int, SeedResult] = {}
    place = Told(2)
    seen: list[int] = []

    def look() -> None:
        under_way = place.progress()
        seen.extend(notice.pid for notice in under_way)
        if not place.told and len(under_way) == 2 and all(notice.progress.done >= 10 for notice in under_way):
            place.told = True
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        play_all(todo, place, lambda job, result: taken.update({job.seed: result}), look=look)
    assert time.monotonic() - began < 20
    assert sorted(taken) == [1, 2]
    for result in taken.values():
        assert result.stopped.startswith("interrupted at ")
        assert result.tables["operations"].columns["kind"] == ["wait"]
    # Nobody is left behind.
    for pid in set(seen):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not place._board.folder.exists()


PARENT = """
import sys
from pathlib import Path
from simulations.executors import Job, Processes, play_all
from simulations.settings import RunSpec

if __name__ == "__main__":
    spec = RunSpec.model_validate({"scenario": sys.argv[1], "parameters": {"slow": 60.0, "began": sys.argv[2]}})
    play_all([Job(spec, 1), Job(spec, 2)], Processes(2), print)
"""


def test_processes_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "began").mkdir()
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), str(quick_script(tmp_path)), str(tmp_path / "began")]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
    deadline = time.monotonic() + 30
    while len(list((tmp_path / "began").iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(file.name.split("-")[1]) for file in (tmp_path / "began").iterdir()]
    assert len(pids) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in pids:
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Without a parent that reaps it, what has ended may still be listed.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_board(tmp_path: Path) -> None:
    board = Board(tmp_path)
    progress = Progress(3, 1.5, 10.0, 100, 1000, 0.5)
    assert board.write("0-3", progress) is False
    (tmp_path / "0-4.json").write_text("{ half")
    (notice,) = board.read()
    assert (notice.name, notice.pid, notice.progress) == ("0-3", os.getpid(), progress)
    board.ask_to_stop()
    assert board.write("0-3", progress) is True
    board.wipe("0-3")
    board.wipe("0-3")
    assert board.read() == []
    board.remove()
    # Whoever made it is gone: whoever plays must not care.
    assert board.write("0-3", progress) is False


def test_how_many_at_once_is_limited_by_memory() -> None:
    assert default_jobs(0) == os.cpu_count()
    assert default_jobs(100) == os.cpu_count()
    assert default_jobs(10**9) == 1
