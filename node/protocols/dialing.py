"""The door of who can be dialled without an answer: STUN checks from strangers, answered without keeping anything.

Decides which STUN messages are a dialler's, what is answered, and when an address counts as its sender's own. Refuses
to know DTLS and channels, which begin only then.

The dialler knows an address and a certificate's fingerprint, and invents the rest of what an answer would have told it
(as libp2p's webrtc-direct does): the ICE name that it gives us is `rookery1/` and its own ICE password, and our
password is that name again. So its first check (RFC 8445 section 7.2.2) tells us all we need, in USERNAME:

    rookery1/PASSWORD:NAME          NAME is its own ICE name, PASSWORD its own ICE password

ICE's integrity protects nothing here, since the keys stand in the clear; the certificates and the proof of identity
keys (`node.protocols.handshake`) do. What a check does show is who receives at an address: we send a check of our own,
whose transaction id is a keyed hash of the address and of the time. Whoever answers it has read it there. Until then
nothing is kept, and no more bytes leave than came in.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from dht.contact import Address
from dht.limits import RateLimiter, source_of
from dht.stun import BINDING_REQUEST, BINDING_SUCCESS, HEADER, MAGIC_COOKIE, XOR_MAPPED_ADDRESS, is_stun

PREFIX: Final = "rookery1/"
"""How the invented name begins: other users of the same trick are told apart by theirs."""

USERNAME, MESSAGE_INTEGRITY, FINGERPRINT = 0x0006, 0x0008, 0x8028
"""RFC 8489 sections 14.3, 14.5 and 14.7."""
PRIORITY, ICE_CONTROLLED = 0x0024, 0x8029
"""RFC 8445 section 16.1."""

SOFTWARE_PADDING: Final = 96
"""Bytes of SOFTWARE (RFC 8489 section 14.14) by which our own first check is longer than it need be: so that our
answer and our check fit into its size, and one round trip does."""

SLOT: Final = 16.0
"""Seconds a challenge is made under one time; it is taken for one to two of them. UNSOURCED: ICE repeats for 12 s."""

CHECKS_PER_SOURCE: Final = 20.0
"""Checks per second that one source gets answered before its address is proven: ICE repeats 20 times a second at first,
and a check costs some 30 µs. Bounds work under a flood."""

LONGEST: Final = 548
"""Bytes of the longest STUN message looked at: what every IPv4 path carries (RFC 8489 section 6.1)."""

_CHALLENGE_BYTES: Final = 12
_PRIORITY_VALUE: Final = 126 << 24 | 65535 << 8 | 255
"""Of a host candidate (RFC 8445 section 5.1.2.2)."""
_XOR_FINGERPRINT: Final = 0x5354554E
_ICE: Final = "[A-Za-z0-9+/]"
"""ice-char of RFC 8839 section 5.4."""
_NAMES: Final = re.compile(f"({PREFIX}({_ICE}{{22,64}})):({_ICE}{{4,32}})".encode())
"""The name invented for us with the dialler's password in it, and the dialler's own name. ICE allows 256 characters;
Chromium, Firefox and aioice use 4 or 8, and passwords of 22 to 32."""


@dataclass(frozen=True, slots=True)
class Check:
    """A dialler's connectivity check."""

    transaction: bytes
    name: bytes
    """The name invented for us, which is our password, too."""
    password: bytes
    """The dialler's."""
    dialler: bytes
    """The dialler's name."""


@dataclass(frozen=True, slots=True)
class Knock:
    """What becomes of a STUN message that is a dialler's."""

    replies: tuple[bytes, ...] = ()
    """To be sent to where it came from."""
    arrived: bool = False
    """Whether the address is proven: from now on it is the carrier's."""


class Door:
    """Answers checks of addresses that are not proven. Nothing is kept but a secret and the rates."""

    def __init__(self, rng: Random) -> None:
        self._secret = rng.randbytes(32)
        self._tie_breaker = rng.randbytes(8)
        self._limit = RateLimiter(CHECKS_PER_SOURCE, 4 * CHECKS_PER_SOURCE)
        self.counters: Counter[str] = Counter()
        """answered, challenged, arrived, malformed, limited."""

    def knock(self, data: bytes, address: Address, now: float, *, known: bool) -> Knock | None:
        """Take a STUN message; None when it is not a dialler's. `known`: the address is proven already."""
        if not is_stun(data) or len(data) > LONGEST:
            return None
        kind, _, _, transaction = HEADER.unpack_from(data)
        if kind == BINDING_SUCCESS:
            if not self._is_ours(transaction, address, now):
                return None
            self.counters["arrived"] += 1
            return Knock(arrived=True)
        if kind != BINDING_REQUEST or not _has_username(data):
            return None
        if not known and not self._limit.allow(source_of(address), now):
            self.counters["limited"] += 1
            return Knock()
        check = decode_check(data)
        if check is None:
            self.counters["malformed"] += 1
            return Knock()
        answer = encode_answer(check, address)
        if known:
            self.counters["answered"] += 1
            return Knock((answer,))
        challenge = self._challenge(check, address, now)
        # An unproven address gets no more bytes than it has sent: a stock browser's short check gets the challenge
        # alone, and the answer to its next one.
        fitting = [reply for reply in ((challenge, answer), (challenge,)) if sum(map(len, reply)) <= len(data)]
        self.counters["challenged"] += bool(fitting)
        # The challenge first: then its answer is on the way before anything that follows ours.
        return Knock(fitting[0] if fitting else ())

    def _challenge(self, check: Check, address: Address, now: float) -> bytes:
        attributes = (
            _attribute(USERNAME, check.dialler + b":" + check.name)
            + _attribute(PRIORITY, _PRIORITY_VALUE.to_bytes(4, "big"))
            + _attribute(ICE_CONTROLLED, self._tie_breaker)
        )
        return _finished(BINDING_REQUEST, self._mac(address, int(now // SLOT)), attributes, check.password)

    def _is_ours(self, transaction: bytes, address: Address, now: float) -> bool:
        slot = int(now // SLOT)
        return any(hmac.compare_digest(transaction, self._mac(address, at)) for at in (slot, slot - 1))

    def _mac(self, address: Address, slot: int) -> bytes:
        data = slot.to_bytes(8, "big") + address[1].to_bytes(2, "big") + address[0].encode()
        return hashlib.blake2b(data, digest_size=_CHALLENGE_BYTES, key=self._secret, person=b"rookery/door").digest()


def name_for(password: str) -> str:
    """The ICE name, and ICE password, that a dialler invents for who it dials; `password` is its own."""
    return PREFIX + password


def decode_check(data: bytes) -> Check | None:
    """Return the dialler's check, or None where anything is wrong with it."""
    if not is_stun(data) or len(data) > LONGEST:
        return None
    kind, length, _, transaction = HEADER.unpack_from(data)
    if kind != BINDING_REQUEST or length != len(data) - HEADER.size or length % 4:
        return None
    names: re.Match[bytes] | None = None
    intact = False
    at = HEADER.size
    while at < len(data):
        attribute, size = struct.unpack_from(">HH", data, at)
        value = data[at + 4 : at + 4 + size]
        following = at + 4 + (size + 3) // 4 * 4
        if following > len(data):
            return None
        if attribute == USERNAME and names is None and not intact:
            names = _NAMES.fullmatch(value)
            if names is None:
                return None
        elif attribute == ICE_CONTROLLED and not intact:
            return None  # The side that dials controls.
        elif attribute == MESSAGE_INTEGRITY and not intact:
            if names is None or not hmac.compare_digest(value, _integrity(data[:at], names[1])):
                return None
            intact = True
        elif attribute == FINGERPRINT and (following != len(data) or value != _fingerprint(data[:at])):
            return None
        at = following
    if names is None or not intact:
        return None
    return Check(transaction, names[1], names[2], names[3])


def encode_answer(check: Check, address: Address) -> bytes:
    """The success response to a check from `address`: 64 bytes, over IPv6 76."""
    ip = ipaddress.ip_address(address[0])
    mask = MAGIC_COOKIE.to_bytes(4, "big") + check.transaction
    host = bytes(byte ^ key for byte, key in zip(ip.packed, mask, strict=False))
    mapped = struct.pack(">BBH", 0, 1 if ip.version == 4 else 2, address[1] ^ MAGIC_COOKIE >> 16) + host
    return _finished(BINDING_SUCCESS, check.transaction, _attribute(XOR_MAPPED_ADDRESS, mapped), check.name)


def _has_username(data: bytes) -> bool:
    # Every ICE agent puts it first or nearly so; what cannot be walked is left to who answers plain STUN.
    at = HEADER.size
    while at + 4 <= len(data):
        attribute, size = struct.unpack_from(">HH", data, at)
        if attribute == USERNAME:
            return True
        at += 4 + (size + 3) // 4 * 4
    return False


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _finished(kind: int, transaction: bytes, attributes: bytes, key: bytes) -> bytes:
    head = HEADER.pack(kind, len(attributes), MAGIC_COOKIE, transaction)
    data = head + attributes
    data = _with_length(data + _attribute(MESSAGE_INTEGRITY, _integrity(data, key)), 8)
    return data + _attribute(FINGERPRINT, _fingerprint(data))


def _integrity(before: bytes, key: bytes) -> bytes:
    return hmac.digest(key, _with_length(before, 24), "sha1")


def _fingerprint(before: bytes) -> bytes:
    return (zlib.crc32(_with_length(before, 8)) ^ _XOR_FINGERPRINT).to_bytes(4, "big")


def _with_length(data: bytes, more: int) -> bytes:
    """The message as it is when `more` bytes of attributes have been added."""
    return data[:2] + (len(data) - HEADER.size + more).to_bytes(2, "big") + data[4:]
