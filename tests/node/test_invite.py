"""An invite says what it was made of, fits a QR code, and is refused with a reason when it is anything else."""

from dataclasses import replace
from typing import Any

import pytest

from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import IdentityKey, NodeKey
from node.protocols.invite import (
    CLOCK_TOLERANCE,
    MAX_BYTES,
    MAX_LIFETIME,
    Invite,
    make_invite,
    read_invite,
)
from node.protocols.invite_faults import BadInvite, InviteFault

NOW = 1_800_000_000
DAY = 86400
INVITER = IdentityKey.from_seed(bytes(range(32)))
NODE = NodeKey.from_secret(bytes(range(64, 96)))
HOMES = tuple(Contact(bytes([n]) * 32, (f"198.51.100.{n}", 7700 + n)) for n in (1, 2, 3))
SMALL = Invite(inviter=INVITER.public, token=b"\1\2\3\4", issued=NOW, expires=NOW + DAY)
NATED = replace(SMALL, homes=HOMES)
PUBLIC = replace(SMALL, node_key=NODE.public, fingerprint=b"\x0f" * 32, addresses=(("203.0.113.9", 7700),))
PRIVATE = replace(NATED, network="allotment", key=b"\xaa" * 32)
NEAR = tuple(Contact(bytes([n]) * 32, (f"192.168.1.{n}", 7700 + n)) for n in (1, 2, 3))
LOCAL = replace(PRIVATE, lan_only=True, homes=NEAR)
FULL = replace(
    PRIVATE,
    uses=300,
    node_key=NODE.public,
    fingerprint=b"\x0f" * 32,
    addresses=(("192.0.2.1", 1), ("10.0.0.1", 2), ("2001:db8::1", 3)),
    homes=(*HOMES, Contact(b"\x04" * 32, ("2001:db8::4", 4))),
)


def fault(raw: bytes) -> InviteFault:
    with pytest.raises(BadInvite) as caught:
        read_invite(raw)
    return caught.value.fault


@pytest.mark.parametrize("said", [SMALL, NATED, PUBLIC, PRIVATE, LOCAL, replace(PRIVATE, network="main")])
def test_what_was_said_is_read(said: Invite) -> None:
    made = make_invite(INVITER, said)
    assert read_invite(made.raw) == made
    assert replace(made, raw=b"") == said


def test_sizes_are_those_the_documentation_tells() -> None:
    sizes = {
        name: len(make_invite(INVITER, one).raw)
        for name, one in {"small": SMALL, "nated": NATED, "public": PUBLIC, "private": PRIVATE}.items()
    }
    assert sizes == {"small": 113, "nated": 227, "public": 183, "private": 269}


def test_an_invite_that_gets_too_long_keeps_what_reaches_the_inviter() -> None:
    made = make_invite(INVITER, FULL)
    assert len(made.raw) <= MAX_BYTES
    assert made.homes and made.addresses and made.fingerprint
    assert made.homes == HOMES[: len(made.homes)]
    assert read_invite(made.raw) == made


def test_the_longest_name_leaves_room_for_a_way() -> None:
    made = make_invite(INVITER, replace(FULL, network="x" * 64))
    assert len(made.raw) <= MAX_BYTES
    assert made.homes or made.addresses


def test_its_id_is_short_and_its_secret_is_all_of_it() -> None:
    made = make_invite(INVITER, NATED)
    other = make_invite(INVITER, replace(NATED, token=b"\1\2\3\5"))
    assert (len(made.id), made.id != other.id) == (7, True)
    assert len(made.secret) == 32
    assert made.secret != other.secret


def test_any_bit_that_is_altered_is_noticed() -> None:
    raw = make_invite(INVITER, PRIVATE).raw
    for position in range(len(raw)):
        broken = bytearray(raw)
        broken[position] ^= 1
        assert fault(bytes(broken)) in {InviteFault.TAMPERED, InviteFault.NOT_AN_INVITE, InviteFault.NEWER}


@pytest.mark.parametrize("cut", [0, 1, 50, 112, 113, 200, 268])
def test_a_part_is_no_invite(cut: int) -> None:
    assert fault(make_invite(INVITER, PRIVATE).raw[:cut]) in {InviteFault.NOT_AN_INVITE, InviteFault.TAMPERED}


def test_a_later_format_is_named() -> None:
    raw = make_invite(INVITER, SMALL).raw
    assert fault(bytes([2]) + raw[1:]) is InviteFault.NEWER
    assert fault(raw[:1] + bytes([0x20]) + raw[2:]) is InviteFault.NEWER


def test_an_inviter_whose_key_is_weak_is_refused() -> None:
    raw = make_invite(INVITER, SMALL).raw
    assert fault(raw[:2] + bytes(32) + raw[34:]) is InviteFault.TAMPERED


@pytest.mark.parametrize(
    "change",
    [
        {"token": b"123"},
        {"uses": 0},
        {"uses": 70_000},
        {"expires": NOW},
        {"expires": NOW + MAX_LIFETIME + 1},
        {"network": "with space"},
        {"network": ""},
        {"key": b"short"},
        {"lan_only": True},
        {"node_key": b"\xff" * 32},
        {"node_key": NODE.public},
        {"fingerprint": b"1" * 31},
    ],
)
def test_what_no_invite_may_say_is_not_signed(change: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        make_invite(INVITER, replace(SMALL, **change))


@pytest.mark.parametrize(
    ("now", "refused"),
    [
        (NOW, None),
        (NOW - CLOCK_TOLERANCE, None),
        (NOW - CLOCK_TOLERANCE - 1, InviteFault.NOT_YET),
        (NOW + DAY + CLOCK_TOLERANCE, None),
        (NOW + DAY + CLOCK_TOLERANCE + 1, InviteFault.EXPIRED),
    ],
)
def test_clocks_may_differ_by_two_hours(now: float, refused: InviteFault | None) -> None:
    made = make_invite(INVITER, SMALL)
    if refused is None:
        made.check_time(now)
        return
    with pytest.raises(BadInvite) as caught:
        made.check_time(now)
    assert caught.value.fault is refused
    assert "clock" in str(caught.value)
