"""Tables a few minutes after everybody joined: what every figure of a look-up rests on."""

from statistics import fmean

from dht.config import DhtConfig
from simulations.observations import engines
from simulations.world import World, run

CONFIG = DhtConfig(k=8)
"""Narrow buckets, so that a small network has many of them."""


def nearest_known(engine, others):
    nearest = sorted(others, key=lambda one: one ^ engine.own_id)[: CONFIG.k]
    known = {contact.long_id for contact in engine.contacts()}
    return sum(one in known for one in nearest) / len(nearest)


def fill(engine, others):
    have = could = 0
    for bucket in engine.table.buckets:
        have += len(bucket)
        could += min(CONFIG.k, sum(bucket.low <= one <= bucket.range[1] for one in others))
    return have / could


def test_a_node_knows_its_neighbourhood_and_fills_its_buckets_though_its_id_has_moved():
    # Every one of these joins under the id of 127.0.0.1, and moves once others have told it its address (BEP 42).
    async def main():
        world = World(seed=1, latency="lognormal:20ms,0.4", seal="cheap", config=CONFIG)
        world.add(120)
        await world.settle()
        await world.run(minutes=2)
        found = []
        for engine in engines(world.living):
            others = [one.own_id for one in engines(world.living) if one is not engine]
            found.append((nearest_known(engine, others), fill(engine, others)))
        return found

    near, full = zip(*run(main), strict=True)
    assert min(near) >= 0.75
    assert fmean(near) > 0.97
    assert fmean(full) > 0.97
