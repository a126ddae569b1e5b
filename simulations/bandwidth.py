"""Access links: how fast a host may send and receive, and how much waits before it is dropped.

Decides serialization delay, queueing and tail drop on the line between a home and the network. A large queue on a
slow line makes everything late (bufferbloat), a small one loses bursts. What rates a device has is its profile's
affair.
"""

from __future__ import annotations

import math

from simulations.errors import BadScenario
from simulations.hops import Drop, Packet
from simulations.nat import Nat, Uplink
from simulations.network import Network

HEADERS = 28
"""Bytes in front of a datagram's payload: 20 of IPv4 and 8 of UDP (RFC 791, RFC 768)."""

_FULL = Drop("link-full")


class Link:
    """One direction of an access link: a queue that is emptied at a fixed rate."""

    __slots__ = ("_free_at", "dropped", "most_wait", "passed", "queue", "rate")

    def __init__(self, rate: float, queue: int) -> None:
        """Take bits a second and the bytes that may wait; the datagram being sent does not wait."""
        if not 0 < rate < math.inf:
            raise BadScenario(f"rate = {rate!r} of an access link: expected finite bits a second above 0")
        if queue < 0:
            raise BadScenario(f"queue = {queue!r} of an access link: expected bytes from 0 up")
        self.rate = rate
        self.queue = queue
        self.passed = 0
        self.dropped = 0
        self.most_wait = 0.0
        """Longest time in seconds that a datagram waited before its first bit was sent."""
        self._free_at = -math.inf

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Send the datagram when all before it are sent; drop it when the queue has no room for it."""
        size = len(packet.data) + HEADERS
        wait = self._free_at - now
        if wait <= 0.0:
            wait = 0.0
        elif wait * self.rate > (self.queue - size) * 8:
            self.dropped += 1
            return _FULL
        elif wait > self.most_wait:
            self.most_wait = wait
        took = wait + size * 8 / self.rate
        self._free_at = now + took
        self.passed += 1
        return took


class AccessLink:
    """Both directions of a home's line."""

    __slots__ = ("down", "up")

    def __init__(self, up: Link, down: Link) -> None:
        self.up = up
        self.down = down


def attach(network: Network, ip: str, *, up: float, down: float, queue: int) -> AccessLink:
    """Put a host on an access link of `up` and `down` bits a second that queues `queue` bytes in each direction.

    Behind a translator the link lies outside of its box (call this after `place_behind`): all hosts of that home
    share the link that was attached first, and what they send one another does not cross it.
    """
    host = network.host(ip)
    first = next((number for number, hop in enumerate(host.uplink) if isinstance(hop, Uplink)), 0)
    home = host.uplink[first] if host.uplink else None
    box = home.nat if isinstance(home, Uplink) else None
    if box is None or not box.kind.translates:
        link = AccessLink(Link(up, queue), Link(down, queue))
        host.uplink = (*host.uplink, link.up)
        host.downlink = (link.down, *host.downlink)
        return link
    outside = network.host(box.public_ip)
    there = [hop for hop in outside.downlink if isinstance(hop, Link)]
    # Another host of this home may have brought the line along.
    lines = (hop for ip in sorted(box.inside) for hop in network.host(ip).uplink if isinstance(hop, Link))
    uplink = next(lines, None)
    link = AccessLink(uplink or Link(up, queue), there[0] if there else Link(down, queue))
    if link.up not in host.uplink:
        host.uplink = (*host.uplink[: first + 1], link.up, *host.uplink[first + 1 :])
    if not there:
        at = next(number for number, hop in enumerate(outside.downlink) if isinstance(hop, Nat))
        outside.downlink = (*outside.downlink[:at], link.down, *outside.downlink[at:])
    return link
