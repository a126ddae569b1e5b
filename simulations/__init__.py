"""Large networks of the real protocol code, on a virtual clock and an in-memory network.

    from simulations import World, run

The parts, lowest first: `randomness` (independent seeded streams), `events` (the queue that is the clock), `hops`,
`latency`, `nat` and `faults` (what happens to a packet), `network` (hosts and delivery), `trace` (proof that two runs
were the same), `engines` (five-verb engines), `loop` (asyncio on the same clock), `world` (peers, what befalls them and
what they are asked), `scenario` (questions asked of worlds), `results` and `report` (what comes of it). `model` is the
vectorised stand-in for networks too large for all that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from simulations.profiles import Profile
    from simulations.settings import Parameters
    from simulations.world import World, run

__all__ = ["Parameters", "Profile", "World", "run"]

_HOMES: Final = {
    "Parameters": "simulations.settings",
    "Profile": "simulations.profiles",
    "World": "simulations.world",
    "run": "simulations.world",
}
"""Where each name lives. Loaded at first use: whoever needs one part shall not wait for all."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simulations' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
