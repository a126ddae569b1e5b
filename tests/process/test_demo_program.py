"""The whole of `make demo` as a program: it succeeds, says so, and leaves nothing behind, however it ends."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from node.demo_meeting import CALLED, DIALLED, PHASES

LIMIT: Final = 120.0
"""Seconds in which the demo promises to end."""

COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*3[0-9]m")


class Demo:
    """One run of the demo, whose every process and file can be told from all others on this machine."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "t"
        self.home = folder / "h"
        self.temporary.mkdir()
        self.home.mkdir()
        self._mark = f"DEMO_TEST={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        inherited = {key: text for key, text in os.environ.items() if not key.startswith(("XDG_", "ROOKERY_"))}
        self.environment = {
            **inherited,
            name: value,
            "TMPDIR": str(self.temporary),
            "HOME": str(self.home),
            "NO_COLOR": "1",
            # The demo clears away a setting that would send its nodes elsewhere.
            "ROOKERY_PORT": "1",
        }
        self.command = [sys.executable, "-m", "node.demo"]

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start it where no terminal is."""
        return subprocess.Popen(
            [*self.command, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def processes(self) -> list[psutil.Process]:
        """The demo's processes that live now."""
        name, _, value = self._mark.partition("=")
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # It ended, or is somebody else's.
                continue
        return found

    def nodes(self) -> list[psutil.Process]:
        """Those of them that are `rookery run` or `rookery bootstrap run`."""
        return [process for process in self.processes() if "run" in command_line(process)]

    def left(self) -> dict[str, list[str]]:
        """What is there of it once it has ended: processes, files, Unix sockets."""
        sockets = Path("/proc/net/unix")
        lines = sockets.read_text().splitlines() if sockets.exists() else []
        return {
            "processes": [" ".join(command_line(process)) for process in self.processes()],
            "files": [str(path) for folder in (self.temporary, self.home) for path in folder.rglob("*")],
            "sockets": [line for line in lines if str(self.temporary) in line],
        }


def command_line(process: psutil.Process) -> list[str]:
    """Its arguments, or none when it has gone meanwhile."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


NOTHING: Final[dict[str, list[str]]] = {"processes": [], "files": [], "sockets": []}


@pytest.fixture
def demo() -> Iterator[Demo]:
    """A run in folders of its own, with short paths, for sockets lie in them."""
    with tempfile.TemporaryDirectory(prefix="r") as folder:
        made = Demo(Path(folder))
        yield made
        for process in made.processes():
            process.kill()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll for a condition."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def test_the_demo_does_what_it_promises_and_leaves_nothing(demo: Demo) -> None:
    begun = time.monotonic()
    with demo.start("--json") as running:
        out, complaints = running.communicate(timeout=LIMIT)
    assert running.returncode == 0, complaints.decode()
    assert time.monotonic() - begun < LIMIT
    assert demo.left() == NOTHING
    assert complaints == b""

    document = json.loads(out)
    assert document["ok"] is True
    first, second = document["meetings"]
    for meeting in (first, second):
        assert meeting["size"] >= 25_000_000
        assert re.fullmatch("[0-9a-f]{64}", meeting["sha256"])
        seconds = meeting["seconds"]
        assert seconds.keys() >= {*PHASES, *DIALLED} or seconds.keys() >= {*PHASES, *CALLED}
        assert all(took > 0 for took in seconds.values())
    assert first["sha256"] != second["sha256"]
    assert len({one[side] for one in (first, second) for side in ("sender", "receiver")}) == 4
    nodes = document["nodes"]
    assert nodes[0]["name"] == "bootstrap"
    assert len(nodes) == 10
    assert len({node["port"] for node in nodes}) == 10
    killed = [node["name"] for node in nodes if node["killed"]]
    assert killed[0] == "bootstrap"
    assert len(killed) == 4
    assert not {second["sender"], second["receiver"]} & set(killed)


def test_ctrl_c_at_a_terminal_ends_it_clean_and_without_colours(demo: Demo) -> None:
    ours, theirs = pty.openpty()
    try:
        with demo.start(stdout=theirs, stderr=theirs, preexec_fn=lambda: take_terminal(theirs)) as running:
            os.close(theirs)
            wait_until(lambda: len(demo.nodes()) >= 3, "nodes")
            os.write(ours, b"\x03")
            shown = read_all(ours)
            assert running.wait(LIMIT) == 130
    finally:
        os.close(ours)
    assert b"everything was cleaned up" in shown
    assert b"Traceback" not in shown
    assert not COLOUR.search(shown)
    assert demo.left() == NOTHING


@pytest.mark.slow
def test_a_node_that_dies_unasked_fails_the_step_by_name(demo: Demo) -> None:
    with demo.start() as running:
        wait_until(lambda: any(is_host(process) for process in demo.nodes()), "a node")
        next(process for process in demo.nodes() if is_host(process)).kill()
        out, complaints = running.communicate(timeout=LIMIT)
    assert running.returncode == 1
    (line,) = complaints.decode().splitlines()
    assert line.startswith("demo failed at the step 'start 9 nodes that know only the list; all join and publish': ")
    assert "ended with exit code -9" in line
    assert b"sign a list of first contacts and serve it" in out
    assert b"\x1b" not in out
    assert demo.left() == NOTHING


@pytest.mark.slow
def test_sigterm_ends_it_clean(demo: Demo) -> None:
    with demo.start() as running:
        wait_until(demo.nodes, "a node")
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=LIMIT)
    assert running.returncode == 143
    assert demo.left() == NOTHING


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not on this platform: only Linux tells of a death")
def test_its_nodes_die_with_it_when_it_is_killed(demo: Demo) -> None:
    with demo.start() as running:
        wait_until(lambda: len(demo.nodes()) >= 3, "nodes")
        running.kill()
        running.communicate(timeout=LIMIT)
    wait_until(lambda: not demo.processes(), "the end of all nodes")


def test_too_few_nodes_are_refused(demo: Demo) -> None:
    with demo.start("--nodes", "3") as running:
        _, complaints = running.communicate(timeout=LIMIT)
    assert running.returncode == 2
    assert b"at least 8 are needed" in complaints


def test_make_demo_runs_this_program() -> None:
    root = Path(__file__).resolve().parents[2]
    told = subprocess.run(["make", "-n", "demo"], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1].strip() == ".venv/bin/python -m node.demo"


def is_host(process: psutil.Process) -> bool:
    """Whether this is one of the nine: the server's folder is called `bootstrap`."""
    return not any(part.endswith("bootstrap") for part in command_line(process))


def take_terminal(terminal: int) -> None:
    """Make this terminal the one whose Ctrl-C ends us; runs in the child."""
    os.setsid()
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def read_all(terminal: int) -> bytes:
    """What is shown until nobody shows anything any more."""
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # How Linux says that the other side is closed.
            return shown
        if not part:
            return shown
        shown += part
