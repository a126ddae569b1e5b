"""What can happen to a packet on its way: the shapes that faults and hops have.

A packet leaves through the uplink hops of its host, crosses the core (faults, loss, latency) and comes in through
the downlink hops of whoever owns the address it is sent to. A hop may rewrite either address, which is all that an
address translator is. This file decides the shapes only; it knows no particular fault or translator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Address = tuple[str, int]
"""IP address as text, and port."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The verdict that a packet goes no further; `reason` is the counter it lands in."""

    reason: str


@dataclass(frozen=True, slots=True)
class Local:
    """The verdict that a packet stays on this side of the box: after so many seconds it is at its destination.

    It crosses no core, so neither faults nor losses nor the latency model are asked. Hops after this one are not
    asked either.
    """

    seconds: float


Verdict = float | Drop | None
"""Of a fault: `None` passes the packet on, a number delivers it after so many seconds, `Drop` ends it."""

Fault = Callable[[Address, Address, int, float], Verdict]
"""`fault(src, dst, size, now)`, asked for every packet that enters the core; the first verdict but `None` counts."""


class Packet:
    """A datagram under way, as hops see it. Hops rewrite `src` and `dst`; the bytes are nobody's to change."""

    __slots__ = ("data", "dst", "src", "via")

    def __init__(self, src: Address, dst: Address, data: bytes) -> None:
        self.src = src
        self.dst = dst
        self.data = data
        self.via: object = None
        """The box that let the packet in: without it, what lies behind that box is out of reach from outside."""


class Hop(Protocol):
    """One box on a packet's way, with whatever state it keeps."""

    def forward(self, packet: Packet, now: float) -> float | Drop | Local:
        """Let the packet pass after so many seconds (0.0: at once), its addresses perhaps rewritten, or end it.

        An uplink hop may also say that the packet never leaves (`Local`).
        """
        ...
