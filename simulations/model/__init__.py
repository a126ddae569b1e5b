"""The model engine: networks too large for real messages, as arrays and compiled code.

Beside the engine that runs the protocol's own code stands this one, which follows the same rules (`dht/lookup.py`,
`dht/routing.py`, `dht/requests.py`) on ids alone, for 10^3 to 10^9 nodes. Importing this package imports Numba.
"""

from __future__ import annotations

from simulations.model.outcomes import Lookups
from simulations.model.survival import Survival
from simulations.model.theory import bits_per_hop, hops_per_decade
from simulations.model.world import ModelWorld

__all__ = ["Lookups", "ModelWorld", "Survival", "bits_per_hop", "hops_per_decade"]
