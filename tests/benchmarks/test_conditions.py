"""What the conditions of a simulated network cost a packet: latency models, and boxes on the way, beside none.

Compare ratios of one run, not times of two. A round is 1,000 packets between other hosts each.
"""

from random import Random

import numpy as np
import pytest

from simulations.bandwidth import attach
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.latency_models import FORMS, named, round_trips
from simulations.nat import Uplink, place_behind
from simulations.nat_kinds import kind_named
from simulations.network import Network
from simulations.randomness import Streams

HOSTS = 1_000
DATA = bytes(100)


def ends_of(index):
    return f"11.{index >> 8}.{index & 255}.1", f"12.{index >> 8}.{index & 255}.1"


@pytest.mark.parametrize("spec", [form for form in FORMS if "FILE" not in form] + ["planetlab+jitter:5ms"])
def test_a_delay(benchmark, spec):
    benchmark.group = f"{HOSTS} delays, pairs of 10,000 hosts"
    model, rng = named(spec, Streams(1)), Random(1)
    hosts = [(f"11.{n >> 8}.{n & 255}.1", 4000) for n in range(10_000)]
    pairs = [(rng.choice(hosts), rng.choice(hosts)) for _ in range(HOSTS)]

    def draw():
        delay = model.delay
        return [delay(a, b, rng) for a, b in pairs]

    draw()
    assert len(benchmark(draw)) == HOSTS


@pytest.mark.parametrize("spec", ["planetlab", "cities"])
def test_round_trips_of_arrays(benchmark, spec):
    benchmark.group = f"{HOSTS} round trips, NumPy"
    model, rng = named(spec, Streams(1)), np.random.default_rng(1)
    a, b = rng.integers(0, 1 << 40, (2, HOSTS))
    assert len(benchmark(lambda: round_trips(model, a, b, rng))) == HOSTS


@pytest.mark.parametrize("way", ["out", "in"])
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("none", False),
        ("none", True),
        ("firewall", False),
        ("endpoint-independent", False),
        ("port-restricted", False),
        ("port-restricted", True),
        ("symmetric", False),
        ("cgnat", False),
    ],
)
def test_a_packet_through_a_box(benchmark, kind, line, way):
    benchmark.group = f"{HOSTS} packets {way}, sent and delivered"
    network = Network(EventQueue(), Streams(1), latency=Constant(0.05))
    got = [0]

    def receive(data, src):
        got[0] += 1

    traffic = []
    for index in range(HOSTS):
        public, server = ends_of(index)
        ip = f"10{public[2:]}" if kind_named(kind).translates else public
        place_behind(network, kind, [ip], public, Random(index))
        if line:
            attach(network, ip, up=1e9, down=1e9, queue=1_000_000)
        inside, outside = network.bind((ip, 4000), receive), network.bind((server, 4000), receive)
        network.send(inside, outside.address, DATA)
        box = inside.host.uplink[0] if inside.host.uplink else None
        seen = box.nat.external(inside.address, outside.address) if isinstance(box, Uplink) else inside.address
        assert seen is not None
        traffic.append((inside, outside.address) if way == "out" else (outside, seen))
    network.queue.run()

    def pass_all():
        got[0] = 0
        for source, dst in traffic:
            network.send(source, dst, DATA)
        # A round takes 50 virtual milliseconds: no mapping dies before the last.
        network.queue.run()
        return got[0]

    assert benchmark.pedantic(pass_all, rounds=30, warmup_rounds=1) == HOSTS
    assert network.dropped == {}
