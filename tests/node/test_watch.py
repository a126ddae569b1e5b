"""Following a record: what a program, the local API and a person get of it."""

import asyncio
import json
from contextlib import aclosing

import pytest
from typer.testing import CliRunner

from dht.errors import LocalError
from node.adapters.http import ApiFailure
from node.api import Api
from node.cli import app
from node.cli_watch import standing
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.fake_node import CONTACT, FRIEND, FakeNode
from tests.node.node_network import VirtualNetwork, until


@pytest.fixture
def virtually(tmp_path):
    """Run a scenario on whole nodes and a network in memory; time jumps."""

    def run(scenario):
        from contextlib import AsyncExitStack

        simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

        async def main():
            async with AsyncExitStack() as stack:
                net = VirtualNetwork(tmp_path, stack)
                one = await net.start("one", listen="10.0.0.1")
                others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
                assert await one.wait_joined(30)
                await scenario(one, others, simulated)

        run_virtually(main(), simulated)

    return run


async def collected(changes, count):
    """The next so many records."""
    found = []
    async for news in changes:
        if news.event == "record":
            found.append(news)
            if len(found) == count:
                break
    return found


def test_a_value_is_followed(virtually):
    async def scenario(one, others, simulated):
        await one.put(b"first", salt=b"s")
        async with aclosing(others[0].watch(one.identity, salt=b"s")) as changes:
            [first] = await collected(changes, 1)
            assert (first.record.payload, first.peer()) == (b"first", None)
            began = others[0].inside.driver.now()
            waiting = asyncio.ensure_future(collected(changes, 1))
            await asyncio.sleep(5)
            put_at = others[0].inside.driver.now()
            await one.put(b"second", salt=b"s")
            [second] = await waiting
            assert second.record.payload == b"second" and second.record.seq > first.record.seq
            assert put_at - began >= 5 and second.time - put_at < 2

    virtually(scenario)


def test_a_peer_is_followed(virtually):
    async def scenario(one, others, simulated):
        await until(lambda: one.status().published is not None, "publishing", 60)
        async with aclosing(others[0].watch(one.identity)) as changes:
            [before] = await collected(changes, 1)
            assert before.peer().status == ""
            one.set_status_text("away")
            [after] = await collected(changes, 1)
            assert after.peer().status == "away"

    virtually(scenario)


def test_readers_of_one_record_share_a_subscription_and_end_it_together(virtually):
    async def scenario(one, others, simulated):
        await one.put(b"first", salt=b"s")
        reader = others[0]
        watching = reader.inside.driver.engine.watching
        first, second = (reader.watch(one.identity, salt=b"s") for _ in range(2))
        assert len(await collected(first, 1)) == len(await collected(second, 1)) == 1
        assert len(watching) == 1
        await first.aclose()
        assert len(watching) == 1
        await one.put(b"second", salt=b"s")
        [news] = await collected(second, 1)
        assert news.record.payload == b"second"
        await second.aclose()
        assert len(watching) == 0
        await asyncio.sleep(2)
        assert sum(node.inside.driver.engine.watchers() for node in [one, *others]) == 0

    virtually(scenario)


def test_it_ends_when_the_node_stops(virtually):
    async def scenario(one, others, simulated):
        changes = others[0].watch(one.identity)
        following = asyncio.ensure_future(collected(changes, 1000))
        await asyncio.sleep(10)
        assert not following.done()
        await others[0].__aexit__(None, None, None)
        found = await asyncio.wait_for(following, 5)
        assert len(found) < 1000

    virtually(scenario)


def test_what_is_watched_must_be_said(virtually):
    async def scenario(one, others, simulated):
        for bad in ({}, {"peer": one.identity, "place": bytes(20)}, {"place": bytes(20), "salt": b"s"}):
            with pytest.raises(LocalError, match="say what to watch"):
                await anext(one.watch(**bad))

    virtually(scenario)


async def test_the_api_tells_values_and_peer_records():
    api = Api(FakeNode())  # type: ignore[arg-type]
    events = [event async for event in api.stream("watch", {"peer": FRIEND.text, "salt_base64": "cw=="})]
    assert [event["event"] for event in events] == ["watching", "holders", "record", "record", "lapsed"]
    assert (events[3]["record"]["value_text"], events[3]["via"]) == ("version 2", CONTACT.text)
    events = [event async for event in api.stream("watch", {"peer": FRIEND.text, "count": 1})]
    assert [event["event"] for event in events] == ["watching", "holders", "record"]
    said = events[2]["record"]["peer_record"]
    assert (said["status"], said["capabilities"], said["direct"]) == ("here", ["webrtc"], [CONTACT.text])
    assert "value_base64" not in events[2]["record"]
    assert json.loads(json.dumps(events)) == events


@pytest.mark.parametrize("params", [{}, {"place": "00" * 20, "salt_base64": "cw=="}, {"place": "00"}, {"count": 0}])
async def test_the_api_refuses_what_names_no_record(params):
    with pytest.raises(ApiFailure, match="watch: ") as caught:
        [event async for event in Api(FakeNode()).stream("watch", params)]  # type: ignore[arg-type]
    assert caught.value.kind == "bad-input"


@pytest.fixture
def rookery(monkeypatch, tmp_path):
    monkeypatch.setattr("node.cli_session.node_for", FakeNode)
    monkeypatch.setenv("ROOKERY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ROOKERY_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def test_the_command_shows_a_line_for_each_change(rookery):
    result = rookery("watch", FRIEND.text, "--salt", "s")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line[20:] for line in lines] == [
        "number 1: version 1",
        "number 2 (told by 192.0.2.7:4000): version 2",
        "expired: number 2, and none has come in its place",
    ]
    assert "3 nodes tell of changes; there is no record yet" in result.stderr


def test_the_command_says_what_a_peer_record_says(rookery):
    result = rookery("watch", FRIEND.text, "-n", 1)
    assert result.stdout.splitlines()[0].endswith("number 1: reached at 192.0.2.7:4000; status “here”; webrtc")


def test_the_command_writes_json_lines(rookery):
    result = rookery("watch", FRIEND.text, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["watching", "holders", "record", "record", "lapsed"]


@pytest.mark.parametrize(
    "args", [[], ["--place", "00" * 20, "--salt", "s"], [FRIEND.text, "--place", "00" * 20], ["no"]]
)
def test_bad_input_ends_with_2_and_no_traceback(rookery, args):
    result = rookery("watch", *args)
    assert result.exit_code == 2
    assert "error:" in result.stderr and result.stdout == ""


def test_how_things_stand_is_said_in_words():
    nobody = standing({"event": "holders", "holders": 0, "record": None})
    assert nobody.startswith("nobody tells of changes yet")
    assert standing({"event": "record", "holders": 1, "record": {}}).endswith("there is no record yet")
    assert standing({"event": "record", "holders": 3, "record": {"seq": 1}}) == "watching: 3 nodes tell of changes"
