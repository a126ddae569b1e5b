"""Operations that read: the nodes nearest to a target, what is stored at a place, whether one node lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dht.contact import Contact, unpack_address
from dht.errors import DecodeError
from dht.events import FindNodeDone, GetDone, JoinDone, PingDone
from dht.family import Family
from dht.operation import Context, Operation
from dht.operation_walk import Walk
from dht.records import Kind, RecordRefused, Refusal, SignedRecord, decode_record, verify_record
from dht.requests import Pending
from dht.wire import Get, Message, Ping, Pong, Value

MAX_PAGES = 8
"""Pages of a crowded topic read from one node. UNSOURCED: 8 x 3 records of 300 bytes or more."""

SPARE = 2
"""Requests in flight beyond what a quorum lacks: covers a lost datagram or two. UNSOURCED."""

NAMING = 3
"""First questions of a read, for each path, that ask for contacts even where enough are known: who reads what its own
table leads to would else not hear of a crowd. Measured in `docs/results/hostile.md`."""

_AGAIN = -1
"""Tag of a first page that is asked for a second time, now that the answer may be longer than the question."""


class FindNodeWalk(Walk):
    """Finds the k nodes nearest to a target."""

    def finish_walk(self, now: float) -> None:
        """Report the closest."""
        self.ended = True
        self.learn_size()
        k = self.context.config.k
        closest = tuple(self.lookup.closest(k))
        self.deliver(FindNodeDone(self.op, closest, self.lookup.stats(now), self.trace()), now)


class JoinWalk(Walk):
    """Walks to our own id, so that our neighbourhood and we know each other (Kademlia paper, section 2.3)."""

    def __init__(
        self,
        context: Context,
        op: int,
        family: Family,
        now: float,
        then: Callable[[Family, float], None],
        contacts: Iterable[Contact],
    ) -> None:
        """`contacts`: of this family, by whom to join. `then` is called when the walk has ended."""
        super().__init__(context, op, family.own_place, now, family=family)
        self._then = then
        self._contacts = contacts

    def start(self, now: float, contacts: Iterable[Contact] = ()) -> None:
        """Begin from the table and the contacts given."""
        super().start(now, self._contacts)

    def finish_walk(self, now: float) -> None:
        """Report how many contacts we have."""
        self.ended = True
        self.learn_size()
        self._then(self.family, now)
        self.deliver(JoinDone(self.op, len(self.family.table), self.lookup.stats(now)), now)


class GetWalk(Walk):
    """Reads a place: ends once enough nodes agree on the newest record, or the k closest have answered.

    At a crowded place nobody's agreement counts: all of the region are asked, and the newest record wins.
    """

    looks_behind_crowds = True

    def __init__(
        self,
        context: Context,
        op: int,
        place: bytes,
        now: float,
        *,
        quorum: int,
        paths: int = 0,
        family: Family | None = None,
    ) -> None:
        super().__init__(context, op, place, now, paths=paths, family=family)
        self._quorum = quorum
        self._newest: dict[bytes, SignedRecord] = {}
        self._copies: dict[bytes, int] = {}
        self._refused: list[tuple[Contact, Refusal]] = []
        self._topic = False
        self._pages = 0
        """Further pages asked for and not answered yet."""
        self._asked = 0

    def start(self, now: float, contacts: Iterable[Contact] = ()) -> None:
        """Begin with what we hold ourselves: we may be of the replica set, or all there is."""
        for record in self.context.held(self.target, now):
            self._newest[record.owner] = record
            self._copies[record.owner] = 1
            self._topic = record.kind is Kind.TOPIC
        super().start(now, contacts)

    def suffices(self) -> bool:
        """In a network of fewer nodes than replicas the quorum is theirs: the dead are not waited for."""
        nodes = self.lookup.all_asked if self._copies and not (self._topic or self.crowded) else 0
        if not 0 < nodes < self.context.config.k:
            return False
        nodes += self.family.own_contact is not None
        return max(self._copies.values()) > nodes - self.context.config.acknowledgements(nodes)

    def may_finish(self) -> bool:
        """With a record in hand, yes; without one the slow are waited for: on an overloaded machine all holders are."""
        return not self._pages and (bool(self._newest) or self.lookup.settled)

    def wanted(self) -> int:
        """As many as are missing for the quorum, and a few to spare once the walk is where the copies are.

        More bring little on the way: at 400 nodes ten in flight cost 16.8 requests where six cost 13, for 20 ms of 250.
        """
        if self._topic or self.crowded:
            return self.context.config.alpha
        if not (self._copies or self.knows(self._quorum + SPARE)):
            return min(self._quorum, self.context.config.alpha)
        return self._quorum - max(self._copies.values(), default=0) + SPARE

    def ask(self, contact: Contact, now: float) -> None:
        """Ask for the first page."""
        self._asked += 1
        fields = (self.target, self._asks_for_names(), 0)
        self.context.request(contact, self, Get, fields, now, tag=0, resend=self.thin)

    def _asks_for_names(self) -> bool:
        """Whether an answer is to name contacts, too: not where enough are known, and a record has been seen early.

        Whoever joined while the network was small takes far nodes for near ones, and would ask nobody but these.
        """
        lost = not self._copies and self._asked > self._quorum + SPARE
        return lost or self._asked <= NAMING * self.paths or not self.knows(2 * self._quorum)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """Take in records, contacts, and ask for the next page of a topic."""
        if self.ended or not isinstance(message, Value) or self.asks_again(pending, message, now):
            return
        taken = 0
        for raw in dict.fromkeys(message.records):  # one that repeats itself is still one copy
            taken += self._take(pending.contact, raw, now)
        page = pending.tag if isinstance(pending.tag, int) else 0
        self._pages -= page != 0
        if page == 0:
            self.take_nodes(pending.contact, message.nodes4, message.nodes6, now, had_value=taken > 0)
            if message.total and not message.records:
                # It has some and did not take us for who we are: our address is another. Its reply has the new token.
                self._pages += 1
                self.context.request(pending.contact, self, Get, (self.target, False, 0), now, tag=_AGAIN, resend=True)
        page = max(page, 0)
        # The page index is the number of records had from this node; a node that sends none gets no more questions.
        had = page + len(message.records)
        if self._topic and message.records and had < message.total and page // len(message.records) < MAX_PAGES:
            self._pages += 1
            self.context.request(pending.contact, self, Get, (self.target, False, had), now, tag=had, resend=True)
        if not (self._topic or self.crowded) and max(self._copies.values(), default=0) >= self._quorum:
            self.conclude(now)
        if not self.ended:
            self.advance(now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """Go on without it, and without the pages it had."""
        self._pages -= isinstance(pending.tag, int) and pending.tag != 0
        super().on_failure(pending, now)

    def _take(self, contact: Contact, raw: bytes, now: float) -> int:
        for owner, known in self._newest.items():
            if known.raw == raw:
                self._copies[owner] += 1
                return 1
        try:
            record = verify_record(decode_record(raw), now, self.context.verdicts, place=self.target)
        except RecordRefused as error:
            self._refused.append((contact, error.refusal))
            self.context.count("get_refused_" + error.refusal.name.lower())
            return 0
        self._topic = self._topic or record.kind is Kind.TOPIC
        newest = self._newest.get(record.owner)
        if newest is None or record.newer_than(newest):
            self._newest[record.owner] = record
            self._copies[record.owner] = 1
        elif record.seq == newest.seq:
            # Two records with one sequence number: the owner broke the rule. All nodes settle on the greater bytes.
            self._refused.append((contact, Refusal.CONFLICT))
            if record.raw > newest.raw:
                self._newest[record.owner] = record
                self._copies[record.owner] = 1
        else:
            self._refused.append((contact, Refusal.OLDER))
        return 1

    def finish_walk(self, now: float) -> None:
        """End."""
        self.ended = True
        if self.lookup.finished:
            self.learn_size()
        self.report(now)

    @property
    def newest(self) -> tuple[SignedRecord, ...]:
        """The newest valid record met so far; of a topic, one for each owner."""
        return tuple(self._newest.values())

    def report(self, now: float) -> None:
        """Report the newest valid records."""
        done = GetDone(
            self.op,
            self.target,
            self.newest,
            max(self._copies.values(), default=0),
            tuple(self._refused),
            tuple(self.lookup.closest(self.context.config.k)),
            self.stats(now),
            self.trace(),
            self._why_ended(now),
        )
        self.deliver(done, now)

    def _why_ended(self, now: float) -> str:
        stats = self.lookup.stats(now)
        if not self._topic and max(self._copies.values(), default=0) >= self._quorum:
            return "agreed"
        if not stats.requests:
            return "nobody"
        if self.suffices():
            return "all"
        return "closest" if len(self.lookup.closest(self.context.config.k)) == self.context.config.k else "exhausted"


class PingOperation(Operation):
    """Asks one node whether it is there."""

    def start(self, contact: Contact, now: float, *, once: float | None = None) -> None:
        """Send the PING; again when it is slow, or `once`, and wait so many seconds."""
        self.context.request(contact, self, Ping, (), now, resend=once is None, timeout=once)

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """It is."""
        if isinstance(message, Pong):
            try:
                observed = unpack_address(message.observed)
            except DecodeError:
                observed = None
            self.ended = True
            self.context.emit(PingDone(self.op, pending.contact, now - pending.sent, observed))

    def on_failure(self, pending: Pending, now: float) -> None:
        """It is not, or not for us."""
        self.ended = True
        self.context.emit(PingDone(self.op, pending.contact, None, None))
