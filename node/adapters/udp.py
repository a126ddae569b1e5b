"""Datagrams over real UDP sockets, many a wake-up.

Decides how sockets are opened, read in batches, and what happens when the kernel takes no more. Refuses to know
what the datagrams mean. IPv4 and IPv6 are two sockets on one port, so that addresses need no mapping back and forth.

Why no asyncio transport: it hands over one datagram a call, each of which costs a drain. An echo of 300 bytes
through the driver on loopback costs 6 µs of CPU this way, on asyncio's transport 9-22 µs and on uvloop's 7 µs.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from dht.constants import MAX_DATAGRAM
from dht.errors import LocalError
from node.adapters.webrtc_udp import MAX_RUN_BYTES, MAX_SEGMENTS, UDP_SEGMENT
from node.driver import Neighbour

Address = tuple[str, int]
Batch = list[tuple[bytes, Address]]

BATCH: Final = 64
"""Datagrams read in one wake-up, so that timers and other sockets have their turn. UNSOURCED: about 5 ms of work."""

READ_BYTES: Final = 2048
"""More than any datagram here has, so that a longer one shows: ours end at `MAX_DATAGRAM`, and DTLS at a frame."""

OURS_FROM: Final = b"\x40"
"""Below this first byte lie STUN (0-3) and DTLS (20-63), which may be a neighbour's; ours have 0xD1 (RFC 7983)."""

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Asked of the kernel, which may grant less (Linux caps it at net.core.rmem_max). UNSOURCED: a pause of 100 ms, as a
garbage collection or a disk flush makes, at 10,000 datagrams/s of 400 bytes."""

SEND_QUEUE: Final = 512
"""Datagrams kept while the kernel takes none; then the oldest goes. UNSOURCED: 0.6 MB at most"""

_PORT_TRIES: Final = 16
"""Tries to find a free port that both families have. UNSOURCED"""


class UdpSockets:
    """One port, IPv4 and IPv6 as configured. Made by `open`; give it a receiver with `attach`."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._v4 = next((s for s in sockets if s.family == socket.AF_INET), None)
        self._v6 = next((s for s in sockets if s.family == socket.AF_INET6), None)
        self._sockets = sockets
        self.addresses: list[Address] = [s.getsockname()[:2] for s in sockets]
        """Where it is bound, IPv4 first; known after `close`, too."""
        self._waiting: dict[int, deque[tuple[bytes, Address]]] = {s.fileno(): deque() for s in sockets}
        self._probes: dict[socket.AddressFamily, socket.socket] = {}
        self._neighbour: Neighbour | None = None
        self._can_segment = sys.platform == "linux"
        self._closed = False
        self.counters: Counter[str] = Counter()
        """received, sent, oversized, link_local, read_errors, send_errors, send_dropped, no_family."""

    @classmethod
    def open(cls, hosts: list[str], port: int) -> UdpSockets:
        """Bind `port` (0: any free one) on each host, at most one IPv4 and one IPv6 address.

        Raises `LocalError` that says which port and what to do. `"::"` beside `"0.0.0.0"` is given up quietly on a
        machine without IPv6.
        """
        addresses = [_ip(host) for host in hosts]
        if not addresses or len({ip.version for ip in addresses}) != len(addresses):
            raise LocalError(f"cannot listen on {hosts}: expected one IPv4 address, one IPv6 address, or one of each")
        addresses.sort(key=lambda ip: ip.version)
        for _ in range(_PORT_TRIES):
            try:
                return cls(_bind(addresses, port))
            except _PortTaken:
                continue
        raise LocalError("found no UDP port that is free on IPv4 and IPv6: set a fixed one, or listen on one address")

    @property
    def port(self) -> int:
        """The port, the same for both families."""
        return self.addresses[0][1]

    @property
    def receive_buffer(self) -> int:
        """Bytes the kernel granted (Linux doubles the number, for its own overhead)."""
        return min(s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for s in self._sockets)

    def attach(self, receive: Callable[[Batch], object]) -> None:
        """Call `receive(batch)` whenever datagrams have come in."""
        for one in self._sockets:
            self._loop.add_reader(one.fileno(), self._readable, one, receive)

    def share(self, neighbour: Neighbour | None) -> None:
        """Let `neighbour` have the datagrams that are its own, before the receiver sees them."""
        self._neighbour = neighbour

    def send(self, data: bytes, addr: Address) -> None:
        """Send now, or as soon as the kernel takes it. Never raises: the network may lose anything."""
        one = self._v6 if ":" in addr[0] else self._v4
        if one is None:
            self.counters["no_family"] += 1
            return
        if self._closed:
            return
        waiting = self._waiting[one.fileno()]
        if waiting or not self._sent(one, data, addr):
            if not waiting:
                self._loop.add_writer(one.fileno(), self._writable, one)
            elif len(waiting) >= SEND_QUEUE:
                # The newest are worth most: requests behind the oldest have timed out by now.
                waiting.popleft()
                self.counters["send_dropped"] += 1
            waiting.append((data, addr))

    def send_run(self, data: memoryview, size: int, addr: Address) -> None:
        """Send datagrams of `size` bytes that lie one behind the other, the last perhaps shorter, in few calls."""
        one = self._v6 if ":" in addr[0] else self._v4
        step = min(MAX_SEGMENTS, MAX_RUN_BYTES // size) * size
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            if one is None or len(piece) <= size or not self._sent_run(one, piece, size, addr):
                for at in range(0, len(piece), size):
                    self.send(bytes(piece[at : at + size]), addr)

    def send_from_elsewhere(self, data: bytes, addr: Address) -> None:
        """Send from a port of its own, which receives nothing: a probe whether `addr` can be reached unasked."""
        family = socket.AF_INET6 if ":" in addr[0] else socket.AF_INET
        if self._closed or (self._v6 if family == socket.AF_INET6 else self._v4) is None:
            self.counters["no_family"] += 1
            return
        if family not in self._probes:
            bound = self._v6 if family == socket.AF_INET6 else self._v4
            assert bound is not None
            try:
                self._probes[family] = _bound_socket(family, bound.getsockname()[0], 0)
            except OSError:
                self.counters["send_errors"] += 1
                return
        if not self._sent(self._probes[family], data, addr):
            self.counters["send_dropped"] += 1

    def close(self) -> None:
        """Close every socket; what still waits to be sent is given up."""
        self._closed = True
        for one in self._sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one.fileno())
                self._loop.remove_writer(one.fileno())
                one.close()
        for one in self._probes.values():
            one.close()

    def _readable(self, one: socket.socket, receive: Callable[[Batch], object]) -> None:
        batch: Batch = []
        recvfrom = one.recvfrom
        v6 = one is self._v6
        neighbour = self._neighbour
        taken = False
        try:
            for _ in range(BATCH):
                data, addr = recvfrom(READ_BYTES)
                if v6:
                    if "%" in addr[0]:  # A link-local address means nothing to others, and nothing without its scope.
                        self.counters["link_local"] += 1
                        continue
                    addr = addr[:2]
                if data < OURS_FROM and neighbour is not None and neighbour.take(data, addr):
                    taken = True
                    continue
                if len(data) > MAX_DATAGRAM:
                    self.counters["oversized"] += 1
                    continue
                batch.append((data, addr))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            # An ICMP error for an earlier datagram: anybody can forge one, and time-outs tell the same.
            self.counters["read_errors"] += 1
        if taken and neighbour is not None:
            neighbour.turn_done()
        if batch:
            self.counters["received"] += len(batch)
            receive(batch)

    def _writable(self, one: socket.socket) -> None:
        waiting = self._waiting[one.fileno()]
        while waiting:
            if not self._sent(one, *waiting[0]):
                return
            waiting.popleft()
        self._loop.remove_writer(one.fileno())

    def _sent_run(self, one: socket.socket, data: memoryview, size: int, addr: Address) -> bool:
        if not self._can_segment or self._closed or self._waiting[one.fileno()]:
            return False
        try:
            one.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, size.to_bytes(2, sys.byteorder))], 0, addr)
        except OSError as error:
            # Kernels before Linux 4.18 and some devices cannot; a full buffer or a narrow path is for the single ones.
            self._can_segment = error.errno not in (errno.EINVAL, errno.EIO)
            return False
        self.counters["sent"] += -(-len(data) // size)
        return True

    def _sent(self, one: socket.socket, data: bytes, addr: Address) -> bool:
        try:
            one.sendto(data, addr)
        except (BlockingIOError, InterruptedError):
            return False
        except (OSError, OverflowError):
            # No route, a firewall's verdict, an ICMP error: lost like any datagram, and told apart from silence here.
            self.counters["send_errors"] += 1
            return True
        self.counters["sent"] += 1
        return True


class _PortTaken(Exception):
    """The port that IPv4 was given is taken on IPv6."""


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise LocalError(f"cannot listen on {host!r}: expected an IP address, such as 0.0.0.0 or ::") from None


def _bind(addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address], port: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    chosen = port
    try:
        for ip in addresses:
            family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
            try:
                opened.append(_bound_socket(family, str(ip), chosen))
            except OSError as error:
                if opened and not port and error.errno == errno.EADDRINUSE:
                    raise _PortTaken from None
                if opened and ip.is_unspecified and error.errno in _NO_IPV6:
                    continue
                raise _explained(error, str(ip), chosen) from None
            chosen = opened[-1].getsockname()[1]
    except BaseException:
        for one in opened:
            one.close()
        raise
    return opened


_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def _bound_socket(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _enlarge(one)
        one.bind((host, port))
    except BaseException:
        one.close()
        raise
    return one


def _enlarge(one: socket.socket) -> None:
    size = RECEIVE_BUFFER
    while size >= 65536:
        try:  # Some systems refuse what is too much instead of granting less.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        except OSError:
            size //= 2
        else:
            return


def _explained(error: OSError, host: str, port: int) -> LocalError:
    where = f"UDP port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        return LocalError(f"{where} is in use, perhaps by another node: stop that one, or choose another port (0: any)")
    if error.errno == errno.EACCES:
        return LocalError(f"{where} is not allowed to this user: choose a port of 1024 or more")
    if error.errno == errno.EADDRNOTAVAIL:
        return LocalError(f"cannot listen on {where}: this machine has no such address; 0.0.0.0 and :: mean every one")
    return LocalError(f"cannot listen on {where}: {error.strerror or error}")
