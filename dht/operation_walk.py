"""The walk along a look-up that finds, reads and writes have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from math import inf
from random import Random
from typing import Final, Protocol

from dht.constants import ID_BYTES, ID_SPACE
from dht.contact import Contact, unpack_contacts
from dht.crowd import LOOKED_AT, WIDER, WIDEST, is_crowded
from dht.errors import DecodeError
from dht.events import Asked, LookupStats, OperationEvent
from dht.family import Family
from dht.lookup import AnyLookup, DisjointLookup, Lookup
from dht.operation import Context, Operation
from dht.requests import Pending
from dht.size import CONFIDENT_SAMPLES, SizeEstimate
from dht.wire import FindNode, Message, Nodes, Value

FIRST_HOPS: Final = 3
"""Contacts drawn at random that a path begins from, where it does not begin from the nearest. UNSOURCED: fewer, and one
loss stalls a path; more, and the nearest are among them all the same."""

SEARCHES: Final = 4
"""Walks through the region of a crowded place. UNSOURCED: each finds 20 nodes of a region with some 30 honest ones."""


class Whole(Protocol):
    """An operation that walks through both families."""

    def take(self, part: Walk, event: OperationEvent, now: float) -> None:
        """One of its walks would report this."""


class Walk(Operation):
    """An operation that walks towards a place, through one family."""

    looks_behind_crowds = False
    """Whether it matters what lies behind a crowd: to who reads or writes there."""

    whole: Whole | None = None
    """What it is a part of, if it is."""

    cut = inf
    """When to end with what there is, at the next answer or silence."""

    def __init__(
        self, context: Context, op: int, target: bytes, now: float, *, paths: int = 0, family: Family | None = None
    ) -> None:
        super().__init__(context, op)
        self.family = family = context.families.main if family is None else family
        if len(target) != ID_BYTES:
            raise ValueError(f"a target has {ID_BYTES} bytes, not {len(target)}")
        config = context.config
        self.target = target
        self._began = now
        self._more_seeds = True
        self._hedged = False
        """Whether anybody took longer than it should."""
        self.random_start = config.random_start
        """Whether to begin from contacts drawn at random rather than from the nearest."""
        self.crowded = False
        """Whether more nodes were heard of around the target than chance puts there, so that all of them are asked."""
        self._crowd_answered = False
        """Whether as many answered: else some were dead, or made up."""
        self.width = config.k
        """How many of the nearest are asked, and written to."""
        self._searches = 0
        self.explain = False
        """Whether the outcome is to carry a trace."""
        self.thin = len(family.table) < config.k
        """Whether so few are known that a lost datagram is better sent again than replaced by a question to another."""
        self.region = self._own_region()
        number = int.from_bytes(target, "big")
        self.lookup: AnyLookup
        self.paths = paths = paths or config.paths
        if paths == 1:
            self.lookup = Lookup(number, config.k, config.alpha, now, own_key=context.own_key)
        else:
            self.lookup = DisjointLookup(number, config.k, config.alpha, paths, now, own_key=context.own_key)

    def _own_region(self) -> int:
        """How near the k nearest nodes should lie: the smaller of what look-ups told, perhaps when the network was
        smaller, and what our own neighbourhood shows."""
        k = self.context.config.k
        return min(self.family.size.expected_distance(k, samples=1), self.family.table.reach(k))

    def knows(self, count: int) -> bool:
        """Whether `count` candidates are known as near to the target as the k nearest nodes should lie."""
        return self.lookup.known_within(self.region) >= count

    def trace(self) -> tuple[Asked, ...]:
        """Who was asked and what came of it, if the caller wanted to know."""
        return self.lookup.trace() if self.explain else ()

    def start(self, now: float, contacts: Iterable[Contact] = ()) -> None:
        """Begin from the table's nearest and from `contacts`."""
        number = self.lookup.target
        table = self.family.table
        table.touch(number, now)
        seeds = table.neighbours(number, self.context.config.k)
        if len(seeds) < self.context.config.k:
            # A thin table: a suspect may still be the only way in.
            seeds = table.neighbours(number, self.context.config.k, suspects=True)
        elif self.random_start:
            draw = Random(self.context.requests.new_id())
            known = [contact for contact in table if contact.key not in table.suspects]
            seeds = draw.sample(known, min(len(known), FIRST_HOPS * self.paths))
        self.lookup.seed(seeds)
        self.lookup.seed(contacts)
        self.advance(now)

    def advance(self, now: float) -> None:
        """Ask whom the look-up wants asked, as far as the window allows; end when it has ended."""
        if self.ended:
            return
        if now >= self.cut:
            self.finish_walk(now)
            return
        if self.context.requests.room < self.context.config.alpha:
            self.context.wait(self)
            return
        if self.crowded:
            self._widen()
        for contact in self.lookup.next_requests(now, self.wanted()):
            self.ask(contact, now)
        if self.ended or self._searches:
            return
        done = self.suffices() or (self.lookup.finished and self.may_finish())
        if self._more_seeds and (done or (self._hedged and self.lookup.all_asked)) and self._short():
            # The dead are among those whom everybody names: whoever else we know may live, and may lead on.
            self._more_seeds = False
            alone = not self.lookup.closest(1)
            table = self.family.table
            self.lookup.seed(table.neighbours(self.lookup.target, len(table), suspects=alone))
            self.advance(now)
            return
        if done:
            self.conclude(now)

    def conclude(self, now: float) -> None:
        """End, unless it was a crowd that the walk came to: then whoever else lies there is looked for first."""
        if self._searches or self.ended:
            return
        if self.looks_behind_crowds and not self.crowded and self._is_crowded():
            if self.family.size.is_of_late(now) and not self.family.counting:
                self._look_behind(now)
            else:
                self._searches = 1
                count_anew(self.context, self.family, self._counted, now)
        else:
            self._crowd_answered = self.crowded and self._is_crowded()
            self.finish_walk(now)

    def _counted(self, now: float) -> None:
        """The network has been counted anew: perhaps it is only larger than it was thought to be."""
        self._searches = 0
        self.region = self._own_region()
        self.conclude(now)

    def _is_crowded(self) -> bool:
        k = self.context.config.k
        return is_crowded(self.lookup.distances(LOOKED_AT * k), self._span(), k, self.family.size.counted(k))

    def _span(self) -> int:
        """How far k nodes should reach. Who has hardly looked around yet goes by its own neighbourhood too; later it
        does not, as whoever crowds that would blind it."""
        return self.family.size.expected_distance(self.context.config.k) or self.region

    def _look_behind(self, now: float) -> None:
        """Walk to other places of the region: the crowd's nodes lie around the target, and name one another."""
        self.crowded = True
        self.context.count("crowded")
        region = self._wide_region()
        number = self.lookup.target
        self.lookup.seed([contact for contact in self.family.table if contact.long_id ^ number < region])
        self._searches = SEARCHES
        for index in range(SEARCHES):
            # One in each part of the region, at a place that nobody can foresee.
            offset = (index + self.context.requests.new_id() / 2**64) * region / SEARCHES
            place = (number ^ int(offset)).to_bytes(ID_BYTES, "big")
            QuietWalk(self.context, place, now, self._behind, family=self.family).start(now)

    def _behind(self, found: list[Contact], now: float) -> None:
        self._searches -= 1
        number = self.lookup.target
        self.lookup.seed([contact for contact in found if contact.long_id ^ number < self._wide_region()])
        self.advance(now)

    def _widen(self) -> None:
        """Go on over all that are named in a crowded region: the crowd grows with each answer."""
        k = self.context.config.k
        self.width = max(self.width, min(self.lookup.named_within(self._wide_region()), WIDEST * k))
        self.lookup.widen(self.width)

    def _wide_region(self) -> int:
        return min(int(WIDER * self._span()), ID_SPACE - 1)

    def stats(self, now: float) -> LookupStats:
        """What it cost so far."""
        stats = self.lookup.stats(now)
        return replace(stats, crowded=True) if self._crowd_answered else stats

    def _short(self) -> bool:
        """Whether fewer than the k closest were found, though more are known than were asked."""
        k = self.context.config.k
        return not self.suffices() and len(self.lookup.closest(k)) < k

    def suffices(self) -> bool:
        """Whether what is known is enough, though slow ones could still answer."""
        return False

    def may_finish(self) -> bool:
        """Whether to end now that the k closest quick ones have answered."""
        return True

    def wanted(self) -> int:
        """How many requests in flight could still be of use."""
        return self.context.config.alpha

    def ask(self, contact: Contact, now: float) -> None:
        """Send one request of the walk."""
        self.context.request(contact, self, FindNode, (self.target,), now, resend=self.thin)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Take in the contacts of a NODES."""
        if isinstance(message, Nodes) and not self.asks_again(pending, message, now):
            self.take_nodes(pending.contact, message.nodes4, message.nodes6, now)
            self.advance(now)

    def asks_again(self, pending: Pending, message: Nodes | Value, now: float) -> bool:
        """Whether the answer was in vain, and the node is asked once more."""
        if not pending.in_vain(message, self._began):
            return False
        self.context.requests.doubt_tokens(pending)
        self.context.count("asked_in_vain")
        self.ask(pending.contact, now)
        return True

    def take_nodes(
        self, contact: Contact, nodes4: bytes, nodes6: bytes, now: float, *, had_value: bool = False
    ) -> None:
        """Feed the look-up with an answer. Contacts that do not decode count as none; those of the other family are no
        part of this walk."""
        try:
            nodes = self.sorted_out(contact, nodes4, nodes6, now)
        except DecodeError:
            self.context.count("contacts_malformed")
            nodes = []
        self.lookup.on_reply(contact, nodes, now, had_value=had_value)

    def sorted_out(self, by: Contact, nodes4: bytes, nodes6: bytes, now: float) -> list[Contact]:
        """The contacts of this walk's family that an answer names. Raises `DecodeError`."""
        nodes = unpack_contacts(nodes4, nodes6)
        ipv6 = bool(self.family.ipv6)
        if not (nodes4 if ipv6 else nodes6):
            return nodes
        others = [node for node in nodes if (":" in node.ip) != ipv6]
        # A public node that names private addresses would have us knock at machines of our own network.
        self.context.families.met([node for node in others if by.exempt or not node.exempt], now)
        return [node for node in nodes if (":" in node.ip) == ipv6]

    def on_slow(self, pending: Pending, now: float) -> None:
        """Hedge: let the look-up ask another."""
        self.note_slowness(pending.contact)
        self.advance(now)

    def note_slowness(self, contact: Contact) -> None:
        """Wait for `contact` no longer than for others, and where nobody else is left to ask, look for more."""
        self._hedged = True
        self.lookup.on_slow(contact)

    def on_failure(self, pending: Pending, now: float) -> None:
        """Go on without it."""
        referrer = self.lookup.on_failure(pending.contact)
        if referrer is not None:
            self.context.named_dead(referrer, pending.contact, now)
        self.advance(now)

    def learn_size(self) -> None:
        """Let the size estimate profit from a finished walk; a crowd says nothing of the whole network."""
        if self.crowded:
            return
        k = self.context.config.k
        self.family.size.sample(self.lookup.target, self.lookup.closest(k), k)

    def deliver(self, event: OperationEvent, now: float) -> None:
        """Report to the application, or to the whole that this is a part of."""
        if self.whole is None:
            self.context.emit(event)
        else:
            self.whole.take(self, event, now)

    @abstractmethod
    def finish_walk(self, now: float) -> None:
        """The walk has ended."""


class QuietWalk(Walk):
    """A node look-up for the engine's own purposes: reports to a function, not to the application."""

    def __init__(
        self,
        context: Context,
        target: bytes,
        now: float,
        done: Callable[[list[Contact], float], None] | None = None,
        *,
        family: Family | None = None,
    ) -> None:
        super().__init__(context, 0, target, now, family=family)
        self._done = done

    def finish_walk(self, now: float) -> None:
        """Hand over the closest that answered."""
        self.ended = True
        self.learn_size()
        if self._done is not None:
            self._done(self.lookup.closest(self.context.config.k), now)


def count_anew(context: Context, family: Family, then: Callable[[float], None], now: float) -> None:
    """Estimate the network's size at places that nobody can foresee, and call `then(now)`.

    An estimate is a mean of what look-ups found since we began: to who joined while the network was small each place
    looks crowded.
    """
    family.counting.append(then)
    if len(family.counting) > 1:
        return
    # Until it is whole the old one stands: one of no samples would tell whoever ends meanwhile of no crowd.
    fresh = SizeEstimate(now)
    context.count("counted_anew")
    left = CONFIDENT_SAMPLES

    def counted(place: bytes, found: list[Contact], now: float) -> None:
        nonlocal left
        left -= 1
        fresh.sample(int.from_bytes(place, "big"), found, context.config.k)
        if left == 0:
            family.size = fresh
            waiting, family.counting = family.counting, []
            for each in waiting:
                each(now)

    for _ in range(CONFIDENT_SAMPLES):
        place = b"".join(context.requests.new_id().to_bytes(8, "big") for _ in range(3))[:ID_BYTES]
        QuietWalk(context, place, now, partial(counted, place), family=family).start(now)
