"""How a walk is drawn: a real one, and each way to end."""

import json

import pytest
from typer.testing import CliRunner

from dht.engine import DhtEngine
from dht.events import GetDone
from node import cli_walk
from node.api_json import to_json
from node.cli import app
from tests.dht.handdriven import Wire, record
from tests.node.fake_node import FRIEND, FakeNode


@pytest.fixture(scope="module")
def walked() -> GetDone:
    """A read among sixty nodes, six of which have just died."""
    wire = Wire(60)
    wire.join_all()
    engines = list(wire.engines.values())
    engines[3].put(record(), wire.now)
    wire.roundtrip()
    reader = engines[50]
    for engine in near(reader, engines)[:6]:
        wire.kill(engine)
    reader.get(record().place, wire.now, explain=True)
    wire.advance(5.0)
    return wire.last(reader, GetDone)


def near(reader: DhtEngine, engines: list[DhtEngine]) -> list[DhtEngine]:
    target = int.from_bytes(record().place, "big")
    return sorted((each for each in engines if each is not reader), key=lambda each: each.own_id ^ target)


def drawn(capsys: pytest.CaptureFixture[str], document: dict[str, object]) -> str:
    cli_walk.draw(document)
    return capsys.readouterr().out


def test_a_trace_tells_when_by_whom_and_what(walked: GetDone) -> None:
    assert walked.ended == "agreed" and walked.copies >= 6
    asked = sorted(walked.trace, key=lambda each: each.asked_at)
    assert asked[0].asked_at == 0.0 and asked[0].by is None
    assert any(each.by in {other.contact for other in asked} for each in asked[1:])
    assert sum(each.named for each in asked) > 0
    assert all(each.named == 0 for each in asked if each.state != "answered")


def test_a_walk_is_drawn_in_time_and_as_a_tree(walked: GetDone, capsys: pytest.CaptureFixture[str]) -> None:
    shown = drawn(capsys, {**to_json(walked), "seconds": walked.stats.seconds})
    for each in walked.trace:
        assert shown.count(cli_walk.short(each.contact.text)) == 2  # on the time line, and in the tree
    assert "the record, " in shown and "█" in shown
    assert f"{len(walked.trace)} nodes asked" in shown
    assert "same newest record" in shown


@pytest.mark.parametrize("ended", cli_walk.ENDS)
def test_every_end_is_said_in_words(ended: str, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"ended": ended, "copies": 7, "seconds": 0.5, "stats": None, "trace": []}
    assert cli_walk.ENDS[ended].format(copies=7) in drawn(capsys, document).replace("\n", " ")


@pytest.mark.parametrize(
    "state, rtt, said", [("failed", None, "nothing"), ("slow", None, "slow"), ("waiting", None, "not waited for")]
)
def test_who_did_not_answer_is_shown(state: str, rtt: None, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    each = {"contact": "abcdef@192.0.2.1:1", "distance_bits": 150, "state": state, "rtt": rtt, "hops": 1}
    each |= {"had_value": False, "asked_at": 0.1, "named": 0, "by": None}
    shown = drawn(capsys, {"ended": "exhausted", "copies": 0, "seconds": 1.0, "stats": {"hops": 1}, "trace": [each]})
    assert said in shown and "░" in shown
    assert ("1 of them silent" in shown) is (state == "failed")


def test_the_command_draws_and_tells_in_json(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("node.cli_session.node_for", FakeNode)
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    result = CliRunner().invoke(app, ["find", FRIEND.text, "--explain"], catch_exceptions=False)
    assert result.exit_code == 0 and "this node's own table" in result.stdout
    result = CliRunner().invoke(app, ["find", FRIEND.text, "--explain", "--json"], catch_exceptions=False)
    assert json.loads(result.stdout)["trace"][0]["asked_at"] == 0.0
