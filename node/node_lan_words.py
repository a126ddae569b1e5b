"""What ails the local network, in sentences that say what to do."""

from __future__ import annotations

from typing import Final

from node.protocols.lan import BEACON, MDNS
from node.protocols.lan_events import ClockApart, Foreign, OutOfReach

CLOCK: Final = "clock"

SILENCED: Final = {
    MDNS: "mDNS is blocked on this machine: our own announcements do not come back. Let a firewall pass UDP port 5353; "
    "until then peers are looked for by UDP port 7717 alone",
    BEACON: "multicast and broadcast on UDP port 7717 are blocked on this machine: our own announcements do not come "
    "back. Let a firewall pass that port; until then peers are looked for by mDNS alone",
}


def clock_apart(event: ClockApart) -> str:
    """A peer says another time."""
    hours = abs(event.offset) / 3600
    span = f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    side = "ahead of" if event.offset > 0 else "behind"
    return (
        f"{event.peer.text} is on the local network, but its clock is {span} {side} ours, so that it is not believed: "
        "set the clock of the machine that is wrong"
    )


def foreign(event: Foreign) -> str:
    """Somebody near cannot be read."""
    return (
        f"a node near ({event.source}) cannot be read: it is in another network than this one (see the settings "
        "network and network_key), or shows itself only to peers that know it"
    )


def out_of_reach(event: OutOfReach) -> str:
    """A peer is heard, but at no address that this machine has a way to."""
    said = ", ".join(event.said) or "no address at all"
    return (
        f"{event.peer.text} is on the local network, but at no address on a network of this machine ({said}): "
        "the two need addresses of one prefix"
    )
