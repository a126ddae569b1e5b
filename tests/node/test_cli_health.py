"""When a bootstrap server calls itself degraded."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from node.cli_health import GRACE, OUTSIDE_VOTERS, ailments


def state(**changes):
    well = {
        "uptime": GRACE + 60,
        "journal_problem": None,
        "clock_offset": 1.0,
        "public_address": ("192.0.2.1", 7716),
        "listening": (("0.0.0.0", 7716),),
    }
    return SimpleNamespace(**well | changes)


def contacts(count, host="198.51.100.{}"):
    return [SimpleNamespace(address=(host.format(number), 7716)) for number in range(1, count + 1)]


def test_a_server_among_others_is_well():
    assert ailments(state(), contacts(1), others_known=True) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"journal_problem": "/srv/journal.db: disk full"}, "its journal cannot be written"),
        ({"clock_offset": -1200.0}, "its clock is 20 min off that of others"),
        ({"public_address": ("192.0.2.1", 40001)}, "others see it on UDP port 40001, where it does not listen"),
    ],
)
def test_what_ails_it_is_told_without_paths(changes, says):
    [reason] = ailments(state(**changes), contacts(1), others_known=True)
    assert reason.startswith(says)
    assert "/" not in reason


def test_a_server_that_nobody_answers_is_ill_after_a_while():
    assert ailments(state(uptime=GRACE - 1), [], others_known=True) == ()
    assert ailments(state(), [], others_known=True) == ("it has found no other node 4 min after its start",)
    # The first server of a network waits for the others.
    assert ailments(state(), [], others_known=False) == ()


def test_an_address_that_nobody_agrees_on_is_behind_a_nat():
    hidden = state(public_address=None)
    [reason] = ailments(hidden, contacts(OUTSIDE_VOTERS, "198.51.100.{}"), others_known=True)
    assert "do not agree on its address" in reason
    assert ailments(hidden, contacts(OUTSIDE_VOTERS, "10.0.0.{}"), others_known=True) == ()
    assert ailments(hidden, contacts(OUTSIDE_VOTERS - 1, "198.51.100.{}"), others_known=True) == ()
