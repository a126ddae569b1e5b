"""Sending one file over one stream: who says what, and when the transfer counts as done.

Decides the messages and their order. Refuses to know about files, disks and streams: it takes bytes and gives bytes,
the adapters read and write.

Each message is a length (4 bytes, big-endian) and a msgpack array whose first element names it:

    sender                                   receiver
    OFFER  id name size mtime         →
                                      ←      ACCEPT have digest    or    REFUSE reason detail
    START  offset                     →      0 when the receiver's part is not a beginning of this file
    size - offset raw bytes           →
    END    sha256                     →
                                      ←      DONE sha256 name      or    REFUSE reason detail

`digest` is the SHA-256 of what the receiver holds, so a source that changed is noticed before a byte is appended.
Either side may break off with REFUSE; a break of the stream leaves the part, and the same id resumes it.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dht.errors import DecodeError, LocalError

STREAM_NAME: Final = "rookery/file/1"
ID_BYTES: Final = 16
DIGEST_BYTES: Final = 32
MAX_MESSAGE: Final = 4096
"""A name of 1,020 bytes and a sentence. UNSOURCED."""
MAX_NAME_BYTES: Final = 1020
"""255 characters of 4 bytes: the longest name file systems take."""
MAX_SIZE: Final = 2**63 - 1
_LENGTH: Final = struct.Struct("!I")


class TransferFault(enum.Enum):
    """Why a file did not arrive."""

    TOO_BIG = "too-big"
    NO_SPACE = "no-space"
    NOT_WANTED = "not-wanted"
    BAD_NAME = "bad-name"
    BUSY = "busy"
    """The same transfer, or as many as allowed, are under way."""
    HASH_MISMATCH = "hash-mismatch"
    SOURCE_CHANGED = "source-changed"
    CANCELLED = "cancelled"
    IO_ERROR = "io-error"
    PROTOCOL = "protocol-error"
    LINK_LOST = "link-lost"
    """The stream or link broke; send again to resume."""


_FAULTS: Final = {fault.value: fault for fault in TransferFault}


class _Message(enum.IntEnum):
    OFFER = 1
    ACCEPT = 2
    REFUSE = 3
    START = 4
    END = 5
    DONE = 6


@dataclass(frozen=True, slots=True)
class FileOffer:
    """What the sender says of its file."""

    transfer: bytes
    name: str
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The receiver wants the file and holds `have` bytes of it, with this digest."""

    have: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side broke off."""

    fault: TransferFault
    detail: str


@dataclass(frozen=True, slots=True)
class Started:
    """Data follows from `offset` on."""

    offset: int


@dataclass(frozen=True, slots=True)
class Ended:
    """All data is there; the sender's digest of the whole file."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The receiver has the whole file under `name`, with this digest."""

    digest: bytes
    name: str


TransferEvent = FileOffer | Accepted | Refused | Started | Ended | Confirmed | bytes
"""Raw file bytes come as `bytes`."""


def transfer_id(name: str, size: int, mtime: int) -> bytes:
    """Name a transfer by what is sent, so that a sender started anew resumes what an earlier one began."""
    raw = name.encode()
    text = b"rookery file 1" + _LENGTH.pack(len(raw)) + raw + struct.pack("!Qq", size, mtime)
    return hashlib.blake2b(text, digest_size=ID_BYTES).digest()


class _Reader:
    """Splits the stream into messages and raw data."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.raw_left = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take_raw(self) -> bytes:
        count = min(self.raw_left, len(self._buffer))
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        self.raw_left -= count
        return data

    def take_message(self) -> list[Any] | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 1 <= length <= MAX_MESSAGE:
            raise DecodeError("transfer message", f"{length} bytes, allowed are 1..{MAX_MESSAGE}")
        if len(self._buffer) < _LENGTH.size + length:
            return None
        raw = bytes(self._buffer[_LENGTH.size : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        try:
            message = msgspec.msgpack.decode(raw)
        except Exception as error:
            raise DecodeError("transfer message", f"is not msgpack: {error}") from None
        if not isinstance(message, list) or not message or type(message[0]) is not int:
            raise DecodeError("transfer message", "is not an array that begins with a number")
        return message


class _Side:
    """What both sides share: output, events and the end."""

    def __init__(self) -> None:
        self._reader = _Reader()
        self._output: deque[bytes] = deque()
        self._events: deque[TransferEvent] = deque()
        self.finished = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream. A peer's wrong bytes end the transfer with an event, never an exception."""
        if self.finished:
            return
        self._reader.feed(data)
        try:
            self._work()
        except DecodeError as error:
            self.refuse(TransferFault.PROTOCOL, str(error))
            self._events.append(Refused(TransferFault.PROTOCOL, str(error)))

    def data_to_send(self) -> bytes:
        """Return what belongs on the stream now."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def next_event(self) -> TransferEvent | None:
        """Return the oldest event not yet seen."""
        return self._events.popleft() if self._events else None

    def refuse(self, fault: TransferFault, detail: str = "") -> None:
        """Break off, telling the other side why."""
        if not self.finished:
            self._say(_Message.REFUSE, fault.value, detail[:200])
            self.finished = True

    def _say(self, *parts: Any) -> None:
        raw = msgspec.msgpack.encode([int(parts[0]), *parts[1:]])
        self._output.append(_LENGTH.pack(len(raw)) + raw)

    def _work(self) -> None:
        while not self.finished:
            if self._reader.raw_left:
                raw = self._reader.take_raw()
                if not raw:
                    return
                self._events.append(raw)
                continue
            message = self._reader.take_message()
            if message is None:
                return
            if message[0] == _Message.REFUSE:
                fault, detail = _fields(message, str, str)
                self.finished = True
                self._events.append(Refused(_FAULTS.get(fault, TransferFault.NOT_WANTED), detail[:200]))
                return
            self._take(message)

    def _take(self, message: list[Any]) -> None:
        raise NotImplementedError


class SenderSide(_Side):
    """Offers, starts, ends, and waits to be confirmed."""

    def __init__(self, offer: FileOffer) -> None:
        super().__init__()
        if not 1 <= len(offer.name.encode()) <= MAX_NAME_BYTES:
            raise LocalError(f"{offer.name!r}: give the file a name of 1..{MAX_NAME_BYTES} bytes")
        self._offer = offer
        self._state = "offered"
        self._say(_Message.OFFER, offer.transfer, offer.name, offer.size, offer.mtime)

    def start(self, offset: int) -> None:
        """After `Accepted`: data follows from `offset`."""
        self._state = "sending"
        self._say(_Message.START, offset)

    def end(self, digest: bytes) -> None:
        """After the last byte: the digest of the whole file."""
        self._state = "ended"
        self._say(_Message.END, digest)

    def _take(self, message: list[Any]) -> None:
        if message[0] == _Message.ACCEPT and self._state == "offered":
            have, digest = _fields(message, int, bytes)
            if not 0 <= have <= self._offer.size or len(digest) != DIGEST_BYTES:
                raise DecodeError("transfer ACCEPT", f"{have} bytes held of {self._offer.size}")
            self._state = "accepted"
            self._events.append(Accepted(have, digest))
        elif message[0] == _Message.DONE and self._state == "ended":
            digest, name = _fields(message, bytes, str)
            self.finished = True
            self._events.append(Confirmed(digest, name[:MAX_NAME_BYTES]))
        else:
            raise DecodeError("transfer", f"message {message[0]} while {self._state}")


class ReceiverSide(_Side):
    """Accepts or refuses, takes the data, confirms."""

    def __init__(self) -> None:
        super().__init__()
        self._offer: FileOffer | None = None
        self._state = "waiting"
        self._have = 0

    def accept(self, have: int, digest: bytes) -> None:
        """After `FileOffer`: we want it and hold `have` bytes, whose SHA-256 is `digest`."""
        self._have = have
        self._state = "accepted"
        self._say(_Message.ACCEPT, have, digest)

    def confirm(self, digest: bytes, name: str) -> None:
        """After `Ended`: the file is safe under `name`."""
        self._say(_Message.DONE, digest, name)
        self.finished = True

    def _take(self, message: list[Any]) -> None:
        if message[0] == _Message.OFFER and self._state == "waiting":
            transfer, name, size, mtime = _fields(message, bytes, str, int, int)
            if len(transfer) != ID_BYTES or not 0 <= size <= MAX_SIZE or not abs(mtime) < 2**63:
                raise DecodeError("transfer OFFER", f"size {size}, id of {len(transfer)} bytes")
            self._state = "offered"
            self._offer = FileOffer(transfer, name, size, mtime)
            self._events.append(self._offer)
        elif message[0] == _Message.START and self._state == "accepted" and self._offer is not None:
            (offset,) = _fields(message, int)
            if offset not in (0, self._have):
                raise DecodeError("transfer START", f"offset {offset}, allowed are 0 and {self._have}")
            self._state = "receiving"
            self._reader.raw_left = self._offer.size - offset
            self._events.append(Started(offset))
        elif message[0] == _Message.END and self._state == "receiving":
            (digest,) = _fields(message, bytes)
            if len(digest) != DIGEST_BYTES:
                raise DecodeError("transfer END", f"a digest of {len(digest)} bytes")
            self._state = "ended"
            self._events.append(Ended(digest))
        else:
            raise DecodeError("transfer", f"message {message[0]} while {self._state}")


def _fields(message: list[Any], *kinds: type) -> list[Any]:
    fields = message[1:]
    # bool is an int to Python, but not to the format.
    if len(fields) != len(kinds) or any(type(f) is not kind for f, kind in zip(fields, kinds, strict=True)):
        raise DecodeError("transfer message", f"number {message[0]} has the wrong fields")
    return fields
