"""The race of ways to a peer: who wins, who is told, and what remains."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dht.identity import IdentityKey
from node.adapters.memory_link import MemoryLinkPair
from node.node_results import Reason
from node.node_ways import AttemptFailed, Race, Trace
from node.ports import Link, LinkEnd, LinkError, LinkFault, LinkPath
from simulations import run

ALICE, BOB = (IdentityKey.from_seed(bytes([number]) * 32).public for number in (1, 2))
RELAYED = LinkPath("relay", None, "relay", None, (BOB,))


def link(path: LinkPath | None = None) -> Link:
    pair = MemoryLinkPair(ALICE, BOB)
    pair.near.stats.path = path or LinkPath()
    return pair.near


async def after(seconds: float, result: Any) -> Any:
    await asyncio.sleep(seconds)
    if isinstance(result, Exception):
        raise result
    return result


def failed(detail: str) -> LinkError:
    return LinkError(LinkEnd(LinkFault.ICE_FAILED, detail))


def play(script: Any) -> Any:
    return run(script)


def test_the_first_link_wins_and_the_others_are_given_up() -> None:
    async def script() -> None:
        race, late = Race(), asyncio.Event()

        async def slow() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                late.set()

        won = link()
        race.add("ice", after(1, won))
        race.add("dial", slow())
        assert await race.first() is won
        assert race.direct
        assert not race.stop()
        await late.wait()

    play(script)


def test_a_relayed_link_leaves_the_direct_ways_running() -> None:
    async def script() -> None:
        race, direct = Race(), link()
        race.add("relay", after(1, link(RELAYED)))
        race.add("ice", after(3, direct))
        assert (await race.first()).stats.path.via
        assert not race.direct
        (ice,) = race.stop(but=("ice",))
        assert await ice is direct

    play(script)


def test_a_head_start_ends_when_all_before_have_failed() -> None:
    async def script() -> None:
        loop = asyncio.get_running_loop()
        started, race = loop.time(), Race()
        race.add("ice", after(0.2, failed("no pair")))
        race.add("relay", after(0, link(RELAYED)), after=5.0)
        await race.first()
        assert loop.time() - started == pytest.approx(0.2)
        race = Race()
        race.add("ice", after(9, failed("no pair")))
        race.add("relay", after(0, link(RELAYED)), after=1.0)
        started = loop.time()
        await race.first()
        assert loop.time() - started == pytest.approx(1.0)
        await race.stopped()

    play(script)


def test_a_way_may_begin_others() -> None:
    async def script() -> None:
        race = Race()

        async def call() -> None:
            await asyncio.sleep(0.1)
            race.add("ice", after(0.1, link()))

        race.add("call", call())
        assert race.direct is False
        await race.first()

    play(script)


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({"ice": failed("no pair")}, "ice-failed: no pair"),
        ({"dial": failed("silent"), "call": AttemptFailed(Reason.UNREACHED, "asleep")}, "asleep"),
        ({"ice": failed("no pair"), "relay": failed("full")}, "ice: link ice-failed: no pair; relay: link ice-failed"),
        ({"ice": failed("no pair"), "relay": RuntimeError("ours")}, "ours"),
    ],
)
def test_the_most_telling_failure_is_told(failures: dict[str, Exception], said: str) -> None:
    async def script() -> None:
        race = Race()
        for pause, (way, error) in enumerate(failures.items()):
            race.add(way, after(pause, error))
        with pytest.raises((LinkError, AttemptFailed, RuntimeError)) as caught:
            await race.first()
        assert said in str(caught.value)

    play(script)


def test_a_race_that_was_given_up_says_so_and_leaves_no_task() -> None:
    async def script() -> None:
        race = Race()
        race.add("ice", after(9, link()))
        race.add("relay", after(9, link()), after=5.0)
        await asyncio.sleep(1)
        await race.stopped()
        with pytest.raises(AttemptFailed):
            await race.first()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    play(script)


def test_the_trace_tells_each_way_with_its_times() -> None:
    async def script() -> None:
        trace = Trace(asyncio.get_running_loop().time)
        trace.skipped("dial", "no address")
        await trace.timed(asyncio.sleep(0.5), "lookup")
        with pytest.raises(LinkError):
            await trace.way("ice", after(1, failed("no pair")))
        overtaken = asyncio.ensure_future(trace.way("websocket", after(9, None)))
        await trace.way("relay", after(0.25, None))
        overtaken.cancel()
        await asyncio.gather(overtaken, return_exceptions=True)
        told = [(way.way, round(way.started, 2), round(way.seconds, 2), way.outcome) for way in trace.ways]
        assert told == [
            ("dial", 0.0, 0.0, "skipped"),
            ("ice", 0.5, 1.0, "failed"),
            ("relay", 1.5, 0.25, "opened"),
            ("websocket", 1.5, 0.25, "overtaken"),
        ]
        assert trace.phases == {"lookup": pytest.approx(0.5)}
        assert trace.ways[1].detail == "ice-failed: no pair"

    play(script)
