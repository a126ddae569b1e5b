"""What being part of the network costs a device: bytes, datagrams, wake-ups, and what a phone's radio spends.

    rookery simulate run devices reads=0

Devices are on all the time here, so the figures are for a day online; who is on for an hour pays a 24th.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from simulations.peers import Peer
from simulations.profiles import PROFILES
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.traffic import TAIL_SECONDS, Tally, metered
from simulations.world import World

DAY = 86_400.0


class Devices(Parameters):
    """Bytes and datagrams a day, wake-ups an hour and radio energy of each class of device."""

    servers: int = Field(40, ge=20, description="servers that make up the network")
    each: int = Field(6, ge=1, description="devices of each other class")
    minutes: float = Field(60.0, gt=0, description="time that is metered")
    reads: int = Field(100, ge=0, description="records read in that time, by any device")


@scenario("devices", "Battery and bandwidth of a device", Devices, nat="published", bandwidth=True)
async def devices(world: World, p: Devices) -> None:
    """Let everybody settle down, then meter."""
    world.planned = 20 + 300 + p.minutes * 60
    tallies: dict[int, Tally] = {}
    classes: dict[str, list[Peer]] = {}
    for name, profile in PROFILES.items():
        always_on = replace(profile, sessions="", downtime="")
        count = p.servers if name == "server" else p.each
        classes[name] = world.add(count, always_on, group=name, node=metered(world, tallies))
    await world.settle()
    await world.run(minutes=5)
    records = await world.puts(20)
    before = {index: _figures(tally, world.queue.now) for index, tally in tallies.items()}
    world.metrics.mark("what is metered from here on")
    began = world.queue.now
    if p.reads:
        await world.gets(p.reads, records, per_second=p.reads / (p.minutes * 60))
    await world.run(seconds=max(0.0, began + p.minutes * 60 - world.queue.now))

    span = world.queue.now - began
    for name, peers in classes.items():
        spent = [
            [
                new - old
                for new, old in zip(_figures(tallies[peer.index], world.queue.now), before[peer.index], strict=True)
            ]
            for peer in peers
        ]
        all_bytes, datagrams, wakeups, tail, joules = (sum(column) / len(peers) for column in zip(*spent, strict=True))
        world.metrics.value(f"{name}: a day", all_bytes * DAY / span, "B")
        world.metrics.value(f"{name}: datagrams a day", datagrams * DAY / span)
        world.metrics.value(f"{name}: wake-ups an hour", wakeups * 3600 / span)
        world.metrics.value(f"{name}: radio awake", tail / span, f"of the time, tail {TAIL_SECONDS:g} s")
        world.metrics.value(f"{name}: radio", joules / span, "W")

    if p.reads:
        world.metrics.expect("get.success", at_least=0.99)
    for name in classes:
        world.metrics.expect(f"{name}: a day", at_most=50e6)


def _figures(tally: Tally, now: float) -> tuple[float, ...]:
    return (tally.all_bytes, tally.all_datagrams, tally.wakeups, tally.tail_by(now), tally.joules)
