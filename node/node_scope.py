"""Staying on the local network: a node's sockets that send to private, loopback and link-local addresses alone.

Decides what becomes of a datagram to, or from, any other address: it is counted, and lost. Refuses to know why the node
is to stay there (the setting `scope`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from dht.contact import Address
from dht.identity import is_exempt
from node.driver import Datagrams, Neighbour

Batch = list[tuple[bytes, Address]]


class LocalDatagrams:
    """The node's sockets, for addresses of the local network only."""

    def __init__(self, inner: Datagrams) -> None:
        self.inner = inner
        self.counters: Counter[str] = inner.counters
        """Those of the sockets; out_of_scope: datagrams that were not sent, or not taken in."""
        self.addresses = inner.addresses

    @property
    def port(self) -> int:
        """The port of the sockets."""
        return self.inner.port

    def attach(self, receive: Callable[[Batch], object]) -> None:
        """Call `receive(batch)` for what comes from the local network."""

        def near(batch: Batch) -> None:
            taken = [one for one in batch if self._near(one[1])]
            if taken:
                receive(taken)

        self.inner.attach(near)

    def share(self, neighbour: Neighbour | None) -> None:
        """Let `neighbour` have its own datagrams from the local network."""
        self.inner.share(None if neighbour is None else _NearNeighbour(neighbour))

    def send(self, data: bytes, addr: Address) -> None:
        """Send, or count."""
        if self._near(addr):
            self.inner.send(data, addr)

    def send_run(self, data: memoryview, size: int, addr: Address) -> None:
        """Send a neighbour's datagrams, or count."""
        if self._near(addr):
            self.inner.send_run(data, size, addr)

    def send_from_elsewhere(self, data: bytes, addr: Address) -> None:
        """Send from a port of its own, or count."""
        if self._near(addr):
            self.inner.send_from_elsewhere(data, addr)

    def close(self) -> None:
        """Free everything."""
        self.inner.close()

    def _near(self, addr: Address) -> bool:
        if is_exempt(addr[0]):
            return True
        self.counters["out_of_scope"] += 1
        return False


class _NearNeighbour:
    """Who shares the port, for datagrams of the local network."""

    def __init__(self, neighbour: Neighbour) -> None:
        self._neighbour = neighbour

    def take(self, data: bytes, addr: Address) -> bool:
        """Take a datagram, or say that it is not one of ours: `attach` loses what comes from elsewhere."""
        return is_exempt(addr[0]) and self._neighbour.take(data, addr)

    def turn_done(self) -> None:
        """Everything that had arrived was handed over."""
        self._neighbour.turn_done()
