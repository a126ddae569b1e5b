"""The shipped models against what was measured: percentiles and triangle violations, from the figures they carry."""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from simulations.errors import BadScenario
from simulations.latency_fits import CITIES, FITS, MEASURED_AT, PLANETLAB
from simulations.latency_fitted import Fitted
from simulations.latency_kernel import pair_round_trip
from simulations.places import REGIONS, arcs_km, cities, city_by_name, region_of
from simulations.randomness import Streams

PERCENTILES = {
    # p10, p50, p90, p99 in ms of the data themselves, taken apart from the fit.
    "planetlab": (31.6, 135.0, 290.7, 412.6),
    "cities": (35.1, 143.1, 290.9, 442.4),
}


def violations(square):
    """Share of (pair, third host) where the way over the third is shorter."""
    size = len(square)
    worse = sum(int((square[i][:, None] + square[i][None, :] < square).sum()) for i in range(size))
    return worse / (size * (size - 1) * (size - 2))


def square_of(model, size):
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    square = model.round_trips(rows.ravel(), columns.ravel()).reshape(size, size)
    np.fill_diagonal(square, 0.0)
    return square


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("seed", [1, 2])
def test_percentiles_are_those_measured(name, seed):
    model, rng = Fitted(FITS[name], Streams(seed)), np.random.default_rng(seed)
    a, b = rng.integers(0, 1 << 30, (2, 400_000))
    got = np.quantile(model.round_trips(a, b) * 1000, [0.1, 0.5, 0.9, 0.99])
    assert got == pytest.approx(PERCENTILES[name], rel=0.02)


@pytest.mark.parametrize("name", FITS)
def test_percentiles_hold_packet_by_packet_too(name):
    model, rng = Fitted(FITS[name], Streams(3)), Random(3)
    hosts = [(f"11.0.{n >> 8}.{n & 255}", 1) for n in range(10_000)]
    pairs = [rng.sample(hosts, 2) for _ in range(100_000)]
    got = [2000 * model.delay(a, b, rng) for a, b in pairs]
    assert np.quantile(got, [0.1, 0.5, 0.9]) == pytest.approx(PERCENTILES[name][:3], rel=0.02)
    assert np.quantile(got, 0.99) == pytest.approx(PERCENTILES[name][3], rel=0.03)


@pytest.mark.parametrize("name", FITS)
def test_as_many_triangles_are_violated_as_in_the_data(name):
    assert PLANETLAB.violations == pytest.approx(0.058, abs=0.001)
    shares = [violations(square_of(Fitted(FITS[name], Streams(seed)), 300)) for seed in range(3)]
    assert np.mean(shares) == pytest.approx(FITS[name].violations, abs=0.01)


def test_a_pair_has_one_delay_in_both_directions_that_depends_on_the_seed_alone():
    model, same, other = (Fitted(CITIES, Streams(seed)) for seed in (1, 1, 2))
    hosts = [(f"11.0.0.{n}", 1) for n in range(40)]
    there = [model.delay(a, b, Random(1)) for a in hosts for b in hosts]
    back = [same.delay(b, a, Random(2)) for a in reversed(hosts) for b in reversed(hosts)]
    assert there == back[::-1], "whoever was asked first"
    assert all(model.delay(a, b, Random(1)) == model.delay(b, a, Random(1)) for a in hosts for b in hosts)
    assert there != [other.delay(a, b, Random(1)) for a in hosts for b in hosts]
    assert min(there) > 0


def test_arrays_packets_and_compiled_code_do_the_same_arithmetic():
    import numba

    model = Fitted(PLANETLAB, Streams(5))
    a, b = np.random.default_rng(1).integers(0, 1 << 40, (2, 500))
    arrays = model.round_trips(a, b)
    compiled: Any = numba.njit(pair_round_trip)
    tables = model.tables()
    assert [compiled(x, y, tables) for x, y in zip(a, b, strict=True)] == pytest.approx(arrays, rel=1e-12)
    assert model.round_trips(b, a) == pytest.approx(arrays, rel=1e-12)
    # A host's word is where the two engines part; from there on they agree.
    from simulations.latency_kernel import words

    number_of = {f"#{n}": int(words(np.array([n]), tables.offset)[0]) for n in (*a[:50], *b[:50])}

    class Numbered(Fitted):
        __slots__ = ()

        def _word(self, ip: str) -> int:
            return number_of[ip]

    packets = Numbered(PLANETLAB, Streams(5))
    one_way = [packets.delay((f"#{x}", 0), (f"#{y}", 0), Random(0)) for x, y in zip(a[:50], b[:50], strict=True)]
    assert [2 * way for way in one_way] == pytest.approx(arrays[:50], rel=1e-9)


def test_hosts_live_in_cities_and_near_ones_are_quick_to_reach():
    model = Fitted(CITIES, Streams(1))
    hosts = [f"11.1.{n >> 8}.{n & 255}" for n in range(2_000)]
    place, (longitude, latitude) = model.place(hosts[0]), model.coordinates(hosts[0])
    assert place in cities()
    assert abs(longitude - place.longitude) <= 0.5 and abs(latitude - place.latitude) <= 0.5
    one_city = [ip for ip in hosts if model.place(ip) == place]
    assert len({model.coordinates(ip) for ip in one_city}) > 1
    beside = [model.delay((hosts[0], 1), (ip, 1), Random(0)) for ip in one_city[1:]]
    anywhere = [model.delay((hosts[0], 1), (ip, 1), Random(0)) for ip in hosts[1:]]
    assert np.median(beside) < np.median(anywhere) / 5


def test_places_are_where_they_are():
    assert len(cities()) == 241 and len(city_by_name()) == 241
    warsaw, sydney = city_by_name()["Warsaw"], city_by_name()["Sydney"]
    assert (warsaw.latitude, warsaw.longitude) == (52.23, 21.01)
    here, there = cities().index(warsaw), cities().index(sydney)
    # Haversine with R = 6371 km.
    assert arcs_km()[here][there] == arcs_km()[there][here] == pytest.approx(15_590, abs=30)
    names = ["Los Angeles", "New York", "Lima", "Warsaw", "Cairo", "Tokyo", "Sydney"]
    found = [city_by_name()[name] for name in names]
    assert [region_of(place.latitude, place.longitude) for place in found] == list(range(len(REGIONS)))


def test_a_fit_that_contradicts_itself_is_refused():
    assert len(MEASURED_AT) == len(PLANETLAB.raw) == len(PLANETLAB.measured)
    with pytest.raises(BadScenario, match="raw quantiles of fit 'cities' do not grow"):
        replace(CITIES, raw=(0.0, 2.0, 1.0), measured=(0.0, 1.0, 2.0))
    with pytest.raises(BadScenario, match="2 weights: expected 7"):
        replace(CITIES, region_weights=(1.0, 2.0))
    with pytest.raises(BadScenario, match="3 raw and 2 measured"):
        replace(CITIES, raw=(0.0, 1.0, 2.0), measured=(0.0, 1.0))
