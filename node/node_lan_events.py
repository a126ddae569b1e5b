"""What a node reports of the local network, and its state there.

Decides the words and how grave each event is. Refuses to know who reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

from dht.contact import Contact
from dht.identity import PublicKey
from node.node_log import NodeEvent
from node.protocols.lan_events import LanPeer


@dataclass(frozen=True, slots=True)
class LanPeerFound(NodeEvent):
    """A peer on the local network has shown that it is there."""

    peer: PublicKey
    contact: Contact
    interface: str
    ways: tuple[str, ...]
    seconds: float
    """Since this node began to look on its networks."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        host, port = self.contact.address
        return f"found {self.peer.text} on the local network at {host} port {port} ({self.interface})"


@dataclass(frozen=True, slots=True)
class LanPeerLost(NodeEvent):
    """A peer is no longer on the local network."""

    peer: PublicKey
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"{self.peer.text} is no longer on the local network: {self.reason}"


@dataclass(frozen=True, slots=True)
class LanProblem(NodeEvent):
    """Something keeps peers on the local network from being found, or did until now."""

    what: str
    """mdns, beacon, network, clock, address"""
    problem: str
    """Empty when it is over."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        return self.problem or f"the local network works again ({self.what})"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning" if self.problem and self.what != "network" else "info"


@dataclass(frozen=True, slots=True)
class LanStatus:
    """The local network as this node sees it."""

    visible: str
    """on: to everybody in the network; known: to who knows our peer id; off: to nobody."""
    interfaces: tuple[str, ...]
    """Name and addresses of each."""
    ways: tuple[str, ...]
    """How peers are looked for just now: mdns, beacon."""
    peers: tuple[LanPeer, ...]
    problems: tuple[str, ...]
    counters: dict[str, int]
