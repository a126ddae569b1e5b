"""Finding peers on the local network, on a virtual clock: who is found when, and what keeps peers from being found."""

from __future__ import annotations

from dht.contact import Contact
from dht.identity import NodeKey
from node.protocols.lan_events import Echoed, Found, Lost, Silenced
from tests.node.lan_ether import START, Ether, Station, segment

# Finding


def test_a_newcomer_and_those_there_find_each_other_in_a_twentieth_of_a_second() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(100.0)
    bob = Station(ether, 2)
    ether.run(0.05)
    assert alice.peers == {bob.identity.public.raw}
    assert bob.peers == {alice.identity.public.raw}
    found = alice.of(Found)[0]
    assert isinstance(found, Found)
    assert found.peer.contact == Contact(bob.node_key.public, (bob.ip, 7716))
    assert found.peer.fingerprint == bytes([2]) * 32
    assert found.peer.interface == "eth0"


def test_a_newcomer_does_not_wait_for_who_has_just_started() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(0.6)
    bob = Station(ether, 2)
    ether.run(0.05)
    assert alice.peers and bob.peers


def test_lost_multicasts_delay_it_by_a_second_and_a_half_at_most() -> None:
    ether = Ether()
    lost = 4
    alice, bob = Station(ether, 1), Station(ether, 2)
    dice = iter([False] * lost)
    ether.carries = lambda sender, to, data: next(dice, True)
    ether.run(1.6)
    assert alice.peers and bob.peers


def test_a_dozen_nodes_that_start_together_know_each_other_within_a_second() -> None:
    ether = Ether()
    stations = [Station(ether, number) for number in range(1, 13)]
    ether.run(1.0)
    known = [len(one.peers) for one in stations]
    ether.run(4.0)
    assert min(len(one.peers) for one in stations) == 11, known
    assert min(known) >= 8


def test_announcements_become_rare() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(3600.0)
    assert len([1 for at, _, _ in ether.sent if at > START + 3000]) <= 600 / 54 + 1
    assert not alice.of(Lost)


def test_a_node_that_is_awake_announces_what_is_soon_due() -> None:
    ether = Ether()
    alice = Station(ether, 1, interval=900, slack=60.0)
    ether.run(300.0)
    due = alice.lan.next_timer()
    assert due is not None and due > START + 300
    ether.run(due - 65 - ether.now)
    said = len(ether.sent)
    alice.call(lambda lan, now: lan.handle_timer(now))
    assert len(ether.sent) == said, "that is not soon"
    ether.run(10.0)
    alice.call(lambda lan, now: lan.handle_timer(now))
    assert len(ether.sent) == said + 1
    alice.call(lambda lan, now: lan.handle_timer(now))
    assert len(ether.sent) == said + 1, "once is enough"


def test_a_peer_that_leaves_says_goodbye() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    bob.call(lambda lan, now: lan.close(now))
    bob.there = False
    ether.run(0.1)
    assert alice.of(Lost) == [Lost(bob.identity.public, "it said goodbye")]
    assert not alice.peers


def test_a_peer_that_falls_silent_is_lost_once_it_was_asked() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    bob.there = False
    ether.run(120.0)
    assert alice.peers
    ether.run(120.0)
    assert alice.of(Lost) == [Lost(bob.identity.public, "it no longer answers")]


def test_a_peer_whose_beacons_are_lost_stays_as_long_as_it_answers() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    ether.carries = lambda sender, to, data: False
    ether.run(3600.0)
    assert alice.peers and bob.peers
    assert not alice.of(Lost)


def test_a_restarted_client_has_another_node_key_and_is_one_peer() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    bob.there = False
    again = NodeKey.from_secret(bytes([99]) * 32)
    new = Station(ether, 2, node_key=again.public)
    new.node_key = again
    ether.run(400.0)
    assert alice.peers == {bob.identity.public.raw}
    assert [one.contact.key for one in alice.lan.peers()] == [again.public]
    assert not alice.of(Lost)


def test_who_is_looked_for_by_name_answers_at_once() -> None:
    ether = Ether()
    alice, bob, carol = Station(ether, 1), Station(ether, 2), Station(ether, 3)
    ether.run(100.0)
    sent = len(ether.sent)
    alice.call(lambda lan, now: lan.look_for(bob.identity.public, now))
    ether.run(0.01)
    assert [ip for _, ip, _ in ether.sent[sent:]] == [alice.ip, bob.ip]
    assert carol.of(Found)


def test_another_network_of_ours_is_announced_on_at_once() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(100.0)
    sent = len(ether.sent)
    alice.segments = (segment("10.0.0.5/8", index=5, name="wlan0"),)
    alice.call(lambda lan, now: lan.set_segments(alice.segments, now))
    ether.run(0.0)
    assert len(ether.sent) == sent + 2  # a question and an announcement


def test_a_peer_of_a_network_that_was_left_is_lost() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    ether.run(1.0)
    alice.segments = (segment("10.0.0.5/8", index=5),)
    alice.call(lambda lan, now: lan.set_segments(alice.segments, now))
    assert alice.of(Lost) == [Lost(bob.identity.public, "this machine left its network")]


def test_what_comes_by_mdns_and_by_beacon_is_one_peer() -> None:
    ether = Ether()
    alice, bob = Station(ether, 1), Station(ether, 2)
    alice.mdns = bob.mdns = True
    for one in (alice, bob):
        one.call(lambda lan, now: lan.set_segments((), now))
        one.call(lambda lan, now: lan.set_segments(one.segments, now))  # noqa: B023
    ether.run(5.0)
    (peer,) = alice.lan.peers()
    assert peer.ways == ("beacon", "mdns")
    assert len(alice.of(Found)) == 1


def test_mdns_alone_will_do_and_its_goodbye_is_only_a_doubt() -> None:
    ether = Ether()
    ether.carries = lambda sender, to, data: False
    alice, bob = Station(ether, 1), Station(ether, 2)
    alice.mdns = bob.mdns = True
    ether.run(1.0)
    assert alice.peers
    # Somebody else says goodbye for bob: he is asked, and answers.
    alice.call(lambda lan, now: lan.txt_gone(f"i{bob.ip}", now))
    ether.run(20.0)
    assert alice.peers
    bob.there = False
    ether.run(1800.0)
    assert not alice.peers


# What keeps peers from being found


def test_a_way_that_is_shut_is_told_and_so_is_its_end() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    alice.deaf = True
    ether.run(10.0)
    assert alice.of(Silenced) == [Silenced("beacon")]
    alice.deaf = False
    ether.run(60.0)
    assert alice.of(Echoed) == [Echoed("beacon")]


def test_an_open_way_is_not_called_shut() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    alice.mdns = True
    alice.call(lambda lan, now: lan.set_segments((), now))
    alice.call(lambda lan, now: lan.set_segments(alice.segments, now))
    ether.run(30.0)
    assert not alice.of(Silenced)


def test_without_a_network_nothing_is_sent_and_nothing_called_shut() -> None:
    ether = Ether()
    alice = Station(ether, 1)
    ether.run(0.1)
    alice.call(lambda lan, now: lan.set_segments((), now))
    sent = len(ether.sent)
    ether.run(100.0)
    assert len(ether.sent) == sent
    assert not alice.of(Silenced)
