"""What the engine reports. Plain frozen data: one sentence a class, one a field; no behaviour.

Operations (`join`, `find_node`, `get`, `put`, `signal`, `ping`) return a number; the event that ends one carries it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dht.contact import Address, Contact
from dht.records import Refusal, SignedRecord


class Mode(Enum):
    """Whether others may put us into their tables."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class LookupStats:
    """What a look-up cost."""

    requests: int
    """Datagrams sent as requests, retransmissions not counted."""
    replies: int
    """Of these, how many were answered."""
    failures: int
    """Of these, how many timed out."""
    hops: int
    """Length of the chain of referrals to the nearest contact that answered."""
    seconds: float
    """From start to end."""
    crowded: bool = False
    """Whether more nodes lie around the target than chance puts there: their ids may have been made for it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One contact of a look-up, for those who want to know why it ended as it did."""

    contact: Contact
    distance_bits: int
    """Bit length of the XOR distance to the target, 0-160."""
    state: str
    """answered, failed, slow, waiting or unasked."""
    rtt: float | None
    """Round-trip time in seconds, None without an answer."""
    hops: int
    had_value: bool
    asked_at: float = 0.0
    """Seconds after the look-up began."""
    named: int = 0
    """Contacts in its answer that nobody had named before."""
    by: Contact | None = None
    """Who named it first; None when our own table did."""


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class OperationEvent(Event):
    """Base of the events that end an operation."""

    op: int
    """The number the command returned."""


@dataclass(frozen=True, slots=True)
class JoinDone(OperationEvent):
    """The walk to our own neighbourhood ended; `contacts` is 0 when nobody answered."""

    contacts: int
    """Contacts in the routing table now."""
    stats: LookupStats


@dataclass(frozen=True, slots=True)
class FindNodeDone(OperationEvent):
    """A node look-up ended."""

    closest: tuple[Contact, ...]
    """The k closest contacts that answered, nearest first."""
    stats: LookupStats
    trace: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class GetDone(OperationEvent):
    """A read ended; no record means that none of those asked had a valid one."""

    place: bytes
    records: tuple[SignedRecord, ...]
    """The newest valid record; of a topic, one for each owner."""
    copies: int
    """How many nodes answered with the newest record."""
    refused: tuple[tuple[Contact, Refusal], ...]
    """Who answered with a record that does not hold, and why it does not."""
    closest: tuple[Contact, ...]
    stats: LookupStats
    trace: tuple[Asked, ...]
    ended: str = ""
    """Why it ended: agreed (as many equal answers as were wanted), all (every node there is was asked), closest (the k
    closest have answered), exhausted (fewer have, and nobody was left to ask), nobody (there was nobody to ask)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one node said to a PUT."""

    contact: Contact
    refusal: Refusal
    """`NONE`: it stored the record. `TIMEOUT`: it did not answer."""
    seq: int
    """The sequence number it holds."""
    wait: float = 0.0
    """With `WAIT`: seconds after which it is to be asked again."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a put: who stored it, who refused, and why."""

    place: bytes
    seq: int
    verdicts: tuple[Verdict, ...]
    needed: int
    """Acknowledgements that make the put a success: 15 of 20, or all there are in a network of fewer nodes."""
    stats: LookupStats
    families: tuple[Receipt, ...] = ()
    """Where it was put through IPv4 and IPv6: the receipt of each."""

    @property
    def family(self) -> str:
        """Of which addresses those are that were asked: IPv4, IPv6, both, or none."""
        ipv6 = {":" in verdict.contact.ip for verdict in self.verdicts}
        return " and ".join(name for name, is_it in (("IPv4", False), ("IPv6", True)) if is_it in ipv6)

    @property
    def stored(self) -> int:
        """How many nodes stored it."""
        return sum(verdict.refusal is Refusal.NONE for verdict in self.verdicts)

    @property
    def ok(self) -> bool:
        """Whether enough nodes stored it; of two families one is enough to find it by."""
        if self.families:
            return any(family.ok for family in self.families)
        return self.stored >= self.needed > 0

    @property
    def wait(self) -> float:
        """Seconds after which enough nodes would store it, or as many as can be; 0 where none asked us to wait."""
        waits = sorted(verdict.wait for verdict in self.verdicts if verdict.refusal is Refusal.WAIT)
        return waits[max(0, min(self.needed - self.stored, len(waits)) - 1)] if waits else 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """How many nodes refused, by reason."""
        counts: dict[str, int] = {}
        for verdict in self.verdicts:
            if verdict.refusal is not Refusal.NONE:
                counts[verdict.refusal.name.lower()] = counts.get(verdict.refusal.name.lower(), 0) + 1
        return counts


@dataclass(frozen=True, slots=True)
class PutAcknowledged(OperationEvent):
    """Enough nodes stored the record; the rest are still being asked."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class PutDone(OperationEvent):
    """Every node that was asked has answered or timed out. Comes after `PutAcknowledged` where that came."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class PingDone(OperationEvent):
    """A ping ended; `rtt` is None when no answer came."""

    contact: Contact
    rtt: float | None
    observed: Address | None
    """Where the other side saw us."""


@dataclass(frozen=True, slots=True)
class NodeCrawled(Event):
    """A crawl is done with one address of a node."""

    contact: Contact
    answered: bool
    rtt: float | None
    """Of its first answer, seconds."""
    named: int
    """Nodes that it was the first to name."""


@dataclass(frozen=True, slots=True)
class CrawlDone(OperationEvent):
    """A crawl ended: nobody is left to ask, or it was stopped."""

    answered: frozenset[bytes]
    """Node keys of those who answered, at whichever address."""
    silent: frozenset[bytes]
    """Of those who were asked and answered nowhere."""
    unasked: tuple[Contact, ...]
    """Heard of, and not asked all that was to be asked when it was stopped, or in a family by which we get nowhere."""
    named: tuple[dict[bytes, int], dict[bytes, int]]
    """By how many each node key was named at an IPv4 address, and at an IPv6 one."""
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SignalDone(OperationEvent):
    """A signal was taken by the peer (`NONE`), or every way to it failed."""

    refusal: Refusal
    """The best outcome over all ways tried."""
    ways: tuple[tuple[Contact, Refusal], ...]
    """Each home node tried and what it said."""


@dataclass(frozen=True, slots=True)
class SignalReceived(Event):
    """Somebody sent us a sealed blob."""

    recipient: bytes
    """The place of our identity, or a reply handle of ours."""
    reply: bytes
    """Handle for the answer; empty when none is wanted."""
    blob: bytes
    via: Contact
    """The node that handed it to us: the answer goes through it."""


@dataclass(frozen=True, slots=True)
class RecordChanged(Event):
    """A place that we watch has a record, or a newer one than we knew."""

    place: bytes
    record: SignedRecord
    via: Contact | None
    """The holder that told us; None when we read it, or hold it ourselves."""


@dataclass(frozen=True, slots=True)
class RecordLapsed(Event):
    """The record at a place that we watch has expired, and no newer one has come."""

    place: bytes
    record: SignedRecord


@dataclass(frozen=True, slots=True)
class HoldersChanged(Event):
    """The holders that tell us of a place we watch are others now; none while nobody is found."""

    place: bytes
    holders: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class HomesChanged(Event):
    """The nodes that forward to us are others now: the peer record should say so."""

    owner: bytes
    homes: tuple[Contact, ...]
    elsewhere: tuple[Contact, ...] = ()
    """Those of them that have an address of the other family, at that address."""


@dataclass(frozen=True, slots=True)
class ContactAdded(Event):
    """A contact entered the routing table."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class ContactRemoved(Event):
    """A contact left the routing table."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class RecordStored(Event):
    """We hold a new or newer record for others: journal it."""

    record: SignedRecord
    expires: float
    """Until when we hold it, Unix seconds."""


@dataclass(frozen=True, slots=True)
class RecordDropped(Event):
    """We no longer hold a record."""

    place: bytes
    owner: bytes


@dataclass(frozen=True, slots=True)
class AddressChanged(Event):
    """Enough others agree on another public address of ours than before."""

    address: Address


@dataclass(frozen=True, slots=True)
class ModeChanged(Event):
    """We became a server or a client."""

    mode: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class ProbeRequested(Event):
    """Send these bytes to that address from a socket that never wrote there."""

    data: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class ClockSuspect(Event):
    """The median clock of those who answered differs from ours by `offset` seconds (theirs less ours)."""

    offset: float
