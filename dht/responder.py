"""Answers to requests. An address that has not shown a token gets no more bytes than it sent.

Decides what to answer; sends nothing. Signals are forwarded by `dht.meeting`, which needs requests of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

from dht.config import DhtConfig
from dht.constants import MAX_CONTACTS, MAX_MESSAGE, OVERHEAD_BYTES, PRINT_BYTES
from dht.contact import PACKED_V4, PACKED_V6, Address, Contact, pack_address, pack_contacts
from dht.events import Event, RecordDropped, RecordStored
from dht.family import BothTables
from dht.limits import SourceLimits, Tokens, prefix_of
from dht.records import RecordRefused, Refusal, SignedRecord, VerdictCache, decode_record, verify_record
from dht.routing import Table
from dht.store import Store
from dht.wire import (
    WANT_V4,
    WANT_V6,
    FindNode,
    Get,
    Have,
    Message,
    Nodes,
    Ping,
    Pong,
    Put,
    PutMany,
    Request,
    Stored,
    StoredMany,
    Value,
    Want,
)

_NODES_HEAD = 36
"""Message bytes of NODES without contacts: array, number, id (9), token (10), two strings' heads (6), rounded up."""

_VALUE_HEAD = 48
"""The same for VALUE: total (3) and the records' array (3) in addition."""

_STORED_MANY_HEAD = 36
"""Message bytes of STORED_MANY without verdicts and contacts: as of NODES, and the list's head (3)."""

_VERDICT_BYTES = 12
"""Of one verdict: array (1), status (2), sequence number (9)."""

_VALUE_CONTACTS = 8
"""Contacts beside a record: the asker has what it wanted and needs only a way on to more copies."""


AnyTable = Table | BothTables
"""Where the contacts of an answer come from."""


class Asking:
    """Who asks: key, endpoint, what it may get. One is made for each request."""

    __slots__ = ("address", "key", "proven", "room", "token")

    def __init__(self, key: bytes, address: Address, size: int, token: bytes, proven: bool) -> None:
        self.key = key
        self.address = address
        self.token = token
        """The token to hand out."""
        self.proven = proven
        """Whether it showed a token of ours."""
        self.room = MAX_MESSAGE if proven else size - OVERHEAD_BYTES
        """Message bytes the reply may have."""


class Responder:
    """Answers PING, FIND_NODE, GET, PUT, PUT_MANY and HAVE from the table and the store."""

    def __init__(
        self,
        config: DhtConfig,
        store: Store,
        tokens: Tokens,
        verdicts: VerdictCache,
        emit: Callable[[Event], None],
        changed: Callable[[SignedRecord, float], None],
    ) -> None:
        """`changed(record, now)` is called for each record that is new here, or newer."""
        self._store = store
        self._tokens = tokens
        self._verdicts = verdicts
        self._emit = emit
        self._changed = changed
        self._limit = SourceLimits(config.rate_limit, config.rate_burst, config.network_rate)

    def admit(self, address: Address, now: float) -> bool:
        """Whether an address, and its network, are within their rates of requests."""
        return self._limit.allow(address, now)

    def spent(self, address: Address, now: float) -> bool:
        """Whether no request of an address would be admitted now."""
        return self._limit.spent(address, now)

    def asking(self, request: Request, key: bytes, address: Address, size: int, now: float) -> Asking:
        """Judge the token of a request of `size` bytes (the whole datagram)."""
        token, proven = self._tokens.judge(request.token, key, address, now)
        return Asking(key, address, size, token, proven)

    def on_ping(self, request: Ping, asking: Asking, now: float) -> Message:
        """PING → PONG with the observed address."""
        return Pong(request.rid, asking.token, pack_address(asking.address), int(now))

    def on_find_node(self, request: FindNode, asking: Asking, table: AnyTable) -> Message:
        """FIND_NODE → NODES."""
        found = self._nearest(table, request.target, asking, MAX_CONTACTS)
        nodes4, nodes6 = pack_contacts(found, asking.room - _NODES_HEAD)
        return Nodes(request.rid, asking.token, nodes4, nodes6)

    def on_get(self, request: Get, asking: Asking, table: AnyTable, now: float) -> Message:
        """GET → VALUE: as many records as fit, then contacts as far as there is room."""
        records = self._store.get(request.place, now)
        if len(records) > 1:
            # A topic's announcements do not all fit: each asker has an order of its own, the same for all its pages, so
            # that together they learn of everybody, and of those who came last as of those who came first.
            records.sort(key=lambda record: hashlib.blake2b(record.owner, key=asking.key, digest_size=8).digest())
        room = asking.room - _VALUE_HEAD
        chosen: list[bytes] = []
        for record in records[request.skip :]:
            if len(record.raw) + 3 > room or len(chosen) == 16:
                break
            room -= len(record.raw) + 3
            chosen.append(record.raw)
        nodes4 = nodes6 = b""
        if request.nodes or not chosen:
            found = self._nearest(table, request.place, asking, _VALUE_CONTACTS if chosen else MAX_CONTACTS)
            nodes4, nodes6 = pack_contacts(found, room)
        return Value(request.rid, asking.token, chosen, min(len(records), 65535), nodes4, nodes6)

    def on_put(self, request: Put, asking: Asking, table: Table, own_id: int, now: float) -> Stored:
        """PUT → STORED with the verdict, and the contacts nearer to the place than we are."""
        refusal, place, seq = self._judge_put(request, asking, now)
        nearer: list[Contact] = []
        if place and request.nodes:
            target = int.from_bytes(place, "big")
            own_distance = own_id ^ target
            nearer = [
                contact
                for contact in self._nearest(table, place, asking, _VALUE_CONTACTS)
                if contact.long_id ^ target < own_distance
            ]
        nodes4, nodes6 = pack_contacts(nearer, asking.room - _VALUE_HEAD)
        return Stored(request.rid, asking.token, refusal, seq, nodes4, nodes6)

    def on_put_many(self, request: PutMany, asking: Asking, table: Table, own_id: int, now: float) -> Message:
        """PUT_MANY → STORED_MANY: a verdict on each, and contacts nearer to one of the places than we are."""
        verdicts: list[tuple[int, int]] = []
        nodes4: dict[bytes, None] = {}
        nodes6: dict[bytes, None] = {}
        for raw, lifetime in request.items:
            # Each further record counts as a request of its own: else many would be had checked for the price of one.
            if verdicts and not self.admit(asking.address, now):
                verdicts.append((Refusal.RATE_LIMITED, 0))
                continue
            put = Put(request.rid, request.token, request.server, raw, lifetime, request.nodes)
            stored = self.on_put(put, asking, table, own_id, now)
            verdicts.append((stored.status, stored.seq))
            nodes4.update(dict.fromkeys(_pieces(stored.nodes4, PACKED_V4)))
            nodes6.update(dict.fromkeys(_pieces(stored.nodes6, PACKED_V6)))
        room = max(0, asking.room - _STORED_MANY_HEAD - _VERDICT_BYTES * len(verdicts))
        most4 = min(MAX_CONTACTS, room // PACKED_V4)
        named4 = b"".join(list(nodes4)[:most4])
        most6 = min(MAX_CONTACTS, (room - len(named4)) // PACKED_V6)
        return StoredMany(request.rid, asking.token, verdicts, named4, b"".join(list(nodes6)[:most6]))

    def _judge_put(self, request: Put, asking: Asking, now: float) -> tuple[Refusal, bytes, int]:
        """The verdict; the record's place; the sequence number held there, or the seconds to wait."""
        if not asking.proven:
            return Refusal.BAD_TOKEN, b"", 0
        try:
            record = verify_record(decode_record(request.record), now, self._verdicts)
        except RecordRefused as error:
            return error.refusal, b"", 0
        refusal = self.keep(
            record,
            now,
            expires=now + request.lifetime,
            prefix=prefix_of(asking.address),
            expected_seq=request.expected_seq,
            waited=self._tokens.age(request.token, now),
            via=WANT_V6 if ":" in asking.address[0] else WANT_V4,
        )
        if refusal is Refusal.WAIT:
            wait = self._store.waiting(record.place, prefix_of(asking.address))
            return refusal, record.place, self._tokens.left(request.token, wait, now)
        held = self._store.held(record.place, record.owner)
        return refusal, record.place, held.record.seq if held is not None else 0

    def on_have(self, request: Have, asking: Asking, table: Table, now: float) -> Message:
        """HAVE → WANT: which of the records named are not held here. What is held counts as looked after when a node of
        our table names it."""
        known = table.get(asking.key) is not None
        count = len(request.prints) // PRINT_BYTES
        wanted = 0
        for start in range(0, count * PRINT_BYTES, PRINT_BYTES):
            held = self._store.by_print(request.prints[start : start + PRINT_BYTES], now)
            wanted = wanted << 1 | (held is None)
            if held is not None and known:
                held.refreshed = now
        length = -(-count // 8)
        return Want(request.rid, asking.token, (wanted << 8 * length - count).to_bytes(length, "big"))

    def keep(
        self,
        record: SignedRecord,
        now: float,
        *,
        expires: float,
        prefix: bytes = b"",
        expected_seq: int | None = None,
        waited: float = math.inf,
        via: int = 0,
    ) -> Refusal:
        """Put a record into the store and report what that changes."""
        before = self._store.held(record.place, record.owner)
        refusal, dropped = self._store.put(
            record, now, expires=expires, prefix=prefix, expected_seq=expected_seq, waited=waited, via=via
        )
        for old in dropped:
            self._emit(RecordDropped(old.place, old.owner))
        held = self._store.held(record.place, record.owner)
        if refusal is Refusal.NONE and held is not None:
            self._emit(RecordStored(record, held.expires))
            if held is not before:
                self._changed(record, now)
        return refusal

    def _nearest(self, table: AnyTable, target: bytes, asking: Asking, count: int) -> list[Contact]:
        key = asking.key
        found = table.neighbours(int.from_bytes(target, "big"), count)
        if table.get(key) is None:
            return found
        return [contact for contact in found if contact.key != key]


def _pieces(packed: bytes, size: int) -> list[bytes]:
    return [packed[at : at + size] for at in range(0, len(packed), size)]
