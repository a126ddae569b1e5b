"""Nodes in processes of their own see each other come, change and die, by gossip over real links."""

from typing import Any

import pytest

from node.demo_network import Host, Network

WAIT = 60.0
BRISK = {"ROOKERY_PRESENCE_INTERVAL": "1"}
"""Beats that show a death in seconds."""


def shown(document: dict[str, Any]) -> tuple[str, str, str]:
    """The state of a peer, and what it says of itself."""
    known = document["peer"] or {}
    return known.get("state", ""), known.get("status", ""), known.get("status_text", "")


async def sees(host: Host, peer: str, wanted: tuple[str, str, str]) -> None:
    document = await host.until("presence", lambda said: shown(said) == wanted, WAIT, peer=peer)
    assert shown(document) == wanted


@pytest.mark.slow
async def test_a_status_and_a_death_are_seen_by_another_process(net: Network) -> None:
    await net.start_server()
    rook, jay = [await net.start_host(name, **BRISK) for name in ("rook", "jay")]
    peer = (await jay.call("status"))["identity"]
    await jay.until("status", lambda said: bool(said["published"]), WAIT)
    linked = await net.nursery.start("connect", "connect", peer, "--data-dir", str(rook.folder))
    assert await linked.wait(WAIT) == 0, linked.complaints
    await sees(rook, peer, ("online", "online", ""))

    folder = str(jay.folder)
    said = await net.nursery.start("presence", "presence", "set", "away", "gone fishing", "--data-dir", folder)
    assert await said.wait(WAIT) == 0, said.complaints
    await sees(rook, peer, ("online", "away", "gone fishing"))

    await jay.process.kill()
    await sees(rook, peer, ("offline", "offline", "gone fishing"))
