"""Peers on one switch find each other: separate processes, no router, no internet, no first contact, nothing set.

Times are printed, not judged: a machine that runs other tests meanwhile is slow. `python -m tests.natlab lan` measures.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.adapters.keyfile import load_or_create_identity, load_or_create_node_key
from node.protocols.lan_beacon import Announcement, LanKeys, seal_announcement, to_txt
from tests.natlab import avahi, liar
from tests.natlab.namespaces import LAN_TOOLS, missing_tools
from tests.natlab.nodes import PORT, Daemon, Document
from tests.natlab.switch import Switch

FOUND = 15.0
"""Seconds after which a peer counts as not found. Ordinarily it takes 0.1."""

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("machine")]


@pytest.fixture(scope="module")
def standing(machine: None) -> Iterator[Switch]:
    """A switch for all tests of this file: making one takes seconds."""
    with Switch() as made:
        yield made


@pytest.fixture
def switch(standing: Switch) -> Iterator[Switch]:
    """A switch with nothing on it."""
    yield standing
    standing.empty()


async def found(by: Daemon, peer: str, timeout: float = FOUND) -> Document:
    """Wait until a node has found a peer on its local network."""
    wanted = lambda line: line.get("kind") == "lan-peer-found" and line["fields"]["peer"] == peer  # noqa: E731
    return await by.hear(wanted, timeout, f"finding {peer} on the local network")


async def both_found(first: Daemon, second: Daemon) -> None:
    """Wait until two nodes have found each other; prints how long that took since the second one looked."""
    by_first, by_second = await found(first, await second.peer()), await found(second, await first.peer())
    began = by_second["time"] - by_second["fields"]["seconds"]
    for daemon, seen in ((first, by_first), (second, by_second)):
        print(f"{daemon.name} found the other {seen['time'] - began:.3f} s after both looked: {seen['fields']['ways']}")


async def problem(by: Daemon, what: str) -> str:
    """Wait for an event that says what keeps peers from being found."""
    line = await by.hear(
        lambda line: line.get("kind") == "lan-problem" and line["fields"]["what"] == what, FOUND, f"a problem of {what}"
    )
    return str(line["text"])


async def send(by: Daemon, to: Daemon, folder: Path) -> None:
    """Send a file and compare."""
    content = random.Random(1).randbytes(300_000)
    file = folder / "letter.bin"
    file.write_bytes(content)
    said = await by.send(await to.peer(), file, 30.0)
    assert said["ok"], said
    assert (to.folder / "received" / "letter.bin").read_bytes() == content


async def test_two_machines_on_one_switch_find_each_other_and_send_a_file(switch: Switch) -> None:
    alice = switch.node(switch.host("alice"))
    await alice.ready()
    bob = switch.node(switch.host("bob"))
    await both_found(alice, bob)
    connected = await bob.connect(await alice.peer(), 20.0)
    assert connected["connected"], connected
    assert [rung["rung"] for rung in connected["rungs"] if rung["outcome"] == "won"] == ["lan"]
    await send(bob, alice, switch.folder)
    listed = await alice.call("lan")
    (peer,) = listed["peers"]
    assert peer["peer"] == await bob.peer()
    assert listed["interfaces"] == [f"eth0: {alice.host.v4}"]
    # Who stops says goodbye.
    bob.signal(15)
    assert await bob.ended() == 0
    lost = await alice.logged("lan-peer-lost", FOUND)
    assert "it said goodbye" in lost["text"]


async def test_where_mdns_is_blocked_the_nodes_own_beacons_do_on_ipv6_alone(switch: Switch) -> None:
    hosts = [switch.host(name, v4=False, v6=True) for name in ("alice", "bob")]
    for host in hosts:
        switch.drop(host, 5353)
    alice, bob = (switch.node(host) for host in hosts)
    await both_found(alice, bob)
    await send(alice, bob, switch.folder)
    assert "mDNS is blocked on this machine" in await problem(alice, "mdns")
    listed = await alice.call("lan")
    assert [peer["ways"] for peer in listed["peers"]] == [["beacon"]]
    assert len(listed["problems"]) == 1


async def test_members_of_a_private_network_find_each_other_unread_by_strangers(switch: Switch) -> None:
    """Eve is on the switch, too: all that she gets to know is that somebody is there."""
    key = {"ROOKERY_NETWORK_KEY": "ab" * 32}
    alice = switch.node(switch.host("alice"), **key)
    bob = switch.node(switch.host("bob"), **key)
    eve = switch.node(switch.host("eve"), ROOKERY_LAN_MDNS="false")
    await both_found(alice, bob)
    assert "it is in another network than this one" in await problem(eve, "network")
    assert (await eve.call("lan"))["peers"] == []


async def test_a_liar_on_the_switch_impersonates_nobody(switch: Switch) -> None:
    folder = switch.folder / "bob"
    folder.mkdir()
    victim = load_or_create_identity(folder / "identity.key").public
    node_key = load_or_create_node_key(folder / "node.key").public
    mallory = switch.host("mallory")
    lies = switch.folder / "mallory"
    lies.mkdir()
    switch.start(mallory, liar.MAIN, (victim.text, node_key.hex()), {}, lies)
    alice = switch.node(switch.host("alice"))
    await alice.ready()
    async with asyncio.timeout(FOUND):
        while not (lies / "lied").exists() or int((lies / "lied").read_text() or 0) < 3:
            await asyncio.sleep(0.05)
    # The victim is not even there: nothing that is said of it makes it a peer, or a link.
    said = await alice.connect(victim.text, 3.0)
    assert not said["connected"]
    assert (await alice.call("lan"))["peers"] == []
    bob = switch.node(switch.host("bob"), ROOKERY_MODE="server")
    seen = await found(alice, victim.text)
    assert seen["fields"]["contact"].endswith(f"@{bob.host.v4}:{PORT}")
    said = await alice.connect(victim.text, 20.0)
    assert said["connected"], said
    await send(alice, bob, switch.folder)
    peers = {peer["peer"]: peer["contact"] for peer in (await alice.call("lan"))["peers"]}
    assert peers[victim.text].endswith(f"@{bob.host.v4}:{PORT}")
    # Mallory may call bob's node hers. It leads to bob.
    assert all(contact.endswith(f"@{bob.host.v4}:{PORT}") for contact in peers.values())


async def test_avahi_announces_a_node_to_us_and_lists_ours(switch: Switch) -> None:
    """Bob's node knows no mDNS: Avahi on his machine announces it, with the TXT record that it would have."""
    if missing := missing_tools(LAN_TOOLS):
        pytest.skip(f"missing tools: install {', '.join(missing)}")
    folder = switch.folder / "bob"
    folder.mkdir()
    identity = load_or_create_identity(folder / "identity.key")
    node_key = load_or_create_node_key(folder / "node.key").public
    host = switch.host("bob")
    said = Announcement(identity.public, node_key, PORT, (host.v4,), b"", int(time.time() * 1000), 60)
    txt = to_txt(seal_announcement(said, identity, LanKeys(b""), random.Random(1)))
    there = switch.folder / "avahi"
    environment = avahi.prepare(there, {"bobs-machine": (PORT, txt)})
    pid = switch.start(host, avahi.MAIN, (), environment, there)
    bob = switch.node(host, ROOKERY_LAN="off", ROOKERY_MODE="server")
    alice = switch.node(switch.host("alice"))
    switch.drop(alice.host, 7717)
    seen = await found(alice, await bob.peer())
    assert seen["fields"]["ways"] == ["mdns"]
    await send(alice, bob, switch.folder)
    assert switch.spaces.exit_code(pid) is None, (there / "stderr").read_text()
    browse = [
        "env",
        *(f"{name}={value}" for name, value in environment.items()),
        "avahi-browse",
        "-rptk",
        "_rookery._udp",
    ]
    async with asyncio.timeout(FOUND):
        while True:
            lines = [
                line.split(";", 9) for line in switch.spaces.run(host.space, browse).splitlines() if line[0] == "="
            ]
            ours = [line for line in lines if line[7] == alice.host.v4]
            if ours:
                break
            await asyncio.sleep(0.1)
    assert ours[0][4:6] == ["_rookery._udp", "local"]
    assert ours[0][8] == str(PORT)
    assert "txtvers=1" in ours[0][9] and '"a=' in ours[0][9]
