"""`rookery network …` with no node running: on the files, with every bad input."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dht.identity import IdentityKey
from node.adapters.keyfile import load_identity
from node.adapters.network_store import MemberMet, NetworkStore, save_network
from node.cli import app

MEMBER = IdentityKey.from_seed(b"m" * 32).public
STRANGER = IdentityKey.from_seed(b"s" * 32).public


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home."""
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    return tmp_path


def rookery(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def told(*args: str) -> dict[str, Any]:
    result = rookery(*args, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def failure(*args: str) -> tuple[int, str]:
    """Exit code and message of a command that fails; people get the same sentence as programs."""
    result = rookery(*args, "--json")
    message = json.loads(result.stdout)["error"]["message"]
    assert result.stderr.splitlines()[0] == f"error: {message}"
    assert "Traceback" not in result.output
    return result.exit_code, message


def store(home: Path) -> NetworkStore:
    return NetworkStore(home / "data" / "networks")


def met(home: Path, *, invited_by_us: bool = True) -> None:
    """Let the club remember a member."""
    club = store(home).load("club")
    us = load_identity(home / "data" / "identity.key").public
    now = int(time.time())
    one = MemberMet(MEMBER, us if invited_by_us else STRANGER, False, now + 86_400, now - 60)
    save_network(store(home).folder_of("club"), replace(club, members=(one,)))


def test_a_network_is_founded_listed_and_shown_without_its_secrets(home: Path) -> None:
    result = rookery("network", "create", "club")
    assert result.exit_code == 0 and result.stdout.startswith("founded club; this node is ")
    assert "rookery run --network club" in result.stderr and "rookery invite --network club" in result.stderr
    club = store(home).load("club")
    assert (store(home).folder_of("club") / "network.json").stat().st_mode & 0o777 == 0o600
    us = load_identity(home / "data" / "identity.key").public
    assert load_identity(store(home).folder_of("club") / "identity.key").public == us
    document = told("network", "show", "club")
    assert (document["network"], document["identity"], document["founded_here"]) == ("club", us.text, True)
    assert (document["may_invite"], document["members_invite"], document["lan_only"]) == (True, False, False)
    assert club.founder_seed is not None
    for output in (json.dumps(document), rookery("network", "show", "club").output, result.output):
        assert club.key.hex() not in output and club.founder_seed.hex() not in output
    assert [one["network"] for one in told("network", "list")["networks"]] == ["club"]
    assert "club" in rookery("network", "list").stdout


def test_options_of_founding_are_kept(home: Path) -> None:
    document = told("network", "create", "club", "--members-invite", "--lan-only", "--own-identity")
    assert (document["members_invite"], document["lan_only"]) == (True, True)
    assert not (home / "data" / "identity.key").exists()  # Nothing ties it to this node.
    assert load_identity(store(home).folder_of("club") / "identity.key").public.text == document["identity"]
    assert store(home).load("club").lan_only


@pytest.mark.parametrize("name", ["a b", "../up", "..", "", "x" * 65, "näme"])
def test_names_that_are_none_are_refused(home: Path, name: str) -> None:
    code, message = failure("network", "create", name)
    assert code == 2 and "is no name of a network: 1-64 letters" in message
    assert store(home).names() == []


def test_a_name_is_taken_once(home: Path) -> None:
    told("network", "create", "club")
    before = store(home).load("club")
    code, message = failure("network", "create", "club")
    assert code == 2 and message == "this machine is in a network 'club' already: leave it first"
    assert store(home).load("club") == before


@pytest.mark.parametrize("command", ["show", "members", "leave", "revoke", "renew"])
def test_a_network_that_is_not_here_is_told_with_those_that_are(home: Path, command: str) -> None:
    told("network", "create", "club")
    more = (MEMBER.text,) if command == "revoke" else ()
    code, message = failure("network", command, "clbu", *more)
    assert code == 2 and message == "this machine is in no private network 'clbu'; it is in: club"


def test_a_damaged_file_is_one_clear_line(home: Path) -> None:
    told("network", "create", "club")
    (store(home).folder_of("club") / "network.json").write_text("{")
    for command in ("show", "members", "list", "leave"):
        code, message = failure("network", command, *(() if command == "list" else ("club",)))
        assert code == 2 and "network.json is damaged" in message


def test_members_are_listed_and_revoked_on_disk(home: Path) -> None:
    told("network", "create", "club")
    assert "no other member was met yet" in rookery("network", "members", "club").output
    met(home)
    (member,) = told("network", "members", "club")["members"]
    assert (member["peer"], member["revoked_at"]) == (MEMBER.text, None)
    said = told("network", "revoke", "club", MEMBER.text)
    club = store(home).load("club")
    assert (said["peer"], said["revoked_by"]) == (MEMBER.text, club.authority.text) and len(club.revocations) == 1
    assert told("network", "show", "club")["revoked"] == [{"peer": MEMBER.text, "since": said["since"]}]
    assert "revoked" in rookery("network", "members", "club").stdout
    again = rookery("network", "revoke", "club", MEMBER.text)
    assert again.stdout == f"{MEMBER.text} is a member of club no longer\n"
    assert "it still has the network's key" in again.stderr


def test_who_may_not_revoke_is_told_who_may(home: Path) -> None:
    us = str(told("network", "create", "club")["identity"])
    code, message = failure("network", "revoke", "club", us)
    assert code == 2 and "`rookery network leave` leaves the network" in message
    save_network(store(home).folder_of("club"), replace(store(home).load("club"), founder_seed=None))
    met(home, invited_by_us=False)
    code, message = failure("network", "revoke", "club", MEMBER.text)
    assert code == 2 and message.endswith("was invited by somebody else: its inviter or the founder can revoke it")
    code, message = failure("network", "revoke", "club", "nobody")
    assert code == 2 and "nobody" in message
    assert store(home).load("club").revocations == ()


def test_the_key_is_renewed_on_disk_by_the_founder_alone(home: Path) -> None:
    told("network", "create", "club")
    for span in ("40d", "0s", "soon"):
        code, message = failure("network", "renew", "club", f"--in={span}")
        assert code == 2 and message == f"--in {span!r} is not allowed"
    before = store(home).load("club")
    said = told("network", "renew", "club", "--in", "12h")
    assert said["epoch"] == 1 and abs(said["since"] - time.time() - 12 * 3600) < 60
    club = store(home).load("club")
    document = told("network", "show", "club")
    assert (document["epoch"], document["next_key_at"], club.key) == (0, said["since"], before.key)
    assert club.at(said["since"]).key.hex() not in json.dumps(document)
    code, message = failure("network", "renew", "club")
    assert code == 2 and "on its way already" in message
    save_network(store(home).folder_of("club"), club.at(said["since"]))
    result = rookery("network", "renew", "club")
    assert result.stdout.startswith("club has key 2 from ") and "needs another invite" in result.stderr
    save_network(store(home).folder_of("club"), replace(before, founder_seed=None))
    code, message = failure("network", "renew", "club")
    assert code == 2 and message == "club was founded elsewhere: only its founder can renew its key"


def test_leaving_asks_and_deletes(home: Path) -> None:
    told("network", "create", "club")
    code, message = failure("network", "leave", "club")
    assert code == 2 and message.startswith("leaving deletes ") and store(home).names() == ["club"]
    assert rookery("network", "leave", "club").exit_code == 2  # Nobody can be asked here.
    assert told("network", "leave", "club", "--yes") == {"network": "club", "left": True}
    assert store(home).names() == [] and not store(home).folder_of("club").exists()
    assert (home / "data" / "identity.key").exists()
