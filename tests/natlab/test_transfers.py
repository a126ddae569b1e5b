"""A file arrives whole, whatever dies or moves while it is under way."""

import hashlib
import random

import pytest

from tests.natlab import wire
from tests.natlab.nodes import TAKES_FILES, Nodes

pytestmark = [pytest.mark.usefixtures("machine"), pytest.mark.slow]

SIZE = 6_000_000
RATE = 2_000_000
"""Bytes a second to each address: a transfer of some seconds, so that much can happen in it."""


@pytest.fixture
def nodes(tmp_path):
    """A laboratory with slow lines and a network of eight."""
    if problem := wire.missing():
        pytest.skip(f"not on this platform: {problem}")
    with Nodes() as made:
        lines = tmp_path / "lines"
        lines.mkdir()
        made.lab.lines(lines, delay=0.01, rate=RATE)
        made.open_network(8)
        yield made


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(random.Random(4).randbytes(SIZE))
    return path


async def pair(nodes, dialler="port-restricted", listener="port-restricted"):
    """Two nodes that have joined."""
    one, other = nodes.behind("one", dialler), nodes.behind("other", listener, **TAKES_FILES)
    await nodes.joined([one, other])
    return one, other


async def arrives(one, other, file, half_way):
    """Send it; when half of it is sent something happens."""
    said = await one.send(await other.peer(), file, 60.0, half_way)
    assert said["ok"], said
    (received,) = (other.folder / "received").glob("*.bin")
    assert hashlib.sha256(received.read_bytes()).digest() == hashlib.sha256(file.read_bytes()).digest()


async def test_the_bootstrap_nodes_and_half_of_all_others_die(nodes, file):
    one, other = await pair(nodes)

    async def die():
        for number in range(5):
            await nodes.daemons[f"open-{number}"].kill()

    await arrives(one, other, file, die)


@pytest.mark.parametrize("who", ["one", "other"])
async def test_the_sender_or_the_receiver_moves_to_another_network(nodes, file, who):
    one, other = await pair(nodes)
    cafe = nodes.lab.place("cafe", "address-restricted")

    async def move():
        nodes.lab.move(nodes.daemons[who].host, cafe)

    await arrives(one, other, file, move)


async def test_a_router_forgets_its_mappings(nodes, file):
    one, other = await pair(nodes, "symmetric", "endpoint-independent")

    async def forget():
        nodes.lab.forget(one.host.place)

    await arrives(one, other, file, forget)


async def test_udp_is_blocked_from_one_moment_to_the_next(nodes, file):
    one, other = await pair(nodes)

    async def block():
        nodes.lab.block_udp(one.host.place)

    await arrives(one, other, file, block)
