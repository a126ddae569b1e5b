from collections import Counter
from random import Random

import pytest

from simulations.errors import BadScenario
from simulations.nat_kinds import KINDS, can_punch
from simulations.nat_mix import (
    CARRIER_EYEBALL_2016,
    DCUTR_2025,
    DCUTR_2025_SPREAD,
    FORD_2005_UDP,
    NAMES,
    TRIBLER_2011_PUNCHABLE,
    TRIBLER_2011_SUCCESS,
    draw,
    mix,
    punchable,
    source_of,
)


@pytest.mark.parametrize("name", NAMES)
def test_every_mix_is_whole_known_and_says_its_source(name):
    shares = mix(name)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in shares.values())
    assert shares.keys() <= KINDS.keys()
    assert mix(shares) == shares
    assert any(word in source_of(name) for word in ("20", "UNSOURCED", "compare"))


def test_boxes_that_allow_punching_are_as_many_as_ford_counted():
    shares = mix("ford-2005")
    # Their test asks for one thing only: the same outside port towards two servers.
    assert sum(share for kind, share in shares.items() if not KINDS[kind].mapping) == FORD_2005_UDP
    assert punchable(shares) == pytest.approx(FORD_2005_UDP**2)


@pytest.mark.parametrize("name", ["dcutr-2025", "home", "published"])
def test_pairs_get_through_as_often_as_dcutr_measured(name):
    assert abs(punchable(mix(name)) - DCUTR_2025) < DCUTR_2025_SPREAD


def test_tribler_peers_behind_punchable_boxes_reach_one_another():
    shares = mix("tribler-2011")
    able = {kind: share for kind, share in shares.items() if kind != "none" and can_punch(kind, kind)}
    assert sum(able.values()) == pytest.approx(TRIBLER_2011_PUNCHABLE)
    assert punchable({kind: share / sum(able.values()) for kind, share in able.items()}) >= TRIBLER_2011_SUCCESS


def test_open_hosts_raise_the_share_of_all_pairs():
    shares = mix("published")
    assert punchable(shares, boxed_only=False) == pytest.approx(1 - 0.6**2 * (1 - DCUTR_2025))
    assert sum(share for kind, share in shares.items() if KINDS[kind].behind) == pytest.approx(
        0.6 * CARRIER_EYEBALL_2016
    )


def test_drawn_kinds_have_their_shares_and_depend_on_the_seed_alone():
    shares, count = mix("tribler-2011"), 20_000
    rng = Random(4)
    drawn = Counter(draw(shares, rng) for _ in range(count))
    for kind, share in shares.items():
        assert abs(drawn[kind] - count * share) < 4 * (count * share * (1 - share)) ** 0.5
    assert [draw(shares, Random(n)) for n in range(50)] == [draw(shares, Random(n)) for n in range(50)]
    assert draw({"none": 0.0, "symmetric": 1.0, "firewall": 0.0}, Random(1)) == "symmetric"


def test_bad_mixes_are_refused():
    with pytest.raises(BadScenario, match="no NAT mix 'all': expected one of open, ford-2005"):
        mix("all")
    with pytest.raises(BadScenario, match=r"sum to 0\.9: expected 1"):
        mix({"none": 0.9})
    with pytest.raises(BadScenario, match="no NAT kind 'cone'"):
        mix({"cone": 1.0})
    with pytest.raises(BadScenario, match=r"share -0\.5"):
        mix({"none": 1.0, "symmetric": -0.5})
    with pytest.raises(BadScenario, match="no host of this NAT mix"):
        punchable(mix("open"))
    with pytest.raises(BadScenario, match="without any kind"):
        draw({}, Random(1))
