"""No bytes make the readers of certificates, revocations and hellos do anything but answer or refuse."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from dht.errors import DecodeError
from dht.identity import IdentityKey
from node.protocols.admission import hello_bytes, hello_length, read_hello, read_revocations, refusal_bytes
from node.protocols.membership import NoMember, Rights, chain_bytes, check_chain, issue, read_chain
from node.protocols.renewal import message_bytes, read_message, renew
from node.protocols.revocation import Revocations, read_revocation, revoke

NOW = 1_800_000_000.0
AUTHORITY, FOUNDER, GUEST = (IdentityKey.from_seed(bytes([n]) * 32) for n in range(1, 4))
CHAIN = chain_bytes(
    [
        issue(FOUNDER, AUTHORITY.public, GUEST.public, Rights.MEMBER, NOW),
        issue(AUTHORITY, AUTHORITY.public, FOUNDER.public, Rights.INVITE, NOW),
    ]
)
REVOCATION = revoke(AUTHORITY, AUTHORITY.public, FOUNDER.public, NOW)
RENEWAL = renew(AUTHORITY, 1, NOW, bytes(32))
MESSAGE = message_bytes(RENEWAL, [REVOCATION])
HELLO = hello_bytes(CHAIN, [REVOCATION])[4:]


def nearly(raw: bytes) -> st.SearchStrategy[bytes]:
    """`raw` with one byte changed, put in or cut off."""

    def changed(at: int, byte: int, how: int) -> bytes:
        return (raw[:at] + bytes([byte]) + raw[at + 1 :], raw[:at] + bytes([byte]) + raw[at:], raw[:at])[how]

    return st.builds(changed, st.integers(0, len(raw)), st.integers(0, 255), st.integers(0, 2))


@given(st.binary(max_size=800) | nearly(CHAIN))
def test_chains(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert chain_bytes(read_chain(raw)) == raw
    try:
        check_chain(raw, AUTHORITY.public, GUEST.public, Revocations(), NOW)
    except NoMember:
        assert raw != CHAIN
    else:
        assert raw == CHAIN


@given(st.binary(max_size=400) | nearly(REVOCATION.raw))
def test_revocations(raw: bytes) -> None:
    try:
        assert read_revocation(raw) == REVOCATION
    except DecodeError:
        assert raw != REVOCATION.raw
    with contextlib.suppress(DecodeError):
        assert set(read_revocations(raw)) <= {REVOCATION}


@given(st.binary(max_size=400) | nearly(MESSAGE))
def test_renewals(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        said, revocations = read_message(raw)
        assert said == RENEWAL and set(revocations) <= {REVOCATION}


@given(st.binary(min_size=2, max_size=1200) | nearly(HELLO).filter(lambda raw: len(raw) >= 2))
def test_hellos(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        said = read_hello(raw)
        assert said.reason.isprintable()
        assert not (said.chain and said.reason)


@given(st.binary(min_size=4, max_size=4))
def test_lengths(head: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert 2 <= hello_length(head) <= 1 << 16


@given(st.text(max_size=400))
def test_refusals_are_short_and_printable(reason: str) -> None:
    raw = refusal_bytes(reason)
    assert hello_length(raw[:4]) == len(raw) - 4
    assert read_hello(raw[4:]).reason.isprintable()
