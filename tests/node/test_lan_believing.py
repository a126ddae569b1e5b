"""Whom a node believes on the local network, who can read what it says, and what floods do to it."""

from __future__ import annotations

import random

import pytest

from dht.contact import Contact
from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey, NodeKey
from node.protocols import lan as lan_module
from node.protocols.lan import LanProtocol, LanSelf
from node.protocols.lan_beacon import (
    MAX_ADDRESSES,
    MAX_BEACON,
    LanKeys,
    announced_ips,
    decode_message,
    from_datagram,
    seal_announcement,
    seal_query,
    to_datagram,
    to_txt,
    unseal,
)
from node.protocols.lan_events import Ask, ClockApart, Foreign, Heard, Lost, OutOfReach
from node.protocols.lan_judging import MAX_ASKED, RETRIES
from node.protocols.lan_peers import MAX_EACH_PEER, MAX_EACH_SOURCE, MAX_HEARD, MAX_SIGHTINGS
from tests.node.lan_ether import KEYS, START, Ether, Station, announcement, datagram, segment

# Whom to believe


def test_an_announcement_alone_makes_no_peer() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.deliver(alice, datagram(50), "192.168.1.200")
    assert alice.of(Heard)
    ether.run(30.0)
    assert not alice.peers
    assert len(alice.of(Ask)) == 1 + len(RETRIES)
    assert not alice.lan.known(announcement(50)[0].public)


def test_a_liar_cannot_speak_in_anothers_name() -> None:
    """It has the network's key, and a node of its own: its signature is not that of whom it names."""
    ether = Ether()
    alice, bob, mallory = Station(ether, 1), Station(ether, 2), Station(ether, 3)
    ether.run(1.0)
    _, said = announcement(
        0, ether.now, identity=bob.identity.public, node_key=mallory.node_key.public, ips=(mallory.ip,)
    )
    forged = seal_announcement(said, mallory.identity, KEYS, random.Random(77))
    ether.deliver(alice, to_datagram(forged), mallory.ip)
    assert alice.lan.counters["malformed"] == 1
    (known,) = alice.lan.known(bob.identity.public)
    assert known.said.node_key == bob.node_key.public


def test_a_liar_that_names_anothers_node_gains_nothing_by_it() -> None:
    """Mallory says of herself that her node is bob's: alice asks there, and knows bob's node by two names at most."""
    ether = Ether()
    alice, bob, mallory = Station(ether, 1), Station(ether, 2), Station(ether, 3)
    ether.run(1.0)
    _, said = announcement(
        0, ether.now + 1, identity=mallory.identity.public, node_key=bob.node_key.public, ips=(bob.ip,)
    )
    ether.run(2.0)
    ether.deliver(alice, to_datagram(seal_announcement(said, mallory.identity, KEYS, random.Random(78))), mallory.ip)
    ether.run(1.0)
    (sighting,) = alice.lan.known(bob.identity.public)
    assert sighting.contact == Contact(bob.node_key.public, (bob.ip, 7716))


def test_an_announcement_from_another_network_cannot_be_brought_into_this_one() -> None:
    here, there = LanKeys(b"h" * 32), LanKeys(b"t" * 32)
    identity, said = announcement(50)
    message = unseal(seal_announcement(said, identity, there, random.Random(1)), there.network)
    with pytest.raises(DecodeError, match="for another network"):
        decode_message(message, bytes(24), here)
    assert decode_message(message, bytes(24), there) == said


def test_a_repeated_announcement_changes_nothing() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    old = next(data for _, ip, data in ether.sent if ip == bob.ip and len(data) > 150)
    bob.call(lambda lan, now: lan.close(now))
    bob.there = False
    ether.run(1.0)
    alice.lan._seen.clear()  # As if 512 others had come since.
    ether.deliver(alice, old, bob.ip)
    ether.run(30.0)
    assert not alice.peers


def test_another_clock_is_told_and_not_believed() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2, skew=-10_000.0)
    ether.run(60.0)
    assert not alice.peers and not bob.peers
    (event,) = alice.of(ClockApart)
    assert isinstance(event, ClockApart)
    assert event.peer == bob.identity.public
    assert event.offset == pytest.approx(-10_000, abs=1)


def test_an_hour_of_difference_is_forgiven() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2, skew=3600.0)
    ether.run(1.0)
    assert alice.peers and bob.peers
    ether.run(1000.0)
    assert not alice.of(Lost)


def test_addresses_of_other_networks_are_not_asked() -> None:
    """Else who has the floor could make a whole network send to a victim of its choice."""
    ether = Ether()
    alice = Station(ether, 1)
    ether.deliver(alice, datagram(50, ips=("203.0.113.9", "10.1.2.3")), "192.168.1.200")
    assert not alice.of(Ask)
    assert [event.said for event in alice.of(OutOfReach) if isinstance(event, OutOfReach)] == [
        ("203.0.113.9", "10.1.2.3")
    ]


def test_who_is_not_on_our_network_is_not_heard() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.deliver(alice, datagram(50), "203.0.113.9")
    alice.lan.receive_datagram(datagram(50), ("192.168.1.200", 9), ether.now)
    alice.lan.receive_datagram(datagram(50), ("no address", 0), ether.now)
    assert alice.lan.counters["off_link"] == 3
    alice.lan.receive_datagram(datagram(50), ("fe80::1", 2), ether.now)
    assert alice.lan.counters["beacon"] == 1


# Who can read


def test_a_private_network_is_found_by_its_members_alone() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1, network_secret=b"k" * 32), Station(ether, 2, network_secret=b"k" * 32)
    stranger = Station(ether, 3)
    ether.run(30.0)
    assert alice.peers == {bob.identity.public.raw}
    assert not stranger.peers
    assert len(stranger.of(Foreign)) == 1, "once, not at every datagram"


def test_nothing_in_a_private_networks_datagrams_comes_twice() -> None:
    ether = Ether()
    Station(ether, 1, network_secret=b"k" * 32)
    ether.run(1800.0)
    bodies = [data[4:] for _, _, data in ether.sent]
    assert len(bodies) > 20
    pieces = [body[at : at + 8] for body in bodies for at in range(0, len(body) - 8, 8)]
    assert len(set(pieces)) == len(pieces)


def test_a_shy_node_is_seen_by_who_knows_it_alone() -> None:
    ether = Ether()
    shy = Station(ether, 1, known_only=True)
    stranger, friend = Station(ether, 2), Station(ether, 3)
    ether.run(100.0)
    assert not stranger.peers & {shy.identity.public.raw}
    assert not friend.peers & {shy.identity.public.raw}
    friend.call(lambda lan, now: lan.look_for(shy.identity.public, now))
    ether.run(0.02)
    assert shy.identity.public.raw in friend.peers
    assert shy.identity.public.raw not in stranger.peers
    assert {friend.identity.public.raw, stranger.identity.public.raw} <= shy.peers, "it sees the others"


# What a flood does


def test_a_flood_of_made_up_nodes_leaves_the_honest_ones_alone() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    for number in range(3000):
        ip = f"192.168.1.{number % 200 + 10}"
        ether.deliver(alice, datagram(1000 + number, ether.now, ips=(ip,)), ip)
        if number % 100 == 99:
            ether.run(0.5)
    book = alice.lan._judging._book.sightings
    assert len(book) <= MAX_HEARD + 1
    assert bob.identity.public.raw in alice.peers
    carol = Station(ether, 3)
    ether.run(1.0)
    assert carol.identity.public.raw in alice.peers, "newcomers get in beside it"
    asked = sum(len(event.contacts) for event in alice.of(Ask) if isinstance(event, Ask))
    assert asked <= (ether.now - START) * 20 + 50


def test_one_address_fills_no_more_than_its_share() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    for number in range(100):
        ether.deliver(alice, datagram(1000 + number, ether.now, port=1000 + number), "192.168.1.200")
        ether.run(0.06)
        alice.lan._judging._ask_limit = type(alice.lan._judging._ask_limit)(1e9, 1e9)
    assert len(alice.lan._judging._book.sightings) <= MAX_EACH_SOURCE
    assert alice.lan.counters["full"] > 50


def test_one_identity_has_a_few_nodes_at_most() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    for number in range(20):
        key = NodeKey.from_secret(bytes([number + 1]) * 32).public
        ether.deliver(alice, datagram(50, ether.now, node_key=key), f"192.168.1.{number + 50}")
        ether.run(0.01)
    assert len(alice.lan.known(announcement(50)[0].public)) <= MAX_EACH_PEER


def test_the_book_is_bounded_even_when_all_answer() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    for number in range(400):
        ip = f"192.168.1.{number % 200 + 10}"
        ether.deliver(alice, datagram(1000 + number, ether.now, ips=(ip,), port=number + 1), ip)
        identity, said = announcement(1000 + number, port=number + 1, ips=(ip,))
        place = (identity.public.raw, said.node_key)
        alice.call(lambda lan, now: lan.answered(place, said.contacts[0], 0.001, now))  # noqa: B023
        ether.now += 0.1
    assert len(alice.lan.peers()) == MAX_SIGHTINGS


def test_datagrams_in_masses_cost_no_signatures() -> None:
    lan = LanProtocol(LanSelf(identity=IdentityKey.generate(), node_key=bytes(32), port=1), random.Random(1), START)
    lan.set_segments((segment("192.168.1.1/24"),), START)
    flood = datagram(50)
    for number in range(1000):
        lan.receive_datagram(flood[:4] + number.to_bytes(24, "big") + flood[28:], ("192.168.1.9", 0), START)
    assert lan.counters["rate_limited"] >= 950
    for number in range(2000):
        lan.receive_datagram(flood, (f"192.168.1.{number % 200 + 20}", 0), START)
    assert lan.counters["rate_limited"] >= 950 + 1550


def test_questions_in_masses_get_one_answer_a_second() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(300.0)
    sent, began = len(ether.sent), ether.now
    rng = random.Random(5)
    while ether.now < began + 10:
        ether.deliver(alice, to_datagram(seal_query(None, KEYS, rng)), "192.168.1.9")
        ether.deliver(alice, to_datagram(seal_query(alice.identity.public, KEYS, rng)), "192.168.1.8")
        ether.run(0.05)
    # One a second to everybody, five a second to those who know whom they ask for, and its own.
    assert len(ether.sent) - sent <= 10 + 5 * 10 + 5 + 2


def test_looking_for_somebody_again_and_again_asks_twice_a_second() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(30.0)
    sent = len(ether.sent)
    other = announcement(9)[0].public
    for _ in range(100):
        alice.call(lambda lan, now: lan.look_for(other, now))
        ether.run(0.02)
    assert len(ether.sent) - sent <= 6


# The bytes


def test_an_announcement_with_all_it_may_have_fits() -> None:
    ips = tuple(f"fd00:1234:5678:9abc:def0:1234:5678:{number:x}" for number in range(1, MAX_ADDRESSES + 1))
    identity, said = announcement(50, ips=ips, fingerprint=bytes(32), interval=3600)
    sealed = seal_announcement(said, identity, KEYS, random.Random(1))
    assert len(to_datagram(sealed)) <= MAX_BEACON
    assert all(len(key) + 1 + len(value) <= 255 for key, value in to_txt(sealed).items())
    assert decode_message(unseal(sealed, KEYS.network), sealed[:24], KEYS) == said


def test_what_does_not_fit_is_refused() -> None:
    identity, said = announcement(50, ips=("192.168.1.1",) * (MAX_ADDRESSES + 1))
    with pytest.raises(LocalError, match="at most 8 addresses, not 9"):
        seal_announcement(said, identity, KEYS, random.Random(1))
    identity, said = announcement(50, fingerprint=b"short")
    with pytest.raises(LocalError, match="32 bytes, not 5"):
        seal_announcement(said, identity, KEYS, random.Random(1))


def test_a_later_version_is_named() -> None:
    with pytest.raises(DecodeError, match="version 02, known is 01"):
        from_datagram(b"rkl\x02" + bytes(100))
    with pytest.raises(DecodeError, match="does not begin with"):
        from_datagram(b"d1:ad2:id20:")


def test_link_local_ipv6_addresses_are_not_announced() -> None:
    assert announced_ips(["fe80::1", "fd77::2", "192.168.1.2", "169.254.3.4"]) == (
        "192.168.1.2",
        "169.254.3.4",
        "fd77::2",
    )
    many = [f"10.0.0.{n}" for n in range(1, 20)] + [f"fd00::{n}" for n in range(1, 20)]
    assert len(announced_ips(many)) == MAX_ADDRESSES
    assert sum(":" in ip for ip in announced_ips(many)) == MAX_ADDRESSES // 2


def test_no_more_than_a_few_addresses_are_asked() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ips = tuple(f"192.168.1.{n}" for n in range(50, 58))
    ether.deliver(alice, datagram(50, ips=ips), "192.168.1.55")
    (ask,) = alice.of(Ask)
    assert isinstance(ask, Ask)
    assert ask.contacts[0].ip == "192.168.1.55", "from where it spoke, first"
    assert len(ask.contacts) == MAX_ASKED


def test_the_constants_have_an_order() -> None:
    assert list(lan_module.OPENING) == sorted(lan_module.OPENING)
    assert len(lan_module.OPENING) >= lan_module.QUERIES
