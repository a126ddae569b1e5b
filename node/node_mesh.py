"""Links through relays: which are proposed to a peer, how both ends come together at one, and relaying for others.

Decides what an offer and its answer say about relays, the order in which circuits are tried, and when reservations are
kept. Refuses to know how a link with a relay is made (it is told), and what runs over a circuit.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dht.errors import DecodeError
from dht.identity import IdentityKey, PublicKey
from node.adapters.circuit_channel import CircuitChannel
from node.node_events import EventLog, NodeEvent
from node.node_links import Links
from node.node_relaying import RelayService, direct_link, framed, read_message
from node.node_relays import ANNOUNCE_EVERY, RelayBook, RelaySearch
from node.node_reserving import Reservations
from node.node_terms import MeshTerms, NoRelay, agree, answer_terms, offer_terms
from node.ports import Extras, Link, LinkEnd, LinkError, LinkFault, LinkPath, Opened, StreamEnded, StreamReset, Terms
from node.protocols.circuit import CIRCUIT_STREAM, Join, Joined, Refused, Role
from node.protocols.circuit_end import CircuitEnd
from node.protocols.circuit_relays import ProposedRelay, RelayContact
from node.protocols.circuit_seal import HEADER_BYTES, CircuitKeys
from node.protocols.relaying import RelayCounters, RelayLimits

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

STAGGER: Final = 0.25
"""Seconds between the beginnings of two circuits of one attempt (RFC 8305 section 5: the connection attempt delay)."""

LOOK_EVERY: Final = 5.0
"""Seconds between looks at what has changed: our router's kind, our willingness, our load. UNSOURCED"""

LOAD_STEP: Final = 64
"""Change of load after which it is announced before its time. UNSOURCED: a quarter"""

REANNOUNCE: Final = 60.0
"""Seconds between such announcements, and between searches for one relay that another one names. UNSOURCED"""

HOLDERS: Final = 10
"""Nodes that hold an announcement when it counts as made: half of the 20 nearest. UNSOURCED"""

SEEK_PAUSE: Final = 1.0
"""Seconds until somebody who needs a relay for a link that is being opened looks for one again, doubling. UNSOURCED: a
network that is new announces its relays within seconds"""

FIRST_PAUSE: Final = 5.0
"""Half of the seconds until one that fewer hold is made again, doubling up to the usual pause. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class MeshInfo:
    """What there is to know of relaying, for us and by us."""

    willing: bool
    announced: int
    """Nodes that hold our announcement; 0 without one."""
    known: int
    reserved: tuple[PublicKey, ...]
    relay: RelayCounters
    opened: int
    """Circuits of our own that opened."""
    failed: int


@dataclass(frozen=True, slots=True)
class RelayAnnounced(NodeEvent):
    """Others find this node as a relay now, or do so no longer."""

    holders: int
    """Nodes that hold the announcement; 0 when it is not renewed any more."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        if not self.holders:
            return "no longer announced as a relay"
        return f"announced as a relay: {self.holders} nodes hold it"


class Mesh:
    """Relays for one identity, and its own relaying."""

    def __init__(
        self,
        identity: IdentityKey,
        links: Links,
        driver: Driver[DhtEngine],
        reach: Callable[[RelayContact, float], Awaitable[Link]],
        events: EventLog,
        rng: random.Random,
        now: Callable[[], float],
        clock: Callable[[], float],
        willing: Callable[[], bool],
        *,
        contact: Callable[[], RelayContact | None] = lambda: None,
        needed: Callable[[], bool] = lambda: False,
        families: Callable[[], frozenset[int]] = lambda: frozenset({4, 6}),
        limits: RelayLimits | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`reach(relay, timeout)` makes or finds a direct link with a relay, or raises `LinkError`.

        `willing`: whether this node relays for others; `contact`: where it is then. `needed`: whether our router is one
        that relays should be kept ready for. `families`: 4, 6 or both, as this machine reaches them.
        """
        self._own = identity.public
        self._links = links
        self._reach = reach
        self._events = events
        self._rng = rng
        self._now = now
        self._clock = clock
        self._willing = willing
        self._contact = contact
        self._needed = needed
        self._families = families
        self._pause = pause
        self.book = RelayBook(
            identity.public, clock, lambda relay: direct_link(links, relay) is not None, links.suspended
        )
        self.search = RelaySearch(identity, driver, self.book, rng)
        self.relay = RelayService(identity.public, links, clock, willing, self._known, reach, limits)
        self.reservations = Reservations(self.book, links, reach, clock, rng)
        self._learned = asyncio.Event()
        self.book.on_learned = self._learned.set
        self._announced = 0
        self._opened = self._failed = 0

    def serve(self) -> None:
        """Take others' requests, on every link there is and will be; they are refused while we are not willing."""
        self.relay.serve()

    # Meeting

    def propose(self, peer: PublicKey) -> MeshTerms:
        """What our offer says; never waits. Without a relay known a search begins, and the peer may name some."""
        self._look_if_due()
        reserved = self.reservations.relays()
        relays = self.book.choose(3, families=self._families(), without=(peer,), first=reserved)
        return offer_terms(self._rng, relays)

    def accept(self, peer: PublicKey, remote: Extras) -> MeshTerms:
        """What our answer says to an offer that said `remote`: the circuits to try, in order."""
        self._look_if_due()
        return answer_terms(self._rng, self._own, peer, remote, self.book, self._families(), self.reservations.relays())

    async def ready(self, timeout: float) -> bool:
        """Wait until a relay is known that we reach; false when none was found in time, or just before."""
        if not self._reaches_one() and self.search.due(self.search.retry):
            await asyncio.wait([self.search.soon()], timeout=timeout)
        return self._reaches_one()

    async def sought(self, timeout: float) -> str:
        """Look for a relay that we reach until one is known; else returns how it was looked for, after `timeout` s."""
        deadline, before, pause = self._clock() + timeout, self.search.searches, SEEK_PAUSE
        while not self._reaches_one():
            if (left := deadline - self._clock()) <= 0:
                return f"{self.search.searches - before} searches in {timeout:g} s found none that is reached from here"
            self._learned.clear()
            self.search.soon()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, left)):
                    await self._learned.wait()
            pause *= 2
        return ""

    async def open(self, peer: PublicKey, terms: Terms, remote: Extras, *, initiated: bool, timeout: float) -> Opened:
        """Open a channel through the first circuit that stands. Raises `LinkError`: relay-failed, which says of each
        what became of it, or no-relay when there is none to try."""
        started = self._clock()
        try:
            if not isinstance(terms, MeshTerms):
                raise DecodeError("terms", "not of this mesh")
            ways = agree(terms, self._own, peer, remote, initiated=initiated)
            families = self._families()
            ways = [one for one in ways if self.book.reaches(_entry(one[0], initiated).relay, families)]
            if not ways:
                raise NoRelay("relays", "those that the peer proposes are not reached from here")
        except NoRelay as error:
            raise LinkError(LinkEnd(LinkFault.NO_RELAY, str(error))) from None
        except DecodeError as error:
            raise LinkError(LinkEnd(LinkFault.RELAY_FAILED, str(error))) from None
        race = _Circuits(self, ways, initiated)
        try:
            channel, way = await race.first(timeout)
        except BaseException:
            self._failed += 1
            raise
        self._opened += 1
        mine = way if initiated else tuple(reversed(way))
        relays = tuple(one.relay.identity for one in mine)
        link = self._links.get(relays[0])
        address = mine[0].relay.addresses[0] if link is None else link.stats.path.remote_address
        path = LinkPath(local_type="relay", remote_type="relay", remote_address=address, via=relays)
        return Opened(channel, path, {"relay": self._clock() - started})

    # As long as the node runs

    async def run(self) -> None:
        """Announce ourselves while we are willing; keep relays ready while our router calls for it."""
        due, said, pause = 0.0, 0, FIRST_PAUSE
        while True:
            if self._willing() and (contact := self._contact()) is not None:
                load, now = self.relay.load, self._clock()
                early = abs(load - said) >= LOAD_STEP and now >= due - ANNOUNCE_EVERY + REANNOUNCE
                if now >= due or early:
                    self._on_announced(await self.search.announce(contact, load, self.relay.limits.circuits))
                    # Few hold it before we have found our place, or while the network is young.
                    pause = ANNOUNCE_EVERY if self._announced >= HOLDERS else min(2 * pause, ANNOUNCE_EVERY)
                    said, due = load, now + pause
            else:
                self._on_announced(0)
                due, pause = 0.0, FIRST_PAUSE
            if self._needed():
                self._look_if_due()
                await self.reservations.keep(self._families())
            elif not self.search.tried:
                # Else the first call, ours or a peer's, would wait for it.
                self._look_if_due()
            await self._pause(LOOK_EVERY * self._rng.uniform(0.8, 1.2))

    async def close(self) -> None:
        """End the search and the relay's timer; circuits end with their links."""
        await self.search.close()
        self.relay.close()

    def info(self) -> MeshInfo:
        """What there is to know."""
        return MeshInfo(
            willing=self._willing(),
            announced=self._announced,
            known=len(self.book.fresh()),
            reserved=self.reservations.relays(),
            relay=self.relay.counters(),
            opened=self._opened,
            failed=self._failed,
        )

    # Inner workings

    async def join(self, way: tuple[ProposedRelay, ...], keys: CircuitKeys, *, initiated: bool) -> CircuitChannel:
        """Join one circuit and wait until the other end has proven itself, and has decided for this one if that is the
        other end's to do. Raises `LinkError`."""
        entry = _entry(way, initiated).relay
        link = direct_link(self._links, entry.identity)
        if link is None:
            try:
                link = await self._reach(entry, 10.0)
            except LinkError:
                self.book.failed(entry.identity)
                raise
        stream = await link.open_stream(CIRCUIT_STREAM)
        # Only the first end names the way ahead: the relays in between join on its behalf.
        path = tuple(one.relay.identity for one in way[1:]) if initiated else ()
        join = Join(keys.circuit, Role.FIRST if initiated else Role.SECOND, len(path), path)
        end = CircuitEnd(keys, self._rng.randbytes(HEADER_BYTES), self._clock())
        channel: CircuitChannel | None = None
        try:
            # What proves us goes along: it waits at the relay until the other end comes.
            await stream.write(framed(join) + b"".join(end.data_to_send()))
            answer = await read_message(stream)
            if isinstance(answer, Refused):
                self.book.refused(entry.identity, answer.reason)
                raise _failed(f"refused: {answer.reason.name.lower().replace('_', '-')}")
            if not isinstance(answer, Joined):
                raise _failed("answered what was not asked")
            self.book.worked(entry.identity)
            channel = CircuitChannel(stream, end, self._clock)
            await (channel.proven() if initiated else channel.selected())
        except BaseException as error:
            if channel is not None:
                await channel.close()
            stream.reset()
            if isinstance(error, StreamReset | StreamEnded | DecodeError):
                raise _failed(str(error)) from None
            raise
        return channel

    def _on_announced(self, holders: int) -> None:
        if bool(holders) != bool(self._announced):
            self._events.add(RelayAnnounced(self._now(), holders))
        self._announced = holders

    async def _known(self, relay: PublicKey) -> RelayContact | None:
        known = self.book.get(relay)
        if known is None and self.search.due(REANNOUNCE):
            await asyncio.wait([self.search.soon()])
            known = self.book.get(relay)
        return None if known is None else known.contact

    def _reaches_one(self) -> bool:
        families = self._families()
        return any(self.book.reaches(one.contact, families) for one in self.book.fresh())

    def _look_if_due(self) -> None:
        if self.search.due() or (self.search.due(self.search.retry) and not self.book.fresh()):
            self.search.soon()


class _Circuits:
    """Several circuits of one attempt: each begins a little after the last, or as soon as all before it have failed."""

    def __init__(self, mesh: Mesh, ways: list[tuple[tuple[ProposedRelay, ...], CircuitKeys]], initiated: bool) -> None:
        self._mesh = mesh
        self._ways = ways
        self._initiated = initiated
        self._said: dict[str, str] = {}

    async def first(self, timeout: float) -> tuple[CircuitChannel, tuple[ProposedRelay, ...]]:
        """The first that stands; the others are given up. Raises `LinkError`."""
        trying: dict[asyncio.Task[CircuitChannel], tuple[ProposedRelay, ...]] = {}
        left = list(self._ways)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            while left or trying:
                if left:
                    way, keys = left.pop(0)
                    trying[loop.create_task(self._mesh.join(way, keys, initiated=self._initiated))] = way
                pause = deadline - loop.time()
                if pause <= 0:
                    break
                done, _ = await asyncio.wait(
                    trying, timeout=min(STAGGER, pause) if left else pause, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    way = trying.pop(task)
                    if (error := task.exception()) is None:
                        if self._initiated:
                            task.result().select()
                        return task.result(), way
                    if not isinstance(error, LinkError):
                        raise error
                    self._said[_named(way)] = str(error.end)
            for way in trying.values():
                self._said[_named(way)] = f"no circuit after {timeout:g} s"
        finally:
            for task in trying:
                task.cancel()
            if trying:
                await asyncio.wait(trying)
                for task in trying:
                    # It may have come to stand in the very moment: the other end follows the one that was returned.
                    if not task.cancelled() and task.exception() is None:
                        await task.result().close()
        raise _failed("; ".join(f"{name}: {said}" for name, said in self._said.items()) or "no relay is known")


def _failed(detail: str) -> LinkError:
    return LinkError(LinkEnd(LinkFault.RELAY_FAILED, detail))


def _entry(way: tuple[ProposedRelay, ...], initiated: bool) -> ProposedRelay:
    """The relay of a way that our end joins at."""
    return way[0] if initiated else way[-1]


def _named(way: tuple[ProposedRelay, ...]) -> str:
    return "-".join(one.relay.identity.short for one in way)
