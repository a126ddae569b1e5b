import tracemalloc
from collections import deque

import pytest

from simulations.engines import MOST_TIMERS_AT_ONCE, SimHost
from simulations.errors import SimulationError
from simulations.latency import Constant

A, B = ("11.0.0.1", 1), ("11.0.0.2", 1)


class Probe:
    """Writes down every call; deadlines, datagrams and events are set from outside."""

    def __init__(self):
        self.calls = []
        self.deadline = None
        self.after_handling = None
        self.out = []
        self.events: deque[object] = deque()

    def receive_datagram(self, data, addr, now):
        self.calls.append(("datagram", data, addr, round(now - 1000.0, 6)))

    def datagrams_to_send(self, now):
        out, self.out = self.out, []
        return out

    def next_timer(self):
        return self.deadline

    def handle_timer(self, now):
        self.calls.append(("timer", round(now - 1000.0, 6)))
        self.deadline = self.after_handling

    def next_event(self):
        return self.events.popleft() if self.events else None


@pytest.fixture
def pair(wire):
    w = wire(latency=Constant(0.05))
    seen = []
    a = SimHost(w.network, A, Probe(), lambda host, event: seen.append((host.address, event)))
    b = SimHost(w.network, B, Probe(), lambda host, event: seen.append((host.address, event)))
    return w, a, b, seen


def send(engine, now):
    engine.out.append((b"hi", B))


def test_commands_datagrams_and_events_pass_through(pair):
    w, a, b, seen = pair
    b.engine.events.append("hello")
    a.command(send)
    assert seen == []
    w.queue.run()
    assert b.engine.calls == [("datagram", b"hi", A, 0.05)]
    assert seen == [(B, "hello")]


def test_the_timer_follows_the_engine_earlier_and_later(pair):
    w, a, _, _ = pair
    probe = a.engine

    def set_deadline(at):
        a.command(lambda engine, now: setattr(engine, "deadline", at))

    set_deadline(1005.0)
    set_deadline(1002.0)  # Earlier: the entry for 5.0 is now superfluous.
    w.queue.run_for(3.0)
    assert probe.calls == [("timer", 2.0)]
    w.queue.run_for(3.0)
    assert probe.calls == [("timer", 2.0)], "the superfluous entry must not fire"
    set_deadline(1007.0)
    set_deadline(1009.0)  # Later: the entry for 7.0 fires, sees that it is early, and moves on.
    w.queue.run_for(10.0)
    assert probe.calls == [("timer", 2.0), ("timer", 9.0)]
    set_deadline(900.0)  # Already past: at once.
    w.queue.run()
    assert probe.calls[-1] == ("timer", 16.0)
    set_deadline(float("inf"))
    assert w.queue.run() == 0, "never means no event"


def test_a_frozen_host_handles_its_timer_late_and_a_detached_one_never(pair):
    w, a, b, _ = pair
    for host in (a, b):
        host.command(lambda engine, now: setattr(engine, "deadline", 1001.0))
    w.network.freeze(A[0])
    b.detach()
    w.queue.run_for(5.0)
    assert a.engine.calls == b.engine.calls == []
    w.network.wake(A[0])
    w.queue.run()
    assert a.engine.calls == [("timer", 5.0)]
    a.command(send)
    w.queue.run()
    assert b.engine.calls == []
    assert w.network.dropped == {"no-listener": 1}


def test_a_probe_leaves_from_another_port_of_the_same_host(pair):
    w, a, b, _ = pair
    a.send_from_elsewhere(b"reach you?", B)
    a.send_from_elsewhere(b"again", B)
    w.queue.run()
    (_, first, src, _), (_, second, again, _) = b.engine.calls
    assert (first, second, src) == (b"reach you?", b"again", again)
    assert src[0] == A[0] and src[1] != A[1]
    b.send_from_elsewhere(b"an answer", src)
    w.queue.run()
    assert a.engine.calls == []
    a.detach()
    b.send_from_elsewhere(b"to the closed port", src)
    w.queue.run()
    assert w.network.dropped == {"no-listener": 1}


def test_an_engine_that_never_moves_its_timer_on_is_named_not_run_for_ever(pair):
    w, a, _, _ = pair
    a.engine.after_handling = 1001.0
    a.command(lambda engine, now: setattr(engine, "deadline", 1001.0))
    with pytest.raises(SimulationError, match=r"11\.0\.0\.1.*must move next_timer on"):
        w.queue.run()
    assert len(a.engine.calls) == MOST_TIMERS_AT_ONCE


def test_an_exception_in_an_engine_says_where_and_when(pair):
    w, a, b, _ = pair
    b.engine.receive_datagram = lambda data, addr, now: 1 / 0
    a.command(send)
    with pytest.raises(ZeroDivisionError) as caught:
        w.queue.run()
    assert "while ('11.0.0.2', 1) took in 2 bytes from ('11.0.0.1', 1) at 1000.05" in caught.value.__notes__[0]


def test_an_idle_host_costs_little_memory(wire):
    w = wire()
    probe = Probe()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        hosts = [SimHost(w.network, (f"11.0.{n >> 8}.{n & 255}", 1), probe) for n in range(2000)]
        each = (tracemalloc.get_traced_memory()[0] - before) / len(hosts)
    finally:
        tracemalloc.stop()
    assert each < 1500, f"{each:.0f} bytes a host"
