"""The DHT on real loopback sockets beside the kademlia package's own `Server`, in one run on one machine.

Each swarm lives in this one process, so CPU an operation is the whole network's. Read the ratios between the two
systems; absolute times wander with the machine. The timed round is 400 reads with 32 in flight; everything else stands
in the extra columns and in the table printed at the end.
"""

from __future__ import annotations

import asyncio
import gc
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.benchmarks.swarm import Ours, Package, Swarm, measure, memory_kib

SIZES = (100, 400)
SYSTEMS: dict[str, type[Swarm]] = {"rookery": Ours, "kademlia": Package}
VALUES = 400
READS = 400
WARM_UP = 200
"""Writes before the measured ones: every node then knows its neighbours, in both systems."""

_rows: list[tuple[str, int, dict[str, float]]] = []


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print all figures side by side once they are there, past pytest's capture."""
    yield
    shown = Table(title="one run, one machine, one process; kademlia's values are unsigned")
    shown.add_column("")
    for system, size, _ in _rows:
        shown.add_column(f"{system} {size}", justify="right")
    for name in sorted({name for _, _, row in _rows for name in row}):
        shown.add_row(name, *(f"{row.get(name, float('nan')):,.4g}" for _, _, row in _rows))
    text = io.StringIO()
    Console(width=100, file=text).print(shown)
    request.config.pluginmanager.get_plugin("terminalreporter").write("\n\n" + text.getvalue())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_swarm(benchmark: Any, system: str, size: int) -> None:
    """Join, write, read; then read with a third, and with half, of the nodes silently dead."""
    logging.getLogger("kademlia").setLevel(logging.CRITICAL)
    loop = _loop()
    asyncio.set_event_loop(loop)
    run = loop.run_until_complete
    gc.collect()
    before = memory_kib()
    swarm = SYSTEMS[system](size)
    try:
        figures = _figures(run, swarm, before)
        reads = lambda: run(measure(lambda index: swarm.get(index % VALUES), READS, 32))  # noqa: E731
        load = benchmark.pedantic(reads, rounds=3, warmup_rounds=1)
        figures |= load.figures("get")
        for name, share in (("third_dead_get", 1 / 3), ("half_dead_get", 1 / 4)):
            swarm.kill(share)
            dead = run(measure(lambda index: swarm.get(index % VALUES), READS, 32))
            figures |= dead.figures(name)
        benchmark.extra_info.update(figures)
        _rows.append((system, size, figures))
    finally:
        run(swarm.stop())
        run(asyncio.sleep(0.05))
        loop.close()
        asyncio.set_event_loop(None)
    if system == "rookery":
        # No bound on time here; but whatever the machine, a signed value is found.
        assert figures["get_success"] == figures["third_dead_get_success"] == figures["put_success"] == 1.0


def _figures(run: Any, swarm: Swarm, before: float) -> dict[str, float]:
    figures = _plain(run(swarm.start()).figures("join"))
    run(asyncio.sleep(1))
    gc.collect()
    figures["memory_kib_a_node"] = round((memory_kib() - before) / swarm.size, 1)
    run(_writes(swarm, WARM_UP, 8))
    figures |= run(measure(swarm.put, VALUES, 1)).figures("put")
    return figures


async def _writes(swarm: Swarm, count: int, in_flight: int) -> None:
    await measure(lambda index: swarm.put(VALUES + index), count, in_flight)


def _plain(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not name.endswith(("_p95_ms", "_p99_ms"))}
