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

from dht.contact import Contact
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
    NOT_ADMITTED = "not-admitted"
    """One of the ends is no member of the private network; `detail` says why."""
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
    NO_PROOF = "no-proof"
    """Whoever answered did not prove that it has the peer's key."""
    RELAY_FAILED = "relay-failed"
    """No relay carried the link; `detail` says what each of them did."""
    NO_RELAY = "no-relay"
    """No relay is known that both ends reach; `detail` says how one was looked for."""
    FORGOTTEN = "forgotten"
    """The peer has lost its end of the link, as after a restart: what was under way is gone."""


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
    """Which way the bytes go: candidate types and addresses of both ends, as far as known.

    Types are ICE's (host, srflx, prflx), `relay` for a circuit of the mesh (the address is the relay's, `via` the keys
    of the relays in order from our end), `websocket` for TCP, and `memory`.
    """

    local_type: str = "memory"
    local_address: Address | None = None
    remote_type: str = "memory"
    remote_address: Address | None = None
    via: tuple[PublicKey, ...] = ()

    @property
    def direct(self) -> bool:
        """Whether no third party carries it."""
        return not self.via


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


class Channel(Protocol):
    """What carries the messages of a link: reliable and in order, until it ends.

    It calls back from the event loop, never from inside `send`. Nothing is delivered before `start`.
    """

    on_message: Callable[[bytes], None]
    on_room: Callable[[], None]
    on_closed: Callable[[LinkEnd], None]

    def start(self) -> None:
        """Deliver what came so far, and everything from now on; the callbacks must be set."""

    @property
    def room(self) -> int:
        """Bytes it takes now; zero or less means wait for `on_room`."""

    @property
    def idle(self) -> bool:
        """Whether everything handed over was taken by the other side."""

    def send(self, message: bytes) -> None:
        """Hand over one message, of 65,536 bytes at most."""

    async def close(self) -> None:
        """Free everything."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A channel with a peer that has proven its key, over a path that was found."""

    channel: Channel
    path: LinkPath
    phases: dict[str, float] = field(default_factory=dict)


Extras = tuple[tuple[int, bytes], ...]
"""What travels in an offer or answer besides ICE: (tag, up to 255 bytes); see `node.protocols.offer`."""


@dataclass(frozen=True, slots=True)
class PairTried:
    """One pair of addresses that ICE tried, or a spread of sockets as a whole."""

    local: str
    """Type and address, such as `srflx 203.0.113.5:4711`."""
    remote: str
    outcome: str
    """nominated, succeeded, failed, waiting"""
    checks: int = 0
    """Requests sent."""


@dataclass(frozen=True, slots=True)
class WayTried:
    """One way to a peer that was tried, for `--explain`."""

    way: str
    """dial (no answer needed), ice, relay, websocket"""
    started: float
    """Seconds after the attempt began."""
    seconds: float
    outcome: str
    """opened, failed, overtaken (another way was quicker), skipped"""
    detail: str = ""
    """Why, in one sentence."""
    pairs: tuple[PairTried, ...] = ()
    local: tuple[str, ...] = ()
    """Our candidates."""
    remote: tuple[str, ...] = ()
    """The peer's candidates, or the address that was dialled."""
    rung: str = ""
    """Which rung of the ladder named the address: cache, lan, gossip, dht …"""


class Session(Protocol):
    """One attempt at one channel by offer and answer (`WebRtcSession`)."""

    phases: dict[str, float]
    on_candidates: Callable[[bytes], None]
    """Called with what is to be sent to the peer: candidates found after the description had left (RFC 8838)."""

    @property
    def local_candidates(self) -> tuple[str, ...]:
        """Ours, for people: type and address each."""

    @property
    def remote_candidates(self) -> tuple[str, ...]:
        """The peer's, likewise."""

    @property
    def tried(self) -> tuple[PairTried, ...]:
        """The pairs of addresses that were tried."""

    @property
    def hopeless(self) -> bool:
        """Whether, by what both descriptions say of their routers, no direct path can be expected."""

    def add_remote(self, payload: bytes) -> None:
        """Take further candidates of the peer; never raises."""

    async def offer(self, extras: Extras = ()) -> bytes:
        """Gather and return our offer."""

    async def answer(self, offer: bytes, extras: Extras = ()) -> bytes:
        """Take the peer's offer, gather, and return our answer. Raises `LinkError`."""

    async def connect(self, peer: PublicKey, answer: bytes | None = None, *, timeout: float | None = None) -> Opened:
        """Open the channel. Raises `LinkError`; closes itself then."""

    async def close(self) -> None:
        """Give the attempt up."""


class Answerless(Protocol):
    """Opens channels with peers that can be reached, with no offer and no answer before; and takes such channels."""

    fingerprint: bytes
    """SHA-256 of the certificate our end keeps; for the peer record."""
    on_opened: Callable[[PublicKey, Opened], None]
    """Called with each channel that a peer opened; the peer has proven its key."""

    async def dial(self, peer: PublicKey, address: Address, fingerprint: bytes, *, timeout: float) -> Opened:
        """Open a channel to `peer`, which listens at `address`. Raises `LinkError`."""

    async def close(self) -> None:
        """Stop listening and give up every attempt."""


class Terms(Protocol):
    """What one side proposes for a link through relays."""

    extras: Extras
    """For the offer or the answer."""


class Relays(Protocol):
    """Opens channels through third parties that carry them."""

    async def ready(self, timeout: float) -> bool:
        """Wait until a relay is known; false when none was found in time."""

    async def sought(self, timeout: float) -> str:
        """Look for a relay until one is known; else returns how it was looked for, after `timeout` seconds."""

    def propose(self, peer: PublicKey) -> Terms:
        """What our offer says; never waits."""

    def accept(self, peer: PublicKey, remote: Extras) -> Terms:
        """What our answer says to an offer that said `remote`."""

    async def open(self, peer: PublicKey, terms: Terms, remote: Extras, *, initiated: bool, timeout: float) -> Opened:
        """Open a channel once both have said theirs. Raises `LinkError` (relay-failed, no-relay)."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a source knows of a way to a peer: it may be old, and it proves nothing (the link does)."""

    direct: tuple[Contact, ...] = ()
    """DHT endpoints of the peer itself, best first."""
    homes: tuple[Contact, ...] = ()
    """Nodes that forward signals to it."""
    fingerprint: bytes = b""
    """SHA-256 of the certificate under which it takes dials at `direct`; empty when it is not known to."""


class PeerSource(Protocol):
    """A place beside the DHT where a peer may be found sooner: addresses remembered, the local network, gossip."""

    name: str
    """One word, as it is shown to people: cache, lan, gossip."""

    async def find(self, peer: PublicKey) -> Hint | None:
        """What is known of a peer; None when nothing is. At once where it can; may be cancelled. Never raises."""
