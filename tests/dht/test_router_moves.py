"""A server behind a router that gets another address: noticed by a question a minute, with no home node to tell it."""

import pytest

from dht.config import DhtConfig
from dht.contact import Address
from dht.engine import DhtEngine
from dht.identity import node_id
from dht.outlook import LOOK
from dht.wire import Ping
from tests.dht.handdriven import Datagram, Wire, place6_of, place_of

RARELY = DhtConfig(dial_back_interval=3600.0)
"""No round of dial-backs within a test."""


class Behind:
    """Eight servers, and one whose machine has a private address."""

    def __init__(self, ipv6: bool, *, own: bool = False) -> None:
        self.place = place6_of if ipv6 else place_of
        self.wire = Wire()
        for number in range(1, 9):
            self.wire.add(number, address=self.place(number), config=RARELY)
        self.server = self.wire.add(20, address=self.place(20), config=RARELY)
        private = ("fd00::2", 4000) if ipv6 else ("192.168.1.2", 4000)
        self.server.set_own_addresses((self.place(20) if own else private,), self.wire.now)
        self.wire.join_all()
        self.wire.advance(120.0)
        assert self.server.public_address == self.place(20)

    def move(self, number: int) -> Address:
        """The router is at another address from now on."""
        old, new = self.wire.address(self.server), self.place(number)
        self.wire.engines[new] = self.wire.engines.pop(old)
        self.wire._events[new] = self.wire._events.pop(old)
        return new


@pytest.fixture(params=[False, True], ids=["IPv4", "IPv6"])
def ipv6(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def pings(wire: Wire, engine: DhtEngine) -> list[Datagram]:
    """What an engine sent that is as long as a PING."""
    asked: list[Datagram] = []
    request = engine._exchange.request

    def counted(contact, owner, kind, *rest, **options):
        if kind is Ping:
            asked.append(Datagram(b"", wire.address(engine), contact.address))
        return request(contact, owner, kind, *rest, **options)

    engine.request = counted
    return asked


def test_another_address_is_noticed_within_a_minute(ipv6: bool) -> None:
    behind = Behind(ipv6)
    new = behind.move(30)
    behind.wire.advance(LOOK + 5.0)
    assert behind.server.public_address == new
    assert behind.server.own_id == node_id(behind.server.own_key, new[0])
    assert behind.server.counters["moves_suspected"] == 1
    known = [engine for engine in behind.wire.engines.values() if behind.wire.contact(behind.server) in engine.table]
    assert len(known) >= 7


def test_it_asks_one_contact_a_minute_and_only_when_nobody_has_said_it_since(ipv6: bool) -> None:
    behind = Behind(ipv6)
    asked = pings(behind.wire, behind.server)
    behind.wire.advance(10 * LOOK)
    assert 9 <= len(asked) <= 10
    asked.clear()
    for _ in range(10):
        behind.server.ping(behind.wire.contact(next(iter(behind.wire.engines.values()))), behind.wire.now)
        behind.wire.advance(LOOK / 2)
    assert len(asked) == 10


def test_who_has_that_address_itself_asks_nobody(ipv6: bool) -> None:
    behind = Behind(ipv6, own=True)
    asked = pings(behind.wire, behind.server)
    behind.wire.advance(10 * LOOK)
    assert asked == []


def test_a_contact_that_lies_moves_nobody_and_is_heard_ever_more_rarely(ipv6: bool) -> None:
    behind = Behind(ipv6)
    liars = list(behind.wire.engines.values())[:2]
    for liar in liars:
        answer, told = liar._responder.on_ping, iter(range(100, 220))

        def lie(request, asking, now, answer=answer, told=told):
            real, asking.address = asking.address, behind.place(next(told))
            pong = answer(request, asking, now)
            asking.address = real
            return pong

        liar._responder.on_ping = lie  # type: ignore[method-assign]
    own_id = behind.server.own_id
    behind.wire.advance(3000.0)
    assert behind.server.public_address == behind.wire.address(behind.server)
    assert behind.server.own_id == own_id
    assert 0 < behind.server.counters["moves_suspected"] <= 8
