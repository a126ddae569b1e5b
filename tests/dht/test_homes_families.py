"""Home nodes of a peer with both families of addresses: callers with one of them have a way, whichever it is."""

import pytest

from dht.config import DhtConfig
from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import HomesChanged, Mode, SignalDone
from dht.records import Refusal
from tests.dht.handdriven import Wire, identity, place6_of, place_of
from tests.dht.test_families import is_v6, mixed, of
from tests.dht.test_meeting import BOBS_PLACE

BOB = identity(1)
STACKS = ["v4", "v6"]


class Met:
    """Bob, a client with both families, and callers of each kind."""

    def __init__(
        self, *, dual: int = 1, v4: int = 8, v6: int = 8, bob: str = "dual", config: DhtConfig | None = None
    ) -> None:
        self.wire = mixed(v4=v4, v6=v6, dual=dual)
        self.config = config
        first = [contact for engine in self.wire.engines.values() for contact in self.wire.contacts(engine)][:2]
        self.bob = self.add(50, bob)
        self.callers = {"v4": self.add(51, "v4"), "v6": self.add(52, "v6"), "dual": self.add(53, "dual")}
        for engine in (self.bob, *self.callers.values()):
            engine.join(first, self.wire.now)
        self.wire.advance(5.0)
        self.bob.serve_identity(BOB, self.wire.now)
        self.wire.advance(10.0)

    def add(self, number: int, stack: str) -> DhtEngine:
        address = place6_of(number) if stack == "v6" else place_of(number)
        second = place6_of(number) if stack == "dual" else None
        return self.wire.add(number, address=address, second=second, mode=Mode.CLIENT, config=self.config)

    def ways(self, stack: str) -> list[Contact]:
        """Bob's home nodes as a caller of that kind can reach them."""
        named = (*self.bob.homes(), *self.bob.homes_elsewhere())
        return [home for home in named if stack == "dual" or is_v6(home) == (stack == "v6")]

    def call(self, stack: str) -> Refusal:
        caller = self.callers[stack]
        caller.signal(BOBS_PLACE, b"offer", self.ways(stack), self.wire.now)
        self.wire.advance(6.0)
        return self.wire.last(caller, SignalDone).refusal

    def cut(self, stack: str, number: int = 50) -> None:
        """Nothing of that family gets through to Bob or from him, and his machine does not know."""
        mine = place6_of(number) if stack == "v6" else place_of(number)
        self.wire.lost = lambda datagram: mine in (datagram.source, datagram.target)

    def over(self) -> tuple[int, int]:
        homes = [is_v6(home) for home in self.bob.homes()]
        return homes.count(False), homes.count(True)


@pytest.mark.parametrize("caller", [*STACKS, "dual"])
def test_where_no_home_has_both_one_of_the_other_family_is_kept_too(caller: str) -> None:
    met = Met()
    for engine in of(met.wire, "dual")[:1]:
        met.wire.kill(engine)  # The only one that had both; it may be among the homes.
    met.wire.advance(120.0)
    assert met.over() == (3, 1)
    assert met.bob.homes_elsewhere() == ()
    assert met.call(caller) is Refusal.NONE
    assert met.wire.last(met.bob, HomesChanged).homes == met.bob.homes()


@pytest.mark.parametrize("caller", STACKS)
def test_where_one_has_both_that_is_enough(caller: str) -> None:
    met = Met(dual=8, v4=3, v6=3)
    met.wire.advance(60.0)
    assert met.over() == (3, 0)
    assert met.bob.homes_elsewhere()
    assert met.call(caller) is Refusal.NONE


@pytest.mark.parametrize("bob", STACKS)
def test_who_has_one_family_keeps_homes_in_that_alone(bob: str) -> None:
    met = Met(bob=bob)
    assert met.over() == ((3, 0) if bob == "v4" else (0, 3))
    assert met.call(bob) is Refusal.NONE


@pytest.mark.parametrize("dual", [0, 8])
@pytest.mark.parametrize("stack", STACKS)
def test_when_a_family_dies_the_other_has_all_of_them_within_half_a_minute(stack: str, dual: int) -> None:
    met = Met(dual=max(dual, 1))
    if not dual:
        met.wire.kill(of(met.wire, "dual")[0])
        met.wire.advance(60.0)
    met.cut(stack)
    met.wire.advance(30.0)
    assert met.over() == ((0, 3) if stack == "v4" else (3, 0))
    assert met.call("v6" if stack == "v4" else "v4") is Refusal.NONE
    assert met.wire.last(met.bob, HomesChanged).homes == met.bob.homes()


def test_and_who_has_the_dead_family_alone_calls_by_way_of_a_home_that_has_both() -> None:
    met = Met(dual=8)
    met.cut("v4")
    met.wire.advance(60.0)
    assert met.ways("v4")
    assert met.call("v4") is Refusal.NONE


def test_a_family_that_is_back_takes_them_over_again() -> None:
    met = Met()
    met.wire.kill(of(met.wire, "dual")[0])
    met.cut("v4")
    met.wire.advance(60.0)
    met.wire.lost = lambda datagram: False
    met.bob.network_changed(met.wire.now)
    met.wire.advance(400.0)
    assert met.over() == (3, 1)
    assert met.call("v4") is met.call("v6") is Refusal.NONE


def test_a_home_node_holds_one_entry_for_a_peer_with_both() -> None:
    met = Met(dual=4, v4=0, v6=0)
    met.wire.advance(300.0)
    keys = [home.key for home in met.bob.homes()]
    assert len(set(keys)) == len(keys) == 3
    assert sum(engine.forwards() for engine in met.wire.engines.values()) == 3


def test_what_it_costs_to_be_reached_in_both_is_one_home_more() -> None:
    met = Met()
    met.wire.kill(of(met.wire, "dual")[0])
    met.wire.advance(120.0)
    wire: Wire = met.wire
    wire.carried.clear()
    wire.advance(100.0)
    sent = {
        stack: sum(1 for one in wire.carried if one.source == place and one.target != place)
        for stack, place in (("v4", place_of(50)), ("v6", place6_of(50)))
    }
    assert 0 < sent["v6"] <= sent["v4"] / 2


class TestOnABattery:
    """Nothing is asked between renewals, which become rarer."""

    ASLEEP = DhtConfig(home_check=100.0)

    def test_both_families_are_renewed_rarely_and_callers_of_either_get_through(self) -> None:
        met = Met(config=self.ASLEEP)
        met.wire.kill(of(met.wire, "dual")[0])
        met.wire.advance(3600.0)
        assert met.over() == (3, 2)  # no home's word on the router counts alone
        assert {keeper.family.ipv6: keeper.keepalive > 60.0 for keeper in met.bob._homes} == {False: True, True: True}
        assert met.bob.kept_open > 60.0
        assert met.call("v4") is met.call("v6") is Refusal.NONE

    def test_a_family_in_which_none_is_wanted_says_nothing_of_the_router(self) -> None:
        met = Met(dual=8, v4=3, v6=3, config=self.ASLEEP)
        met.wire.advance(3600.0)
        assert met.over() == (3, 0)
        assert met.bob.kept_open > 60.0

    @pytest.mark.parametrize("stack", STACKS)
    def test_a_family_that_dies_is_noticed_at_the_next_renewal(self, stack: str) -> None:
        met = Met(config=self.ASLEEP)
        met.cut(stack)
        met.wire.advance(120.0)
        assert met.over() == ((0, 3) if stack == "v4" else (3, 0))
        assert met.call("v6" if stack == "v4" else "v4") is Refusal.NONE
