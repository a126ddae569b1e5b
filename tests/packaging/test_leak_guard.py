"""The guards of tests/conftest.py catch what they are for: each is shown a test that does wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WRONG = """
import asyncio, socket, threading, time
import pytest

kept = []

def test_thread():
    thread = threading.Thread(target=time.sleep, args=(60,), name="straggler", daemon=True)
    thread.start()

@pytest.mark.skipif(not __import__("sys").platform.startswith("linux"), reason="not on this platform")
def test_socket():
    kept.append(socket.socket())

async def test_task():
    kept.append(asyncio.ensure_future(asyncio.sleep(60)))

def test_skip():
    pytest.skip("the tool is missing")

def test_platform_skip():
    pytest.skip("not on this platform: it is another one")

async def test_clean():
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A test suite of its own, under the same rules."""
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    guard = (ROOT / "tests/conftest.py").read_text(encoding="utf-8")
    # The straggler must not be waited for: this test knows that it does not end.
    (tests / "conftest.py").write_text(guard.replace("THREAD_GRACE = 5.0", "THREAD_GRACE = 0.0"))
    (tests / "test_wrong.py").write_text(WRONG)
    return tmp_path


def run(suite: Path, ci: str) -> str:
    """The report of the suite's run."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"],
        cwd=suite,
        env={**os.environ, "CI": ci},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_whatever_is_left_behind_fails_the_test(suite: Path) -> None:
    report = run(suite, ci="")
    assert "the test left threads behind: ['straggler']" in report
    assert "the test left tasks behind" in report
    if sys.platform.startswith("linux"):
        assert "the test left sockets open" in report
    assert "PASSED tests/test_wrong.py::test_clean" in report
    assert "ERROR tests/test_wrong.py::test_clean" not in report
    assert "2 skipped" in report


def test_a_skip_fails_in_ci_unless_the_platform_is_the_reason(suite: Path) -> None:
    report = run(suite, ci="true")
    assert "the tool is missing" in report
    assert "FAILED tests/test_wrong.py::test_skip" in report
    assert "1 skipped" in report
