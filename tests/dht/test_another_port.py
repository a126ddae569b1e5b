"""A router gave us another port: nobody knows the tokens any more that we were given."""

import pytest

from dht.events import CrawlDone, FindNodeDone, GetDone, Mode, PutDone
from tests.dht.handdriven import Wire, record

COUNT = 60
KNOWN = 22
"""As many as fill a reply and more: of them alone nobody stores the record."""


class Moved:
    """A client that knows only the nodes farthest from a place, and was given another port since it heard of them."""

    def __init__(self) -> None:
        self.wire = Wire(COUNT)
        self.wire.join_all()
        number = int.from_bytes(record().place, "big")
        self.servers = sorted(self.wire.engines.values(), key=lambda engine: engine.own_id ^ number)
        self.client = self.wire.add(99, mode=Mode.CLIENT)

    def move(self) -> None:
        """Hear of them, and get another port."""
        wire, client = self.wire, self.client
        known = [wire.contact(engine) for engine in self.servers[-KNOWN:]]
        ends = {contact.address for contact in known} | {wire.address(client)}
        wire.lost = lambda datagram: not {datagram.source, datagram.target} <= ends
        client.join(known, wire.now)
        wire.advance(10.0)
        assert len(client.contacts()) >= client.config.k
        assert set(client.contacts()) <= set(known)
        wire.lost = lambda datagram: False
        old = wire.address(client)
        new = (old[0], old[1] + 1)
        wire.engines[new] = wire.engines.pop(old)
        wire._events[new] = wire._events.pop(old)


@pytest.fixture
def moved() -> Moved:
    """Before it moves."""
    return Moved()


def test_after_two_refusals_the_other_tokens_are_not_tried(moved: Moved) -> None:
    moved.move()
    moved.client.find_node(record().place, moved.wire.now)
    moved.wire.advance(2.0)
    assert 2 <= moved.client.counters["asked_in_vain"] <= moved.client.config.alpha


def nearest(moved: Moved, count: int) -> set[bytes]:
    return {engine.own_key for engine in moved.servers[:count]}


def test_a_record_is_found(moved: Moved) -> None:
    moved.servers[-1].put(record(), moved.wire.now)
    moved.wire.advance(1.0)
    moved.move()
    moved.client.get(record().place, moved.wire.now)
    moved.wire.advance(2.0)
    assert moved.wire.last(moved.client, GetDone).records == (record(),)


def test_a_record_is_stored_where_it_belongs(moved: Moved) -> None:
    moved.move()
    moved.client.put(record(), moved.wire.now)
    moved.wire.advance(2.0)
    receipt = moved.wire.last(moved.client, PutDone).receipt
    assert receipt.ok
    holders = {engine.own_key for engine in moved.servers if engine.held_records()}
    assert holders >= nearest(moved, 20)


def test_the_nearest_nodes_are_found(moved: Moved) -> None:
    moved.move()
    moved.client.find_node(record().place, moved.wire.now)
    moved.wire.advance(2.0)
    assert {contact.key for contact in moved.wire.last(moved.client, FindNodeDone).closest} == nearest(moved, 20)


def test_a_crawl_leaves_nobody_out(moved: Moved) -> None:
    moved.move()
    moved.client.crawl(moved.wire.now, rate=1000)
    moved.wire.advance(10.0)
    assert len(moved.wire.last(moved.client, CrawlDone).answered) == COUNT
