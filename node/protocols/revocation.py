"""What voids a membership: signed statements, kept by the newest of each issuer, and heard of by all members.

    revocation    version 1 ‖ authority 32 ‖ member 32 ‖ since 8 ‖ issuer 32 ‖ signature 64

The authority's statement counts for everybody, a member's for those in whose chain it stands: whom it invited, and whom
those did. Refuses to know how statements travel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from dht.constants import SIGNATURE_BYTES
from dht.errors import DecodeError, WeakKey
from dht.identity import IdentityKey, PublicKey, verify_strict

VERSION: Final = 1

_BODY: Final = struct.Struct(">B32s32sQ32s")
REVOCATION_BYTES: Final = _BODY.size + SIGNATURE_BYTES

MAX_REVOCATIONS: Final = 4096
"""Statements kept of one network: 700 kB. Bounds an issuer who revokes without end."""

_DOMAIN: Final = b"rookery/revocation/1\x00"

_WHAT: Final = "revocation"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One signed statement: `member` belongs to the network no longer."""

    authority: PublicKey
    member: PublicKey
    since: int
    """Unix seconds: certificates of later count again, as after a second invitation."""
    issuer: PublicKey
    signature: bytes = b""

    @property
    def body(self) -> bytes:
        """What is signed, without the domain."""
        return _BODY.pack(VERSION, self.authority.raw, self.member.raw, self.since, self.issuer.raw)

    @property
    def raw(self) -> bytes:
        """The bytes that travel."""
        return self.body + self.signature


def revoke(issuer: IdentityKey, authority: PublicKey, member: PublicKey, now: float) -> Revocation:
    """Say that `member` belongs to the network no longer."""
    said = Revocation(authority, member, int(now), issuer.public)
    return replace(said, signature=issuer.sign(_DOMAIN + said.body))


def read_revocation(raw: bytes) -> Revocation:
    """The statement in these bytes, verified. Raises `DecodeError`."""
    if len(raw) != REVOCATION_BYTES:
        raise DecodeError(_WHAT, f"{len(raw)} bytes, expected {REVOCATION_BYTES}")
    version, authority, member, since, issuer = _BODY.unpack(raw[: _BODY.size])
    if version != VERSION:
        raise DecodeError(_WHAT, f"version {version}, known is {VERSION}")
    try:
        said = Revocation(PublicKey(authority), PublicKey(member), since, PublicKey(issuer), raw[_BODY.size :])
    except WeakKey as error:
        raise DecodeError(_WHAT, str(error)) from None
    if not verify_strict(issuer, said.signature, _DOMAIN + said.body):
        raise DecodeError(_WHAT, "it was not signed by its issuer")
    return said


class Revocations:
    """The statements known of one network."""

    def __init__(self, authority: PublicKey | None = None, known: Iterable[Revocation] = ()) -> None:
        self._authority = authority
        self._by: dict[tuple[PublicKey, PublicKey], Revocation] = {}
        for one in known:
            self.add(one)

    def __len__(self) -> int:
        return len(self._by)

    def __iter__(self) -> Iterator[Revocation]:
        return iter(self._by.values())

    def add(self, said: Revocation) -> bool:
        """Take a verified statement in; false when it is of another network, known, older, or one too many."""
        if self._authority is not None and said.authority != self._authority:
            return False
        key = said.issuer, said.member
        old = self._by.get(key)
        if (old is not None and old.since >= said.since) or (old is None and len(self._by) >= MAX_REVOCATIONS):
            return False
        self._by[key] = said
        return True

    def since(self, member: PublicKey, issuers: frozenset[PublicKey]) -> int | None:
        """Since when `member` is revoked by one of `issuers`, who stand above it; None if it is not."""
        said = [self._by.get((issuer, member)) for issuer in issuers]
        return max((one.since for one in said if one is not None), default=None)
