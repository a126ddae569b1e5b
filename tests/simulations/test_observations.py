"""What is seen of a whole network is the truth about it, and looking changes nothing."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from simulations.observations import copies, dead_contacts, living_contacts, recall, traffic, until
from simulations.world import World

T = TypeVar("T")


def in_small_world(script: Callable[[World], Awaitable[T]]) -> tuple[T, World]:
    """Play a script in a world of fifteen nodes that all know one another."""
    world = World(seed=5, latency="constant:20ms")

    async def play() -> T:
        world.add(12)
        await world.settle()
        # A full hour: by then every bucket has been refreshed.
        await world.run(minutes=65)
        return await script(world)

    return world.play(play()), world


def test_contacts_die_with_those_they_lead_to() -> None:
    async def script(world: World) -> None:
        one = world.living[4]
        assert dead_contacts(world) == 0
        assert living_contacts(world, one) == 14
        gone = world.kill(peers=[peer for peer in world.living if peer is not one][:4])
        assert living_contacts(world, one) == 10
        assert dead_contacts(world) == 4 / 14
        assert living_contacts(world, gone[0]) == 0
        # Back at the old address and under the old key, they are who they were.
        world.restart(gone)
        assert dead_contacts(world) == 0
        # Under new keys they are others.
        world.restart(world.kill(peers=gone, keep_state=False))
        assert living_contacts(world, one) == 10

    in_small_world(script)


def test_copies_are_counted_among_the_living() -> None:
    async def script(world: World) -> None:
        put = await world.put()
        await world.run(seconds=5)
        other = (await world.put()).record
        (held,) = copies(world, [put.record])
        assert held >= 14
        world.kill(peers=[peer for peer in world.living if peer is not put.by][:5])
        assert copies(world, [put.record])[0] == held - 5
        assert len(copies(world, [put.record, other])) == 2

    in_small_world(script)


def test_recall_is_measured_against_the_truth() -> None:
    async def script(world: World) -> list[float]:
        by, target = world.living[4], bytes(20)
        done = await world.find_node(target, by=by)
        assert done is not None
        half, nothing = replace(done, closest=done.closest[::2]), replace(done, closest=())
        return [recall(world, target, one, by) for one in (done, half, nothing)]

    # Of the seven nearest, every second one of all is four.
    assert in_small_world(script)[0] == [1.0, 4 / 7, 0.0]


def test_until_says_how_long_it_took() -> None:
    async def script(world: World) -> None:
        began = world.elapsed
        assert await until(world, lambda: True, within=10) == 0
        assert await until(world, lambda: world.elapsed - began >= 3, within=10) == 3
        assert math.isnan(await until(world, lambda: False, within=2, every=0.5))
        assert world.elapsed - began == 5

    in_small_world(script)


def test_looking_changes_nothing() -> None:
    async def blind(world: World) -> int:
        await world.run(minutes=20)
        return traffic(world)

    async def looking(world: World) -> int:
        for _ in range(20):
            dead_contacts(world)
            copies(world, [])
            living_contacts(world, world.living[0])
            await world.run(minutes=1)
        return traffic(world)

    (sent, unseen), (same, seen) = in_small_world(blind), in_small_world(looking)
    assert sent == same > 0
    assert unseen.trace.hexdigest() == seen.trace.hexdigest()
