import math
from random import Random

import numpy as np
import pytest

from simulations.errors import BadScenario
from simulations.session_lengths import Exponential, LogNormal, Measured, Pareto, Weibull, found_running
from simulations.sessions import FORMS, PUBLISHED, Diurnal, gaps, lengths, named, read_trace

COUNT = 40_000
MODELS = [
    Exponential(3600.0),
    Weibull(0.59, 2514.0),
    Weibull(2.0, 100.0),
    LogNormal(1800.0, 0.8),
    Pareto(5.0, 3600.0),
    Measured([10.0, 20.0, 600.0, 3600.0]),
]
NAMES = ["exponential", "weibull heavy", "weibull light", "lognormal", "pareto", "measured"]


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("node,start,end\nb,50,150\na,0,100\na,400,1000\n\nb,150,250\n")
    return path


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_lengths_have_their_mean_one_by_one_and_as_arrays(model):
    rng = Random(1)
    single = np.array([model.draw(rng) for _ in range(COUNT)])
    arrays = model.draws(np.random.default_rng(1), COUNT)
    assert single.min() >= 0 and arrays.min() >= 0
    assert single.mean() == pytest.approx(model.mean, rel=0.05)
    assert arrays.mean() == pytest.approx(model.mean, rel=0.05)
    assert np.quantile(single, [0.25, 0.5, 0.9]) == pytest.approx(np.quantile(arrays, [0.25, 0.5, 0.9]), rel=0.06)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_what_is_left_of_a_running_session_is_what_renewal_theory_says(model):
    """Beside the formulas: sessions laid end to end, and points thrown on them."""
    generator = np.random.default_rng(2)
    ends = np.cumsum(model.draws(generator, 400_000))
    at = generator.random(COUNT) * ends[-1]
    expected = np.quantile(ends[np.searchsorted(ends, at, side="right")] - at, [0.25, 0.5, 0.75, 0.9])
    rng = Random(2)
    single = np.quantile([model.residual(rng) for _ in range(COUNT)], [0.25, 0.5, 0.75, 0.9])
    arrays = np.quantile(model.residuals(generator, COUNT), [0.25, 0.5, 0.75, 0.9])
    assert single == pytest.approx(expected, rel=0.08)
    assert arrays == pytest.approx(expected, rel=0.08)


def test_published_figures_are_met():
    ipfs = named("ipfs-2022").draws(np.random.default_rng(3), 400_000) / 3600
    assert np.mean(ipfs < 8) == pytest.approx(0.876, abs=0.002)
    assert np.mean(ipfs > 24) == pytest.approx(0.025, abs=0.001)
    third = named("stutzbach-3")
    assert isinstance(third, Weibull) and (third.shape, third.scale) == (0.59, 41.9 * 60)
    assert [round(model.shape, 2) for model in PUBLISHED.values() if isinstance(model, Weibull)][:3] == [
        0.34,
        0.38,
        0.59,
    ]
    assert named("leonard-2005").mean == 1800.0
    # The mean of a Weibull distribution is scale * gamma(1 + 1/shape).
    assert named("stutzbach-1").mean == pytest.approx(21.3 * 60 * math.gamma(1 + 1 / 0.34))


def test_every_form_makes_its_model(trace):
    made = {form: named(form.replace("FILE", str(trace))) for form in FORMS}
    assert made["exponential:1h"].mean == 3600.0
    weibull = made["weibull:0.59,41.9m"]
    assert isinstance(weibull, Weibull) and weibull.shape == 0.59 and weibull.scale == pytest.approx(2514.0)
    lognormal = made["lognormal:1h,1.5"]
    assert isinstance(lognormal, LogNormal) and (lognormal.median, lognormal.sigma) == (3600.0, 1.5)
    assert made["pareto:3,1h"].mean == 1800.0
    assert made["trace:FILE"].mean == 225.0
    assert made["trace-gaps:FILE"].mean == 300.0
    assert named(weibull) is weibull


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("weibul:1,1h", "expected one of exponential:1h, weibull"),
        ("weibull:0.59", "expected one of"),
        ("weibull:0.59,41.9", "span of time"),
        ("weibull:x,1h", "'x' is no number"),
        ("weibull:-1,1h", r"shape = -1\.0 of sessions"),
        ("exponential:0s", r"mean = 0\.0 of sessions"),
        ("trace:", "expected one of"),
        ("trace:/nowhere", "cannot be read as a session trace"),
    ],
)
def test_a_bad_name_gets_the_allowed_ones(spec, told):
    with pytest.raises(BadScenario, match=told):
        named(spec)


def test_a_trace_gives_sessions_and_the_gaps_between(trace):
    stays = read_trace(trace)
    assert [(stay.node, stay.start) for stay in stays] == [("a", 0), ("a", 400), ("b", 50), ("b", 150)]
    assert lengths(stays) == [100, 600, 100, 100]
    assert gaps(stays) == [300], "one that ends where the next begins leaves none"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no session"),
        ("node,start,end\n", "holds no session"),
        ("a,1\n", "line 1: 2 columns: expected node, start, end"),
        ("a,1,2\na,x,3\n", "line 2: .*two numbers"),
        ("a,5,5\n", "line 1: from 5 to 5: expected start < end"),
        ("a,5,inf\n", "line 1"),
        ("a,0,10\nb,0,1\na,9,20\n", "line 3: node 'a' starts at 9 while its session of line 1 runs until 10"),
    ],
)
def test_a_bad_trace_is_named_with_its_line(tmp_path, text, told):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(BadScenario, match=told):
        read_trace(path)


def test_a_trace_without_gaps_has_no_absences(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("a,0,1\n")
    with pytest.raises(BadScenario, match="no node has two sessions"):
        named(f"trace-gaps:{path}")


def test_as_many_are_found_up_as_their_means_say():
    up, down, rng = Weibull(0.5, 1000.0), Exponential(500.0), Random(4)
    found = [found_running(up, down, rng) for _ in range(20_000)]
    assert np.mean([is_up for is_up, _ in found]) == pytest.approx(2000 / 2500, abs=0.012)
    assert np.mean([left for is_up, left in found if not is_up]) == pytest.approx(500.0, rel=0.06)
    with pytest.raises(BadScenario, match="without a mean"):
        found_running(Pareto(1.0, 60.0), down, rng)
    with pytest.raises(BadScenario, match="have no mean"):
        Pareto(0.9, 60.0).residual(rng)


def test_impossible_distributions_are_refused():
    with pytest.raises(BadScenario, match="at least one length"):
        Measured([])
    with pytest.raises(BadScenario, match="fewer that last longer"):
        Weibull.through((8.0, 0.1), (24.0, 0.2))


def test_load_peaks_at_the_local_hour():
    wave = Diurnal(0.6, peak_hour=20)
    midnight = 1_700_006_400.0 - 1_700_006_400.0 % 86_400
    assert wave.factor(midnight + 20 * 3600) == pytest.approx(1.6)
    assert wave.factor(midnight + 8 * 3600) == pytest.approx(0.4)
    # Where it is 20 o'clock at noon UTC: 120 degrees east.
    assert wave.factor(midnight + 12 * 3600, longitude=120.0) == pytest.approx(1.6)
    hours = midnight + 3600 * np.arange(24.0)
    assert wave.factors(hours) == pytest.approx([wave.factor(hour) for hour in hours])
    assert wave.factors(hours).mean() == pytest.approx(1.0)
    assert Diurnal(1.0, peak_hour=1, period=7200).factor(3600.0) == pytest.approx(2.0)


def test_arrivals_follow_the_wave_one_by_one_and_as_arrays():
    wave, start, rng = Diurnal(0.8, peak_hour=12), 1_699_920_000.0, Random(5)
    single, now = [], start
    while (now := wave.next_arrival(now, 0.1, rng)) < start + 86_400:
        single.append(now)
    arrays = wave.arrivals(start, 86_400.0, 0.1, np.random.default_rng(5))
    assert (np.diff(arrays) >= 0).all()
    assert start <= arrays[0] and arrays[-1] < start + 86_400
    for times in (np.array(single), arrays):
        assert abs(len(times) - 8640) < 4 * 8640**0.5
        hour = (times - start) / 3600
        day, night = np.sum((hour > 9) & (hour < 15)), np.sum((hour < 3) | (hour > 21))
        # Each is a quarter of a day; the wave's mean over it is 1 ± 0.8 * sin(45°) / (π/4).
        expected = 0.8 * math.sin(math.pi / 4) / (math.pi / 4)
        assert day / night == pytest.approx((1 + expected) / (1 - expected), rel=0.15)


@pytest.mark.parametrize(
    ("settings", "told"),
    [((1.5, 1.0), "amplitude"), ((0.5, 25.0), "peak_hour .* 0 to 24 hours"), ((0.5, 1.0, 0.0), "period")],
)
def test_an_impossible_wave_is_refused(settings, told):
    with pytest.raises(BadScenario, match=told):
        Diurnal(*settings)
    with pytest.raises(BadScenario, match=r"rate = 0\.0"):
        Diurnal(0.5, 1.0).next_arrival(0.0, 0.0, Random(1))
