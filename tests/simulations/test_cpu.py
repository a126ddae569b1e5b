"""What a datagram costs its receiver, and what happens when it cannot keep up."""

from dht.constants import PROTOCOL_VERSION
from simulations.cpu import ANSWER, FOREIGN, MEET, RECEIVE, SHUT_OUT, Core, attach
from simulations.hops import Drop, Packet
from simulations.network import RECEIVE_BUFFER

HERE = ("11.0.0.1", 4000)


def packet(key: int = 1, source: str = "13.0.0.1", size: int = 100) -> Packet:
    data = bytes((PROTOCOL_VERSION,)) + bytes(4) + key.to_bytes(32, "big")
    return Packet((source, 4000), HERE, data + bytes(size - len(data)))


def test_a_first_meeting_costs_more_than_the_next_datagram():
    core = Core()
    assert core.cost(packet(), 0.0) == RECEIVE + MEET + ANSWER
    assert core.cost(packet(), 1.0) == RECEIVE + ANSWER
    assert core.cost(Packet(("13.0.0.1", 1), HERE, b"rubbish"), 2.0) == RECEIVE + FOREIGN


def test_what_a_source_sends_beyond_its_rate_costs_less():
    core = Core()
    costs = [core.cost(packet(), 0.0) for _ in range(3000)]
    assert costs[1999] == RECEIVE + ANSWER
    assert costs[2999] == RECEIVE + SHUT_OUT
    assert core.cost(packet(source="13.0.0.2"), 0.0) == RECEIVE + ANSWER


def test_strangers_beyond_their_rate_cost_next_to_nothing():
    core = Core()
    costs = [core.cost(packet(key), 0.0) for key in range(1, 500)]
    assert costs[399] == RECEIVE + MEET + ANSWER
    assert costs[498] == RECEIVE + SHUT_OUT


def test_datagrams_wait_for_those_before_them_and_a_slow_core_takes_longer():
    core = Core(speed=0.5)
    core.forward(packet(), 0.0)
    first = core.forward(packet(), 1.0)
    second = core.forward(packet(), 1.0)
    third = core.forward(packet(), 2.0)
    assert isinstance(first, float) and isinstance(second, float) and isinstance(third, float)
    assert first == 2 * (RECEIVE + ANSWER)
    assert abs(second - 2 * first) < 1e-12
    assert abs(third - first) < 1e-12
    assert core.worst == max(second, 2 * (RECEIVE + MEET + ANSWER))


def test_a_full_buffer_loses_datagrams_and_drains():
    core = Core(speed=1e-3)
    core.forward(packet(), 0.0)
    fitting = RECEIVE_BUFFER // 1000
    verdicts = [core.forward(packet(size=1000), 0.0) for _ in range(fitting + 10)]
    assert sum(isinstance(verdict, Drop) for verdict in verdicts) == 10 == core.overrun
    assert not isinstance(core.forward(packet(size=1000), 1000.0), Drop)


def test_a_core_stands_before_its_host(wire):
    w = wire()
    sender = w.bind("13.0.0.1")
    w.bind("11.0.0.1", 4000)
    (core,) = attach(w.network, ["11.0.0.1"], speed=1e-3)
    w.network.send(sender, HERE, packet().data)
    w.queue.run()
    assert w.got[0][0] == round(0.05 + (RECEIVE + MEET + ANSWER) * 1000, 6)
    assert core.busy > 0.1
