"""A node that answers from memory, for tests of what lies above the node: same surface, no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dht.contact import Contact
from dht.errors import LocalError
from dht.events import Asked, LookupStats, Receipt, Verdict
from dht.identity import IdentityKey, NodeKey, PublicKey
from dht.records import Kind, Refusal, SignedRecord, immutable_record, mutable_place, sign_record
from node.node_book import AddressBook
from node.node_diagnosis import diagnose
from node.node_events import EventFeed, EventLog, NodeEvent
from node.node_facts import Facts, Finding
from node.node_results import (
    ConnectOutcome,
    ContactInfo,
    DhtPing,
    FileFailed,
    FileOffered,
    FileProgress,
    FileReceived,
    FindOutcome,
    GetOutcome,
    LinkInfo,
    LinkPing,
    Reason,
    SendOutcome,
    WayPing,
)
from node.node_values import Value
from node.node_watching import RecordNews
from node.ports import PairTried, WayTried
from node.protocols.peer_record import Capability, PeerRecord

IDENTITY = IdentityKey.from_seed(bytes(range(32)))
FRIEND = IdentityKey.from_seed(bytes([7] * 32)).public
STRANGER = IdentityKey.from_seed(bytes([9] * 32)).public
CONTACT = Contact(NodeKey.from_secret(bytes([3] * 32)).public, ("192.0.2.7", 4000))
STATS = LookupStats(requests=12, replies=11, failures=1, hops=2, seconds=0.25)
NOW = 1_800_000_000.0
PAIR = PairTried("srflx 203.0.113.5:4711", "host 192.168.1.2:7716", "failed", 9)
WAYS = (
    WayTried("dial", 0.1, 0.0, "skipped", "the peer's record names no address at which it could be dialled"),
    WayTried("ice", 0.2, 2.5, "failed", "ice-failed: none of 1 pairs worked", (PAIR,), (PAIR.local,), (PAIR.remote,)),
    WayTried("relay", 1.2, 0.4, "opened"),
)


@dataclass(frozen=True)
class NodeStatus:
    identity: PublicKey
    mode: str
    contacts: int
    port: int
    contact: str


@dataclass(frozen=True, slots=True)
class Happened(NodeEvent):
    """An event with any words."""

    text: str = ""
    level: str = "info"


class FakeNode:
    """Knows one friend and one contact; keeps what is put."""

    def __init__(self, config: Any = None) -> None:
        self.config = config
        self.identity = IDENTITY.public
        self.topics: Any = None
        self.book = AddressBook(Path("no such folder/book.json") if config is None else config.book_file)
        self.started = False
        self.facts = Facts(joined=True, contacts=20, first_contacts=3, mode="server", mode_reason="reached by 3 of 3")
        self.stopped = False
        self.log = EventLog()
        for event in (Happened(NOW, "joined"), Happened(NOW, "a detail", "debug"), Happened(NOW, "look", "warning")):
            self.log.add(event)
        self.records: dict[bytes, SignedRecord] = {}
        self.offers = [FileOffered("t1", FRIEND, "notes.txt", 5)]

    async def __aenter__(self) -> FakeNode:
        self.started = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stopped = True

    async def wait_joined(self, timeout: float | None = None) -> bool:
        return True

    def status(self) -> NodeStatus:
        return NodeStatus(self.identity, "client", 1, 4001, CONTACT.text)

    def contacts(self) -> list[ContactInfo]:
        return [ContactInfo(CONTACT, CONTACT.address, 0.02, NOW, "good")]

    def links(self) -> list[LinkInfo]:
        return [LinkInfo(FRIEND, True, ("192.0.2.9", 5000), "host-host", 60.0, 0.01, 1000, 2000, {"total": 0.2})]

    async def examine(self) -> tuple[Finding, ...]:
        return diagnose(self.facts)

    async def find(self, peer: PublicKey, *, explain: bool = False) -> FindOutcome:
        asked = (Asked(CONTACT, 150, "answered", 0.02, 1, peer == FRIEND),) if explain else ()
        if peer != FRIEND:
            return FindOutcome(False, Reason.NOT_FOUND, "no node has its record", stats=STATS, trace=asked)
        return FindOutcome(True, Reason.NONE, direct=(CONTACT,), seq=3, copies=20, stats=STATS, trace=asked)

    async def ping_dht(self, peer: PublicKey) -> DhtPing:
        if peer != FRIEND:
            return DhtPing(False, Reason.NOT_FOUND, "", 0.1)
        return DhtPing(True, Reason.NONE, "", 0.1, (WayPing(CONTACT, "direct", 0.012),))

    async def ping_link(self, peer: PublicKey) -> LinkPing:
        return LinkPing(True, Reason.NONE, "", 0.034) if peer == FRIEND else LinkPing(False, Reason.NOT_FOUND, "")

    async def connect(self, peer: PublicKey, *, timeout: float = 30.0) -> ConnectOutcome:
        if peer == FRIEND:
            return ConnectOutcome(True, Reason.NONE, phases={"lookup": 0.1, "ice": 0.02, "total": 0.2}, ways=WAYS)
        return ConnectOutcome(False, Reason.NOT_FOUND)

    async def send_file(
        self, peer: PublicKey, path: Path, *, on_progress: Callable[[int, int], None] | None = None
    ) -> SendOutcome:
        content = path.read_bytes()
        if on_progress is not None:
            on_progress(len(content), len(content))
        if peer != FRIEND:
            return SendOutcome(False, "refused", "no", path.name, len(content))
        return SendOutcome(True, "", "", path.name, len(content), len(content), sha256="ab" * 32)

    async def receive_files(
        self,
        directory: Path,
        *,
        decide: Callable[[Any], Awaitable[bool]],
        on_event: Callable[[Any], None],
        count: int | None = None,
    ) -> None:
        for offer in self.offers:
            if not await decide(offer):
                on_event(FileFailed(offer.transfer, offer.peer, offer.name, "refused"))
                continue
            path = directory / offer.name
            path.write_bytes(b"notes")
            on_event(FileProgress(offer.transfer, 5, 5))
            on_event(FileReceived(offer.transfer, offer.peer, offer.name, path, 5, 0, "cd" * 32))
        if count is None:
            await asyncio.Event().wait()

    async def put(
        self, value: bytes, *, salt: bytes | None, topic: str | None = None, expected_seq: int | None = None
    ) -> Receipt:
        if salt is None:
            record = immutable_record(value, expires=NOW + 1000)
        else:
            record = sign_record(IDENTITY, Kind.MUTABLE, value, seq=1, expires=NOW + 1000, salt=salt)
        refusal = Refusal.CAS_MISMATCH if expected_seq not in (None, 0) else Refusal.NONE
        self.records[record.place] = record
        return Receipt(record.place, record.seq, (Verdict(CONTACT, refusal, record.seq),), 1, STATS)

    async def put_many(self, values: Sequence[Value]) -> list[Receipt]:
        return [await self.put(value.data, salt=value.salt, topic=value.topic) for value in values]

    async def get(self, *, owner: PublicKey | None, salt: bytes | None, place: bytes | None) -> GetOutcome:
        if place is None:
            if owner is None or salt is None:
                raise LocalError("nothing was asked for")
            place = mutable_place(owner, salt)
        record = self.records.get(place)
        if record is None:
            return GetOutcome(False, "no node that was asked has it", place, (), 0, {}, 0.1, STATS)
        return GetOutcome(True, "", place, (record,), 20, {}, 0.1, STATS)

    async def watch(
        self, peer: PublicKey | None = None, *, salt: bytes | None = None, place: bytes | None = None
    ) -> AsyncGenerator[RecordNews, None]:
        """Two versions of a record, then its end; of a friend the peer record."""
        said = PeerRecord(direct=(CONTACT,), capabilities=Capability.WEBRTC, status="here", changed=1)
        yield RecordNews("holders", NOW, bytes(20), None, 3)
        for seq in (1, 2):
            if salt is None and peer is not None:
                record = sign_record(IDENTITY, Kind.PEER, said.to_bytes(), seq=seq, expires=NOW + 1000)
            else:
                value = b"version %d" % seq
                record = sign_record(IDENTITY, Kind.MUTABLE, value, seq=seq, expires=NOW + 1000, salt=b"s")
            yield RecordNews("record", NOW + seq, record.place, record, 3, CONTACT if seq > 1 else None)
        yield RecordNews("lapsed", NOW + 1000, record.place, record, 0)

    def recent_events(self) -> list[NodeEvent]:
        return self.log.recent()

    def events(self) -> EventFeed:
        return self.log.follow()
