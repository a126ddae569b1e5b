"""The same port over the event loop's own datagram transport, for loops that own their sockets.

Those are the simulated network's virtual loop and Windows' proactor. Decides nothing but that; `udp.py` is faster
wherever a loop can watch a socket.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from dht.constants import MAX_DATAGRAM
from node.adapters.udp import OURS_FROM
from node.driver import Neighbour

Address = tuple[str, int]
Batch = list[tuple[bytes, Address]]


class TransportSockets:
    """One port on the hosts given. Made by `open`."""

    def __init__(self, transports: dict[bool, asyncio.DatagramTransport], protocols: list[_Receiver]) -> None:
        self._transports = transports
        self._protocols = protocols
        self.addresses: list[Address] = [transport.get_extra_info("sockname")[:2] for transport in transports.values()]
        """Where it is bound, IPv4 first; known after `close`, too."""
        self._probes: dict[bool, asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.counters: Counter[str] = Counter()
        """received, sent, oversized, read_errors, send_errors, no_family."""
        for protocol in protocols:
            protocol.counters = self.counters

    @classmethod
    async def open(cls, hosts: list[str], port: int) -> TransportSockets:
        """Bind `port` (0: any free one) on each host. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        transports: dict[bool, asyncio.DatagramTransport] = {}
        protocols = []
        for host in sorted(hosts, key=lambda text: ":" in text):
            transport, protocol = await loop.create_datagram_endpoint(_Receiver, local_addr=(host, port))
            transports[":" in host] = transport
            protocols.append(protocol)
            port = transport.get_extra_info("sockname")[1]
        return cls(transports, protocols)

    @property
    def port(self) -> int:
        """The port, the same for both families."""
        return self.addresses[0][1]

    def attach(self, receive: Callable[[Batch], object]) -> None:
        """Call `receive(batch)` whenever datagrams have come in."""
        for protocol in self._protocols:
            protocol.attach(receive)

    def share(self, neighbour: Neighbour | None) -> None:
        """Let `neighbour` have the datagrams that are its own, before the receiver sees them."""
        for protocol in self._protocols:
            protocol.neighbour = neighbour

    def send(self, data: bytes, addr: Address) -> None:
        """Hand to the transport. Never raises: the network may lose anything."""
        self._send(self._transports, data, addr)

    def send_run(self, data: memoryview, size: int, addr: Address) -> None:
        """Send datagrams of `size` bytes that lie one behind the other, the last perhaps shorter."""
        for at in range(0, len(data), size):
            self.send(bytes(data[at : at + size]), addr)

    def send_from_elsewhere(self, data: bytes, addr: Address) -> None:
        """Send from a port of its own: a probe whether `addr` can be reached unasked."""
        v6 = ":" in addr[0]
        if v6 in self._probes or v6 not in self._transports:
            self._send(self._probes, data, addr)
            return
        task = asyncio.get_running_loop().create_task(self._open_probe(v6, data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Close every transport."""
        for task in self._tasks:
            task.cancel()
        for transport in (*self._transports.values(), *self._probes.values()):
            transport.abort()
        self._transports.clear()
        self._probes.clear()

    async def _open_probe(self, v6: bool, data: bytes, addr: Address) -> None:
        host = self._transports[v6].get_extra_info("sockname")[0]
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Receiver, local_addr=(host, 0))
        except OSError:
            self.counters["send_errors"] += 1
            return
        if v6 in self._probes:  # Two probes at once: the first to open its port keeps it.
            transport.abort()
        else:
            self._probes[v6] = transport
        self._send(self._probes, data, addr)

    def _send(self, transports: dict[bool, asyncio.DatagramTransport], data: bytes, addr: Address) -> None:
        transport = transports.get(":" in addr[0])
        if transport is None:
            self.counters["no_family"] += 1
            return
        try:
            transport.sendto(data, addr)
        except (OSError, OverflowError, ValueError):
            self.counters["send_errors"] += 1
        else:
            self.counters["sent"] += 1


class _Receiver(asyncio.DatagramProtocol):
    """Hands datagrams over one by one; until somebody is attached, they are lost as on a closed port."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.neighbour: Neighbour | None = None
        self._receive: Callable[[Batch], object] | None = None

    def attach(self, receive: Callable[[Batch], object]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        neighbour = self.neighbour
        if data < OURS_FROM and neighbour is not None and neighbour.take(data, (str(addr[0]), int(str(addr[1])))):
            neighbour.turn_done()
        elif len(data) > MAX_DATAGRAM:
            self.counters["oversized"] += 1
        elif self._receive is not None:
            self.counters["received"] += 1
            self._receive([(data, (str(addr[0]), int(str(addr[1]))))])

    def error_received(self, exc: Exception) -> None:
        # An ICMP error: anybody can forge one, and time-outs tell the same.
        self.counters["read_errors"] += 1
