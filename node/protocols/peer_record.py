"""What a peer's record says: where it can be reached, what it can do, and since when it is there.

Decides the payload of the record kind PEER. Refuses to know how records are signed, stored or found.

A msgpack array, at most 700 bytes: version, direct contacts (packed), home nodes (packed), capability bits, status
text, online since, last change (Unix seconds), DTLS certificate fingerprint (32 bytes or none). A later release may
append fields, which an older one passes over; a change of what is here is a new version, which it refuses.
"""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from dht.contact import PACKED_V4, PACKED_V6, Contact, unpack_contact
from dht.errors import DecodeError, LocalError

VERSION: Final = 1

MAX_PAYLOAD: Final = 700
"""Bytes: leaves 183 of a record's 1,000 for what a later release appends."""

MAX_DIRECT: Final = 2
"""One IPv4 and one IPv6 endpoint."""

MAX_HOMES: Final = 3
"""Home nodes that hold a forwarding entry for a peer (the number of HyperDHT's relays)."""

MAX_HOME_CONTACTS: Final = 2 * MAX_HOMES
"""Contacts of them: each may have an address of either family."""

MAX_STATUS_BYTES: Final = 200
"""UTF-8 bytes of the status text. UNSOURCED: two lines of a terminal."""

FINGERPRINT_BYTES: Final = 32
"""SHA-256 (RFC 8122 section 5)."""

_WHAT: Final = "peer record"


class Capability(enum.IntFlag):
    """What a peer offers. Bits of a later time are kept as they are."""

    SERVER = 1
    """Its DHT port can be reached from outside."""
    WEBRTC = 2
    """It opens WebRTC data channels."""
    RELAY = 4
    """It carries others' links."""
    FILES = 8
    """It may take files that are sent to it."""


_PackedContact = Annotated[bytes, Meta(min_length=PACKED_V4, max_length=PACKED_V6)]
_Seconds = Annotated[int, Meta(ge=0, le=2**53)]


class _Payload(msgspec.Struct, frozen=True, array_like=True):
    """The array on the wire. Fields may be appended, with a default, and never be moved."""

    version: Annotated[int, Meta(ge=1, le=255)]
    direct: Annotated[list[_PackedContact], Meta(max_length=MAX_DIRECT)]
    homes: Annotated[list[_PackedContact], Meta(max_length=MAX_HOME_CONTACTS)]
    capabilities: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    status: Annotated[str, Meta(max_length=MAX_STATUS_BYTES)]
    online_since: _Seconds
    changed: _Seconds
    fingerprint: Annotated[bytes, Meta(max_length=FINGERPRINT_BYTES)]


class _Version(msgspec.Struct, frozen=True, array_like=True):
    """The first field alone, to tell a later version from rubbish."""

    version: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Payload).decode
_decode_version: Final = msgspec.msgpack.Decoder(_Version).decode


class PeerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer says of itself."""

    direct: tuple[Contact, ...] = ()
    """Its own DHT node, when that can be reached from outside."""
    homes: tuple[Contact, ...] = ()
    """The nodes that forward signals to it, then those of them that have an address of the other family at that one."""
    capabilities: Capability = Capability(0)
    status: str = ""
    """One line for people; never a control character."""
    online_since: int = 0
    """Unix seconds."""
    changed: int = 0
    """Unix seconds of the last change of what is above."""
    fingerprint: bytes = b""
    """SHA-256 of a certificate that it keeps, so that it can be dialled with no answer; empty without."""

    @property
    def ways(self) -> tuple[Contact, ...]:
        """Through whom a signal reaches it, best first, each once."""
        return tuple(dict.fromkeys((*self.direct, *self.homes)))

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` naming the field that does not fit."""
        if len(self.direct) > MAX_DIRECT or len(self.homes) > MAX_HOME_CONTACTS:
            raise LocalError(
                f"a peer record has at most {MAX_DIRECT} direct contacts and {MAX_HOME_CONTACTS} of home nodes, "
                f"not {len(self.direct)} and {len(self.homes)}"
            )
        if problem := _status_problem(self.status):
            raise LocalError(f"the status text {problem}")
        if len(self.fingerprint) not in (0, FINGERPRINT_BYTES):
            raise LocalError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(self.fingerprint)}")
        return _encode(
            _Payload(
                VERSION,
                [contact.packed for contact in self.direct],
                [contact.packed for contact in self.homes],
                int(self.capabilities),
                self.status,
                self.online_since,
                self.changed,
                self.fingerprint,
            )
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> PeerRecord:
        """Read a payload. Raises `DecodeError` naming what does not fit."""
        if len(payload) > MAX_PAYLOAD:
            raise DecodeError(_WHAT, f"{len(payload)} bytes, at most {MAX_PAYLOAD} are allowed")
        try:
            version = _decode_version(payload).version
            if version != VERSION:
                raise DecodeError(_WHAT, f"version {version}, known is {VERSION}")
            fields = _decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(_WHAT, str(error)) from None
        if problem := _status_problem(fields.status):
            raise DecodeError(_WHAT, f"the status text {problem}")
        if len(fields.fingerprint) not in (0, FINGERPRINT_BYTES):
            raise DecodeError(_WHAT, f"a fingerprint of {len(fields.fingerprint)} bytes")
        return cls(
            direct=_contacts(fields.direct),
            homes=_contacts(fields.homes),
            capabilities=Capability(fields.capabilities),
            status=fields.status,
            online_since=fields.online_since,
            changed=fields.changed,
            fingerprint=fields.fingerprint,
        )


def _contacts(packed: list[bytes]) -> tuple[Contact, ...]:
    found = []
    for one in packed:
        if len(one) not in (PACKED_V4, PACKED_V6):
            raise DecodeError(_WHAT, f"a contact of {len(one)} bytes, expected {PACKED_V4} or {PACKED_V6}")
        contact = unpack_contact(one)
        if contact is None:
            raise DecodeError(_WHAT, "a contact nobody can reach: port 0, or no host's address")
        found.append(contact)
    return tuple(found)


def _status_problem(status: str) -> str | None:
    # It is shown on strangers' terminals: escape sequences and text turned round would lie there.
    for char in status:
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            return f"holds the character {char!r}, which is not printable"
    if len(status.encode("utf-8")) > MAX_STATUS_BYTES:
        return f"has more than {MAX_STATUS_BYTES} bytes of UTF-8"
    return None


def few_homes(homes: Sequence[Contact], count: int = MAX_HOMES) -> tuple[Contact, ...]:
    """The home nodes to name where there is room for so few: one of each family of addresses before any second one."""
    other = next((home for home in homes if (":" in home.ip) != (":" in homes[0].ip)), None)
    first = [homes[0], other] if other is not None else []
    return tuple(dict.fromkeys((*first, *homes)))[:count]
