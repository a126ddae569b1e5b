"""How many look-ups a second the model does, on all processors, and what a node takes, from 10^3 to 10^8 nodes.

`full`: k = 20, α = 3, nobody dead, hops and requests. `timed`: the same with churn, loss and latency. Where less than
four times the memory that a network needs is free, its size is left out.
"""

import psutil
import pytest

from simulations.model import ModelWorld

LOOKUPS = 20_000
BYTES_A_NODE = 5
SIZES = [10**3, 10**4, 10**5, 10**6, 10**7, pytest.param(10**8, marks=pytest.mark.slow)]
ROUGH = {"latency": "lognormal:50ms,0.4", "loss": 0.01, "sessions": "stutzbach-3"}


def world_of(nodes, **settings):
    if psutil.virtual_memory().available < 4 * BYTES_A_NODE * nodes:
        pytest.skip(f"{nodes} nodes take {BYTES_A_NODE * nodes >> 20} MiB, and not four times that is free")
    return ModelWorld(nodes, seed=1, alpha=3, **settings)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("mode", ["full", "timed"])
def test_look_ups_a_second(benchmark, nodes, mode):
    benchmark.group = f"look-ups, {mode}"
    world = world_of(nodes, **(ROUGH if mode == "timed" else {}))
    world.lookups(10, mode=mode)  # compiles
    found = benchmark.pedantic(lambda: world.lookups(LOOKUPS, mode=mode), rounds=3)
    assert found.success.mean() > 0.99
    benchmark.extra_info["lookups_per_second"] = round(LOOKUPS / benchmark.stats.stats.min)
    benchmark.extra_info["bytes_per_node"] = round(world.nbytes / nodes, 2)
    benchmark.extra_info["mean_hops"] = round(float(found.hops.mean()), 3)


@pytest.mark.parametrize("nodes", SIZES)
def test_laying_out_a_network(benchmark, nodes):
    benchmark.group = "laying out ids"
    world_of(10**3)
    world = benchmark.pedantic(lambda: world_of(nodes), rounds=1)
    assert world.nbytes < 6 * nodes
