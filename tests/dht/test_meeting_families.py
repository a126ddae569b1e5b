"""Home nodes that have IPv4 and IPv6: named by both, so that callers of either family reach them."""

import pytest

from dht.contact import Contact, pack_address
from dht.events import HomesChanged
from dht.meeting_homes import _other
from dht.records import Refusal
from tests.dht.test_meeting import BOBS_PLACE, Meeting


@pytest.fixture
def met() -> Meeting:
    return Meeting()


def test_a_home_with_both_families_is_named_by_the_other_one_too(met: Meeting) -> None:
    target = int.from_bytes(BOBS_PLACE, "big")
    servers = list(met.wire.engines.values())[:8]
    servers.sort(key=lambda server: met.wire.contact(server).long_id ^ target)
    dual, other = servers[4], ("2600:1::1", 4000)
    dual.set_own_addresses((met.wire.address(dual), other), met.wire.now)
    dual.network_changed(met.wire.now)
    met.wire.advance(60.0)
    # It is not among the nearest three, but nobody of the other family could reach Bob through those.
    assert met.wire.contact(dual) in met.bob.homes()
    assert met.bob.homes()[:2] == tuple(met.wire.contact(server) for server in servers[:2])
    assert len(met.bob.homes()) == 3
    assert met.bob.homes_elsewhere() == (Contact(dual.own_key, other),)
    assert met.wire.last(met.bob, HomesChanged).elsewhere == met.bob.homes_elsewhere()
    met.wire.advance(600.0)
    assert met.bob.homes_elsewhere() == (Contact(dual.own_key, other),)
    assert met.signal().refusal is Refusal.NONE


@pytest.mark.parametrize(
    "other", [b"\1" * 17, pack_address(("11.9.9.9", 4000)), pack_address(("fd00::1", 4000)), bytes(18)]
)
def test_another_address_that_is_none_is_passed_over(met: Meeting, other: bytes) -> None:
    home = met.bob.homes()[0]
    assert _other(home, other) is None
    assert _other(home, pack_address(("2600:1::1", 4000))) == Contact(home.key, ("2600:1::1", 4000))
