"""A crawl: one node asks every node for its neighbours until it knows of no other.

    rookery simulate run crawl nodes=10000

Crawlers of IPFS and Ethereum ask each node for every one of its buckets. Here a few questions are enough: for the
node's own neighbourhood, which is where everybody should be known to somebody, and for some places farther off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from dht.constants import ID_BITS, ID_BYTES
from dht.contact import Contact, unpack_contacts
from dht.engine import DhtEngine
from dht.events import Mode, OperationEvent
from dht.operation import Context, Operation
from dht.requests import Pending
from dht.wire import FindNode, Message, Nodes
from simulations.observations import engines
from simulations.scenario import scenario
from simulations.settings import Parameters
from simulations.world import World

CRAWL = -1
"""The operation's number: the engine counts its own from 1."""


@dataclass(frozen=True, slots=True)
class CrawlDone(OperationEvent):
    """Nobody is left to ask."""

    answered: frozenset[bytes]
    """Node keys of those who answered."""
    silent: frozenset[bytes]
    requests: int


class Crawl(Operation):
    """Asks everybody it hears of, each `questions` times, with at most `window` requests in flight."""

    def __init__(self, context: Context, questions: int, window: int) -> None:
        super().__init__(context, CRAWL)
        self._questions = questions
        self._window = window
        self._seen: set[bytes] = {context.own_key}
        self._waiting: deque[tuple[Contact, int]] = deque()
        self._open = 0
        self._requests = 0
        self._answered: set[bytes] = set()
        self._silent: set[bytes] = set()

    def start(self, contacts: Iterable[Contact], now: float) -> int:
        """Begin with the contacts known."""
        self._hear_of(contacts)
        self._go_on(now)
        return self.op

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Take in whom it names, and ask it the next question."""
        self._open -= 1
        self._answered.add(pending.contact.key)
        if isinstance(message, Nodes):
            self._hear_of(unpack_contacts(message.nodes4, message.nodes6))
        asked = pending.tag if isinstance(pending.tag, int) else 0
        if asked + 1 < self._questions:
            self._waiting.append((pending.contact, asked + 1))
        self._go_on(now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """It is dead, or a client."""
        self._open -= 1
        if pending.contact.key not in self._answered:
            self._silent.add(pending.contact.key)
        self._go_on(now)

    def _hear_of(self, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            if contact.key not in self._seen:
                self._seen.add(contact.key)
                self._waiting.append((contact, 0))

    def _go_on(self, now: float) -> None:
        while self._waiting and self._open < self._window and self.context.requests.room:
            contact, question = self._waiting.popleft()
            # The first for its own place, each later one for a place across one more bit.
            target = contact.long_id ^ (1 << (ID_BITS - question) if question else 0)
            fields = (target.to_bytes(ID_BYTES, "big"),)
            self._open += 1
            self._requests += 1
            self.context.request(contact, self, FindNode, fields, now, tag=question, resend=True)
        if not self._open and not self.ended:
            self.ended = True
            done = CrawlDone(self.op, frozenset(self._answered), frozenset(self._silent), self._requests)
            self.context.emit(done)


class CrawlNetwork(Parameters):
    """How much of a network one node can map, how fast, and with how many requests, when some of it has just died."""

    nodes: int = Field(400, ge=20, description="size of the network")
    dead: float = Field(0.1, ge=0, lt=1, description="share that dies right before, still in everybody's tables")
    questions: int = Field(4, ge=1, le=160, description="requests to each node that answers")
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
        return Crawl(engine, p.questions, p.window).start(engine.contacts(), now)

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
