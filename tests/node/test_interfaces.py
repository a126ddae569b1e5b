"""Noticing that this machine is on another network."""

from __future__ import annotations

import asyncio
import ipaddress

from node.adapters.interfaces import INTERVAL, SLEPT, Interfaces, own_addresses, ways_out
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run
from simulations.network import Network
from simulations.randomness import Streams

HOME, CAFE = frozenset({"192.168.1.7", "2001:db8::7"}), frozenset({"10.9.0.3"})


class Machine:
    """A machine whose addresses and clocks are set by hand."""

    def __init__(self) -> None:
        self.own, self.out = HOME, frozenset({"192.168.1.7"})
        self.clock, self.now = 100.0, 1e9
        self.broken = False
        self.told: list[tuple[frozenset[str], frozenset[str]]] = []
        self.watch = Interfaces(
            lambda old, new: self.told.append((old, new)),
            clock=lambda: self.clock,
            now=lambda: self.now,
            addresses=self.addresses,
            routes=lambda: self.out,
        )

    def addresses(self) -> frozenset[str]:
        if self.broken:
            raise OSError("the list is changing")
        return self.own

    def look(self, clock: float = INTERVAL, now: float | None = None) -> bool:
        self.clock += clock
        self.now += clock if now is None else now
        return self.watch.look()


def test_nothing_is_told_while_nothing_changes() -> None:
    machine = Machine()
    assert not any(machine.look() for _ in range(5))
    assert machine.told == [] and machine.watch.own == HOME


def test_other_addresses_are_told_once() -> None:
    machine = Machine()
    machine.own = CAFE
    assert machine.look() and not machine.look()
    assert machine.told == [(HOME, CAFE)]


def test_another_way_out_counts() -> None:
    machine = Machine()
    machine.out = frozenset({"2001:db8::7"})
    assert machine.look()
    assert machine.told == [(HOME, HOME)]


def test_sleep_counts_whichever_clock_stood_still() -> None:
    machine = Machine()
    assert machine.look(INTERVAL, 3600.0)
    assert machine.look(3600.0)
    assert not machine.look(INTERVAL, INTERVAL + SLEPT - 1)
    assert not machine.look(INTERVAL, -3600.0), "a clock set back is no sleep"


def test_a_list_that_cannot_be_read_now_is_read_later() -> None:
    machine = Machine()
    machine.own, machine.broken = CAFE, True
    assert not machine.look()
    machine.broken = False
    assert machine.look()


def test_it_looks_by_itself() -> None:
    async def main() -> None:
        machine, loop = Machine(), asyncio.get_running_loop()
        machine.watch._clock = machine.watch._now = loop.time
        machine.watch._looked_at = machine.watch._looked_now = loop.time()
        running = asyncio.create_task(machine.watch.run())
        await asyncio.sleep(10 * INTERVAL)
        assert machine.told == []
        machine.own = CAFE
        await asyncio.sleep(INTERVAL)
        assert machine.told == [(HOME, CAFE)]
        running.cancel()

    run(main(), Network(EventQueue(), Streams(1), latency=Constant(0.01)))


def test_the_systems_own_lists_can_be_read() -> None:
    for address in own_addresses() | ways_out():
        assert not ipaddress.ip_address(address).is_unspecified
