"""The node's own asyncio shell, unchanged, on the virtual loop: driver, timer and transport."""

import asyncio
from dataclasses import dataclass

from node.adapters.udp_transport import TransportSockets
from node.driver import Driver
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams

A, B = ("11.0.0.1", 4000), ("11.0.0.2", 4000)
GIVE_UP = 3.0


@dataclass(frozen=True)
class Answered:
    op: int
    at: float


@dataclass(frozen=True)
class Failed(Answered):
    pass


class Pinger:
    """Answers `ping`; an own ping ends with the answer, or with its timer."""

    def __init__(self, now):
        self.born = now
        self.out, self.events = [], []
        self.deadline = None

    def ping(self, addr, now):
        self.out.append((b"ping", addr))
        self.deadline = now + GIVE_UP
        return 1

    def receive_datagram(self, data, addr, now):
        if data == b"ping":
            self.out.append((b"pong", addr))
        else:
            self.deadline = None
            self.events.append(Answered(1, now))

    def datagrams_to_send(self, now):
        out, self.out = self.out, []
        return out

    def next_timer(self):
        return self.deadline

    def handle_timer(self, now):
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self.events.append(Failed(1, now))

    def next_event(self):
        return self.events.pop(0) if self.events else None


async def shell(address):
    sockets = await TransportSockets.open([address[0]], address[1])
    driver = Driver(Pinger, sockets.send, wall=None)
    sockets.attach(driver.receive)
    return driver, sockets


def test_the_driver_keeps_virtual_time_to_the_microsecond():
    network = Network(EventQueue(), Streams(1), latency=Constant(0.05))
    start = network.queue.start

    async def main():
        (one, one_sockets), (two, two_sockets) = await shell(A), await shell(B)
        assert (one.engine.born, one.now()) == (start, start)
        answer = await one.run(lambda engine, now: engine.ping(B, now))
        network.take_down(B[0])
        failure = await one.run(lambda engine, now: engine.ping(B, now))
        for closing in (one, two, one_sockets, two_sockets):
            closing.close()
        await asyncio.sleep(0)
        return answer, failure

    answer, failure = run(main(), network)
    assert (type(answer), round(answer.at - start, 6)) == (Answered, 0.1)
    assert (type(failure), round(failure.at - start, 6)) == (Failed, 0.1 + GIVE_UP)
    assert network.dropped == {"down": 1}
