"""A small five-verb engine and networks of it, for testing the simulator without the DHT."""

import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from simulations.cluster import Cluster, public_address
from simulations.events import EventQueue
from simulations.hops import Address
from simulations.latency import Latency, LogNormal
from simulations.network import Endpoint, Network
from simulations.randomness import Streams
from simulations.trace import Trace

BEAT = 1.0


class Gossip:
    """Tells one known peer a second whom it knows, and answers pings."""

    def __init__(self, address: Address, contacts: list[Address], rng: Random, now: float) -> None:
        self.address = address
        self.known = {address, *contacts}
        self.rng = rng
        self.next_beat = now + rng.uniform(0.0, BEAT)
        self.out: list[tuple[bytes, Address]] = []
        self.events: deque[Any] = deque()
        self.pings = 0

    def ping(self, addr: Address, now: float) -> int:
        self.pings += 1
        self.out.append((json.dumps({"ping": self.pings}).encode(), addr))
        return self.pings

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        message = json.loads(data)
        if "ping" in message:
            self.out.append((json.dumps({"pong": message["ping"]}).encode(), addr))
        elif "pong" in message:
            self.events.append(("pong", message["pong"], addr))
        else:
            before = len(self.known)
            self.known.update((ip, port) for ip, port in message["known"])
            if len(self.known) != before:
                self.events.append(("knows", len(self.known)))

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        out, self.out = self.out, []
        return out

    def next_timer(self) -> float | None:
        return self.next_beat

    def handle_timer(self, now: float) -> None:
        self.next_beat = now + BEAT
        # Sorted: the order of a set of texts differs from one start of Python to the next.
        others = sorted(self.known - {self.address})
        if others:
            told = sorted([*self.rng.sample(others, min(10, len(others))), self.address])
            self.out.append((json.dumps({"known": told}).encode(), self.rng.choice(others)))

    def next_event(self) -> Any:
        return self.events.popleft() if self.events else None


def gossip_factory(index: int, address: Address, rng: Random, now: float) -> Gossip:
    return Gossip(address, [public_address(0)] if index else [], rng, now)


def gossip_cluster(
    size: int, seed: int = 1, *, latency: Latency | None = None, trace: Trace | None = None, **options: Any
) -> Cluster[Gossip]:
    streams = Streams(seed)
    network = Network(EventQueue(), streams, latency=latency or LogNormal(0.05, 0.5), trace=trace, **options)
    return Cluster(network, streams, gossip_factory, size)


def traced_run(seed: int, **options: Any) -> Trace:
    """A run with every source of chance in it: jitter, loss, copies, deaths and returns."""
    trace = Trace(**options)
    cluster = gossip_cluster(40, seed, trace=trace, loss=0.05, duplication=0.02)
    cluster.start(spread=3.0)
    cluster.run_for(6.0)
    dead = cluster.kill(0.3)
    cluster.run_for(3.0)
    cluster.restart(dead[0])
    cluster.run_for(4.0)
    return trace


@pytest.fixture
def make_cluster() -> Callable[..., Cluster[Gossip]]:
    return gossip_cluster


@pytest.fixture
def make_trace() -> Callable[..., Trace]:
    return traced_run


class Wire:
    """A bare network: endpoints that write down what reaches them, and when."""

    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.queue = EventQueue(start=1000.0)
        self.network = Network(self.queue, Streams(seed), **options)
        self.got: list[tuple[float, Address, Address, bytes]] = []

    def bind(self, ip: str, port: int = 1) -> Endpoint:
        endpoint: Endpoint

        def receive(data: bytes, src: Address) -> None:
            self.got.append((round(self.queue.now - 1000.0, 6), src, endpoint.address, data))

        endpoint = self.network.bind((ip, port), receive)
        return endpoint


@pytest.fixture
def wire() -> type[Wire]:
    return Wire
