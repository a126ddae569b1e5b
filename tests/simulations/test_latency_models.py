from random import Random

import numpy as np
import pytest

from simulations.durations import parse_duration
from simulations.errors import BadScenario
from simulations.latency import Constant, Geographic, Jitter, LogNormal, Uniform
from simulations.latency_fitted import Fitted
from simulations.latency_models import named, place_of, round_trips
from simulations.matrix import Matrix
from simulations.randomness import Streams

A, B = ("11.0.0.1", 1), ("11.0.0.2", 1)
STREAMS = Streams(1)


@pytest.fixture
def square(tmp_path):
    path = tmp_path / "square.txt"
    path.write_text("0 10 20\n10 0 30\n20 30 0\n")
    return path


def test_every_form_makes_its_model(square):
    forms = {
        "constant:50ms": Constant,
        "uniform:20ms-80ms": Uniform,
        "lognormal:50ms,0.4": LogNormal,
        "geographic": Geographic,
        "cities": Fitted,
        "planetlab": Fitted,
        f"matrix:{square}": Matrix,
        "planetlab+jitter:5ms": Jitter,
    }
    for spec, kind in forms.items():
        model = named(spec, STREAMS)
        assert type(model) is kind
        assert 0 <= model.delay(A, B, Random(1)) < 10
        assert named(model, STREAMS) is model
    assert named("constant:50ms", STREAMS).delay(A, B, Random(1)) == 0.05
    uniform = named("uniform:20ms-80ms", STREAMS)
    assert isinstance(uniform, Uniform) and (uniform.low, uniform.high) == (0.02, 0.08)
    lognormal = named("lognormal:50ms,0.4", STREAMS)
    assert isinstance(lognormal, LogNormal) and (lognormal.median, lognormal.sigma) == (0.05, 0.4)
    jitter = named("constant:1s+jitter:5ms", STREAMS)
    assert isinstance(jitter, Jitter) and jitter.mean == 0.005 and isinstance(jitter.base, Constant)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("planet", r"constant:50ms, uniform:20ms-80ms, .*planetlab, cities, matrix:FILE"),
        ("cities:3", "one of constant"),
        ("constant", r"span of time: expected a number from 0 up and a unit \(us"),
        ("constant:50", "span of time"),
        ("uniform:20ms", "two bounds"),
        ("uniform:80ms-20ms", "the lower bound first"),
        ("lognormal:50ms", "a median and"),
        ("lognormal:50ms,much", "a number in place of 'much'"),
        ("matrix:", "a file"),
        ("cities+jitter:0ms", r"mean = 0\.0 is no jitter"),
        ("matrix:/nowhere/file", "cannot be read as a latency matrix"),
    ],
)
def test_a_bad_name_gets_the_allowed_ones(spec, told):
    with pytest.raises(BadScenario, match=told):
        named(spec, STREAMS)


@pytest.mark.parametrize(
    "spec",
    [
        "constant:50ms",
        "uniform:20ms-80ms",
        "lognormal:50ms,0.4",
        "geographic",
        "cities",
        "planetlab+jitter:5ms",
        "matrix:square",
    ],
)
def test_arrays_have_the_distribution_of_two_packets(spec, square):
    model = named(spec.replace("square", str(square)), STREAMS)
    a, b = np.random.default_rng(1).integers(0, 500, (2, 4_000))
    arrays = round_trips(model, a, b, np.random.default_rng(2))
    rng = Random(3)
    ends = [((f"11.0.{x >> 8}.{x & 255}", 1), (f"11.0.{y >> 8}.{y & 255}", 1)) for x, y in zip(a, b, strict=True)]
    packets = [model.delay(p, q, rng) + model.delay(q, p, rng) for p, q in ends]
    assert np.mean(arrays) == pytest.approx(np.mean(packets), rel=0.08)
    assert np.array_equal(arrays, round_trips(model, a, b, np.random.default_rng(2)))
    assert arrays.dtype == np.float64 and arrays.min() > 0


def test_a_host_has_a_place_where_the_model_has_places():
    assert place_of(named("constant:50ms", STREAMS), A[0]) is None
    for spec in ("geographic", "cities", "planetlab+jitter:1ms"):
        found = place_of(named(spec, STREAMS), A[0])
        assert found is not None and -180.5 <= found[0] <= 180.5 and -90 <= found[1] <= 90
        assert found == place_of(named(spec, Streams(1)), A[0])
    assert place_of(Geographic({A[0]: (3.0, 4.0)}.__getitem__), A[0]) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("250us", 0.00025), ("1.5h", 5400.0), ("2d", 172_800.0), (" 3 min ", 180.0), ("0s", 0.0)],
)
def test_spans_of_time_are_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "50", "ms", "-1s", "1e999s", "1.2.3s", "5 weeks", "nans"])
def test_what_is_no_span_of_time_is_refused(text):
    with pytest.raises(BadScenario, match=r"length .* is no span of time: expected a number"):
        parse_duration(text, "length")
