"""Lines delay what crosses the open network, in order, and drop what is too much for them."""

import sys

import pytest

from tests.natlab import wire
from tests.natlab.selftest import answering
from tests.natlab.topology import Lab
from tests.natlab.wire import QUEUE, Line

TIMED = """
import sys, time
from tests.natlab.probes import PORTS, _seen, _udp
with _udp("::" if ":" in sys.argv[1] else "0.0.0.0", 0) as ours:
    began = time.monotonic()
    assert _seen(ours, (sys.argv[1], PORTS[0]))
    print(time.monotonic() - began)
"""


def packet(to, size=1000):
    """An IPv4 packet as far as a line looks at it."""
    return bytes([0x45]) + bytes(15) + bytes([10, 0, 0, to]) + bytes(size - 20)


def test_packets_arrive_after_the_delay_and_in_order():
    line = Line(0.02, 0)
    assert line.pause(0.0) is None
    for number in range(3):
        line.take(packet(number), number * 0.001)
    assert line.due(0.019) == []
    assert line.pause(0.01) == pytest.approx(0.01)
    assert line.due(0.0211) == [packet(0), packet(1)]
    assert line.due(1.0) == [packet(2)] and line.pause(1.0) is None


def test_each_destination_has_a_rate_and_a_queue_of_its_own():
    line = Line(0.0, 100_000)
    for _ in range(100):
        line.take(packet(1), 0.0)
    line.take(packet(2), 0.0)
    line.take(bytes([0x60]) + bytes(999), 0.0)
    assert len(line.due(0.0101)) == 3  # One for each: a packet takes 10 ms.
    assert len(line.due(10.0)) == pytest.approx(QUEUE * 100, abs=1)
    line.take(packet(1), 20.0)
    assert line.pause(20.0) == pytest.approx(0.01)


@pytest.mark.usefixtures("machine")
def test_a_round_trip_takes_twice_the_delay(tmp_path):
    if problem := wire.missing():
        pytest.skip(f"not on this platform: {problem}")
    with Lab() as lab:
        servers = answering(lab, tmp_path)
        lines = tmp_path / "lines"
        lines.mkdir()
        lab.lines(lines, delay=0.03)
        host = lab.host("host", lab.place("place", "firewall"))
        for version in (4, 6):
            said = lab.spaces.run(host.space, [sys.executable, "-c", TIMED, servers[version][0]])
            assert 0.06 <= float(said) < 0.12
