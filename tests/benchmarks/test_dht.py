"""The DHT on real loopback sockets beside the kademlia package's own `Server`, in one run on one machine.

All nodes of a swarm share one process, so CPU an operation is the whole network's. Read the ratios between the two
systems; absolute times wander with the machine. The timed round is 400 reads with 32 in flight; everything else stands
in the extra columns of the saved JSON and in the table printed at the end.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.benchmarks.swarm_process import SYSTEMS, SwarmProcess

SIZES = tuple(int(text) for text in os.environ.get("ROOKERY_BENCH_SWARM", "100,400").split(","))
"""ROOKERY_BENCH_SWARM=1000 chooses another; the kademlia package then takes an hour where half are dead."""
VALUES = 400
READS = 400
DEAD_WRITES = 100
WARM_UP = 1000
"""Writes before the measured ones: most pairs of nodes have met then, as they have in a network that runs."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_swarm(benchmark: Any, swarm_figures: dict[str, dict[str, float]], system: str, size: int) -> None:
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
        fresh = VALUES + WARM_UP
        for name, share in (("third_dead", 1 / 3), ("half_dead", 1 / 4)):
            swarm.kill(share)
            figures |= swarm.get(VALUES, READS, 32).figures(f"{name}_get")
            if system == "rookery":  # the package waits 5 s for each of the dead
                figures |= swarm.put(fresh, DEAD_WRITES, 8).figures(f"{name}_put")
                fresh += DEAD_WRITES
    benchmark.extra_info.update(figures)
    swarm_figures[f"{system} {size}"] = figures
    if system == "rookery":
        # No bound on time here; but whatever the machine, a signed value is found.
        successes = {name: value for name, value in figures.items() if name.endswith("_success")}
        assert set(successes.values()) == {1.0}, successes
