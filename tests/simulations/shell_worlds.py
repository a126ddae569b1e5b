"""Worlds with complete nodes in them, for tests."""

from simulations import World, run
from simulations.shell import FullNodes

LATENCY = "lognormal:30ms,0.3"


def play(script, *, count=6, profile="home", trace=None, **settings):
    """Run `script(world, shells, nodes)` among twenty bare servers, when all have joined and published."""

    async def main():
        world = World(
            **{"seed": 5, "latency": LATENCY, "nat": "port-restricted", "seal": "cheap", **settings}, trace=trace
        )
        world.add(17)
        shells = FullNodes(world)
        nodes = shells.add(count, profile=profile)
        await world.settle()
        await world.run(seconds=30)
        try:
            return await script(world, shells, nodes)
        finally:
            shells.close()

    return run(main)


async def echo(peer, stream):
    """Give every byte back."""
    while piece := await stream.read(65536):
        await stream.write(piece)
    await stream.close()
