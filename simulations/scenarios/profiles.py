"""What each profile of settings costs a phone, and what it gives: bytes, wake-ups, and the time to find and be found.

    rookery simulate run profiles --seeds 2

Complete nodes of the device class `phone`, always on, behind carriers' routers, all of one kind: `nat=symmetric` shows
what it costs to be reached by relays only. They are metered while nobody
wants anything of them; then friends call them, and they call friends. Publications that come less than once in the
metered time are counted into a day by themselves.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, median

from pydantic import Field

from node.config_profiles import PROFILES as WORDS
from simulations.awake import Awake, Sleeper
from simulations.profiles import PROFILES
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.shell import FullNode, FullNodes
from simulations.traffic import TAIL_WATTS
from simulations.world import World

DAY = 86_400.0


class Profiles(Parameters):
    """Bytes a day, wake-ups an hour and times to find of a phone under each profile."""

    servers: int = Field(200, ge=20, description="servers that make up the network")
    each: int = Field(2, ge=1, description="phones under each profile")
    friends: int = Field(2, ge=1, description="nodes at home that call the phones and are called")
    minutes: float = Field(120.0, gt=0, description="time that is metered; figures of a day are extrapolated from it")
    rounds: int = Field(3, ge=1, description="calls in each direction, five minutes apart")


@scenario("profiles", "What each profile costs a phone", Profiles, nat="cgnat", latency="cities")
async def profiles(world: World, p: Profiles) -> None:
    """Settle, meter, then call."""
    world.planned = 600 + p.minutes * 60 + p.rounds * 300 * (1 + len(WORDS))
    world.add(p.servers)
    await world.settle()
    phone = replace(PROFILES["phone"], sessions="", downtime="")
    shells = {word: FullNodes(world, watch_interfaces=True, profile=word) for word in WORDS}
    friends = FullNodes(world).add(p.friends, "home")
    phones = {word: made.add(p.each, phone, group=word) for word, made in shells.items()}
    await world.settle()
    await world.run(minutes=10)
    meter = Awake(world.network, [one.peer.address[0] for many in phones.values() for one in many])
    world.metrics.mark("what is metered from here on")
    began = world.queue.now
    await world.run(minutes=p.minutes)
    now = world.queue.now
    span = now - began
    spent = {word: [_figures(meter.tallies[one.peer.address[0]], now) for one in many] for word, many in phones.items()}
    for word, figures in spent.items():
        _tell(world, word, figures, span)
    for word, many in phones.items():
        with world.metrics.during(word):
            await _call(world, word, many, friends, p.rounds)
    saving, usual = (f"{word}: wake-ups an hour" for word in ("battery-saver", "none"))
    world.metrics.expect(saving, at_most=105)
    world.metrics.expect(usual, at_most=3000)
    # Renewals every 84 s and looks at the machine's addresses every 60 s fall together now and then only.
    world.metrics.expect("battery-saver: processor awake", at_most=0.025)
    world.metrics.expect("battery-saver: a day", at_most=6e6)
    world.metrics.expect("battery-saver: calls that reach it", at_least=0.9)
    for made in shells.values():
        made.close()


def _figures(tally: Sleeper, now: float) -> tuple[float, ...]:
    tail = tally.tail_by(now)
    joules = tally.joules + (tail - tally.tail) * TAIL_WATTS
    return tally.all_bytes, tally.all_datagrams, tally.wakeups, tally.awake_by(now), tally.ramps, tail, joules


def _tell(world: World, word: str, figures: list[tuple[float, ...]], span: float) -> None:
    all_bytes, datagrams, wakeups, awake, ramps, tail, joules = (fmean(column) for column in zip(*figures, strict=True))
    world.metrics.value(f"{word}: a day", all_bytes * DAY / span, "B")
    world.metrics.value(f"{word}: datagrams a day", datagrams * DAY / span)
    world.metrics.value(f"{word}: wake-ups an hour", wakeups * 3600 / span)
    world.metrics.value(f"{word}: processor awake", awake / span, "of the time")
    world.metrics.value(f"{word}: of these for its radio", ramps * 3600 / span)
    world.metrics.value(f"{word}: radio awake", tail / span, "of the time")
    world.metrics.value(f"{word}: radio", joules / span, "W")


async def _call(world: World, word: str, phones: list[FullNode], friends: list[FullNode], rounds: int) -> None:
    """Links from friends and to friends; the first finds nothing remembered, later ones may."""
    first: list[float] = []
    again: list[float] = []
    called: list[float] = []
    reached: list[bool] = []
    for number in range(rounds):
        for phone in phones:
            for friend in friends:
                outcome = await phone.node.connect(friend.key)
                if outcome.connected:
                    (again if number else first).append(outcome.phases.get("total", 0.0))
                    await outcome.link.close()
                await world.run(seconds=5)
        await world.run(minutes=5)
        for phone in phones:
            outcome = await friends[number % len(friends)].node.connect(phone.key)
            reached.append(outcome.connected)
            if outcome.connected:
                called.append(outcome.phases.get("total", 0.0))
                await outcome.link.close()
    for name, times in (("first link", first), ("linked again", again), ("called", called)):
        if times:
            world.metrics.value(f"{word}: {name}, median", median(times), "s")
    world.metrics.value(f"{word}: calls that reach it", fmean(reached))
