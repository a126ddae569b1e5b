"""What every carrier of an engine's datagrams owes the driver: real sockets, asyncio's transport, the simulated net."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from dht.constants import MAX_DATAGRAM
from node.adapters.udp import UdpSockets
from node.adapters.udp_transport import TransportSockets
from node.driver import Datagrams, Driver
from simulations.events import EventQueue
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams

Opener = Callable[[list[str], int], Awaitable[Datagrams]]
Scenario = Callable[[Opener, dict[str, Any]], Coroutine[Any, Any, None]]


async def open_udp(hosts: list[str], port: int) -> Datagrams:
    return UdpSockets.open(hosts, port)


def on_real_sockets(scenario: Scenario) -> None:
    asyncio.run(scenario(open_udp, {}))


def on_asyncio_transport(scenario: Scenario) -> None:
    asyncio.run(scenario(TransportSockets.open, {}))


def on_the_simulated_network(scenario: Scenario) -> None:
    network = Network(EventQueue(), Streams(1))
    run_virtually(scenario(TransportSockets.open, {"wall": None}), network)


@pytest.fixture(params=[on_real_sockets, on_asyncio_transport, on_the_simulated_network])
def carried(request):
    return request.param


class Counter:
    """Answers a number with the next one, up to ten; asks again after 50 ms without an answer."""

    def __init__(self, now: float) -> None:
        self.out: list[tuple[bytes, tuple[str, int]]] = []
        self.retry: float | None = None
        self.last: tuple[bytes, tuple[str, int]] | None = None
        self.events: list[Any] = []
        self.rng = random.Random(3)
        self.lossy = False

    def _say(self, data, addr, now):
        self.last, self.retry = (data, addr), now + 0.05
        if not (self.lossy and self.rng.random() < 0.5):
            self.out.append((data, addr))

    def receive_datagram(self, data, addr, now):
        number = int(data)
        if number >= 10:
            self.retry = None
            self.events.append(number)
            if number == 10:
                self.out.append((b"11", addr))
            return
        self._say(b"%d" % (number + 1), addr, now)

    def datagrams_to_send(self, now):
        out, self.out = self.out, []
        return out

    def next_timer(self):
        return self.retry

    def handle_timer(self, now):
        if self.retry is not None and self.retry <= now:
            assert self.last is not None
            self._say(*self.last, now)

    def next_event(self):
        return self.events.pop() if self.events else None


async def two(opener: Opener, options: dict[str, Any]):
    carriers = [await opener(["127.0.0.1"], 0) for _ in range(2)]
    drivers = [Driver(Counter, carrier.send, **options) for carrier in carriers]
    for carrier, driver in zip(carriers, drivers, strict=True):
        carrier.attach(driver.receive)
    return carriers, drivers


@pytest.mark.parametrize("lossy", [False, True])
def test_two_drivers_count_to_ten(carried, lossy):
    async def scenario(opener, options):
        carriers, drivers = await two(opener, options)
        ended = asyncio.get_running_loop().create_future()
        for driver in drivers:
            driver.subscribe(int, lambda n: None if ended.done() else ended.set_result(n))
            driver.engine.lossy = lossy
        drivers[0].command(lambda e, now: e._say(b"0", ("127.0.0.1", carriers[1].port), now))
        assert await asyncio.wait_for(ended, 20) == 10
        assert not any(driver.counters["engine_faults"] for driver in drivers)
        if lossy:
            assert sum(driver.counters["timers"] for driver in drivers) > 0
        for one in (*drivers, *carriers):
            one.close()
        await asyncio.sleep(0)

    carried(scenario)


def test_a_carriers_ports_and_limits(carried):
    async def scenario(opener, options):
        one, other = await opener(["127.0.0.1"], 0), await opener(["127.0.0.1"], 0)
        assert one.port != other.port
        assert one.addresses == [("127.0.0.1", one.port)]
        got = []
        done = asyncio.get_running_loop().create_future()

        def receive(batch):
            got.extend(batch)
            if len(got) == 2:
                done.set_result(None)

        other.attach(receive)
        target = ("127.0.0.1", other.port)
        one.send(bytes(MAX_DATAGRAM + 1), target)
        one.send(b"a", ("::1", other.port))
        one.send(bytes(MAX_DATAGRAM), target)
        one.send_from_elsewhere(b"probe", target)
        await asyncio.wait_for(done, 20)
        by_data = {data: addr for data, addr in got}
        assert by_data[bytes(MAX_DATAGRAM)] == ("127.0.0.1", one.port)
        assert by_data[b"probe"][1] not in {one.port, other.port}
        assert other.counters["oversized"] == 1 and one.counters["no_family"] == 1
        one.close()
        other.close()
        await asyncio.sleep(0)

    carried(scenario)


def test_the_drivers_clock_is_unix_time(carried):
    async def scenario(opener, options):
        driver = Driver(Counter, lambda data, addr: None, **options)
        assert driver.now() > 1_600_000_000
        before = driver.now()
        await asyncio.sleep(0.02)
        assert driver.now() - before >= 0.019
        driver.close()

    carried(scenario)
