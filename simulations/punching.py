"""Two hosts behind boxes try to reach each other, as in earnest: both ask where they are seen, then both send at once.

Decides the exchange and when it counts as got through: each side has heard the other. Nobody guesses ports. Refuses to
know why two hosts want to meet.
"""

from __future__ import annotations

import asyncio
from typing import Final

from simulations.hops import Address
from simulations.network import Endpoint, Network

TRIES: Final = 10
GAP: Final = 0.2
"""Datagrams that each side sends to the other, and seconds between two. UNSOURCED: libp2p's DCUtR tries three times,
each for some seconds; two seconds outlast any round trip, so that both sides have sent before the last one comes."""


class Side:
    """One of the two: a socket of its own on a host."""

    def __init__(self, network: Network, ip: str) -> None:
        self._network = network
        self._socket: Endpoint = network.bind((ip, 0), self._receive)
        self.heard: Address | None = None
        """Where the other side's datagrams come from."""

    def send(self, data: bytes, to: Address) -> None:
        """Send a datagram."""
        self._network.send(self._socket, to, data)

    def close(self) -> None:
        """Listen no more."""
        self._network.unbind(self._socket)

    def _receive(self, data: bytes, src: Address) -> None:
        if data == b"punch":
            self.heard = src
            # Answered where it came from, which may be another port than the one that was told.
            self.send(b"heard", src)
        elif data == b"heard":
            self.heard = src


class Mirror:
    """A public host that notes from which address each socket's datagram came, as a STUN server does."""

    def __init__(self, network: Network, address: Address) -> None:
        self.address = address
        self.seen: dict[bytes, Address] = {}
        network.bind(address, self._receive)

    def _receive(self, data: bytes, src: Address) -> None:
        self.seen[data] = src


async def punch(network: Network, mirror: Mirror, a: str, b: str, *, number: int) -> bool:
    """Let the hosts with these (inside) IPs try; say whether both heard each other. Takes some virtual seconds."""
    left, right = Side(network, a), Side(network, b)
    names = (b"%d a" % number, b"%d b" % number)
    for _ in range(3):  # A lost question must not count as a box that does not open.
        left.send(names[0], mirror.address)
        right.send(names[1], mirror.address)
        await asyncio.sleep(1.0)
    seen_left, seen_right = mirror.seen.get(names[0]), mirror.seen.get(names[1])
    if seen_left is not None and seen_right is not None:
        for _ in range(TRIES):
            left.send(b"punch", left.heard or seen_right)
            right.send(b"punch", right.heard or seen_left)
            await asyncio.sleep(GAP)
        await asyncio.sleep(1.0)
    left.close()
    right.close()
    return left.heard is not None and right.heard is not None
