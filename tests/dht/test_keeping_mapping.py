"""The interval between renewals grows with what was proven, and shrinks with what was not, without going to and fro."""

import pytest

from dht.keeping_mapping import (
    FIRST_PAUSE,
    LEAST_KEEPALIVE,
    LONGEST_PAUSE,
    MOST_KEEPALIVE,
    SHORT_STRIKES,
    MappingLifetime,
)

NOW = 1_800_000_000.0


def grown(mapping: MappingLifetime) -> list[float]:
    """The intervals up to the longest, where every silence is outlived."""
    seen = [mapping.interval]
    for _ in range(50):
        longer = mapping.to_try(NOW)
        if longer is not None:
            mapping.outlived(longer, alone=True)
            seen.append(mapping.interval)
        mapping.outlived(mapping.interval, alone=False)
    return seen


def step_to(mapping: MappingLifetime) -> float:
    """Prove the present interval and make one step, which all have yet to prove."""
    mapping.outlived(mapping.interval, alone=False)
    longer = mapping.to_try(NOW)
    assert longer is not None
    mapping.outlived(longer, alone=True)
    return longer


def test_it_grows_by_half_to_five_minutes() -> None:
    assert [round(one) for one in grown(MappingLifetime(25.0, 300.0))] == [25, 38, 56, 84, 127, 190, 285, 290]


@pytest.mark.parametrize(("start", "most", "longest"), [(60.0, 60.0, 60.0), (60.0, 100.0, 100.0), (25.0, 6.0, 25.0)])
def test_it_grows_no_further_than_it_may(start: float, most: float, longest: float) -> None:
    assert grown(MappingLifetime(start, most))[-1] == longest <= MOST_KEEPALIVE


def test_nothing_longer_is_tried_before_all_have_outlived_the_present_one() -> None:
    mapping = MappingLifetime(60.0, 300.0)
    assert mapping.to_try(NOW) is None
    step_to(mapping)
    assert mapping.interval == 90.0 and mapping.to_try(NOW) is None


def test_a_trial_that_is_missed_twice_rules_a_step_out_for_an_hour() -> None:
    mapping = MappingLifetime(60.0, 300.0)
    mapping.outlived(60.0, alone=False)
    for _ in range(2):
        assert mapping.to_try(NOW) == 90.0
        mapping.missed(90.0, NOW, alone=True)
        mapping.outlived(60.0, alone=False)
    assert mapping.interval == 60.0 and mapping.to_try(NOW) is None
    assert mapping.to_try(NOW + FIRST_PAUSE - 1) is None
    assert mapping.to_try(NOW + FIRST_PAUSE) == 90.0


def test_the_pauses_before_it_is_tried_again_grow_to_a_day() -> None:
    mapping, now, pauses = MappingLifetime(60.0, 300.0), NOW, []
    for _ in range(8):
        mapping.outlived(60.0, alone=False)
        mapping.missed(90.0, now, alone=True, certain=True)
        assert mapping.to_try(now) is None
        pauses.append(next(hours for hours in range(1, 48) if mapping.to_try(now + hours * 3600.0) is not None))
        now += pauses[-1] * 3600.0
    assert pauses == [1, 2, 4, 8, 16, 24, 24, 24]


def test_a_step_that_all_together_do_not_outlive_is_taken_back_at_once() -> None:
    mapping = MappingLifetime(60.0, 300.0)
    step_to(mapping)
    mapping.missed(90.0, NOW, alone=False)
    assert mapping.interval == 60.0
    # Once is no proof, for datagrams get lost; twice is, and then it costs calls to see it again.
    step_to(mapping)
    mapping.missed(90.0, NOW, alone=False)
    assert mapping.interval == 60.0
    assert mapping.to_try(NOW + LONGEST_PAUSE - 1) is None
    assert mapping.to_try(NOW + LONGEST_PAUSE) == 90.0


def test_an_interval_that_held_is_shortened_after_two_misses_in_a_row() -> None:
    mapping = MappingLifetime(60.0, 300.0)
    mapping.missed(60.0, NOW, alone=False)
    mapping.outlived(60.0, alone=False)
    mapping.missed(60.0, NOW, alone=False)
    assert mapping.interval == 60.0
    mapping.missed(60.0, NOW, alone=False)
    assert mapping.interval == 40.0


def test_a_short_one_after_three() -> None:
    mapping = MappingLifetime(25.0, 300.0)
    for _ in range(SHORT_STRIKES - 1):
        mapping.missed(25.0, NOW, alone=False)
    assert mapping.interval == 25.0
    mapping.missed(25.0, NOW, alone=False)
    assert mapping.interval == pytest.approx(25.0 * 2 / 3)


def test_another_port_settles_it_at_once_and_shortens_once() -> None:
    mapping = MappingLifetime(60.0, 300.0)
    mapping.missed(60.0, NOW, alone=False)
    mapping.missed(60.0, NOW, alone=False, certain=True)  # what was seen of the same silence
    assert mapping.interval == 40.0
    mapping.missed(60.0, NOW, alone=False, certain=True)
    assert mapping.interval == 40.0
    step = MappingLifetime(60.0, 300.0)
    step_to(step)
    step.missed(90.0, NOW, alone=False)
    step.missed(90.0, NOW, alone=False, certain=True)
    assert step.interval == 60.0
    step.outlived(60.0, alone=False)
    assert step.to_try(NOW) is None


def test_it_does_not_shrink_for_ever() -> None:
    mapping = MappingLifetime(60.0, 300.0)
    for _ in range(50):
        mapping.missed(mapping.interval, NOW, alone=False, certain=True)
    assert mapping.interval == LEAST_KEEPALIVE
