from random import Random

import pytest

from simulations.bandwidth import HEADERS, Link, attach
from simulations.errors import BadScenario
from simulations.hops import Drop, Packet
from simulations.latency import Constant
from simulations.nat import make_carrier, place_behind

A, B, X, X2, HOME = "11.0.0.1", "11.0.0.2", "10.0.0.2", "10.0.0.3", "11.0.1.1"
KILOBYTE = bytes(1000 - HEADERS)
RATE = 80_000.0
"""Ten of these packets a second."""


@pytest.fixture
def world(wire):
    return wire(latency=Constant(0.05))


def times(w):
    return [at for at, *_ in w.got]


def test_packets_leave_one_after_the_other_at_the_rate(world):
    a, b = world.bind(A), world.bind(B)
    attach(world.network, A, up=RATE, down=8 * RATE, queue=10_000)
    for _ in range(4):
        world.network.send(a, b.address, KILOBYTE)
    world.queue.run()
    assert times(world) == pytest.approx([0.15, 0.25, 0.35, 0.45])
    world.got.clear()
    world.queue.run_for(1.0)
    start = world.queue.now - 1000.0
    world.network.send(a, b.address, KILOBYTE)
    world.queue.run()
    assert times(world) == pytest.approx([start + 0.15]), "an idle link makes nobody wait"


def test_the_queue_drops_what_does_not_fit(world):
    a, b = world.bind(A), world.bind(B)
    link = attach(world.network, A, up=RATE, down=RATE, queue=3_500)
    for _ in range(10):
        world.network.send(a, b.address, KILOBYTE)
    world.queue.run()
    assert len(world.got) == 3
    assert a.host.dropped == {"link-full": 7}
    assert (link.up.passed, link.up.dropped) == (3, 7)
    assert link.up.most_wait == pytest.approx(0.2)


def test_a_large_queue_makes_everything_late(world):
    a, b = world.bind(A), world.bind(B)
    attach(world.network, B, up=RATE, down=RATE, queue=1_000_000)
    for _ in range(100):
        world.network.send(a, b.address, KILOBYTE)
    world.queue.run()
    assert times(world)[-1] == pytest.approx(10.05), "the last one waited ten seconds on the way in"
    assert world.network.dropped == {}


def test_one_home_shares_one_line_outside_of_its_box(world):
    x, x2, b = world.bind(X), world.bind(X2), world.bind(B)
    place_behind(world.network, "endpoint-independent", [X, X2], HOME, Random(1))
    first = attach(world.network, X, up=RATE, down=RATE, queue=10_000)
    second = attach(world.network, X2, up=RATE, down=RATE, queue=10_000)
    again = attach(world.network, X2, up=RATE, down=RATE, queue=10_000)
    assert first.up is second.up is again.up and first.down is second.down is again.down
    world.network.send(x, b.address, KILOBYTE)
    world.network.send(x2, b.address, KILOBYTE)
    world.network.send(x, x2.address, KILOBYTE)
    world.queue.run()
    assert sorted(times(world)) == pytest.approx([0.0005, 0.15, 0.25]), "within the home there is no line to wait for"
    outside = [src for _, src, dst, _ in world.got if dst == b.address]
    world.got.clear()
    start = world.queue.now - 1000.0
    for address in outside:
        world.network.send(b, address, KILOBYTE)
    world.queue.run()
    assert times(world) == pytest.approx([start + 0.15, start + 0.25])
    assert first.down.passed == 2


def test_behind_a_carrier_the_line_lies_before_the_carrier(world):
    b, homes = world.bind(B), [world.bind(f"10.0.{n}.2") for n in range(2)]
    carrier = make_carrier(world.network, "carrier", HOME, Random(1))
    links = []
    for home in homes:
        place_behind(world.network, "endpoint-independent", [home.address[0]], "", Random(1), carrier=carrier)
        links.append(attach(world.network, home.address[0], up=RATE, down=RATE, queue=10_000))
        world.network.send(home, b.address, KILOBYTE)
    world.queue.run()
    assert times(world) == pytest.approx([0.15, 0.15]), "each home has a line of its own"
    world.network.send(homes[0], world.got[1][1], KILOBYTE)
    world.queue.run()
    assert world.got[-1][2] == homes[1].address
    assert [(link.up.passed, link.down.passed) for link in links] == [(2, 0), (1, 1)]


def test_a_firewall_has_its_line_like_an_open_host(world):
    a, b = world.bind(A), world.bind(B)
    place_behind(world.network, "firewall", [A], "", Random(1))
    link = attach(world.network, A, up=RATE, down=RATE, queue=10_000)
    world.network.send(a, b.address, KILOBYTE)
    world.queue.run()
    assert times(world) == pytest.approx([0.15]) and link.up.passed == 1


def test_an_impossible_link_is_refused():
    with pytest.raises(BadScenario, match=r"rate = 0\.0"):
        Link(0.0, 1)
    with pytest.raises(BadScenario, match="queue = -1"):
        Link(1.0, -1)


def test_a_link_without_queue_takes_one_packet_at_a_time():
    link, packet = Link(RATE, 0), Packet((A, 1), (B, 1), KILOBYTE)
    assert link.forward(packet, 0.0) == pytest.approx(0.1)
    assert link.forward(packet, 0.05) == Drop("link-full")
    assert link.forward(packet, 0.1) == pytest.approx(0.1)
