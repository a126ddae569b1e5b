"""Proof that two runs were the same run: a running hash over every delivery.

Decides what counts as "the same": order, time, both addresses and every byte of every datagram that reached an
endpoint. Knows nothing of what the datagrams mean.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from dataclasses import dataclass

from simulations.errors import BadScenario
from simulations.hops import Address

_HEAD = struct.Struct(">dIII")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One datagram that reached an endpoint."""

    time: float
    """Unix seconds, virtual."""
    src: Address
    dst: Address
    size: int
    digest: bytes
    """BLAKE2b of the bytes, 8 bytes long: enough to tell two datagrams apart, not to prove anything."""

    def __str__(self) -> str:
        return (
            f"{self.time:.6f} {self.src[0]}:{self.src[1]} > {self.dst[0]}:{self.dst[1]} "
            f"{self.size} B {self.digest.hex()}"
        )


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first delivery in which two runs differ; `None` on the side that had already ended."""

    index: int
    left: Delivery | None
    right: Delivery | None

    def __str__(self) -> str:
        return f"delivery {self.index} differs:\n  left:  {self.left}\n  right: {self.right}"


class Trace:
    """A running BLAKE2b over deliveries; on request it also keeps the last `keep` of them, or all."""

    __slots__ = ("_hasher", "count", "events")

    def __init__(self, *, keep: int = 0, keep_all: bool = False) -> None:
        self._hasher = hashlib.blake2b(digest_size=32, person=b"rookery-trace")
        self.count = 0
        # No ring at all is the usual case, and the one that must cost nothing.
        self.events: deque[Delivery] | None = None
        """The deliveries kept, oldest first."""
        if keep_all:
            self.events = deque()
        elif keep:
            self.events = deque(maxlen=keep)

    def delivered(self, time: float, src: Address, dst: Address, data: bytes) -> None:
        """Take one delivery into the hash."""
        self.count += 1
        ends = f"{src[0]} {src[1]} {dst[0]} {dst[1]}".encode()
        # Lengths in front, so that no two different sequences share one byte string.
        self._hasher.update(_HEAD.pack(time, self.count & 0xFFFFFFFF, len(ends), len(data)) + ends + data)
        if self.events is not None:
            digest = hashlib.blake2b(data, digest_size=8).digest()
            self.events.append(Delivery(time, src, dst, len(data), digest))

    def hexdigest(self) -> str:
        """The hash over everything so far."""
        return self._hasher.hexdigest()

    def last(self) -> str:
        """The kept deliveries as text, one a line, for a failing test to print."""
        return "\n".join(str(event) for event in self.events or ())


def first_divergence(left: Trace, right: Trace) -> Divergence | None:
    """Find where two runs, both traced with `keep_all`, first differ; `None` when one is the other to the last byte."""
    if left.events is None or right.events is None or left.events.maxlen or right.events.maxlen:
        raise BadScenario("both traces must have been made with keep_all=True to be compared event by event")
    ours, theirs = iter(left.events), iter(right.events)
    index = 0
    while True:
        a, b = next(ours, None), next(theirs, None)
        if a != b:
            return Divergence(index, a, b)
        if a is None:
            return None
        index += 1
