"""What two members of a topic say to each other on the stream `rookery/topic/1`: dataclasses and their bytes.

Decides the form. Refuses to know when what is said. Each message stands behind its length (4 bytes).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dht.constants import MAX_RECORD
from dht.errors import DecodeError, LocalError, WeakKey
from dht.identity import IdentityKey, PublicKey

TOPIC_STREAM: Final = "rookery/topic/1"

VERSION: Final = 1
LENGTH: Final = struct.Struct(">I")

MAX_DATA: Final = 32_768
"""Bytes of an app's message: half of a message of the channel, so that one never holds up a link for long. UNSOURCED"""

MAX_APP_BYTES: Final = 64
"""Bytes of an app protocol's name. UNSOURCED"""

MAX_RECORDS: Final = 8
"""Announcements in one message. UNSOURCED"""

MAX_IDS: Final = 64
"""Messages named at once. UNSOURCED"""

MAX_HOPS: Final = 16
"""Members that hand a message on, one after the other: 10,000 members with 6 neighbours each are 6 hops wide; the rest
is for a mesh that is badly grown. UNSOURCED"""

ID_BYTES: Final = 40
"""Of a message's id: its author and its number."""

_BROADCAST: Final = struct.Struct(">B32sQ64s")
_HELLO: Final = struct.Struct(">BB32sHB")
_SIGN_DOMAIN: Final = b"rookery/topic-message/1\x00"

MAX_MESSAGE: Final = 1 + _BROADCAST.size + MAX_DATA
"""Bytes of the longest message, without its length."""


class MessageKind(enum.IntEnum):
    """The second thing on the wire, behind the length."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    DIRECT = 4
    BROADCAST = 5
    HAVE = 6
    WANT = 7
    PRUNE = 8
    MEMBERS = 9
    LEAVE = 10


class TopicRefusal(enum.IntEnum):
    """Why a member is not taken as a neighbour, or is one no longer."""

    UNSPECIFIED = 0
    """And whatever a later release says."""
    NOT_MEMBER = 1
    """It is not in this topic (any more)."""
    FULL = 2
    """It has as many neighbours as it takes."""
    OTHER_APP = 3
    """It speaks another app's protocol in this topic."""
    DUPLICATE = 4
    """Both opened a stream at once: the other one counts."""
    LEAVING = 5
    """It leaves the topic."""
    MADE_ROOM = 6
    """It made room for a member that had no neighbour."""
    TOO_SLOW = 7
    """What was meant for the other end piled up."""
    RATE = 8
    """It asks too often."""


class HelloFlags(enum.IntFlag):
    """What the end that opens a stream wants."""

    NEEDY = 1
    """It has fewer than two neighbours: a full member makes room."""
    DIRECT_ONLY = 2
    """It wants to say something to this very member: no broadcasts, no place in the mesh."""


NO_FLAGS: Final = HelloFlags(0)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of either end: HELLO of the one that opened the stream, WELCOME of the other."""

    proof: bytes
    """32 bytes, see `TopicKey.proof`."""
    app: str = ""
    """Name of the app's protocol; both ends' must be the same."""
    app_version: int = 0
    """0..65535; shown to the app, nothing more."""
    flags: HelloFlags = NO_FLAGS
    answers: bool = False
    """Whether it is a WELCOME."""

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        kind = MessageKind.WELCOME if self.answers else MessageKind.HELLO
        return _HELLO.pack(kind, VERSION, self.proof, self.app_version, self.flags) + _text(self.app)


@dataclass(frozen=True, slots=True)
class Refused:
    """No, or no longer; with announcements of others who may have room."""

    reason: TopicRefusal
    records: tuple[bytes, ...] = ()

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.REFUSED, self.reason)) + _records(self.records)


@dataclass(frozen=True, slots=True)
class Direct:
    """For this neighbour only."""

    data: bytes

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.DIRECT,)) + self.data


@dataclass(frozen=True, slots=True)
class Broadcast:
    """For everybody in the topic; handed on as it is, but for `hops`."""

    author: PublicKey
    number: int
    """Microseconds since 1970 by the author's clock, each above all before: no message counts twice."""
    signature: bytes
    data: bytes
    hops: int = 0
    """Members that have handed it on."""

    @property
    def id(self) -> bytes:
        """40 bytes: author and number."""
        return self.author.raw + self.number.to_bytes(8, "big")

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        head = _BROADCAST.pack(self.hops, self.author.raw, self.number, self.signature)
        return bytes((MessageKind.BROADCAST,)) + head + self.data

    def holds(self, tag: bytes) -> bool:
        """Whether the author signed it for the topic of this tag."""
        return self.author.verify(self.signature, _signed(tag, self.author, self.number, self.data))


@dataclass(frozen=True, slots=True)
class Have:
    """Messages this end has, and did not send."""

    ids: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.HAVE,)) + b"".join(self.ids)


@dataclass(frozen=True, slots=True)
class Want:
    """Messages this end wants; and from now on all of them at once."""

    ids: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.WANT,)) + b"".join(self.ids)


@dataclass(frozen=True, slots=True)
class Prune:
    """What came had come by another way: from now on tell only that there is something."""

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.PRUNE,))


@dataclass(frozen=True, slots=True)
class Members:
    """Announcements of others in the topic, each signed by its owner."""

    records: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.MEMBERS,)) + _records(self.records)


@dataclass(frozen=True, slots=True)
class Leave:
    """The sender is a neighbour no longer."""

    reason: TopicRefusal = TopicRefusal.LEAVING

    def to_bytes(self) -> bytes:
        """As on the wire, without the length."""
        return bytes((MessageKind.LEAVE, self.reason))


TopicMessage = Hello | Refused | Direct | Broadcast | Have | Want | Prune | Members | Leave


def sign_broadcast(identity: IdentityKey, tag: bytes, number: int, data: bytes) -> Broadcast:
    """A message of ours. Raises `LocalError` when it is too long."""
    check_data(data)
    author = identity.public
    return Broadcast(author, number, identity.sign(_signed(tag, author, number, data)), data)


def check_data(data: bytes) -> None:
    """Raise `LocalError` when an app's message is too long."""
    if len(data) > MAX_DATA:
        raise LocalError(f"a topic's message has at most {MAX_DATA} bytes, not {len(data)}: send a file instead")


def check_app(app: str) -> str:
    """An app protocol's name. Raises `LocalError`."""
    if len(app.encode(errors="replace")) > MAX_APP_BYTES or any(not char.isprintable() for char in app):
        raise LocalError(f"an app protocol's name has at most {MAX_APP_BYTES} printable bytes, not {app[:80]!r}")
    return app


def framed(message: TopicMessage) -> bytes:
    """A message behind its length."""
    data = message.to_bytes()
    return LENGTH.pack(len(data)) + data


def decode_topic_message(data: bytes) -> TopicMessage:
    """Read a message without its length. Raises `DecodeError`."""
    if not data:
        raise DecodeError("topic message", "empty")
    try:
        kind = MessageKind(data[0])
    except ValueError:
        raise DecodeError("topic message", f"kind {data[0]}") from None
    message: TopicMessage = _DECODERS[kind](data)
    return message


def _hello(data: bytes) -> Hello:
    if len(data) < _HELLO.size + 1:
        raise DecodeError("topic message", f"{len(data)} bytes are too few for HELLO")
    kind, version, proof, app_version, flags = _HELLO.unpack_from(data)
    if version != VERSION:
        raise DecodeError("topic message", f"version {version}, known is {VERSION}")
    length = data[_HELLO.size]
    raw = data[_HELLO.size + 1 : _HELLO.size + 1 + length]
    # What follows is of a later release.
    if length > MAX_APP_BYTES or len(raw) != length:
        raise DecodeError("topic message", f"an app's name of {length} bytes")
    try:
        app = raw.decode()
    except UnicodeDecodeError:
        raise DecodeError("topic message", "an app's name that is not UTF-8") from None
    if any(not char.isprintable() for char in app):
        raise DecodeError("topic message", "an app's name that cannot be printed")
    known = HelloFlags(flags & (HelloFlags.NEEDY | HelloFlags.DIRECT_ONLY))
    return Hello(proof, app, app_version, known, kind == MessageKind.WELCOME)


def _refused(data: bytes) -> Refused:
    if len(data) < 2:
        raise DecodeError("topic message", "REFUSED without a reason")
    return Refused(_reason(data[1]), _read_records(data[2:]))


def _direct(data: bytes) -> Direct:
    if len(data) > 1 + MAX_DATA:
        raise DecodeError("topic message", f"{len(data) - 1} bytes of data, at most {MAX_DATA} are allowed")
    return Direct(data[1:])


def _broadcast(data: bytes) -> Broadcast:
    if not 1 + _BROADCAST.size <= len(data) <= MAX_MESSAGE:
        raise DecodeError("topic message", f"BROADCAST of {len(data)} bytes")
    hops, author, number, signature = _BROADCAST.unpack_from(data, 1)
    try:
        return Broadcast(PublicKey(author), number, signature, data[1 + _BROADCAST.size :], hops)
    except WeakKey as error:
        raise DecodeError("topic message", str(error)) from None


def _ids(data: bytes) -> tuple[bytes, ...]:
    count, rest = divmod(len(data) - 1, ID_BYTES)
    if rest or not 1 <= count <= MAX_IDS:
        raise DecodeError("topic message", f"{len(data) - 1} bytes of ids")
    return tuple(data[at : at + ID_BYTES] for at in range(1, len(data), ID_BYTES))


def _prune(data: bytes) -> Prune:
    if len(data) != 1:
        raise DecodeError("topic message", "PRUNE with something behind it")
    return Prune()


def _leave(data: bytes) -> Leave:
    if len(data) != 2:
        raise DecodeError("topic message", f"LEAVE of {len(data)} bytes")
    return Leave(_reason(data[1]))


def _reason(number: int) -> TopicRefusal:
    return TopicRefusal(number) if number in TopicRefusal._value2member_map_ else TopicRefusal.UNSPECIFIED


def _text(text: str) -> bytes:
    raw = text.encode()
    return bytes((len(raw),)) + raw


def _records(records: tuple[bytes, ...]) -> bytes:
    return bytes((len(records),)) + b"".join(len(raw).to_bytes(2, "big") + raw for raw in records)


def _read_records(data: bytes) -> tuple[bytes, ...]:
    if not data or data[0] > MAX_RECORDS:
        raise DecodeError("topic message", f"{data[0] if data else 'no'} announcements, at most {MAX_RECORDS}")
    records, at = [], 1
    for _ in range(data[0]):
        size = int.from_bytes(data[at : at + 2], "big")
        raw = data[at + 2 : at + 2 + size]
        if len(raw) != size or not 1 <= size <= MAX_RECORD:
            raise DecodeError("topic message", f"an announcement of {size} bytes")
        records.append(raw)
        at += 2 + size
    if at != len(data):
        raise DecodeError("topic message", "something behind the announcements")
    return tuple(records)


_DECODERS: Final[dict[MessageKind, Callable[[bytes], Any]]] = {
    MessageKind.HELLO: _hello,
    MessageKind.WELCOME: _hello,
    MessageKind.REFUSED: _refused,
    MessageKind.DIRECT: _direct,
    MessageKind.BROADCAST: _broadcast,
    MessageKind.HAVE: lambda data: Have(_ids(data)),
    MessageKind.WANT: lambda data: Want(_ids(data)),
    MessageKind.PRUNE: _prune,
    MessageKind.MEMBERS: lambda data: Members(_read_records(data[1:])),
    MessageKind.LEAVE: _leave,
}


def _signed(tag: bytes, author: PublicKey, number: int, data: bytes) -> bytes:
    return _SIGN_DOMAIN + tag + author.raw + number.to_bytes(8, "big") + data
