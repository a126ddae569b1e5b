"""Gossip in small worlds: joins, deaths, loss, liars and partitions, on the virtual clock."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from node.protocols.presence_beats import Status
from node.protocols.presence_events import State
from node.protocols.presence_ground import PresenceSettings
from simulations.events import EventQueue
from simulations.gossip import GossipWorld
from simulations.gossip_liars import make_liar
from simulations.gossip_settled import start_settled
from simulations.latency import Uniform
from simulations.metrics import SeedResult
from simulations.randomness import Streams
from simulations.running import run_seed
from simulations.settings import RunSpec
from tests.simulations.scenarios.small import play, unmet, value


def world(count: int, *, loss: float = 0.0, seed: int = 1, within: float = 0.1) -> GossipWorld:
    """So many nodes that have met."""
    made = GossipWorld(EventQueue(), Streams(seed), Uniform(0.01, 0.15), loss=loss)
    made.add(count, within=count * within)
    made.queue.run_for(count * within + 300)
    return made


def test_everybody_hears_of_everybody_and_has_few_neighbours() -> None:
    made = world(40)
    for node in made.nodes:
        assert node.presence.book.known() == 39
        assert 1 <= len(node.presence.ground.neighbours) <= 6
        for link in node.presence.ground.neighbours:
            other = made.named(link.peer)
            assert other is not None and other.presence.ground.links[node.name].neighbour, "on both sides"
    made.queue.run_for(120)
    before = [node.bytes_sent for node in made.nodes]
    made.queue.run_for(120)
    a_minute = [(node.bytes_sent - sent) / 2 for node, sent in zip(made.nodes, before, strict=True)]
    assert median(a_minute) < 12_000


def test_who_is_sought_is_found_beyond_the_horizon_and_followed() -> None:
    settings = PresenceSettings(first_horizon=2, news_per_minute=0.5)
    made = GossipWorld(EventQueue(), Streams(3), Uniform(0.01, 0.15), settings=settings)
    made.add(60, within=12)
    made.queue.run_for(300)
    seeker, sought = next(
        (one, other)
        for one in made.nodes
        for other in made.nodes
        if other is not one and one.presence.book.get(other.name) is None
    )
    made.call(seeker, lambda presence, now: presence.set_interests([sought.name]))
    made.queue.run_for(2)
    assert seeker.presence.book.get(sought.name) is not None, "the neighbours' neighbours know"
    made.call(sought, lambda presence, now: presence.set_status(Status.AWAY, "tea", now))
    made.queue.run_for(200)
    entry = seeker.presence.book.get(sought.name)
    assert entry is not None and entry.card.text == "tea"


@pytest.mark.parametrize("name", ["tree", "flooding", "random"])
def test_small_scenario_by_each_strategy(name: str) -> None:
    result = play("presence", strategy=name, partition=0)
    assert unmet(result) == []
    assert value(result, "join: of these know within 180 s") == 1
    assert value(result, "death: of these know within 180 s") == 1
    assert value(result, "death: p50") < 40


def test_halves_that_meet_again_agree() -> None:
    result = play("presence", joins=0, deaths=0, partition=3)
    assert value(result, "views that agree at the end of it") < 1
    assert value(result, "until 0.95 of all views agree") < 60
    assert value(result, "views that agree in the end") > 0.999


def lied_to(**more: Any) -> SeedResult:
    """A third of the nodes lie, and a third of the packets is lost: whatever is true is known, and no lie is."""
    result = play("presence", loss=0.3, liars=0.3, deaths=0, partition=0, **more)
    assert unmet(result) == [], "lies believed"
    assert value(result, "lies believed") == 0
    assert value(result, "counted: refuted") > 0, "there were lies, and they were answered"
    return result


def test_with_loss_and_liars_everybody_is_known_and_no_lie_is_believed() -> None:
    result = lied_to(joins=1, settle=1, quiet=1, patience=60)
    assert value(result, "peers known, median") == 29
    assert value(result, "join: of these know within 60 s") > 0.9


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nodes", "known"), [(50, 49), (300, 298)])
def test_with_loss_and_more_liars_for_longer(nodes: int, known: int) -> None:
    result = lied_to(nodes=nodes, joins=0, settled=True, settle=1, quiet=2)
    assert value(result, "peers known, median") >= known


def test_a_victim_whose_neighbours_all_lie_is_cleared_by_its_own_word() -> None:
    made = GossipWorld(EventQueue(), Streams(5), Uniform(0.01, 0.15))
    victim = made.new()
    made.start(victim)
    for _ in range(5):
        node = made.new()
        made.start(node, victim, lambda node, rng, now: make_liar(made, node, rng, now))
        made.queue.run_for(3)
    honest = [made.new() for _ in range(3)]
    for node in honest:
        made.start(node, made.nodes[1])
        made.queue.run_for(3)
    made.queue.run_for(240)
    for node in honest:
        entry = node.presence.book.get(victim.name)
        assert entry is not None and entry.state is not State.OFFLINE


def test_checksums_in_place_of_signatures_change_no_verdict() -> None:
    real, cheap = (
        GossipWorld(EventQueue(), Streams(7), Uniform(0.01, 0.15), loss=0.1, cheap=cheap) for cheap in (False, True)
    )
    for made in (real, cheap):
        first = made.new()
        made.start(first)
        for number in range(12):
            liar = number in (3, 7, 8)
            make = (lambda node, rng, now, made=made: make_liar(made, node, rng, now)) if liar else None
            made.start(made.new(), first, make)
        made.queue.run_for(120)
    counted = [
        [(node.presence.book.known(), node.presence.ground.counters["bad signature"]) for node in made.nodes]
        for made in (real, cheap)
    ]
    assert counted[0] == counted[1] and any(forged for _, forged in counted[0])


def test_a_network_that_is_settled_is_as_one_that_grew() -> None:
    made = GossipWorld(EventQueue(), Streams(1), Uniform(0.01, 0.15), cheap=True)
    nodes = [made.new() for _ in range(60)]
    start_settled(made, nodes, Streams(1).stream("settled"))
    made.queue.run_for(120)
    for node in nodes:
        assert node.presence.book.known() == 59
        assert 3 <= len(node.presence.ground.neighbours) <= 6
        for link in node.presence.ground.neighbours:
            other = made.named(link.peer)
            assert other is not None and other.presence.ground.links[node.name].neighbour, "on both sides"
            assert link.pledge is not None
        assert all(entry.state is State.ONLINE for _, entry in node.presence.book), "nobody is missed"
    dead = nodes[7]
    made.kill(dead)
    made.queue.run_for(60)
    assert all(one.presence.book.get(dead.name).state is not State.ONLINE for one in made.living)  # type: ignore[union-attr]


def test_a_death_is_heard_of_by_all_who_knew_the_peer_where_the_horizon_is_near() -> None:
    settings = PresenceSettings(news_per_minute=4)
    made = GossipWorld(EventQueue(), Streams(2), Uniform(0.01, 0.1), settings=settings, cheap=True)
    nodes = [made.new() for _ in range(200)]
    start_settled(made, nodes, Streams(2).stream("settled"))
    dead = nodes[11]
    knew = [entry for one in nodes if (entry := one.presence.book.get(dead.name)) is not None]
    assert 20 <= len(knew) < 150, "not all know it"
    made.kill(dead)
    made.queue.run_for(60)
    assert sum(entry.state is not State.ONLINE for entry in knew) > 0.9 * len(knew)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_nodes() -> None:
    small = {"settle": 1, "quiet": 1, "joins": 3, "deaths": 3, "patience": 60, "partition": 0}
    spec = RunSpec(scenario="presence", world={"seal": "cheap"}, parameters={"nodes": 1000, "settled": True, **small})
    result = run_seed(spec, 1)
    assert unmet(result) == [] and not result.error
    assert value(result, "join: of these know within 60 s") > 0.95
    assert value(result, "death: of these know within 60 s") > 0.99
    assert value(result, "bytes sent a node a minute, mean") < 25_000
