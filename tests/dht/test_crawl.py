"""Mapping a network by hand-driven engines: everybody is found, at the rate allowed, also in two goes."""

import pytest

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import CrawlDone, Mode, NodeCrawled
from dht.wire import FindNode, Nodes
from tests.dht.handdriven import Stranger, Wire, place6_of, place_of
from tests.dht.test_families import mixed, of

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
    assert all(done.named[0][engine.own_key] >= 1 for engine in living[6:])


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


class TestBothFamilies:
    """Six nodes with IPv4 alone, four with IPv6 alone, five with both."""

    @staticmethod
    def crawled(stack: str) -> tuple[Wire, DhtEngine]:
        wire = mixed()
        address = place6_of(200) if stack == "v6" else place_of(200)
        second = place6_of(200) if stack == "dual" else None
        by = wire.add(200, address=address, second=second, mode=Mode.CLIENT)
        by.set_own_addresses(tuple(one for one in (address, second) if one), wire.now)
        by.join(wire.contacts(of(wire, "dual")[0]), wire.now)
        wire.advance(5.0)
        return wire, by

    def test_who_has_both_asks_everybody_at_each_address(self) -> None:
        wire, by = self.crawled("dual")
        by.crawl(wire.now, rate=500.0)
        pass_time(wire, 10.0)
        done, others = wire.last(by, CrawlDone), [engine for engine in wire.engines.values() if engine is not by]
        assert done.answered == {engine.own_key for engine in others}
        assert (done.silent, done.unasked) == (frozenset(), ())
        told = {each.contact for each in wire.events(by, NodeCrawled) if each.answered}
        assert told == {contact for engine in others for contact in wire.contacts(engine)}
        assert by.crawl_heard_of == len(told) == 20
        assert all(done.named[":" in contact.ip][contact.key] >= 1 for contact in told)

    @pytest.mark.parametrize(("stack", "count"), [("v4", 11), ("v6", 9)])
    def test_who_has_one_asks_whom_that_reaches(self, stack: str, count: int) -> None:
        wire, by = self.crawled(stack)
        by.crawl(wire.now, rate=500.0)
        pass_time(wire, 10.0)
        told = wire.events(by, NodeCrawled)
        assert len(told) == len(wire.last(by, CrawlDone).answered) == count
        assert {":" in each.contact.ip for each in told} == {stack == "v6"}

    def test_what_is_out_of_reach_is_kept_for_a_crawl_that_gets_there(self) -> None:
        wire, by = self.crawled("v4")
        beyond = Contact(of(wire, "v6")[0].own_key, wire.address(of(wire, "v6")[0]))
        by.crawl(wire.now, rate=500.0, contacts=[beyond])
        pass_time(wire, 10.0)
        assert wire.last(by, CrawlDone).unasked == (beyond,)
        assert not [one for one in wire.carried if one.source == wire.address(by) and ":" in one.target[0]]

    @pytest.mark.parametrize("ipv6", [False, True])
    def test_one_that_is_dead_over_one_family_has_answered_all_the_same(self, ipv6: bool) -> None:
        wire, by = self.crawled("dual")
        victim = of(wire, "dual")[1]
        gone = wire.contacts(victim)[ipv6]
        wire.lost = lambda datagram: gone.address in (datagram.source, datagram.target)
        by.crawl(wire.now, rate=500.0)
        pass_time(wire, 20.0)
        done = wire.last(by, CrawlDone)
        assert victim.own_key in done.answered and victim.own_key not in done.silent
        at = {
            each.contact: each.answered for each in wire.events(by, NodeCrawled) if each.contact.key == victim.own_key
        }
        assert at == {contact: contact != gone for contact in wire.contacts(victim)}


def test_nobody_to_ask_is_an_end() -> None:
    wire = Wire(1)
    (alone,) = wire.engines.values()
    alone.crawl(wire.now, rate=100.0)
    pass_time(wire, 1.0)
    assert wire.last(alone, CrawlDone).answered == frozenset()
