import math
import statistics
from random import Random

import pytest

from simulations.errors import BadScenario
from simulations.latency import Constant, Geographic, Jitter, LogNormal, Uniform, on_globe, scattered
from simulations.randomness import Streams

A, B = ("11.0.0.1", 1), ("11.0.0.2", 1)


def draws(model, count=20_000):
    rng = Random(3)
    return sorted(model.delay(A, B, rng) for _ in range(count))


def test_each_model_has_the_distribution_it_names():
    assert set(draws(Constant(0.03), 10)) == {0.03}
    uniform = draws(Uniform(0.02, 0.08))
    assert uniform[0] >= 0.02 and uniform[-1] <= 0.08
    assert statistics.fmean(uniform) == pytest.approx(0.05, rel=0.01)
    lognormal = draws(LogNormal(0.05, 0.5))
    assert statistics.median(lognormal) == pytest.approx(0.05, rel=0.02)
    assert statistics.pstdev(math.log(value) for value in lognormal) == pytest.approx(0.5, rel=0.02)
    jitter = draws(Jitter(Constant(0.03), mean=0.01))
    assert jitter[0] >= 0.03
    assert statistics.fmean(jitter) == pytest.approx(0.04, rel=0.01)


def test_distance_on_the_globe_and_its_delay():
    places = {"berlin": on_globe(52.52, 13.405), "sydney": on_globe(-33.8688, 151.2093)}
    model = Geographic(places.__getitem__)
    # Great-circle distance Berlin-Sydney, haversine with R = 6371 km.
    assert model.distance("berlin", "sydney") == pytest.approx(16_090, abs=15)
    one_way = model.delay(("berlin", 1), ("sydney", 1), Random(0))
    assert one_way == pytest.approx((0.0317 + 0.0000174 * 16_090) / 2, rel=1e-3)
    assert model.delay(("sydney", 1), ("berlin", 1), Random(0)) == one_way
    opposite = Geographic({"here": on_globe(10.0, 20.0), "there": on_globe(-10.0, -160.0)}.__getitem__)
    assert opposite.distance("here", "there") == pytest.approx(math.pi * 6371, rel=1e-6)


def test_a_plane_has_straight_distances():
    model = Geographic({"a": (0.0, 0.0), "b": (300.0, 400.0)}.__getitem__, base=0.02, per_km=0.0001)
    assert model.distance("a", "b") == 500.0
    assert model.delay(("a", 1), ("b", 1), Random(0)) == pytest.approx((0.02 + 0.05) / 2)


def test_scattered_places_depend_on_seed_and_host_alone():
    first, second = scattered(Streams(4)), scattered(Streams(4))
    there = second("11.0.0.2")
    assert (first("11.0.0.1"), first("11.0.0.2")) == (second("11.0.0.1"), there)
    assert scattered(Streams(5))("11.0.0.2") != there
    # Half of a sphere's surface lies within 30 degrees of the equator.
    low = sum(abs(first(f"11.1.0.{n}")[2]) < 6371 / 2 for n in range(1000))
    assert abs(low - 500) < 4 * 250**0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(-0.1),
        lambda: Uniform(0.2, 0.1),
        lambda: LogNormal(0.0, 1.0),
        lambda: LogNormal(0.1, -1.0),
        lambda: Jitter(Constant(0.1), 0.0),
        lambda: Constant(math.nan),
        lambda: Geographic(lambda ip: (0.0, 0.0), base=-1.0),
    ],
)
def test_impossible_latencies_are_refused(make):
    with pytest.raises(BadScenario):
        make()
