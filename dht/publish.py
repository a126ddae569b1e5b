"""Writing: walk to the place, store with the replica set, and give a receipt that says who stored, who refused and why.

A contact that is almost surely in the replica set (nearer than the k-th node of a network of the estimated size) and
whose token we hold is sent the PUT at once in place of a FIND_NODE: its answer names nearer contacts just as well
("optimistic provide" of go-libp2p-kad-dht does the same).
"""

from __future__ import annotations

from bisect import bisect_left

from dht.contact import Contact
from dht.crowd import WIDER, WIDEST, is_crowded
from dht.events import PutAcknowledged, PutDone, Receipt, Verdict
from dht.family import Family
from dht.keeping import refusal_of
from dht.operation import Context
from dht.operation_walk import Walk
from dht.records import RecordRefused, Refusal, SignedRecord, decode_record, verify_record
from dht.requests import Pending
from dht.routing import diverse
from dht.wire import FindNode, Get, Message, Nodes, Put, Stored, StoredMany, Value

_TOKEN_TRIES = 2
"""A token may have become too old between the walk and the write: one more try with the fresh one."""


class PutWalk(Walk):
    """Stores one record."""

    looks_behind_crowds = True

    def __init__(
        self,
        context: Context,
        op: int,
        record: SignedRecord,
        now: float,
        *,
        expected_seq: int | None,
        family: Family | None = None,
    ) -> None:
        super().__init__(context, op, record.place, now, family=family)
        self._record = record
        self._lifetime = max(0, min(int(record.expires - now), 2**32 - 1))
        self._expected_seq = expected_seq
        self._current: int | None = None
        """Compare-and-swap: the newest sequence number met on the way, but for that of this very record."""
        self._verdicts: dict[bytes, Verdict] = {}
        self._asked: dict[bytes, int] = {}
        self._open = 0
        self._targets: list[Contact] = []
        self._acknowledged = False
        # Early writes would make compare-and-swap race with itself.
        self._sure_within = self.region if expected_seq is None else 0

    def ask(self, contact: Contact, now: float) -> None:
        """Store at once where that is sure to be right, else ask for the way; for a swap also for what is there."""
        if self._expected_seq is not None:
            self.context.request(contact, self, Get, (self.target, True, 0), now, resend=self.thin)
            return
        if not self.put_at_once(contact, now):
            self.find(contact, now)

    def find(self, contact: Contact, now: float) -> None:
        """Ask for the way."""
        self.context.request(contact, self, FindNode, (self.target,), now, resend=self.thin)

    def put_at_once(self, contact: Contact, now: float) -> bool:
        """Store with a node whose token we hold, if it is sure to be right; return whether it is."""
        sure = self._is_sure_of(contact) and bool(self.context.requests.token_for(contact, now))
        if sure:
            self._put(contact, now)
        return sure

    def _is_sure_of(self, contact: Contact) -> bool:
        """Whether it will be one of the replica set: near enough, and not pushed out by k whom we know already."""
        distance = contact.long_id ^ self.lookup.target
        if distance >= self._sure_within:
            return False
        own = self.family.own_contact
        nearer = self.lookup.named_within(distance) + (own is not None and own.long_id ^ self.lookup.target < distance)
        return nearer < self.context.config.k

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Take in contacts and verdicts."""
        if isinstance(message, Nodes | Value):
            if self.asks_again(pending, message, now):
                return
            if isinstance(message, Value):
                self._compare(message, now)
            self.take_nodes(pending.contact, message.nodes4, message.nodes6, now)
        elif isinstance(message, Stored):
            self.take_verdict(pending, (message.status, message.seq), message, now)
        self.go_on(now)

    def on_slow(self, pending: Pending, now: float) -> None:
        """A slow FIND_NODE is hedged; a slow PUT was sent once more by the engine."""
        self.take_slowness(pending.contact, now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """Silence is a verdict too."""
        self.take_silence(pending.contact, now, written=pending.reply is Stored)

    @property
    def is_writing(self) -> bool:
        """Whether the replica set is known."""
        return bool(self._targets)

    def take_slowness(self, contact: Contact, now: float) -> None:
        """`contact` takes longer than it should: while the walk goes on, ask another beside it."""
        self.note_slowness(contact)
        if not self.is_writing:
            self.advance(now)

    def take_silence(self, contact: Contact, now: float, *, written: bool) -> None:
        """`contact` did not answer; `written`: it was sent the record."""
        if written:
            self._open -= 1
            self._verdicts[contact.key] = Verdict(contact, Refusal.TIMEOUT, 0)
        referrer = self.lookup.on_failure(contact)
        if referrer is not None:
            self.context.named_dead(referrer, contact, now)
        self.go_on(now)

    def go_on(self, now: float) -> None:
        """Something was taken in."""
        if self.is_writing:
            self._check(now)
        else:
            self.advance(now)

    def finish_walk(self, now: float) -> None:
        """The replica set is known: store with whoever of it has not been asked yet."""
        self.learn_size()
        self._targets = self._replica_set()
        for record in self.context.held(self.target, now):
            self._note(record)
        if self._expected_seq is not None and self._current not in (None, self._expected_seq):
            # Written nowhere: a node that has no copy would take it, and readers would see a swap that was refused.
            for contact in self._targets or [own for own in (self.family.own_contact,) if own]:
                self._verdicts[contact.key] = Verdict(contact, Refusal.CAS_MISMATCH, self._current or 0)
            self._check(now)
            return
        self._keep(now)
        for contact in self._targets:
            if contact.key not in self._asked:
                self._put(contact, now)
        self._check(now)

    def _keep(self, now: float) -> None:
        """Be one of the replica set ourselves, where we are near enough."""
        own = self.family.own_contact
        number = self.lookup.target
        if own is None:
            return
        if len(self._targets) >= self.context.config.k:
            farthest = self._targets[-1]
            if own.long_id ^ number > farthest.long_id ^ number:
                return
            if farthest.key not in self._asked:
                self._targets.pop()
        until = min(self._record.expires, now + self._lifetime)
        refusal = self.context.keep(self._record, until, self._expected_seq, now)
        held = (copy.seq for copy in self.context.held(self.target, now) if copy.owner == self._record.owner)
        self._verdicts[own.key] = Verdict(own, refusal, next(held, 0))

    def _replica_set(self) -> list[Contact]:
        """The closest, no more than two of a /24 or /48."""
        config = self.context.config
        return diverse(self.lookup.closest(2 * self.width), self.width, config.bucket_prefix_limit)

    def _compare(self, message: Value, now: float) -> None:
        for raw in message.records:
            try:
                self._note(verify_record(decode_record(raw), now, self.context.verdicts, place=self.target))
            except RecordRefused as error:
                self.context.count("get_refused_" + error.refusal.name.lower())

    def _note(self, record: SignedRecord) -> None:
        if record.owner == self._record.owner and record.raw != self._record.raw:
            self._current = max(self._current or 0, record.seq)

    def _put(self, contact: Contact, now: float) -> None:
        self._asked[contact.key] = self._asked.get(contact.key, 0) + 1
        self._open += 1
        self.write(contact, now)

    def write(self, contact: Contact, now: float) -> None:
        """Send the record."""
        # While the walk goes on every answer must lead on: the estimate may be wrong, and a copy in a wrong place lost.
        fields = (*self.item, not self.is_writing, self._expected_seq)
        self.context.request(contact, self, Put, fields, now, resend=True)

    @property
    def item(self) -> tuple[bytes, int]:
        """What is written: the record's bytes, and seconds to keep it."""
        return self._record.raw, self._lifetime

    def take_verdict(
        self, pending: Pending, verdict: tuple[int, int], message: Stored | StoredMany, now: float
    ) -> None:
        """The node asked says what it did with the record: `verdict` off the wire, its status and the sequence number
        it holds; and `message` names whom it knows nearer."""
        contact = pending.contact
        status, seq = verdict
        self._open -= 1
        if status == Refusal.BAD_TOKEN and self._asked[contact.key] < _TOKEN_TRIES:
            # To whom it does not know it names nobody: its answer to the walk is still to come.
            self.context.requests.doubt_tokens(pending)
            self._put(contact, now)
            return
        self.take_nodes(contact, message.nodes4, message.nodes6, now)
        refusal = refusal_of(status)
        if refusal is Refusal.WAIT:
            # Nobody may make us wait for longer than the token holds in which our waiting is kept.
            wait = float(min(seq, self.context.config.token_rotation))
            self._verdicts[contact.key] = Verdict(contact, refusal, 0, wait)
            return
        self._verdicts[contact.key] = Verdict(contact, refusal, seq)

    def _check(self, now: float) -> None:
        """Acknowledge once enough stored; end once nobody is left to answer."""
        if self.ended:
            return
        receipt = self._receipt(now)
        if not self._acknowledged and receipt.ok and self._open:
            self._acknowledged = True
            self.acknowledge(receipt, now)
        if self._open == 0:
            self.ended = True
            self.report(receipt, now)

    def acknowledge(self, receipt: Receipt, now: float) -> None:
        """Enough have stored it."""
        self.deliver(PutAcknowledged(self.op, receipt), now)

    def report(self, receipt: Receipt, now: float) -> None:
        """Everybody has spoken."""
        self.deliver(PutDone(self.op, receipt), now)

    def _receipt(self, now: float) -> Receipt:
        holders = len(self._targets) + (self.context.own_key in self._verdicts)
        stats = self.stats(now)
        if not stats.replies:
            # Cut off: whoever was asked in vain is missing, and a copy of our own alone is no success.
            holders += stats.failures
        needed = self.context.config.acknowledgements(min(holders, self.context.config.k))
        return Receipt(self.target, self._record.seq, tuple(self._verdicts.values()), needed, stats)


def replica_width(family: Family, k: int, place: int) -> int:
    """How many should hold a record, by what a table knows of a place near us: k, or all of a crowded region."""
    expected = family.size.expected_distance(k)
    near = [contact.long_id ^ place for contact in family.table.neighbours(place, WIDEST * k)]
    if not is_crowded(near, expected, k, family.size.counted(k)):
        return k
    return max(k, bisect_left(near, int(WIDER * expected)))
