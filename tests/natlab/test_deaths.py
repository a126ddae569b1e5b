"""A file arrives whole though what it rests on is killed in the middle of it: the relay, the home nodes, or both."""

import asyncio
import contextlib

import pytest

from tests.natlab import wire
from tests.natlab.matrix import RELAYS
from tests.natlab.namespaces import LabError
from tests.natlab.nodes import Nodes
from tests.natlab.test_transfers import RATE, arrives, file, pair

__all__ = ["file"]

pytestmark = [pytest.mark.usefixtures("machine"), pytest.mark.slow]

OPEN_NODES = 10
"""Both peers may have other home nodes, six in all, and three more are to be left."""


@pytest.fixture
async def nodes(tmp_path):
    """A laboratory with slow lines and a network of ten, whose relays are known."""
    if problem := wire.missing():
        pytest.skip(f"not on this platform: {problem}")
    with Nodes() as made:
        lines = tmp_path / "lines"
        lines.mkdir()
        made.lab.lines(lines, delay=0.01, rate=RATE)
        opened = made.open_network(OPEN_NODES)
        await made.joined(opened, published=False)
        yield made


async def announced(nodes):
    """Wait until the relays of the open network can be found."""
    opened = [daemon for name, daemon in nodes.daemons.items() if name.startswith("open-")]
    with contextlib.suppress(LabError):
        await asyncio.gather(*(daemon.logged("relay-announced", RELAYS) for daemon in opened))


def at(nodes, address):
    """The node in the open that has this address: `HOST:PORT`, perhaps behind `KEY@`."""
    host = address.rpartition("@")[2].rpartition(":")[0].strip("[]")
    (one,) = [one for one in nodes.daemons.values() if host in (one.host.v4, one.host.v6)]
    return one


async def homes(nodes, asking, peer):
    """The home nodes that a peer's record names, those of both families once."""
    found = await asking.call("find", peer=await peer.peer())
    assert found["found"], found
    return list(dict.fromkeys(at(nodes, contact) for contact in found["homes"]))


async def link(one, other):
    """The one end's view of the link with the other."""
    (shown,) = [shown for shown in (await one.call("peers"))["links"] if shown["peer"] == await other.peer()]
    return shown


async def kill(victims):
    await asyncio.gather(*(victim.kill() for victim in dict.fromkeys(victims)))
    assert not any(victim.alive for victim in victims)


async def test_every_home_node_of_both_dies(nodes, file):
    one, other = await pair(nodes)
    mine, theirs = await homes(nodes, other, one), await homes(nodes, one, other)
    assert len(mine) == len(theirs) == 3
    victims = [*mine, *theirs]
    await arrives(one, other, file, lambda: kill(victims))
    # The link needed none of them; who wants to meet them tomorrow does.
    async with asyncio.timeout(60):
        while not (new := await homes(nodes, one, other)) or set(new) & set(victims):
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("more", ["alone", "with the receiver's home nodes"])
async def test_the_relay_dies(nodes, file, more):
    await announced(nodes)
    one, other = await pair(nodes, "symmetric", "symmetric")
    said = await one.connect(await other.peer(), 20.0)
    assert said["connected"] and said["path"] == "relay", said
    before = (await link(one, other))["address"]
    victims = [at(nodes, before)]
    if more != "alone":
        victims += await homes(nodes, one, other)

    await arrives(one, other, file, lambda: kill(victims))
    after = await link(one, other)
    assert after["type"] == "relay" and at(nodes, after["address"]) not in victims
