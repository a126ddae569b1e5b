"""The DHT on real loopback sockets beside the kademlia package's own `Server`, in one run on one machine.

All nodes of a swarm share one process, so CPU an operation is the whole network's. Read the ratios between the two
systems; absolute times wander with the machine. The timed round is 400 reads with 32 in flight; everything else stands
in the extra columns and in the table printed at the end.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.benchmarks.swarm_process import SYSTEMS, SwarmProcess

SIZES = (100, 400)
VALUES = 400
READS = 400
WARM_UP = 1000
"""Writes before the measured ones: most pairs of nodes have met then, as they have in a network that runs."""

_rows: list[tuple[str, int, dict[str, float]]] = []


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print all figures side by side once they are there, past pytest's capture."""
    yield
    shown = Table(title="one run, one machine; the kademlia package's values are unsigned")
    shown.add_column("")
    for system, size, _ in _rows:
        shown.add_column(f"{system} {size}", justify="right")
    for name in sorted({name for _, _, row in _rows for name in row}):
        shown.add_row(name, *(f"{row[name]:,.4g}" for _, _, row in _rows))
    text = io.StringIO()
    Console(width=100, file=text).print(shown)
    reporter: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    reporter.write("\n\n" + text.getvalue())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_swarm(benchmark: Any, system: str, size: int) -> None:
    """Join, write, read; then read with a third, and with half, of the nodes silently dead."""
    with SwarmProcess(system, size) as swarm:
        joins, kib = swarm.start()
        figures = {
            "join_per_s": round(joins.rate, 1),
            "join_cpu_ms": round(joins.cpu_ms, 2),
            "kib_a_node": round(kib, 1),
        }
        swarm.put(VALUES, WARM_UP, 8)
        figures |= swarm.put(0, VALUES, 1).figures("put")
        load = benchmark.pedantic(swarm.get, args=(VALUES, READS, 32), rounds=3, warmup_rounds=1)
        figures |= load.figures("get")
        for name, share in (("third_dead_get", 1 / 3), ("half_dead_get", 1 / 4)):
            swarm.kill(share)
            figures |= swarm.get(VALUES, READS, 32).figures(name)
    benchmark.extra_info.update(figures)
    _rows.append((system, size, figures))
    if system == "rookery":
        # No bound on time here; but whatever the machine, a signed value is found.
        successes = {name: value for name, value in figures.items() if name.endswith("_success")}
        assert set(successes.values()) == {1.0}, successes
