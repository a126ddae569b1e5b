"""A crawl: one node asks every node for its neighbours until it knows of no other.

    rookery simulate run crawl --nodes 10000

The crawl itself is the node's own (`dht.crawl`), which `rookery crawl` has from the command line.
"""

from __future__ import annotations

from pydantic import Field

from dht.engine import DhtEngine
from dht.events import CrawlDone, Mode
from simulations.observations import engines
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World


class CrawlNetwork(Parameters):
    """How much of a network one node can map, how fast, and with how many requests, when some of it has just died."""

    nodes: int = Field(400, ge=20, description="size of the network")
    dead: float = Field(0.1, ge=0, lt=1, description="share that dies right before, still in everybody's tables")
    questions: int = Field(4, ge=1, le=160, description="requests to each node that answers")
    rate: int = Field(1000, ge=1, description="requests a second, at most")
    window: int = Field(400, ge=1, le=500, description="requests in flight")


@scenario("crawl", "One node maps the network", CrawlNetwork)
async def crawl(world: World, p: CrawlNetwork) -> None:
    """Let everybody join, kill some, and crawl."""
    world.planned = p.nodes / 50 + 75 + p.nodes / 100
    world.add(p.nodes, group="mapped")
    await world.settle()
    await world.run(minutes=1)
    crawler = world.asker()
    if p.dead:
        victims = [peer for peer in world.group("mapped") if peer is not crawler]
        world.kill(peers=world.streams.stream("crawl/dead").sample(victims, round(p.dead * len(victims))))

    started = world.queue.now

    def begin(engine: DhtEngine, now: float) -> int:
        return engine.crawl(now, rate=p.rate, questions=p.questions, window=p.window)

    done = await world.ask(crawler, begin)
    assert isinstance(done, CrawlDone)
    took = world.queue.now - started
    living = {engine.own_key for engine in engines(world.living) if engine.mode is Mode.SERVER}
    living.discard(crawler.engine.own_key)
    world.metrics.operation("crawl", started=started - world.started, took=took, ok=True, requests=done.requests)
    world.metrics.value("found of the living", len(living & done.answered) / len(living))
    world.metrics.value("dead met", len(done.silent))
    world.metrics.value("requests a node", done.requests / len(living))
    world.metrics.value("nodes/s", len(done.answered) / took)

    world.metrics.expect("found of the living", at_least=0.98)
    # Ten thousand within a minute; small networks take a few time-outs' time at least.
    world.metrics.expect("crawl.max", at_most=max(15.0, 60 * p.nodes / 10_000))
