"""How many full nodes the simulator carries, and how fast: the real protocol code under real and cheap seals, and the
kademlia package on the same virtual clock, in one run.

Seconds are CPU seconds of one core. Compare the columns of one run, not runs of two machines. 25,000 or 100,000 nodes
take minutes or an hour: ROOKERY_BENCH_NODES=25000,100000 chooses sizes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from tests.benchmarks.scale_worlds import Figures, apart, kademlia, rookery

SIZES = tuple(int(text) for text in os.environ.get("ROOKERY_BENCH_NODES", "1000,10000").split(","))
KADEMLIA_SIZE = 1_000
FEW = 1_000
"""Up to this many nodes a virtual hour is quickly over; more of them live a tenth of it."""


@pytest.fixture(scope="module")
def columns(request: pytest.FixtureRequest) -> Iterator[dict[str, Figures]]:
    """Figures by network, shown side by side at the end of the module."""
    figures: dict[str, Figures] = {}
    yield figures
    table = Table(title="one run, one machine")
    table.add_column("")
    for network in figures:
        table.add_column(network, justify="right")
    for name in next(iter(figures.values()), {}):
        table.add_row(name, *(f"{column[name]:,.4g}" for column in figures.values()))
    text = io.StringIO()
    Console(width=120, file=text).print(table)
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        plugins.getplugin("terminalreporter").write("\n" + text.getvalue())


def measured(benchmark: Any, columns: dict[str, Figures], name: str, *job: Any) -> Figures:
    figures: Figures = benchmark.pedantic(apart, args=job, rounds=1)
    columns[name] = figures
    benchmark.extra_info.update(figures)
    return figures


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("seal", ["cheap", "real"])
def test_full_nodes(benchmark: Any, columns: dict[str, Figures], seal: str, nodes: int) -> None:
    """Join, write, read, live."""
    hours = 1.0 if nodes <= FEW else 0.1
    figures = measured(benchmark, columns, f"{seal} {nodes:,}", rookery, seal, nodes, hours)
    assert figures["found"] == 1.0
    # The stand-in changes what a datagram costs, not one datagram.
    for name in ("join_datagrams", "put_and_get_datagrams", "idle_datagrams"):
        assert figures[name] == columns.get(f"cheap {nodes:,}", figures)[name]


@pytest.mark.timeout(1800)
def test_kademlia_package(benchmark: Any, columns: dict[str, Figures]) -> None:
    """The same life of the package's own servers."""
    figures = measured(benchmark, columns, f"kademlia {KADEMLIA_SIZE:,}", kademlia, KADEMLIA_SIZE, 1.0)
    assert figures["found"] > 0.9
