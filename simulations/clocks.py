"""A clock that goes wrong: the same engine, told another time.

Decides the translation between the world's time and the engine's. Refuses to know the engine.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.driver import Engine
from simulations.hops import Address


class SkewedClock:
    """Runs an engine whose clock is ahead of the world's by `offset` seconds (behind, where negative)."""

    __slots__ = ("inner", "offset")

    def __init__(self, inner: Engine, offset: float) -> None:
        self.inner = inner
        self.offset = offset

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take a datagram in."""
        self.inner.receive_datagram(data, addr, now + self.offset)

    def datagrams_to_send(self, now: float) -> Iterable[tuple[bytes, Address]]:
        """Hand out what is to be sent."""
        return self.inner.datagrams_to_send(now + self.offset)

    def next_timer(self) -> float | None:
        """When it wants to be called, in the world's time."""
        timer = self.inner.next_timer()
        return None if timer is None else timer - self.offset

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        # Adding and taking away an offset rounds: a hair too early, and the engine would find nothing due, again
        # and again at one instant.
        due = self.inner.next_timer()
        at = now + self.offset
        self.inner.handle_timer(at if due is None or due <= at or due - at > 1e-6 else due)

    def next_event(self) -> object | None:
        """The next thing to report."""
        return self.inner.next_event()
