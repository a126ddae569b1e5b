"""The nodes of one seed as the network map of a report draws them.

Decides which nodes are drawn where there are very many: of every combination of class, NAT, role and state some, and
for the rest in proportion. Refuses to know how they are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from simulations.results_run import Run

MOST_NODES: Final = 6000
"""Nodes that are drawn: about what a map of this size can show, and 300 kB of a report."""

LEAST_ALIKE: Final = 40
"""Nodes of a rare combination that are drawn before others: attackers must not vanish in a sample. UNSOURCED"""

WAYS: Final = ("profile", "role", "nat", "alive")
"""What the map can be coloured by, in the order offered."""

COUNTS: Final = ("contacts", "records", "sent", "received", "bytes_sent", "bytes_received")
"""What else is told of a node."""


def map_data(run: Run) -> dict[str, Any] | None:
    """What the map needs, for JSON; None without nodes. The first seed that has nodes stands for all."""
    import pyarrow.compute as pc

    table = run.tables["nodes"]
    if not table.num_rows:
        return None
    seed = table.column("seed")[0].as_py()
    table = table.filter(pc.equal(table.column("seed"), seed))
    names: dict[str, list[str]] = {}
    codes: dict[str, NDArray[np.int64]] = {}
    for way in WAYS:
        texts = table.column(way).to_pylist() if way != "alive" else _states(table)
        names[way] = [name for name, _ in _by_number(texts)]
        place = {name: at for at, name in enumerate(names[way])}
        codes[way] = np.array([place[text] for text in texts], dtype=np.int64)
    x, y = table.column("x").to_numpy(), table.column("y").to_numpy()
    chosen = sample(codes, MOST_NODES)
    placed = np.isfinite(x) & np.isfinite(y)
    on_world = bool(placed.any())
    if on_world:
        chosen = chosen[placed[chosen]]
    return {
        "seed": seed,
        "total": table.num_rows,
        "shown": len(chosen),
        "world": on_world,
        "names": names,
        "counts": {way: np.bincount(codes[way], minlength=len(names[way])).tolist() for way in WAYS},
        "codes": {way: codes[way][chosen].tolist() for way in WAYS},
        "node": table.column("node").to_numpy()[chosen].tolist(),
        # Two digits are a kilometre: more than any model of latency knows.
        "x": [round(float(one), 2) for one in x[chosen]] if on_world else [],
        "y": [round(float(one), 2) for one in y[chosen]] if on_world else [],
        **{column: table.column(column).to_numpy()[chosen].tolist() for column in COUNTS},
    }


def sample(codes: dict[str, NDArray[np.int64]], most: int) -> NDArray[np.int64]:
    """Numbers of the rows that are drawn, ascending: all, or about `most` of them."""
    rows = len(next(iter(codes.values())))
    if rows <= most:
        return np.arange(rows)
    together = np.zeros(rows, dtype=np.int64)
    for column in codes.values():
        together = together * (int(column.max()) + 1) + column
    chosen = []
    for one in np.unique(together):
        alike = np.flatnonzero(together == one)
        wanted = max(min(len(alike), LEAST_ALIKE), len(alike) * most // rows)
        chosen.append(alike[np.linspace(0, len(alike) - 1, wanted).astype(np.int64)])
    drawn = np.sort(np.concatenate(chosen))
    # Many rare combinations can add up to more than is wanted: thin them all alike.
    return drawn if len(drawn) <= 2 * most else drawn[:: -(-len(drawn) // most)]


def _states(table: Any) -> list[str]:
    return ["alive" if alive else "off" for alive in table.column("alive").to_pylist()]


def _by_number(texts: list[str]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for text in texts:
        found[text] = found.get(text, 0) + 1
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))
