"""Our own records in the DHT: when they are signed, stored and stored again.

The peer record follows what changes (home nodes, address, mode, status) after a short rest; every record is signed
anew each republish interval, with a later expiry and a higher sequence number. Before that it is read: a newer
one, by another device of the same identity, is left alone; so is one of which there are copies enough that live for
long enough. What is due together is stored in one go. Refuses to know how a record finds its holders.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dht.contact import Address, Contact
from dht.engine import DhtEngine
from dht.errors import LocalError
from dht.events import (
    AddressChanged,
    GetDone,
    HomesChanged,
    JoinDone,
    Mode,
    ModeChanged,
    PutAcknowledged,
    PutDone,
    Receipt,
)
from dht.identity import IdentityKey, is_exempt
from dht.records import (
    Kind,
    Refusal,
    SignedRecord,
    decode_record,
    immutable_record,
    peer_place,
    sign_record,
    verify_record,
)
from node.driver import Driver
from node.node_events import EventLog, Published, PublishFailed
from node.node_values import Value
from node.protocols.peer_record import MAX_HOME_CONTACTS, Capability, PeerRecord
from node.storage import DropOwn, OwnRecord, Snapshot, Storage, sequence_floor

REST: Final = 0.3
"""Seconds without a change until the peer record is published: homes are found one after another. UNSOURCED"""

FIRST_RETRY: Final = 5.0
LONGEST_RETRY: Final = 300.0
"""Seconds until a record that too few nodes stored is tried again, doubling. UNSOURCED: presence is refreshed at most
every 5 minutes."""

BEATS: Final = 16
"""Times in a republish interval at which anything is republished, an hour apart by default; each node has its own. So
nodes that began together do not publish together for ever, and what one node stored within an hour goes in one go."""

LIFE_LEFT: Final = 1.5
"""Republish intervals that a record must still live for to be left as it is, where its copies are all there: until the
next look, and half of one more in case nobody can be reached then. UNSOURCED"""

READ_AT_ONCE: Final = 16
"""Records looked at in one go before they are stored again. UNSOURCED"""

PEER: Final = "peer"

_NOT_OURS_ANY_MORE: Final = frozenset({Refusal.OLDER, Refusal.CONFLICT, Refusal.CAS_MISMATCH})


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """What is known of our peer record."""

    seq: int
    stored: int
    """Nodes that stored it."""
    asked: int
    at: float
    expires: int


class Publishing:
    """Publishes for one identity."""

    def __init__(
        self,
        identity: IdentityKey,
        driver: Driver[DhtEngine],
        storage: Storage,
        events: EventLog,
        *,
        rng: random.Random,
        interval: float,
        ttl: float,
        capabilities: Capability,
        bound: Address | None = None,
        fingerprint: bytes = b"",
        relays: Callable[[], bool] = lambda: False,
    ) -> None:
        """`bound`: where this node listens, when that is one address rather than all of a machine's. `fingerprint`: of
        the certificate under which a server takes links with no answer. `relays`: whether it carries others' links.
        """
        self._identity = identity
        self._driver = driver
        self._storage = storage
        self._events = events
        self._interval = interval
        self._ttl = ttl
        self._beat = interval / BEATS
        self._phase = rng.uniform(0.0, self._beat)
        self._capabilities = capabilities
        self._bound = bound
        self._fingerprint = fingerprint
        self._relays = relays
        self._started = int(driver.now())
        self._changed = asyncio.Event()
        self._own: dict[bytes, OwnRecord] = {}
        self._own_changed = asyncio.Event()
        self._status = ""
        self._said: PeerRecord | None = None
        self.published: PublishedRecord | None = None
        """Our peer record as it was stored last; None before the first time."""
        for kind in (HomesChanged, AddressChanged, ModeChanged, JoinDone):
            driver.subscribe(kind, lambda _: self._changed.set())
        driver.subscribe(PutDone, self._on_put_done)

    def set_status(self, status: str) -> None:
        """Show another status text. Raises `LocalError` when it does not fit a peer record."""
        PeerRecord(status=status).to_bytes()
        self._status = status
        self._changed.set()

    def restore(self, snapshot: Snapshot) -> None:
        """Take back the app's own records of an earlier run."""
        self._own = {row.place: row for row in snapshot.own}
        self._own_changed.set()

    async def put(self, value: Value, *, expected_seq: int | None = None) -> Receipt:
        """Sign and store an app's record; returns once enough nodes have it, or all have spoken."""
        record = await self._sign(value.kind, value.data, value.record_salt)
        receipt = await self._put(record, expected_seq)
        self._remember(record, receipt, value)
        return receipt

    async def put_many(self, values: Sequence[Value]) -> list[Receipt]:
        """Sign and store an app's records in one go; returns once, for each, enough nodes have it or all have spoken.

        Raises `LocalError` naming the one that is no record, or that is there twice, before any is stored.
        """
        records: list[SignedRecord] = []
        numbers: dict[bytes, int] = {}
        for number, value in enumerate(values, 1):
            try:
                record = await self._sign(value.kind, value.data, value.record_salt)
            except LocalError as error:
                raise LocalError(f"record {number}: {error}") from None
            first = numbers.setdefault(record.place, number)
            if first != number:
                raise LocalError(f"record {number} would lie where record {first} does: give each its own salt")
            records.append(record)
        receipts = await self._put_all(records)
        for record, receipt, value in zip(records, receipts, values, strict=True):
            self._remember(record, receipt, value)
        return receipts

    def _remember(self, record: SignedRecord, receipt: Receipt, value: Value) -> None:
        verdicts = {verdict.refusal for verdict in receipt.verdicts}
        if receipt.ok or not verdicts & _NOT_OURS_ANY_MORE:
            # Even one that too few took is kept: it is stored again when there are more.
            again = self._again(receipt, FIRST_RETRY)
            self._keep(OwnRecord(record.place, record.raw, value.record_salt, int(record.kind), again))

    # The peer record

    async def run_peer_record(self) -> None:
        """Keep our peer record what it should be. Ends only by being cancelled."""
        retry = FIRST_RETRY
        due: float | None = None
        while True:
            wait = None if due is None else max(0.0, due - self._driver.now())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            await self._rest()
            record = self.current()
            if not record.ways or not self._driver.engine.contacts():
                due = None  # Nothing to say, or nobody to say it to; a change will come.
                continue
            if record is self._said and due is not None and self._driver.now() < due:
                continue
            receipt = await self._publish_peer(record, retry)
            if receipt.ok:
                retry, due = FIRST_RETRY, self._again(receipt, retry)
            else:
                due, retry = self._driver.now() + retry, min(retry * 2, LONGEST_RETRY)

    def current(self) -> PeerRecord:
        """What our peer record should say now."""
        engine = self._driver.engine
        direct: tuple[Contact, ...] = ()
        capabilities = self._capabilities | (Capability.RELAY if self._relays() else Capability(0))
        if engine.mode is Mode.SERVER:
            capabilities |= Capability.SERVER
            # A server that listens at one address has been told it; else the others have to tell it theirs.
            addresses = engine.public_addresses or (() if self._bound is None else (self._bound,))
            direct = tuple(Contact(engine.own_key, address) for address in addresses)
        homes = (*engine.homes(), *engine.homes_elsewhere())
        homes = tuple(home for home in homes if not direct or not _private_beside(home, direct[0]))
        said = PeerRecord(
            direct=direct,
            homes=homes[:MAX_HOME_CONTACTS],
            capabilities=capabilities,
            status=self._status,
            online_since=self._started,
            changed=int(self._driver.now()),
            fingerprint=self._fingerprint if direct else b"",
        )
        before = self._said
        if before is not None and _same(before, said):
            return before
        return said

    async def _rest(self) -> None:
        while True:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST):
                    await self._changed.wait()
                continue
            return

    async def _publish_peer(self, said: PeerRecord, retry_in: float) -> Receipt:
        started = self._driver.now()
        record = await self._sign(Kind.PEER, said.to_bytes(), b"")
        receipt = await self._put(record, None)
        self._said = said
        self._note(PEER, record, receipt, started, retry_in)
        if receipt.stored:
            self.published = PublishedRecord(
                record.seq, receipt.stored, len(receipt.verdicts), self._driver.now(), record.expires
            )
        return receipt

    def _on_put_done(self, event: PutDone) -> None:
        # The rest has spoken too by now: the receipt that ended the wait was an early one.
        published, receipt = self.published, event.receipt
        if published and receipt.place == peer_place(self._identity.public) and receipt.seq == published.seq:
            self.published = PublishedRecord(
                published.seq, receipt.stored, len(receipt.verdicts), published.at, published.expires
            )

    # The app's records

    async def run_own_records(self) -> None:
        """Store the app's records again when they are due. Ends only by being cancelled."""
        retry = FIRST_RETRY
        while True:
            self._own_changed.clear()
            due = min((row.republish_at for row in self._own.values()), default=None)
            wait = None if due is None else max(0.0, due - self._driver.now())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._own_changed.wait()
                continue
            now = self._driver.now()
            ok = await self._republish([row for row in self._own.values() if row.republish_at <= now], retry)
            retry = FIRST_RETRY if ok else min(retry * 2, LONGEST_RETRY)

    async def _republish(self, rows: Sequence[OwnRecord], retry_in: float) -> bool:
        """Store rows again, in one go; true when that is done with for this interval."""
        wanted: list[bool] = []
        for start in range(0, len(rows), READ_AT_ONCE):
            wanted += await asyncio.gather(*(self._is_wanted(row) for row in rows[start : start + READ_AT_ONCE]))
        started = self._driver.now()
        # Without those that the app put anew meanwhile.
        due = [row for row, want in zip(rows, wanted, strict=True) if want and self._own.get(row.place) is row]
        records = [await self._signed_again(row) for row in due]
        ok = True
        for row, record, receipt in zip(due, records, await self._put_all(records), strict=True):
            self._note(record.kind.name.lower(), record, receipt, started, retry_in)
            if {verdict.refusal for verdict in receipt.verdicts} & _NOT_OURS_ANY_MORE and not receipt.ok:
                self._drop(row)
                continue
            if self._own.get(row.place) is row:
                again = self._again(receipt, retry_in)
                self._keep(OwnRecord(row.place, record.raw, row.salt, row.kind, again))
            ok = ok and receipt.ok
        return ok

    async def _is_wanted(self, row: OwnRecord) -> bool:
        """Whether a row is to be stored again: not when another device has stored a newer one, nor when enough nodes
        hold it and will for long enough."""
        if row.kind != Kind.MUTABLE:
            return True
        config = self._driver.engine.config
        enough = config.acknowledgements(config.k)
        there = await self._driver.run(lambda engine, now: engine.get(row.place, now, quorum=enough), GetDone)
        old = decode_record(row.raw)
        if any(found.owner == old.owner and found.seq > old.seq for found in there.records):
            self._drop(row)
            return False
        now = self._driver.now()
        held = there.copies >= enough and any(found.raw == row.raw for found in there.records)
        if held and old.expires - now >= LIFE_LEFT * self._interval and self._own.get(row.place) is row:
            self._keep(OwnRecord(row.place, row.raw, row.salt, row.kind, self._next_beat(now)))
            return False
        return True

    async def _signed_again(self, row: OwnRecord) -> SignedRecord:
        old = decode_record(row.raw)
        if row.kind == Kind.IMMUTABLE:
            return verify_record(old, self._driver.now())
        return await self._sign(Kind(row.kind), old.payload, row.salt)

    def _keep(self, row: OwnRecord) -> None:
        self._own[row.place] = row
        self._storage.write(row)
        self._own_changed.set()

    def _drop(self, row: OwnRecord) -> None:
        self._own.pop(row.place, None)
        self._storage.write(DropOwn(row.place))

    # Both

    async def _sign(self, kind: Kind, value: bytes, salt: bytes) -> SignedRecord:
        now = self._driver.now()
        expires = now + self._ttl
        if kind is Kind.IMMUTABLE:
            return immutable_record(value, expires=expires)
        # Signed once to learn its place, so that a value too long fails before a number is used up.
        trial = sign_record(self._identity, kind, value, seq=0, expires=expires, salt=salt)
        seq = await self._storage.next_sequence(trial.place, sequence_floor(now))
        return sign_record(self._identity, kind, value, seq=seq, expires=expires, salt=salt)

    async def _put(self, record: SignedRecord, expected_seq: int | None) -> Receipt:
        done: PutAcknowledged | PutDone = await self._driver.run(
            lambda engine, now: engine.put(record, now, expected_seq=expected_seq)
        )
        return done.receipt

    async def _put_all(self, records: Sequence[SignedRecord]) -> list[Receipt]:
        done: list[PutAcknowledged | PutDone] = await self._driver.run_many(
            lambda engine, now: engine.put_many(records, now)
        )
        return [each.receipt for each in done]

    def _again(self, receipt: Receipt, retry_in: float) -> float:
        """When a record is to be stored again. All nodes of a small network may be too few for a grown one."""
        config, now = self._driver.engine.config, self._driver.now()
        if not receipt.ok:
            return now + (receipt.wait or retry_in)
        few = receipt.stored < config.acknowledgements(config.k)
        return now + min(self._interval, LONGEST_RETRY) if few else self._next_beat(now)

    def _next_beat(self, now: float) -> float:
        """The first of this node's beats that is an interval away."""
        earliest = now + self._interval
        return earliest + (self._phase - earliest) % self._beat

    def _note(self, what: str, record: SignedRecord, receipt: Receipt, started: float, retry_in: float) -> None:
        now = self._driver.now()
        if receipt.ok:
            asked = len(receipt.verdicts)
            self._events.add(Published(now, what, record.place, record.seq, receipt.stored, asked, now - started))
        else:
            self._events.add(
                PublishFailed(now, what, record.place, receipt.stored, receipt.needed, receipt.reasons, retry_in)
            )


def _same(one: PeerRecord, other: PeerRecord) -> bool:
    """Whether two records say the same but for when."""
    return (one.direct, one.homes, one.capabilities, one.status, one.fingerprint) == (
        other.direct,
        other.homes,
        other.capabilities,
        other.status,
        other.fingerprint,
    )


def _private_beside(home: Contact, direct: Contact) -> bool:
    """Whether a home node's address means nothing to those who reach us at a public one."""
    return is_exempt(home.ip) and not is_exempt(direct.ip)
