"""Made-up results that look like those of a world: several phases, kinds, device classes, marks and seeds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simulations.metrics import TABLES, Expectation, SeedResult, Table
from simulations.results import Run, RunFolder
from simulations.settings import RunSpec

CITIES = (
    (-0.1, 51.5, 9), (2.3, 48.9, 11), (13.4, 52.5, 6), (37.6, 55.8, 12), (31.2, 30.0, 20), (3.4, 6.5, 21),
    (28.0, -26.2, 10), (72.9, 19.1, 21), (77.2, 28.6, 32), (116.4, 39.9, 22), (139.7, 35.7, 37), (151.2, -33.9, 5),
    (-74.0, 40.7, 19), (-87.6, 41.9, 9), (-118.2, 34.1, 13), (-99.1, 19.4, 22), (-46.6, -23.5, 22), (-58.4, -34.6, 15),
    (106.8, -6.2, 33), (18.1, 59.3, 2), (-123.1, 49.3, 2), (174.8, -36.8, 2), (-157.9, 21.3, 1), (55.3, 25.2, 3),
)  # fmt: skip
"""Longitude, latitude and weight of places."""

HOURS = 2.0

SPEC = RunSpec.model_validate(
    {
        "scenario": "mass-death",
        "title": "A third of the network dies at once",
        "world": {"latency": "cities", "seal": "cheap"},
        "parameters": {"nodes": 300, "share": 0.33},
    }
)


def made_result(
    seed: int,
    *,
    nodes: int = 300,
    operations: int = 600,
    places: bool = True,
    slower: float = 1.0,
    failing: float = 0.0,
) -> SeedResult:
    """One seed's results; `slower` stretches every latency, `failing` is an added share of failures."""
    rng = np.random.default_rng(seed)
    tables = {name: Table(name) for name in TABLES}
    _operations(tables["operations"], rng, operations, nodes, slower, failing)
    span = HOURS * 3600
    for at in np.arange(0, span + 1, 60):
        alive = nodes * (1 if at < span / 2 else 0.67 + 0.2 * (at - span / 2) / span)
        tables["series"].add(float(at), "alive", "", float(round(alive)))
        tables["series"].add(float(at), "datagrams/s", "", float(alive * rng.normal(4, 0.2)))
        for label, share in (("server", 0.7), ("home", 0.3)):
            tables["series"].add(float(at), "bytes/s per node", label, float(share * rng.normal(700, 30)))
    tables["marks"].add(60.0, "churn: sessions weibull:0.59,41.9m")
    tables["marks"].add(span / 2, f"{nodes // 3} killed")
    tables["marks"].add(span * 0.8, "healed <b>&</b>")
    tables["values"].add("stale contacts", float(rng.normal(0.12, 0.01)), "share")
    tables["values"].add("republish traffic", float(rng.normal(1.1e6, 4e4)), "bytes/day")
    _nodes(tables["nodes"], rng, nodes, places)
    ok = tables["operations"].columns["ok"]
    success = float(np.mean(ok)) if ok else float("nan")
    return SeedResult(
        seed,
        tables,
        [
            Expectation("get.success ≥ 0.95", success >= 0.95, success, seed, span),
            Expectation("get.p95 (after) ≤ 5", True, 1.2, seed, span),
        ],
        {
            "engine": "protocol",
            "seal": "cheap",
            "trace_hash": f"{seed:064x}",
            "datagrams": 4 * nodes * int(span),
            "virtual_seconds": span,
            "nodes": nodes,
            "wall_seconds": 12.5,
        },
    )


def _operations(table: Table, rng: np.random.Generator, count: int, nodes: int, slower: float, failing: float) -> None:
    started = np.sort(rng.uniform(0, HOURS * 3600, count))
    after = started > HOURS * 1800
    kinds = rng.choice(["get", "put", "find_node"], count, p=[0.6, 0.2, 0.2])
    ok = rng.random(count) > np.where(after, 0.04, 0.005) + failing
    hops = rng.poisson(np.where(after, 2.6, 2.1), count) + 1
    took = rng.lognormal(np.log(0.18), 0.45, count) * hops * slower + (~ok) * rng.uniform(1, 3, count)
    failures = rng.poisson(np.where(after, 0.8, 0.1), count)
    table.columns.update(
        phase=np.where(after, "after", "before").tolist(),
        kind=kinds.tolist(),
        started=started.tolist(),
        took=took.tolist(),
        ok=ok.tolist(),
        reason=np.where(ok, "", "no <holder> answered").tolist(),
        hops=hops.tolist(),
        requests=(hops * 3 + rng.poisson(2, count)).tolist(),
        failures=failures.tolist(),
        node=rng.integers(0, nodes, count).tolist(),
    )


def _nodes(table: Table, rng: np.random.Generator, count: int, places: bool) -> None:
    weights = np.array([weight for _, _, weight in CITIES], dtype=float)
    chosen = rng.choice(len(CITIES), count, p=weights / weights.sum())
    profiles = rng.choice(["server", "home", "desktop", "phone"], count, p=[0.1, 0.4, 0.2, 0.3])
    for node, (place, profile) in enumerate(zip(chosen, profiles.tolist(), strict=True)):
        longitude, latitude, _ = CITIES[place]
        role = "server" if profile == "server" or (profile == "home" and node % 5 == 0) else "client"
        sent = int(rng.lognormal(9 + (role == "server"), 0.6))
        table.add(
            node,
            profile,
            "none" if profile == "server" else ("symmetric" if node % 3 == 0 else "port-restricted"),
            longitude if places else float("nan"),
            latitude if places else float("nan"),
            bool(rng.random() > 0.25),
            "attacker" if node % 40 == 7 else role,
            int(rng.integers(20, 160)),
            int(rng.integers(0, 30)) if role == "server" else 0,
            sent,
            int(sent * 0.97),
            sent * 180,
            sent * 175,
        )


def made_run(path: Path, seeds: Sequence[int] = (1, 2, 3), *, spec: RunSpec = SPEC, **made: object) -> Run:
    """A finished run of made-up results in a folder."""
    folder = RunFolder.create(path, spec, seeds, command="rookery simulate run mass-death --seeds 1-3")
    for seed in seeds:
        folder.add(made_result(seed, **made))  # type: ignore[arg-type]
    return folder.finish()
