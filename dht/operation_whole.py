"""One operation through both families of addresses: a walk in each, at once, and one outcome made of theirs.

Whoever has one family has one walk, and none of this. Decides when both have said enough; refuses to know how they
walk.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

from dht.events import (
    FindNodeDone,
    GetDone,
    JoinDone,
    LookupStats,
    OperationEvent,
    PutAcknowledged,
    PutDone,
    Receipt,
)
from dht.operation import Context
from dht.operation_walk import Walk
from dht.records import SignedRecord

LEAST_GRACE: Final = 0.25
"""Seconds that a read leaves the other family once one has agreed, or as long again as that took: a family whose way
out has just died must not hold up the other (RFC 8305 section 5 gives a connection as long)."""


class Both:
    """Base: waits for the walks of all families."""

    def __init__(self, context: Context, parts: int) -> None:
        self.context = context
        self.parts = parts
        self.walks: Sequence[Walk] = ()
        """Those that are told what the other has come to."""
        self.outcomes: dict[Walk, OperationEvent] = {}

    def take(self, part: Walk, event: OperationEvent, now: float) -> None:
        """A walk has ended."""
        self.outcomes[part] = event
        if len(self.outcomes) == self.parts:
            by_family = sorted(self.outcomes.items(), key=lambda one: bool(one[0].family.ipv6))
            self.context.emit(self.merged([outcome for _, outcome in by_family]))
        else:
            self.on_first(part, event, now)

    def on_first(self, part: Walk, event: OperationEvent, now: float) -> None:
        """One of two has ended."""

    @abstractmethod
    def merged(self, outcomes: list[OperationEvent]) -> OperationEvent:
        """What both came to, IPv4's first."""


class WholeJoin(Both):
    """Joins in both."""

    def merged(self, outcomes: list[OperationEvent]) -> OperationEvent:
        """Contacts of both."""
        done = [one for one in outcomes if isinstance(one, JoinDone)]
        return JoinDone(done[0].op, sum(one.contacts for one in done), _stats([one.stats for one in done]))


class WholeFind(Both):
    """Finds nodes of both."""

    def merged(self, outcomes: list[OperationEvent]) -> OperationEvent:
        """The closest of both: k of each."""
        done = [one for one in outcomes if isinstance(one, FindNodeDone)]
        target = int.from_bytes(self.walks[0].target, "big")
        closest = sorted((contact for one in done for contact in one.closest), key=lambda one: one.long_id ^ target)
        trace = tuple(asked for one in done for asked in one.trace)
        return FindNodeDone(done[0].op, tuple(closest), _stats([one.stats for one in done]), trace)


class WholeGet(Both):
    """Reads in both: the newest valid record wins."""

    def on_first(self, part: Walk, event: OperationEvent, now: float) -> None:
        """With a record at hand the other family has as long again, and no longer."""
        if isinstance(event, GetDone) and event.records:
            for walk in self.walks:
                if walk is not part:
                    walk.cut = now + max(event.stats.seconds, LEAST_GRACE)

    def merged(self, outcomes: list[OperationEvent]) -> OperationEvent:
        """The newest of each owner, and how many nodes of either family had it."""
        done = [one for one in outcomes if isinstance(one, GetDone)]
        newest: dict[bytes, SignedRecord] = {}
        for one in done:
            for record in one.records:
                known = newest.get(record.owner)
                if known is None or record.newer_than(known) or (record.seq == known.seq and record.raw > known.raw):
                    newest[record.owner] = record
        holding = [one for one in done if any(newest[record.owner].raw == record.raw for record in one.records)]
        first = max(holding or done, key=lambda one: (one.ended == "agreed", one.copies))
        return GetDone(
            first.op,
            first.place,
            tuple(newest.values()),
            sum(one.copies for one in holding),
            tuple(refused for one in done for refused in one.refused),
            tuple(contact for one in done for contact in one.closest),
            _stats([one.stats for one in done]),
            tuple(asked for one in done for asked in one.trace),
            first.ended,
        )


class WholePut(Both):
    """Stores in both. Each family's success is its own; one of them is enough to say so early, since the record can be
    found from then on, and nodes with both families carry it over (`dht.repair_bridge`)."""

    _acknowledged = False

    def take(self, part: Walk, event: OperationEvent, now: float) -> None:
        """Enough have stored it in one family, or all have spoken."""
        if isinstance(event, PutAcknowledged):
            if not self._acknowledged:
                self._acknowledged = True
                self.context.emit(event)
            return
        super().take(part, event, now)

    def on_first(self, part: Walk, event: OperationEvent, now: float) -> None:
        """One family is done with: acknowledged at the latest now."""
        if isinstance(event, PutDone) and event.receipt.ok:
            self.take(part, PutAcknowledged(event.op, event.receipt), now)

    def merged(self, outcomes: list[OperationEvent]) -> OperationEvent:
        """One receipt, with those of both families in it."""
        done = [one for one in outcomes if isinstance(one, PutDone)]
        return PutDone(done[0].op, _receipt([one.receipt for one in done]))


class SwapInTurn(WholePut):
    """Compare-and-swap: decided in the first family, written to the other when it has succeeded there. At once, each
    could say yes to another's swap."""

    def on_first(self, part: Walk, event: OperationEvent, now: float) -> None:
        """The first family has decided."""
        if isinstance(event, PutDone) and event.receipt.ok:
            self.walks[1].start(now)
        else:
            self.context.emit(event)


def begin(whole: type[Both], context: Context, walks: Sequence[Walk], now: float, *, explain: bool = False) -> int:
    """Start the walks of one operation; returns its number."""
    if len(walks) > 1:
        one = whole(context, len(walks))
        one.walks = walks
        for walk in walks:
            walk.whole = one
    for walk in walks[:1] if whole is SwapInTurn else walks:
        walk.explain = explain
        walk.start(now)
    return walks[0].op


def _stats(parts: list[LookupStats]) -> LookupStats:
    return LookupStats(
        sum(one.requests for one in parts),
        sum(one.replies for one in parts),
        sum(one.failures for one in parts),
        max(one.hops for one in parts),
        max(one.seconds for one in parts),
        any(one.crowded for one in parts),
    )


def _receipt(parts: list[Receipt]) -> Receipt:
    verdicts = tuple(verdict for one in parts for verdict in one.verdicts)
    needed = sum(one.needed for one in parts)
    return Receipt(parts[0].place, parts[0].seq, verdicts, needed, _stats([one.stats for one in parts]), tuple(parts))
