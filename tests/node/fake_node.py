"""A node that answers from memory, for tests of what lies above the node: same surface, no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dht.contact import Contact
from dht.errors import LocalError
from dht.events import LookupStats, Receipt, Verdict
from dht.identity import IdentityKey, NodeKey, PublicKey
from dht.records import Kind, Refusal, SignedRecord, immutable_record, mutable_place, sign_record

IDENTITY = IdentityKey.from_seed(bytes(range(32)))
FRIEND = IdentityKey.from_seed(bytes([7] * 32)).public
STRANGER = IdentityKey.from_seed(bytes([9] * 32)).public
CONTACT = Contact(NodeKey.from_secret(bytes([3] * 32)).public, ("192.0.2.7", 4000))
STATS = LookupStats(requests=12, replies=11, failures=1, hops=2, seconds=0.25)
NOW = 1_800_000_000.0


@dataclass(frozen=True)
class NodeStatus:
    identity: PublicKey
    mode: str
    contacts: int
    port: int
    contact: str


@dataclass(frozen=True)
class ContactInfo:
    contact: Contact
    last_seen: float


@dataclass(frozen=True)
class FindOutcome:
    found: bool
    reason: str | None
    stats: LookupStats
    trace: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Reached:
    reached: bool
    rtt: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ConnectOutcome:
    connected: bool
    phases: dict[str, float] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class SendOutcome:
    ok: bool
    bytes: int
    sha256: str
    reason: str | None = None


@dataclass(frozen=True)
class GetOutcome:
    found: bool
    records: tuple[SignedRecord, ...]
    reason: str | None = None


@dataclass(frozen=True)
class Joined:
    time: float
    text: str
    level: str = "info"


@dataclass(frozen=True)
class FileOffer:
    transfer: str
    peer: PublicKey
    name: str
    size: int


@dataclass(frozen=True)
class FileEvent:
    event: str
    transfer: str
    peer: PublicKey
    path: str = ""
    sha256: str = ""
    done: int = 0
    total: int = 0
    reason: str = ""


class FakeNode:
    """Knows one friend and one contact; keeps what is put."""

    def __init__(self, config: Any = None) -> None:
        self.config = config
        self.identity = IDENTITY.public
        self.started = False
        self.stopped = False
        self.past = [Joined(NOW, "joined"), Joined(NOW + 1, "a detail", "debug"), Joined(NOW + 2, "look", "warning")]
        self.news: asyncio.Queue[Joined] = asyncio.Queue()
        self.records: dict[bytes, SignedRecord] = {}
        self.offers = [FileOffer("t1", FRIEND, "notes.txt", 5)]

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
        return [ContactInfo(CONTACT, NOW)]

    def links(self) -> list[Any]:
        return []

    async def find(self, peer: PublicKey) -> FindOutcome:
        return FindOutcome(peer == FRIEND, None if peer == FRIEND else "no node has its record", STATS)

    async def ping_dht(self, peer: PublicKey) -> Reached:
        return Reached(True, 0.012) if peer == FRIEND else Reached(False, reason="not found")

    async def ping_link(self, peer: PublicKey) -> Reached:
        return Reached(True, 0.034) if peer == FRIEND else Reached(False, reason="not found")

    async def connect(self, peer: PublicKey, *, timeout: float = 30.0) -> ConnectOutcome:
        if peer == FRIEND:
            return ConnectOutcome(True, {"lookup": 0.1, "ice": 0.02, "total": 0.2})
        return ConnectOutcome(False, reason="not-found")

    async def send_file(
        self, peer: PublicKey, path: Path, *, on_progress: Callable[[int, int], None] | None = None
    ) -> SendOutcome:
        content = path.read_bytes()
        if on_progress is not None:
            on_progress(len(content), len(content))
        if peer != FRIEND:
            return SendOutcome(False, 0, "", "refused")
        return SendOutcome(True, len(content), "ab" * 32)

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
                on_event(FileEvent("failed", offer.transfer, offer.peer, reason="refused"))
                continue
            (directory / offer.name).write_bytes(b"notes")
            on_event(FileEvent("progress", offer.transfer, offer.peer, done=5, total=5))
            on_event(
                FileEvent("received", offer.transfer, offer.peer, path=str(directory / offer.name), sha256="cd" * 32)
            )
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

    async def get(self, *, owner: PublicKey | None, salt: bytes | None, place: bytes | None) -> GetOutcome:
        if place is None:
            if owner is None or salt is None:
                raise LocalError("nothing was asked for")
            place = mutable_place(owner, salt)
        record = self.records.get(place)
        if record is None:
            return GetOutcome(False, (), "no node that was asked has it")
        return GetOutcome(True, (record,))

    def recent_events(self) -> list[Joined]:
        return self.past

    async def events(self) -> AsyncIterator[Joined]:
        while True:
            yield await self.news.get()
