"""What the stream multiplexer can be told (limits) and what it reports (events, codes, misuse).

Refuses to know how any of it comes about.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from dht.errors import BadConfig, LocalError

INITIAL_STREAM_WINDOW: Final = 262_144
"""UNSOURCED: four of the largest messages, so that a first burst needs no round trip. Fixed by the protocol."""
INITIAL_CONNECTION_WINDOW: Final = 1_048_576
"""UNSOURCED: four streams' worth. Fixed by the protocol."""
MAX_CREDIT: Final = 2**31 - 1
"""As RFC 9113 section 6.9.1."""


class ResetCode(enum.IntEnum):
    """Codes of this layer; numbers from 256 up belong to the protocol on the stream."""

    CANCELLED = 0
    REFUSED_NAME = 1
    """Nobody serves a stream of that name."""
    REFUSED_LIMIT = 2
    """As many streams are open as the peer allows."""
    INTERNAL = 3
    """The handler failed."""


class CloseCode(enum.IntEnum):
    """Why a side ended the whole connection."""

    NORMAL = 0
    PROTOCOL = 1
    FLOW_CONTROL = 2
    FLOOD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """Limits of one connection."""

    stream_window: int = 4 * 1_048_576
    """Unread bytes of one stream: at least three quarters of it in each round trip, so 60 MB/s at 50 ms."""
    connection_window: int = 8 * 1_048_576
    """Unread bytes of all streams together: what one peer can make us hold."""
    send_buffer: int = 262_144
    """Bytes a writer may be ahead of the connection. UNSOURCED: four of the largest messages."""
    max_streams: int = 256
    """Streams the peer may have open at once. UNSOURCED."""

    def __post_init__(self) -> None:
        if not INITIAL_STREAM_WINDOW <= self.stream_window <= MAX_CREDIT:
            raise BadConfig("stream_window", self.stream_window, f"{INITIAL_STREAM_WINDOW}..{MAX_CREDIT}")
        if not INITIAL_CONNECTION_WINDOW <= self.connection_window <= MAX_CREDIT:
            raise BadConfig("connection_window", self.connection_window, f"{INITIAL_CONNECTION_WINDOW}..{MAX_CREDIT}")
        if self.send_buffer < 1 or self.max_streams < 1:
            raise BadConfig("send_buffer, max_streams", (self.send_buffer, self.max_streams), "at least 1")


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream."""

    stream: int
    name: str


@dataclass(frozen=True, slots=True)
class StreamReadable:
    """There are bytes or the end to read; said once until the next `read`."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamWritable:
    """A writer that was cut short may go on."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamWasReset:
    """The peer dropped the stream; what was unread is gone."""

    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The answer to a ping of ours."""

    token: bytes


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """Nothing travels any more. `by_peer` tells whether it was the peer's wish or our verdict."""

    code: int
    detail: str
    by_peer: bool


StreamEvent = StreamOpened | StreamReadable | StreamWritable | StreamWasReset | PongReceived | ConnectionClosed


class UnknownStream(LocalError):
    """Raised when a stream is used that has ended or never was."""


class TooManyStreams(LocalError):
    """Raised when we have as many streams open as the protocol lets us."""
