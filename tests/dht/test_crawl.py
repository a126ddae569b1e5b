"""Mapping a network by hand-driven engines: everybody is found, at the rate allowed, also in two goes."""

import pytest

from dht.engine import DhtEngine
from dht.events import CrawlDone, Mode, NodeCrawled
from dht.wire import FindNode, Nodes
from tests.dht.handdriven import Stranger, Wire

NODES = 30


@pytest.fixture
def wire() -> Wire:
    wire = Wire(NODES)
    wire.join_all()
    return wire


def pass_time(wire: Wire, seconds: float) -> None:
    """Like `Wire.advance`, for somebody who never stops talking."""
    end = wire.now + seconds
    while wire.now < end:
        if not wire.step():
            wire.now += 0.02
        for engine in list(wire.engines.values()):
            if (engine.next_timer() or end) <= wire.now:
                engine.handle_timer(wire.now)


def crawler(wire: Wire) -> DhtEngine:
    engine = wire.add(200, mode=Mode.CLIENT)
    engine.join([wire.contact(next(iter(wire.engines.values())))], wire.now)
    wire.advance(5.0)
    return engine


def test_everybody_who_serves_is_found_and_the_dead_are_told_apart(wire: Wire) -> None:
    by = crawler(wire)
    living = [engine for engine in wire.engines.values() if engine is not by]
    for engine in living[:6]:
        wire.kill(engine)
    by.crawl(wire.now, rate=500.0)
    pass_time(wire, 20.0)
    done = wire.last(by, CrawlDone)
    assert done.answered == {engine.own_key for engine in living[6:]}
    assert done.silent == {engine.own_key for engine in living[:6]}
    assert done.unasked == ()
    told = wire.events(by, NodeCrawled)
    assert len(told) == len({each.contact for each in told}) == NODES
    assert all((each.rtt is not None) is each.answered for each in told)
    assert all(done.named[engine.own_key] >= 1 for engine in living[6:])


def test_it_asks_no_faster_than_it_may(wire: Wire) -> None:
    by = crawler(wire)
    wire.carried.clear()
    home = wire.address(by)
    by.crawl(wire.now, rate=20.0)
    pass_time(wire, 2.0)
    assert 30 <= sum(datagram.source == home for datagram in wire.carried) <= 45
    pass_time(wire, 13.0)
    assert len(wire.last(by, CrawlDone).answered) == NODES


def test_a_crawl_that_is_stopped_can_be_gone_on_with(wire: Wire) -> None:
    by = crawler(wire)
    by.crawl(wire.now, rate=20.0)
    pass_time(wire, 1.5)
    by.stop_crawl(wire.now)
    first = wire.last(by, CrawlDone)
    known = {each.contact for each in wire.events(by, NodeCrawled) if each.answered}
    assert 0 < len(first.answered) < NODES and first.unasked
    pass_time(wire, 5.0)  # Late answers change nothing any more.
    assert len(wire.events(by, CrawlDone)) == 1
    by.crawl(wire.now, rate=500.0, contacts=first.unasked, known=known)
    pass_time(wire, 10.0)
    second = wire.last(by, CrawlDone)
    assert first.answered | second.answered >= {e.own_key for e in wire.engines.values() if e is not by}
    assert not second.answered & {contact.key for contact in known}


def test_another_crawl_ends_the_one_before(wire: Wire) -> None:
    by = crawler(wire)
    first, second = (by.crawl(wire.now, rate=50.0) for _ in range(2))
    pass_time(wire, 20.0)
    assert [done.op for done in wire.events(by, CrawlDone)] == [first, second]


def test_a_node_that_names_private_addresses_leads_nowhere() -> None:
    """Nor does one that names nobody, or sends contacts that are none."""
    wire = Wire(1)
    by = wire.add(200, mode=Mode.CLIENT)
    liar = Stranger(wire)
    by.crawl(wire.now, rate=100.0, questions=1, contacts=[liar.contact])
    by.handle_timer(wire.now + 0.1)
    asked = [liar.open(data) for data, target in by.datagrams_to_send(wire.now) if target == liar.address]
    assert isinstance(asked[0], FindNode)
    private = Stranger(wire, 901, address=("192.168.1.1", 4000)).contact
    liar.say(by, Nodes(asked[0].rid, b"", private.packed, b""))
    wire.now += 0.1
    pass_time(wire, 5.0)
    done = wire.last(by, CrawlDone)
    assert (done.answered, done.silent) == (frozenset({liar.key.public}), frozenset())
    assert wire.sent_to(("192.168.1.1", 4000)) == 0


def test_nobody_to_ask_is_an_end() -> None:
    wire = Wire(1)
    (alone,) = wire.engines.values()
    alone.crawl(wire.now, rate=100.0)
    pass_time(wire, 1.0)
    assert wire.last(alone, CrawlDone).answered == frozenset()
