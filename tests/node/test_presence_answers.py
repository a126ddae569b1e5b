"""How far the answers to accusations go, and who asks for those that seem dead when a cut is whole again."""

from __future__ import annotations

import pytest

from node.protocols import presence_wire as wire
from node.protocols.presence import Presence
from node.protocols.presence_events import State
from node.protocols.presence_ground import PresenceSettings
from node.protocols.presence_watch import ASK_ACROSS, HEARSAY_BURST
from simulations.events import EventQueue
from simulations.gossip import GossipWorld
from simulations.gossip_settled import start_settled
from simulations.gossip_watching import agreement
from simulations.latency import Uniform
from simulations.randomness import Streams
from tests.node.test_presence import NOW, accused, beat_of, key, learn, linked, pass_time, presence, state

HORIZON = 3


def neighbours(one: Presence, *numbers: int) -> list[bytes]:
    """Links with these, all of them neighbours; what there was to say is gone."""
    names = [linked(one, number) for number in numbers]
    for name in names:
        one.views.become(one.ground.links[name])
    one.messages_to_send(NOW)
    return names


def hear(one: Presence, number: int, seq: int, hops: int, peer: bytes) -> list[bytes]:
    """Later news of a peer comes by the tree, from so far; returns whom `one` tells it."""
    beat, card = beat_of(number, seq=seq, news=seq)
    one.receive_message(wire.encode(wire.News([wire.Told(hops, beat.raw, card.raw)], True)), peer, NOW)
    sent = [(wire.decode(data), name) for data, name in one.messages_to_send(NOW)]
    return [name for message, name in sent if isinstance(message, wire.News) and message.items[0].raw == beat.raw]


def test_an_answer_goes_as_far_as_the_accusation_that_it_answers_and_no_further() -> None:
    one = presence(first_horizon=HORIZON)
    teller, other = neighbours(one, 1, 2)
    for number in (7, 8):
        learn(one, number)
    assert hear(one, 8, 2, HORIZON + 5, teller) == [], "news of a peer that nobody accused keeps to the horizon"
    accused(one, 7, 20)
    one.messages_to_send(NOW)
    assert hear(one, 7, 2, HORIZON + 5, teller) == [other]
    assert hear(one, 7, 3, HORIZON + 5, teller) == [], "what answers nothing is news as any"
    assert hear(one, 9, 1, HORIZON + 5, teller) == []


def doubts(one: Presence, now: float) -> list[tuple[bytes, bytes]]:
    """Of whom somebody was asked, and who."""
    sent = [(wire.decode(data), name) for data, name in one.messages_to_send(now)]
    return [(message.key, name) for message, name in sent if isinstance(message, wire.Doubt)]


def test_who_comes_back_from_the_dead_is_asked_for_others_and_how_many_is_bounded() -> None:
    one = presence()
    neighbours(one, 1)
    dead = {key(victim).public.raw for victim in range(100, 150)}
    for victim in [*range(100, 150), 60, 61]:
        learn(one, victim)
        accused(one, victim, 20 + victim % 7 * 2)
        accused(one, victim, 21 + victim % 7 * 2)
    pass_time(one, NOW, 600)
    assert state(one, 60) is State.SUSPECTED
    one.messages_to_send(NOW + 600)
    back = linked(one, 60, NOW + 600)
    asked = [owner for owner, name in doubts(one, NOW + 600) if name == back]
    assert len(asked) == len(set(asked)) == ASK_ACROSS and len(set(asked) - dead) <= 1
    linked(one, 61, NOW + 601)
    assert len(doubts(one, NOW + 601)) <= 1, f"the burst of {HEARSAY_BURST:g} is for all that come back"
    linked(one, 3, NOW + 700)
    assert not doubts(one, NOW + 700), "who never seemed dead need not be asked"


@pytest.mark.parametrize("cut", [90, 340], ids=["accusations are told still", "they are out of date"])
def test_halves_that_meet_again_agree_where_the_horizon_is_near(cut: float) -> None:
    made = GossipWorld(
        EventQueue(), Streams(2), Uniform(0.01, 0.1), settings=PresenceSettings(news_per_minute=3), cheap=True
    )
    nodes = [made.new() for _ in range(100)]
    start_settled(made, nodes, Streams(2).stream("settled"))
    assert agreement(made, nodes) == 1, "before any of it"
    made.split((nodes[:50], nodes[50:]))
    made.queue.run_for(cut)
    assert agreement(made, nodes) < 0.96
    made.heal()
    made.queue.run_for(120)
    assert agreement(made, nodes) > 0.99
