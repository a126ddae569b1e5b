"""The connection ladder on a virtual clock: each rung winning, losing, failing, given up; the cost of a stale hint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from dht.contact import Contact
from dht.identity import IdentityKey, NodeKey, PublicKey
from node.node_ladder import HeadStarts, hint_of
from node.node_results import ConnectOutcome, Reason
from node.ports import Hint
from simulations import World, run
from simulations.shell import FullNode, FullNodes

NOBODY = IdentityKey.from_seed(b"n" * 32).public
ONE_WAY = 0.004
DIAL = 5 * 2 * ONE_WAY
"""Five round trips."""
HOLE = Contact(NodeKey.from_secret(b"h" * 32).public, ("203.0.113.9", 4000))
"""Where nobody answers."""


class Scripted:
    """A source that says what it is told to, when it is told to."""

    def __init__(self, name: str, hint: Hint | None = None, *, after: float = 0.0) -> None:
        self.name = name
        self.hint = hint
        self.after = after
        self.asked = self.cancelled = 0
        self.fault: Exception | None = None

    async def find(self, peer: PublicKey) -> Hint | None:
        self.asked += 1
        try:
            if self.after:
                await asyncio.sleep(self.after)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault:
            raise self.fault
        return self.hint


class Stage:
    """Twenty servers, one node that looks, one that can be dialled, and one behind a router."""

    def __init__(self, world: World, shells: FullNodes) -> None:
        self.world = world
        self.dialled, self.other = shells.add(2, "server", spread=0.0)
        self.one, self.called = shells.add(2, "home", spread=0.0)
        self.ladder: Any = None

    async def ready(self) -> None:
        await self.world.settle()
        await self.world.run(seconds=30)
        self.ladder = self.one.node.inside.outside.ladder
        self.ladder.sources[:] = [self.one.node.inside.outside.whereabouts]  # The others have tests of their own.

    async def connect(self, peer: FullNode | PublicKey, timeout: float = 30.0) -> ConnectOutcome:
        """A link, with no tasks left behind."""
        before = asyncio.all_tasks()
        key = peer.key if isinstance(peer, FullNode) else peer
        outcome = await self.one.node.connect(key, timeout=timeout)
        await asyncio.sleep(0.001)
        left = [name for task in asyncio.all_tasks() - before for name in doing(task)]
        assert not [name for name in left if name.startswith(("Climb.", "Ladder.", "Scripted."))]
        return outcome

    async def part(self, peer: FullNode) -> None:
        """Close the link again."""
        link = self.one.node.inside.links.get(peer.key)
        if link is not None:
            await link.close()
        await asyncio.sleep(3)

    async def hint(self, peer: FullNode) -> Hint:
        """What the DHT has of a peer."""
        return hint_of(await self.other.node.find(peer.key))


def play(script: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        world = World(seed=3, latency=f"constant:{ONE_WAY * 1000:g}ms", nat="port-restricted", seal="cheap")
        world.add(20)
        shells = FullNodes(world)
        stage = Stage(world, shells)
        try:
            await stage.ready()
            await script(stage)
        finally:
            shells.close()

    run(main)


def doing(task: asyncio.Task[Any]) -> list[str]:
    """The functions that a task is in."""
    names: list[str] = []
    at: Any = task.get_coro()
    while isinstance(at, Coroutine):
        names.append(str(getattr(at, "__qualname__", "")))
        at = getattr(at, "cr_await", None)
    return names


def rungs(outcome: ConnectOutcome) -> dict[str, str]:
    return {rung.rung: rung.outcome for rung in outcome.rungs}


def test_with_nothing_remembered_the_dht_is_asked_at_once_and_next_time_the_cache_is_quicker() -> None:
    async def script(stage: Stage) -> None:
        first = await stage.connect(stage.dialled)
        assert rungs(first) == {"cache": "nothing", "dht": "won", "bootstrap": "skipped"}
        assert next(rung.started for rung in first.rungs if rung.rung == "dht") == 0
        await stage.part(stage.dialled)
        asked = stage.one.node.status().counters["udp"]["sent"]
        again = await stage.connect(stage.dialled)
        # Within its head start: nobody else is asked, no address of our own is looked for.
        assert rungs(again) == {"cache": "won"}
        assert again.phases["total"] == pytest.approx(DIAL, abs=0.001) and "gather" not in again.phases
        assert stage.one.node.status().counters["udp"]["sent"] - asked < 16
        status = {rung.rung: rung for rung in stage.one.node.status().ladder}
        assert (status["cache"].tried, status["cache"].won, status["dht"].tried, status["dht"].won) == (2, 1, 1, 1)
        assert status["cache"].p50 == pytest.approx(DIAL, abs=0.001) and status["bootstrap"].tried == 0
        assert list(status) == ["cache", "direct", "dht", "bootstrap"]

    play(script)


def test_a_peer_behind_a_router_is_called_through_the_nodes_remembered() -> None:
    async def script(stage: Stage) -> None:
        first = await stage.connect(stage.called)
        assert rungs(first)["dht"] == "won"
        await stage.part(stage.called)
        again = await stage.connect(stage.called)
        assert rungs(again)["direct"] == "won" and rungs(again)["cache"] == "found"
        assert again.phases["total"] < 0.2 and again.phases["total"] <= first.phases["total"]

    play(script)


def test_a_stale_address_costs_no_more_than_the_head_start() -> None:
    async def script(stage: Stage) -> None:
        hint = await stage.hint(stage.dialled)
        cold = (await stage.connect(stage.dialled)).phases["total"]
        await stage.part(stage.dialled)
        # The machine is gone from there, and nothing says so.
        stage.one.node.inside.outside.whereabouts.note(
            stage.dialled.key, replace(hint, direct=(HOLE,), homes=()), "host"
        )
        stale = await stage.connect(stage.dialled)
        assert rungs(stale) == {"cache": "found", "dht": "won", "bootstrap": "skipped"}
        assert stale.phases["total"] <= cold + HeadStarts().look_up + 0.002
        assert {(way.way, way.rung, way.outcome) for way in stale.ways} == {
            ("dial", "cache", "overtaken"),
            ("dial", "dht", "opened"),
        }
        await stage.part(stage.dialled)
        assert rungs(await stage.connect(stage.dialled)) == {"cache": "won"}  # It has learnt.

    play(script)


def test_somebody_else_at_the_address_is_found_out_and_the_look_up_begins_at_once() -> None:
    async def script(stage: Stage) -> None:
        hint = await stage.hint(stage.dialled)
        wrong = replace(hint, direct=(await stage.hint(stage.other)).direct, homes=())
        places = stage.one.node.inside.outside.whereabouts
        places.note(stage.dialled.key, wrong, "host")
        outcome = await stage.connect(stage.dialled)
        assert rungs(outcome)["dht"] == "won"
        (failed,) = [way for way in outcome.ways if way.outcome == "failed"]
        assert failed.rung == "cache" and "fingerprint-mismatch" in failed.detail
        began = next(rung.started for rung in outcome.rungs if rung.rung == "dht")
        assert began == pytest.approx(failed.seconds, abs=0.001) and began < HeadStarts().look_up
        kept = await places.find(stage.dialled.key)
        assert kept is not None and kept.direct == hint.direct

    play(script)


def test_sources_race_an_address_is_dialled_once_and_the_slow_are_given_up() -> None:
    async def script(stage: Stage) -> None:
        hint = await stage.hint(stage.dialled)
        lan, gossip = Scripted("lan", hint, after=0.001), Scripted("gossip", hint, after=0.3)
        stage.one.node.inside.outside.sources.extend((lan, gossip))
        outcome = await stage.connect(stage.dialled)
        assert rungs(outcome) == {"cache": "nothing", "lan": "won", "gossip": "overtaken"}
        assert (lan.asked, gossip.cancelled) == (1, 1)
        await stage.part(stage.dialled)
        gossip.after = 0.0
        outcome = await stage.connect(stage.dialled)  # Now three name the same address.
        assert len(outcome.ways) == 1 and rungs(outcome) == {"cache": "won", "lan": "found", "gossip": "found"}

    play(script)


def test_gossip_that_knows_home_nodes_needs_no_look_up() -> None:
    async def script(stage: Stage) -> None:
        hint = await stage.hint(stage.called)
        stage.one.node.inside.outside.sources.append(Scripted("gossip", hint))
        outcome = await stage.connect(stage.called)
        assert rungs(outcome)["gossip"] == "won" and outcome.phases["total"] < 0.2
        assert {rung.rung: rung for rung in stage.ladder.status()}["gossip"].won == 1

    play(script)


def test_a_source_that_fails_or_hangs_harms_nobody() -> None:
    async def script(stage: Stage) -> None:
        cold = (await stage.connect(stage.dialled)).phases["total"]
        await stage.part(stage.dialled)
        stage.one.node.inside.outside.whereabouts.forget(stage.dialled.key)
        broken, hanging = Scripted("lan"), Scripted("gossip", after=3600.0)
        broken.fault = RuntimeError("no such interface")
        stage.one.node.inside.outside.sources.extend((broken, hanging))
        outcome = await stage.connect(stage.dialled)
        assert rungs(outcome)["dht"] == "won" and rungs(outcome)["lan"] == "nothing" and hanging.cancelled == 1
        assert outcome.phases["total"] <= cold + 0.0021

    play(script)


def test_a_source_that_comes_late_still_counts_when_all_others_have_failed() -> None:
    async def script(stage: Stage) -> None:
        hint = await stage.hint(stage.dialled)
        late = Scripted("lan", hint, after=1.0)
        stage.one.node.inside.outside.sources.append(late)
        outcome = await stage.connect(NOBODY)
        # What it says is tried, though it leads to somebody else.
        assert not outcome.connected and rungs(outcome)["lan"] == "found" and outcome.phases["total"] > 1.0
        assert [way.rung for way in outcome.ways if way.way == "dial"] == ["lan"]

    play(script)


def test_a_peer_that_nobody_knows_is_not_found_after_the_last_rung() -> None:
    async def script(stage: Stage) -> None:
        tried = []

        async def rejoin() -> str:
            tried.append(stage.world.elapsed)
            return "the lists led to nobody new"

        stage.ladder.rejoin = rejoin
        outcome = await stage.connect(NOBODY)
        assert outcome.reason is Reason.NOT_FOUND and len(tried) == 1
        assert rungs(outcome) == {"cache": "nothing", "dht": "failed", "bootstrap": "failed"}
        bootstrap = next(rung for rung in outcome.rungs if rung.rung == "bootstrap")
        dht = next(rung for rung in outcome.rungs if rung.rung == "dht")
        # What has failed is not waited for.
        assert bootstrap.started == pytest.approx(dht.started + dht.seconds, abs=0.001)
        assert "nobody new" in bootstrap.detail
        status = {rung.rung: rung for rung in stage.ladder.status()}
        assert status["dht"].failed == status["bootstrap"].failed == 1

    play(script)


def test_the_lists_are_asked_again_when_nobody_answers() -> None:
    async def script(stage: Stage) -> None:
        began = stage.world.elapsed
        asked = []

        async def rejoin() -> str:
            asked.append(stage.world.elapsed - began)
            stage.world.heal()  # What lists lead to is not the ladder's affair.
            return ""

        stage.ladder.rejoin = rejoin
        everybody = [peer for peer in stage.world.peers if peer is not stage.one.peer]
        stage.world.partition([stage.one.peer], everybody)
        outcome = await stage.connect(stage.dialled)
        # The look-up's time-outs end before the head start does: what has failed is not waited for.
        assert len(asked) == 1 and 0.1 < asked[0] <= HeadStarts().bootstrap + 0.001
        assert rungs(outcome) == {"cache": "nothing", "dht": "failed", "bootstrap": "won"}
        assert outcome.phases["total"] < 1.0

    play(script)


def test_no_attempt_is_left_behind_by_a_node_that_stops() -> None:
    async def script(stage: Stage) -> None:
        stage.one.node.inside.outside.sources.append(Scripted("gossip", after=1.0))
        connecting = asyncio.create_task(stage.one.node.connect(NOBODY))
        await asyncio.sleep(0.01)
        await stage.one.stop()
        assert (await connecting).reason is Reason.STOPPING

    play(script)


def test_looking_in_vain_again_and_again_asks_the_lists_once_a_minute() -> None:
    async def script(stage: Stage) -> None:
        joining = stage.one.node.inside.joining
        known = "every first contact is known, and answers"
        said = [await joining.anew() for _ in range(3)]
        assert said[0] == known and said[1].startswith("the lists were asked")
        await stage.world.run(seconds=61)
        assert await joining.anew() == known

    play(script)
