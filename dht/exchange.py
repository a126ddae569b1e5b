"""The way of a message into a datagram and back: boxes, padding, tokens, request ids, what strangers may cost.

Counts and drops whatever does not open or decode; never raises for a stranger's bytes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final

from dht.config import DhtConfig
from dht.constants import HEADER_BYTES, MAC_BYTES, MAX_DATAGRAM, OVERHEAD_BYTES
from dht.contact import Address, Contact
from dht.errors import BoxError, DecodeError
from dht.limits import RateLimiter, SourceLimits, source_of
from dht.requests import Owner, Pending, Requests
from dht.responder import Asking
from dht.sealing import Sealing
from dht.stun import binding_response, is_stun
from dht.wire import (
    REPLY_ROOM_FIND,
    REPLY_ROOM_GET,
    WANT_V4,
    WANT_V6,
    DialBack,
    Dialed,
    FindNode,
    Get,
    Have,
    Message,
    Nodes,
    Notice,
    Noticed,
    Ping,
    Pong,
    Put,
    PutMany,
    Register,
    Registered,
    RegisterFor,
    Request,
    Signal,
    Signaled,
    Stored,
    StoredMany,
    Value,
    Want,
    Watch,
    Watched,
    decode_message,
    encode_message,
)

_REPLY_OF: Final[dict[type[Request], type[Message]]] = {
    Ping: Pong,
    FindNode: Nodes,
    Get: Value,
    Put: Stored,
    PutMany: StoredMany,
    Signal: Signaled,
    Register: Registered,
    RegisterFor: Registered,
    DialBack: Dialed,
    Watch: Watched,
    Notice: Noticed,
    Have: Want,
}

_PADS: Final[dict[type[Request], bytes]] = {
    # What the reply may have beyond the request itself: its fields are a request id, a target and a few bytes of heads.
    Ping: bytes(48),
    FindNode: bytes(REPLY_ROOM_FIND - 39),
    Get: bytes(REPLY_ROOM_GET - 48),
    DialBack: b"",
}

_NO_PADS: Final[dict[type[Request], bytes]] = {Ping: bytes(22)}
"""Where a token is shown: none, but to hear where we are seen by who knows it no more, as we are elsewhere by now."""

CHECK_BYTES: Final = OVERHEAD_BYTES + 43
"""Largest datagram of a FIND_NODE without padding: array and number (2), id (9), token (10), flag (1), target (21)."""

_BOTH: Final = WANT_V4 | WANT_V6

_BOTH_WANTED: Final = _PADS | {kind: bytes([_BOTH]) + _PADS[kind][1:] for kind in (FindNode, Get)}
"""The pads above, whose first byte asks for contacts of both."""

_BOTH_WANTED_BARE: Final = _NO_PADS | {kind: bytes([_BOTH]) for kind in (FindNode, Get)}
"""The same of requests that need no more."""

_MAX_RECIPIENTS: Final = 4096
"""Addresses whose keys are remembered, where a tunnel asks for them. Bounds memory."""


class Exchange:
    """Seals what goes out, opens what comes in."""

    def __init__(
        self,
        config: DhtConfig,
        sealer: Sealing,
        rng: Random,
        counters: Counter[str],
        is_contact: Callable[[bytes], bool],
    ) -> None:
        """`is_contact(key)`: whether a node is in the table; such are heard, whoever floods."""
        self.requests = Requests(config, rng)
        self.server = self.server6 = False
        """Whether requests say that we may be put into tables: those over IPv4, those over IPv6."""
        self._pads, self._bare_pads = _PADS, _NO_PADS
        self._sealer = sealer
        self._is_contact = is_contact
        self.spent: Callable[[Address, float], bool] = lambda address, now: False
        """Whether no request of an address would be admitted: then only replies are opened."""
        self.charge: Callable[[Address, float], object] = lambda address, now: None
        """Counts what opened to nothing as a request of its address."""
        self._prefix = sealer.prefix
        self._counters = counters
        self._answer_stun = config.answer_stun
        self._stun_limit = RateLimiter(config.stun_rate, config.stun_rate * 4)
        self._stranger_limit = SourceLimits(
            config.stranger_rate, config.stranger_rate * 2, config.stranger_network_rate, config.stranger_total
        )
        self._out: list[tuple[bytes, Address]] = []
        self._recipients: OrderedDict[Address, bytes] | None = None

    def note_recipients(self) -> None:
        """Remember under which node key each address was written to, from now on: a tunnel has to name it."""
        self._recipients = OrderedDict()

    def recipient_at(self, address: Address) -> bytes | None:
        """The node key under which `address` was written to last."""
        return None if self._recipients is None else self._recipients.get(address)

    def want_both(self, wanted: bool) -> None:
        """Whether to ask for contacts of both families, from now on; else for those of the one that is asked over."""
        self._pads, self._bare_pads = (_BOTH_WANTED, _BOTH_WANTED_BARE) if wanted else (_PADS, _NO_PADS)

    def _note(self, key: bytes, address: Address) -> None:
        if self._recipients is not None:
            self._recipients[address] = key
            self._recipients.move_to_end(address)
            if len(self._recipients) > _MAX_RECIPIENTS:
                self._recipients.popitem(last=False)

    def take_out(self) -> list[tuple[bytes, Address]]:
        """What is to be sent now; empties the queue."""
        out, self._out = self._out, []
        return out

    def send(self, key: bytes, address: Address, message: Message) -> None:
        """Queue a message that expects no reply; a key of small order is counted, and nothing sent."""
        try:
            self._out.append((self._sealer.seal(key, encode_message(message)), address))
            self._note(key, address)
        except BoxError:
            self._counters["weak_node_key"] += 1

    def reply(self, asking: Asking, message: Message) -> bool:
        """Queue the reply to a request, unless it is longer than what an unproven address sent: then return False."""
        plain = encode_message(message)
        if len(plain) > asking.room:
            return False
        # A request that opened has left its key in the cache: sealing cannot fail.
        self._out.append((self._sealer.seal(asking.key, plain), asking.address))
        self._note(asking.key, asking.address)
        return True

    def answered(self, key: bytes) -> None:
        """The node `key` answered a request of ours: if that brought it into the table, its box key is kept apart from
        those of strangers."""
        if self._is_contact(key):
            self._sealer.keep(key)

    def seal(self, key: bytes, message: Message) -> bytes:
        """A datagram that somebody else sends."""
        return self._sealer.seal(key, encode_message(message))

    def request(
        self,
        contact: Contact,
        owner: Owner,
        kind: type[Request],
        fields: tuple[object, ...],
        now: float,
        *,
        tag: object = None,
        resend: bool = False,
        timeout: float | None = None,
        bare: bool = False,
    ) -> int:
        """Send a request and return its id. Its outcome goes to `owner`. `bare`: no padding, a short reply will do."""
        requests = self.requests
        token = requests.token_for(contact, now)
        pads = self._bare_pads if token or bare else self._pads
        if kind in pads:
            fields = (*fields, pads[kind])
        pending = Pending(requests.new_id(), contact, _REPLY_OF[kind], owner, tag)
        if token:
            pending.token, pending.token_at = token, requests.token_at(contact)
        server = self.server if self.server is self.server6 or ":" not in contact.ip else self.server6
        message = kind(pending.rid, token, server, *fields)
        try:
            data = self._sealer.seal(contact.key, encode_message(message))
        except BoxError:
            self._counters["weak_node_key"] += 1
            requests.start(pending, b"", now, resend=False, timeout=0.0)
            return pending.rid
        self._out.append((data, contact.address))
        self._note(contact.key, contact.address)
        requests.start(pending, data, now, resend=resend, timeout=timeout)
        return pending.rid

    def resend(self, pending: Pending) -> None:
        """Send a slow request once more."""
        self._counters["resent"] += 1
        self._out.append((pending.data, pending.address))

    def open(self, data: bytes, address: Address, now: float) -> tuple[bytes, Message] | None:
        """Return the sender's node key and the message, or None for what was answered here, or counted and dropped."""
        if data[:5] != self._prefix:
            if is_stun(data):
                self._on_stun(data, address, now)
            else:
                self._counters["dropped_foreign"] += 1
            return None
        if not HEADER_BYTES + MAC_BYTES < len(data) <= MAX_DATAGRAM:
            self._counters["dropped_size"] += 1
            return None
        key = data[5:37]
        if not self._sealer.knows(key) and not self._stranger_limit.allow(address, now, apart=self._is_contact(key)):
            self._counters["dropped_stranger_rate"] += 1
            return None
        if self.spent(address, now) and not self.requests.awaits(key):
            # Before any cryptography: a flood must not cost a box each to find out that it is one.
            self._counters["dropped_rate"] += 1
            return None
        try:
            key, plain = self._sealer.open(data)
            return key, decode_message(plain)
        except BoxError:
            self._counters["dropped_box"] += 1
        except DecodeError:
            self._counters["dropped_malformed"] += 1
        # Else boxes made up under a key that is known, as those of all contacts are, would be tried at any rate.
        self.charge(address, now)
        return None

    def _on_stun(self, data: bytes, address: Address, now: float) -> None:
        response = binding_response(data, address)
        if response is None or not self._answer_stun:
            self._counters["dropped_stun"] += 1
        elif not self._stun_limit.allow(source_of(address), now):
            self._counters["dropped_stun_rate"] += 1
        else:
            self._counters["answered_stun"] += 1
            self._out.append((response, address))
