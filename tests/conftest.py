"""What holds for every test: nothing left behind, the same examples each time, no silent skips in CI.

Decides when a test counts as having left something behind. Refuses to know any part of Rookery.
"""

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"

# Seconds a thread that was told to end gets for it. UNSOURCED: only a failing test ever waits it out.
THREAD_GRACE = 5.0

# The one kind of skip that CI takes: the test could not run on this operating system whatever were installed.
PLATFORM_REASON = "not on this platform"

# A deadline or a "too slow" verdict would depend on what else the machine does.
hypothesis.settings.register_profile("local", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile(
    "ci", hypothesis.settings.get_profile("local"), derandomize=True, database=None, print_blob=True
)
hypothesis.settings.load_profile("ci" if IN_CI else "local")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the benchmarks out unless they are asked for: they measure only when nothing else runs."""
    wanted = config.getoption("--benchmark-only", default=False)
    return True if collection_path == BENCHMARKS and not wanted else None


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test after which threads or sockets live on that did not exist before it."""
    threads = set(threading.enumerate())
    sockets = open_sockets()
    yield
    left = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in left:
        thread.join(THREAD_GRACE)
    alive = [thread.name for thread in left if thread.is_alive()]
    assert not alive, f"the test left threads behind: {alive}"
    if open_sockets() - sockets:
        # A socket in a reference cycle is closed by the collector, with a ResourceWarning that names it.
        gc.collect()
        leaked = sorted(open_sockets() - sockets)
        assert not leaked, f"the test left sockets open: {leaked}"


@pytest.fixture(autouse=True)
def guard_tasks(request: pytest.FixtureRequest, nothing_left_behind: None) -> None:
    """Watch the tasks of a test that runs on an event loop; the loop is closed before sockets are counted."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("no_tasks_left_behind")


@pytest.fixture
async def no_tasks_left_behind() -> AsyncIterator[None]:
    """Fail a test that ends while tasks of its loop still run: closing the loop would cancel them unseen."""
    before = asyncio.all_tasks()
    yield
    # One turn, so that tasks cancelled as the test's last act get to end.
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()]
    assert not left, f"the test left tasks behind: {left}"


def open_sockets() -> set[str]:
    """The sockets this process has open, as the kernel names them; where it does not tell, none."""
    if not sys.platform.startswith("linux"):
        return set()
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:  # The one that listed the folder is closed by now.
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, fail a test that skips itself."""
    report = yield
    if not hasattr(report, "wasxfail"):
        refuse_skip(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, fail a file that skips itself as a whole."""
    report = yield
    refuse_skip(report, collector.nodeid)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport, nodeid: str) -> None:
    """Turn a skip into a failure in CI, where all that a test needs has to be installed."""
    if not (IN_CI and report.skipped):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if PLATFORM_REASON in reason:
        return
    report.outcome = "failed"
    report.longrepr = (
        f"{nodeid} was skipped ({reason}), which counts as a failure where CI is set: install what it needs, "
        f"or begin the reason with '{PLATFORM_REASON}'."
    )
