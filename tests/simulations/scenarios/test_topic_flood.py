"""A flood of made-up members, as many as a place holds and there first, leaves honest ones their place."""

from tests.simulations.scenarios.small import played, unmet, value


def test_honest_members_get_into_a_topic_that_was_flooded_before():
    result = played("topic-flood")[0]
    assert not unmet(result)
    # 12 of at most 64 + 12, and of a few that wait for long.
    assert value(result, "honest of the first place") > 0.12
