"""Maps of a network: as JSON, CSV and a picture; and the command that makes them."""

import asyncio
import csv
import json
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from dht.contact import Contact
from dht.errors import LocalError
from node import node_map
from node.cli import app
from node.cli_crawl import crawled
from node.config import NodeConfig
from node.node import Node
from node.node_crawling import Crawler
from node.node_map import CrawledAddress, NetworkMap
from tests.dht.handdriven import Stranger, Wire

CONTACTS = [Stranger(Wire(), number).contact for number in range(900, 904)]
SIX = Contact(CONTACTS[0].key, ("2001:db8::1", 4000))
NODES = node_map.gathered(
    [
        CrawledAddress(CONTACTS[0], "answered", 0.02, 8, 3),
        CrawledAddress(SIX, "silent", None, 0, 2),
        CrawledAddress(CONTACTS[1], "answered", 0.2, 0, 1),
        CrawledAddress(CONTACTS[2], "silent", None, 0, 2),
        CrawledAddress(CONTACTS[3], "unasked", None, 0, 1),
    ]
)
MAP = NetworkMap("main", 1_800_000_000.0, 12.5, 40, NODES)


def test_a_map_comes_back_as_it_was_written() -> None:
    assert node_map.from_json(node_map.to_json(MAP)) == MAP
    assert not MAP.complete
    summary = MAP.summary()
    assert (summary["nodes"], summary["answered"], summary["silent"], summary["unasked"]) == (4, 2, 1, 1)
    assert (summary["networks"], summary["median_rtt"]) == (2, 0.2)
    assert (summary["ipv4_only"], summary["ipv6_only"], summary["both_families"]) == (2, 0, 0)


def test_a_node_is_one_at_both_its_addresses() -> None:
    (node,) = (node for node in NODES if len(node.addresses) == 2)
    assert [one.contact for one in node.addresses] == [CONTACTS[0], SIX]
    assert (node.key, node.state, node.rtt) == (CONTACTS[0].key, "answered", 0.02)
    assert node_map.gathered(reversed(MAP.addresses)) == NODES
    both = node_map.gathered([CrawledAddress(CONTACTS[0], "silent"), CrawledAddress(SIX, "answered", 0.1)])
    assert [(one.state, one.rtt) for one in both] == [("answered", 0.1)]
    assert NetworkMap("main", 0.0, 0.0, 0, both).summary()["ipv6_only"] == 1


def test_a_map_of_the_first_format_is_read() -> None:
    document = json.loads(node_map.to_json(MAP))
    nodes = [one for node in document["nodes"] for one in node["addresses"]]
    assert node_map.from_json(json.dumps({**document, "format": 1, "nodes": nodes})) == MAP


@pytest.mark.parametrize(
    "text",
    ["", "5", "{}", "[]", '{"format": 3}', '{"format": 1, "nodes": [{}]}', "\x00", node_map.to_json(MAP)[:-40],
     node_map.to_json(MAP).replace("silent", "dead"), node_map.to_json(MAP).replace("@11", "@x")],
)  # fmt: skip
def test_what_is_no_map_is_said(text: str) -> None:
    with pytest.raises(LocalError):
        node_map.from_json(text)


def test_a_map_as_a_table() -> None:
    rows = list(csv.DictReader(node_map.to_csv(MAP).splitlines()))
    by_contact = {row["contact"]: row for row in rows}
    assert [by_contact[one.text]["state"] for one in CONTACTS] == ["answered", "answered", "silent", "unasked"]
    assert (by_contact[CONTACTS[0].text]["rtt_ms"], by_contact[CONTACTS[2].text]["rtt_ms"]) == ("20.0", "")
    assert tuple(rows[0]) == node_map.COLUMNS
    pair = [(row["family"], row["host"]) for row in rows if row["key"] == by_contact[SIX.text]["key"]]
    assert pair == [("IPv4", CONTACTS[0].ip), ("IPv6", "2001:db8::1")]


def test_a_map_as_a_picture() -> None:
    picture = ElementTree.fromstring(node_map.to_svg(MAP))
    names = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert sorted(str(name) for name in names) == sorted(contact.text for contact in (*CONTACTS, SIX))
    squares = [one for one in picture.iter("{http://www.w3.org/2000/svg}rect") if len(one)]
    assert [square[0].text for square in squares] == [SIX.text]
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}line"))) == 1
    words = " ".join(text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text"))
    assert "2 answered" in words and "1 silent" in words and "1 unasked" in words and "4 nodes" in words
    assert "IPv4 round, IPv6 square" in words
    for dot in picture.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(dot.get("cx") or -1) <= node_map.SIZE
    assert ElementTree.fromstring(node_map.to_svg(NetworkMap("main", 0.0, 0.0, 0, ()))) is not None


async def test_a_node_maps_its_network(tmp_path) -> None:
    async with Node(NodeConfig(data_dir=tmp_path / "a", listen="127.0.0.1", port=0, mode="server")) as one:
        contact = one.status().contact
        config = NodeConfig(data_dir=tmp_path / "b", mode="client", listen="127.0.0.1", port=0, contacts=(contact,))
        async with Node(config) as two:
            assert await two.wait_joined(10)
            told: list[tuple[int, int]] = []
            found = await Crawler(two.driver, "main").crawl(
                rate=200.0, questions=2, on_progress=lambda done, known: told.append((done, known))
            )
    assert [(one.contact, one.state) for one in found.addresses] == [(contact, "answered")]
    assert told == [(1, 1)] and found.requests == 2 and found.complete


@pytest.fixture
def rookery(tmp_path, monkeypatch):
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    return lambda *args: CliRunner().invoke(app, ["crawl", *map(str, args)], catch_exceptions=False)


def test_a_crawl_that_finds_nobody_fails_and_still_writes_what_was_asked_for(rookery, tmp_path) -> None:
    path, picture = tmp_path / "map.csv", tmp_path / "map.svg"
    result = rookery("--listen", "127.0.0.1", "-o", path, "--svg", picture, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["nodes"] == 0
    assert path.read_text().startswith("contact,key") and picture.read_text().startswith("<svg")
    assert "no node answered" in result.stderr


@pytest.mark.parametrize(
    "args, said",
    [
        (["-o", "map.txt"], "expected .json, .csv, .svg"),
        (["--svg", "map.png"], "expected .svg"),
        (["-o", "/nowhere/map.json"], "there is no folder"),
        (["--resume", "/nowhere/map.json"], "cannot be read"),
        (["--rate", "0"], "greater than or equal to 1"),
    ],
)
def test_bad_input_is_said_before_anybody_is_asked(rookery, args, said) -> None:
    result = rookery(*args)
    assert result.exit_code == 2
    assert said in result.stderr


async def test_what_is_stopped_is_kept_and_gone_on_with(tmp_path, monkeypatch, capsys) -> None:
    async with Node(NodeConfig(data_dir=tmp_path / "a", listen="127.0.0.1", port=0, mode="server")) as one:
        contact = one.status().contact
        config = NodeConfig(data_dir=tmp_path / "b", mode="client", listen="127.0.0.1", port=0, contacts=(contact,))
        async with Node(config) as two:
            assert await two.wait_joined(10)
            going, told = asyncio.Event(), Crawler.crawl

            async def crawl(crawler, **options):
                asyncio.get_running_loop().call_soon(going.set)
                return await told(crawler, **options)

            monkeypatch.setattr(Crawler, "crawl", crawl)
            # One question a second, of a hundred: Ctrl-C cancels the command's task long before the last.
            task = asyncio.ensure_future(crawled(two, None, rate=1.0, questions=100, seconds=None, quiet=True))
            await going.wait()
            task.cancel()
            part = await task
            assert not part.complete
            assert "stopped: the map has what was found so far" in capsys.readouterr().err

            before = node_map.from_json(node_map.to_json(part))
            whole = await crawled(two, before, rate=200.0, questions=2, seconds=None, quiet=True)
    assert [(one.contact, one.state) for one in whole.addresses] == [(contact, "answered")]
    assert whole.complete
