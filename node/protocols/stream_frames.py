"""The frames inside one message of the stream protocol: their bytes, and nothing about what they mean.

A message is a run of frames, so that many small writes share one message: what a message costs, not a byte, is what
limits small traffic. Refuses to know about windows, states and order.

    frame: type(1) flags(1) length(2) stream(4) payload(length)      big-endian, stream 0 is the connection

Unknown types from 0x80 up are skipped, so that later versions may add hints; an unknown type below 0x80 is an error,
because ignoring it would lose meaning. Reserved flag bits are ignored.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import Final

from dht.errors import DecodeError

HEADER: Final = struct.Struct("!BBHI")
MAX_MESSAGE: Final = 65536
"""The most a WebRTC peer must take when it says nothing (RFC 8841 section 6.1)."""
MAX_PAYLOAD: Final = 65535 - HEADER.size
MAX_NAME_BYTES: Final = 64
"""UNSOURCED: room for `rookery/<what>/<version>` and an app's own reverse domain name."""
MAX_CLOSE_TEXT: Final = 128
"""UNSOURCED: one sentence."""
TOLERATED_FROM: Final = 0x80

FLAG_FIN: Final = 0x01
"""On DATA: the sender's direction ends after this payload."""


class FrameType(enum.IntEnum):
    """The frames of version 1."""

    OPEN = 1
    """payload: the name, UTF-8, 1..64 bytes"""
    DATA = 2
    """payload: bytes of the stream; flag FIN"""
    RESET = 3
    """payload: code(2)"""
    WINDOW = 4
    """payload: increment(4) of what the receiver of this frame may send"""
    PING = 5
    """payload: token(8), stream 0"""
    PONG = 6
    """payload: the token of the ping"""
    CLOSE = 7
    """payload: code(2) and up to 128 bytes of UTF-8, stream 0"""


_EXACT: Final = {FrameType.RESET: 2, FrameType.WINDOW: 4, FrameType.PING: 8, FrameType.PONG: 8}
_ON_CONNECTION: Final = frozenset({FrameType.PING, FrameType.PONG, FrameType.CLOSE})
_ON_STREAM: Final = frozenset({FrameType.OPEN, FrameType.DATA, FrameType.RESET})
_KNOWN: Final = {int(kind): kind for kind in FrameType}


def pack_frame(kind: FrameType, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """Return one frame."""
    return HEADER.pack(kind, flags, len(payload), stream) + payload


def iter_frames(message: bytes) -> Iterator[tuple[FrameType, int, int, bytes]]:
    """Yield (type, flags, stream, payload) of each frame. Raises `DecodeError` at the first that is wrong."""
    if len(message) > MAX_MESSAGE:
        raise DecodeError("stream message", f"{len(message)} bytes, at most {MAX_MESSAGE}")
    at, end = 0, len(message)
    if end == 0:
        raise DecodeError("stream message", "no frames")
    unpack = HEADER.unpack_from
    while at < end:
        if end - at < HEADER.size:
            raise DecodeError("stream frame", f"{end - at} bytes left, a header has {HEADER.size}")
        number, flags, length, stream = unpack(message, at)
        at += HEADER.size
        if length > end - at:
            raise DecodeError("stream frame", f"says {length} bytes, {end - at} are there")
        payload = message[at : at + length]
        at += length
        kind = _KNOWN.get(number)
        if kind is None:
            if number >= TOLERATED_FROM:
                continue
            raise DecodeError("stream frame", f"unknown type {number}")
        expected = _EXACT.get(kind)
        if expected is not None and length != expected:
            raise DecodeError("stream frame", f"{kind.name} has {expected} bytes, not {length}")
        if (kind in _ON_CONNECTION and stream != 0) or (kind in _ON_STREAM and stream == 0):
            raise DecodeError("stream frame", f"{kind.name} on stream {stream}")
        yield kind, flags, stream, payload


def decode_name(payload: bytes) -> str:
    """Read the name of an OPEN. Raises `DecodeError` unless it is 1..64 bytes of printable UTF-8."""
    if not 1 <= len(payload) <= MAX_NAME_BYTES:
        raise DecodeError("stream name", f"{len(payload)} bytes, allowed are 1..{MAX_NAME_BYTES}")
    try:
        name = payload.decode()
    except UnicodeDecodeError:
        raise DecodeError("stream name", "is not UTF-8") from None
    if not name.isprintable():
        raise DecodeError("stream name", f"{name!r} holds a character that does not print")
    return name
