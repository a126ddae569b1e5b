import itertools
from random import Random

import pytest

from simulations.errors import BadScenario
from simulations.hops import Drop, Packet
from simulations.latency import Constant
from simulations.weather import Copies, GilbertElliott, Loss, Reordering, Spells, attach

A, B = "11.0.0.1", "11.0.0.2"
PACKET = Packet((A, 1), (B, 1), b"x")
COUNT = 50_000


def lost(hop, count=COUNT, every=1.0):
    return [isinstance(hop.forward(PACKET, number * every), Drop) for number in range(count)]


def bursts(losses):
    return [len(list(run)) for was_lost, run in itertools.groupby(losses) if was_lost]


def test_plain_loss_has_its_share_and_no_memory():
    losses = lost(Loss(0.2, Random(1)))
    assert sum(losses) / COUNT == pytest.approx(0.2, rel=0.05)
    assert sum(bursts(losses)) / len(bursts(losses)) == pytest.approx(1 / 0.8, rel=0.05)


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 5.0), (0.01, 20.0), (0.3, 2.0)])
def test_burst_loss_has_its_share_and_its_bursts(loss, burst):
    hop = GilbertElliott.of(loss, burst, Random(2))
    assert hop.loss == pytest.approx(loss)
    losses = lost(hop, 200_000)
    assert sum(losses) / len(losses) == pytest.approx(loss, rel=0.1)
    assert sum(bursts(losses)) / len(bursts(losses)) == pytest.approx(burst, rel=0.1)


def test_both_states_may_lose_some():
    hop = GilbertElliott(0.1, 0.3, Random(3), good_loss=0.02, bad_loss=0.5)
    assert hop.loss == pytest.approx((0.1 * 0.5 + 0.3 * 0.02) / 0.4)
    assert sum(lost(hop)) / COUNT == pytest.approx(hop.loss, rel=0.08)


def test_spells_are_counted_in_seconds_not_in_packets():
    for every in (1.0, 20.0):
        losses = lost(Spells(90.0, 10.0, Random(4)), every=every)
        assert sum(losses) / COUNT == pytest.approx(0.1, rel=0.2)
        if every == 1.0:
            assert sum(bursts(losses)) / len(bursts(losses)) == pytest.approx(10.0, rel=0.15)
    half = lost(Spells(1.0, 1.0, Random(5), bad_loss=0.5), every=100.0)
    assert sum(half) / COUNT == pytest.approx(0.25, rel=0.05)


def test_reordering_lets_later_packets_overtake(wire):
    w = wire(latency=Constant(0.05))
    a, b = w.bind(A), w.bind(B)
    attach(w.network, A, leaving=[Reordering(0.2, 0.1, Random(6))])
    for number in range(1000):
        w.queue.now += 0.001
        w.network.send(a, b.address, number.to_bytes(2, "big"))
    w.queue.run()
    order = [data for *_, data in w.got]
    assert len(order) == 1000 and order != sorted(order)
    late = sum(later < earlier for earlier, later in itertools.pairwise(order))
    assert 50 < late < 400


def test_copies_come_after_their_packets_on_one_line_only(wire):
    w = wire(latency=Constant(0.05))
    a, b, c = w.bind(A), w.bind(B), w.bind("11.0.0.3")
    attach(w.network, B, entering=[Copies(w.network, 0.3, 0.02, Random(7))])
    for number in range(1000):
        w.network.send(a, b.address, number.to_bytes(2, "big"))
        w.network.send(a, c.address, number.to_bytes(2, "big"))
    w.queue.run()
    at_b = [data for _, _, dst, data in w.got if dst == b.address]
    assert abs(len(at_b) - 1300) < 4 * (1000 * 0.21) ** 0.5
    assert len(set(at_b)) == 1000
    assert sum(dst == c.address for _, _, dst, _ in w.got) == 1000


def test_one_hosts_loss_is_that_hosts_alone(wire):
    w = wire(latency=Constant(0.05))
    a, b = w.bind(A), w.bind(B)
    attach(w.network, A, entering=[Loss(1.0, Random(8))])
    w.network.send(a, b.address, b"out")
    w.network.send(b, a.address, b"in")
    w.queue.run()
    assert [data for *_, data in w.got] == [b"out"]
    assert (a.host.dropped, w.network.dropped) == ({"link-loss": 1}, {"link-loss": 1})


@pytest.mark.parametrize(
    "hop", [lambda rng: GilbertElliott.of(0.1, 4, rng), lambda rng: Spells(9, 1, rng), lambda rng: Loss(0.1, rng)]
)
def test_the_same_seed_loses_the_same_packets(hop):
    assert lost(hop(Random(9)), 2000) == lost(hop(Random(9)), 2000)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda rng: Loss(1.5, rng), r"share = 1\.5 is no probability"),
        (lambda rng: GilbertElliott(0.0, 0.0, rng), "p = r = 0"),
        (lambda rng: GilbertElliott(2.0, 0.0, rng), r"p = 2\.0 is no probability"),
        (lambda rng: GilbertElliott.of(1.0, 4, rng), r"loss = 1\.0 of burst loss"),
        (lambda rng: GilbertElliott.of(0.1, 0.5, rng), r"burst = 0\.5 packets"),
        (lambda rng: GilbertElliott.of(0.9, 1, rng), "expected longer bursts"),
        (lambda rng: Spells(0.0, 1.0, rng), r"good = 0\.0 seconds"),
        (lambda rng: Reordering(0.1, 0.0, rng), r"most = 0\.0 seconds of reordering"),
    ],
)
def test_impossible_weather_is_refused(make, told):
    with pytest.raises(BadScenario, match=told):
        make(Random(1))


def test_a_copy_cannot_come_before_its_packet(wire):
    with pytest.raises(BadScenario, match="until a copy"):
        Copies(wire().network, 0.1, -1.0, Random(1))
