"""No bytes, text or picture makes the readers of invites do anything but answer or refuse."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from node.adapters.qr_reading import BadPicture, read_codes
from node.protocols.invite import make_invite, read_invite
from node.protocols.invite_faults import BadInvite
from node.protocols.invite_redeeming import Asked, Granted, InviterSide, JoinerSide, Refused
from node.protocols.invite_text import find_invite, to_code, to_link, to_text, to_uri
from tests.node.test_invite import FULL, INVITER, NATED, PRIVATE, PUBLIC, SMALL
from tests.node.test_invite_redeeming import JOINER

GOOD = [make_invite(INVITER, said).raw for said in (SMALL, NATED, PUBLIC, PRIVATE, FULL)]
FORMS = [form(raw) for raw in GOOD for form in (to_code, to_uri, to_text, lambda raw: to_link(raw, "https://e.org/j"))]


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """A good invite, with a few bytes changed, cut off or put in."""
    raw = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.integers(0, 2)):
            case 0:
                raw[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del raw[at : at + draw(st.integers(1, 40))]
            case _:
                raw[at:at] = draw(st.binary(max_size=40))
    return bytes(raw)


def read(raw: bytes) -> bool:
    try:
        found = read_invite(raw)
    except BadInvite:
        return False
    assert found.raw == raw
    return True


@given(st.binary(max_size=700))
def test_any_bytes_are_an_invite_or_refused(raw: bytes) -> None:
    assert not read(raw)


@given(nearly())
def test_only_what_was_signed_is_read(raw: bytes) -> None:
    assert read(raw) == (raw in GOOD)


@given(st.text(max_size=600))
def test_any_text_is_an_invite_or_refused(text: str) -> None:
    for pasted in (text, f"rookery:join/{text}", f"ROOKERY:JOIN/{text}", f"https://e.org/#{text}", f"1/1: {text}"):
        try:
            find_invite(pasted)
        except BadInvite:
            continue
        raise AssertionError(pasted)


@given(st.sampled_from(FORMS), st.integers(0, 600), st.text(max_size=3))
def test_a_slip_in_any_form_is_an_invite_unharmed_or_refused(form: str, at: int, slip: str) -> None:
    with contextlib.suppress(BadInvite):
        assert find_invite(form[:at] + slip + form[at:]).raw in GOOD


@given(st.lists(st.binary(max_size=200), max_size=6))
def test_no_bytes_break_either_side(pieces: list[bytes]) -> None:
    joiner = JoinerSide(read_invite(GOOD[1]), JOINER)
    inviter = InviterSide(INVITER.public, JOINER, bytes(32))
    for side in (joiner, inviter):
        for piece in pieces:
            side.receive_data(piece)
            event = side.next_event()
            assert event is None or isinstance(event, Refused | Granted | Asked)
            assert not isinstance(event, Granted)


@given(
    st.binary(max_size=300), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b""])
)
def test_any_file_is_a_picture_or_refused(data: bytes, start: bytes) -> None:
    with contextlib.suppress(BadPicture):
        assert read_codes(start + data) == []
