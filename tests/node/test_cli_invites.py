"""`rookery invite …` and `rookery join …` up to where a node is needed: forms, files, colours, and every bad input."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from dht.identity import IdentityKey
from node.adapters.http import ApiFailure
from node.adapters.invite_ledger import InviteLedger
from node.adapters.qr_drawing import HALF_BLOCKS, SEXTANTS, Code
from node.adapters.qr_reading import read_codes
from node.api_invites import invite_document
from node.cli import app
from node.cli_forms import Shown, light_terminal
from node.cli_invite import lifetime_of
from node.cli_join import agreed, given_invite, settings_for
from node.config import NodeConfig
from node.protocols.invite import Invite, make_invite
from node.protocols.invite_faults import BadInvite
from node.protocols.invite_text import find_invite, to_code, to_text, to_uri
from tests.node.test_invite import HOMES, INVITER, LOCAL, NATED, NEAR, PRIVATE
from tests.node.test_qr import png, rendered

NOW = 1_900_000_000.0
"""When the tests play."""

JOINER = IdentityKey.from_seed(b"j" * 32).public
MADE = make_invite(INVITER, replace(PRIVATE, token=b"abcd", issued=int(NOW) - 60, expires=int(NOW) + 86400, uses=2))
OPEN = make_invite(INVITER, replace(NATED, token=b"efgh", issued=int(NOW) - 60, expires=int(NOW) + 86400))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of a node that has made one invite, which one peer has used."""
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('invite_page = "https://rookery.example/join"\n')
    (tmp_path / "data").mkdir(mode=0o700)
    ledger = InviteLedger(tmp_path / "data" / "invites.db")
    assert ledger.add(MADE, NOW)
    ledger.take(MADE.token, JOINER, NOW)
    return tmp_path


def rookery(*args: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, [str(arg) for arg in args])


def failure(*args: object) -> tuple[int, str, str]:
    """Exit code, kind and sentence of a command that fails; people get the same sentence as programs."""
    result = rookery(*args, "--json")
    error = json.loads(result.stdout)["error"]
    assert result.stderr.splitlines()[0] == f"error: {error['message']}"
    return result.exit_code, error["kind"], error["message"]


def test_the_list_says_who_came_in(home: Path) -> None:
    (entry,) = json.loads(rookery("invite", "list", "--json").stdout)["invites"]
    assert (entry["id"], entry["state"], entry["used"], entry["uses"]) == (MADE.id, "open", 1, 2)
    assert entry["redeemed_by"] == [{"peer": JOINER.text, "at": NOW}]
    assert MADE.raw.hex() not in json.dumps(entry) and "uri" not in entry
    shown = rookery("invite", "list").stdout
    assert JOINER.text in shown and "1 of 2" in shown and "open" in shown


def test_an_empty_list_says_what_to_do(home: Path) -> None:
    (home / "data" / "invites.db").unlink()
    assert "`rookery invite` makes one" in rookery("invite", "list").stdout
    assert json.loads(rookery("invite", "list", "--json").stdout) == {"invites": []}


def test_revoking_is_done_once_and_told(home: Path) -> None:
    result = rookery("invite", "revoke", MADE.id)
    assert result.stdout == f"invite {MADE.id} is revoked; 1 of 2 had come in with it\n"
    assert "was revoked before" in rookery("invite", "revoke", MADE.id.upper()).stdout
    assert json.loads(rookery("invite", "revoke", MADE.id, "--json").stdout)["state"] == "revoked"


@pytest.mark.parametrize("command", ["revoke", "show"])
def test_an_id_that_nobody_has_is_said(home: Path, command: str) -> None:
    code, kind, said = failure("invite", command, "yyyyyyy")
    assert (code, kind) == (2, "invite-ledger")
    assert "rookery invite list" in said


def test_every_form_holds_the_same_invite(home: Path) -> None:
    document = json.loads(rookery("invite", "show", MADE.id, "--json").stdout)
    for form in ("uri", "link", "code", "lines"):
        assert find_invite(document[form]) == MADE
    assert document["link"].startswith("https://rookery.example/join#")
    assert find_invite(rookery("invite", "show", MADE.id).stdout) == MADE
    text = rookery("invite", "show", MADE.id, "--text", "--link")
    assert text.stdout.startswith("https://") and text.stdout.rstrip().endswith(to_text(MADE.raw).splitlines()[-1])
    for words in (
        f"invite {MADE.id} into the private network allotment, for 2 peers",
        "3 home nodes",
        "as you would a key",
    ):
        assert words in text.stderr


@pytest.mark.parametrize(("flag", "blocks"), [("--qr", HALF_BLOCKS), ("--dense", SEXTANTS)])
def test_what_the_command_prints_is_read_off_a_picture_of_the_terminal(home: Path, flag: str, blocks: Any) -> None:
    for flags, ink, ground in (((), "#e0e0e0", "#101010"), (("--light",), "#202020", "#fafafa")):
        printed = rookery("invite", "show", MADE.id, flag, *flags).stdout.rstrip("\n")
        assert "\x1b" not in printed  # It is no terminal, so it has no colours.
        assert read_codes(png(rendered(printed, blocks, ink, ground, ground))) == [to_code(MADE.raw)]


def test_a_terminal_gets_colours_unless_told_not_and_is_told_when_it_is_too_small(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"code": to_code(MADE.raw), "private": True, "uses": 1, "homes": [], "addresses": []}
    document |= {"link": None, "uri": to_uri(MADE.raw), "id": MADE.id, "network": "allotment", "expires_at": NOW}

    def show(**more: bool) -> tuple[str, str]:
        given: dict[str, Any] = {"qr": True, "dense": False, "light": False, "png": None, "svg": None}
        Shown(**given | {"link": False, "text": False, "as_json": False} | more).show(document)
        out, err = capsys.readouterr()
        return out, err

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORFGBG", raising=False)
    out, err = show()
    assert out.count("\x1b[38;5;16;48;5;231m") == 33
    assert "the code takes 65 x 33 characters and this terminal has 80 x 24" in err and "--dense" in err
    out, err = show(dense=True)
    assert len(out.splitlines()) == 22 and "takes" not in err
    # With no form asked for, a terminal gets the code and the link below it.
    out, _ = show(qr=False)
    assert "\x1b" in out and out.rstrip().endswith(to_uri(MADE.raw))
    monkeypatch.setenv("NO_COLOR", "1")
    dark, _ = show()
    assert "\x1b" not in dark and dark.startswith("█" * 65)
    monkeypatch.setenv("COLORFGBG", "0;15")
    assert light_terminal()
    light, _ = show()
    assert light.startswith(" " * 65)


def test_pictures_are_written_for_nobody_else(home: Path) -> None:
    result = rookery("invite", "show", MADE.id, "--png", "invite.png", "--svg", "invite.svg")
    assert result.stdout == ""
    assert "wrote invite.png: a QR code of version 12-M" in result.stderr
    assert read_codes((home / "invite.png").read_bytes()) == [to_code(MADE.raw)]
    assert b"<svg" in (home / "invite.svg").read_bytes()
    assert {(home / name).stat().st_mode & 0o777 for name in ("invite.png", "invite.svg")} == {0o600}


def test_a_file_that_cannot_be_written_is_told_before_an_invite_is_made(home: Path) -> None:
    assert failure("invite", "--png", "nowhere/invite.png")[:2] == (2, "no-such-file")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30min", 1800), ("12h", 43200), ("7d", 604800), ("4w", 2419200), ("1.5 h", 5400), ("60s", 60)],
)
def test_spans_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert lifetime_of(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "1s", "367d", "-3d", "soon", "9" * 30 + "d"])
def test_other_spans_are_refused(home: Path, text: str) -> None:
    assert failure("invite", f"--expires={text}")[:2] == (2, "bad-input")


def resigned(**changes: Any) -> Invite:
    return make_invite(
        INVITER, replace(PRIVATE, token=b"abcd", **{"issued": int(NOW), "expires": int(NOW) + 60} | changes)
    )


TAMPERED = to_uri(MADE.raw[:100] + bytes([MADE.raw[100] ^ 1]) + MADE.raw[101:])
OLD = to_uri(resigned(issued=1_000_000_000, expires=1_000_000_060).raw)
AHEAD = to_uri(resigned(issued=int(NOW) + 90_000, expires=int(NOW) + 90_060).raw)


@pytest.mark.parametrize(
    ("args", "kind", "said"),
    [
        (["hello"], "not-an-invite", "neither"),
        ([INVITER.public.text], "not-an-invite", "rookery connect"),
        (["no-such-picture.png"], "no-such-file", "there is no file"),
        (["teal.png"], "not-an-invite", "no QR code was found"),
        (["other.png"], "not-an-invite", "neither"),
        (["broken.png"], "bad-picture", "cannot be read"),
        (["rubbish.bin"], "not-an-invite", "neither text nor a picture"),
        ([TAMPERED], "invite-tampered", "altered"),
        ([OLD, "--yes"], "invite-expired", "by this machine's clock"),
        ([AHEAD, "--yes"], "invite-not-yet-valid", "the clock here, or the inviter's, is wrong"),
        ([to_uri(MADE.raw)], "needs-consent", "this node is in main; joining allotment changes"),
        (["two.png"], "not-an-invite", f"2 invites are in two.png ({OPEN.id} into main and {MADE.id} into allotment)"),
        (["beside.png", "--yes"], "invite-tampered", "altered"),
        ([], "not-an-invite", "neither"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(home: Path, args: list[str], kind: str, said: str) -> None:
    (home / "teal.png").write_bytes(png(Image.new("RGB", (64, 64), "teal")))
    (home / "other.png").write_bytes(Code("HELLO").png())
    (home / "broken.png").write_bytes(Code("HELLO").png()[:100])
    (home / "rubbish.bin").write_bytes(bytes(range(256)))
    (home / "two.png").write_bytes(side_by_side(OPEN.raw, MADE.raw))
    (home / "beside.png").write_bytes(side_by_side(None, bytes([*MADE.raw[:-1], MADE.raw[-1] ^ 1])))
    before = (home / "config.toml").read_text()
    code, found, message = failure("join", *args)
    assert (code, found) == (2, kind)
    assert said in message
    assert (home / "config.toml").read_text() == before


def side_by_side(*raws: bytes | None) -> bytes:
    """A picture of several codes; None: one that is no invite."""
    pictures = [
        Image.open(io.BytesIO(Code("https://example.org/menu" if raw is None else to_code(raw)).png())).convert("L")
        for raw in raws
    ]
    page = Image.new("L", (sum(one.width for one in pictures) + 80, max(one.height for one in pictures)), "white")
    at = 0
    for one in pictures:
        page.paste(one, (at, 0))
        at += one.width + 80
    return png(page)


def test_the_one_invite_among_other_codes_is_taken(home: Path) -> None:
    (home / "wall.png").write_bytes(side_by_side(None, OPEN.raw, OPEN.raw))
    assert given_invite(["wall.png"]) == OPEN


class Keyboard(io.StringIO):
    """Standard input of a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_a_person_is_asked_and_what_a_program_is_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard(f"look:\n{to_uri(OPEN.raw)}\n\nmore"))
    assert given_invite([]) == OPEN
    with pytest.raises(ApiFailure, match="no invite was given"):
        given_invite([], as_json=True)
    monkeypatch.setattr(sys, "stdin", Keyboard(""))
    with pytest.raises(BadInvite, match="neither"):
        given_invite([])
    for arguments in ([], ["-"]):
        monkeypatch.setattr(sys, "stdin", None)  # As with `<&-`.
        with pytest.raises(ApiFailure, match="no invite was given"):
            given_invite(arguments)


def test_saying_no_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.cli_join.can_ask", lambda: True)
    monkeypatch.setattr("node.cli_join.joined", None)  # It is never called.
    before = (home / "config.toml").read_text()
    for answer in ("n\n", "\n", ""):
        result = CliRunner().invoke(app, ["join", to_uri(MADE.raw)], input=answer)
        assert result.exit_code == 130 or isinstance(result.exception, SystemExit), result.output
        assert result.exit_code != 0 and "joining allotment changes" in result.stderr
        assert (home / "config.toml").read_text() == before


def test_an_invite_of_the_local_network_alone_says_so_and_is_kept_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = make_invite(INVITER, replace(LOCAL, token=b"ijkl", issued=int(NOW) - 60, expires=int(NOW) + 86400))
    config = NodeConfig(data_dir=home / "data")
    agreed(local, config, home / "config.toml", yes=True, as_json=False)
    assert "into the private network allotment, of the local network alone" in capsys.readouterr().err
    contacts = [HOMES[0].text, NEAR[0].text]
    changes = settings_for(local, {"kept": "nowhere", "contacts": contacts})
    assert (changes["scope"], changes["contacts"]) == ("lan", (NEAR[0].text,))
    assert config.replace(**changes).scope == "lan"
    assert "scope" not in settings_for(MADE, {"kept": "nowhere", "contacts": contacts})
    assert settings_for(local, {"kept": "membership", "contacts": contacts}) == {}
    shown = invite_document(local, None)
    assert shown["lan_only"] and not invite_document(MADE, None)["lan_only"]


@pytest.mark.parametrize("how", [to_uri(OPEN.raw), "mail.txt", "lines.txt", "code.png", "-", ""])
def test_an_invite_is_found_wherever_it_is(home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    (home / "mail.txt").write_text(f"Come in!\n\n{to_uri(OPEN.raw)}\n")
    (home / "lines.txt").write_text(to_text(OPEN.raw))
    (home / "code.png").write_bytes(Code(to_code(OPEN.raw)).png())
    stdin = io.TextIOWrapper(io.BytesIO({"-": to_uri(OPEN.raw), "": to_text(OPEN.raw)}.get(how, "").encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert given_invite([how] if how else []) == OPEN
