"""Watching by who has both families of addresses: told by holders of either, once; by one when the other has died."""

import pytest

from dht.engine import DhtEngine
from dht.events import HoldersChanged, Mode, RecordChanged, RecordLapsed
from dht.watching import ELSEWHERE
from dht.wire import Notice, Watch, decode_message
from tests.dht.handdriven import NOW, Datagram, Wire, place6_of, place_of, record
from tests.dht.test_families import is_v6, mixed, of

PLACE = record().place
STACKS = ["v4", "v6"]


class Followed:
    """Servers of all kinds, and a client with both families that watches."""

    def __init__(self, *, first: str | None = "v4") -> None:
        self.wire = mixed(v4=8, v6=8, dual=1)
        self.reader = self.wire.add(50, second=place6_of(50), mode=Mode.CLIENT)
        entry = [contact for engine in of(self.wire, "dual") for contact in self.wire.contacts(engine)]
        self.reader.join(entry, self.wire.now)
        self.wire.advance(5.0)
        if first is not None:
            self.put(first, 1)
            self.wire.advance(40.0)
        self.reader.watching.watch(PLACE, self.wire.now)
        self.wire.advance(10.0)

    def put(self, stack: str, seq: int) -> None:
        """A node of that kind stores it."""
        publisher = next(engine for engine in of(self.wire, stack) if engine is not self.reader)
        publisher.put(record(seq=seq, expires=NOW + 86400), self.wire.now)

    def told(self) -> list[int]:
        return [event.record.seq for event in self.wire.events(self.reader, RecordChanged)]

    def over(self) -> tuple[int, int]:
        """Subscriptions by family, IPv4's first."""
        over = [is_v6(holder) for holder in self.reader.watching.holders(PLACE)]
        return over.count(False), over.count(True)

    def cut(self, stack: str) -> None:
        """Nothing of that family gets to the reader or from it any more, and its machine does not know."""
        mine = place6_of(50) if stack == "v6" else place_of(50)
        self.wire.lost = lambda datagram: mine in (datagram.source, datagram.target)


def other(stack: str) -> str:
    return "v6" if stack == "v4" else "v4"


def test_it_subscribes_in_both_and_says_so() -> None:
    followed = Followed()
    assert followed.over() == (3, ELSEWHERE)
    assert sum(engine.watchers() for engine in followed.wire.engines.values()) == 3 + ELSEWHERE
    events = followed.wire.events(followed.reader, HoldersChanged)
    assert len({event.holders for event in events}) == len(events) <= 2
    assert events[-1].holders == followed.reader.watching.holders(PLACE)
    assert len(followed.reader.watching) == 1


@pytest.mark.parametrize("stack", STACKS)
def test_what_nodes_of_one_family_hold_is_told_within_a_second_and_once(stack: str) -> None:
    followed = Followed(first=None)
    followed.wire.kill(of(followed.wire, "dual")[0])  # Nobody carries anything over any more.
    followed.put(stack, 1)
    followed.wire.advance(1.5)
    assert followed.told() == [1]
    followed.put(other(stack), 2)
    followed.wire.advance(1.5)
    assert followed.told() == [1, 2]


def test_what_is_carried_over_is_told_once() -> None:
    followed = Followed()
    followed.put("v6", 2)
    followed.wire.advance(40.0)
    assert followed.told() == [1, 2]
    notices = sum(engine.counters["notices"] for engine in followed.wire.engines.values())
    assert 1 + ELSEWHERE <= notices <= 3 + ELSEWHERE


@pytest.mark.parametrize("stack", STACKS)
def test_it_outlives_the_loss_of_a_family(stack: str) -> None:
    followed = Followed()
    followed.cut(stack)
    followed.put(other(stack), 2)
    followed.wire.advance(1.5)
    assert followed.told() == [1, 2]
    followed.wire.advance(150.0)
    # The other one makes up for what has run out.
    assert followed.over() == ((0, 3) if stack == "v4" else (3, 0))
    followed.put(stack, 3)
    followed.wire.advance(40.0)  # carried over by who has both
    assert followed.told() == [1, 2, 3]


@pytest.mark.parametrize("stack", STACKS)
def test_a_family_that_is_back_is_subscribed_in_again(stack: str) -> None:
    followed = Followed()
    followed.cut(stack)
    followed.wire.advance(300.0)
    followed.wire.lost = lambda datagram: False
    followed.reader.network_changed(followed.wire.now)
    followed.wire.advance(400.0)
    assert followed.over() == (3, ELSEWHERE)
    assert sum(engine.watchers() for engine in followed.wire.engines.values()) == 3 + ELSEWHERE


def test_a_family_that_the_machine_has_lost_is_left_at_once() -> None:
    followed = Followed()
    followed.cut("v4")
    followed.reader.set_own_addresses((place6_of(50),), followed.wire.now)
    followed.reader.network_changed(followed.wire.now)
    followed.wire.advance(5.0)
    assert followed.over() == (0, 3)
    followed.wire.carried.clear()
    followed.wire.advance(100.0)
    assert not [one for one in followed.wire.carried if one.source == place_of(50)]


def test_a_family_learned_of_later_is_watched_in_too() -> None:
    wire = mixed(v4=8, v6=8, dual=2)
    reader = wire.add(50, second=place6_of(50), mode=Mode.CLIENT)
    reader.watching.watch(PLACE, wire.now)
    reader.join([wire.contact(of(wire, "v4")[0])], wire.now)
    wire.advance(5.0)
    over = [is_v6(holder) for holder in reader.watching.holders(PLACE)]
    wire.advance(120.0)
    assert over.count(False) == 3
    assert [is_v6(holder) for holder in reader.watching.holders(PLACE)].count(True) == ELSEWHERE


def test_a_holder_with_both_is_subscribed_with_once() -> None:
    wire = mixed(v4=0, v6=0, dual=6)
    reader = wire.add(50, second=place6_of(50), mode=Mode.CLIENT)
    reader.join(wire.contacts(of(wire, "dual")[0]), wire.now)
    wire.advance(5.0)
    reader.watching.watch(PLACE, wire.now)
    wire.advance(600.0)
    holders = reader.watching.holders(PLACE)
    assert len({holder.key for holder in holders}) == len(holders) == 3 + ELSEWHERE
    assert sum(engine.watchers() for engine in wire.engines.values()) == 3 + ELSEWHERE


def test_expiry_is_told_once() -> None:
    followed = Followed(first=None)
    publisher = of(followed.wire, "v4")[0]
    publisher.put(record(expires=followed.wire.now + 100), followed.wire.now)
    followed.wire.advance(120.0)
    assert followed.told() == [1]
    assert len(followed.wire.events(followed.reader, RecordLapsed)) == 1


def test_unwatching_ends_all_of_it() -> None:
    followed = Followed()
    followed.reader.watching.unwatch(PLACE, followed.wire.now)
    followed.wire.advance(1.0)
    assert sum(engine.watchers() for engine in followed.wire.engines.values()) == 0
    followed.put("v6", 2)
    followed.wire.advance(60.0)
    assert followed.told() == [1]


@pytest.mark.parametrize("stack", STACKS)
def test_all_holders_of_one_family_cannot_keep_a_record_back(stack: str) -> None:
    followed = Followed()
    mine = place6_of(50) if stack == "v6" else place_of(50)

    def withheld(datagram: Datagram) -> bool:
        if datagram.target != mine:
            return False
        return isinstance(decode_message(followed.reader._exchange._sealer.open(datagram.data)[1]), Notice)

    followed.wire.lost = withheld
    followed.put(stack, 2)
    followed.wire.advance(40.0)
    assert followed.told() == [1, 2]


def sent_watches(wire: Wire, reader: DhtEngine) -> int:
    mine = {place_of(50), place6_of(50)}
    by_address = {second: first for first, second in wire.second.items()}
    opened = 0
    for datagram in wire.carried:
        engine = wire.engines.get(by_address.get(datagram.target, datagram.target))
        if datagram.source in mine and engine is not None:
            opened += isinstance(decode_message(engine._exchange._sealer.open(datagram.data)[1]), Watch)
    return opened


def test_what_both_cost_is_bounded() -> None:
    followed = Followed()
    followed.wire.carried.clear()
    followed.wire.advance(500.0)
    # Four subscriptions, each renewed every 25 s, a fifth of that early.
    assert 60 <= sent_watches(followed.wire, followed.reader) <= 4 * 500 / 20
