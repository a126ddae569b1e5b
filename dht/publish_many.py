"""Writing many records: each gets a walk and a receipt of its own, and what the walks have in common is done once.

Records go in order of their places, some at a time, so that those at work are neighbours:
1. A node that one walk is asking is asked by no other; the answer is everybody's.
2. A walk begins with all nodes near its place that answered another one: their tokens are known, so it writes at once.
3. What is to be written to a node waits until no answer is under way that could bring more for it, and then goes in as
   few datagrams as it fits (PUT_MANY). A record without neighbours waits for nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

from dht.constants import ID_SPACE, MAX_BATCH
from dht.contact import Contact
from dht.errors import DecodeError
from dht.events import Receipt
from dht.family import Family
from dht.operation import Context, Operation
from dht.operation_walk import Whole
from dht.publish import PutWalk
from dht.records import Refusal, SignedRecord
from dht.requests import Pending
from dht.wire import ITEM_HEAD, ROOM_FOR_ITEMS, FindNode, Message, Nodes, Put, PutMany, Stored, StoredMany

AT_ONCE: Final = 32
"""Records at work at a time. In a network of 1,000 nodes a thousand records have as many neighbours within the distance
of their replica sets. Measured in `docs/results/publishing.md`."""

NEAR: Final = 2
"""Distance, in units of the one that k nodes should span, within which nodes that answered are told to a new walk."""


class PutMember(PutWalk):
    """Stores one record of many."""

    def __init__(
        self, context: Context, op: int, record: SignedRecord, now: float, batch: PutBatch, *, gap: int
    ) -> None:
        """`gap`: how far the nearest place of another record of the batch lies."""
        super().__init__(context, op, record, now, expected_seq=None, family=batch.family)
        self._batch = batch
        self.alone = 0 < self.region < gap

    def advance(self, now: float) -> None:
        """Go on as far as possible."""
        super().advance(now)
        self._batch.settle(now)

    def find(self, contact: Contact, now: float) -> None:
        """Ask for the way, unless another walk is asking."""
        self._batch.find(self, contact, now)

    def write(self, contact: Contact, now: float) -> None:
        """Have the record sent."""
        self._batch.write(self, contact, now)

    def share_answer(self, contact: Contact, message: Nodes, now: float) -> None:
        """A node that this walk would have asked answered another one."""
        if self.is_writing or self.ended:
            return
        with suppress(DecodeError):  # it is counted where it was asked for
            self.lookup.hear(contact, self.sorted_out(contact, message.nodes4, message.nodes6, now))
        if not self.put_at_once(contact, now):
            self.take_nodes(contact, message.nodes4, message.nodes6, now)

    def report(self, receipt: Receipt, now: float) -> None:
        """Everybody has spoken."""
        super().report(receipt, now)
        self._batch.on_ended(self, now)


class PutBatch(Operation):
    """Stores many records, in one family."""

    def __init__(
        self,
        context: Context,
        records: Iterable[tuple[int, SignedRecord]],
        family: Family,
        wholes: Mapping[int, Whole] | None = None,
    ) -> None:
        """`records`: each with the number of its operation; `wholes`: by that number, where there are two families."""
        super().__init__(context, 0)
        self.family = family
        self._wholes = {} if wholes is None else wholes
        ordered = sorted(records, key=lambda entry: entry[1].place)
        places = [int.from_bytes(record.place, "big") for _, record in ordered]
        gaps = [one ^ other for one, other in pairwise(places)]
        self._queue = deque(
            (op, record, min(gaps[max(0, at - 1) : at + 1], default=ID_SPACE))
            for at, (op, record) in enumerate(ordered)
        )
        self._working: set[PutMember] = set()
        self._met: dict[bytes, Contact] = {}
        """Who answered."""
        self._asking: dict[bytes, list[PutMember]] = {}
        """Who is asked for the way, by node key, for whom; the first one's place was asked for."""
        self._late: set[bytes] = set()
        """Those of them that take longer than they should."""
        self._held: dict[Contact, list[PutMember]] = {}
        """What is to be written where."""
        self._quick: set[int] = set()
        """Requests whose answers are worth waiting for."""
        self._settling = False

    def settle(self, now: float) -> None:
        """Begin with further records where there is room, and send what has waited long enough."""
        if self._settling:
            return
        self._settling = True
        while self._queue and len(self._working) < AT_ONCE:
            self._begin(*self._queue.popleft(), now)
        if not self._quick:
            held, self._held = self._held, {}
            for contact, members in held.items():
                self._send(contact, members, now)
        self._settling = False

    def _begin(self, op: int, record: SignedRecord, gap: int, now: float) -> None:
        member = PutMember(self.context, op, record, now, self, gap=gap)
        member.whole = self._wholes.get(op)
        self._working.add(member)
        number, reach = member.lookup.target, NEAR * member.region
        member.start(now, [contact for contact in self._met.values() if contact.long_id ^ number < reach])

    def on_ended(self, member: PutMember, now: float) -> None:
        """A record is done with."""
        self._working.discard(member)
        self.ended = not (self._working or self._queue)

    # What the walks want

    def find(self, member: PutMember, contact: Contact, now: float) -> None:
        """Ask for the way, or wait for who asks already."""
        waiting = self._asking.get(contact.key)
        if waiting is not None:
            waiting.append(member)
            if contact.key in self._late:
                member.note_slowness(contact)
            return
        self._asking[contact.key] = [member]
        fields = (member.target,)
        self._quick.add(self.context.request(contact, self, FindNode, fields, now, resend=member.thin))

    def write(self, member: PutMember, contact: Contact, now: float) -> None:
        """Send the record, soon or now."""
        if member.alone:
            self._send(contact, [member], now)
            return
        held = self._held.setdefault(contact, [])
        held.append(member)
        if len(_first_load(held)) < len(held):
            self._held[contact] = [member]
            self._send(contact, held[:-1], now)

    def _send(self, contact: Contact, members: Sequence[PutMember], now: float) -> None:
        while members:
            load = _first_load(members)
            members = members[len(load) :]
            leads_on = any(not member.is_writing for member in load)
            if len(load) == 1:
                fields: tuple[object, ...] = (*load[0].item, leads_on, None)
                rid = self.context.request(contact, self, Put, fields, now, tag=load, resend=True)
            else:
                fields = ([member.item for member in load], leads_on)
                rid = self.context.request(contact, self, PutMany, fields, now, tag=load, resend=True)
            self._quick.add(rid)

    # What comes of it

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Hand an answer to whomever it serves."""
        contact = pending.contact
        self._met[contact.key] = contact
        self._settling = True
        members = self._taken_off(pending)
        if isinstance(message, Nodes) and members[0].asks_again(pending, message, now):
            for member in members[1:]:
                self.find(member, contact, now)
            members = []
        elif isinstance(message, Nodes):
            first, *others = members
            first.take_nodes(contact, message.nodes4, message.nodes6, now)
            for member in others:
                member.share_answer(contact, message, now)
        elif isinstance(message, Stored | StoredMany):
            verdicts = [(message.status, message.seq)] if isinstance(message, Stored) else list(message.verdicts)
            # Of what a reply leaves out nothing is known.
            verdicts += [(Refusal.TIMEOUT, 0)] * (len(members) - len(verdicts))
            for member, verdict in zip(members, verdicts, strict=False):
                member.take_verdict(pending, verdict, message, now)
        for member in members:
            member.go_on(now)
        self._settling = False
        self.settle(now)

    def on_slow(self, pending: Pending, now: float) -> None:
        """Wait for it no longer."""
        self._quick.discard(pending.rid)
        self._settling = True
        if pending.tag is None:
            self._late.add(pending.contact.key)
        for member in list(self._members_of(pending)):
            member.take_slowness(pending.contact, now)
        self._settling = False
        self.settle(now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """Nobody hears of the node what was asked for."""
        self._settling = True
        for member in self._taken_off(pending):
            member.take_silence(pending.contact, now, written=pending.tag is not None)
        self._settling = False
        self.settle(now)

    def _members_of(self, pending: Pending) -> list[PutMember]:
        members = self._asking[pending.contact.key] if pending.tag is None else pending.tag
        assert isinstance(members, list)
        return members

    def _taken_off(self, pending: Pending) -> list[PutMember]:
        members = self._members_of(pending)
        self._quick.discard(pending.rid)
        if pending.tag is None:
            del self._asking[pending.contact.key]
            self._late.discard(pending.contact.key)
        return members


def _first_load(members: Sequence[PutMember]) -> list[PutMember]:
    """As many of the first as one datagram holds, one at least."""
    room = ROOM_FOR_ITEMS
    load: list[PutMember] = []
    for member in members[:MAX_BATCH]:
        room -= ITEM_HEAD + len(member.item[0])
        if room < 0 and load:
            break
        load.append(member)
    return load
