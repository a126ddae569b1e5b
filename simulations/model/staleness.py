"""How many contacts of a table are dead, from how long nodes stay and how often tables look.

Decides one share; knows no network. A contact was last seen alive up to one liveness interval ago. It has left since
with the likelihood that what was left of its session then is shorter than that; sessions come from
`simulations.sessions`, and a node that is seen is one found in the middle of its session.
"""

from __future__ import annotations

import numpy as np

from simulations.errors import BadScenario
from simulations.model.draws import seed_of
from simulations.session_lengths import Sessions

_DRAWS = 1 << 18
"""Draws: the share is within 0.001."""
MOST_DEAD = 0.9
"""Beyond this the bookkeeping of ghosts, two of which stand for one dead contact, has no room left."""


def dead_share(sessions: Sessions, interval: float, seed: int) -> float:
    """Share of dead contacts in tables where each is seen alive at least once every `interval` seconds."""
    if not interval > 0:
        raise BadScenario(f"interval = {interval!r} between checks: expected seconds above 0")
    rng = np.random.Generator(np.random.PCG64(seed_of(seed, "staleness")))
    left = sessions.residuals(rng, _DRAWS)
    age = rng.random(_DRAWS) * interval
    return float((left < age).mean())


def ghosts_for(dead: float) -> float:
    """Share of ghosts among all places so that this share of contacts is dead: tables have noticed half of them."""
    if not 0 <= dead <= MOST_DEAD:
        raise BadScenario(f"dead contacts = {dead!r}: expected a share from 0 to {MOST_DEAD}")
    # Of n living and g ghosts, n + g/2 stand in a table, g/2 of them dead.
    ghosts = 2.0 * dead / (1.0 - dead)
    return ghosts / (1.0 + ghosts)
