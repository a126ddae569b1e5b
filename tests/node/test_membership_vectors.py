"""The frozen bytes of certificates, revocations and hellos: what is made, and what is read of them."""

import json
from pathlib import Path

from node.protocols.admission import read_hello
from node.protocols.membership import check_chain, read_chain
from node.protocols.renewal import read_message, read_renewal
from node.protocols.revocation import Revocations, read_revocation
from tests.vectors.make_membership import AUTHORITY, FOUNDER, GUEST, NOW, vectors

FROZEN = json.loads((Path(__file__).parents[1] / "vectors" / "membership.json").read_text("utf-8"))


def test_the_same_code_makes_the_same_bytes() -> None:
    assert vectors() == FROZEN


def test_the_frozen_chain_makes_a_member() -> None:
    raw = bytes.fromhex(FROZEN["chain"])
    own, top = check_chain(raw, AUTHORITY.public, GUEST.public, Revocations(), NOW + 100)
    assert (own.issuer, top.member) == (FOUNDER.public, FOUNDER.public)
    assert read_chain(raw) == (own, top)


def test_the_frozen_revocation_ends_it() -> None:
    said = read_revocation(bytes.fromhex(FROZEN["revocation"]))
    hello = read_hello(bytes.fromhex(FROZEN["hello"])[4:])
    assert (said.member, said.since) == (GUEST.public, NOW + 120)
    assert (hello.chain.hex(), hello.revocations) == (FROZEN["chain"], (said,))


def test_the_frozen_renewal_is_that_of_the_authority() -> None:
    said = read_renewal(bytes.fromhex(FROZEN["renewal"]))
    assert (said.authority, said.epoch, said.since, said.key) == (AUTHORITY.public, 1, NOW + 86_400, bytes(range(32)))
    message = read_message(bytes.fromhex(FROZEN["renewal message"]))
    assert message == (said, (read_revocation(bytes.fromhex(FROZEN["revocation"])),))
    assert said.key.hex() not in repr(said)


def test_the_frozen_refusal_says_why() -> None:
    assert read_hello(bytes.fromhex(FROZEN["refusal"])[4:]).reason == "revoked: the membership was revoked"
