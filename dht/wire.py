"""The messages inside the boxes: one frozen struct each, to msgpack bytes and back, strictly.

A message is a msgpack array: its number, then its fields in the order below. msgspec checks types and lengths
while it decodes; whatever does not fit raises `DecodeError`. This file knows no keys, clocks or addresses' meaning.

Every request begins with `rid`, `token` and `server` and ends with `pad` where it may need padding; every reply
starts with `rid` and `token`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from dht.constants import (
    ID_BYTES,
    KEY_BYTES,
    MAX_AGAIN,
    MAX_BATCH,
    MAX_CONTACTS,
    MAX_MESSAGE,
    MAX_PRINTS,
    MAX_RECORD,
    MAX_SIGNAL,
    PRINT_BYTES,
    SIGNATURE_BYTES,
    TOKEN_BYTES,
)
from dht.contact import PACKED_V4, PACKED_V6
from dht.errors import DecodeError

RequestId = Annotated[int, Meta(ge=0)]
"""64 random bits (the width msgpack's largest unsigned integer has)."""
Token = Annotated[bytes, Meta(max_length=TOKEN_BYTES)]
"""8 bytes, or none: not known yet (request), withheld (reply)."""
Place = Annotated[bytes, Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Handle = Annotated[bytes, Meta(max_length=ID_BYTES)]
Key = Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
Pad = Annotated[bytes, Meta(max_length=MAX_MESSAGE)]
Record = Annotated[bytes, Meta(max_length=MAX_RECORD)]
Records = Annotated[list[Record], Meta(max_length=16)]
Nodes4 = Annotated[bytes, Meta(max_length=PACKED_V4 * MAX_CONTACTS)]
Nodes6 = Annotated[bytes, Meta(max_length=PACKED_V6 * MAX_CONTACTS)]
Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Status = Annotated[int, Meta(ge=0, le=255)]
"""A `records.Refusal`; a number of a later time is kept as a number."""
Endpoint = Annotated[bytes, Meta(max_length=18)]
Seconds = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all messages."""

    rid: RequestId
    """Chosen by the asker; a reply repeats it."""
    token: Token
    """In a request: the one the responder gave us last (it proves our address). In a reply: the next one."""


class Request(Message, frozen=True, array_like=True, gc=False):
    """Base of what expects a reply."""

    server: bool
    """Whether the sender may be put into routing tables once it has answered."""


WANT_V4: Final = 1
WANT_V6: Final = 2
"""Bits of the first byte of the `pad` of a FIND_NODE or GET: the families of which contacts are wanted (as `want` of
BEP 32). Without any, it is the one of the datagram. In the pad, so that who knows nothing of them answers as well."""


class Ping(Request, frozen=True, array_like=True, gc=False, tag=1):
    """Are you there, and what is my address?"""

    pad: Pad = b""


class Pong(Message, frozen=True, array_like=True, gc=False, tag=2):
    """Here I am."""

    observed: Endpoint
    """Where the PING came from: 6 or 18 bytes."""
    time: Seconds
    """The responder's clock in Unix seconds, so that a wrong clock can be noticed."""


class FindNode(Request, frozen=True, array_like=True, gc=False, tag=3):
    """Which nodes do you know nearest to `target`?"""

    target: Place
    pad: Pad = b""
    """Its first byte names the families wanted."""


class Nodes(Message, frozen=True, array_like=True, gc=False, tag=4):
    """The nearest contacts that have answered me, nearest first within each family."""

    nodes4: Nodes4
    nodes6: Nodes6


class Get(Request, frozen=True, array_like=True, gc=False, tag=5):
    """What is stored at `place`?"""

    place: Place
    nodes: bool
    """Whether contacts are wanted beside what is stored (as `want` of BEP 32): not by who knows enough of them."""
    skip: Annotated[int, Meta(ge=0, le=65535)] = 0
    """How many records of a crowded topic to leave out: the page."""
    pad: Pad = b""
    """Its first byte names the families wanted."""


class Value(Message, frozen=True, array_like=True, gc=False, tag=6):
    """What is stored there, and the nearest contacts as far as there is room."""

    records: Records
    total: Annotated[int, Meta(ge=0, le=65535)]
    """How many records lie at the place (a topic has many)."""
    nodes4: Nodes4
    nodes6: Nodes6


class Put(Request, frozen=True, array_like=True, gc=False, tag=7):
    """Store this record."""

    record: Record
    lifetime: Seconds
    """How long an immutable record is to be kept at most; signed records carry their own expiry."""
    nodes: bool
    """Whether contacts nearer to the place are wanted."""
    expected_seq: Seq | None = None
    """Compare-and-swap: the sequence number that must be the current one."""


class Stored(Message, frozen=True, array_like=True, gc=False, tag=8):
    """Whether it was stored."""

    status: Status
    seq: Seq
    """The sequence number held now; with `WAIT` the seconds to wait."""
    nodes4: Nodes4
    """Contacts nearer to the place than the responder itself, so that a write may walk on."""
    nodes6: Nodes6


class Signal(Request, frozen=True, array_like=True, gc=False, tag=9):
    """Hand this sealed blob to the peer registered under `recipient`."""

    recipient: Place
    """The place of an identity, or a reply handle."""
    reply: Handle
    """Where the answer may be sent for half a minute: 20 random bytes, or none."""
    blob: Annotated[bytes, Meta(max_length=MAX_SIGNAL)]


class Signaled(Message, frozen=True, array_like=True, gc=False, tag=10):
    """Whether the peer took it: `NONE` only after the peer itself acknowledged."""

    status: Status


class Register(Request, frozen=True, array_like=True, gc=False, tag=11):
    """Forward what comes for the identity `owner` to where this came from."""

    owner: Key
    expires: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    """Unix seconds after which the signature holds no more."""
    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
    """By the owner, over its node key, the responder's node key, the responder's token and `expires`."""


class Registered(Message, frozen=True, array_like=True, gc=False, tag=12):
    """Whether the forwarding entry stands, and for how many seconds; where those of the other family reach me."""

    status: Status
    lifetime: Seconds
    other: Annotated[bytes, Meta(max_length=18)] = b""


class DialBack(Request, frozen=True, array_like=True, gc=False, tag=13):
    """Send a PROBE with this nonce to my address from a socket I never wrote to."""

    nonce: Annotated[bytes, Meta(min_length=8, max_length=8)]
    pad: Pad = b""


class Dialed(Message, frozen=True, array_like=True, gc=False, tag=14):
    """Whether a probe is on its way."""

    status: Status


class Probe(Message, frozen=True, array_like=True, gc=False, tag=15):
    """Proof that the address can be reached from outside; no reply."""

    nonce: Annotated[bytes, Meta(min_length=8, max_length=8)]


class DownHint(Message, frozen=True, array_like=True, gc=False, tag=16):
    """Contacts you handed me do not answer. No reply; the receiver asks them itself before it believes."""

    nodes4: Annotated[bytes, Meta(max_length=PACKED_V4 * 8)]
    nodes6: Annotated[bytes, Meta(max_length=PACKED_V6 * 8)]


class Watch(Request, frozen=True, array_like=True, gc=False, tag=17):
    """Tell me when a newer record is stored at `place` than the one I have."""

    place: Place
    seq: Seq | None
    """The sequence number I have; None without any record."""
    lifetime: Seconds
    """How long to keep the subscription at most; 0 ends it."""


class Watched(Message, frozen=True, array_like=True, gc=False, tag=18):
    """Whether the subscription stands, and for how many seconds."""

    status: Status
    lifetime: Seconds


class Notice(Request, frozen=True, array_like=True, gc=False, tag=19):
    """This record was stored at a place you watch."""

    record: Record


class Noticed(Message, frozen=True, array_like=True, gc=False, tag=20):
    """What I make of it: `NOT_REGISTERED` when I do not watch that place (any more)."""

    status: Status


class Have(Request, frozen=True, array_like=True, gc=False, tag=21):
    """These records I hold, and you should hold them, too: which do you lack?"""

    prints: Annotated[bytes, Meta(min_length=PRINT_BYTES, max_length=PRINT_BYTES * MAX_PRINTS)]
    """The records' fingerprints, 8 bytes each (`records.fingerprint`)."""


class Want(Message, frozen=True, array_like=True, gc=False, tag=22):
    """Those of your HAVE that I lack, and may be sent."""

    bits: Annotated[bytes, Meta(max_length=MAX_PRINTS // 8)]
    """A bit for each fingerprint, the first one the highest bit of the first byte."""


class PutMany(Request, frozen=True, array_like=True, gc=False, tag=23):
    """Store these records."""

    items: Annotated[list[tuple[Record, Seconds]], Meta(min_length=1, max_length=MAX_BATCH)]
    """Each record, and how long an immutable one is to be kept at most."""
    nodes: bool
    """Whether contacts nearer to their places are wanted."""


class StoredMany(Message, frozen=True, array_like=True, gc=False, tag=24):
    """Which of them were stored."""

    verdicts: Annotated[list[tuple[Status, Seq]], Meta(max_length=MAX_BATCH)]
    """Of each, in order: why not, and the sequence number held now."""
    nodes4: Nodes4
    """Contacts nearer to one of the places than the responder itself."""
    nodes6: Nodes6


class RegisterFor(Register, frozen=True, array_like=True, gc=False, tag=25):
    """Forward what comes for `owner` for so long, and say something after a silence, unasked.

    A message of its own, not two fields more of REGISTER: who does not know it has still taken the ordinary one.
    """

    lifetime: Seconds
    """How long the entry is to stand; at least the responder's own lifetime, at most `constants.MAX_ENTRY`."""
    again: Annotated[int, Meta(ge=0, le=MAX_AGAIN)]
    """Seconds after which to send AGAIN, once; 0 for never."""


class Again(Message, frozen=True, array_like=True, gc=False, tag=26):
    """The time that your REGISTER_FOR named is over, and this comes unasked; no reply."""


AnyMessage = (
    Ping
    | Pong
    | FindNode
    | Nodes
    | Get
    | Value
    | Put
    | Stored
    | Signal
    | Signaled
    | Register
    | Registered
    | DialBack
    | Dialed
    | Probe
    | DownHint
    | Watch
    | Watched
    | Notice
    | Noticed
    | Have
    | Want
    | PutMany
    | StoredMany
    | RegisterFor
    | Again
)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(AnyMessage).decode

REPLY_ROOM_FIND: Final = 36 + PACKED_V4 * MAX_CONTACTS
"""Message bytes of the largest NODES of IPv4 contacts: a FIND_NODE from an unproven address is padded to it."""

ROOM_FOR_ITEMS: Final = MAX_MESSAGE - 26
"""Bytes of a PUT_MANY's items: the rest is array, number, id (9), token (10), flags (2) and the list's head (3)."""

ITEM_HEAD: Final = 9
"""What an item of a PUT_MANY has beyond its record: array (1), the record's length (3), lifetime (5)."""

REPLY_ROOM_GET: Final = MAX_MESSAGE
"""Message bytes of the largest VALUE."""


def wanted_families(request: Request, ipv6: bool) -> int:
    """Of which families a request that came over one wants contacts: `WANT_V4`, `WANT_V6`, or both."""
    pad = request.pad if isinstance(request, FindNode | Get) else b""
    return (pad[0] & (WANT_V4 | WANT_V6) if pad else 0) or (WANT_V6 if ipv6 else WANT_V4)


def encode_message(message: Message) -> bytes:
    """Return the msgpack bytes of `message`, at most `MAX_MESSAGE` for any message this package builds."""
    return _encode(message)


def decode_message(data: bytes) -> AnyMessage:
    """Read one message. Raises `DecodeError` naming the field that does not fit."""
    try:
        message: AnyMessage = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError("message", str(error)) from None
    return message
