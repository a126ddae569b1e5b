"""Some pairs of the matrix, with real processes; `make natlab` plays all of them."""

import pytest

from tests.natlab.kinds import KINDS
from tests.natlab.matrix import Matrix, Pair, pairs_of, played, result_of
from tests.natlab.page import page

SOME = (
    Pair("port-restricted", "port-restricted"),
    Pair("double", "cgnat"),
    Pair("endpoint-independent", "symmetric"),
    Pair("endpoint-independent", "endpoint-independent", "apart"),
)
"""What takes less than a second each."""


@pytest.mark.usefixtures("machine")
async def test_real_nodes_meet_through_these_boxes():
    matrix = Matrix(SOME, timeout=8.0, open_nodes=5)
    results = await played(matrix)
    assert [result.pair for result in results] == list(SOME)
    assert [f"{result.pair.text}: {result.outcome} {result.reason}" for result in results if not result.holds] == []
    assert matrix.late == {}


def test_every_ordered_pair_is_in_the_matrix_and_those_behind_one_box():
    pairs = pairs_of(tuple(KINDS))
    assert len(pairs) == len(set(pairs)) == len(KINDS) ** 2 + 2 * (len(KINDS) - 1)


ICE = {"way": "ice", "outcome": "opened"}


@pytest.mark.parametrize(
    ("said", "outcome", "holds"),
    [
        ({"connected": True, "path": "host-srflx", "ways": [ICE]}, "direct", True),
        ({"connected": True, "path": "relay", "ways": [{"way": "relay", "outcome": "opened"}]}, "relayed", False),
        ({"connected": False, "reason": "link-failed", "detail": "a | b", "ways": []}, "failed", False),
    ],
)
def test_a_result_and_its_page_say_what_became_of_a_pair(said, outcome, holds):
    result = result_of(Pair("none", "port-restricted"), {"phases": {}, **said}, 0.25)
    assert (result.outcome, result.holds) == (outcome, holds)
    assert result.document()["expected"] == "direct"
    shown = page([result], {}, 1.0)
    assert ("| 1 (100.0 %) | 1 (100.0 %) |" in shown) is holds
    assert ("## What did not come out as it must" in shown) is not holds
    assert "a \\| b" in shown if outcome == "failed" else "250" in shown
