"""The datagram transport of the virtual loop: asyncio's promises kept over the in-memory network.

Decides what a protocol sees: the same calls in the same order, and the same refusals of bad arguments, as over a
real socket. What becomes of a packet is the network's affair.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, cast

from simulations.hops import Address
from simulations.network import Network


class SimDatagramTransport(asyncio.DatagramTransport):
    """One bound, perhaps connected, endpoint."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        network: Network,
        protocol: asyncio.DatagramProtocol,
        local: Address,
        remote: Address | None,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._network = network
        self._protocol = protocol
        self._remote = remote
        self._closing = False
        # As a real loop has it: what comes is taken in where the socket was opened.
        self._context = contextvars.copy_context()
        self._endpoint = network.bind(local, self._arrived)
        self._extra = {"sockname": _as_socket_gives_it(self._endpoint.address)}
        if remote is not None:
            self._extra["peername"] = _as_socket_gives_it(remote)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give `sockname` or `peername`; there is no `socket` to give."""
        return self._extra.get(name, default)

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send one datagram, to the connected address when none is named."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._remote is not None:
            if addr is not None and tuple(addr[:2]) != self._remote[:2]:
                raise ValueError(f"Invalid address: must be None or {self._remote}")
            addr = self._remote
        # A real socket refuses these too. A list that works here and fails on the network is an old acquaintance.
        if not isinstance(addr, tuple):
            raise TypeError(f"sendto(): address must be a tuple, not {type(addr).__name__}")
        ip, port = addr[:2]
        if not isinstance(ip, str) or not isinstance(port, int):
            raise TypeError(f"sendto(): address {addr!r} is not (IP text, port)")
        if not 0 <= port <= 0xFFFF:
            raise OverflowError("sendto(): port must be 0-65535.")
        if not self._closing:
            # The copy is what a kernel makes: the caller may reuse its buffer at once.
            self._network.send(self._endpoint, (ip, port), bytes(data))

    def is_closing(self) -> bool:
        """Say whether `close` was called."""
        return self._closing

    def close(self) -> None:
        """Free the address at once; `connection_lost` follows soon."""
        if self._closing:
            return
        self._closing = True
        self._network.unbind(self._endpoint)
        self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Close; nothing is ever buffered here."""
        self.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand further datagrams to another protocol."""
        self._protocol = cast(asyncio.DatagramProtocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol in charge."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Nothing is ever buffered."""
        return 0

    def _arrived(self, data: bytes, src: Address) -> None:
        self._context.run(self._receive, data, src)

    def _receive(self, data: bytes, src: Address) -> None:
        if self._remote is not None and src != self._remote[:2]:
            return
        try:
            self._protocol.datagram_received(data, _as_socket_gives_it(src))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            # As on a real loop: a protocol's mistake is reported, and the next datagram is delivered.
            self._loop.call_exception_handler(
                {
                    "message": "Exception in datagram_received",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )


def _as_socket_gives_it(address: Address) -> tuple[Any, ...]:
    """IPv6 sockets report four values, and code that expects two must fail here as it does there."""
    return (*address[:2], 0, 0) if ":" in address[0] else tuple(address[:2])
