"""Who is a member, by chains of certificates: what holds, and why something does not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey, PublicKey
from node.protocols.membership import (
    CERTIFICATE_BYTES,
    CLOCK_TOLERANCE,
    LONGEST_CHAIN,
    YEAR,
    Certificate,
    Fault,
    NoMember,
    Rights,
    chain_bytes,
    check_chain,
    issue,
    read_chain,
)
from node.protocols.revocation import Revocations, revoke

NOW = 1_800_000_000.0
AUTHORITY, FOUNDER, FRIEND, GUEST, LATE, STRANGER = (IdentityKey.from_seed(bytes([n]) * 32) for n in range(1, 7))
OTHER = IdentityKey.from_seed(b"o" * 32)


def chain(*keys: IdentityKey, at: float = NOW, inviting: Rights = Rights.INVITE) -> tuple[Certificate, ...]:
    """Each key made a member by the one before it, the first by the authority; the last one's comes first."""
    made: list[Certificate] = []
    for issuer, member in zip((AUTHORITY, *keys), keys, strict=False):
        rights = Rights.MEMBER if member is keys[-1] else inviting
        made.insert(0, issue(issuer, AUTHORITY.public, member.public, rights, at))
    return tuple(made)


def checked(
    said: Sequence[Certificate],
    member: IdentityKey,
    *,
    now: float = NOW,
    revoked: Revocations | None = None,
    authority: PublicKey | None = AUTHORITY.public,
) -> tuple[Certificate, ...]:
    return check_chain(chain_bytes(said), authority, member.public, revoked or Revocations(), now)


def fault(said: Sequence[Certificate], member: IdentityKey, **how: object) -> Fault:
    with pytest.raises(NoMember) as caught:
        checked(said, member, **how)  # type: ignore[arg-type]
    assert caught.value.detail
    return caught.value.fault


@pytest.mark.parametrize(
    "keys", [(FOUNDER,), (FOUNDER, FRIEND), (FOUNDER, FRIEND, GUEST), (FOUNDER, FRIEND, GUEST, LATE)]
)
def test_a_chain_up_to_the_authority_makes_a_member(keys: tuple[IdentityKey, ...]) -> None:
    said = chain(*keys)
    assert checked(said, keys[-1]) == said
    assert read_chain(chain_bytes(said)) == said
    assert len(chain_bytes(said)) == len(keys) * CERTIFICATE_BYTES


def test_a_newcomer_takes_the_authority_that_the_chain_names() -> None:
    assert checked(chain(FOUNDER, FRIEND), FRIEND, authority=None)[0].authority == AUTHORITY.public


def test_one_certificate_too_many_is_no_chain() -> None:
    said = chain(FOUNDER, FRIEND, GUEST, LATE, STRANGER)
    with pytest.raises(LocalError, match="1 to 4"):
        chain_bytes(said)
    raw = b"".join(certificate.raw for certificate in said)
    assert len(said) == LONGEST_CHAIN + 1
    with pytest.raises(DecodeError):
        read_chain(raw)


def test_it_is_of_this_member_and_this_network() -> None:
    said = chain(FOUNDER, FRIEND)
    assert fault(said, GUEST) is Fault.OTHER_MEMBER
    assert fault(said, FRIEND, authority=OTHER.public) is Fault.FOREIGN_NETWORK


def test_who_may_not_invite_makes_no_members() -> None:
    assert fault(chain(FOUNDER, FRIEND, GUEST, inviting=Rights.MEMBER), GUEST) is Fault.MAY_NOT_INVITE


def test_a_hole_in_the_chain() -> None:
    own, _, top = chain(FOUNDER, FRIEND, GUEST)
    assert fault((own, top), GUEST) is Fault.BROKEN_CHAIN
    assert fault((own,), GUEST) is Fault.BROKEN_CHAIN
    # Who signs for itself has no issuer above.
    assert (
        fault((issue(STRANGER, AUTHORITY.public, STRANGER.public, Rights.INVITE, NOW),), STRANGER) is Fault.BROKEN_CHAIN
    )


def test_a_borrowed_signature_and_stretched_rights() -> None:
    own, top = chain(FOUNDER, FRIEND)
    for forged in (
        replace(own, rights=Rights.INVITE),
        replace(own, expires=own.expires + 1),
        replace(own, signature=top.signature),
        replace(own, signature=bytes(64)),
    ):
        assert fault((forged, top), FRIEND) is Fault.BAD_SIGNATURE


def test_time_and_wrong_clocks() -> None:
    said = chain(FOUNDER, FRIEND)
    assert checked(said, FRIEND, now=NOW + YEAR + CLOCK_TOLERANCE)
    assert fault(said, FRIEND, now=NOW + YEAR + CLOCK_TOLERANCE + 1) is Fault.EXPIRED
    assert checked(said, FRIEND, now=NOW - CLOCK_TOLERANCE)
    with pytest.raises(NoMember, match="one of the two clocks is wrong") as caught:
        checked(said, FRIEND, now=NOW - CLOCK_TOLERANCE - 1)
    assert caught.value.fault is Fault.NOT_YET_VALID


@pytest.mark.parametrize(
    "raw", [b"", b"x", bytes(CERTIFICATE_BYTES - 1), bytes(CERTIFICATE_BYTES), bytes(5 * CERTIFICATE_BYTES)]
)
def test_bytes_that_are_no_chain(raw: bytes) -> None:
    with pytest.raises(NoMember) as caught:
        check_chain(raw, AUTHORITY.public, FRIEND.public, Revocations(), NOW)
    assert caught.value.fault is Fault.MALFORMED


def test_revoked_and_invited_again() -> None:
    revoked = Revocations(AUTHORITY.public)
    assert revoked.add(revoke(AUTHORITY, AUTHORITY.public, FRIEND.public, NOW + 10), (), NOW + 10)
    assert fault(chain(FOUNDER, FRIEND), FRIEND, revoked=revoked) is Fault.REVOKED
    assert checked(chain(FOUNDER, FRIEND, at=NOW + 11), FRIEND, now=NOW + 11, revoked=revoked)


def test_whom_it_invited_before_stays_and_after_does_not() -> None:
    revoked = Revocations(AUTHORITY.public)
    revoked.add(revoke(AUTHORITY, AUTHORITY.public, FRIEND.public, NOW + 10), (), NOW + 10)
    old = chain(FOUNDER, FRIEND, GUEST)
    assert checked(old, GUEST, revoked=revoked)
    later = issue(FRIEND, AUTHORITY.public, LATE.public, Rights.MEMBER, NOW + 20)
    assert fault((later, *old[1:]), LATE, now=NOW + 20, revoked=revoked) is Fault.REVOKED


def test_its_inviter_may_revoke_and_a_member_elsewhere_may_not() -> None:
    inviters = {FOUNDER.public, FRIEND.public, STRANGER.public}
    said = chain(FOUNDER, FRIEND, GUEST)
    for issuer, ends in ((FOUNDER, True), (FRIEND, True), (STRANGER, False)):
        revoked = Revocations(AUTHORITY.public)
        assert revoked.add(revoke(issuer, AUTHORITY.public, GUEST.public, NOW), inviters, NOW)
        if ends:
            assert fault(said, GUEST, revoked=revoked) is Fault.REVOKED
        else:
            assert checked(said, GUEST, revoked=revoked)
