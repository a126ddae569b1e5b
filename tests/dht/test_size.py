"""The estimate of the network's size, against networks whose size is known."""

import random

import pytest

from dht.constants import ID_BITS, ID_BYTES, ID_SPACE
from dht.contact import Contact
from dht.size import CONFIDENT_SAMPLES, SizeEstimate

K = 20


class At(Contact):
    """A contact at a chosen id."""

    def __init__(self, long_id: int) -> None:
        super().__init__(b"\x01" * 32, ("192.168.0.1", 1000))
        self.long_id = long_id
        self.id = long_id.to_bytes(ID_BYTES, "big")


def spread(nodes: int, *, k: int = K) -> list[Contact]:
    """The k nearest to target 0 of so many nodes that lie evenly."""
    return [At(ID_SPACE // nodes * (i + 1)) for i in range(k)]


def test_nothing_is_known_at_first() -> None:
    size = SizeEstimate()
    assert size.nodes is None
    assert size.expected_distance(20) == 0


def test_evenly_spread_nodes_are_counted_exactly() -> None:
    size = SizeEstimate()
    size.sample(0, spread(1000), K)
    assert size.nodes == pytest.approx(1000)


def test_fewer_than_k_say_nothing() -> None:
    size = SizeEstimate()
    size.sample(0, spread(1000)[: K - 1], K)
    assert (size.samples, size.nodes) == (0, None)


def test_distance_is_told_only_after_enough_samples() -> None:
    size = SizeEstimate()
    told = []
    for _ in range(CONFIDENT_SAMPLES):
        told.append(size.expected_distance(1))
        size.sample(0, spread(1000), K)
    assert told == [0] * CONFIDENT_SAMPLES
    assert size.expected_distance(1) == pytest.approx(ID_SPACE / 1000)
    assert size.expected_distance(20) == pytest.approx(ID_SPACE / 50)


def test_distance_may_be_asked_for_after_fewer() -> None:
    size = SizeEstimate()
    assert size.expected_distance(1, samples=1) == 0
    size.sample(0, spread(1000), K)
    assert size.expected_distance(1, samples=1) == pytest.approx(ID_SPACE / 1000)


def test_first_samples_weigh_the_same() -> None:
    size = SizeEstimate()
    for nodes in (1000, 2000):
        size.sample(0, spread(nodes), K)
    assert size.nodes == pytest.approx(1 / ((1 / 1000 + 1 / 2000) / 2))


def test_later_samples_weigh_an_eighth() -> None:
    size = SizeEstimate()
    for _ in range(8):
        size.sample(0, spread(1000), K)
    size.sample(0, spread(2000), K)
    assert size.nodes == pytest.approx(1 / (7 / 8 / 1000 + 1 / 8 / 2000))


@pytest.mark.parametrize("nodes", [200, 1000, 5000])
def test_random_networks_are_estimated_within_a_fifth(nodes: int) -> None:
    rng = random.Random(nodes)
    places = [rng.getrandbits(ID_BITS) for _ in range(nodes)]
    size = SizeEstimate()
    for _ in range(16):
        target = rng.getrandbits(ID_BITS)
        nearest = sorted(places, key=lambda place: place ^ target)[:K]
        size.sample(target, [At(place) for place in nearest], K)
    assert size.nodes is not None
    assert nodes * 0.8 < size.nodes < nodes * 1.2


def test_estimate_follows_a_network_that_grows() -> None:
    size = SizeEstimate()
    for nodes in [100] * 20 + [10_000] * 60:
        size.sample(0, spread(nodes), K)
    assert size.nodes == pytest.approx(10_000, rel=0.05)
