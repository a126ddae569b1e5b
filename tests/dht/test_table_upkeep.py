"""What becomes of contacts that fall silent or move, between the table, the requests and the events."""

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import ContactAdded, ContactRemoved
from tests.dht.handdriven import Wire, node_key


def pair() -> tuple[Wire, DhtEngine, DhtEngine]:
    wire = Wire(2)
    wire.join_all()
    one, two = wire.engines.values()
    assert wire.contact(two) in one.contacts()
    return wire, one, two


def test_silent_contact_is_dropped() -> None:
    wire, one, two = pair()
    contact = wire.contact(two)
    wire.kill(two)
    one.ping(contact, wire.now)
    wire.advance(10.0)
    assert one.contacts() == []
    assert [event.contact for event in wire.events(one, ContactRemoved)] == [contact]


def test_silent_contact_is_dropped_even_if_its_round_trips_were_forgotten() -> None:
    # A busy node remembers 4,096 peers; one forgotten meanwhile stayed a suspect for ever.
    wire, one, two = pair()
    contact = wire.contact(two)
    wire.kill(two)
    one.requests._peers.clear()
    one.ping(contact, wire.now)
    wire.advance(10.0)
    assert one.contacts() == []


def test_one_lost_datagram_costs_no_contact() -> None:
    wire, one, two = pair()
    contact = wire.contact(two)
    one.find_node(bytes(20), wire.now)
    wire.drop()
    wire.advance(10.0)
    assert one.contacts() == [contact]
    assert one.table.suspects == set()


def test_contact_that_moved_is_reported_gone_and_come() -> None:
    wire, one, two = pair()
    old = wire.contact(two)
    wire.kill(two)
    wire.add(2, address=(old.ip, 5000), life=1)
    new = Contact(node_key(2).public, (old.ip, 5000))
    one.families.main.maintenance.check(new, wire.now)
    wire.roundtrip()
    assert one.contacts() == [new]
    assert [event.contact for event in wire.events(one, ContactRemoved)] == [old]
    assert wire.events(one, ContactAdded)[-1].contact == new
