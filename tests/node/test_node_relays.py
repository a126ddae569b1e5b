"""Which relays are known and chosen; and that they are found and announced through a real DHT."""

from __future__ import annotations

import asyncio
import random

from dht.identity import IdentityKey
from node.node_relays import FAILED_FOR, FRESH, MAX_KNOWN, TOPICS, RelayBook, RelaySearch, topic_of
from node.node_terms import answer_terms, offer_terms
from node.protocols.circuit import RelayRefusal
from node.protocols.circuit_relays import ProposedRelay, RelayContact, ways_of
from node.protocols.offer import Extra
from tests.simulations.shell_worlds import play

OWN = IdentityKey.from_seed(bytes(32)).public
KEYS = [IdentityKey.from_seed(n.to_bytes(32, "big")).public for n in range(1, 200)]


def contact(number: int, *, net: int | None = None, v6: bool = False) -> RelayContact:
    net = number if net is None else net
    address = f"2a00:{net:x}::{number + 1:x}" if v6 else f"11.{net}.0.{number % 250 + 1}"
    return RelayContact(KEYS[number], ((address, 4000),), bytes(31) + b"\1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def book(clock: Clock | None = None) -> RelayBook:
    return RelayBook(OWN, clock or Clock())


def test_the_near_and_idle_come_first_and_no_two_of_one_network():
    known = book()
    for number, (rtt, load, net) in enumerate([(0.1, 0, 1), (0.02, 0, 2), (0.02, 255, 3), (0.03, 0, 2), (0.2, 10, 4)]):
        known.learn(contact(number, net=net), load)
        known.measured(KEYS[number], rtt)
    assert [one.contact.identity for one in known.choose(3)] == [KEYS[1], KEYS[2], KEYS[0]]
    # Where there are too few others, a neighbour will do.
    assert KEYS[3] in [one.contact.identity for one in known.choose(5)]
    assert known.choose(1, first=[KEYS[4]])[0].contact.identity == KEYS[4]
    assert known.choose(3, families=frozenset({6})) == []
    assert known.choose(5, without=KEYS[:4])[0].contact.identity == KEYS[4]


def test_what_failed_is_passed_over_for_a_while_and_longer_each_time():
    clock = Clock()
    known = book(clock)
    known.learn(contact(0))
    known.failed(KEYS[0])
    assert known.choose(1) == []
    clock.now += FAILED_FOR + 1
    assert len(known.choose(1)) == 1
    known.refused(KEYS[0], RelayRefusal.NOT_WILLING)
    clock.now += FAILED_FOR + 1
    assert known.choose(1) == []
    known.worked(KEYS[0])
    known.refused(KEYS[0], RelayRefusal.OVERLOADED)
    assert known.choose(1)[0].load == 255
    clock.now += 2 * FRESH
    assert known.choose(1) == []


def test_one_whose_link_has_gone_silent_is_not_proposed():
    silent = {KEYS[0]}
    known = RelayBook(OWN, Clock(), silent=silent.__contains__)
    for number in range(2):
        known.learn(contact(number))
    assert [one.contact.identity for one in known.choose(3)] == [KEYS[1]]
    assert known.failing(KEYS[0])
    silent.clear()
    assert len(known.choose(3)) == 2


def test_a_flood_of_names_does_not_push_out_what_works():
    known = book()
    known.learn(contact(0))
    known.measured(KEYS[0], 0.05)
    for number in range(1, 199):
        known.learn(contact(number))
    assert len(known) == MAX_KNOWN
    assert known.get(KEYS[0]) is not None
    known.learn(RelayContact(OWN, (("11.0.0.9", 1),)))
    assert known.get(OWN) is None


def test_the_answer_takes_what_both_reach_the_nearest_first_and_adds_one_of_its_own():
    asking, answering = book(), book()
    for number, rtt in ((0, 0.02), (1, 0.1), (2, 0.05)):
        asking.learn(contact(number))
        asking.measured(KEYS[number], rtt)
    answering.learn(contact(1))
    answering.measured(KEYS[1], 0.01)
    answering.learn(contact(5))
    rng = random.Random(1)
    offered = offer_terms(rng, asking.choose(3))
    answered = answer_terms(rng, OWN, KEYS[9], offered.extras, answering, frozenset({4}), ())
    relays = [way[0].relay.identity for way in answered.ways]
    assert relays == [KEYS[1], KEYS[0], KEYS[5]]
    said = [ProposedRelay.from_bytes(value) for tag, value in answered.extras if tag == Extra.RELAY]
    assert ways_of(said) == list(answered.ways)
    assert sum(2 + len(value) for _, value in answered.extras) <= 310


def test_two_relays_where_one_end_has_ipv6_alone():
    rng = random.Random(1)
    asking, answering = book(), book()
    asking.learn(contact(0, v6=True))
    both = contact(1)
    answering.learn(RelayContact(KEYS[1], (*both.addresses, *contact(1, v6=True).addresses), both.node_key))
    offered = offer_terms(rng, asking.choose(3, families=frozenset({6})))
    # The relay that both families reach is reached by the caller, too: one is enough.
    single = answer_terms(rng, OWN, KEYS[9], offered.extras, answering, frozenset({4}), ())
    assert [[one.relay.identity for one in way] for way in single.ways] == [[KEYS[0], KEYS[1]]]
    answering.learn(contact(2))
    answering.failed(KEYS[1])
    long = answer_terms(rng, OWN, KEYS[9], offered.extras, answering, frozenset({4}), ())
    assert [[one.relay.identity for one in way] for way in long.ways] == [[KEYS[0], KEYS[1], KEYS[2]]]


def test_relays_are_announced_and_found_through_the_dht():
    async def script(world, _, nodes):
        searches = {}
        for node in nodes:
            driver = node.node.driver
            known = RelayBook(node.key, driver.clock)
            identity = world.identity_of(node.peer)
            searches[node.key] = known, RelaySearch(identity, driver, known, random.Random(1))
        relays = {}
        for node in nodes[:9]:
            at = RelayContact(node.key, (node.peer.address,), node.node.driver.engine.own_key)
            relays[node.key] = at
            assert await searches[node.key][1].announce(at, 7, 128) >= 10
        known, search = searches[nodes[9].key]
        await asyncio.gather(search.soon(), search.soon())
        assert search.searches == 1
        assert not search.due()
        await asyncio.sleep(1)  # Round trips are measured while whoever asked goes on.
        found = {one.contact.identity: one for one in known.all()}
        assert len(found) >= 6
        assert found.keys() <= relays.keys()
        for key, one in found.items():
            assert one.contact == relays[key]
            assert one.load == 7
        assert sum(one.rtt is not None for one in found.values()) >= 6
        assert {topic_of(key) for key in relays} <= {f"rookery/relays/{n}" for n in range(TOPICS)}
        chosen = known.choose(3)
        assert [one.cost() for one in chosen] == sorted(one.cost() for one in chosen)
        await search.close()

    play(script, count=10, profile="server", nat="none")
