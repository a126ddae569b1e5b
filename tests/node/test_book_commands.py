"""The address book from the command line and the local API; and that no name leaves the node."""

import ast
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dht import exchange, wire
from dht.identity import IdentityKey
from node.adapters import memory_link
from node.adapters.network_store import NetworkStore
from node.api import Api
from node.cli import app
from node.cli_options import complete_peer
from node.node_book import AddressBook
from node.node_networks import found as found_network
from tests.node.fake_node import FRIEND, STRANGER, FakeNode
from tests.node.node_network import found, network

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rookery(tmp_path, monkeypatch):
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    monkeypatch.setattr("node.cli_session.node_for", FakeNode)

    def run(*args, code=0):
        result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_the_book_is_kept_shown_and_handed_on(rookery, tmp_path):
    assert "nobody has a name" in rookery("book", "list").stdout
    rookery("book", "add", "alice", FRIEND.text, "--note", "from school")
    assert json.loads(rookery("book", "list", "--json").stdout)["entries"] == [
        {"name": "alice", "peer": FRIEND.text, "note": "from school"}
    ]
    assert FRIEND.text in rookery("book", "show", "@alice").stdout
    assert "alice" in rookery("book", "show", FRIEND.text).stdout
    assert "has no name" in rookery("book", "show", STRANGER.text, code=2).stderr
    assert "looks like" in rookery("book", "add", "a1ice", STRANGER.text, code=2).stderr
    rookery("book", "export", tmp_path / "names.json")
    assert "is now bob" in rookery("book", "rename", "alice", "bob").stdout
    assert "no longer bob" in rookery("book", "remove", "bob").stdout
    assert (
        json.loads(rookery("book", "import", tmp_path / "names.json", "--json").stdout)["added"][0]["name"] == "alice"
    )
    assert json.loads(rookery("book", "export").stdout)["entries"][0]["name"] == "alice"
    assert "nobody is called" in rookery("book", "remove", "bob", code=2).stderr
    (tmp_path / "rubbish").write_bytes(b"\xff\x00")
    assert "not an address book" in rookery("book", "import", tmp_path / "rubbish", code=2).stderr


def test_commands_take_a_name_and_show_it_beside_the_id(rookery):
    rookery("book", "add", "alice", FRIEND.text)
    assert json.loads(rookery("find", "alice", "--json").stdout)["peer"] == FRIEND.text
    assert json.loads(rookery("find", "@alice", "--json").stdout)["peer_name"] == "alice"
    assert "alice" in rookery("peers").stdout
    assert "did you mean alice" in rookery("find", "alcie", code=2).stderr


def test_a_private_network_has_names_of_its_own_before_those_of_the_machine(rookery, tmp_path):
    found_network(NetworkStore(tmp_path / "data" / "networks"), "club", IdentityKey.from_seed(b"m" * 32), 1.9e9)
    club = ("--network", "club")
    rookery("book", "add", "alice", FRIEND.text)
    # What the machine's user calls somebody holds there, too, until it is called otherwise there.
    assert FRIEND.text in rookery("book", "show", "alice", *club).stdout
    said = rookery("book", "rename", "alice", "bob", *club, code=2).stderr
    assert "it stands in this machine's book" in said and "--network main" in said
    assert "this machine's book" in rookery("book", "remove", "alice", *club, code=2).stderr
    assert "looks like 'alice' of this" in rookery("book", "add", "a1ice", STRANGER.text, *club, code=2).stderr
    rookery("book", "add", "alice", STRANGER.text, *club)
    rookery("book", "add", "captain", FRIEND.text, *club)
    entries = json.loads(rookery("book", "list", "--json", *club).stdout)["entries"]
    assert {one["name"]: one["peer"] for one in entries} == {"alice": STRANGER.text, "captain": FRIEND.text}
    assert FRIEND.text in rookery("book", "show", "alice").stdout, "the machine's book knows nothing of it"
    assert "nobody is called 'captain'" in rookery("book", "remove", "captain", code=2).stderr
    rookery("book", "rename", "captain", "skipper", *club)
    rookery("book", "remove", "alice", *club)
    assert [one["name"] for one in json.loads(rookery("book", "list", "--json", *club).stdout)["entries"]] == [
        "skipper"
    ]
    assert json.loads(rookery("book", "export", *club).stdout)["entries"][0]["name"] == "skipper"
    # The network is left, and with it go its names.
    said = rookery("network", "revoke", "club", "skipper", code=0).stdout
    assert FRIEND.text in said
    rookery("network", "leave", "club", "--yes")
    assert not (tmp_path / "data" / "networks" / "club").exists()
    assert FRIEND.text in rookery("book", "show", "alice").stdout


def test_the_shell_completes_names(rookery, tmp_path, monkeypatch):
    rookery("book", "add", "alice", FRIEND.text, "--note", "from school")
    context = type("Context", (), {"meta": {}})()
    assert complete_peer(context, "al") == [("alice", "from school")]
    assert complete_peer(context, "@A") == [("@alice", "from school")]
    assert complete_peer(context, "b") == []
    monkeypatch.setenv("ROOKERY_PORT", "no number")
    assert complete_peer(context, "al") == []


async def test_the_api_takes_names_and_keeps_them(tmp_path):
    node = FakeNode()
    node.book = AddressBook(tmp_path / "book.json")
    api = Api(node)  # type: ignore[arg-type]
    added = await api.call("book-add", {"name": "alice", "peer": FRIEND.text})
    assert added["entry"]["name"] == "alice"
    assert (await api.call("find", {"peer": "alice"}))["peer_name"] == "alice"
    await api.call("book-rename", {"name": "alice", "new_name": "bob"})
    assert (await api.call("book", {}))["entries"][0]["name"] == "bob"
    events = [event async for event in api.stream("connect", {"peer": "@bob"})]
    assert all(event["peer_name"] == "bob" for event in events)
    await api.call("book-remove", {"name": "bob"})
    assert (await api.call("book", {}))["entries"] == []


def test_no_code_that_speaks_with_others_knows_of_names():
    """Zooko's rule, held by the imports: names are local."""
    knowing = set()
    for path in (*(ROOT / "node").rglob("*.py"), *(ROOT / "dht").rglob("*.py")):
        for part in ast.walk(ast.parse(path.read_text("utf-8"))):
            module = getattr(part, "module", None) if isinstance(part, ast.ImportFrom) else None
            if module in ("node.protocols.petnames", "node.adapters.book_file", "node.node_book"):
                knowing.add(path.name)
    allowed = {"book_file.py", "node_book.py", "node.py"}
    assert {name for name in knowing if not name.startswith(("api", "cli"))} == allowed


async def test_no_name_leaves_the_node(tmp_path, monkeypatch):
    said: list[bytes] = []
    plain_send = memory_link.MemoryChannel.send

    def overheard(channel, message):
        said.append(bytes(message))
        plain_send(channel, message)

    monkeypatch.setattr(memory_link.MemoryChannel, "send", overheard)
    plain_encode = wire.encode_message

    def spied(*args, **kwargs):
        data = plain_encode(*args, **kwargs)
        said.append(bytes(data))
        return data

    monkeypatch.setattr(exchange, "encode_message", spied)
    async with network(tmp_path) as net:
        one, two, _ = await net.servers(3)
        one.book.add("Zanzibarius", two.identity, "met in Timbuktu")
        await found(one, two)
        api = Api(one)
        async for event in api.stream("connect", {"peer": "zanzibarius"}):
            assert event["peer_name"] == "Zanzibarius"
        await api.call("ping", {"peer": "zanzibarius"})
        await api.call("put", {"value_base64": "aGVsbG8=", "topic": "chess"})
        one.set_status_text("here")
    assert len(said) > 20
    everything = b"".join(said).lower()
    assert b"hello" in everything
    assert b"zanzibar" not in everything and b"timbuktu" not in everything
