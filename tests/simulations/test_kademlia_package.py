"""The kademlia package's own Server, not a line of it changed, on the virtual loop."""

import asyncio
import random
import time

import kademlia.routing
import pytest
from kademlia.network import Server

from simulations.errors import BadScenario
from simulations.events import EventQueue
from simulations.foreign import domesticated
from simulations.latency import LogNormal
from simulations.loop import on_host, run
from simulations.network import Network
from simulations.randomness import Streams
from simulations.trace import Trace

COUNT = 30


def ip(number):
    return f"11.0.{number}.1"


async def grow(count):
    servers = []
    for number in range(count):
        server = Server()
        with on_host(ip(number)):
            await server.listen(8468)
            if number:
                await server.bootstrap([(ip(0), 8468)])
        servers.append(server)
    return servers


def simulate(body, seed=1):
    streams = Streams(seed)
    network = Network(EventQueue(), streams, latency=LogNormal(0.04, 0.4), trace=Trace())
    with domesticated(network.queue, streams.stream("kademlia")):
        return run(body(network), network), network


async def set_and_get(network):
    servers = await grow(COUNT)
    stored = await servers[3].set("name", "value")
    values = [await server.get("name") for server in servers]
    for server in servers:
        server.stop()
    return stored, values


def test_thirty_servers_set_and_get():
    # Without stand-ins too: only repeatability needs them.
    network = Network(EventQueue(), Streams(1))
    assert run(set_and_get(network), network) == (True, ["value"] * COUNT)
    assert network.dropped == {}


def test_with_stand_ins_two_runs_are_the_same_run():
    (first, one), (second, two) = simulate(set_and_get), simulate(set_and_get)
    assert first == second == (True, ["value"] * COUNT)
    assert one.trace.hexdigest() == two.trace.hexdigest()
    assert one.trace.count > 500
    assert simulate(set_and_get, seed=2)[1].trace.hexdigest() != one.trace.hexdigest()


def test_a_dead_peer_costs_five_virtual_seconds():
    async def body(network):
        servers = await grow(5)
        network.take_down(ip(2))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await servers[1].get("nothing there")
        for server in servers:
            server.stop()
        return loop.time() - began

    assert 5.0 <= simulate(body)[0] < 6.0


def test_the_hourly_refresh_sees_virtual_hours():
    async def body(network):
        servers = await grow(3)
        sent = network.host(ip(1)).sent
        await asyncio.sleep(3 * 3600)
        lonely = [server.protocol.router.lonely_buckets() for server in servers]
        for server in servers:
            server.stop()
        return network.host(ip(1)).sent - sent, lonely

    refreshed, _ = simulate(body)[0]
    assert refreshed > 0


def test_stand_ins_are_taken_back():
    queue = EventQueue()
    with domesticated(queue, random.Random(1)):
        assert kademlia.routing.time.monotonic() == queue.now == kademlia.routing.time.time()
        assert kademlia.routing.time.strftime is time.strftime
    assert kademlia.routing.time is time
    with pytest.raises(BadScenario, match="nothing in it to replace"), domesticated(queue, random.Random(1), ("json",)):
        pass
