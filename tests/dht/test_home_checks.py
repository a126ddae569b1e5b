"""Home nodes are asked whether they live: the dead are replaced within ten seconds, the living stay."""

import pytest

from dht.config import DhtConfig
from dht.events import HomesChanged
from tests.dht.handdriven import place_of
from tests.dht.test_meeting import Meeting


@pytest.fixture
def met() -> Meeting:
    return Meeting()


def test_a_home_that_dies_at_any_moment_is_replaced_within_ten_seconds(met: Meeting) -> None:
    for pause in range(20):
        met.wire.advance(1.3 + pause)
        dead = met.bob.homes()[pause % 3]
        engine = met.wire.engines.pop(dead.address)
        met.wire.advance(10.0)
        assert len(met.bob.homes()) == 3
        assert dead not in met.bob.homes()
        assert met.wire.last(met.bob, HomesChanged).homes == met.bob.homes()
        met.wire.engines[dead.address] = engine
        met.wire.advance(60.0)


def test_a_home_is_asked_twice_before_it_counts_as_dead(met: Meeting) -> None:
    homes = met.bob.homes()
    dropped: list[object] = []

    def three_of_four(datagram: object) -> bool:
        if getattr(datagram, "target", None) == homes[0].address and len(dropped) < 3:
            dropped.append(datagram)
            return True
        return False

    changes = len(met.wire.events(met.bob, HomesChanged))
    met.wire.lost = three_of_four
    met.wire.advance(60.0)
    assert len(dropped) == 3
    assert met.bob.homes() == homes
    assert len(met.wire.events(met.bob, HomesChanged)) == changes


def test_a_home_that_lives_is_not_replaced_whatever_its_renewals_meet(met: Meeting) -> None:
    # Every second datagram to it is lost: renewals and questions alternate, one of them always comes through.
    homes, count = met.bob.homes(), 0

    def every_second(datagram: object) -> bool:
        nonlocal count
        count += getattr(datagram, "target", None) == homes[0].address
        return getattr(datagram, "target", None) == homes[0].address and count % 2 == 0

    met.wire.lost = every_second
    met.wire.advance(600.0)
    assert met.bob.homes() == homes


@pytest.mark.parametrize(("check", "asked"), [(6.0, True), (25.0, False)])
def test_from_the_keepalive_up_nothing_but_renewals_is_asked(check: float, asked: bool) -> None:
    met = Meeting(DhtConfig(home_check=check))
    home = met.bob.homes()[0]
    met.wire.advance(60.0)
    met.wire.carried.clear()
    met.wire.advance(100.0)
    sent = sum((one.source, one.target) == (place_of(50), home.address) for one in met.wire.carried)
    assert (sent > 8) == asked
