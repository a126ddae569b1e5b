"""Links that get another path: when the old one dies, when a direct one may open, when the machine moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dht.identity import IdentityKey, PublicKey
from node.adapters.memory_link import MemoryChannelPair, MemoryLinkPair
from node.node_events import EventLog, LinkOpened
from node.node_links import Links
from node.node_paths import FIRST_PAUSE, SECOND_REDIAL, UPGRADES, Paths
from node.node_results import ConnectOutcome, Reason
from node.ports import LinkPath, Opened
from simulations import run

ALICE, BOB, RELAY = (IdentityKey.from_seed(bytes([number]) * 32).public for number in (1, 2, 3))


class Engine:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.moved = 0

    def network_changed(self, now: float) -> None:
        self.moved += 1


class Driver:
    def __init__(self) -> None:
        self.engine = Engine()

    def command(self, work: Any) -> None:
        work(self.engine, 0.0)


class Place:
    """One end of links, whose attempts are counted and end as `outcomes` say."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.events = EventLog()
        clock = self.loop.time
        self.links = Links(self.events, clock, clock, bytes, own=ALICE)
        self.far = Links(EventLog(), clock, clock, bytes, own=BOB)
        self.driver = Driver()
        self.dials: list[tuple[float, bool]] = []
        self.outcomes: list[bool] = []
        self.paths = Paths(self.links, self, self.driver, self.events)  # type: ignore[arg-type]
        self.started = self.loop.time()

    def dial(self, peer: PublicKey, *, relayed: bool = True) -> asyncio.Task[ConnectOutcome]:
        self.dials.append((round(self.loop.time() - self.started, 2), relayed))

        async def attempt() -> ConnectOutcome:
            if self.outcomes and self.outcomes.pop(0):
                await self.open(LinkPath("host", ("10.0.0.1", 1), "host", ("10.0.0.2", 1)))
                return ConnectOutcome(True, Reason.NONE)
            return ConnectOutcome(False, Reason.LINK_FAILED)

        return self.loop.create_task(attempt())

    async def open(self, path: LinkPath, *, initiated: bool = True) -> MemoryChannelPair:
        pair = MemoryChannelPair(delay=0.01)
        near = self.links.join(BOB, Opened(pair.near, path), initiated=initiated)
        far = self.far.join(ALICE, Opened(pair.far, path), initiated=not initiated)
        await asyncio.gather(near, far)
        await asyncio.sleep(0.1)
        return pair


def play(script: Any) -> None:
    async def main() -> None:
        place = Place()
        running = asyncio.create_task(place.paths.run())
        await asyncio.sleep(0)
        await script(place)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await place.links.close()
        await place.far.close()

    run(main)


HOST = LinkPath("host", ("10.0.0.1", 1), "host", ("10.0.0.2", 1))
CIRCUIT = LinkPath("relay", None, "relay", ("10.0.0.9", 1), (RELAY,))


@pytest.mark.parametrize(("initiated", "first"), [(True, 0.0), (False, SECOND_REDIAL)])
def test_a_link_whose_path_died_gets_another_with_growing_pauses(initiated: bool, first: float) -> None:
    async def script(place: Place) -> None:
        pair = await place.open(HOST, initiated=initiated)
        link = place.links.get(BOB)
        place.outcomes = [False, False, True]
        place.started = place.loop.time()
        pair.break_path()
        await asyncio.sleep(10)
        expected = [first, first + FIRST_PAUSE, first + FIRST_PAUSE * 3]
        assert [at for at, _ in place.dials] == [pytest.approx(at, abs=0.2) for at in expected]
        assert all(relayed for _, relayed in place.dials)
        assert place.links.get(BOB) is link and not place.links.suspended(BOB)

    play(script)


def test_a_relayed_link_is_tried_directly_ever_more_seldom() -> None:
    async def script(place: Place) -> None:
        await place.open(CIRCUIT)
        await asyncio.sleep(sum(UPGRADES) + 2 * UPGRADES[-1] + 5)
        gaps = [
            later[0] - earlier[0] for earlier, later in zip([(0.0, False), *place.dials], place.dials, strict=False)
        ]
        assert gaps == [pytest.approx(gap, abs=0.2) for gap in (*UPGRADES, UPGRADES[-1], UPGRADES[-1])]
        assert not any(relayed for _, relayed in place.dials)
        place.outcomes = [True]
        await asyncio.sleep(UPGRADES[-1] + 5)
        link = place.links.get(BOB)
        assert link is not None and link.stats.path.direct
        tries = len(place.dials)
        await asyncio.sleep(3 * UPGRADES[-1])
        assert len(place.dials) == tries

    play(script)


def test_the_side_that_was_called_leaves_upgrades_to_the_other() -> None:
    async def script(place: Place) -> None:
        await place.open(CIRCUIT, initiated=False)
        await asyncio.sleep(1000)
        assert not place.dials

    play(script)


def test_a_machine_that_moved_tells_the_dht_and_suspects_paths_from_addresses_it_has_no_more() -> None:
    async def script(place: Place) -> None:
        await place.open(HOST)
        place.paths.network_changed({"10.0.0.1"})
        await asyncio.sleep(1)
        assert (place.driver.engine.moved, place.dials) == (1, [])
        place.outcomes = [True]
        place.paths.network_changed({"192.168.7.7"})
        await asyncio.sleep(1)
        assert place.driver.engine.moved == 2
        assert len(place.dials) == 1

    play(script)


def test_a_machine_that_moved_tries_relayed_links_directly_from_the_beginning() -> None:
    async def script(place: Place) -> None:
        await place.open(CIRCUIT)
        await asyncio.sleep(UPGRADES[0] + 1)
        place.started = place.loop.time()
        place.dials.clear()
        place.paths.network_changed({"192.168.7.7"})
        await asyncio.sleep(UPGRADES[0] + 1)
        ((tried, relayed),) = place.dials
        assert tried == pytest.approx(UPGRADES[0], abs=0.2) and not relayed

    play(script)


def test_nothing_is_left_running_when_it_ends() -> None:
    async def script(place: Place) -> None:
        pair = await place.open(CIRCUIT)
        pair.break_path()
        await asyncio.sleep(0.1)

    play(script)


def test_links_that_others_added_are_left_alone() -> None:
    async def script(place: Place) -> None:
        pair = MemoryLinkPair(ALICE, BOB)
        place.links.add(pair.near)
        place.events.add(LinkOpened(0.0, BOB, True, {}))
        await asyncio.sleep(30)
        assert not place.dials
        await pair.close()

    play(script)
