"""The commands of the local API against a node in memory: documents, parameters, failures."""

import asyncio
import base64
import json
from contextlib import aclosing
from pathlib import Path

import pytest

from dht.errors import LocalError
from node.adapters.http import ApiFailure
from node.api import Api
from node.node_results import FileOffered
from tests.node.fake_node import CONTACT, FRIEND, IDENTITY, NOW, STRANGER, FakeNode, Happened


@pytest.fixture
def node():
    return FakeNode()


@pytest.fixture
def api(node):
    return Api(node)


async def collected(api, command, params):
    return [event async for event in api.stream(command, params)]


async def failure(awaitable):
    with pytest.raises(ApiFailure) as caught:
        await awaitable
    return caught.value


async def test_status_is_json_with_keys_as_text(api):
    document = await api.call("status", {})
    assert json.loads(json.dumps(document)) == document
    assert document["identity"] == IDENTITY.public.text


async def test_peers_lists_contacts_and_links(api):
    document = await api.call("peers", {})
    [contact], [link] = document["contacts"], document["links"]
    assert (contact["contact"], contact["address"], contact["rtt"]) == (CONTACT.text, "192.0.2.7:4000", 0.02)
    assert (link["peer"], link["address"], link["phases"]) == (FRIEND.text, "192.0.2.9:5000", {"total": 0.2})


async def test_find_tells_the_reason_and_keeps_the_trace_for_those_who_ask(api):
    found = await api.call("find", {"peer": FRIEND.text})
    assert found["found"] is True
    assert "trace" not in found
    missed = await api.call("find", {"peer": STRANGER.text, "trace": True})
    assert (missed["found"], missed["reason"], missed["detail"]) == (False, "not-found", "no node has its record")
    assert missed["trace"][0]["contact"] == CONTACT.text


@pytest.mark.parametrize(
    ("flags", "parts"), [({}, {"dht", "link"}), ({"dht": True}, {"dht"}), ({"link": True}, {"link"})]
)
async def test_ping_measures_what_is_asked_for(api, flags, parts):
    document = await api.call("ping", {"peer": FRIEND.text, **flags})
    assert set(document) - {"peer"} == parts


async def test_a_value_comes_back_as_it_went_in(api):
    value = bytes(range(256))
    receipt = await api.call("put", {"value_base64": base64.b64encode(value).decode(), "salt_base64": "c2FsdA=="})
    assert (receipt["ok"], receipt["stored"], receipt["reasons"]) == (True, 1, {})
    assert receipt["verdicts"] == [{"contact": CONTACT.text, "refusal": "none", "seq": 1, "wait": 0.0}]
    document = await api.call("get", {"salt_base64": "c2FsdA=="})
    assert base64.b64decode(document["records"][0]["value_base64"]) == value
    assert "value_text" not in document["records"][0]
    assert (await api.call("get", {"place": receipt["place"]}))["found"] is True


async def test_many_values_have_a_receipt_each(api):
    records = [{"value_base64": "YQ==", "salt_base64": "c2FsdA=="}, {"value_base64": "Yg=="}]
    document = await api.call("put-many", {"records": records})
    assert document["ok"] is True
    assert [receipt["stored"] for receipt in document["receipts"]] == [1, 1]
    for receipt in document["receipts"]:
        assert (await api.call("get", {"place": receipt["place"]}))["found"] is True


async def test_a_text_value_is_readable(api):
    receipt = await api.call("put", {"value_base64": base64.b64encode("grüße".encode()).decode()})
    document = await api.call("get", {"place": receipt["place"]})
    assert document["records"][0]["value_text"] == "grüße"


@pytest.mark.parametrize(
    ("command", "params", "kind", "part"),
    [
        ("find", {}, "bad-input", "peer is missing"),
        ("find", {"peer": 7}, "bad-input", "peer must be a string"),
        ("find", {"peer": "abc"}, "bad-peer-id", "49 too few"),
        ("find", {"peer": FRIEND.text, "tarce": True}, "bad-input", "unknown parameter tarce"),
        ("put", {}, "bad-input", "value_base64 is missing"),
        ("put", {"value_base64": "?"}, "bad-input", "not base64"),
        ("put", {"value_base64": "", "expected_seq": 1}, "bad-input", "salt"),
        ("put", {"value_base64": "", "salt_base64": "aa==", "expected_seq": True}, "bad-input", "a whole number"),
        ("put", {"value_base64": "", "salt_base64": "aa==", "topic": "x"}, "bad-input", "not both"),
        ("put-many", {}, "bad-input", "1 to 1000 entries"),
        ("put-many", {"records": []}, "bad-input", "1 to 1000 entries"),
        ("put-many", {"records": [1]}, "bad-input", "list of objects"),
        ("put-many", {"records": [{"value_base64": "", "x": 1}]}, "bad-input", "records[0]: unknown parameter x"),
        ("get", {}, "bad-input", "give a salt"),
        ("get", {"place": "zz"}, "bad-input", "40 hexadecimal digits"),
        ("frobnicate", {}, "unknown-command", "frobnicate"),
        ("send", {}, "unknown-command", "a stream"),
    ],
)
async def test_bad_input_is_named(api, command, params, kind, part):
    failed = await failure(api.call(command, params))
    assert (failed.kind, failed.fault) == (kind, "local")
    assert part in failed.message
    assert "\n" not in failed.message


async def test_what_nobody_foresaw_is_an_internal_failure(api, node, caplog):
    async def broken(peer, *, explain):
        raise ZeroDivisionError("oops\nand more")

    node.find = broken
    failed = await failure(api.call("find", {"peer": FRIEND.text}))
    assert (failed.kind, failed.fault) == ("internal", "internal")
    assert failed.message == "ZeroDivisionError: oops and more"
    assert "ZeroDivisionError" in caplog.text


async def test_a_local_error_keeps_its_name_and_remedy(api, node):
    class DiskOnFire(LocalError):
        remedy = "call the fire brigade"

    async def burning(peer, *, explain):
        raise DiskOnFire("the disk burns; call the fire brigade")

    node.find = burning
    failed = await failure(api.call("find", {"peer": FRIEND.text}))
    assert (failed.kind, failed.message, failed.hint) == ("disk-on-fire", "the disk burns", "call the fire brigade")


async def test_connect_ends_with_the_outcome(api):
    events = await collected(api, "connect", {"peer": FRIEND.text, "timeout": 3})
    assert [event["event"] for event in events] == ["connecting", "done"]
    assert events[-1]["phases"] == {"lookup": 0.1, "ice": 0.02, "total": 0.2}


async def test_send_tells_progress_before_the_end(api, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    events = await collected(api, "send", {"peer": FRIEND.text, "path": str(tmp_path / "file")})
    assert [event["event"] for event in events] == ["sending", "progress", "done"]
    assert events[1] == {"event": "progress", "done": 1000, "total": 1000}
    assert events[2]["ok"] is True


async def test_send_wants_an_absolute_path(api):
    with pytest.raises(ApiFailure, match="absolute"):
        await collected(api, "send", {"peer": FRIEND.text, "path": "file"})


async def test_receive_takes_from_those_who_are_named(api, node, tmp_path: Path):
    node.offers.append(FileOffered("t2", STRANGER, "evil.txt", 5))
    params = {"directory": str(tmp_path), "accept_from": [FRIEND.text], "count": 1}
    events = await collected(api, "receive", params)
    offers = {event["name"]: event["accepted"] for event in events if event["event"] == "offer"}
    assert offers == {"notes.txt": True, "evil.txt": False}
    assert [event["event"] for event in events if event["event"] in ("received", "failed")] == ["received", "failed"]
    assert (tmp_path / "notes.txt").read_bytes() == b"notes"
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("accept", [True, False])
async def test_receive_asks_and_decide_answers(api, tmp_path: Path, accept: bool):
    events = []
    async with aclosing(api.stream("receive", {"directory": str(tmp_path), "ask": True, "count": 1})) as stream:
        async for event in stream:
            events.append(event)
            if event["event"] == "offer":
                assert event["accepted"] is None
                await api.call("decide", {"offer": event["offer"], "accept": accept})
    assert events[-1]["event"] == ("received" if accept else "failed")
    assert (tmp_path / "notes.txt").exists() is accept


async def test_an_offer_is_refused_when_who_was_asked_goes_away(api, node, tmp_path: Path):
    """The transfer is a task of the link's, which the end of `receive` does not cancel."""
    transfers = []

    async def receive_files(directory, *, decide, on_event, count=None):
        transfers.append(asyncio.ensure_future(decide(node.offers[0])))
        await asyncio.Event().wait()

    node.receive_files = receive_files
    async with aclosing(api.stream("receive", {"directory": str(tmp_path), "ask": True})) as events:
        async for event in events:
            if event["event"] == "offer":
                break
    assert await asyncio.wait_for(transfers[0], 10) is False


async def test_decide_knows_what_waits(api):
    failed = await failure(api.call("decide", {"offer": "77", "accept": True}))
    assert failed.kind == "no-such-offer"


async def test_log_shows_the_past_by_level(api):
    events = await collected(api, "log", {"last": 10})
    assert [event["text"] for event in events] == ["joined", "look"]
    assert events[0] == {"time": NOW, "level": "info", "kind": "happened", "text": "joined", "fields": {}}
    assert len(await collected(api, "log", {"last": 10, "level": "debug"})) == 3
    assert [event["text"] for event in await collected(api, "log", {"last": 1})] == ["look"]


async def test_log_follows_until_it_is_closed(api, node):
    seen = []
    async with aclosing(api.stream("log", {"last": 0, "follow": True})) as stream:
        asyncio.get_running_loop().call_later(0.01, node.log.add, Happened(NOW, "too quiet", "debug"))
        asyncio.get_running_loop().call_later(0.02, node.log.add, Happened(NOW, "new"))
        async for event in stream:
            seen.append(event["text"])
            break
    assert seen == ["new"]
