"""A UDP socket that speaks to one node and hears whoever answers: the conformance suite's line to it.

Refuses to know what is said.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

from dht.contact import Address
from dht.errors import LocalError

KEPT: Final = 8192
"""Datagrams that may wait to be read; more are lost, as in a socket's own buffer. UNSOURCED"""

BUFFER: Final = 4 * 1024 * 1024
"""Bytes asked for as the socket's buffer: answers to a burst shall not be lost here. The system grants what it will."""


class UdpLine(asyncio.DatagramProtocol):
    """One socket."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._arrived: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue(KEPT)
        self._transport: asyncio.DatagramTransport | None = None
        self._last: Address | None = None

    @property
    def address(self) -> Address | None:
        """Where the node sees us: known on this machine only, where no router is in between."""
        if self._transport is None or not ipaddress.ip_address(self._target[0]).is_loopback:
            return None
        host, port, *_ = self._transport.get_extra_info("sockname")
        return str(host), int(port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is of another class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it until somebody asks."""
        if not self._arrived.full():
            self._arrived.put_nowait((data, (addr[0], addr[1])))

    def send(self, data: bytes) -> None:
        """Send a datagram to the node."""
        assert self._transport is not None
        self._transport.sendto(data, self._target)

    async def receive(self, timeout: float) -> bytes | None:
        """The next datagram; None after `timeout` seconds without."""
        try:
            async with asyncio.timeout(timeout):
                data, self._last = await self._arrived.get()
        except TimeoutError:
            return None
        return data

    def from_target(self) -> bool:
        """Whether the last one came from the address we send to."""
        return self._last == self._target

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Unix seconds."""
        return time.time()


@asynccontextmanager
async def udp_line(target: Address) -> AsyncIterator[UdpLine]:
    """Open a line from a port of its own. Raises `LocalError` where this machine cannot."""
    loop = asyncio.get_running_loop()
    six = ":" in target[0]
    loopback = ipaddress.ip_address(target[0]).is_loopback
    host = ("::1" if six else "127.0.0.1") if loopback else ("::" if six else "0.0.0.0")
    try:
        transport, line = await loop.create_datagram_endpoint(lambda: UdpLine(target), local_addr=(host, 0))
    except OSError as error:
        raise LocalError(f"no UDP socket to speak to {target[0]}:{target[1]}: {error.strerror or error}") from None
    udp = transport.get_extra_info("socket")
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    try:
        yield line
    finally:
        transport.close()
