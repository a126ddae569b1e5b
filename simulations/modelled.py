"""What the model engine computed, as rows of the tables that the protocol-true engine fills too.

Decides nothing but that: so one report, one comparison and one expectation serve both engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulations.metrics import Metrics
    from simulations.model.outcomes import Lookups


def tabulate(metrics: Metrics, kind: str, outcomes: Lookups) -> None:
    """Record each of the model's look-ups, reads or writes as an operation of that kind, all begun at time 0."""
    columns = (outcomes.seconds, outcomes.success, outcomes.hops, outcomes.requests, outcomes.failures)
    # Lists at once: plain numbers of Python, and no array access for each of a million cells.
    for took, ok, hops, requests, failures in zip(*(column.tolist() for column in columns), strict=True):
        metrics.operation(kind, started=0.0, took=took, ok=ok, hops=hops, requests=requests, failures=failures)
