"""How long records live while their holders come and go.

Decides for each record on its own which of its copies are still held, over time; knows no ids: the k nearest nodes
are k nodes like any other. A holder found at a random moment stays for the rest of its session. Every repair
interval, if anybody still holds the record, it is stored anew with the k nearest that are then alive: those of the
holders that live keep their time, the others' places go to nodes found running then. With a publisher online
the record is stored anew every publishing interval whatever became of the copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulations.errors import BadScenario
from simulations.model.chunks import Progress
from simulations.model.compiled import Floats
from simulations.model.draws import seed_of
from simulations.session_lengths import Sessions

_BATCH = 10_000
"""Records at a time: 20 copies of each take 1.6 MB."""


@dataclass(frozen=True, slots=True)
class Survival:
    """Records over time."""

    times: Floats
    """Seconds since they were stored."""
    alive: Floats
    """Share of records with at least one copy held."""
    readable: Floats
    """Share with at least `quorum` copies held."""
    copies: Floats
    """Mean number of copies held."""
    stores: float
    """Requests to store, for each record over the whole time, the first k not counted."""


def survive(
    records: int,
    sessions: Sessions,
    *,
    seconds: float,
    step: float,
    k: int,
    quorum: int,
    repair: float | None,
    publish: float | None,
    loss: float,
    seed: int,
    progress: Progress | None = None,
) -> Survival:
    """Follow `records` records for `seconds`, looking every `step`; `repair` and `publish` are intervals or None.

    `loss` is the likelihood that storing with one node fails, after its retry.
    """
    if records < 1 or not 0 < step <= seconds:
        raise BadScenario(
            f"{records} records over {seconds} s every {step} s: expected a record and 0 < step <= seconds"
        )
    for name, interval in (("repair", repair), ("publish", publish)):
        if interval is not None and not interval >= step:
            raise BadScenario(f"{name} = {interval!r}: expected None or an interval of at least one step ({step} s)")
    times = np.arange(0.0, seconds + step / 2, step)
    alive, readable, copies = (np.zeros(len(times)) for _ in range(3))
    stores = 0
    for batch, first in enumerate(range(0, records, _BATCH)):
        size = min(_BATCH, records - first)
        rng = np.random.Generator(np.random.PCG64(seed_of(seed, f"survival/{batch}")))
        leaves = np.where(rng.random((size, k)) < loss, 0.0, sessions.residuals(rng, size * k).reshape(size, k))
        # Holders repair at their own times: the first of them after an interval, with jitter of a quarter.
        due = _next(rng, np.zeros(size), repair)
        told = np.full(size, np.inf) if publish is None else np.full(size, publish)
        for number, now in enumerate(times):
            held = (leaves > now).sum(axis=1)
            ready = (due <= now) & (held > 0) | (told <= now)
            if ready.any():
                chosen = np.flatnonzero(ready)
                fresh = now + sessions.residuals(rng, len(chosen) * k).reshape(-1, k)
                fresh = np.where(rng.random(fresh.shape) < loss, 0.0, fresh)
                before = leaves[chosen]
                leaves[chosen] = np.where(before > now, before, fresh)
                stores += len(chosen) * k
                due[chosen] = _next(rng, np.full(len(chosen), now), repair)
                if publish is not None:
                    told[told <= now] += publish
                held = (leaves > now).sum(axis=1)
            alive[number] += (held > 0).sum()
            readable[number] += (held >= quorum).sum()
            copies[number] += held.sum()
        if progress is not None:
            progress(first + size, records)
    return Survival(times, alive / records, readable / records, copies / records, stores / records)


def _next(rng: np.random.Generator, after: Floats, interval: float | None) -> Floats:
    """When the first of the holders repairs: after the interval, and a wait that is short as they are many.

    Each of them does it within a quarter interval or so; the first of 20 at about a twentieth of that.
    """
    if interval is None:
        return np.full(len(after), np.inf)
    return after + interval + rng.exponential(interval / 4 / 20, len(after))
