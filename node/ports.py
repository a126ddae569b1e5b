"""The roles a node needs filled from outside: here the link to one peer, its streams, and who can make one.

This file refuses to know how bytes travel. Every port has at least two implementations (the in-memory link and
WebRTC), and one contract suite that both pass.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from dht.errors import LocalError, RookeryError
from dht.identity import PublicKey

Address = tuple[str, int]
"""IP text and port."""


class LinkFault(enum.Enum):
    """Why a link ended, or never came to be."""

    CLOSED_BY_US = "closed"
    """We closed it."""
    CLOSED_BY_PEER = "closed-by-peer"
    """The peer closed it in good order."""
    REFUSED = "refused"
    """The peer answered with a refusal; `detail` names its reason."""
    ICE_TIMEOUT = "ice-timeout"
    """No pair of addresses worked within the time allowed."""
    ICE_FAILED = "ice-failed"
    """Every pair of addresses was tried, and none worked."""
    DTLS_FAILED = "dtls-failed"
    """The encrypted handshake did not finish."""
    FINGERPRINT_MISMATCH = "fingerprint-mismatch"
    """Somebody else than the signed description named answered: the certificate is another."""
    SCTP_FAILED = "sctp-failed"
    """The message channel over the encrypted path did not come up."""
    LOST = "lost"
    """The path went dead: no consent, or the transport broke."""
    PROTOCOL = "protocol-error"
    """The peer broke the stream protocol; `detail` says how."""
    BAD_DESCRIPTION = "bad-description"
    """The peer's offer or answer does not decode, or does not fit."""


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """How a link ended: a typed fault and one sentence for people."""

    fault: LinkFault
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.fault.value}: {self.detail}" if self.detail else self.fault.value


class LinkError(RookeryError):
    """Raised when a link cannot be made, or an operation needs one that has ended."""

    def __init__(self, end: LinkEnd) -> None:
        super().__init__(f"link {end}")
        self.end = end


class StreamReset(RookeryError):
    """Raised when a stream was cut short by either side; `code` is the reset code, `by_peer` who did it."""

    def __init__(self, name: str, code: int, *, by_peer: bool) -> None:
        super().__init__(f"stream {name!r} was reset by {'the peer' if by_peer else 'us'} with code {code}")
        self.name = name
        self.code = code
        self.by_peer = by_peer


class StreamEnded(RookeryError):
    """Raised by `read_exactly` when the stream ended first; `partial` holds what did arrive."""

    def __init__(self, name: str, wanted: int, partial: bytes) -> None:
        super().__init__(f"stream {name!r} ended after {len(partial)} of {wanted} bytes")
        self.name = name
        self.wanted = wanted
        self.partial = partial


class StreamMisuse(LocalError):
    """Raised when a stream or link is used against its rules, such as writing after `close`."""


@dataclass(frozen=True, slots=True)
class LinkPath:
    """Which way the bytes go: candidate types and addresses of both ends, as far as known."""

    local_type: str = "memory"
    local_address: Address | None = None
    remote_type: str = "memory"
    remote_address: Address | None = None


@dataclass(slots=True)
class LinkStats:
    """Counters of one link. `phases` holds seconds: gather, ice, dtls, sctp, first-byte."""

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    path: LinkPath = field(default_factory=LinkPath)
    phases: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Stream(Protocol):
    """One named, ordered, flow-controlled stream of bytes in both directions."""

    @property
    def name(self) -> str:
        """The name it was opened under."""

    async def read(self, max_bytes: int = 65536) -> bytes:
        """Return 1..max_bytes bytes, or b"" at the end. Raises `StreamReset` or `LinkError`."""

    async def read_exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes. Raises `StreamEnded` when the stream ends first."""

    async def write(self, data: bytes) -> None:
        """Hand over `data`; returns when all of it is in bounded buffers, so a slow peer slows the writer."""

    async def close(self) -> None:
        """End our direction after everything written; the other direction stays open."""

    def reset(self, code: int = 0) -> None:
        """Drop the stream at once, both directions, telling the peer `code`."""


StreamHandler = Callable[[Stream], Awaitable[None]]
"""Serves one incoming stream; when it returns the stream is closed, when it raises the stream is reset."""


@runtime_checkable
class Link(Protocol):
    """An authenticated connection to one peer, carrying streams."""

    @property
    def peer(self) -> PublicKey:
        """The identity at the other end."""

    @property
    def initiated(self) -> bool:
        """Whether we dialled."""

    @property
    def stats(self) -> LinkStats:
        """Counters, path and phase times."""

    @property
    def closed(self) -> asyncio.Future[LinkEnd]:
        """Done once the link has ended, with why. Cancelling it does nothing to the link."""

    async def open_stream(self, name: str) -> Stream:
        """Open a stream; returns at once, the peer may still refuse it (then reads raise `StreamReset`)."""

    async def accept_stream(self) -> Stream:
        """Wait for the next incoming stream that no registered handler took. Raises `LinkError` at the end."""

    def register(self, name: str, handler: StreamHandler | None) -> None:
        """Serve incoming streams of `name` with `handler`; None takes the handler away."""

    async def ping(self) -> float:
        """Return the round trip over the link in seconds."""

    async def close(self) -> None:
        """End the link in good order and free everything it holds."""


@runtime_checkable
class LinkDialer(Protocol):
    """Makes links to peers known only by key."""

    async def dial(self, peer: PublicKey, *, timeout: float) -> Link:
        """Return a link to `peer`. Raises `LinkError` with a typed reason."""


Phases = Mapping[str, float]
"""Seconds by phase name."""
