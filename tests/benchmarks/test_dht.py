"""The DHT on real loopback sockets beside the kademlia package's own `Server`, in one run on one machine.

All nodes of a swarm share one process, so CPU an operation is the whole network's. Read the ratios between the two
systems; absolute times wander with the machine. The timed round is 400 reads with 32 in flight; everything else stands
in the extra columns of the saved JSON and in the table printed at the end.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.swarm_process import SYSTEMS, SwarmProcess

SIZES = (100, 400)
VALUES = 400
READS = 400
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
        for name, share in (("third_dead_get", 1 / 3), ("half_dead_get", 1 / 4)):
            swarm.kill(share)
            figures |= swarm.get(VALUES, READS, 32).figures(name)
    benchmark.extra_info.update(figures)
    swarm_figures[f"{system} {size}"] = figures
    if system == "rookery":
        # No bound on time here; but whatever the machine, a signed value is found.
        successes = {name: value for name, value in figures.items() if name.endswith("_success")}
        assert set(successes.values()) == {1.0}, successes
