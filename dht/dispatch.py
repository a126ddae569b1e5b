"""Where each message goes: replies to the operation that asked, requests to whoever answers them.

What a message means is decided there; here it is decided whether it counts at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dht.contact import Address, Contact, pack_address, unpack_contact, unpack_contacts
from dht.errors import DecodeError
from dht.exchange import CHECK_BYTES, Exchange
from dht.families import Families, Seat
from dht.family import BothTables
from dht.inbox import Inbox
from dht.notices import Notices
from dht.operation import Context
from dht.responder import AnyTable, Asking, Responder
from dht.watching import Watching
from dht.wire import (
    Again,
    DialBack,
    DownHint,
    FindNode,
    Get,
    Have,
    Message,
    Nodes,
    Notice,
    Ping,
    Pong,
    Probe,
    Put,
    PutMany,
    Register,
    Registered,
    Request,
    Signal,
    Stored,
    StoredMany,
    Value,
    Want,
    Watch,
    Watched,
    wanted_families,
)

_SERVER_REPLIES: Final = frozenset((Nodes, Value, Stored, StoredMany, Registered, Watched, Want))
"""Only servers give these answers: whoever does belongs into the table."""

_CLIENT_ANSWERS: Final = (Ping, Signal, Notice)
"""What a client answers, too; the rest it leaves alone, so that others drop it from their tables (BEP 43)."""


MIN_ROOM: Final = 100
"""Message bytes a reply keeps where a question back is paid from it: those of every reply without contacts."""


class Dispatch:
    """Hands messages on."""

    def __init__(
        self,
        context: Context,
        exchange: Exchange,
        responder: Responder,
        inbox: Inbox,
        families: Families,
        notices: Notices,
        watching: Watching,
        on_again: Callable[[bytes, Address, int, float], bool],
    ) -> None:
        """`on_again`: told of an AGAIN with sender, address and request id; says whether anybody waited for it."""
        self._context = context
        self._exchange = exchange
        self._responder = responder
        self._inbox = inbox
        self._families = families
        self._notices = notices
        self._watching = watching
        self._on_again = on_again

    def on_message(self, message: Message, key: bytes, address: Address, now: float) -> None:
        """A reply, or a message that has none."""
        if isinstance(message, Probe):
            self._families.of(address[0], now).outlook.on_probe(key, message, address, now)
        elif isinstance(message, DownHint):
            self._on_down_hint(message, now)
        elif isinstance(message, Again):
            if not self._on_again(key, address, message.rid, now):
                self._context.count("again_unasked")
        else:
            self._on_reply(message, key, address, now)

    def on_request(self, request: Request, key: bytes, address: Address, size: int, now: float) -> None:
        """A request in a datagram of `size` bytes."""
        if not self._responder.admit(address, now):
            self._context.count("dropped_rate")
            return
        seat = self._families.of(address[0], now)
        if not seat.server and not isinstance(request, _CLIENT_ANSWERS):
            self._context.count("ignored_as_client")
            return
        asking = self._responder.asking(request, key, address, size, now)
        newcomer = self._newcomer(request, asking, seat, now) if seat.server and request.server else None
        reply = self._answer(request, asking, seat, now)
        if reply is not None and not self._exchange.reply(asking, reply):
            self._context.count("reply_over_request")
        if newcomer is not None:
            seat.maintenance.check(newcomer, now, bare=not asking.proven)

    def _newcomer(self, request: Request, asking: Asking, seat: Seat, now: float) -> Contact | None:
        """Who asks, if it is a server that may belong into the table and is to be asked back now.

        An address not proven pays for that question with as many bytes of its reply: it never gets more than it sent.
        """
        known = seat.table.get(asking.key)
        if known is not None and known.address == asking.address:
            return None
        if not asking.proven and asking.room < MIN_ROOM + CHECK_BYTES:
            return None
        contact = _contact_of(asking.key, asking.address)
        # One we know has moved: its old address would be handed on until it is found silent there.
        if contact is None or not (known is not None or seat.table.has_room(contact)):
            return None
        if not seat.maintenance.may_ask_back(contact, now):
            return None
        if not asking.proven:
            asking.room -= CHECK_BYTES
        return contact

    def _on_reply(self, message: Message, key: bytes, address: Address, now: float) -> None:
        requests = self._context.requests
        pending = requests.match(message.rid, key, address)
        if pending is None:
            self._context.count("reply_unasked")
            return
        if type(message) is not pending.reply:
            self._context.count("reply_wrong_kind")
            return
        requests.finish(pending, message.token, now)
        if type(message) in _SERVER_REPLIES:
            self._families.of(address[0], now).maintenance.on_answer(pending.contact, now)
        elif isinstance(message, Pong):
            self._families.of(address[0], now).outlook.on_pong(pending, message, now)
        self._exchange.answered(key)
        pending.owner.on_reply(pending, message, now)

    def _answer(self, request: Request, asking: Asking, seat: Seat, now: float) -> Message | None:
        table = seat.table
        match request:
            case FindNode():
                return self._responder.on_find_node(request, asking, self._wanted(request, seat))
            case Get():
                return self._responder.on_get(request, asking, self._wanted(request, seat), now)
            case Have():
                return self._responder.on_have(request, asking, table, now)
            case Put():
                return self._responder.on_put(request, asking, table, seat.own_id, now)
            case PutMany():
                return self._responder.on_put_many(request, asking, table, seat.own_id, now)
            case Ping():
                return self._responder.on_ping(request, asking, now)
            case DialBack():
                return self._inbox.on_dial_back(request, asking, now)
            case Notice():
                return self._watching.on_notice(request, asking, now)
        contact = _contact_of(asking.key, asking.address)
        if contact is not None:
            if isinstance(request, Register):
                return self._inbox.on_register(request, contact, asking, now)
            if isinstance(request, Signal):
                self._context.requests.note_signal(contact, now)
                return self._inbox.on_signal(request, contact, asking, now, server=seat.server)
            if isinstance(request, Watch):
                return self._notices.on_watch(request, contact, asking, now)
        return None

    def _wanted(self, request: Request, seat: Seat) -> AnyTable:
        """The tables of the families that the asker wants to hear of, as far as we have them."""
        other = self._families.other(seat)
        if other is None:
            return seat.table
        wanted = wanted_families(request, bool(seat.ipv6))
        if wanted == seat.bit:
            return seat.table
        return other.table if wanted == other.bit else BothTables((seat.table, other.table), seat.table)

    def _on_down_hint(self, message: DownHint, now: float) -> None:
        try:
            contacts = unpack_contacts(message.nodes4, message.nodes6)
        except DecodeError:
            self._context.count("contacts_malformed")
            return
        for seat in self._families.all:
            seat.maintenance.on_hint(contacts, now)


def _contact_of(key: bytes, address: Address) -> Contact | None:
    return unpack_contact(key + pack_address(address))
