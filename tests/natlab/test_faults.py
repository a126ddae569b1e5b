"""What a running laboratory can suffer: nodes killed, machines moved, cables drawn, UDP blocked all of a sudden."""

import asyncio
import sys

import pytest

from tests.natlab.nodes import Nodes
from tests.natlab.selftest import answering

pytestmark = pytest.mark.usefixtures("machine")

ASK = "import sys; from tests.natlab.probes import probe; seen = probe(*sys.argv[1:3]); print(seen.udp, seen.tcp)"


async def test_faults_come_at_run_time_and_nodes_live_through_them(tmp_path):
    with Nodes() as nodes:
        lab = nodes.lab
        servers = answering(lab, tmp_path)[4]
        opened = nodes.open_network(4)
        home, office = lab.place("home", "port-restricted"), lab.place("office", "symmetric")
        node = nodes.behind("laptop", "port-restricted", home)
        friend = nodes.behind("friend", "endpoint-independent")
        await nodes.joined(opened, published=False)
        await nodes.joined([node, friend])

        def passes():
            """Whether UDP and TCP pass between the laptop and the open network."""
            return lab.spaces.run(node.host.space, [sys.executable, "-c", ASK, *servers]).split()

        assert passes() == ["True", "True"]
        lab.block_udp(home)
        assert passes() == ["False", "True"]
        lab.block_udp(home, blocked=False)
        lab.unplug(node.host)
        assert passes() == ["False", "False"]
        lab.unplug(node.host, plugged=True)
        lab.forget(home)
        assert passes() == ["True", "True"]
        before = node.host.v4
        lab.move(node.host, office)
        assert node.host.v4 != before and passes() == ["True", "True"]
        assert node.alive
        outcome = await node.connect(await friend.peer(), 15.0)
        assert outcome["connected"], outcome
        await node.disconnect(await friend.peer())
        async with asyncio.timeout(5):
            while (await friend.call("peers"))["links"]:
                await asyncio.sleep(0.05)
        lab.move(node.host, None, v6=True)
        assert passes() == ["True", "True"]

        await opened[-1].kill()
        assert not opened[-1].alive
        opened[-1].start()
        await nodes.joined(opened[-1:], published=False)
