"""A node's place follows from an address that others tell it after it has joined: it must be known there, too."""

from heapq import nsmallest

import pytest

from dht.config import DhtConfig
from simulations import World, run


@pytest.mark.parametrize("profile", ["server", "home"])
def test_the_nodes_nearest_to_a_server_know_it(profile):
    """A home device joins as a client, whom nobody takes into a table, and serves once its port was reached."""

    async def main():
        world = World(seed=1, latency="lognormal:50ms,0.4", seal="cheap")
        world.add(100, profile)
        await world.settle()
        await world.run(seconds=60)
        return world

    world = run(main)
    k = DhtConfig().k
    tables = {peer.index: {contact.long_id for contact in peer.engine.contacts()} for peer in world.living}
    for peer in world.living:
        own_id = peer.engine.own_id
        near = nsmallest(k + 1, world.living, key=lambda other: other.engine.own_id ^ own_id)[1:]
        knowing = sum(own_id in tables[other.index] for other in near)
        assert knowing >= k * 0.8, f"{peer} is known to {knowing} of the {k} nearest to it"
