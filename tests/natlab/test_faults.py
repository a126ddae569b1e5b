"""What a running laboratory can suffer: nodes killed, machines moved, cables drawn, UDP blocked all of a sudden."""

import asyncio
import sys

import pytest

from tests.natlab.nodes import Nodes
from tests.natlab.selftest import answering
from tests.natlab.topology import Lab

pytestmark = pytest.mark.usefixtures("machine")

ASK = "import sys; from tests.natlab.probes import probe; seen = probe(*sys.argv[1:3]); print(seen.udp, seen.tcp)"


def passes(lab, host, servers):
    """Whether UDP and TCP pass between a machine and the open network."""
    return lab.spaces.run(host.space, [sys.executable, "-c", ASK, *servers]).split()


def test_faults_come_at_run_time(tmp_path):
    with Lab() as lab:
        servers = answering(lab, tmp_path)[4]
        home, office = lab.place("home", "port-restricted"), lab.place("office", "symmetric")
        host = lab.host("laptop", home)
        assert passes(lab, host, servers) == ["True", "True"]
        lab.block_udp(home)
        assert passes(lab, host, servers) == ["False", "True"]
        lab.block_udp(home, blocked=False)
        lab.unplug(host)
        assert passes(lab, host, servers) == ["False", "False"]
        lab.unplug(host, plugged=True)
        lab.forget(home)
        assert passes(lab, host, servers) == ["True", "True"]
        before = host.v4
        lab.move(host, office)
        assert host.v4 != before and passes(lab, host, servers) == ["True", "True"]
        lab.move(host, None, v6=True)
        assert passes(lab, host, servers) == ["True", "True"]


async def test_nodes_live_through_them():
    with Nodes() as nodes:
        lab = nodes.lab
        opened = nodes.open_network(4)
        node, friend = nodes.behind("laptop", "port-restricted"), nodes.behind("friend", "endpoint-independent")
        await nodes.joined(opened, published=False)
        await nodes.joined([node, friend])
        lab.move(node.host, lab.place("cafe", "address-restricted"))
        assert node.alive
        async with asyncio.timeout(15):
            # Nodes asked from a new address give no records before it is proven: a first look-up may find nothing.
            while not (await node.connect(await friend.peer(), 15.0))["connected"]:
                await asyncio.sleep(0.05)
        await node.disconnect(await friend.peer())
        async with asyncio.timeout(5):
            while (await friend.call("peers"))["links"]:
                await asyncio.sleep(0.05)

        await opened[-1].kill()
        assert not opened[-1].alive
        opened[-1].start()
        await nodes.joined(opened[-1:], published=False)
