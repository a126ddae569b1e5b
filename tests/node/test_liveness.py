"""When silence means death: looks at a path, with the clock turned by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from node.protocols.liveness import (
    ACTIVE_FOR,
    ASK_SELDOM,
    LOOK_OFTEN,
    LOOK_SELDOM,
    MIN_PROBED_GAP,
    SUSPENDED_FOR,
    Liveness,
    Look,
)


def looks(
    liveness: Liveness, start: float, seconds: float, *, heard: bool = False, used: bool = False, waiting: bool = False
) -> Iterator[tuple[float, Look]]:
    """Look as often as it wants, and probe when it says so; yield what was no rest."""
    now = start
    while now < start + seconds:
        now += liveness.pause
        look = liveness.look(now, heard=heard, used=used, waiting=waiting)
        if look is Look.ASK:
            liveness.ask(now)
        if look is not Look.WELL:
            yield now, look


def test_a_sender_that_is_not_acknowledged_suspects_in_two_to_three_seconds() -> None:
    liveness = Liveness(0.0)
    seen = list(looks(liveness, 0.0, 5.0, used=True, waiting=True))
    (when,) = [now for now, look in seen if look is Look.SUSPECT]
    assert 2.0 <= when <= 3.0


def test_who_waits_for_a_peer_that_was_sending_suspects_in_three_seconds() -> None:
    liveness = Liveness(0.0)
    liveness.look(0.25, heard=True, used=True, waiting=False)
    seen = list(looks(liveness, 0.25, 6.0))
    assert [look for _, look in seen] == [Look.ASK, Look.SUSPECT]
    assert seen[1][0] - 0.25 <= 3.25


def test_anything_that_comes_is_life() -> None:
    liveness = Liveness(0.0)
    assert not [look for _, look in looks(liveness, 0.0, 60.0, heard=True, used=True, waiting=True)]


def test_a_path_that_speaks_again_is_alive_and_may_be_suspected_anew() -> None:
    liveness = Liveness(0.0)
    assert Look.SUSPECT in [look for _, look in looks(liveness, 0.0, 5.0, used=True, waiting=True)]
    liveness.look(5.5, heard=True, used=True, waiting=True)
    assert liveness.suspected_at is None
    assert Look.SUSPECT in [look for _, look in looks(liveness, 5.5, 5.0, used=True, waiting=True)]


def test_a_path_of_long_round_trips_gets_more_time() -> None:
    liveness = Liveness(0.0)
    for start in (0.0, 10.0, 20.0):
        liveness.on_answer(liveness.ask(start), start + 1.5)
        liveness.look(start + 1.5, heard=True, used=True, waiting=False)
    assert liveness.rtt == 1.5 and liveness.patience == 6.0
    liveness.on_answer(12345, 30.0)
    assert liveness.rtt == 1.5


def test_a_link_nobody_uses_is_asked_ever_more_seldom() -> None:
    liveness = Liveness(0.0)
    asked: list[float] = []
    now = 0.0
    while now < 600.0:
        now += liveness.pause
        look = liveness.look(now, heard=bool(asked) and now - asked[-1] < 2.1, used=False, waiting=False)
        if look is Look.ASK:
            asked.append(now)
            liveness.on_answer(liveness.ask(now), now + 0.1)
    late = [after - before for before, after in itertools.pairwise(asked) if before > 60.0]
    assert all(ASK_SELDOM - 5 <= gap <= ASK_SELDOM + 5 for gap in late) and len(late) > 20
    assert liveness.pause == LOOK_SELDOM
    first = [after - before for before, after in itertools.pairwise(asked) if before < ACTIVE_FOR - 3]
    assert max(first) <= 3.0


def test_a_link_without_a_path_is_lost_after_a_while() -> None:
    liveness = Liveness(0.0)
    assert liveness.suspect(0.5) and not liveness.suspect(0.6)
    over = [now for now, look in looks(liveness, 0.6, 60.0) if look is Look.OVER]
    assert SUSPENDED_FOR + 0.5 <= over[0] <= SUSPENDED_FOR + 1.5


def test_who_slept_does_not_blame_the_path() -> None:
    liveness = Liveness(0.0)
    assert liveness.look(0.25, heard=False, used=True, waiting=True) is Look.WELL
    assert liveness.look(3600.0, heard=False, used=False, waiting=True) is not Look.SUSPECT
    assert liveness.look(3600.0 + LOOK_OFTEN, heard=True, used=False, waiting=False) is Look.WELL


def test_a_new_path_begins_with_a_clean_record() -> None:
    liveness = Liveness(0.0)
    liveness.suspect(1.0)
    liveness.renew(2.0)
    assert liveness.suspected_at is None and liveness.rtt is None and liveness.pause == LOOK_OFTEN


def test_questions_in_masses_are_answered_seldom() -> None:
    liveness = Liveness(0.0)
    answered = sum(liveness.may_answer(number / 1000) for number in range(1000))
    assert 1 / MIN_PROBED_GAP - 2 <= answered <= 1 / MIN_PROBED_GAP + 1
