"""The errors of the simulator: all of them are ours, none is a peer's.

A simulated peer's misbehaviour stays inside the engine under test; what is raised here means the scenario, not the
protocol, is wrong, or that the thing waited for cannot come.
"""

from __future__ import annotations

from dht.errors import LocalError


class SimulationError(LocalError):
    """Base of what the simulator raises on purpose."""


class Deadlock(SimulationError):
    """Raised when something is awaited and no event is left that could ever bring it about."""


class VirtualTimeout(SimulationError):
    """Raised when a condition did not come true within its span of virtual time."""

    def __init__(self, what: str, timeout: float, now: float) -> None:
        super().__init__(f"{what} did not happen within {timeout:g} s of virtual time (now {now:.6f})")
        self.what = what
        self.timeout = timeout
        self.now = now


class NotSimulated(SimulationError, NotImplementedError):
    """Raised when code on the virtual loop asks for a thing that would leave the simulation."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what} is not simulated: {instead}")
        self.what = what


class ForeignThread(SimulationError):
    """Raised when another thread reaches into the virtual loop: its timing could not be repeated."""


class BadScenario(SimulationError):
    """Raised when a scenario asks for something impossible, such as two hosts with one address."""
