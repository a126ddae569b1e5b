"""A new key for a private network: made by its authority, in force for all members from one moment on.

    renewal   version 1 ‖ authority 32 ‖ epoch 4 ‖ since 8 ‖ key 32 ‖ signature 64
    message   renewal ‖ revocations, 169 bytes each

The revocations go with it, so that nobody who has the key to come takes one of the revoked for a member. It holds a
secret: it is said over links between members alone. Refuses to know how it gets from member to member.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from dht.constants import KEY_BYTES, SIGNATURE_BYTES
from dht.errors import DecodeError, WeakKey
from dht.identity import IdentityKey, PublicKey, verify_strict
from node.protocols.admission import MOST_REVOCATIONS, read_revocations
from node.protocols.revocation import REVOCATION_BYTES, Revocation

STREAM_NAME: Final = "rookery/renewal/1"

VERSION: Final = 1

_BODY: Final = struct.Struct(f">B32sIQ{KEY_BYTES}s")
RENEWAL_BYTES: Final = _BODY.size + SIGNATURE_BYTES
MAX_MESSAGE: Final = RENEWAL_BYTES + MOST_REVOCATIONS * REVOCATION_BYTES

LONGEST_AHEAD: Final = 31 * 86_400
"""Seconds from its making until a key is in force, at the most. UNSOURCED: a month, for members who come seldom"""

_DOMAIN: Final = b"rookery/renewal/1\x00"

_WHAT: Final = "renewal of a network's key"


@dataclass(frozen=True, slots=True)
class Renewal:
    """One signed statement: from `since` on the network of `authority` has this key."""

    authority: PublicKey
    epoch: int
    """1 for the first key after that of the founding."""
    since: int
    """Unix seconds."""
    key: bytes = field(repr=False)
    signature: bytes = b""

    @property
    def body(self) -> bytes:
        """What is signed, without the domain."""
        return _BODY.pack(VERSION, self.authority.raw, self.epoch, self.since, self.key)

    @property
    def raw(self) -> bytes:
        """The bytes that travel."""
        return self.body + self.signature


def renew(authority: IdentityKey, epoch: int, since: float, key: bytes) -> Renewal:
    """Say that `key`, of 32 bytes, is in force from `since` on."""
    said = Renewal(authority.public, epoch, int(since), key)
    return replace(said, signature=authority.sign(_DOMAIN + said.body))


def read_renewal(raw: bytes) -> Renewal:
    """The statement in these bytes, verified. Raises `DecodeError`."""
    if len(raw) != RENEWAL_BYTES:
        raise DecodeError(_WHAT, f"{len(raw)} bytes, expected {RENEWAL_BYTES}")
    version, authority, epoch, since, key = _BODY.unpack(raw[: _BODY.size])
    if version != VERSION:
        raise DecodeError(_WHAT, f"version {version}, known is {VERSION}")
    if epoch == 0:
        raise DecodeError(_WHAT, "epoch 0 is that of the founding")
    try:
        said = Renewal(PublicKey(authority), epoch, since, key, raw[_BODY.size :])
    except WeakKey as error:
        raise DecodeError(_WHAT, str(error)) from None
    if not verify_strict(authority, said.signature, _DOMAIN + said.body):
        raise DecodeError(_WHAT, "it was not signed by the network's authority")
    return said


def message_bytes(said: Renewal, revocations: Iterable[Revocation]) -> bytes:
    """The statement, and the first of the revocations that we know of."""
    return said.raw + b"".join(one.raw for one in islice(revocations, MOST_REVOCATIONS))


def read_message(raw: bytes) -> tuple[Renewal, tuple[Revocation, ...]]:
    """The same, read; revocations that do not hold are left out. Raises `DecodeError`."""
    return read_renewal(raw[:RENEWAL_BYTES]), read_revocations(raw[RENEWAL_BYTES:])
