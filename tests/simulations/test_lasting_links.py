"""Whole nodes whose link has to go on elsewhere in the middle of a file: the path is cut, or the address changes."""

import asyncio
import hashlib

import pytest

from node.adapters.webrtc import WebRtcConfig
from node.node_events import LinkEnded, PathChanged, PathLost
from tests.simulations.shell_worlds import play

SIZE = 1_200_000
"""Several seconds: what the simulated channel makes of a path on which datagrams overtake each other."""


async def another_channel(dialler, listener):
    """What a second attempt at meeting would come to: a channel with each end in its node's links."""
    near, far = (node.peer.host.links.new_session(WebRtcConfig()) for node in (dialler, listener))
    answer = await far.answer(await near.offer())
    taking = asyncio.ensure_future(far.connect(dialler.key))
    opened = await near.connect(listener.key, answer)
    return await asyncio.gather(
        dialler.node.inside.links.join(listener.key, opened, initiated=True),
        listener.node.inside.links.join(dialler.key, await taking, initiated=False),
    )


def told(node, kind):
    return [event for event in node.node.recent_events() if isinstance(event, kind)]


async def sending(shells, source, target):
    """A file under way, a good part of it sent."""
    outcome = await source.node.connect(target.key)
    assert outcome.connected
    path = shells.file("big.bin", SIZE)
    sent = asyncio.ensure_future(source.node.send_file(target.key, path))
    await asyncio.sleep(1.0)
    assert not sent.done()
    assert 300_000 < outcome.link.stats.bytes_sent < SIZE
    return outcome.link, path, sent


async def arrived(target, path, sent):
    async with asyncio.timeout(90):
        outcome = await sent
    assert outcome.ok, outcome
    (received,) = target.folder.iterdir()
    assert hashlib.sha256(received.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize("moving", [0, 1], ids=["the sender", "the receiver"])
def test_a_transfer_survives_a_change_of_address(moving):
    async def script(world, shells, nodes):
        source, target = nodes[:2]
        for node in (source, target):
            node.node.inside.links.on_suspect = lambda _peer: None
        link, path, sent = await sending(shells, source, target)
        before = link.stats.path
        # Without a word: the old address is nobody's any more.
        mover = nodes[moving]
        old = mover.peer.host.links.ip
        world.network.partition([old])
        await asyncio.sleep(3.5)
        assert source.node.inside.links.suspended(target.key) and len(told(source, PathLost)) == 1
        assert target.node.inside.links.suspended(source.key)
        mover.peer.host.links.ip = "11.99.0.1"
        joined = await another_channel(*((target, source) if moving else (source, target)))
        assert link in joined
        await arrived(target, path, sent)
        assert link.stats.path != before
        assert "11.99.0.1" in (told(target, PathChanged) if not moving else told(source, PathChanged))[0].new
        assert not told(source, LinkEnded) and source.node.links()[0].bytes_sent > SIZE

    play(script, count=2, profile="server", nat="none")


def test_a_transfer_goes_over_to_a_better_path_and_back_again():
    async def script(world, shells, nodes):
        source, target = nodes[:2]
        link, path, sent = await sending(shells, source, target)
        for dialler, listener in ((source, target), (target, source), (source, target)):
            assert link in await another_channel(dialler, listener)
            await asyncio.sleep(0.3)
        await arrived(target, path, sent)
        assert len(told(source, PathChanged)) == len(told(target, PathChanged)) == 3
        assert not told(source, PathLost) and not told(target, PathLost)
        await asyncio.sleep(3)
        assert source.open_links == target.open_links == 1

    play(script, count=2, profile="server", nat="none")
