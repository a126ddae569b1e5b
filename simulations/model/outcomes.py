"""What look-ups took: arrays with one place each, and their figures.

Decides names, units and figures; knows nothing of how they came about.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from simulations.model.compiled import Flags, Floats, Ints


@dataclass(frozen=True, slots=True)
class Lookups:
    """Look-ups, reads or writes: one place of each array for each, in the order of their numbers."""

    hops: Ints
    """Referrals to the nearest node that answered: 1 where the asker's own table named it."""
    requests: Ints
    """Requests sent, stores included."""
    failures: Ints
    """Requests given up by the end. What was then still under way is not among them."""
    seconds: Floats
    """From beginning to end; 0 where no time was modelled."""
    success: Flags
    """A look-up: one of the three nearest honest living nodes is among the k it found. A read: the record was found.
    A write: enough nodes acknowledged it."""
    copies: Ints
    """Equal answers of a read, acknowledgements of a write; 0 for a look-up."""

    def __len__(self) -> int:
        return len(self.hops)

    def summary(self) -> dict[str, float]:
        """Means by the names of the arrays; `lookups`, how many there are; `p50`, `p95` and `p99`, percentiles of the
        seconds."""
        p50, p95, p99 = np.quantile(self.seconds, (0.5, 0.95, 0.99))
        figures = {"lookups": float(len(self))}
        figures |= {field.name: float(getattr(self, field.name).mean()) for field in fields(self)}
        return figures | {"p50": float(p50), "p95": float(p95), "p99": float(p99)}


def unfilled(count: int) -> Lookups:
    """Make room for `count` outcomes."""
    return Lookups(
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
        np.zeros(count, np.float64),
        np.zeros(count, np.bool_),
        np.zeros(count, np.int32),
    )
