"""Published figures asked of the real code: the protocol-true engine in worlds made for one figure each.

Decides how a paper's experiment is set up with real nodes, and where it cannot be the same. Refuses to judge: a row
carries what was published, found and allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, pstdev
from typing import Any, Final

from dht.config import DhtConfig
from dht.events import GetDone
from simulations.agreement_published import BAUMGART_MIES, SHARES, Row
from simulations.attackers import Plot, WrongNeighbours, attacker
from simulations.world import World, run

SEED: Final = 3
LATENCY: Final = "lognormal:50ms,0.4"

SMALL, LARGE = 200, 2000
"""Nodes between which hops are measured: one decade, and all that a page can wait for."""

LOOKUPS: Final = 600
"""Look-ups of a mean of hops: its 95 % interval is ± 0.05."""

HOSTILE_NODES: Final = 1000
"""Nodes of the attackers' experiment; the paper has 10,000, which take ten times as long to join."""

NOTE: Final = f"{HOSTILE_NODES:,} nodes; a path goes on past a liar, the paper's is lost there"
"""Why real nodes fare better than the paper's."""

TRIALS: Final = 150
"""Look-ups of each of its cells: a share is known to ± 0.08 at worst."""


def made(nodes: int, config: DhtConfig) -> World:
    """A quiet world of servers with boxes stood in for."""
    world = World(seed=SEED, latency=LATENCY, seal="cheap", sample_every=3600.0, config=config)
    world.add(nodes - len(world.bootstraps))
    return world


async def settled(world: World) -> World:
    """Let everybody join and fill its table."""
    await world.settle()
    await world.run(minutes=2)
    return world


def hops_a_decade() -> list[Row]:
    """k = 20, α = 1."""
    from simulations.model import ModelWorld

    async def mean(nodes: int) -> tuple[float, float]:
        world = await settled(made(nodes, DhtConfig(alpha=1)))
        found = [done.stats.hops for done in await world.find_nodes(LOOKUPS, per_second=20) if done is not None]
        return fmean(found), pstdev(found) / math.sqrt(len(found))

    (few, a), (many, b) = run(lambda: mean(SMALL)), run(lambda: mean(LARGE))
    filled = [ModelWorld(n, seed=SEED, alpha=1).lookups(20_000).hops.mean() for n in (SMALL, LARGE)]
    note = (
        f"{SMALL} to {LARGE} nodes: {few:.2f} to {many:.2f} hops; the model with buckets filled as the real ones: "
        f"{filled[0]:.2f} to {filled[1]:.2f}"
    )
    spread = 1.96 * math.hypot(a, b)
    return [Row("hops a decade", "k = 20, α = 1", 0.5845, many - few, 0.15 * 0.5845, "real code", note, spread)]


def disjoint_paths() -> list[Row]:
    """Baumgart and Mies: attackers who name one another, k = 16, α = 1; all of them join as honest nodes."""

    async def main() -> list[Row]:
        world = made(round(HOSTILE_NODES * (1 - SHARES[-1])), DhtConfig(k=16, alpha=1))
        plots = []
        for before, share in zip((0.0, *SHARES[:-1]), SHARES, strict=True):
            plots.append(Plot())
            world.add(round(HOSTILE_NODES * (share - before)), group="hostile", node=_liar(world, plots[-1]))
        await settled(world)
        honest = [peer for peer in world.living if peer.group != "hostile"]
        rng = world.streams.stream("agreement/goals")
        rows = []
        everybody: list[Any] = []
        for at, share in enumerate(SHARES):
            everybody += plots[at].named
            for plot in plots[: at + 1]:
                plot.attacking = True
                plot.named = list(everybody)
            for paths, published in BAUMGART_MIES.items():
                reached = 0
                for _ in range(TRIALS):
                    goal, by = rng.sample(honest, 2)
                    place = goal.engine.own_id.to_bytes(20, "big")
                    done = await world.ask(by, _reading(place, paths))
                    assert isinstance(done, GetDone)
                    reached += any(contact.key == goal.engine.own_key for contact in done.closest)
                found = reached / TRIALS
                spread = 1.96 * math.sqrt(max(found * (1 - found), 1 / TRIALS) / TRIALS)
                name = f"d = {paths}, {share:.0%} hostile"
                rows.append(Row("disjoint paths", name, published[at], found, 0.05, "real code", NOTE, spread))
        return rows

    return run(main)


def size_estimate() -> list[Row]:
    """The network's size as nodes guess it after 16 look-ups: ± 14 % (pubky/mainline, docs/dht_size_estimate.md)."""

    async def main() -> list[Row]:
        world = await settled(made(500, DhtConfig()))
        askers = world.living[:40]
        for peer in askers:
            peer.engine.size.samples = 0
        rng = world.streams.stream("agreement/size")
        for peer in askers:
            for _ in range(16):
                await world.find_node(rng.randbytes(20), by=peer)
        ratios = [peer.engine.size.nodes / len(world.living) for peer in askers]
        note = f"mean {fmean(ratios):.3f} of the truth, {len(askers)} nodes that begin anew"
        name = "deviation after 16 look-ups"
        return [Row("network size", name, 0.14, pstdev(ratios), 0.0, "real code", note, bound="at most")]

    return run(main)


def _liar(world: World, plot: Plot) -> Callable[[Any], Any]:
    return attacker(world, plot, WrongNeighbours)


def _reading(place: bytes, paths: int) -> Callable[[Any, float], int]:
    return lambda engine, now: int(engine.get(place, now, quorum=1, paths=paths))


TABLES: Final[dict[str, Callable[[], list[Row]]]] = {
    "hops a decade": hops_a_decade,
    "disjoint paths": disjoint_paths,
    "network size": size_estimate,
}
"""Every table that real nodes answer."""
