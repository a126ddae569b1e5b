"""How a router treats its hosts, in the words of RFC 4787: what a node found out about the one before it.

Decides the words and their four bytes. Refuses to know how they are found out, and what follows from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dht.errors import DecodeError, LocalError

REPORT_BYTES: Final = 4


class Mapping(IntEnum):
    """Which packets of one inside endpoint share an outside endpoint (RFC 4787 section 4.1)."""

    UNKNOWN = 0
    NONE = 1
    """Nothing is translated: our own address is the public one."""
    ENDPOINT_INDEPENDENT = 2
    ADDRESS_DEPENDENT = 3
    ADDRESS_AND_PORT_DEPENDENT = 4
    """Also where only several addresses could be compared and each saw another port: the stricter one is assumed."""


class Filtering(IntEnum):
    """Who may send to an outside endpoint (RFC 4787 section 5)."""

    UNKNOWN = 0
    ENDPOINT_INDEPENDENT = 1
    """Anybody."""
    ADDRESS_DEPENDENT = 2
    """Addresses written to before."""
    ADDRESS_AND_PORT_DEPENDENT = 3
    """Endpoints written to before."""
    BLOCKED = 4
    """No UDP at all."""


class Allocation(IntEnum):
    """How outside ports are chosen (RFC 4787 section 4.2)."""

    UNKNOWN = 0
    PRESERVING = 1
    """The inside port."""
    SEQUENTIAL = 2
    """Each new mapping a small step after the last: `delta`."""
    RANDOM = 3


@dataclass(frozen=True, slots=True)
class NatReport:
    """What is known of the router before a node."""

    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    allocation: Allocation = Allocation.UNKNOWN
    delta: int = 0
    """Ports from one mapping to the next, -127 to 127; 0 unless sequential."""

    @property
    def predictable(self) -> bool:
        """Whether a peer can know beforehand from which endpoint it will hear of us."""
        return self.mapping in (Mapping.NONE, Mapping.ENDPOINT_INDEPENDENT)

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` when `delta` does not fit a byte."""
        if not -127 <= self.delta <= 127:
            raise LocalError(f"a port step of {self.delta}: expected -127 to 127")
        return bytes((self.mapping, self.filtering, self.allocation, self.delta & 0xFF))

    @classmethod
    def from_bytes(cls, data: bytes) -> NatReport:
        """Read what a peer says of its router; what this release does not know counts as unknown.

        Raises `DecodeError` unless there are four bytes.
        """
        if len(data) != REPORT_BYTES:
            raise DecodeError("NAT report", f"{len(data)} bytes, expected {REPORT_BYTES}")
        mapping, filtering, allocation, delta = data
        return cls(
            Mapping(mapping) if mapping in Mapping.__members__.values() else Mapping.UNKNOWN,
            Filtering(filtering) if filtering in Filtering.__members__.values() else Filtering.UNKNOWN,
            Allocation(allocation) if allocation in Allocation.__members__.values() else Allocation.UNKNOWN,
            delta - 256 if delta > 127 else delta,
        )


def observed(own: tuple[str, int], seen: Sequence[tuple[str, int]], asked: int) -> NatReport:
    """What the answers of `asked` STUN servers to one socket at `own` say of the router: `seen` in the order of asking.

    RFC 5780 section 4.3 with several servers in place of a server with several addresses.
    """
    if not seen:
        return NatReport(filtering=Filtering.BLOCKED) if asked else NatReport()
    if all(address == own for address in seen):
        return NatReport(Mapping.NONE, allocation=Allocation.PRESERVING)
    keeps = all(port == own[1] for _, port in seen)
    if len(set(seen)) == 1:
        if len(seen) == 1 and not keeps:
            return NatReport()  # One server tells nothing of what another would see.
        return NatReport(Mapping.ENDPOINT_INDEPENDENT, allocation=Allocation.PRESERVING if keeps else Allocation.RANDOM)
    steps = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(seen) if later != earlier]
    small = [step for step in steps if abs(step) <= _LARGEST_STEP]
    in_order = len(small) == len(steps) > 0 and (all(s > 0 for s in steps) or all(s < 0 for s in steps))
    if in_order:
        least = min(steps, key=abs)
        return NatReport(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.SEQUENTIAL, delta=least)
    return NatReport(Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.RANDOM)


_LARGEST_STEP: Final = 16
"""Steps of a counter between three questions at once; two random ports are as near in one of 2,000 cases."""
