"""Mapping the network: every node is asked for its neighbours, until none is left that was heard of and not asked.

Crawlers of IPFS and Ethereum ask each node for every one of its buckets. Here a few questions are enough: for the
node's own neighbourhood, which is where everybody should be known to somebody, and for some places farther off.
Bounded in rate, so that a map costs each node four datagrams and the network no more than was asked for.

A node with both families of addresses has two tables, so it is asked at each of its addresses, as far as this machine
gets out that way; it is one node all the same.
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
"""Addresses heard of, one of a node in each family: bounds what liars who name endless contacts make us remember (about
1 kB each)."""


class Crawl(Operation):
    """Asks everybody it hears of, each `questions` times, `rate` requests a second, at most `window` in flight."""

    def __init__(
        self,
        context: Context,
        op: int,
        now: float,
        *,
        questions: int,
        rate: float,
        window: int,
        ways_out: frozenset[bool],
    ) -> None:
        """`ways_out`: the families by which this machine gets out (is it IPv6)."""
        super().__init__(context, op)
        self._ways_out = ways_out
        self._questions = questions
        self._rate = rate
        self._window = window
        self._started = now
        self._allowed = 0.0
        self._counted = self._began = now
        self._seen: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
        """Node key → by how many it was named, at an IPv4 and at an IPv6 address."""
        self._waiting: deque[tuple[Contact, int]] = deque()
        self._out_of_reach: list[Contact] = []
        self._rtts: dict[Contact, float] = {}
        self._new: dict[Contact, int] = {}
        self._asking: dict[Contact, None] = {}
        self._open = 0
        self._requests = 0
        self._answered: set[bytes] = set()
        self._silent: set[bytes] = set()

    @property
    def heard_of(self) -> int:
        """Addresses of nodes known of so far, ourselves left out."""
        return sum(map(len, self._seen))

    def unasked(self) -> list[Contact]:
        """Those heard of that were not asked all yet: where a later crawl goes on."""
        return [*self._asking, *(contact for contact, _ in self._waiting), *self._out_of_reach]

    def start(self, contacts: Iterable[Contact], now: float, *, known: Iterable[Contact] = ()) -> None:
        """Begin with `contacts`; `known` were mapped by an earlier crawl and are not asked again."""
        for contact in known:
            self._seen[":" in contact.ip].setdefault(contact.key, 0)
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
            self._asking[contact] = None
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
        self._asking.pop(contact, None)
        if contact not in self._rtts:
            self._answered.add(contact.key)
            self._rtts[contact] = now - pending.sent
        asked = pending.tag if isinstance(pending.tag, int) else 0
        if isinstance(message, Nodes) and pending.in_vain(message, self._began):
            self.context.requests.doubt_tokens(pending)
            self._waiting.append((contact, asked))
            self.advance(now)
            return
        if isinstance(message, Nodes):
            try:
                named = unpack_contacts(message.nodes4, message.nodes6)
            except DecodeError:
                self.context.count("contacts_malformed")
                named = []
            self._new[contact] = self._new.get(contact, 0) + self._hear_of(named, contact)
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
        self._asking.pop(pending.contact, None)
        self._silent.add(pending.contact.key)
        self._report(pending.contact)
        self.advance(now)

    def stop(self, now: float) -> None:
        """End with what there is."""
        if not self.ended:
            self._end(now)

    def _report(self, contact: Contact) -> None:
        rtt = self._rtts.pop(contact, None)
        self.context.emit(NodeCrawled(contact, rtt is not None, rtt, self._new.pop(contact, 0)))

    def _hear_of(self, contacts: Iterable[Contact], by: Contact | None = None) -> int:
        new = 0
        for contact in contacts:
            seen = self._seen[":" in contact.ip]
            if contact.key in seen:
                seen[contact.key] += 1
            elif contact.key == self.context.own_key or self.heard_of >= MAX_NODES:
                continue
            elif by is None or by.exempt or not contact.exempt:
                seen[contact.key] = 1
                new += contact.key not in self._seen[":" not in contact.ip]
                if (":" in contact.ip) in self._ways_out:
                    self._waiting.append((contact, 0))
                else:
                    self._out_of_reach.append(contact)
        return new

    def _end(self, now: float) -> None:
        self.ended = True
        answered, silent = frozenset(self._answered), frozenset(self._silent - self._answered)
        unasked, seconds = tuple(self.unasked()), now - self._started
        self.context.emit(CrawlDone(self.op, answered, silent, unasked, self._seen, self._requests, seconds))


class Crawling:
    """The crawl of a node, if there is one: a node maps one network at a time."""

    def __init__(self) -> None:
        self._crawl: Crawl | None = None
        self.due = inf
        """When `tick` is to be called, Unix seconds."""

    @property
    def heard_of(self) -> int:
        """Addresses that the present crawl, or the last one, has heard of."""
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
