"""Which revocations are kept, and that nobody can fill the place of others."""

import pytest

from dht.errors import DecodeError
from dht.identity import IdentityKey, PublicKey
from node.protocols.revocation import (
    CLOCK_TOLERANCE,
    MAX_ISSUERS,
    MAX_OF_MEMBER,
    REVOCATION_BYTES,
    Revocation,
    Revocations,
    read_revocation,
    revoke,
)

NOW = 1_800_000_000.0
AUTHORITY, MEMBER, VICTIM, STRANGER, OTHER = (IdentityKey.from_seed(bytes([n]) * 32) for n in range(1, 6))


def key(number: int) -> PublicKey:
    return IdentityKey.from_seed(number.to_bytes(32, "big")).public


def unsigned(issuer: IdentityKey, member: PublicKey, since: float = NOW) -> Revocation:
    """As if it had been verified: these tests are about what is kept."""
    return Revocation(AUTHORITY.public, member, int(since), issuer.public, bytes(64))


def test_the_bytes_hold_and_nothing_else_does() -> None:
    said = revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW)
    assert len(said.raw) == REVOCATION_BYTES
    assert read_revocation(said.raw) == said
    for broken in (
        b"",
        said.raw[:-1],
        said.raw + b"x",
        b"\2" + said.raw[1:],
        said.raw[:-1] + bytes([said.raw[-1] ^ 1]),
    ):
        with pytest.raises(DecodeError):
            read_revocation(broken)


def test_strangers_statements_are_not_kept_and_fill_nothing() -> None:
    revoked = Revocations(AUTHORITY.public)
    for number in range(1, 300):
        assert not revoked.add(unsigned(STRANGER, key(number)), (), NOW)
    assert len(revoked) == 0


def test_a_member_that_revokes_without_end_leaves_room_for_the_founder() -> None:
    revoked = Revocations(AUTHORITY.public)
    kept = sum(revoked.add(unsigned(MEMBER, key(number)), {MEMBER.public}, NOW) for number in range(1, 400))
    assert kept == MAX_OF_MEMBER
    assert revoked.add(revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW), {MEMBER.public}, NOW)
    assert revoked.since(VICTIM.public, frozenset({AUTHORITY.public})) == NOW
    assert next(iter(revoked)).issuer == AUTHORITY.public  # told first, too


def test_many_members_that_do_leave_room_for_the_founder() -> None:
    revoked = Revocations(AUTHORITY.public)
    issuers = [IdentityKey.from_seed(number.to_bytes(32, "big")) for number in range(1, MAX_ISSUERS + 20)]
    inviters = {issuer.public for issuer in issuers}
    kept = sum(revoked.add(unsigned(issuer, VICTIM.public), inviters, NOW) for issuer in issuers)
    assert MAX_ISSUERS <= kept <= MAX_ISSUERS + 1
    assert revoked.add(revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW), inviters, NOW)


def test_what_lies_in_the_future_or_elsewhere_is_not_taken() -> None:
    revoked = Revocations(AUTHORITY.public)
    assert not revoked.add(revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW + CLOCK_TOLERANCE + 1), (), NOW)
    assert not revoked.add(revoke(AUTHORITY, OTHER.public, VICTIM.public, NOW), (), NOW)
    assert revoked.add(revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW + CLOCK_TOLERANCE), (), NOW)


def test_the_newest_of_an_issuer_counts_and_the_same_again_is_no_news() -> None:
    revoked = Revocations(AUTHORITY.public)
    said = revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW)
    assert revoked.add(said, (), NOW)
    assert not revoked.add(said, (), NOW)
    assert not revoked.add(revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW - 5), (), NOW)
    assert revoked.add(revoke(AUTHORITY, AUTHORITY.public, VICTIM.public, NOW + 5), (), NOW)
    assert revoked.since(VICTIM.public, frozenset({AUTHORITY.public, MEMBER.public})) == NOW + 5
    assert revoked.since(VICTIM.public, frozenset({MEMBER.public})) is None
    assert [*Revocations(AUTHORITY.public, revoked)] == [*revoked]
