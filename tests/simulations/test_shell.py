"""Complete nodes in a world: what users do with them, and that they are peers like any other."""

import asyncio

import pytest

from dht.events import GetDone
from node.node_results import Reason
from simulations import World
from simulations.errors import BadScenario, SimulationError
from simulations.shell import FullNodes
from tests.simulations.shell_worlds import echo, play


def test_nodes_join_publish_find_each_other_and_talk():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        assert all(node.node.status().published is not None for node in nodes)
        assert [node.key for node in nodes] == [node.node.identity for node in nodes]
        found = await one.node.find(other.key)
        assert found.found and found.ways
        other.node.serve("echo", echo)
        before = world.elapsed
        met = await one.node.connect(other.key)
        assert met.connected and met.path == "srflx", met
        assert met.phases["total"] == pytest.approx(world.elapsed - before)
        assert all(0.01 < met.phases[name] < 1 for name in ("lookup", "gather", "signaling", "ice", "dtls", "sctp"))
        assert (await one.node.ping_link(other.key)).rtt == pytest.approx(0.06, rel=1)
        stream = await met.link.open_stream("echo")
        said = bytes(range(256)) * 500
        await stream.write(said)
        await stream.close()
        assert await stream.read_exactly(len(said)) == said
        file = shells.file("file.bin", 300_000)
        sent = await one.node.send_file(other.key, file)
        assert sent.ok and sent.phases["transfer"] > 0.1, sent
        assert (other.folder / "file.bin").read_bytes() == file.read_bytes()
        assert (one.open_links, other.open_links) == (1, 1)

    play(script)


def test_they_are_peers_of_the_world_like_any_other():
    async def script(world, shells, nodes):
        seen = []
        world.watchers.append(lambda peer, event, now: seen.append((peer, type(event))))
        record = await world.put(by=nodes[0].peer)
        read = await world.get(record, by=nodes[1].peer)
        assert record.ok and read.ok
        assert (nodes[1].peer, GetDone) in seen
        rows = {row[0]: row for row in world.result().tables["nodes"].rows()}
        assert all(rows[node.peer.index][1] == "home" and rows[node.peer.index][7] > 5 for node in nodes)
        assert world.metrics.figure("join.success") == 1.0
        assert world.metrics.figure("join.count") == len(world.peers)
        assert {peer.index for peer in world.group("home")} == {node.peer.index for node in nodes}

    play(script)


def test_a_killed_node_says_nothing_more_and_its_tasks_end():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        assert (await one.node.connect(other.key)).connected
        dying, tasks = asyncio.ensure_future(other.node.connect(nodes[2].key)), len(asyncio.all_tasks())
        await world.run(seconds=0.05)
        sent = world.network.host(other.peer.address[0]).sent
        world.kill(peers=[other.peer])
        assert not other.alive and other.peer not in world.living
        with pytest.raises(BadScenario, match="not running"):
            _ = other.node
        await world.run(seconds=3)
        assert world.network.host(other.peer.address[0]).sent == sent
        assert (await dying).reason in (Reason.STOPPING, Reason.LINK_FAILED)
        assert len(asyncio.all_tasks()) < tasks - 3
        # Nobody was told, so the other end of the link finds out by itself.
        assert one.open_links == 1
        await world.run(seconds=40)
        assert one.open_links == 0
        assert any("lost" in str(event) for event in one.node.recent_events())

    play(script)


@pytest.mark.parametrize("keep_state", [True, False])
def test_only_a_node_whose_disk_survived_finds_its_old_contacts(keep_state):
    async def script(world, shells, nodes):
        one = nodes[0]
        identity, contacts = one.node.identity, len(one.node.contacts())
        one.kill(keep_state=keep_state)
        world.kill(peers=world.bootstraps)
        await world.run(seconds=1)
        world.restart([one.peer], keep_state=keep_state)
        await world.run(seconds=90)
        assert one.node.identity == identity == one.key
        assert one.node.status().joined is keep_state
        assert (len(one.node.contacts()) > contacts / 2) is keep_state
        assert (await nodes[1].node.connect(one.key)).connected is keep_state

    play(script)


def test_a_server_keeps_its_node_key_and_a_client_does_not():
    async def script(world, shells, nodes):
        servers, clients = shells.add(2, "server"), shells.add(2, "phone")
        await world.settle()
        for kept, group in ((True, servers), (False, clients)):
            for node in group:
                key = node.peer.engine.own_key
                node.kill()
                node.start()
                assert (node.peer.engine.own_key == key) is kept

    play(script, count=1)


def test_who_stops_in_good_order_says_farewell():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        assert (await one.node.connect(other.key)).connected
        await world.run(seconds=1)  # The other end has the link half a round trip later.
        before = world.elapsed
        await other.stop()
        assert world.elapsed - before < 2
        await world.run(seconds=1)
        assert not other.alive and one.open_links == 0
        assert any("closed-by-peer" in str(event) for event in one.node.recent_events())
        with pytest.raises(BadScenario, match="not running"):
            await other.stop()
        other.start()
        await world.settle()

    play(script)


def test_a_cut_network_cuts_links_and_a_healed_one_lets_them_meet_again():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        assert (await one.node.connect(other.key)).connected
        world.partition([one.peer])
        await world.run(seconds=40)
        assert (one.open_links, other.open_links) == (0, 0)
        alone = await one.node.connect(other.key)
        assert not alone.connected and alone.reason is not Reason.NONE
        world.heal()
        await world.run(minutes=5)
        assert (await one.node.connect(other.key)).connected

    play(script)


def test_a_frozen_node_says_nothing_until_it_wakes():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        assert (await one.node.connect(other.key)).connected
        world.freeze(peers=[other.peer])
        asking = asyncio.ensure_future(one.node.ping_link(other.key))
        await world.run(seconds=1)
        assert not asking.done()
        world.wake([other.peer])
        assert (await asking).reached

    play(script)


def test_full_nodes_are_refused_where_time_is_not_virtual():
    shells = FullNodes(World(seed=1))
    with pytest.raises(SimulationError, match=r"simulations\.run"):
        shells.add(1)
    with pytest.raises(BadScenario, match="cannot be added"):
        shells.add(0)


def test_a_node_is_started_once():
    async def script(world, shells, nodes):
        with pytest.raises(BadScenario, match="running already"):
            nodes[0].start()
        nodes[0].kill()
        with pytest.raises(BadScenario, match="cannot be stopped"):
            nodes[0].peer.stop(keep_state=True)

    play(script, count=1)
