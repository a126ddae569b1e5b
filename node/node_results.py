"""What a node's operations come to: frozen values in which every failure has its typed reason.

Decides fields and reasons; the local API turns them into JSON as they are. Refuses to know how they came about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

from dht.contact import Address, Contact
from dht.events import Asked, LookupStats, Receipt
from dht.identity import PublicKey
from dht.records import SignedRecord
from node.ports import Link, WayTried
from node.protocols.peer_record import Capability, PeerRecord
from node.protocols.transfer import TransferFault

__all__ = [
    "ConnectOutcome",
    "ContactInfo",
    "DhtPing",
    "FileFailed",
    "FileOffered",
    "FileProgress",
    "FileReceived",
    "FindOutcome",
    "GetOutcome",
    "LinkInfo",
    "LinkPing",
    "Reason",
    "Receipt",
    "SendOutcome",
    "WayPing",
]


class Reason(Enum):
    """Why something was not found or reached."""

    NONE = ""
    NOT_JOINED = "not-joined"
    """This node knows no other node."""
    NOT_FOUND = "not-found"
    """No node that was asked holds a record of the peer: it is offline for long, or in another network."""
    BAD_RECORD = "bad-record"
    """The peer's record is signed by it and says nothing this release understands."""
    SELF = "self"
    """The peer is this node itself."""
    NO_HOME_NODE = "no-home-node"
    NOT_REGISTERED = "peer-not-registered"
    UNREACHED = "peer-unreached"
    NO_ANSWER = "no-answer"
    BAD_ANSWER = "bad-answer"
    REFUSED = "refused"
    """The peer refused; `detail` has its reason."""
    LINK_FAILED = "link-failed"
    """Offer and answer crossed, and no path worked; `detail` says where it ended."""
    TIMEOUT = "timeout"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class ContactInfo:
    """One node of the routing table."""

    contact: Contact
    address: Address
    rtt: float | None
    """Smoothed round trip in seconds."""
    last_seen: float | None
    """Unix seconds."""
    state: str
    """good, or questionable after silence."""


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """One open link."""

    peer: PublicKey
    initiated: bool
    address: Address | None
    """The peer's end of the path."""
    type: str
    """How it runs: host, srflx, prflx, relay or memory, our end first."""
    age: float
    rtt: float | None
    """The last ping's round trip."""
    bytes_sent: int
    bytes_received: int
    phases: dict[str, float]


@dataclass(frozen=True, slots=True)
class RungTried:
    """One rung of the connection ladder, in one attempt."""

    rung: str
    """cache, lan, direct (called through nodes remembered), gossip, dht, bootstrap"""
    started: float
    """Seconds after the attempt began."""
    seconds: float
    """Until it had found something or nothing."""
    outcome: str
    """won (the link came of it), found, nothing, failed, overtaken (given up for a quicker one), skipped"""
    detail: str = ""
    """What it found, or why not."""


@dataclass(frozen=True, slots=True)
class RungStatus:
    """What became of one rung of the connection ladder since the node started."""

    rung: str
    tried: int
    won: int
    failed: int
    p50: float | None
    """Seconds from the attempt's beginning to the link, median of those it won."""


@dataclass(frozen=True, slots=True)
class FindOutcome:
    """A peer's record, or why there is none."""

    found: bool
    reason: Reason
    detail: str = ""
    direct: tuple[Contact, ...] = ()
    homes: tuple[Contact, ...] = ()
    capabilities: tuple[str, ...] = ()
    status: str = ""
    online_since: int | None = None
    changed: int | None = None
    fingerprint: bytes = b""
    """SHA-256 of the certificate that the peer keeps, so that it can be dialled with no answer; empty without."""
    seq: int | None = None
    expires: int | None = None
    copies: int = 0
    """Nodes that answered with this record."""
    seconds: float = 0.0
    stats: LookupStats | None = None
    trace: tuple[Asked, ...] = ()
    ended: str = ""
    """Why the look-up ended: agreed, all, closest, exhausted or nobody (`dht.events.GetDone`)."""

    @property
    def ways(self) -> tuple[Contact, ...]:
        """Through whom a signal reaches the peer, best first."""
        return tuple(dict.fromkeys((*self.direct, *self.homes)))


def capability_names(capabilities: Capability) -> tuple[str, ...]:
    """What a peer says it can do, in words."""
    return tuple(bit.name.lower() for bit in Capability if bit & capabilities and bit.name)


def found_record(
    record: SignedRecord,
    said: PeerRecord,
    *,
    copies: int,
    seconds: float,
    stats: LookupStats,
    trace: tuple[Asked, ...],
    ended: str = "",
) -> FindOutcome:
    """The outcome of a look-up that found `record`, which says `said`."""
    return FindOutcome(
        True,
        Reason.NONE,
        direct=said.direct,
        homes=said.homes,
        capabilities=capability_names(said.capabilities),
        status=said.status,
        online_since=said.online_since,
        changed=said.changed,
        fingerprint=said.fingerprint,
        seq=record.seq,
        expires=record.expires,
        copies=copies,
        seconds=seconds,
        stats=stats,
        trace=trace,
        ended=ended,
    )


@dataclass(frozen=True, slots=True)
class WayPing:
    """One node by way of which a peer is reached."""

    contact: Contact
    kind: str
    """direct: the peer's own node; home: a node that forwards to it."""
    rtt: float | None
    """None when it does not answer."""


@dataclass(frozen=True, slots=True)
class DhtPing:
    """A ping over the DHT."""

    reached: bool
    reason: Reason
    detail: str
    lookup_seconds: float
    ways: tuple[WayPing, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkPing:
    """A ping over the data channel."""

    reached: bool
    reason: Reason
    detail: str
    rtt: float | None = None
    connected_now: bool = False
    """Whether the link was opened for it."""
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ConnectOutcome:
    """A link, or why there is none."""

    connected: bool
    reason: Reason
    detail: str = ""
    reused: bool = False
    """The link was there already."""
    address: Address | None = None
    path: str = ""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds: lookup, gather, signaling, ice, dtls, sctp, total; look-up and gathering run at the same time."""
    ways: tuple[WayTried, ...] = ()
    """What was tried to reach the peer, in order; empty when the link was there."""
    rungs: tuple[RungTried, ...] = ()
    """Where the peer was looked for, in order."""
    _link: Link | None = None

    # No property: those are part of what the outcome says in JSON.
    @cached_property
    def link(self) -> Link:
        """The link. Only of an outcome that is connected."""
        if self._link is None:
            raise ValueError(f"there is no link: {self.reason.value} {self.detail}")
        return self._link


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """How sending a file ended."""

    ok: bool
    reason: str
    """Empty, a reason of connecting, or a `TransferFault`."""
    detail: str
    name: str
    size: int
    sent: int = 0
    resumed_at: int = 0
    sha256: str = ""
    """Confirmed by the receiver; empty when it was not."""
    stored_as: str = ""
    throughput: float | None = None
    """Bytes a second, from the first byte to the receiver's confirmation."""
    phases: dict[str, float] = field(default_factory=dict)
    """Those of connecting, then first_byte and transfer."""
    fault: TransferFault | None = None


@dataclass(frozen=True, slots=True)
class GetOutcome:
    """What a read brought."""

    found: bool
    reason: str
    place: bytes
    records: tuple[SignedRecord, ...]
    copies: int
    refused: dict[str, int]
    """Nodes that answered with a record that does not hold, by why."""
    seconds: float
    stats: LookupStats


@dataclass(frozen=True, slots=True)
class FileOffered:
    """A peer wants to send a file."""

    transfer: str
    """Names the transfer in the events that follow."""
    peer: PublicKey
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class FileProgress:
    """Bytes of a file have arrived."""

    transfer: str
    done: int
    total: int
    event: str = "progress"


@dataclass(frozen=True, slots=True)
class FileReceived:
    """A file is there, whole."""

    transfer: str
    peer: PublicKey
    name: str
    path: Path
    size: int
    resumed_at: int
    sha256: str
    event: str = "received"


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A file was refused, or did not arrive whole."""

    transfer: str
    peer: PublicKey
    name: str
    reason: str
    event: str = "failed"
