"""Every command that talks to a node, with a node in memory in the real one's place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dht.errors import LocalError
from dht.records import SignedRecord
from node.cli import app
from node.node_events import ClockWrong
from tests.node.fake_node import FRIEND, IDENTITY, NOW, STATS, STRANGER, FakeNode


@pytest.fixture
def nodes(monkeypatch):
    """The nodes that commands started."""
    made = []

    def node_for(config):
        made.append(FakeNode(config))
        return made[-1]

    monkeypatch.setattr("node.cli_session.node_for", node_for)
    return made


@pytest.fixture
def rookery(nodes, tmp_path, monkeypatch):
    """Runs the command in an empty home; returns exit code, standard output, standard error."""
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    monkeypatch.chdir(tmp_path)

    def run(*args, input=None):
        result = CliRunner().invoke(app, [str(arg) for arg in args], input=input, catch_exceptions=False)
        assert "Traceback" not in result.output
        return result

    return run


def error_lines(result):
    return [line for line in result.stderr.splitlines() if line.startswith("error:")]


def test_a_command_starts_a_short_lived_node_and_says_so(rookery, nodes):
    result = rookery("status")
    assert result.exit_code == 0
    assert IDENTITY.public.text in result.stdout
    assert result.stderr == "no node runs here: starting one for this command …\nwarning: look\n"
    [node] = nodes
    assert node.started
    assert node.stopped
    assert (node.config.port, node.config.mode) == (0, "client")


@pytest.mark.parametrize(
    "args", [["status"], ["peers"], ["find", FRIEND], ["ping", FRIEND], ["put", "x"], ["put", "x", "--salt", "s"]]
)
def test_json_is_one_document_and_nothing_else(rookery, args):
    result = rookery(*args, "--json")
    assert result.exit_code == 0
    assert isinstance(json.loads(result.stdout), dict)


def test_find_fails_when_nobody_knows_the_peer(rookery):
    assert rookery("find", FRIEND).exit_code == 0
    result = rookery("find", STRANGER, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["found"] is False
    [line] = error_lines(result)
    assert line == f"error: no node that was asked has a record of {STRANGER.text} (no node has its record)"
    assert rookery("find", STRANGER).stdout == ""


def test_ping_repeats(rookery):
    result = rookery("ping", FRIEND, "--count", "3", "--dht", "--json")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [document["number"] for document in documents] == [1, 2, 3]
    assert all(document["dht"]["reached"] and "link" not in document for document in documents)
    assert rookery("ping", STRANGER).exit_code == 1


def test_connect_shows_phases(rookery):
    result = rookery("connect", FRIEND)
    assert result.exit_code == 0
    assert "100 ms" in result.stdout
    assert rookery("connect", STRANGER).exit_code == 1


def test_connect_explains_what_was_tried(rookery):
    shown = rookery("connect", FRIEND, "--explain")
    assert shown.exit_code == 0
    for said in (
        "dialled, no answer needed 100 ms skipped the peer's record names no address",
        "through a relay 1.2 s 400 ms opened",
        "our addresses: srflx 203.0.113.5:4711",
        "the peer's addresses: host 192.168.1.2:7716",
        "A relay carries the link: ice-failed: none of 1 pairs worked.",
        "100 ms",
    ):
        assert said in " ".join(shown.stdout.split())
    (outcome,) = [json.loads(line) for line in rookery("connect", FRIEND, "--json").stdout.splitlines()[-1:]]
    assert [way["outcome"] for way in outcome["ways"]] == ["skipped", "failed", "opened"]
    assert outcome["ways"][1]["pairs"][0]["checks"] == 9
    stranger = rookery("connect", STRANGER, "--explain")
    assert (stranger.exit_code, "No way was tried" in stranger.stdout) == (1, True)


def test_send_and_its_failures(rookery, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    result = rookery("send", tmp_path / "file", FRIEND, "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["sending", "progress", "done"]
    assert rookery("send", tmp_path / "file", STRANGER).exit_code == 1


def test_send_checks_the_file_before_it_starts_a_node(rookery, nodes, tmp_path: Path):
    result = rookery("send", tmp_path / "none", FRIEND)
    assert result.exit_code == 2
    assert error_lines(result) == [f"error: {tmp_path / 'none'} cannot be read: No such file or directory"]
    assert rookery("send", tmp_path, FRIEND).exit_code == 2
    assert nodes == []


def test_receive_takes_files_from_those_who_are_named(rookery, tmp_path: Path):
    result = rookery("receive", "--dir", tmp_path / "in", "--accept-from", FRIEND, "--count", "1")
    assert result.exit_code == 0
    assert (tmp_path / "in" / "notes.txt").read_bytes() == b"notes"
    assert "received" in result.stderr


def test_receive_will_not_wait_for_nobodys_yes(rookery, nodes):
    result = rookery("receive")
    assert result.exit_code == 2
    assert "--accept-from" in result.stderr
    assert nodes == []


def test_put_takes_a_value_from_argument_file_and_standard_input(rookery, nodes, tmp_path: Path):
    value = bytes(range(256))
    (tmp_path / "value").write_bytes(value)
    for args, given in ((["--file", "value"], None), (["-"], value), ([], value)):
        assert rookery("put", *args, "--salt", "s", input=given).exit_code == 0
        [record] = nodes[-1].records.values()
        assert record.payload == value


def test_put_shows_every_verdict_of_a_receipt(rookery):
    result = rookery("put", "x", "--salt", "s", "--receipt")
    assert "1 of 1 nodes" in result.stdout
    assert result.stdout.splitlines()[-1].split()[1:] == ["stored", "1"]
    refused = rookery("put", "x", "--salt", "s", "--expected-seq", "5")
    assert refused.exit_code == 1
    assert error_lines(refused) == ["error: 0 nodes stored it, 1 are needed (1 cas_mismatch)"]


def test_put_refuses_what_cannot_be_read_or_meant(rookery, nodes):
    for args, part in (
        (["--file", "none"], "cannot be read"),
        (["x", "--file", "none"], "not both"),
        (["x", "--salt", "s", "--topic", "t"], "not both"),
    ):
        result = rookery("put", *args)
        assert (result.exit_code, part in result.stderr) == (2, True)


def test_get_writes_the_very_bytes(rookery, nodes, monkeypatch, tmp_path: Path):
    value = bytes(range(256))
    kept: dict[bytes, SignedRecord] = {}
    monkeypatch.setattr("node.cli_session.node_for", lambda config: nodes.append(FakeNode(config)) or nodes[-1])
    monkeypatch.setattr(FakeNode, "records", property(lambda self: kept, lambda self, _: None), raising=False)
    assert rookery("put", "--salt", "s", input=value).exit_code == 0
    assert rookery("get", "--salt", "s").stdout_bytes == value
    assert rookery("get", IDENTITY.public, "--salt", "s").stdout_bytes == value
    assert rookery("get", "--salt", "s", "-o", "out").stdout_bytes == b""
    assert (tmp_path / "out").read_bytes() == value
    missed = rookery("get", "--salt", "other")
    assert (missed.exit_code, missed.stdout_bytes) == (1, b"")
    assert "not found" in missed.stderr
    assert rookery("get").exit_code == 2


def test_log_needs_a_running_node(rookery, nodes):
    result = rookery("log")
    assert result.exit_code == 2
    assert error_lines(result)[0].startswith("error: no node runs")
    assert "hint: start one with `rookery run`" in result.stderr
    assert nodes == []


def test_a_wrong_clock_is_told_at_the_end(rookery, monkeypatch):
    async def find(self, peer, *, explain=False):
        self.log.add(ClockWrong(NOW, 3600.0))
        return await found(self, peer)

    found = FakeNode.find
    monkeypatch.setattr(FakeNode, "find", find)
    result = rookery("find", FRIEND)
    assert result.exit_code == 0
    assert "warning: this machine's clock is 60 min behind that of others: set it\n" in result.stderr


def test_a_failing_start_is_one_line(rookery, monkeypatch):
    async def taken(self):
        raise LocalError("port 4000 is in use by another program")

    monkeypatch.setattr(FakeNode, "__aenter__", taken)
    result = rookery("status", "--json")
    assert result.exit_code == 2
    assert error_lines(result) == ["error: port 4000 is in use by another program"]
    assert json.loads(result.stdout)["error"]["message"] == "port 4000 is in use by another program"


@pytest.mark.parametrize(
    ("peer", "part"),
    [
        ("abc", "49 too few"),
        (FRIEND.text + "y", "1 too many"),
        ("0" + FRIEND.text[1:], "did you mean 'o'?"),
    ],
)
def test_a_mistyped_peer_costs_no_start(rookery, nodes, peer, part):
    for command in (["find"], ["ping"], ["connect"], ["get", "--salt", "s"]):
        result = rookery(*command, peer)
        assert result.exit_code == 2
        [line] = error_lines(result)
        assert part in line
    assert nodes == []


def test_a_file_name_cannot_steer_the_terminal(rookery, tmp_path):
    name = "red\x1b[31m\nerror: forged"
    (tmp_path / name).write_bytes(b"x")
    result = rookery("send", tmp_path / name, STRANGER.text)
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    [error] = error_lines(result)
    assert "red\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}error: forged was not sent" in error


def test_a_crowded_place_is_warned_of(rookery, monkeypatch):
    crowded = replace(STATS, crowded=True)
    monkeypatch.setattr("tests.node.fake_node.STATS", crowded)
    for command in (("find", FRIEND.text), ("put", "a note", "--salt", "note"), ("get", "--salt", "nothing")):
        assert "more nodes lie around this place than chance puts there" in rookery(*command).stderr
    monkeypatch.setattr("tests.node.fake_node.STATS", STATS)
    assert "than chance" not in rookery("find", FRIEND.text).stderr


def test_put_many_stores_each_line_of_a_file(rookery, nodes, tmp_path: Path):
    lines = ['{"value": "blue", "salt": "colour"}', "", '{"value_base64": "AAE="}']
    (tmp_path / "records").write_text("\n".join(lines))
    for args, given in ((["--many", "records"], None), (["--many", "-"], "\n".join(lines))):
        result = rookery("put", *args, input=given)
        assert result.exit_code == 0
        assert sorted(record.payload for record in nodes[-1].records.values()) == [b"\x00\x01", b"blue"]
        assert len(result.stdout.splitlines()) >= 3
    assert [one["stored"] for one in json.loads(rookery("put", "--many", "records", "--json").stdout)["receipts"]] == [
        1,
        1,
    ]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("{", "line 1"),
        ("[1]", "expected a JSON object of strings"),
        ('{"value": 1}', "expected a JSON object of strings"),
        ('{"salt": "s"}', "value_base64 is missing"),
        ('{"value": "x", "salt": "s", "topic": "t"}', "not both"),
        ('{"value": "x", "slat": "s"}', "unknown parameter slat"),
        ("", "has no records"),
    ],
)
def test_put_many_names_what_is_wrong(rookery, tmp_path: Path, line: str, part: str):
    (tmp_path / "records").write_text(line + "\n")
    result = rookery("put", "--many", "records")
    assert result.exit_code == 2
    assert part in result.stderr


def test_put_many_takes_nothing_beside_its_file(rookery, tmp_path: Path):
    (tmp_path / "records").write_text('{"value": "x"}\n')
    assert rookery("put", "x", "--many", "records").exit_code == 2
    assert rookery("put", "--many", "records", "--topic", "t").exit_code == 2
