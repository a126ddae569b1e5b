"""Who is a member of a private network: certificates, and chains of them up to the network's authority.

    certificate   version 1 ‖ authority 32 ‖ member 32 ‖ rights 1 ‖ issuer 32 ‖ issued 8 ‖ expires 8 ‖ signature 64
    chain         1-4 certificates one behind the other: the member's own first, the one by the authority last

The authority is an Ed25519 key made for the network; its public half is the network's identity. It makes its founder a
member, members with the right to invite make others, and no chain is longer than four. Refuses to know how certificates
travel, who is linked with whom, and what the network's members say to each other.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from dht.constants import SIGNATURE_BYTES
from dht.errors import DecodeError, LocalError, RemoteError, WeakKey
from dht.identity import IdentityKey, PublicKey, verify_strict
from node.protocols.revocation import Revocations

VERSION: Final = 1

_BODY: Final = struct.Struct(">B32s32sB32sQQ")
CERTIFICATE_BYTES: Final = _BODY.size + SIGNATURE_BYTES

LONGEST_CHAIN: Final = 4
"""Certificates: founder, a member who invites, whom it lets invite, and that one's guest. UNSOURCED: bounds what a
stranger makes us verify (65 µs each)."""

MAX_CHAIN: Final = LONGEST_CHAIN * CERTIFICATE_BYTES

_DOMAIN: Final = b"rookery/membership/1\x00"
"""Prefix of what is signed: it means nothing elsewhere, nor another's here."""

CLOCK_TOLERANCE: Final = 600.0
"""Seconds by which a certificate may lie in the future, or be over: clocks differ (as `DhtConfig.clock_tolerance`)."""

YEAR: Final = 365 * 86_400
"""Seconds a certificate lives unless told otherwise. UNSOURCED"""

_WHAT: Final = "membership certificate"


class Rights(enum.IntFlag):
    """What a member may do beside being one."""

    MEMBER = 0
    INVITE = 1
    """Make others members, and revoke them."""


class Fault(enum.Enum):
    """Why a chain makes nobody a member."""

    MALFORMED = "malformed"
    FOREIGN_NETWORK = "foreign-network"
    """It is of another network, or of one with the same name and another founder."""
    OTHER_MEMBER = "other-member"
    """It is somebody else's."""
    BROKEN_CHAIN = "broken-chain"
    """A certificate was not issued by the owner of the next, or the last not by the authority."""
    MAY_NOT_INVITE = "issuer-may-not-invite"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    BAD_SIGNATURE = "bad-signature"
    REVOKED = "revoked"
    """Its owner's membership was revoked, or an issuer's before it issued."""


class NoMember(RemoteError):
    """Raised when a chain makes its owner no member; `fault` says why."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Certificate:
    """One signed statement: `member` belongs to the network of `authority`."""

    authority: PublicKey
    member: PublicKey
    rights: Rights
    issuer: PublicKey
    issued: int
    """Unix seconds."""
    expires: int
    """Unix seconds."""
    signature: bytes = b""

    @property
    def body(self) -> bytes:
        """What is signed, without the domain."""
        keys = self.authority.raw, self.member.raw, int(self.rights), self.issuer.raw
        return _BODY.pack(VERSION, *keys, self.issued, self.expires)

    @property
    def raw(self) -> bytes:
        """The bytes that travel."""
        return self.body + self.signature


def issue(
    issuer: IdentityKey, authority: PublicKey, member: PublicKey, rights: Rights, now: float, *, lifetime: float = YEAR
) -> Certificate:
    """Make `member` a member, signed by `issuer`; the certificate alone says nothing of the issuer's own right."""
    said = Certificate(authority, member, rights, issuer.public, int(now), int(now + lifetime))
    return replace(said, signature=issuer.sign(_DOMAIN + said.body))


def chain_bytes(chain: Iterable[Certificate]) -> bytes:
    """A chain as it travels. Raises `LocalError` for one that nobody would take."""
    said = tuple(chain)
    if not 0 < len(said) <= LONGEST_CHAIN:
        raise LocalError(f"a chain has 1 to {LONGEST_CHAIN} certificates, not {len(said)}")
    return b"".join(certificate.raw for certificate in said)


def read_chain(raw: bytes) -> tuple[Certificate, ...]:
    """The certificates in these bytes, whether they hold or not. Raises `DecodeError`."""
    count, rest = divmod(len(raw), CERTIFICATE_BYTES)
    if rest or not 0 < count <= LONGEST_CHAIN:
        raise DecodeError(_WHAT, f"{len(raw)} bytes, expected {CERTIFICATE_BYTES} for each of 1 to {LONGEST_CHAIN}")
    return tuple(_read(raw[at : at + CERTIFICATE_BYTES]) for at in range(0, len(raw), CERTIFICATE_BYTES))


def _read(raw: bytes) -> Certificate:
    version, authority, member, rights, issuer, issued, expires = _BODY.unpack(raw[: _BODY.size])
    if version != VERSION:
        raise DecodeError(_WHAT, f"version {version}, known is {VERSION}")
    if rights > 1:
        raise DecodeError(_WHAT, f"rights {rights}, known are 0 and 1")
    try:
        keys = PublicKey(authority), PublicKey(member), PublicKey(issuer)
    except WeakKey as error:
        raise DecodeError(_WHAT, str(error)) from None
    return Certificate(keys[0], keys[1], Rights(rights), keys[2], issued, expires, raw[_BODY.size :])


def check_chain(
    raw: bytes, authority: PublicKey | None, member: PublicKey, revoked: Revocations, now: float
) -> tuple[Certificate, ...]:
    """The chain that makes `member` a member of the network of `authority` (None: of whichever it names).

    Raises `NoMember` with why it does not.
    """
    try:
        chain = read_chain(raw)
    except DecodeError as error:
        raise NoMember(Fault.MALFORMED, str(error)) from None
    authority = authority or chain[-1].authority
    if any(certificate.authority != authority for certificate in chain):
        raise NoMember(Fault.FOREIGN_NETWORK, "the certificate is of another network")
    if chain[0].member != member:
        raise NoMember(Fault.OTHER_MEMBER, f"the certificate is that of {chain[0].member.text}")
    issuers = [*(certificate.member for certificate in chain[1:]), authority]
    for certificate, issuer in zip(chain, issuers, strict=True):
        _check_one(certificate, issuer, now)
    for certificate in chain[1:]:
        if not certificate.rights & Rights.INVITE:
            raise NoMember(Fault.MAY_NOT_INVITE, f"{certificate.member.text} may not invite others")
    _check_revoked(chain, revoked)
    return chain


def _check_one(certificate: Certificate, issuer: PublicKey, now: float) -> None:
    if certificate.issuer != issuer:
        raise NoMember(Fault.BROKEN_CHAIN, f"the certificate of {certificate.member.text} has another issuer")
    if certificate.issued > now + CLOCK_TOLERANCE:
        ahead = certificate.issued - now
        raise NoMember(
            Fault.NOT_YET_VALID,
            f"the certificate of {certificate.member.text} begins in {ahead:.0f} s: one of the two clocks is wrong",
        )
    if certificate.expires < now - CLOCK_TOLERANCE:
        over = now - certificate.expires
        raise NoMember(Fault.EXPIRED, f"the certificate of {certificate.member.text} expired {over:.0f} s ago")
    if not verify_strict(issuer.raw, certificate.signature, _DOMAIN + certificate.body):
        raise NoMember(
            Fault.BAD_SIGNATURE, f"the certificate of {certificate.member.text} was not signed by its issuer"
        )


def _check_revoked(chain: tuple[Certificate, ...], revoked: Revocations) -> None:
    above = frozenset(certificate.issuer for certificate in chain)
    own, *issuers = chain
    if (at := revoked.since(own.member, above)) is not None and own.issued <= at:
        raise NoMember(Fault.REVOKED, f"the membership of {own.member.text} was revoked")
    for certificate, below in zip(issuers, chain, strict=False):
        # Whom it invited before that stays: they did nothing wrong.
        if (at := revoked.since(certificate.member, above)) is not None and below.issued > at:
            raise NoMember(Fault.REVOKED, f"{certificate.member.text} was revoked before it invited others")
