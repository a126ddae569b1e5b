"""Mapping the network: every node is asked for its neighbours, until none is left that was heard of and not asked.

Crawlers of IPFS and Ethereum ask each node for every one of its buckets. Here a few questions are enough: for the
node's own neighbourhood, which is where everybody should be known to somebody, and for some places farther off.
Bounded in rate, so that a map costs each node four datagrams and the network no more than was asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

from dht.constants import ID_BITS, ID_BYTES
from dht.contact import Contact, unpack_contacts
from dht.errors import DecodeError
from dht.events import CrawlDone, NodeCrawled
from dht.operation import Context, Operation
from dht.requests import Pending
from dht.wire import FindNode, Message, Nodes

QUESTIONS: Final = 4
"""Requests to each node that answers. UNSOURCED"""

BEAT: Final = 0.05
"""Seconds between two looks whether more may be asked. UNSOURCED"""

MAX_NODES: Final = 1_000_000
"""Nodes heard of: bounds what liars who name endless contacts make us remember (about 1 kB each)."""


class Crawl(Operation):
    """Asks everybody it hears of, each `questions` times, `rate` requests a second, at most `window` in flight."""

    def __init__(self, context: Context, op: int, now: float, *, questions: int, rate: float, window: int) -> None:
        super().__init__(context, op)
        self._questions = questions
        self._rate = rate
        self._window = window
        self._started = now
        self._allowed = 0.0
        self._counted = self._began = now
        self._seen: dict[bytes, int] = {context.own_key: 0}
        """Node key → by how many it was named."""
        self._waiting: deque[tuple[Contact, int]] = deque()
        self._rtts: dict[bytes, float] = {}
        self._new: dict[bytes, int] = {}
        self._asking: dict[bytes, Contact] = {}
        self._open = 0
        self._requests = 0
        self._answered: set[bytes] = set()
        self._silent: set[bytes] = set()

    @property
    def heard_of(self) -> int:
        """Nodes known of so far, ourselves left out."""
        return len(self._seen) - 1

    def unasked(self) -> list[Contact]:
        """Those heard of that were not asked all yet: where a later crawl goes on."""
        return [*self._asking.values(), *(contact for contact, _ in self._waiting)]

    def start(self, contacts: Iterable[Contact], now: float, *, known: Iterable[Contact] = ()) -> None:
        """Begin with `contacts`; `known` were mapped by an earlier crawl and are not asked again."""
        for contact in known:
            self._seen.setdefault(contact.key, 0)
        self._hear_of(contacts)
        self.advance(now)

    def advance(self, now: float) -> None:
        """Ask as many as rate and window allow; end when nobody is left."""
        if self.ended:
            return
        self._allowed = min(self._allowed + (now - self._counted) * self._rate, max(1.0, self._rate * BEAT * 2))
        self._counted = now
        config = self.context.config
        while self._waiting and self._open < self._window and self._allowed >= 1.0:
            if self.context.requests.room < config.alpha:
                break
            self._allowed -= 1.0
            contact, question = self._waiting.popleft()
            # The first for its own place, each later one for a place across one more bit.
            target = contact.long_id ^ (1 << (ID_BITS - question) if question else 0)
            self._open += 1
            self._requests += 1
            self._asking[contact.key] = contact
            fields = (target.to_bytes(ID_BYTES, "big"),)
            self.context.request(contact, self, FindNode, fields, now, tag=question, resend=True)
        if not self._open and not self._waiting:
            self._end(now)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Take in whom it names, and ask it the next question."""
        if self.ended:
            return
        self._open -= 1
        contact = pending.contact
        self._asking.pop(contact.key, None)
        if contact.key not in self._answered:
            self._answered.add(contact.key)
            self._rtts[contact.key] = now - pending.sent
        asked = pending.tag if isinstance(pending.tag, int) else 0
        if isinstance(message, Nodes) and pending.in_vain(message, self._began):
            self._waiting.append((contact, asked))
            self.advance(now)
            return
        if isinstance(message, Nodes):
            try:
                named = unpack_contacts(message.nodes4, message.nodes6)
            except DecodeError:
                self.context.count("contacts_malformed")
                named = []
            self._new[contact.key] = self._new.get(contact.key, 0) + self._hear_of(named, contact)
        if asked + 1 < self._questions:
            self._waiting.append((contact, asked + 1))
        else:
            self._report(contact)
        self.advance(now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """It is dead, or a client."""
        if self.ended:
            return
        self._open -= 1
        self._asking.pop(pending.contact.key, None)
        if pending.contact.key not in self._answered:
            self._silent.add(pending.contact.key)
        self._report(pending.contact)
        self.advance(now)

    def stop(self, now: float) -> None:
        """End with what there is."""
        if not self.ended:
            self._end(now)

    def _report(self, contact: Contact) -> None:
        key = contact.key
        self.context.emit(NodeCrawled(contact, key in self._answered, self._rtts.pop(key, None), self._new.pop(key, 0)))

    def _hear_of(self, contacts: Iterable[Contact], by: Contact | None = None) -> int:
        new = 0
        for contact in contacts:
            if contact.key in self._seen:
                self._seen[contact.key] += 1
            elif len(self._seen) < MAX_NODES and not (by is not None and contact.exempt and not by.exempt):
                self._seen[contact.key] = 1
                self._waiting.append((contact, 0))
                new += 1
        return new

    def _end(self, now: float) -> None:
        self.ended = True
        named = {key: count for key, count in self._seen.items() if key != self.context.own_key}
        self.context.emit(
            CrawlDone(
                self.op,
                frozenset(self._answered),
                frozenset(self._silent),
                tuple(self.unasked()),
                named,
                self._requests,
                now - self._started,
            )
        )


class Crawling:
    """The crawl of a node, if there is one: a node maps one network at a time."""

    def __init__(self) -> None:
        self._crawl: Crawl | None = None
        self.due = inf
        """When `tick` is to be called, Unix seconds."""

    @property
    def heard_of(self) -> int:
        """Nodes that the present crawl, or the last one, has heard of."""
        return 0 if self._crawl is None else self._crawl.heard_of

    def begin(self, crawl: Crawl, contacts: Iterable[Contact], now: float, *, known: Iterable[Contact] = ()) -> int:
        """Start a crawl in place of the one before; returns its number."""
        self.stop(now)
        self._crawl = crawl
        self.due = now
        crawl.start(contacts, now, known=known)
        return crawl.op

    def tick(self, now: float) -> None:
        """Ask more, as the rate allows."""
        crawl = self._crawl
        if crawl is not None:
            crawl.advance(now)
        self.due = inf if crawl is None or crawl.ended else now + BEAT

    def stop(self, now: float) -> None:
        """End the present crawl with what there is."""
        if self._crawl is not None:
            self._crawl.stop(now)
        self.due = inf
