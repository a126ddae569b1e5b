import asyncio
import gc
import threading
import time

import pytest

from simulations.errors import Deadlock, ForeignThread, NotSimulated, SimulationError
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import VirtualLoop, on_host, run
from simulations.network import Network
from simulations.randomness import Streams


@pytest.fixture
def network():
    return Network(EventQueue(start=1_700_000_000.0), Streams(1), latency=Constant(0.05))


def test_a_year_passes_at_once(network):
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(365 * 86_400)
        return began, loop.time()

    wall = time.monotonic()
    assert run(main(), network) == (1_700_000_000.0, 1_700_000_000.0 + 365 * 86_400)
    assert time.monotonic() - wall < 30
    assert network.queue.now == 1_700_000_000.0 + 365 * 86_400


def test_timers_of_one_instant_fire_in_the_order_they_were_set(network):
    seen: list[object] = []

    async def main():
        loop = asyncio.get_running_loop()
        at = loop.time() + 1.0
        for number in range(50):
            loop.call_at(at, seen.append, number)
        network.queue.at(at, seen.append, "event of the network")
        loop.call_at(at, seen.append, "last")
        loop.call_at(loop.time() - 5, seen.append, "past")
        await asyncio.sleep(2.0)

    run(main(), network)
    assert seen == ["past", *range(50), "event of the network", "last"]


def test_what_can_never_finish_is_a_deadlock_that_names_who_waits(network):
    async def stuck():
        await asyncio.get_running_loop().create_future()

    async def main():
        task = asyncio.create_task(stuck(), name="the stuck one")
        timer = asyncio.get_running_loop().call_later(60, print)
        timer.cancel()
        await task

    with pytest.raises(Deadlock, match=r"nothing will ever happen again.*2 tasks wait.*the stuck one"):
        run(main(), network)
    assert network.queue.elapsed == 0.0, "a cancelled timer must not move the clock"


def test_timeouts_and_synchronisation_work_in_virtual_time(network):
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        async with asyncio.TaskGroup() as group:
            producer = group.create_task(queue.put(1))
            assert await queue.get() == 1
        assert producer.done()
        return loop.time() - began

    assert run(main(), network) == 5.0


def test_many_cancelled_timers_are_forgotten(network):
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            loop.call_later(3600, print).cancel()
        live = loop.call_later(0.5, lambda: None)
        await asyncio.sleep(1.0)
        assert not live.cancelled()
        assert isinstance(loop, VirtualLoop)
        return len(loop._timers)

    assert run(main(), network) < 10


def test_an_executor_runs_inline_and_takes_no_time(network):
    async def main():
        loop = asyncio.get_running_loop()
        here = threading.get_ident()
        assert await asyncio.to_thread(threading.get_ident) == here
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        return loop.time() - network.queue.start

    assert run(main(), network) == 0.0


def test_threadsafe_calls_come_from_the_own_thread_only(network):
    async def main():
        loop = asyncio.get_running_loop()
        called = asyncio.Event()
        loop.call_soon_threadsafe(called.set)
        await called.wait()
        errors = []

        def intrude():
            try:
                loop.call_soon_threadsafe(print)
            except ForeignThread as error:
                errors.append(error)

        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
        return errors

    assert "not repeatable" in str(run(main(), network)[0])


@pytest.mark.parametrize(
    ("attempt", "what"),
    [
        (lambda loop: loop.create_connection(asyncio.Protocol, "11.0.0.1", 80), "create_connection"),
        (lambda loop: loop.create_server(asyncio.Protocol, "11.0.0.1", 80), "create_server"),
        (lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"), "subprocess_exec"),
        (lambda loop: loop.subprocess_shell(asyncio.SubprocessProtocol, "true"), "subprocess_shell"),
        (lambda loop: loop.getaddrinfo("example.org", 80), "example.org"),
        (lambda loop: loop.getnameinfo(("11.0.0.1", 80)), "getnameinfo"),
        (lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("0.0.0.0", 1)), "wildcard"),
        (lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=object()), "socket"),
        (
            lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("11.0.0.1", 1), allow_broadcast=True),
            "broadcast",
        ),
    ],
)
def test_what_would_leave_the_simulation_is_refused_by_name(network, attempt, what):
    async def main():
        with pytest.raises(NotSimulated, match=what):
            await attempt(asyncio.get_running_loop())
        info = await asyncio.get_running_loop().getaddrinfo("11.0.0.1", 80)
        return info[0][4]

    assert run(main(), network) == ("11.0.0.1", 80)


def test_wildcards_bind_on_the_host_one_stands_on(network):
    async def where():
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("0.0.0.0", 0))
        name = transport.get_extra_info("sockname")
        transport.close()
        return name[0]

    async def main():
        with on_host("11.0.0.8"):
            task = asyncio.create_task(where())
        with on_host("11.0.0.9"):
            return await where(), await task

    assert run(main(), network) == ("11.0.0.9", "11.0.0.8")


def test_the_queue_belongs_to_the_loop_while_it_runs(network):
    async def main():
        with pytest.raises(SimulationError, match="running already"):
            network.queue.run_for(1.0)

    run(main(), network)
    assert network.queue.run_for(1.0) == 0


def test_bare_engines_and_asyncio_share_one_network(network, make_cluster):
    cluster = make_cluster(3)

    class Client(asyncio.DatagramProtocol):
        def __init__(self):
            self.answer = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, addr):
            self.answer.set_result((data, addr))

    async def main():
        loop = asyncio.get_running_loop()
        cluster.start()
        await asyncio.sleep(1.0)
        transport, client = await loop.create_datagram_endpoint(Client, ("11.200.0.1", 5))
        transport.sendto(b'{"ping": 77}', cluster.nodes[2].address)
        answer = await client.answer
        transport.close()
        return answer

    assert run(main(), cluster.network) == (b'{"pong": 77}', cluster.nodes[2].address)


def test_a_loop_can_be_debugged_and_closed_twice(network):
    loop = VirtualLoop(network)
    loop.set_debug(True)
    loop.run_until_complete(asyncio.sleep(1.0))
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1.0, print)


def test_garbage_is_looked_for_seldom_while_a_world_runs_and_as_before_afterwards(network):
    before = gc.get_threshold()

    async def main():
        return gc.get_threshold()

    assert run(main(), network)[0] > before[0]
    assert gc.get_threshold() == before
