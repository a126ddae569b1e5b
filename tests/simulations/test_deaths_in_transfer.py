"""Whole nodes in the middle of a file, and what they rest on dies: homes, first contacts, half of the DHT, the relay.

Each time bytes flow when it happens, both ends go on, and what arrives is what was sent.
"""

import asyncio
import hashlib

import pytest

from tests.simulations.shell_worlds import play

SIZE = 1_500_000
"""Several seconds of the simulated channel, direct or relayed."""


def home_nodes(world, node):
    """The peers that forward to a node."""
    contacts = node.node.driver.engine.homes()
    homes = [peer for peer in world.living if any(peer.address == contact.address for contact in contacts)]
    assert len(homes) == len(contacts) == 3
    return homes


async def connected(source, target):
    outcome = await source.node.connect(target.key)
    assert outcome.connected, outcome
    return outcome.link


async def under_way(world, shells, source, target, link):
    """A file of which a part has been sent, and a part has not."""
    path = shells.file("big.bin", SIZE)
    before = link.stats.bytes_sent
    sent = asyncio.ensure_future(source.node.send_file(target.key, path))
    async with asyncio.timeout(60):
        while link.stats.bytes_sent - before < SIZE // 4:
            assert not sent.done()
            await asyncio.sleep(0.1)
    assert link.stats.bytes_sent - before < SIZE
    return path, sent


async def arrived(target, path, sent):
    async with asyncio.timeout(300):
        outcome = await sent
    assert outcome.ok, outcome
    (received,) = target.folder.iterdir()
    assert hashlib.sha256(received.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def servers_of(world, nodes):
    return [peer for peer in world.living if peer not in [node.peer for node in nodes]]


def all_homes(world, nodes):
    return list({id(peer): peer for node in nodes for peer in home_nodes(world, node)}.values())


def first_contacts(world, nodes):
    return [peer for peer in world.bootstraps if peer.alive]


def half_of_all(world, nodes):
    servers = servers_of(world, nodes)
    return servers[::2][: len(servers) // 2]


def half_with_all_first_contacts(world, nodes):
    first = first_contacts(world, nodes)
    others = [peer for peer in servers_of(world, nodes) if peer not in first]
    return first + others[: len(servers_of(world, nodes)) // 2 - len(first)]


@pytest.mark.parametrize("whom", [all_homes, first_contacts, half_of_all, half_with_all_first_contacts])
def test_a_transfer_outlives(whom):
    async def script(world, shells, nodes):
        source, target = nodes
        link = await connected(source, target)
        assert link.stats.path.direct
        path, sent = await under_way(world, shells, source, target, link)
        victims = whom(world, nodes)
        assert victims and len(victims) < len(world.living) - 2
        world.kill(peers=victims)
        assert not any(peer.alive for peer in victims) and not sent.done()
        await arrived(target, path, sent)
        # Nor is it the last one: the link that stands carries the next, and homes are found anew.
        await world.run(seconds=60)
        assert len(target.node.driver.engine.homes()) == 3
        assert not {peer.address for peer in victims} & {home.address for home in target.node.driver.engine.homes()}

    play(script, count=2)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("alone", marks=pytest.mark.slow),
        pytest.param("with the receiver's home nodes", marks=pytest.mark.slow),
        "with half of all others",
    ],
)
def test_a_relayed_transfer_outlives_its_relay(more):
    async def script(world, shells, nodes):
        servers, (source, target) = nodes[:-2], nodes[-2:]
        link = await connected(source, target)
        (relay,) = link.stats.path.via
        path, sent = await under_way(world, shells, source, target, link)
        first = next(node.peer for node in servers if node.key == relay)
        victims = [first]
        if more == "with the receiver's home nodes":
            victims += [peer for peer in home_nodes(world, target) if peer is not first]
        elif more == "with half of all others":
            others = [peer for peer in servers_of(world, (source, target)) if peer is not first]
            victims += others[: len(others) // 2]
        world.kill(peers=victims)
        assert not first.alive and not sent.done()
        await arrived(target, path, sent)
        assert link.stats.path.via and link.stats.path.via != (relay,)

    play(relayed(script), count=1, profile="server", nat="symmetric")


def relayed(script):
    """Twelve whole servers, which relay, and two nodes behind routers that no pair of addresses gets through."""

    async def with_relays(world, shells, nodes):
        nodes += shells.add(11, profile="server")
        await world.settle()
        nodes += shells.add(2, profile="home")
        await world.settle()
        await world.run(seconds=120)
        return await script(world, shells, nodes)

    return with_relays
