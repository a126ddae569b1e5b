"""An invite is found in whatever form it was pasted, and what is wrong with one is said."""

import string

import pytest

from node.protocols.invite import make_invite
from node.protocols.invite_faults import BadInvite
from node.protocols.invite_text import find_invite, to_code, to_link, to_text, to_uri
from tests.node.test_invite import INVITER, NATED, PRIVATE, SMALL

RAW = make_invite(INVITER, PRIVATE).raw
PAGE = "https://rookery.example/join"
TEXT = to_text(RAW)
WRAPPED = "\n".join(to_uri(RAW)[at : at + 60] for at in range(0, len(to_uri(RAW)), 60))


@pytest.mark.parametrize("said", [SMALL, NATED, PRIVATE])
def test_every_form_is_read_again(said) -> None:
    raw = make_invite(INVITER, said).raw
    for form in (to_code(raw), to_uri(raw), to_link(raw, PAGE), to_text(raw)):
        assert find_invite(form).raw == raw


def test_a_code_holds_what_a_code_holds_cheaply_and_is_a_uri() -> None:
    code = to_code(RAW)
    assert code.startswith("ROOKERY:JOIN/")
    assert set(code) <= set(string.ascii_uppercase + string.digits + "$*+-./:")


@pytest.mark.parametrize(
    "pasted",
    [
        f"Come in!\n\n{to_uri(RAW)}\n\nSent from a tin can",
        f"({to_link(RAW, PAGE)})",
        f"<{to_uri(RAW)}>",
        to_code(RAW).replace("ROOKERY", "rookery"),
        WRAPPED,
        to_link(RAW, PAGE).rpartition("#")[2],
        f"An invite to allotment:\n{TEXT}\nSee you",
        TEXT.upper(),
        "\n".join(reversed(TEXT.splitlines())),
        "\n".join(f"> {line}" for line in TEXT.splitlines()),
        TEXT.replace("1", "l").replace("o", "0"),
    ],
)
def test_it_is_found_among_other_things(pasted: str) -> None:
    if "1/" not in pasted and "l/" in pasted:  # The numbers of the lines are not part of the alphabet.
        pasted = "\n".join(
            old.partition(":")[0] + new[len(old.partition(":")[0]) :]
            for old, new in zip(TEXT.splitlines(), pasted.splitlines(), strict=True)
        )
    assert find_invite(pasted).raw == RAW


def test_lines_fit_a_terminal() -> None:
    assert max(len(line) for line in TEXT.splitlines()) <= 60


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("", "neither"),
        ("hello there", "neither"),
        (INVITER.public.text, "rookery connect"),
        (f"rookery:{INVITER.public.text}", "rookery connect"),
        ("rookery:join/", "characters"),
        ("rookery:join/äöü", "characters"),
        ("ROOKERY:JOIN/" + "Z" * 2000, "characters"),
        ("https://rookery.example/join#A", "characters"),
        ("\n".join(TEXT.splitlines()[:-1]), "line 11 of 11"),
        ("1/2: ybndr yb\n1/3: ybndr yb", "agree"),
    ],
)
def test_what_is_no_invite_is_told_why(pasted: str, said: str) -> None:
    with pytest.raises(BadInvite) as caught:
        find_invite(pasted)
    assert said in str(caught.value)


def test_the_mistyped_line_is_named() -> None:
    lines = TEXT.splitlines()
    wrong = "y" if lines[4][10] != "y" else "b"
    lines[4] = lines[4][:10] + wrong + lines[4][11:]
    with pytest.raises(BadInvite, match="line 5 of this invite is mistyped"):
        find_invite("\n".join(lines))
