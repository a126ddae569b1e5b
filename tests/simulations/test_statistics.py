import math

import numpy as np
import pytest

from simulations.statistics import (
    fisher,
    holm,
    mann_whitney,
    nearest_rank,
    of_mean,
    of_percentile,
    of_share,
    over_seeds,
    same_percentile,
    welch,
)


def test_students_interval_over_seeds() -> None:
    interval = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    # t(4, 97.5 %) = 2.7764 (NIST/SEMATECH e-Handbook, table 1.3.6.7.2); sd 1.5811
    assert (interval.value, interval.n, interval.over) == (3.0, 5, "seeds")
    assert interval.half_width == pytest.approx(2.7764 * 1.5811 / math.sqrt(5), rel=1e-4)


def test_seeds_without_a_figure_do_not_count() -> None:
    assert over_seeds([math.nan, 2.0, 4.0]).n == 2
    assert math.isnan(over_seeds([math.nan]).value)
    assert not over_seeds([3.0]).known
    assert over_seeds([3.0]).value == 3.0


def test_wilsons_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, and 0 of 20.
    assert of_share(81, 263).low == pytest.approx(0.2553, abs=1e-4)
    assert of_share(81, 263).high == pytest.approx(0.3662, abs=1e-4)
    assert of_share(0, 20).low == 0
    assert of_share(0, 20).high == pytest.approx(0.1611, abs=1e-4)
    assert of_share(20, 20).high == 1.0
    assert not of_share(0, 0).known


def test_percentiles_take_a_value_that_occurred() -> None:
    values = np.arange(1.0, 101.0)
    assert [nearest_rank(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert math.isnan(nearest_rank(values[:0], 0.5))


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_intervals_of_percentiles_hold_the_true_one_about_as_often_as_they_say(share: float) -> None:
    rng = np.random.default_rng(1)
    held = [
        interval.low <= share <= interval.high
        for _ in range(600)
        if (interval := of_percentile(np.sort(rng.random(300)), share)).known
    ]
    assert len(held) > 500
    assert 0.92 <= np.mean(held) <= 0.99


def test_too_few_values_give_no_interval_of_a_high_percentile() -> None:
    assert not of_percentile(np.arange(30.0), 0.99).known
    assert of_percentile(np.arange(30.0), 0.99).value == 29.0


@pytest.mark.parametrize("n", [60, 12_000])
def test_intervals_of_means_are_about_right(n: int) -> None:
    values = np.random.default_rng(2).normal(5, 2, n)
    interval = of_mean(values)
    assert interval.low < values.mean() < interval.high
    assert interval.half_width == pytest.approx(1.96 * 2 / math.sqrt(n), rel=0.2)
    counts = np.random.default_rng(3).poisson(2, 500).astype(float)
    assert of_mean(counts).half_width == pytest.approx(1.96 * math.sqrt(2 / 500), rel=0.2)


def test_bootstrap_gives_the_same_every_time() -> None:
    values = np.random.default_rng(2).random(300)
    assert of_mean(values) == of_mean(values)


def test_welch_against_a_known_case() -> None:
    # Student's sleep data (Biometrika 6, 1908): Welch's test gives t = -1.8608, p = 0.07939.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    assert welch(first, second) == pytest.approx(0.07939, abs=1e-5)
    assert welch([0.1 + 0.2, 0.3], [0.3, 0.3]) == 1.0
    assert welch([1.0, 1.0], [2.0, 2.0]) == 0.0
    assert math.isnan(welch([1.0], [2.0, 3.0]))


def test_fisher_against_a_known_case() -> None:
    # Fisher's lady tasting tea: 3 of 4 against 1 of 4 gives 0.4857.
    assert fisher(3, 4, 1, 4) == pytest.approx(0.4857, abs=1e-4)
    assert math.isnan(fisher(0, 0, 1, 4))


def test_tests_of_samples_see_a_shift_and_nothing_where_there_is_none() -> None:
    rng = np.random.default_rng(4)
    a, b, c = (np.sort(rng.lognormal(0, 0.5, 800) * stretch) for stretch in (1.0, 1.0, 1.3))
    for share in (0.5, 0.95):
        assert same_percentile(a, b, share) > 0.05
        assert same_percentile(a, c, share) < 0.01
    assert mann_whitney(a, b) > 0.05
    assert mann_whitney(a, c) < 1e-6
    assert mann_whitney(np.ones(5), np.ones(9)) == 1.0
    assert math.isnan(mann_whitney(a[:0], b))


def test_holm_against_a_worked_case() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, math.nan, 0.8])[0] == 1.0
    assert math.isnan(holm([0.9, math.nan])[1])
