"""The redemption of an invite: only who has it gets in, once per answer, and nobody learns which invites there are."""

from dataclasses import replace

import pytest

from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import IdentityKey
from node.protocols.invite import Invite, make_invite
from node.protocols.invite_faults import InviteFault
from node.protocols.invite_ports import MAX_CERTIFICATE
from node.protocols.invite_redeeming import (
    FAULTS,
    Asked,
    Granted,
    InviterSide,
    JoinerSide,
    Refusal,
    Refused,
    proof_of,
)
from tests.node.test_invite import HOMES, INVITER, NATED, NOW

JOINER = IdentityKey.from_seed(b"j" * 32).public
OTHER = IdentityKey.from_seed(b"o" * 32).public
INVITE = make_invite(INVITER, NATED)
CERTIFICATE = b"member " * 500


def sides(invite: Invite = INVITE, nonce: bytes = b"n" * 32) -> tuple[JoinerSide, InviterSide]:
    return JoinerSide(invite, JOINER), InviterSide(INVITER.public, JOINER, nonce)


def asked(joiner: JoinerSide, inviter: InviterSide) -> Asked:
    """Carry bytes until the inviter has to decide."""
    inviter.receive_data(joiner.data_to_send())
    joiner.receive_data(inviter.data_to_send())
    inviter.receive_data(joiner.data_to_send())
    event = inviter.next_event()
    assert isinstance(event, Asked)
    return event


def test_who_has_the_invite_gets_certificate_contacts_and_the_time() -> None:
    joiner, inviter = sides()
    assert asked(joiner, inviter).token == INVITE.token
    assert inviter.proves(INVITE.secret)
    inviter.grant(CERTIFICATE, HOMES, NOW + 0.7)
    joiner.receive_data(inviter.data_to_send())
    assert joiner.next_event() == Granted(CERTIFICATE, HOMES, NOW)
    assert joiner.finished and inviter.finished


def test_it_works_byte_by_byte() -> None:
    joiner, inviter = sides()
    for _ in range(3):
        for sender, receiver in ((joiner, inviter), (inviter, joiner)):
            for byte in sender.data_to_send():
                receiver.receive_data(bytes([byte]))
        if isinstance(inviter.next_event(), Asked):
            inviter.grant(b"", (), NOW)
    assert joiner.next_event() == Granted(b"", (), NOW)


def test_who_has_not_the_whole_invite_proves_nothing() -> None:
    joiner, inviter = sides(make_invite(INVITER, replace(NATED, uses=2)))
    asked(joiner, inviter)
    assert not inviter.proves(INVITE.secret)


def test_a_proof_is_worth_nothing_for_another_joiner_inviter_token_or_nonce() -> None:
    secret, token, nonce = INVITE.secret, INVITE.token, b"n" * 32
    proofs = {
        proof_of(secret, INVITER.public, JOINER, token, nonce),
        proof_of(secret, INVITER.public, OTHER, token, nonce),
        proof_of(secret, OTHER, JOINER, token, nonce),
        proof_of(secret, INVITER.public, JOINER, b"\0" * 4, nonce),
        proof_of(secret, INVITER.public, JOINER, token, b"m" * 32),
    }
    assert len(proofs) == 5


def test_what_an_eavesdropper_has_recorded_does_not_get_him_in() -> None:
    joiner, inviter = sides()
    ask = joiner.data_to_send()
    inviter.receive_data(ask)
    joiner.receive_data(inviter.data_to_send())
    proof = joiner.data_to_send()
    for thief, nonce in ((OTHER, b"n" * 32), (JOINER, b"m" * 32)):
        again = InviterSide(INVITER.public, thief, nonce)
        again.receive_data(ask + proof)
        assert isinstance(again.next_event(), Asked)
        assert not again.proves(INVITE.secret)


def test_an_invite_that_does_not_exist_is_challenged_like_any_other() -> None:
    joiner, inviter = sides(make_invite(INVITER, replace(NATED, token=b"none")))
    inviter.receive_data(joiner.data_to_send())
    assert len(inviter.data_to_send()) == len(challenge())


def challenge() -> bytes:
    joiner, inviter = sides()
    inviter.receive_data(joiner.data_to_send())
    return inviter.data_to_send()


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_arrives_with_its_words(refusal: Refusal) -> None:
    joiner, inviter = sides()
    asked(joiner, inviter)
    inviter.refuse(refusal, NOW, "x\x1b[31m" + "ü" * 300)
    joiner.receive_data(inviter.data_to_send())
    event = joiner.next_event()
    assert isinstance(event, Refused)
    assert (event.refusal, event.clock) == (refusal, NOW)
    assert "\x1b" not in event.words and event.words.startswith("x") and len(event.words.encode()) <= 210
    assert FAULTS[refusal] in InviteFault


def test_a_refusal_of_a_later_release_is_still_one() -> None:
    joiner, _ = sides()
    joiner.receive_data(bytes([0, 11, 1, 5, 99]) + bytes(8))
    assert joiner.next_event() == Refused(Refusal.UNSPECIFIED, 0, "")


@pytest.mark.parametrize(
    "said",
    [
        b"\0\1\1",  # too short for a kind
        b"\xff\xff",  # too long
        b"\0\2\2\1",  # another version
        b"\0\2\1\x63",  # no such kind
        b"\0\6\1\1abcd",  # ASK, which a joiner does not take
        b"\0\2\1\4",  # GRANTED before a proof
        b"\0\3\1\2x",  # CHALLENGE of one byte
        b"\0\2\1\5",  # REFUSED with no reason
    ],
)
def test_a_joiner_ends_at_what_is_not_due(said: bytes) -> None:
    joiner, _ = sides()
    joiner.receive_data(said)
    event = joiner.next_event()
    assert isinstance(event, Refused)
    assert event.refusal is Refusal.BAD_REQUEST
    assert joiner.finished


@pytest.mark.parametrize("said", [b"\0\3\1\1x", b"\0\2\1\3", b"\0\2\1\5", b"\0\6\1\1abcd" * 2])
def test_an_inviter_ends_at_what_is_not_due(said: bytes) -> None:
    _, inviter = sides()
    inviter.receive_data(said)
    event = inviter.next_event()
    assert isinstance(event, Refused)
    assert inviter.finished


def test_granted_bytes_that_lie_about_lengths_end_it() -> None:
    for fields in (bytes(9), bytes(8) + b"\xff\xff", bytes(10) + b"\0\5" + b"abc", bytes(10) + b"\0\3" + b"abc"):
        joiner, inviter = sides()
        asked(joiner, inviter)
        joiner.receive_data((len(fields) + 2).to_bytes(2, "big") + b"\1\4" + fields)
        assert isinstance(joiner.next_event(), Refused)


def test_what_does_not_fit_is_not_sent() -> None:
    joiner, inviter = sides()
    asked(joiner, inviter)
    with pytest.raises(LocalError):
        inviter.grant(bytes(MAX_CERTIFICATE + 1), (), NOW)
    many = tuple(Contact(bytes([n]) * 32, ("198.51.100.1", n)) for n in range(1, 60))
    inviter.grant(bytes(MAX_CERTIFICATE), many, NOW)
    joiner.receive_data(inviter.data_to_send())
    event = joiner.next_event()
    assert isinstance(event, Granted)
    assert event.contacts == many[: len(event.contacts)]
    assert len(event.contacts) == 10
    with pytest.raises(LocalError):
        InviterSide(INVITER.public, JOINER, b"short")
