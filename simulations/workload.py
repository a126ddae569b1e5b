"""What peers are asked for: records put, read and looked for, one by one or as a steady load.

Decides who asks, what counts as right, and what is recorded of each operation. An operation whose own peer dies
under way is nobody's failure: it is counted as abandoned. Refuses to know who lives and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from dht.constants import ID_BYTES
from dht.events import FindNodeDone, GetDone, OperationEvent, PutAcknowledged, PutDone, Receipt
from dht.identity import IdentityKey
from dht.records import Kind, SignedRecord, sign_record
from simulations.diurnal import Diurnal
from simulations.errors import BadScenario, SimulationError
from simulations.ground import Ground
from simulations.peers import Peer

PAYLOAD_BYTES: Final = 200
"""Bytes of a record's value unless a script says otherwise: with its envelope about 320, as other systems' records
were measured."""

RECORD_LIFE: Final = 86_400.0
"""Seconds until a record expires, unless a script says otherwise: a day, as in the Kademlia paper (section 2.5)."""

ASKERS_TRIED: Final = 1000
"""Random peers looked at for one that can ask. UNSOURCED"""

T = TypeVar("T")


class NobodyAsks(SimulationError):
    """Raised when no living peer has joined, so that nobody can ask for anything."""


@dataclass(frozen=True, slots=True)
class PutOutcome:
    """What became of a put."""

    record: SignedRecord
    receipt: Receipt | None
    """None when the asking peer died."""
    took: float
    by: Peer

    @property
    def ok(self) -> bool:
        """Whether enough nodes acknowledged it."""
        return self.receipt is not None and self.receipt.ok


@dataclass(frozen=True, slots=True)
class GetOutcome:
    """What became of a read."""

    place: bytes
    records: tuple[SignedRecord, ...]
    reason: str
    """Empty when the right record came; not-found, stale, or abandoned."""
    done: GetDone | None
    """The event; None when the asking peer died."""
    took: float
    by: Peer

    @property
    def ok(self) -> bool:
        """Whether the right record came."""
        return not self.reason


class Workload(Ground):
    """The part of a world that asks."""

    _asked = 0
    abandoned = 0
    """Operations whose own peer died under way."""

    # One at a time

    async def put(
        self,
        payload: bytes | None = None,
        *,
        owner: IdentityKey | None = None,
        salt: bytes = b"simulated",
        seq: int = 1,
        life: float = RECORD_LIFE,
        by: Peer | None = None,
    ) -> PutOutcome:
        """Sign a record (random, of a new owner, unless said otherwise) and store it from a random peer, or `by`."""
        rng = self.streams.stream(f"put/{self._next()}")
        owner = owner or IdentityKey.from_seed(rng.randbytes(32))
        payload = rng.randbytes(PAYLOAD_BYTES) if payload is None else payload
        expires = self.queue.now + life
        return await self.put_record(sign_record(owner, Kind.MUTABLE, payload, seq=seq, expires=expires, salt=salt), by)

    async def put_record(self, record: SignedRecord, by: Peer | None = None, *, kind: str = "put") -> PutOutcome:
        """Store a record that is signed already; `kind` is what the operation is recorded as."""
        by = by or self.asker()
        started = self.queue.now
        done = await self.ask(by, lambda engine, now: engine.put(record, now))
        took = self.queue.now - started
        if done is None:
            return PutOutcome(record, None, took, by)
        assert isinstance(done, PutAcknowledged | PutDone)
        receipt = done.receipt
        reason = "" if receipt.ok else max(receipt.reasons, key=lambda name: receipt.reasons[name], default="nobody")
        self._record(kind, started, by, receipt.ok, reason, receipt.stats)
        return PutOutcome(record, receipt, took, by)

    async def put_records(self, records: Sequence[SignedRecord], by: Peer) -> list[PutOutcome]:
        """Store records that are signed already in one go; each is recorded as an operation of the kind `put_many`."""
        started = self.queue.now
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[PutOutcome]] = [loop.create_future() for _ in records]

        def ended(at: int, done: OperationEvent | None) -> None:
            took = self.queue.now - started
            receipt = done.receipt if isinstance(done, PutAcknowledged | PutDone) else None
            if receipt is None:
                self.abandoned += 1
            else:
                reason = "" if receipt.ok else max(receipt.reasons, key=receipt.reasons.__getitem__, default="nobody")
                self._record("put_many", started, by, receipt.ok, reason, receipt.stats)
            futures[at].set_result(PutOutcome(records[at], receipt, took, by))

        by.ask_many(lambda engine, now: list(engine.put_many(records, now)), ended)
        return list(await asyncio.gather(*futures))

    async def get(
        self,
        what: SignedRecord | PutOutcome | bytes,
        *,
        by: Peer | None = None,
        quorum: int | None = None,
        paths: int | None = None,
        random_start: bool = False,
        kind: str = "get",
    ) -> GetOutcome:
        """Read a record from a random peer, or `by`: one that was put, which must come as it is or newer, or whatever
        lies at a place (20 bytes)."""
        by = by or self.asker()
        record = what.record if isinstance(what, PutOutcome) else what
        place = record if isinstance(record, bytes) else record.place
        started = self.queue.now

        def begin(engine: Any, now: float) -> int:
            if not random_start:
                return int(engine.get(place, now, quorum=quorum, paths=paths))
            # A setting of the whole engine, for this one read.
            usual = engine.config
            engine.config = replace(usual, random_start=True)
            op = int(engine.get(place, now, quorum=quorum, paths=paths))
            engine.config = usual
            return op

        done = await self.ask(by, begin)
        took = self.queue.now - started
        if done is None:
            return GetOutcome(place, (), "abandoned", None, took, by)
        assert isinstance(done, GetDone)
        reason = _verdict(None if isinstance(record, bytes) else record, done)
        self._record(kind, started, by, not reason, reason, done.stats)
        return GetOutcome(place, done.records, reason, done, took, by)

    async def find_node(self, target: bytes | None = None, *, by: Peer | None = None) -> FindNodeDone | None:
        """Look for the nodes nearest to a place (a random one unless given); None when the asking peer died."""
        by = by or self.asker()
        wanted = self.streams.stream(f"target/{self._next()}").randbytes(ID_BYTES) if target is None else target
        started = self.queue.now
        done = await self.ask(by, lambda engine, now: engine.find_node(wanted, now))
        if done is None:
            return None
        assert isinstance(done, FindNodeDone)
        self._record("find_node", started, by, bool(done.closest), "" if done.closest else "nobody", done.stats)
        return done

    async def ask(self, peer: Peer, command: Callable[[Any, float], int]) -> OperationEvent | None:
        """Run `command(engine, now)`, which starts an operation, on a peer, and wait for the event that ends it.

        None when the peer died before. Nothing is recorded.
        """
        future: asyncio.Future[OperationEvent | None] = asyncio.get_running_loop().create_future()

        def ended(event: OperationEvent | None) -> None:
            if not future.done():
                future.set_result(event)

        peer.ask(command, ended)
        event = await future
        if event is None:
            self.abandoned += 1
        return event

    # Many

    async def puts(
        self, count: int, *, per_second: float = 10.0, by: Sequence[Peer] | None = None, diurnal: Diurnal | None = None
    ) -> list[PutOutcome]:
        """Put `count` new records, at random times but `per_second` on average; wait for the last.

        With `diurnal` more by day than by night, of longitude 0.
        """
        return await self._many(count, per_second, lambda _: self.put(by=self.asker(by)), diurnal)

    async def gets(
        self,
        count: int,
        records: Sequence[PutOutcome | SignedRecord],
        *,
        per_second: float = 10.0,
        by: Sequence[Peer] | None = None,
        diurnal: Diurnal | None = None,
        **how: Any,
    ) -> list[GetOutcome]:
        """Read records chosen at random `count` times, `per_second` on average; wait for the last. As `puts`; `how` is
        handed to `get`."""
        if not records:
            raise BadScenario("there is nothing to read: put records first, and give them to gets()")
        rng = self.streams.stream(f"gets/{self._next()}")
        chosen = [rng.choice(records) for _ in range(count)]
        asker, get = self.asker, self.get
        return await self._many(count, per_second, lambda at: get(chosen[at], by=asker(by), **how), diurnal)

    async def find_nodes(self, count: int, *, per_second: float = 10.0) -> list[FindNodeDone | None]:
        """Look for `count` random places, `per_second` on average; wait for the last."""
        return await self._many(count, per_second, lambda _: self.find_node())

    def asker(self, among: Sequence[Peer] | None = None) -> Peer:
        """A random peer that lives and has joined, of those given or of all. Raises `NobodyAsks`."""
        pool = self.living if among is None else among
        rng = self.streams.stream(f"asker/{self._next()}")
        for _ in range(ASKERS_TRIED if pool else 0):
            peer = rng.choice(pool)
            if peer.alive and peer.joined and not self.network.host(peer.address[0]).state:
                return peer
        raise NobodyAsks(f"seed {self.seed}, at {self.elapsed:.3f} s: none of {len(pool)} peers lives and has joined")

    async def _many(
        self,
        count: int,
        per_second: float,
        start: Callable[[int], Coroutine[Any, Any, T]],
        diurnal: Diurnal | None = None,
    ) -> list[T]:
        if not (count > 0 and per_second > 0):
            raise BadScenario(f"{count!r} operations at {per_second!r} a second: both must be above 0")
        rng = self.streams.stream(f"arrivals/{self._next()}")
        # Askers know nothing of one another, so they come as a Poisson process; without day and night a steady one.
        wave = diurnal or Diurnal(0.0, 0.0)
        tasks: list[asyncio.Task[T]] = []
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                now = self.queue.now
                await asyncio.sleep(wave.next_arrival(now, per_second, rng) - now)
                tasks.append(group.create_task(start(index)))
        return [task.result() for task in tasks]

    def _record(self, kind: str, started: float, by: Peer, ok: bool, reason: str, stats: Any) -> None:
        self.metrics.operation(
            kind,
            started=started - self.started,
            took=self.queue.now - started,
            ok=ok,
            reason=reason,
            hops=stats.hops,
            requests=stats.requests,
            failures=stats.failures,
            node=by.index,
        )

    def _next(self) -> int:
        self._asked += 1
        return self._asked


def _verdict(wanted: SignedRecord | None, done: GetDone) -> str:
    if not done.records:
        return "not-found"
    if wanted is None:
        return ""
    newest = max((record.seq for record in done.records if record.owner == wanted.owner), default=-1)
    return "" if newest >= wanted.seq else "stale" if newest >= 0 else "not-found"
