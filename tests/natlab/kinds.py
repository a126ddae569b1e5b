"""The kinds of access to the network that the laboratory has, and what must come of each pair of them.

Decides which boxes stand in a row for each kind, which addresses its hosts have, and the one table, `EXPECTED`, that
the laboratory and the simulator are both held to. The boxes' behaviours are those of `simulations.nat_kinds`, by the
same names. Refuses to know how a box is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from simulations.nat_kinds import KINDS as BOXES
from simulations.nat_kinds import NatKind, can_meet


@dataclass(frozen=True, slots=True)
class Access:
    """One kind of access."""

    name: str
    box: str
    """The kind of the box next to the host, as the simulator names it; what it is `behind` stands further out."""
    v4: bool = True
    v6: bool = False

    @property
    def boxes(self) -> tuple[NatKind, ...]:
        """The boxes from the open network to the host; none for a host that is in the open."""
        row: list[NatKind] = []
        name: str | None = self.box
        while name is not None:
            row.insert(0, BOXES[name])
            name = BOXES[name].behind
        return () if row[0].open else tuple(row)

    @property
    def private(self) -> bool:
        """Whether its hosts have private IPv4 addresses. Where UDP is blocked a translator does it: an office's."""
        return self.v4 and any(box.translates or box.blocks for box in self.boxes)


KINDS: Final = {
    kind.name: kind
    for kind in (
        *(
            Access(name, name)
            for name in (
                *("none", "endpoint-independent", "address-restricted", "port-restricted"),
                *("symmetric", "sequential-symmetric", "double", "cgnat", "udp-blocked"),
            )
        ),
        Access("firewall", "firewall", v6=True),
        Access("ipv6-only", "firewall", v4=False, v6=True),
    )
}
"""Every kind. A host of kind `firewall` has both families, and so a path to one that has IPv6 only."""


class Expected(Enum):
    """What must come of a pair at least."""

    DIRECT = "direct"
    RELAYED = "relayed"


def expected(a: str, b: str) -> Expected:
    """What must come of a host of kind `a` and one of kind `b`, in places of their own.

    Direct where theory says so (`simulations.nat_kinds.can_meet`). Else over a relay.
    """
    one, other = KINDS[a], KINDS[b]
    if not ((one.v4 and other.v4) or (one.v6 and other.v6)):
        return Expected.RELAYED
    return Expected.DIRECT if can_meet(one.box, other.box) else Expected.RELAYED


EXPECTED: Final = {(a, b): expected(a, b) for a in KINDS for b in KINDS}
"""By ordered pair: who dials, and whom."""


def expected_together(kind: str, *, isolated: bool) -> Expected:
    """What must come of two hosts behind one box: direct inside it, or by its hairpin where it keeps them apart.

    An isolating network that translates nothing has no way round (RFC 4787 section 6).
    """
    if not isolated:
        return Expected.DIRECT
    return Expected.DIRECT if KINDS[kind].boxes[-1].hairpin else Expected.RELAYED
