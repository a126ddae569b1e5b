"""Whose files a node takes, and what sender and receiver are told."""

import asyncio
import contextlib
from typing import Any

import pytest

from tests.node.node_network import found, kinds, network, until


@pytest.fixture
async def net(tmp_path):
    async with network(tmp_path) as made:
        yield made


async def test_nobody_there_to_ask_means_no(net, tmp_path):
    one, two, _ = await net.servers(3)
    await found(one, two)
    (tmp_path / "x").write_bytes(b"content")
    sent = await one.send_file(two.identity, tmp_path / "x")
    assert not sent.ok and sent.reason == "not-wanted"
    assert "FileMissed" in kinds(two)


async def test_the_configuration_may_say_yes(net, tmp_path):
    await net.start("server")
    one = await net.start("one")
    two = await net.start("two", receive="accept", accept_from=(one.identity,), max_receive_bytes=10)
    assert await two.wait_joined(10)
    await found(one, two)
    (tmp_path / "x").write_bytes(b"content")
    (tmp_path / "big").write_bytes(b"more than ten bytes")
    assert (await one.send_file(two.identity, tmp_path / "x")).ok
    assert (two.config.received_dir / "x").read_bytes() == b"content"
    assert (await one.send_file(two.identity, tmp_path / "big")).reason == "too-big"
    assert "FileTaken" in kinds(two)


async def test_the_latest_who_watches_is_asked(net, tmp_path):
    one, two, _ = await net.servers(3)
    await found(one, two)
    (tmp_path / "x").write_bytes(b"content")
    earlier: list[Any] = []
    later: list[Any] = []
    events: list[Any] = []

    def refuse(offer):
        later.append(offer)
        return False

    def accept(offer):
        earlier.append(offer)
        return True

    watchers = [
        asyncio.ensure_future(two.receive_files(tmp_path / "a", decide=accept)),
        asyncio.ensure_future(two.receive_files(tmp_path / "b", decide=refuse, on_event=events.append)),
    ]
    await asyncio.sleep(0)
    assert (await one.send_file(two.identity, tmp_path / "x")).reason == "not-wanted"
    assert not earlier and [(offer.name, offer.size, offer.peer) for offer in later] == [("x", 7, one.identity)]
    assert events[-1].event == "failed" and "not-wanted" in events[-1].reason
    watchers[1].cancel()
    await asyncio.wait(watchers[1:])
    assert (await one.send_file(two.identity, tmp_path / "x")).ok
    assert (tmp_path / "a" / "x").read_bytes() == b"content"
    watchers[0].cancel()
    await asyncio.wait(watchers)


async def test_a_link_that_died_unnoticed_costs_a_sender_nothing(net, tmp_path):
    await net.start("server")
    one = await net.start("one")
    two = await net.start("two", receive="accept", accept_from=(one.identity,))
    assert await two.wait_joined(10)
    await found(one, two)
    outcome = await one.connect(two.identity)
    outcome.link.mux.close()  # As a peer does that has just restarted.
    (tmp_path / "x").write_bytes(b"content")
    with contextlib.suppress(AssertionError):
        await until(lambda: not one.links(), "the end of the link", 0.2)
    assert (await one.send_file(two.identity, tmp_path / "x")).ok
