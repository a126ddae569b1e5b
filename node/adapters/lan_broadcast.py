"""Our own small datagrams on the local network: multicast on IPv4 and IPv6, and IPv4 broadcast beside it.

Decides group, port, and how several nodes of one machine share them. Refuses to know what the datagrams mean.

Multicast and broadcast carry the same bytes: switches that listen in on IGMP without a querier drop the one, and
some access points the other. Receivers see copies by their nonce.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from node.protocols.lan_beacon import MAX_BEACON
from node.protocols.lan_segment import Segment

PORT: Final = 7717
"""UDP: the one after the node's own default. UNSOURCED beyond that: IANA has it unassigned."""

GROUP_V4: Final = "239.255.77.16"
"""Of 239.255.0.0/16, which RFC 2365 (section 6.1) keeps within a site; sent with a TTL of 1. Within it UNSOURCED."""

GROUP_V6: Final = "ff12::7716"
"""Transient and link-local (RFC 4291, section 2.7). Within that UNSOURCED."""

BATCH: Final = 32
"""Datagrams read in one wake-up, so that others have their turn. UNSOURCED"""

Datagram = tuple[bytes, tuple[str, int]]
"""Bytes, IP text of the sender, number of the interface (0: not told)."""


class LanSockets:
    """One socket a family. Made by `open`; give it a receiver with `attach`."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._joined: set[tuple[socket.AddressFamily, int]] = set()
        self._broadcasts: dict[int, tuple[str, ...]] = {}
        self._families: dict[int, set[int]] = {}
        self.counters: Counter[str] = Counter()
        """sent, received, send_errors, join_errors."""

    @classmethod
    def open(cls, port: int = PORT) -> LanSockets:
        """Bind the port beside others who do. Raises `OSError` when neither family gives it."""
        opened: list[socket.socket] = []
        fault: OSError | None = None
        for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            try:
                opened.append(_bound(family, host, port))
            except OSError as error:
                fault = fault or error
        if not opened:
            raise fault or OSError(errno.EAFNOSUPPORT, "no family of addresses")
        return cls(opened)

    def attach(self, receive: Callable[[list[Datagram]], object]) -> None:
        """Call `receive(batch)` whenever datagrams have come in."""
        for one in self._sockets:
            self._loop.add_reader(one.fileno(), self._readable, one, receive)

    def set_segments(self, segments: Sequence[Segment]) -> None:
        """Hear what is said on these interfaces, and send there."""
        wanted = {
            (socket.AddressFamily(one.family), segment.index)
            for segment in segments
            for one in self._sockets
            if any((net.version == 6) == (one.family == socket.AF_INET6) for net in segment.nets)
        }
        for family, index in wanted - self._joined:
            self._membership(family, index, join=True)
        for family, index in self._joined - wanted:
            self._membership(family, index, join=False)
        self._joined = wanted
        self._families = {segment.index: {net.version for net in segment.nets} for segment in segments}
        self._broadcasts = {segment.index: tuple(to for _, to in segment.broadcasts) for segment in segments}

    def send(self, data: bytes, index: int) -> None:
        """Send to everybody on one interface's network. Never raises: the network may lose anything."""
        families = self._families.get(index, set())
        for one in self._sockets:
            if one.family == socket.AF_INET6 and 6 in families:
                self._send(one, data, (GROUP_V6, PORT, 0, index))
            elif one.family == socket.AF_INET and 4 in families:
                one.setsockopt(
                    socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), index)
                )
                self._send(one, data, (GROUP_V4, PORT))
                for to in self._broadcasts.get(index, ()):
                    self._send(one, data, (to, PORT))

    def close(self) -> None:
        """Close the sockets."""
        for one in self._sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one.fileno())
                one.close()

    def _send(self, one: socket.socket, data: bytes, to: tuple[str, int] | tuple[str, int, int, int]) -> None:
        try:
            one.sendto(data, to)
            self.counters["sent"] += 1
        except OSError:
            # No route, a firewall's verdict, an address still on trial: our own announcement then does not come back.
            self.counters["send_errors"] += 1

    def _readable(self, one: socket.socket, receive: Callable[[list[Datagram]], object]) -> None:
        batch: list[Datagram] = []
        try:
            for _ in range(BATCH):
                data, addr = one.recvfrom(MAX_BEACON + 1)
                batch.append((data, (addr[0].partition("%")[0], addr[3] if len(addr) == 4 else 0)))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.counters["read_errors"] += 1
        if batch:
            self.counters["received"] += len(batch)
            receive(batch)

    def _membership(self, family: socket.AddressFamily, index: int, *, join: bool) -> None:
        one = next(one for one in self._sockets if one.family == family)
        try:
            if family == socket.AF_INET6:
                option = socket.IPV6_JOIN_GROUP if join else socket.IPV6_LEAVE_GROUP
                group = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("=i", index)
                one.setsockopt(socket.IPPROTO_IPV6, option, group)
            else:
                option = socket.IP_ADD_MEMBERSHIP if join else socket.IP_DROP_MEMBERSHIP
                group = struct.pack("=4s4si", socket.inet_aton(GROUP_V4), bytes(4), index)
                one.setsockopt(socket.IPPROTO_IP, option, group)
        except OSError:
            # Joined already, or the interface has gone, which left the group for us.
            self.counters["join_errors"] += join


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT") and not sys.platform.startswith("win"):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        else:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        one.bind((host, port))
    except BaseException:
        one.close()
        raise
    return one
