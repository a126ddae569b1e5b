"""Latency models by name, as scenarios and command lines give them: "planetlab", "lognormal:50ms,0.4+jitter:5ms".

Decides the names and how their settings are written; the models are in `latency.py`, `latency_fitted.py` and
`matrix.py`. Also: round trips of whole arrays of host numbers for any model, and where hosts lie for any model.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from simulations.durations import parse_duration
from simulations.errors import BadScenario
from simulations.hops import Address
from simulations.latency import Constant, Geographic, Jitter, Latency, LogNormal, Uniform, scattered
from simulations.latency_fits import FITS
from simulations.latency_fitted import Fitted
from simulations.matrix import Matrix, read_square
from simulations.randomness import Streams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMS = (
    "constant:50ms",
    "uniform:20ms-80ms",
    "lognormal:50ms,0.4",
    "geographic",
    *FITS,
    "matrix:FILE",
    "matrix+deviation:FILE",
)
"""One example of each form; "+jitter:5ms" may follow any."""
JITTER = "+jitter:"


def named(spec: str | Latency, streams: Streams) -> Latency:
    """Make the model that a text names; a model is given back as it is.

    One-way delays are meant: "constant:50ms" is a round trip of 100 ms. Raises `BadScenario` with the forms there
    are, or with what is wrong in a setting.
    """
    if not isinstance(spec, str):
        return spec
    base, found, jitter = spec.rpartition(JITTER)
    if found:
        return Jitter(named(base, streams), _span(spec, jitter, "jitter"))
    name, _, setting = spec.partition(":")
    match name.strip():
        case "constant":
            return Constant(_span(spec, setting, "delay"))
        case "uniform":
            low, dash, high = setting.partition("-")
            if not dash:
                raise _bad(spec, "two bounds with a dash between, as in uniform:20ms-80ms")
            bounds = _span(spec, low, "lower bound"), _span(spec, high, "upper bound")
            if bounds[0] > bounds[1]:
                raise _bad(spec, "the lower bound first")
            return Uniform(*bounds)
        case "lognormal":
            median, comma, sigma = setting.partition(",")
            if not comma:
                raise _bad(spec, "a median and the logarithm's deviation, as in lognormal:50ms,0.4")
            return LogNormal(_span(spec, median, "median"), _plain(spec, sigma))
        case "matrix" | "matrix+deviation":
            if not setting:
                raise _bad(spec, "a file, as in matrix:FILE")
            return Matrix(read_square(setting), streams, jitter=name.strip() != "matrix")
    if setting:
        raise _bad(spec, f"one of {', '.join(FORMS)}")
    if name.strip() == "geographic":
        return Geographic(scattered(streams))
    if name.strip() in FITS:
        return Fitted(FITS[name.strip()], streams)
    raise _bad(spec, f"one of {', '.join(FORMS)}, each perhaps with {JITTER}5ms behind it")


def place_of(model: Latency, ip: str) -> tuple[float, float] | None:
    """Give longitude and latitude of a host in degrees, or `None` where the model has no places."""
    while isinstance(model, Jitter):
        model = model.base
    coordinates = getattr(model, "coordinates", None)
    if coordinates is None:
        return None
    found: tuple[float, float] | None = coordinates(ip)
    return found


def round_trips(
    model: Latency,
    a_index: NDArray[np.integer],
    b_index: NDArray[np.integer],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw round trips in seconds between hosts of those numbers, element by element, for any model above.

    The two ways of one round trip are drawn apart, as two packets would be. `rng` is not touched by a model without
    chance in it.
    """
    import numpy as np

    count = len(a_index)
    match model:
        case Constant():
            return np.full(count, 2 * model.seconds)
        case Uniform():
            return 2 * model.low + (model.high - model.low) * (rng.random(count) + rng.random(count))
        case LogNormal():
            ways: NDArray[np.float64] = rng.lognormal(math.log(model.median), model.sigma, (2, count)).sum(axis=0)
            return ways
        case Jitter():
            waits: NDArray[np.float64] = rng.exponential(model.mean, (2, count)).sum(axis=0)
            return round_trips(model.base, a_index, b_index, rng) + waits
        case Fitted() | Matrix():
            return model.round_trips(a_index, b_index)
        case _:
            return _one_by_one(model, a_index, b_index, rng)


def _one_by_one(
    model: Latency, a_index: NDArray[np.integer], b_index: NDArray[np.integer], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Ask any other model pair by pair, hosts standing under their numbers: right, but a thousand times slower."""
    import numpy as np

    chance = Random(int(rng.integers(1 << 62)))
    ends: list[tuple[Address, Address]] = [
        ((f"#{a}", 0), (f"#{b}", 0)) for a, b in zip(a_index.tolist(), b_index.tolist(), strict=True)
    ]
    return np.array([model.delay(a, b, chance) + model.delay(b, a, chance) for a, b in ends])


def _bad(spec: str, expected: str) -> BadScenario:
    return BadScenario(f"latency {spec!r} names no model: expected {expected}")


def _span(spec: str, text: str, what: str) -> float:
    return parse_duration(text, f"{what} of latency {spec!r}:")


def _plain(spec: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _bad(spec, f"a number in place of {text!r}") from None
