"""How long request and answer of two nodes take together, as compiled code draws it.

Decides nothing about latency: each model of `simulations.latency_models`, by name or as an object, becomes a row of
numbers, so that all of them go through the same machine code and have the same distribution here as in the engine
that sends real messages. Where a node stands is a hash of its index, not of an address: single pairs differ.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from simulations.errors import BadScenario
from simulations.latency import EARTH_RADIUS_KM, Constant, Geographic, Jitter, Latency, LogNormal, Uniform
from simulations.latency_fitted import Fitted
from simulations.latency_kernel import Tables as FittedTables
from simulations.latency_kernel import pair_round_trip, tables_of
from simulations.latency_models import FORMS, named
from simulations.matrix import Matrix
from simulations.model.compiled import Array, Floats, compiled, inlined
from simulations.model.draws import hashed, hashed_unit, normal, seed_of, start, unit
from simulations.randomness import Streams

_CONSTANT, _UNIFORM, _LOG_NORMAL, _GEOGRAPHIC, _MATRIX, _FITTED = range(6)
_SAMPLES: Final = 1 << 14
"""Round trips drawn to learn a model's mean and deviation: the mean is within 1 % for any model here."""


class RoundTrips(NamedTuple):
    """A latency model, as compiled code takes it. Made by `round_trips`."""

    kind: int
    first: float
    """One way, seconds: the constant; the lower bound; the logarithm of the median; the time at distance zero."""
    second: float
    """The span; the deviation of the logarithm; the seconds a kilometre."""
    jitter: float
    """Mean of an exponential wait on top of each packet, seconds."""
    places: Array
    """float64: seconds of a round trip between places, for a matrix; else one zero."""
    fitted: FittedTables
    """A fitted model; else an empty one."""
    seed: int


_NOWHERE: Final = np.zeros((1, 1))
_UNFITTED: Final = tables_of(0, [0], [[0.0]], [0.0], [0.0], [0.0, 0.0], 0.0)


def round_trips(spec: str | Latency, seed: int = 0) -> RoundTrips:
    """Turn a latency model, or the text that names one ("lognormal:50ms,0.4": one way), into numbers.

    Raises `BadScenario` for a name that there is not, or a model that compiled code cannot draw from.
    """
    model = named(spec, Streams(seed))
    jitter = 0.0
    while isinstance(model, Jitter):
        if jitter:
            raise BadScenario(f"latency {spec!r} has jitter upon jitter: the model engine takes one")
        jitter, model = model.mean, model.base
    kind, first, second, places, fitted = _CONSTANT, 0.0, 0.0, _NOWHERE, _UNFITTED
    match model:
        case Constant():
            first = model.seconds
        case Uniform():
            kind, first, second = _UNIFORM, model.low, model.high - model.low
        case LogNormal():
            kind, first, second = _LOG_NORMAL, math.log(model.median), model.sigma
        case Geographic():
            kind, first, second = _GEOGRAPHIC, model._base, model._per_km
        case Fitted():
            kind, fitted = _FITTED, model.tables()
        case Matrix() if not model._jitter:
            size = len(model.square.names)
            one_way = np.array(model.square.seconds).reshape(size, size) / 2
            kind, places = _MATRIX, np.ascontiguousarray(one_way + one_way.T)
        case _:
            raise BadScenario(f"latency {spec!r} is none that the model engine can draw: expected one of {FORMS}")
    return RoundTrips(kind, first, second, jitter, places, fitted, seed_of(seed, "places of nodes"))


_pair_round_trip = inlined(pair_round_trip)


@inlined
def _arc(seed: int, a: int, b: int) -> float:
    """Kilometres round the globe between two nodes."""
    sine_a, sine_b = 2.0 * hashed_unit(seed, a) - 1.0, 2.0 * hashed_unit(seed, b) - 1.0
    turn = 2.0 * math.pi * (hashed_unit(seed + 1, a) - hashed_unit(seed + 1, b))
    # The sine of the latitude is what is uniform over a sphere (Archimedes); then the law of cosines on it.
    ring = math.sqrt((1.0 - sine_a * sine_a) * (1.0 - sine_b * sine_b))
    cosine = sine_a * sine_b + ring * math.cos(turn)
    return EARTH_RADIUS_KM * math.acos(min(1.0, max(-1.0, cosine)))


@inlined
def steady(model: RoundTrips, a: int, b: int) -> float:
    """Seconds of a round trip that are the same each time these two talk; 0 where there are none."""
    if model.kind == _CONSTANT:
        return 2.0 * model.first
    if model.kind == _GEOGRAPHIC:
        return 2.0 * (model.first + model.second * _arc(model.seed, a, b))
    if model.kind == _MATRIX:
        places = len(model.places)
        here, there = hashed(model.seed, a) % places, hashed(model.seed, b) % places
        return model.places[here, there]  # type: ignore[no-any-return]
    if model.kind == _FITTED:
        return _pair_round_trip(a, b, model.fitted)
    return 0.0


@inlined
def _extra(model: RoundTrips, stream: Array) -> float:
    """What one packet takes beyond half of that."""
    seconds = 0.0
    if model.kind == _UNIFORM:
        seconds = model.first + model.second * unit(stream)
    elif model.kind == _LOG_NORMAL:
        seconds = math.exp(model.first + model.second * normal(stream))
    if model.jitter > 0.0:
        seconds -= model.jitter * math.log(1.0 - unit(stream))
    return seconds


@inlined
def round_trip(model: RoundTrips, a: int, b: int, stream: Array) -> float:
    """Draw the seconds from a request of node `a` to the answer of node `b`."""
    return steady(model, a, b) + _extra(model, stream) + _extra(model, stream)


@compiled
def _sample(model: RoundTrips, out: Array, extra: Array) -> None:
    stream = np.zeros(1, np.uint64)
    start(stream, model.seed, 0)
    for number in range(len(out)):
        extra[number] = _extra(model, stream) + _extra(model, stream)
        out[number] = steady(model, 2 * number, 2 * number + 1) + extra[number]


class Spread(NamedTuple):
    """What a node that has talked to many knows of round trips, seconds."""

    mean: float
    deviation: float
    """Mean absolute deviation, which is what RFC 6298 estimates."""
    extra_mean: float
    """Of the part that differs from packet to packet."""
    extra_deviation: float


def spread_of(model: RoundTrips) -> Spread:
    """Measure a model."""
    out, extra = np.empty(_SAMPLES), np.empty(_SAMPLES)
    _sample(model, out, extra)
    return Spread(
        float(out.mean()),
        float(np.abs(out - out.mean()).mean()),
        float(extra.mean()),
        float(np.abs(extra - extra.mean()).mean()),
    )


def sample(model: RoundTrips, count: int) -> Floats:
    """Draw `count` round trips of random pairs, seconds."""
    out = np.empty(count)
    _sample(model, out, np.empty(count))
    return out
