"""The compact session description: what two peers tell each other to open a WebRTC channel, in about 73 bytes.

Decides the bytes of offer, answer and refusal. An SDP for the same needs about 900 bytes, of which these matter; the
small form is sealed, signed and fits one datagram with room to spare. Refuses to know about sealing, signalling
and ICE itself.

Layout, version 1 (big-endian):

    version(1) kind(1) | ufrag length(1) ufrag | pwd length(1) pwd | sha-256(32) | count(1) candidate*
    [count(1) extra*]
    kind: bits 0-1 kind (1 offer, 2 answer, 3 refusal), bits 2-3 setup, bit 4 end of candidates, bit 5 extras, rest zero
    candidate: head(1) address(4|16) port(2) [priority(4)]; head: bits 0-1 type, bit 2 IPv6, bit 3 priority follows
    extra: tag(1) length(1) value; unknown tags are passed over, a tag may come several times
    refusal: version(1) kind(1) reason(1)
"""

from __future__ import annotations

import enum
import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Final

from dht.errors import DecodeError, LocalError

VERSION: Final = 1
MAX_CANDIDATES: Final = 16
"""Bounds the checks a hostile description can make us send (RFC 8445 section 19.5.1 bounds them at 100 pairs)."""

MAX_EXTRAS: Final = 8
"""What there is today: a NAT report, a circuit key, three relays; and room. UNSOURCED"""

FINGERPRINT_BYTES: Final = 32
_ICE_TEXT: Final = re.compile(rb"[A-Za-z0-9+/]+")
"""ice-char (RFC 8839 section 5.4)."""
UFRAG_LENGTH: Final = (4, 64)
"""RFC 8839 section 5.4 allows 4..256; nobody sends more than 32 (a webrtc-direct ufrag), 64 leaves room."""
PASSWORD_LENGTH: Final = (22, 64)
"""RFC 8839 section 5.4 allows 22..256."""

TYPE_PREFERENCE: Final = {"host": 126, "srflx": 100, "relay": 0}
"""RFC 8445 section 5.1.2.2."""
_TYPES: Final = ("host", "srflx", "relay")

_WHAT: Final = "session description"


class Kind(enum.IntEnum):
    """Which of the three descriptions it is."""

    OFFER = 1
    ANSWER = 2
    REFUSAL = 3


class Setup(enum.IntEnum):
    """Who starts the DTLS handshake (RFC 5763 section 5)."""

    ACTPASS = 0
    ACTIVE = 1
    PASSIVE = 2


class Extra(enum.IntEnum):
    """Tags of what a description carries besides ICE."""

    NAT_REPORT = 1
    """How the sender's router maps and filters (`dht.nat_report`)."""
    CIRCUIT_KEY = 2
    """32 bytes: an X25519 key of this session alone, for a link through relays."""
    RELAY = 3
    """A relay that the sender proposes (`node.protocols.circuit`)."""


class RefusalReason(enum.IntEnum):
    """Why a peer will not open a channel. Unknown numbers decode as UNSPECIFIED."""

    UNSPECIFIED = 0
    BUSY = 1
    """It holds as many links as it allows."""
    NOT_WANTED = 2
    """Its policy does not admit this peer."""
    NO_COMMON_PATH = 3
    """The offered addresses cannot be reached from it."""
    BAD_OFFER = 4
    """The offer did not decode there."""
    GOING_AWAY = 5
    """It is shutting down."""


def derived_priority(kind: str, index: int) -> int:
    """Return the priority that needs no bytes: RFC 8445 section 5.1.2.1, local preference falling with the order."""
    return (TYPE_PREFERENCE[kind] << 24) | ((65535 - index) << 8) | 255


@dataclass(frozen=True, slots=True)
class PackedCandidate:
    """One address to try. `priority` None means the one derived from type and position."""

    kind: str
    host: str
    port: int
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """An offer or an answer."""

    kind: Kind
    setup: Setup
    ufrag: str
    password: str
    fingerprint: bytes
    candidates: tuple[PackedCandidate, ...]
    end_of_candidates: bool = True
    extras: tuple[tuple[int, bytes], ...] = ()
    """(tag, up to 255 bytes), tags of `Extra`."""

    def extra(self, tag: Extra) -> bytes | None:
        """The first extra of that tag."""
        return next((value for known, value in self.extras if known == tag), None)

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` when a field does not fit the format."""
        if self.kind is Kind.REFUSAL:
            raise LocalError("a refusal has no description: use Refusal")
        if len(self.fingerprint) != FINGERPRINT_BYTES:
            raise LocalError(f"a SHA-256 fingerprint has 32 bytes, not {len(self.fingerprint)}")
        if len(self.candidates) > MAX_CANDIDATES:
            raise LocalError(f"{len(self.candidates)} candidates: at most {MAX_CANDIDATES} fit a description")
        if len(self.extras) > MAX_EXTRAS or any(len(value) > 255 for _, value in self.extras):
            raise LocalError(f"extras {self.extras!r}: at most {MAX_EXTRAS} of 255 bytes each fit a description")
        kind = self.kind | self.setup << 2 | (16 if self.end_of_candidates else 0) | (32 if self.extras else 0)
        parts = [bytes((VERSION, kind))]
        for text, bounds in ((self.ufrag, UFRAG_LENGTH), (self.password, PASSWORD_LENGTH)):
            raw = text.encode()
            if not bounds[0] <= len(raw) <= bounds[1] or not _ICE_TEXT.fullmatch(raw):
                raise LocalError(f"{text!r} is no ICE credential of {bounds[0]}..{bounds[1]} ice-chars")
            parts.append(bytes((len(raw),)) + raw)
        parts.append(self.fingerprint)
        parts.append(bytes((len(self.candidates),)))
        parts.extend(_pack_candidate(c) for c in self.candidates)
        if self.extras:
            parts.append(bytes((len(self.extras),)))
            parts.extend(bytes((tag, len(value))) + value for tag, value in self.extras)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer that is none, with its reason."""

    reason: RefusalReason

    def to_bytes(self) -> bytes:
        """Encode in three bytes."""
        return bytes((VERSION, Kind.REFUSAL, self.reason))


def decode_description(data: bytes) -> SessionDescription | Refusal:
    """Read what a peer sent. Raises `DecodeError` on any byte that does not belong."""
    reader = _Reader(data)
    version = reader.byte()
    if version != VERSION:
        raise DecodeError(_WHAT, f"version {version}, we speak {VERSION}")
    head = reader.byte()
    if head & 0xC0:
        raise DecodeError(_WHAT, f"reserved bits set in {head:#04x}")
    kind, setup_bits, end = head & 3, head >> 2 & 3, bool(head & 16)
    if kind == Kind.REFUSAL:
        if head != Kind.REFUSAL:
            raise DecodeError(_WHAT, "a refusal carries no flags")
        code = reader.byte()
        reader.finish()
        known = code in RefusalReason.__members__.values()
        return Refusal(RefusalReason(code) if known else RefusalReason.UNSPECIFIED)
    if kind == 0 or setup_bits == 3:
        raise DecodeError(_WHAT, f"unknown kind or setup in {head:#04x}")
    setup = Setup(setup_bits)
    if (kind == Kind.OFFER) != (setup is Setup.ACTPASS):
        raise DecodeError(_WHAT, f"setup {setup.name} does not fit a {Kind(kind).name} (RFC 5763 section 5)")
    ufrag = reader.ice_text("ufrag", UFRAG_LENGTH)
    password = reader.ice_text("password", PASSWORD_LENGTH)
    fingerprint = reader.take(FINGERPRINT_BYTES)
    count = reader.byte()
    if count > MAX_CANDIDATES:
        raise DecodeError(_WHAT, f"{count} candidates, at most {MAX_CANDIDATES} are allowed")
    candidates = tuple(reader.candidate() for _ in range(count))
    extras = reader.extras() if head & 32 else ()
    reader.finish()
    return SessionDescription(Kind(kind), setup, ufrag, password, fingerprint, candidates, end, extras)


def _pack_candidate(candidate: PackedCandidate) -> bytes:
    try:
        ip = ipaddress.ip_address(candidate.host)
        head = _TYPES.index(candidate.kind)
    except ValueError as error:
        raise LocalError(f"candidate {candidate}: {error}") from None
    if not 0 < candidate.port < 65536:
        raise LocalError(f"candidate {candidate}: port out of range")
    head |= (4 if ip.version == 6 else 0) | (0 if candidate.priority is None else 8)
    tail = b"" if candidate.priority is None else struct.pack("!I", candidate.priority)
    return bytes((head,)) + ip.packed + struct.pack("!H", candidate.port) + tail


class _Reader:
    """Takes bytes off the front, refusing to run past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise DecodeError(_WHAT, f"ends after {len(self._data)} bytes, {count} more expected at {self._at}")
        self._at += count
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def ice_text(self, what: str, bounds: tuple[int, int]) -> str:
        length = self.byte()
        if not bounds[0] <= length <= bounds[1]:
            raise DecodeError(_WHAT, f"{what} of {length} characters, allowed are {bounds[0]}..{bounds[1]}")
        raw = self.take(length)
        if not _ICE_TEXT.fullmatch(raw):
            raise DecodeError(_WHAT, f"{what} holds a character that is no ice-char")
        return raw.decode()

    def candidate(self) -> PackedCandidate:
        head = self.byte()
        if head & 0xF0 or head & 3 == 3:
            raise DecodeError(_WHAT, f"unknown candidate head {head:#04x}")
        ip = ipaddress.ip_address(self.take(16 if head & 4 else 4))
        # Checks are sent to these addresses: one that multiplies packets or names nobody is an attack.
        if ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
            raise DecodeError(_WHAT, f"candidate address {ip} is not one host's")
        (port,) = struct.unpack("!H", self.take(2))
        if port == 0:
            raise DecodeError(_WHAT, "candidate port 0")
        priority: int | None = None
        if head & 8:
            (priority,) = struct.unpack("!I", self.take(4))
        return PackedCandidate(_TYPES[head & 3], str(ip), port, priority)

    def extras(self) -> tuple[tuple[int, bytes], ...]:
        count = self.byte()
        if not 0 < count <= MAX_EXTRAS:
            raise DecodeError(_WHAT, f"{count} extras, 1 to {MAX_EXTRAS} are allowed where there are any")
        return tuple((self.byte(), self.take(self.byte())) for _ in range(count))

    def finish(self) -> None:
        if self._at != len(self._data):
            raise DecodeError(_WHAT, f"{len(self._data) - self._at} bytes too many")
