"""How many messages a second the simulator passes, beside SimPy: 1,000 hosts, one request in flight each.

A message is one datagram delivered; a request and its answer are two. Compare ratios of one run, not times of two.
"""

import asyncio
from collections import deque

import pytest
import simpy

from simulations.cluster import public_address
from simulations.engines import SimHost
from simulations.events import EventQueue
from simulations.latency import Constant, Uniform
from simulations.loop import VirtualLoop
from simulations.network import Network
from simulations.randomness import Streams
from simulations.trace import Trace

HOSTS = 1_000
ROUND_TRIPS = 50
MESSAGES = HOSTS * ROUND_TRIPS * 2
ONE_WAY = 0.05
REQUEST, ANSWER = bytes(100), b"\1" + bytes(99)


def peer_of(index):
    return public_address((index * 7 + 1) % HOSTS)


class Caller:
    """Asks one peer again and again, and answers whoever asks."""

    __slots__ = ("left", "out", "peer")

    def __init__(self, peer):
        self.peer = peer
        self.left = ROUND_TRIPS - 1
        self.out = [(REQUEST, peer)]

    def receive_datagram(self, data, addr, now):
        if data[0] == 0:
            self.out.append((ANSWER, addr))
        elif self.left:
            self.left -= 1
            self.out.append((REQUEST, self.peer))

    def datagrams_to_send(self, now):
        out, self.out = self.out, []
        return out

    def next_timer(self):
        return None

    def handle_timer(self, now):
        raise AssertionError("no timer was asked for")

    def next_event(self):
        return None


class AsyncCaller(asyncio.DatagramProtocol):
    """The same in asyncio: a task that awaits each answer."""

    def connection_made(self, transport):
        self.transport = transport
        self.waiting: deque[asyncio.Future[bytes]] = deque()

    def datagram_received(self, data, addr):
        if data[0] == 0:
            self.transport.sendto(ANSWER, addr)
        else:
            self.waiting.popleft().set_result(data)

    async def ask(self, peer):
        loop = asyncio.get_running_loop()
        for _ in range(ROUND_TRIPS):
            future = loop.create_future()
            self.waiting.append(future)
            self.transport.sendto(REQUEST, peer)
            await future


def bare_queue(latency, trace=None):
    network = Network(EventQueue(), Streams(1), latency=latency, trace=trace)
    for index in range(HOSTS):
        SimHost(network, public_address(index), Caller(peer_of(index)))
    return network.queue.run


def virtual_loop():
    network = Network(EventQueue(), Streams(1), latency=Constant(ONE_WAY))

    async def main():
        loop = asyncio.get_running_loop()
        callers = []
        for index in range(HOSTS):
            _, caller = await loop.create_datagram_endpoint(AsyncCaller, public_address(index))
            callers.append(caller)
        await asyncio.gather(*(caller.ask(peer_of(index)) for index, caller in enumerate(callers)))
        return sum(host.received for host in network.hosts.values())

    def run():
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(network)) as runner:
            return runner.run(main())

    return run


def simpy_processes():
    env = simpy.Environment()
    inboxes = {public_address(index): simpy.Store(env) for index in range(HOSTS)}
    answers = {address: simpy.Store(env) for address in inboxes}
    passed = [0]

    def carry(box, item):
        yield env.timeout(ONE_WAY)
        passed[0] += 1
        box.put(item)

    def server(address):
        while True:
            sender = yield inboxes[address].get()
            env.process(carry(answers[sender], ANSWER))

    def client(address, peer):
        for _ in range(ROUND_TRIPS):
            env.process(carry(inboxes[peer], address))
            yield answers[address].get()

    for index, address in enumerate(inboxes):
        env.process(server(address))
        env.process(client(address, peer_of(index)))

    def run():
        env.run()
        return passed[0]

    return run


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: bare_queue(Constant(ONE_WAY)), id="bare queue"),
        pytest.param(lambda: bare_queue(Uniform(0.02, 0.08)), id="bare queue, jitter"),
        pytest.param(lambda: bare_queue(Uniform(0.02, 0.08), Trace()), id="bare queue, jitter, trace hash"),
        pytest.param(virtual_loop, id="virtual asyncio loop"),
        pytest.param(simpy_processes, id="SimPy"),
    ],
)
def test_messages_a_second(benchmark, make):
    benchmark.group = f"RPC, {HOSTS} hosts"

    def fresh():
        return (make(),), {}

    count = benchmark.pedantic(lambda run: run(), setup=fresh, rounds=3)
    assert count == MESSAGES
    benchmark.extra_info["messages_per_second"] = round(MESSAGES / benchmark.stats.stats.min)
