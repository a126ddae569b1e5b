"""The kinds of address translators and firewalls there are, and which pairs of them can be punched through.

Decides behaviours in the words of RFC 4787, and what follows from two of them in theory. Refuses to know packets:
the box that behaves so is in `nat.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from simulations.errors import BadScenario

Ports = Literal["preserving", "sequential", "random"]
"""Port assignment (RFC 4787 section 4.2): the inside port if it is free, the next one up, or any."""

LIFETIME = 120.0
"""Seconds a mapping outlives its last use: the least that RFC 4787 section 4.3 (REQ-5) allows."""
MOST_MAPPINGS = 64_512
"""Ports 1024 to 65535, one each: well-known ports are not given out (RFC 4787 section 4.2.2)."""
LAN_DELAY = 0.0005
"""Seconds one way between two hosts of one home: a millisecond there and back. UNSOURCED"""
CARRIER_DELAY = 0.005
"""Seconds one way between two customers of one carrier. UNSOURCED"""


class Scope(IntEnum):
    """How much of the far end's address a mapping or a filter looks at; a larger number is stricter."""

    ENDPOINT_INDEPENDENT = 0
    """None of it."""
    ADDRESS = 1
    """The IP address ("address-dependent")."""
    ADDRESS_AND_PORT = 2
    """IP address and port ("address and port-dependent")."""


@dataclass(frozen=True, slots=True)
class NatKind:
    """How one box treats what passes it, and what box, if any, stands between it and the open network."""

    name: str
    mapping: Scope = Scope.ENDPOINT_INDEPENDENT
    """Which packets of one inside address share an outside port (RFC 4787 section 4.1)."""
    filtering: Scope = Scope.ADDRESS_AND_PORT
    """Who may send to that port: anybody, or only addresses sent to before (RFC 4787 section 5)."""
    ports: Ports = "preserving"
    lifetime: float = LIFETIME
    """Seconds until an unused mapping, or an unused permission to send to it, is forgotten."""
    refresh_inbound: bool = False
    """Whether packets from outside count as use (RFC 4787 REQ-6 leaves it open)."""
    hairpin: bool = False
    """Whether inside hosts reach each other by outside addresses: 24 % of boxes (Ford et al. 2005, UDP)."""
    most: int = MOST_MAPPINGS
    """Mappings at one time; a packet that would need one more is dropped as `nat-full`."""
    translates: bool = True
    """False for a firewall: addresses stay, filtering is the same."""
    blocks: bool = False
    """True when no datagram passes, either way."""
    delay: float = LAN_DELAY
    """Seconds one way between two hosts behind it."""
    behind: str | None = None
    """Name of the kind of box between this one and the open network, for two translators in a row."""

    def __post_init__(self) -> None:
        if not 0 < self.lifetime <= math.inf:
            raise BadScenario(f"lifetime = {self.lifetime!r} of NAT kind {self.name!r}: expected seconds above 0")
        if not 1 <= self.most <= MOST_MAPPINGS:
            raise BadScenario(f"most = {self.most!r} of NAT kind {self.name!r}: expected 1 to {MOST_MAPPINGS} mappings")
        if not 0 <= self.delay < math.inf:
            raise BadScenario(f"delay = {self.delay!r} of NAT kind {self.name!r}: expected finite seconds from 0 up")

    @property
    def open(self) -> bool:
        """Whether it does nothing at all."""
        return not (self.translates or self.blocks) and self.filtering is Scope.ENDPOINT_INDEPENDENT


_EIM, _ADM, _APDM = Scope.ENDPOINT_INDEPENDENT, Scope.ADDRESS, Scope.ADDRESS_AND_PORT

KINDS: dict[str, NatKind] = {
    kind.name: kind
    for kind in (
        NatKind("none", filtering=_EIM, translates=False),
        # RFC 3489's full cone; in the words of RFC 4787 it does all that is asked, hairpinning (REQ-9) included.
        NatKind("endpoint-independent", filtering=_EIM, hairpin=True),
        NatKind("address-restricted", filtering=_ADM),
        NatKind("port-restricted"),
        NatKind("symmetric", mapping=_APDM, ports="random"),
        NatKind("sequential-symmetric", mapping=_APDM, ports="sequential"),
        # RFC 6092 for IPv6: addresses stay as they are, nothing comes in unasked.
        NatKind("firewall", translates=False),
        NatKind("udp-blocked", translates=False, blocks=True),
        # What RFC 6888 asks of a carrier: independent mapping (REQ-1), independent filtering recommended (REQ-7),
        # customers reach one another (REQ-1 by way of RFC 4787 REQ-9), ports hard to guess.
        NatKind("carrier", filtering=_EIM, ports="random", hairpin=True, delay=CARRIER_DELAY),
        NatKind("cgnat", behind="carrier"),
        NatKind("carrier-symmetric", mapping=_APDM, ports="random", delay=CARRIER_DELAY),
        NatKind("cgnat-symmetric", behind="carrier-symmetric"),
        # A router plugged into a router at home.
        NatKind("double", behind="port-restricted"),
    )
}
"""Every kind that a scenario may name."""


def kind_named(kind: str | NatKind) -> NatKind:
    """Give the kind of that name, or the kind itself; raises `BadScenario` with the names there are."""
    if isinstance(kind, NatKind):
        return kind
    found = KINDS.get(kind)
    if found is None:
        raise BadScenario(f"there is no NAT kind {kind!r}: expected one of {', '.join(KINDS)}")
    return found


def seen_from_outside(kind: str | NatKind) -> NatKind:
    """Give the single box that a chain amounts to: of two boxes in a row, each behaviour's stricter one counts."""
    box = kind_named(kind)
    while box.behind is not None:
        outer = kind_named(box.behind)
        box = NatKind(
            box.name,
            mapping=max(box.mapping, outer.mapping),
            filtering=max(box.filtering, outer.filtering),
            lifetime=min(box.lifetime, outer.lifetime),
            translates=box.translates or outer.translates,
            blocks=box.blocks or outer.blocks,
            behind=outer.behind,
        )
    return box


def can_punch(a: str | NatKind, b: str | NatKind) -> bool:
    """Say whether two hosts behind these boxes get through when both send at once to where a STUN server saw the other.

    Both go on sending and answer to whatever address a packet came from; ports are not guessed. This is theory,
    after Ford, Srisuresh and Kegel (2005, section 3) in RFC 4787's terms; the boxes stand apart from each other.
    """
    left, right = seen_from_outside(a), seen_from_outside(b)
    if left.blocks or right.blocks:
        return False
    return _first_packet_and_answer(left, right) or _first_packet_and_answer(right, left)


def can_meet(a: str | NatKind, b: str | NatKind) -> bool:
    """Say whether two such hosts reach each other with no relay: as `can_punch`, or because one side's mapping is
    endpoint-independent, where a spread of sockets on the other side meets its port.
    """
    left, right = seen_from_outside(a), seen_from_outside(b)
    if left.blocks or right.blocks:
        return False
    return Scope.ENDPOINT_INDEPENDENT in (left.mapping, right.mapping) or can_punch(a, b)


def _first_packet_and_answer(sender: NatKind, receiver: NatKind) -> bool:
    # The receiver is known by the mapping towards the STUN server. Only an endpoint-independent one is also the
    # mapping which its own packet to the sender has opened for the sender's address.
    if receiver.mapping is Scope.ENDPOINT_INDEPENDENT:
        # The sender's packet comes from its known port only if its mapping is endpoint-independent.
        let_in = sender.mapping is Scope.ENDPOINT_INDEPENDENT or receiver.filtering <= Scope.ADDRESS
        return let_in  # And the answer comes from the very address the sender sent to.
    if receiver.filtering is not Scope.ENDPOINT_INDEPENDENT:
        return False
    # Let in by anybody's leave; but the answer leaves by a mapping whose port the sender never sent to.
    return sender.filtering <= Scope.ADDRESS
