"""What voids a membership: signed statements, kept by the newest of each issuer, and heard of by all members.

    revocation    version 1 ‖ authority 32 ‖ member 32 ‖ since 8 ‖ issuer 32 ‖ signature 64

The authority's statement counts for everybody, a member's for those in whose chain it stands: whom it invited, and whom
those did. So statements are kept only of the authority and of members known to invite, each within a share of its own:
who makes up statements without end fills nobody else's. Refuses to know how statements travel.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from dht.constants import SIGNATURE_BYTES
from dht.errors import DecodeError, WeakKey
from dht.identity import IdentityKey, PublicKey, verify_strict

VERSION: Final = 1

_BODY: Final = struct.Struct(">B32s32sQ32s")
REVOCATION_BYTES: Final = _BODY.size + SIGNATURE_BYTES

MAX_REVOCATIONS: Final = 4096
"""Statements of the authority that are kept of one network: 700 kB. UNSOURCED: as many as members are remembered"""

MAX_OF_MEMBER: Final = 256
"""Statements kept of one member who invites. Bounds one that revokes without end. UNSOURCED"""

MAX_ISSUERS: Final = 64
"""Members whose statements are kept. Bounds many that do. UNSOURCED"""

CLOCK_TOLERANCE: Final = 600.0
"""Seconds by which a statement may lie in the future: beyond, it would void invitations that are yet to come."""

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
        """`known`: statements that were taken in before."""
        self._authority = authority
        self._by: dict[PublicKey, dict[PublicKey, Revocation]] = {}
        """By issuer, then by member."""
        for one in known:
            self._take(one)

    def __len__(self) -> int:
        return sum(map(len, self._by.values()))

    def __iter__(self) -> Iterator[Revocation]:
        """The authority's first, the newest first."""
        own = self._by.get(self._authority, {}) if self._authority is not None else {}
        others = (
            said for issuer, all_said in self._by.items() if issuer != self._authority for said in all_said.values()
        )
        yield from sorted(own.values(), key=lambda said: -said.since)
        yield from sorted(others, key=lambda said: -said.since)

    def add(self, said: Revocation, inviters: Container[PublicKey], now: float) -> bool:
        """Take a verified statement in. `inviters`: who is known to invite in this network.

        False when it is of another network, of nobody who may revoke, of a time to come, known, older, or one too many.
        """
        if said.authority != self._authority or said.since > now + CLOCK_TOLERANCE:
            return False
        if said.issuer != self._authority and said.issuer not in inviters:
            return False
        return self._take(said)

    def _take(self, said: Revocation) -> bool:
        whole = said.issuer == self._authority
        if not whole and said.issuer not in self._by and len(self._by) > MAX_ISSUERS:
            return False
        of_issuer = self._by.setdefault(said.issuer, {})
        old = of_issuer.get(said.member)
        if old is not None and old.since >= said.since:
            return False
        if old is None and len(of_issuer) >= (MAX_REVOCATIONS if whole else MAX_OF_MEMBER):
            return False
        of_issuer[said.member] = said
        return True

    def since(self, member: PublicKey, issuers: frozenset[PublicKey]) -> int | None:
        """Since when `member` is revoked by one of `issuers`, who stand above it; None if it is not."""
        said = [self._by.get(issuer, {}).get(member) for issuer in issuers]
        return max((one.since for one in said if one is not None), default=None)
