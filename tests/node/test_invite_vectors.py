"""Invites are as they were frozen, for they are printed on paper; and docs/invites.md says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dht.identity import PublicKey
from node.adapters.invite_ledger import KEPT_AFTER
from node.node_inviting import AT_ONCE, TRIES, TRIES_WITHIN
from node.protocols.invite import MAX_BYTES, MAX_LIFETIME, MAX_READ, Flag, read_invite
from node.protocols.invite_faults import BadInvite, InviteFault
from node.protocols.invite_ports import MAX_CERTIFICATE
from node.protocols.invite_redeeming import MAX_WORDS, STREAM_NAME, Granted, JoinerSide, Kind, Refusal, Refused
from node.protocols.invite_text import find_invite
from tests.node.test_invite import NOW
from tests.vectors import make_invites

FROZEN: Any = json.loads(make_invites.FILE.read_text(encoding="utf-8"))
PAGE = (Path(__file__).parents[2] / "docs" / "invites.md").read_text(encoding="utf-8")


def test_the_same_code_makes_the_same_bytes() -> None:
    assert make_invites.build() == FROZEN


@pytest.mark.parametrize("vector", FROZEN["invites"], ids=lambda vector: vector["what"])
def test_every_form_of_a_frozen_invite_is_read(vector: Any) -> None:
    invite = read_invite(bytes.fromhex(vector["raw"]))
    assert (invite.network, invite.id, invite.uses) == (vector["network"], vector["id"], vector["uses"])
    assert invite.lan_only is vector["lan_only"]
    assert [home.text for home in invite.homes] == vector["homes"]
    assert [list(address) for address in invite.addresses] == vector["addresses"]
    assert invite.secret.hex() == vector["secret"]
    for form in (vector["code"], vector["uri"], vector["link"], "\n".join(vector["lines"])):
        assert find_invite(form) == invite


@pytest.mark.parametrize("vector", FROZEN["refused"], ids=lambda vector: vector["what"])
def test_what_was_refused_is_refused(vector: Any) -> None:
    with pytest.raises(BadInvite) as caught:
        read_invite(bytes.fromhex(vector["raw"]))
    assert caught.value.fault.value == vector["fault"]


@pytest.mark.parametrize("vector", FROZEN["redemptions"], ids=lambda vector: str(vector["reason"]))
def test_a_joiner_says_and_hears_what_was_frozen(vector: Any) -> None:
    (private,) = (one for one in FROZEN["invites"] if one["what"] == "private")
    side = JoinerSide(read_invite(bytes.fromhex(private["raw"])), PublicKey(bytes.fromhex(FROZEN["joiner"])))
    assert side.data_to_send().hex() == vector["ask"]
    side.receive_data(bytes.fromhex(vector["challenge"]))
    assert side.data_to_send().hex() == vector["proof"]
    side.receive_data(bytes.fromhex(vector.get("granted") or vector["refused"]))
    event = side.next_event()
    if vector["reason"] is None:
        assert isinstance(event, Granted)
        assert event.certificate == b"certificate"
    else:
        assert event == Refused(Refusal[vector["reason"]], NOW, "why")


def test_the_page_has_every_message_refusal_and_fault_with_its_number() -> None:
    for member in (*Kind, *Refusal):
        assert re.search(rf"^\| {member.value} \| {member.name} \|", PAGE, re.MULTILINE), member
    for fault in InviteFault:
        assert f"`{fault.value}`" in PAGE, fault


def test_the_page_has_the_limits() -> None:
    for words in (
        STREAM_NAME,
        f"{MAX_BYTES} bytes",
        f"{MAX_LIFETIME // 86400} days",
        f"{MAX_CERTIFICATE:,} at most",
        f"{MAX_WORDS} bytes of UTF-8",
        f"more than {TRIES} attempts of a peer in a minute, or {AT_ONCE} at once",
        "1 a network's name follows (else it is `main`, and open); 2 its key; 4 the inviter's node key; 8 its cert",
        "16 nodes of this private network stay on the local network",
    ):
        assert words in PAGE, words
    assert ([*Flag], TRIES_WITHIN, KEPT_AFTER) == ([1, 2, 4, 8, 16], 60.0, 30 * 86400.0)
    assert MAX_READ == 2 + 32 + 4 + 4 + 4 + 2 + 1 + 64 + 32 + 1 + 64 + 3 * (6 + 18 + 38 + 50) + 64


def test_the_page_has_the_sizes() -> None:
    rows = re.findall(r"^\| [^|]+ \| (\d+) \| (\d+) \| (\d+) \| (\d+)-L \|", PAGE, re.MULTILINE)
    told = {int(row[0]): row for row in rows}
    for vector in FROZEN["invites"]:
        size = len(bytes.fromhex(vector["raw"]))
        if vector["what"] != "largest":
            assert told[size][1:3] == (str(len(vector["uri"])), str(len(vector["code"]))), vector["what"]
