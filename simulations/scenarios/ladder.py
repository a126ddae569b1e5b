"""The connection ladder: how soon a peer is linked by each of its rungs, and what a stale hint costs.

    rookery simulate run ladder --seeds 3

Complete nodes. The local network's source and gossip's say what they are told to here: what they know is theirs, what
is done with it is measured. Round trips are what decides: a dial has five of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import median

from pydantic import Field

from dht.contact import Contact
from dht.identity import NodeKey, PublicKey
from node.node_ladder import hint_of
from node.node_results import ConnectOutcome
from node.ports import Hint
from simulations.profiles import PROFILES
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.shell import FullNode, FullNodes
from simulations.world import World

BUDGETS = {"cache": 0.05, "lan": 0.05, "direct": 0.2, "gossip": 0.5, "dht": 0.5, "bootstrap": 1.0}
"""Seconds within which a rung should have linked a peer; that of the DHT is what the last rung's begins with."""

PAUSE = 20.0
"""Seconds between two links, so that whoever is called does not take the caller for a nuisance."""

HOLE = Contact(NodeKey.from_secret(b"h" * 32).public, ("203.0.113.9", 4000))
"""Where nobody answers."""


class Ladder(Parameters):
    """Times to a link by rung."""

    nodes: int = Field(60, ge=20, description="bare servers, which are the DHT")
    rounds: int = Field(10, ge=1, description="links made in each case")


class Told:
    """A source that says what it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.hint: Hint | None = None

    async def find(self, peer: PublicKey) -> Hint | None:
        """What it was told."""
        return self.hint


@scenario("ladder", "Linked by each rung of the ladder", Ladder, latency="constant:3ms", nat="port-restricted")
async def ladder(world: World, p: Ladder) -> None:
    """Play each case by itself."""
    world.planned = 240 + 7 * p.rounds * PAUSE
    world.add(p.nodes)
    await world.settle()
    shells = FullNodes(world)
    one, called = shells.add(2, "home", spread=0.0)
    (server,) = shells.add(1, "server", spread=0.0)
    await world.settle()
    await world.run(seconds=30)
    outside = one.node.inside.outside
    lan, gossip = Told("lan"), Told("gossip")
    outside.sources[:] = [outside.whereabouts, lan, gossip]
    at_server = hint_of(await one.node.find(server.key))
    at_called = hint_of(await one.node.find(called.key))
    stale = replace(at_server, direct=(HOLE,), homes=())

    def remember(hint: Hint | None, peer: FullNode) -> None:
        outside.whereabouts.forget(peer.key)
        if hint is not None:
            outside.whereabouts.note(peer.key, hint, "host")

    async def case(name: str, rung: str, peer: FullNode, before: Callable[[], object]) -> None:
        times: list[float] = []
        became: Counter[str] = Counter()
        for _ in range(p.rounds):
            lan.hint = gossip.hint = None
            remember(None, peer)
            before()
            started = world.elapsed
            outcome = await one.node.connect(peer.key)
            won = next((tried.rung for tried in outcome.rungs if tried.outcome == "won"), "")
            ok = outcome.connected and won == rung
            reason = "" if ok else f"by {won}" if won else outcome.reason.value
            took = world.elapsed - started
            world.metrics.operation(name, started=started, took=took, ok=ok, reason=reason, node=one.peer.index)
            times.append(took)
            became.update(outcomes(outcome))
            await _part(one, outcome, world)
        _tell(world, name, times, became)
        world.metrics.expect(f"{name}.success", at_least=1.0)
        world.metrics.expect(f"{name}, longest", at_most=BUDGETS[rung])

    await case("cache", "cache", server, lambda: remember(at_server, server))
    await case("lan", "lan", server, lambda: setattr(lan, "hint", replace(at_server, homes=())))
    await case("direct", "direct", called, lambda: remember(at_called, called))
    await case("gossip", "gossip", called, lambda: setattr(gossip, "hint", at_called))
    await case("dht", "dht", server, lambda: None)
    await case("dht past a stale cache", "dht", server, lambda: remember(stale, server))
    await _cold(world, shells, server, p.rounds)
    shells.close()


async def _cold(world: World, shells: FullNodes, peer: FullNode, rounds: int) -> None:
    """A node that has just started and knows first contacts only."""
    times: list[float] = []
    became: Counter[str] = Counter()
    for _ in range(rounds):
        (fresh,) = shells.add(1, replace(PROFILES["home"], name="fresh"), spread=0.0)
        await _until(lambda fresh=fresh: fresh.alive, world)  # type: ignore[misc]
        started = world.elapsed
        outcome = await fresh.node.connect(peer.key)
        won = next((tried.rung for tried in outcome.rungs if tried.outcome == "won"), "")
        took = world.elapsed - started
        ok = outcome.connected and won == "bootstrap"
        index = fresh.peer.index
        world.metrics.operation("bootstrap", started=started, took=took, ok=ok, reason=won, node=index)
        times.append(took)
        became.update(outcomes(outcome))
        await _part(fresh, outcome, world)
        fresh.kill()
    _tell(world, "bootstrap", times, became)
    world.metrics.expect("bootstrap.success", at_least=1.0)
    world.metrics.expect("bootstrap, longest", at_most=BUDGETS["bootstrap"])


def outcomes(outcome: ConnectOutcome) -> list[str]:
    """What became of each rung of an attempt, such as "cache nothing"."""
    return [f"{tried.rung} {tried.outcome}" for tried in outcome.rungs]


def _tell(world: World, name: str, times: list[float], became: Counter[str]) -> None:
    world.metrics.value(f"{name}, median", median(times), "s")
    world.metrics.value(f"{name}, longest", max(times), "s")
    for said, count in sorted(became.items()):
        world.metrics.value(f"{name}, {said}", count)


async def _until(check: Callable[[], bool], world: World) -> None:
    while not check():
        await world.run(seconds=0.001)


async def _part(one: FullNode, outcome: ConnectOutcome, world: World) -> None:
    if outcome.connected:
        await outcome.link.close()
    await world.run(seconds=PAUSE)
