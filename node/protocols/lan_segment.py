"""One interface of this machine as the local network sees it: its addresses, and which others are its neighbours.

Decides what counts as on the same network. Refuses to know how interfaces are listed.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

Net = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Segment:
    """An interface with addresses that neighbours can use."""

    index: int
    """The system's number of the interface."""
    name: str
    nets: tuple[Net, ...]
    """Its addresses with their prefixes."""
    ips: tuple[str, ...] = field(init=False, default=())
    """Its addresses as text."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ips", tuple(str(net.ip).partition("%")[0] for net in self.nets))

    def holds(self, ip: str) -> bool:
        """Whether `ip` belongs to a neighbour here, or to ourselves (RFC 6762, section 11: nobody else is heard)."""
        text, _, scope = ip.partition("%")
        address = ipaddress.ip_address(text)
        if address.version == 6 and address.is_link_local:
            return scope in ("", self.name, str(self.index))
        return any(address.version == net.version and address in net.network for net in self.nets)

    @property
    def broadcasts(self) -> tuple[tuple[str, str], ...]:
        """Of each IPv4 address: itself, and where everybody on its network is reached."""
        return tuple(
            (str(net.ip), str(net.network.broadcast_address))
            for net in self.nets
            if net.version == 4 and net.network.prefixlen < 31
        )


def segment_of(ip: str, segments: tuple[Segment, ...]) -> Segment | None:
    """The interface on whose network `ip` lies."""
    try:
        return next((one for one in segments if one.holds(ip)), None)
    except ValueError:
        return None
