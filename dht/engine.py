"""The DHT engine: wires the parts to five verbs and a handful of commands.

    receive_datagram(data, addr, now)   datagrams_to_send(now)   next_timer()   handle_timer(now)   next_event()

It never raises for what a stranger sends: such datagrams are counted by reason and dropped. `now` is Unix seconds and
must not go back. Tests drive it by hand, the node on asyncio, the simulator on a virtual clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random

from dht.config import DhtConfig
from dht.constants import ID_BYTES, MAX_SIGNAL
from dht.contact import Address, Contact, pack_contacts
from dht.crawl import QUESTIONS, Crawl, Crawling
from dht.dispatch import Dispatch
from dht.engine_told import Told
from dht.errors import LocalError
from dht.events import Event, ModeChanged, RecordDropped
from dht.exchange import Exchange
from dht.families import Families
from dht.family import Family
from dht.identity import IdentityKey, NodeKey
from dht.inbox import Inbox
from dht.keeping_families import Keepers
from dht.limits import Tokens
from dht.meeting import SignalOperation
from dht.meeting_homes import HomeKeeper, Served
from dht.notices import Notices
from dht.operation import Operation
from dht.operation_walk import QuietWalk
from dht.operation_whole import SwapInTurn, WholeFind, WholeGet, WholeJoin, WholePut, begin
from dht.publish import PutWalk
from dht.publish_many import PutBatch
from dht.records import RecordRefused, Refusal, SignedRecord, VerdictCache, decode_record, peer_place, verify_record
from dht.repair import Repair
from dht.repair_bridge import Bridge
from dht.responder import Responder
from dht.sealing import Sealer, Sealing
from dht.store import Store
from dht.walks import FindNodeWalk, GetWalk, JoinWalk, PingOperation
from dht.watching import Watching
from dht.wire import DownHint, Request


class DhtEngine(Told):
    """One DHT node without a socket."""

    def __init__(
        self,
        config: DhtConfig,
        node_key: NodeKey,
        rng: Random,
        now: float,
        *,
        network_key: bytes = b"",
        verdicts: VerdictCache | None = None,
        sealer: Sealing | None = None,
    ) -> None:
        """`verdicts` may be shared by engines of one process. `sealer`: who seals under `node_key`, if not `Sealer`;
        it knows the network key itself."""
        self.config = config
        self.node_key = node_key
        self.own_key = node_key.public
        self.counters: Counter[str] = Counter()
        self.verdicts = verdicts if verdicts is not None else VerdictCache()
        self.sent_at = [now, now]
        self._store = Store(0, config)
        # Lists, though they are queues: they are short, and a deque takes 760 bytes.
        self._events: list[Event] = []
        self.emit = self._events.append
        """Report to the application."""
        sealer = sealer if sealer is not None else Sealer(node_key, rng, network_key=network_key)
        self._exchange = Exchange(config, sealer, rng, self.counters, self._is_contact)
        self.requests = self._exchange.requests
        # Not a method that calls the other: with nine arguments that costs as much as sealing.
        self.request = self._exchange.request
        self.note_recipients = self._exchange.note_recipients
        self.recipient_at = self._exchange.recipient_at
        """Send a request whose outcome goes to an operation."""
        tokens = Tokens(rng, config.token_rotation, now)
        self._notices = Notices(self, config, self._store)
        self.watching = Watching(self, rng)
        """What is watched here: `watch(place, now)`, then `RecordChanged` until `unwatch(place, now)`."""
        self._crawling = Crawling()
        self._responder = Responder(config, self._store, tokens, self.verdicts, self.emit, self._on_record)
        self._exchange.spent, self._exchange.charge = self._responder.spent, self._responder.admit
        self._inbox = Inbox(self, self._exchange, config, lambda: self.public_addresses)
        repair = Repair(self, config, self._store, rng)
        told = self._on_address, self._on_mode, self._after_join
        self._families = Families(self, self._exchange, config, repair, rng, now, told)
        self._store.move(self.own_id)
        self._bridge = Bridge(self, config, self._store, rng)
        self._dispatch = Dispatch(
            self,
            self._exchange,
            self._responder,
            self._inbox,
            self._families,
            self._notices,
            self.watching,
            lambda *again: any(keeper.on_again(*again) for keeper in self._homes),
        )
        self._homes: Keepers[HomeKeeper] = Keepers(self)
        self._waiting: list[Operation] = []
        self._restored: list[Contact] = []
        self._last_op = 0

    # The five verbs

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take in a datagram that came from `addr`."""
        opened = self._exchange.open(data, addr, now)
        if opened is None:
            return
        key, message = opened
        if isinstance(message, Request):
            self._dispatch.on_request(message, key, addr, len(data), now)
        else:
            self._dispatch.on_message(message, key, addr, now)
        if self._waiting:
            self._wake(now)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """Return what is to be sent now, each datagram with its destination."""
        out = self._exchange.take_out()
        if out:
            for _, address in out:
                self.sent_at[":" in address[0]] = now
        return out

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called next, Unix seconds."""
        # Asked after every datagram: each part keeps its own time ready.
        first = min(self._families.due, self._homes.due, self._inbox.due)
        first = min(first, self._notices.due, self.watching.due, self._crawling.due, self._bridge.due)
        timer = self.requests.next_timer()
        if timer is not None and timer < first:
            first = timer
        timer = self._store.next_expiry()
        if timer is not None and timer < first:
            first = timer
        return first

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for pending, lost in self.requests.due(now):
            if lost:
                self.counters["timeouts"] += 1
                if not pending.timed:
                    self._families.of(pending.contact.ip, now).maintenance.on_silence(pending.contact, now)
                pending.owner.on_failure(pending, now)
            else:
                if pending.resend:
                    self._exchange.resend(pending)
                pending.owner.on_slow(pending, now)
        self._families.tick(now)
        for part in (self._homes, self._inbox, self._notices, self.watching, self._crawling, self._bridge):
            if part.due <= now:
                part.tick(now)
        for record in self._store.expire(now):
            self.emit(RecordDropped(record.place, record.owner))
        self._wake(now)

    def next_event(self) -> Event | None:
        """The next thing to report, or None."""
        return self._events.pop(0) if self._events else None

    # Commands

    def restore(self, contacts: Iterable[Contact], records: Iterable[tuple[bytes, float]], now: float) -> int:
        """Take back what a journal kept: contacts (asked again at the next join before they count) and others' records
        as (bytes, until when). Returns how many records held."""
        self._restored = list(contacts)
        kept = 0
        for raw, expires in records:
            try:
                record = verify_record(decode_record(raw), now, self.verdicts)
            except RecordRefused as error:
                self.counters["restore_refused_" + error.refusal.name.lower()] += 1
                continue
            refusal, _ = self._store.put(record, now, expires=expires)
            kept += refusal is Refusal.NONE
        return kept

    def join(self, contacts: Sequence[Contact], now: float) -> int:
        """Get to know our neighbourhood by way of `contacts`, and of those restored. Ends with `JoinDone`."""
        known = [contact for contact in (*contacts, *self._restored) if contact.key != self.own_key]
        sorted_out, op = self._families.by_family(known, now), self._new_op()
        walks = [JoinWalk(self, op, seat, now, self._after_join, of_it) for seat, of_it in sorted_out]
        return begin(WholeJoin, self, walks, now)

    def find_node(self, target: bytes, now: float, *, explain: bool = False) -> int:
        """Find the k nodes nearest to `target` (20 bytes). Ends with `FindNodeDone`, which has a trace on `explain`."""
        _check_place(target)
        op = self._new_op()
        walks = [FindNodeWalk(self, op, target, now, family=family) for family in self._families.walked]
        return begin(WholeFind, self, walks, now, explain=explain)

    def get(
        self, place: bytes, now: float, *, quorum: int | None = None, paths: int | None = None, explain: bool = False
    ) -> int:
        """Read the newest record at `place` (20 bytes). Ends with `GetDone`.

        `quorum`: equal answers that end it early, default `DhtConfig.read_quorum`. `paths`: disjoint ones. `explain`:
        put a trace of all who were asked into the outcome.
        """
        _check_place(place)
        quorum, paths, op = self.config.read_quorum if quorum is None else quorum, paths or 0, self._new_op()
        walked = self._families.walked
        walks = [GetWalk(self, op, place, now, quorum=quorum, paths=paths, family=family) for family in walked]
        return begin(WholeGet, self, walks, now, explain=explain)

    def put(self, record: SignedRecord, now: float, *, expected_seq: int | None = None) -> int:
        """Store a record of ours. Ends with `PutDone`, before which `PutAcknowledged` may come."""
        op = self._new_op()
        first, *others = self._families.walked
        walks = [PutWalk(self, op, record, now, expected_seq=expected_seq, family=first)]
        walks += [PutWalk(self, op, record, now, expected_seq=None, family=other) for other in others]
        return begin(WholePut if expected_seq is None else SwapInTurn, self, walks, now)

    def put_many(self, records: Sequence[SignedRecord], now: float) -> list[int]:
        """Store records of ours in one go, which costs less than one by one. Returns the number of an operation for
        each, in order; each ends as that of `put` does."""
        ops = [self._new_op() for _ in records]
        walked = self._families.walked
        wholes = {op: WholePut(self, len(walked)) for op in ops} if len(walked) > 1 else None
        for family in walked:
            PutBatch(self, zip(ops, records, strict=True), family, wholes).settle(now)
        return ops

    def ping(self, contact: Contact, now: float, *, once: float | None = None) -> int:
        """Ask one node for a sign of life. Ends with `PingDone`. `once`: send one datagram and wait so many seconds, to
        see whether that one comes through."""
        operation = PingOperation(self, self._new_op())
        operation.start(contact, now, once=once)
        return operation.op

    def crawl(
        self,
        now: float,
        *,
        rate: float,
        questions: int = QUESTIONS,
        window: int = 256,
        contacts: Iterable[Contact] = (),
        known: Iterable[Contact] = (),
    ) -> int:
        """Map the network from our table and `contacts` on, at `rate` requests a second; `known` are not asked again.

        Ends with `CrawlDone`; `NodeCrawled` tells of each address. Another crawl, or `stop_crawl`, ends it before.
        """
        ways_out, op = self._families.ways_out, self._new_op()
        crawl = Crawl(self, op, now, questions=questions, rate=rate, window=window, ways_out=ways_out)
        return self._crawling.begin(crawl, [*self.contacts(), *contacts], now, known=known)

    @property
    def crawl_heard_of(self) -> int:
        """Addresses of nodes that the present crawl, or the last one, has heard of."""
        return self._crawling.heard_of

    def stop_crawl(self, now: float) -> None:
        """End the crawl with what there is."""
        self._crawling.stop(now)

    def signal(self, recipient: bytes, blob: bytes, homes: Sequence[Contact], now: float, *, reply: bytes = b"") -> int:
        """Hand a sealed blob to a peer by way of all its home nodes. Ends with `SignalDone`.

        `recipient`: the place of an identity, or the reply handle of a signal received. `reply`: 20 random bytes under
        which an answer may come (as `SignalReceived`), none if none is wanted.
        """
        _check_place(recipient)
        if len(blob) > MAX_SIGNAL:
            raise LocalError(f"a signal has at most {MAX_SIGNAL} bytes, not {len(blob)}")
        if reply:
            _check_place(reply)
            self._inbox.expect(reply, now)
        operation = SignalOperation(self, self._new_op(), recipient, reply, blob)
        # Where we are a home node ourselves, the peer it leads to is asked straight away.
        ways = [home if home.key != self.own_key else self._inbox.registered(recipient, now) for home in homes]
        operation.start([way for way in ways if way is not None], now)
        return operation.op

    def serve_identity(self, identity: IdentityKey, now: float) -> None:
        """Be reachable as `identity`: keep forwarding entries (`HomesChanged`) and take signals (`SignalReceived`)."""
        self._inbox.serve(identity)
        if (place := peer_place(identity.public)) not in self._homes:
            self._homes.add(place, partial(HomeKeeper, self, Served(identity)), now)

    def close(self, now: float) -> None:
        """Report nothing more and ask nobody anything; what is in flight is forgotten."""
        self._homes.close()
        self.watching.close()
        self._waiting.clear()
        self._events.clear()
        self._exchange.take_out()

    # What operations use (`dht.operation.Context`)

    def wait(self, operation: Operation) -> None:
        """Call `operation.advance` again once there is room for requests."""
        if operation not in self._waiting:
            self._waiting.append(operation)

    def named_dead(self, referrer: Contact, dead: Contact, now: float) -> None:
        """Tell `referrer` of a contact of its that does not answer, if it is not too often."""
        if self._families.of(referrer.ip, now).maintenance.may_hint(referrer, now):
            nodes4, nodes6 = pack_contacts([dead], len(dead.packed))
            self._exchange.send(referrer.key, referrer.address, DownHint(self.requests.new_id(), b"", nodes4, nodes6))

    def count(self, what: str) -> None:
        """Count an occurrence."""
        self.counters[what] += 1

    @property
    def families(self) -> Families:
        """What we are and know in each family of addresses."""
        return self._families

    def held(self, place: bytes, now: float) -> list[SignedRecord]:
        """What we hold at a place for others."""
        return self._store.get(place, now)

    def keep(self, record: SignedRecord, until: float, expected_seq: int | None, now: float) -> Refusal:
        """Hold a record ourselves."""
        return self._responder.keep(record, now, expires=until, expected_seq=expected_seq)

    # Consequences

    def _after_join(self, family: Family, now: float) -> None:
        seat = self._families.seat(family)
        seat.maintenance.after_join(now)
        seat.outlook.start_round(now)
        for keepers in (self._homes, self.watching):
            keepers.look_soon(now, family)

    def _on_record(self, record: SignedRecord, now: float) -> None:
        self._notices.on_stored(record, now)
        self._bridge.on_stored(record, now)
        self.watching.on_stored(record, now)

    def _on_address(self, family: Family, address: Address, now: float) -> None:
        """Our id follows our address, and so do we: what we hold stays, and repair moves it where it belongs. Home
        nodes and holders that we watch with would send to where we were."""
        before = family.address
        if family.move(address, now):
            self._store.move(*(seat.own_id for seat in self._families.all))
            self._settle(family, now)
        if before is not None and before[0] != address[0]:
            for keepers in (self._homes, self.watching):
                keepers.renew_all(now, family)

    def _on_mode(self, family: Family, now: float) -> None:
        before = self.mode
        self._families.on_mode(family)
        self._settle(family, now)
        if self.mode is not before or len(self._families.all) == 1:
            self.emit(ModeChanged(self.mode, self.mode_reason))

    def _settle(self, family: Family, now: float) -> None:
        """Get to know the neighbourhood of our place: the join went to another place, or was a client's, whom nobody
        takes into a table."""
        if family.server and len(family.table):
            after = self._families.seat(family).maintenance.after_join
            QuietWalk(self, family.own_place, now, lambda _, then: after(then), family=family).start(now)

    def _is_contact(self, key: bytes) -> bool:
        return any(seat.table.get(key) is not None for seat in self._families.all)

    def _new_op(self) -> int:
        self._last_op += 1
        return self._last_op

    def _wake(self, now: float) -> None:
        for _ in range(len(self._waiting)):
            if self.requests.room < self.config.alpha:
                return
            self._waiting.pop(0).advance(now)


def _check_place(place: bytes) -> None:
    if len(place) != ID_BYTES:
        raise LocalError(f"a place has {ID_BYTES} bytes, not {len(place)}")
