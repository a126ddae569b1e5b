"""What a node reports of itself: frozen events with a time and a sentence.

Decides the words and how grave each event is. Refuses to know who reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

from dht.contact import Address, Contact
from dht.identity import PublicKey
from node.node_log import KEPT as KEPT  # noqa: PLC0414 (given on)
from node.node_log import QUEUE as QUEUE  # noqa: PLC0414 (given on)
from node.node_log import EventFeed as EventFeed  # noqa: PLC0414 (given on)
from node.node_log import EventLog as EventLog  # noqa: PLC0414 (given on)
from node.node_log import NodeEvent as NodeEvent  # noqa: PLC0414 (given on)


@dataclass(frozen=True, slots=True)
class Started(NodeEvent):
    """The node runs."""

    identity: PublicKey
    port: int
    mode: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"node of {self.identity.text} runs on UDP port {self.port} ({self.mode} mode)"


@dataclass(frozen=True, slots=True)
class Joined(NodeEvent):
    """The node found the network."""

    contacts: int
    seconds: float
    """Since the attempt that found it began."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"joined the network: {self.contacts} contacts after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Alone(NodeEvent):
    """No other node is known, or none answers."""

    tried: int
    """First contacts that were tried."""
    retry_in: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        if not self.tried:
            return "knows no first contact: waits for others (--contact or --bootstrap name one)"
        return f"none of {self.tried} first contacts answered; next try in {self.retry_in:.0f} s"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning" if self.tried else "info"


@dataclass(frozen=True, slots=True)
class ListLoaded(NodeEvent):
    """A signed list of first contacts was asked for."""

    source: str
    status: str
    detail: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"first contacts from {self.source}: {self.status}, {self.detail}"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning" if self.status in {"refused", "unreachable", "problem"} else "info"


@dataclass(frozen=True, slots=True)
class Published(NodeEvent):
    """A record of ours was stored."""

    what: str
    place: bytes
    seq: int
    stored: int
    asked: int
    seconds: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"published the {self.what} record: {self.stored} of {self.asked} nodes stored it ({self.seconds:.2f} s)"


@dataclass(frozen=True, slots=True)
class PublishFailed(NodeEvent):
    """A record of ours found too few holders; it is tried again."""

    what: str
    place: bytes
    stored: int
    needed: int
    reasons: dict[str, int]
    retry_in: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        said = f"was stored by {self.stored} nodes, {self.needed} are needed ({why})"
        if not self.needed:
            said = "was not stored: nobody was there to ask"
        return f"the {self.what} record {said}; next try in {self.retry_in:.0f} s"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning"


@dataclass(frozen=True, slots=True)
class HomesFound(NodeEvent):
    """The nodes that forward signals to us are others now."""

    homes: tuple[Contact, ...]

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"reachable by way of {len(self.homes)} home nodes"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "debug" if self.homes else "warning"


@dataclass(frozen=True, slots=True)
class ModeSet(NodeEvent):
    """The node became a server or a client."""

    mode: str
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"now in {self.mode} mode: {self.reason}"


@dataclass(frozen=True, slots=True)
class AddressSeen(NodeEvent):
    """Others agree on our public address, or no longer do."""

    address: Address | None

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.address is None:
            return "other nodes no longer agree on this node's address"
        return f"other nodes see this node at {self.address[0]} port {self.address[1]}"


@dataclass(frozen=True, slots=True)
class ClockWrong(NodeEvent):
    """Our clock differs from that of others."""

    offset: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        side = "behind" if self.offset > 0 else "ahead of"
        return f"this machine's clock is {abs(self.offset) / 60:.0f} min {side} that of others: set it"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning"


@dataclass(frozen=True, slots=True)
class LinkOpened(NodeEvent):
    """A link to a peer is open."""

    peer: PublicKey
    initiated: bool
    phases: dict[str, float]

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"link {'to' if self.initiated else 'from'} {self.peer.text} is open"


@dataclass(frozen=True, slots=True)
class PathLost(NodeEvent):
    """The path of a link has died, or is silent while it should not be; the link waits for another."""

    peer: PublicKey
    why: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"link with {self.peer.text} looks for another path: {self.why}"


@dataclass(frozen=True, slots=True)
class PathChanged(NodeEvent):
    """A link goes on over another path."""

    peer: PublicKey
    old: str
    new: str
    why: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"link with {self.peer.text} goes on by {self.new}, before by {self.old}: {self.why}"


@dataclass(frozen=True, slots=True)
class LinkEnded(NodeEvent):
    """A link to a peer ended."""

    peer: PublicKey
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"link with {self.peer.text} ended: {self.reason}"


@dataclass(frozen=True, slots=True)
class LinkFailed(NodeEvent):
    """A link to a peer did not come to be."""

    peer: PublicKey
    initiated: bool
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"no link {'to' if self.initiated else 'from'} {self.peer.text}: {self.reason}"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning"


@dataclass(frozen=True, slots=True)
class PortMapped(NodeEvent):
    """The router forwards our port, or does not."""

    address: Address | None
    protocol: str
    detail: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.address is None:
            return f"the router forwards no port: {self.detail}"
        return f"the router forwards {self.address[0]} port {self.address[1]} to us ({self.protocol})"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "debug" if self.address is None else "info"


@dataclass(frozen=True, slots=True)
class TunnelChanged(NodeEvent):
    """DHT datagrams go another way now."""

    gateway: PublicKey | None

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.gateway is None:
            return "UDP is used again"
        return f"UDP does not get through: the gateway {self.gateway.text} carries our DHT datagrams over TCP"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "info" if self.gateway is None else "warning"


@dataclass(frozen=True, slots=True)
class FileTaken(NodeEvent):
    """A peer's file has arrived whole."""

    peer: PublicKey
    path: str
    size: int

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"received {self.path} ({self.size} bytes) from {self.peer.text}"


@dataclass(frozen=True, slots=True)
class FileMissed(NodeEvent):
    """A peer's file was refused or did not arrive whole."""

    peer: PublicKey
    name: str
    reason: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"file {self.name!r} of {self.peer.text} was not received: {self.reason}"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning"


@dataclass(frozen=True, slots=True)
class JournalFault(NodeEvent):
    """The journal cannot be written, or can be again."""

    problem: str
    over: bool

    @property
    def text(self) -> str:
        """One sentence for people."""
        return self.problem

    @property
    def level(self) -> str:
        """How grave it is."""
        return "warning" if self.over else "error"


@dataclass(frozen=True, slots=True)
class PartFailed(NodeEvent):
    """A part of the node failed and is started again."""

    part: str
    problem: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"{self.part} failed and is tried again: {self.problem}"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "error"


@dataclass(frozen=True, slots=True)
class Stopped(NodeEvent):
    """The node has saved its state and ended."""

    uptime: float

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"stopped after {self.uptime:.0f} s; its state is saved"
