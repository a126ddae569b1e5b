"""Finding the network and finding it again: which first contacts are tried, in what order, and how often.

Saved and configured contacts have a head start; the signed lists are asked only while nobody has answered, so that
a network does without them once it is known. While alone, the node tries again with growing pauses, for ever. Refuses
to know how a join walks and how lists are verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import ContactAdded, ContactRemoved, JoinDone
from node.driver import Driver
from node.node_events import Alone, EventLog, Joined, ListLoaded

if TYPE_CHECKING:
    from bootstrap.contacts import FirstContact
    from bootstrap.sources import ListReport

T = TypeVar("T")

HEAD_START: Final = 0.5
"""Seconds that saved and configured contacts have for themselves: a time-out of a contact never heard of."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between tries while alone, doubling from the first to the longest. UNSOURCED: a laptop that finds its network
again is back within a minute."""

LIST_PAUSE: Final = 60.0
"""Seconds between two askings of the signed lists' sources, whatever the pauses are. UNSOURCED: spares web servers."""

SECOND_LOOKS: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds between further walks after a join, each done only while contacts were added. UNSOURCED: a demo or a test
network of some dozen nodes starts within these, and in a network that stands the walk finds nothing new."""

WATCH: Final = 900.0
"""Seconds between looks whether we are alone again, should nobody have told us. UNSOURCED: the engine does tell."""

SETTLE: Final = 0.2
"""Seconds after the first contact came to us by itself until we walk to our neighbourhood. UNSOURCED"""

JOIN_TIMEOUT: Final = 5.0
"""Seconds that who looks for a peer waits for the network itself to be found. UNSOURCED: a cold join takes 3 s at the
95th percentile."""

NEAR_KEPT: Final = 16
"""Nodes of the local network by which it is joined, the latest. UNSOURCED: one of them is enough"""

NAMES_TIMEOUT: Final = 3.0
"""Seconds for resolving the host names of a list. UNSOURCED"""


class Joining:
    """Keeps one node in the network."""

    def __init__(
        self,
        driver: Driver[DhtEngine],
        events: EventLog,
        known: Sequence[Contact],
        fetch_list: Callable[[], Awaitable[ListReport]] | None,
        rng: random.Random,
        *,
        served: bool = False,
    ) -> None:
        """`known`: saved and configured contacts, best first. `fetch_list` asks for the signed lists. `served`: whether
        this node was a server when it ended. Such a one serves when it finds nobody, as does one that knows of nobody:
        else a network that is new, or whose nodes all started anew, would be clients that wait for each other."""
        self._driver = driver
        self._events = events
        self._known = list(known)
        self._fetch_list = fetch_list
        self._rng = rng
        self._served = served
        self._listed: list[Contact] = []
        self._named: list[tuple[bytes, tuple[str, int]]] = []
        self._next_list = self._next_anew = 0.0
        self._near: dict[bytes, Contact] = {}
        self._near_found = asyncio.Event()
        self._found = asyncio.Event()
        self._way_out = asyncio.Event()
        self.joined = asyncio.Event()
        """Set while other nodes are known and the walk to our neighbourhood has been done."""
        self.report: ListReport | None = None
        """What the sources of signed lists said last."""
        self._left = asyncio.Event()
        driver.subscribe(ContactAdded, lambda _: self._found.set())
        driver.subscribe(ContactRemoved, lambda _: self._on_removed())

    def _on_removed(self) -> None:
        if not self._driver.engine.contacts():
            self._left.set()

    @property
    def first_contacts(self) -> int:
        """Contacts to begin with: configured, saved, and of the lists."""
        return len(dict.fromkeys((*self._known, *self._listed)))

    def soon(self) -> None:
        """The network may be reached now: end a pause between tries, and a try that was made in vain."""
        self._way_out.set()
        self._found.set()

    async def anew(self) -> str:
        """Find the network again for somebody who was not found in what we see of it: the last rung of the ladder.

        Returns "" when there are others to ask now, else why not. The lists' sources are spared: once in `LIST_PAUSE`.
        """
        if not self.joined.is_set():
            if self._first_of_all:
                return "no list and no first contact is known"
            self.soon()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(JOIN_TIMEOUT):
                    await self.joined.wait()
                    return ""
            return f"no other node was found within {JOIN_TIMEOUT:g} s"
        now = self._driver.now()
        if now < self._next_anew:
            return f"the lists were asked {LIST_PAUSE - (self._next_anew - now):.0f} s ago"
        self._next_anew = now + LIST_PAUSE
        # Who has left a question unanswered may be back, and counts as new then.
        before = frozenset(self._driver.engine.answering())
        await self._load_list(alone=False)
        named = await _resolved(self._named) if self._named else []
        first = dict.fromkeys((*self._listed, *named, *self._known))
        contacts = [one for one in first if one not in before]
        if not contacts:
            return "every first contact is known, and answers" if first else "no list and no first contact is known"
        done = await self._driver.run(lambda engine, now: engine.join(contacts, now), JoinDone)
        if frozenset(self._driver.engine.answering()) - before:
            return ""
        if not done.stats.replies:
            others = f", nor any of the {len(before)} others known" if before else ""
            return f"none of {len(contacts)} first contacts answers{others}"
        return f"none of {len(contacts)} first contacts answers, and those who do know nobody new"

    def near(self, contact: Contact) -> None:
        """A node on our own network has answered: join by it, and wait for no list. Where it serves as little as we do
        and nobody else is found, both serve: two machines on one switch are a network."""
        self._near.pop(contact.key, None)
        self._near[contact.key] = contact
        if len(self._near) > NEAR_KEPT:
            del self._near[next(iter(self._near))]
        self._near_found.set()
        self._found.set()

    async def run(self) -> None:
        """Join, and join again whenever we find ourselves alone. Ends only by being cancelled."""
        while True:
            self._left.clear()
            await self._join()
            await self._look_again()
            while self._driver.engine.contacts():
                self._left.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH):
                        await self._left.wait()
            self.joined.clear()

    async def _join(self) -> None:
        started = self._driver.now()
        pause = FIRST_PAUSE
        idle = False
        while True:
            self._found.clear()
            self._near_found.clear()
            self._way_out.clear()
            contacts = await self._attempt()
            if contacts:
                break
            if self._served or self._first_of_all or self._near:
                self._driver.command(lambda engine, now: engine.presume_server(now))
            wait = pause * self._rng.uniform(0.8, 1.2)
            tried = len(dict.fromkeys(self._everybody))
            if tried or not idle:  # Where there is nobody to try, once is enough.
                self._events.add(Alone(self._driver.now(), tried, wait))
            idle = not tried
            # Somebody may find us first: then there is no need to wait.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._found.wait()
                await asyncio.sleep(SETTLE)
            pause = min(pause * 2, LONGEST_PAUSE)
        now = self._driver.now()
        self.joined.set()
        self._events.add(Joined(now, contacts, now - started))

    @property
    def _everybody(self) -> list[Contact]:
        """All contacts to begin with, those near first."""
        return [*self._near.values(), *self._known, *self._listed]

    @property
    def _first_of_all(self) -> bool:
        """Whether there is nobody to join: then this may be the first node of a network, which others join by it."""
        return not (self._known or self._listed or self._named or self._fetch_list)

    async def _look_again(self) -> None:
        """Walk again while the network grows: nodes that start together see little of each other at first, and home
        nodes found among three are not those found among thirty."""
        known = 0
        for pause in SECOND_LOOKS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._left.wait()
            before, known = known, len(self._driver.engine.contacts())
            if not known:
                return  # Alone again: there is nothing to look around in.
            self._left.clear()
            if known != before:
                await self._walk([])

    async def _attempt(self) -> int:
        """One try: what we know first, then the lists. Returns how many contacts we have."""
        async with AsyncExitStack() as stack:
            walk = _spawn(stack, self._walk(self._everybody))
            await asyncio.wait([walk], timeout=HEAD_START)
            listing = _spawn(stack, self._load_list())
            near = _spawn(stack, self._near_found.wait())
            out = _spawn(stack, self._way_out.wait())
            while not (walk.done() and walk.result()) and not listing.done():
                if near.done():
                    return await self._walk([*self._near.values()])
                if out.done():
                    return await self._walk(self._everybody)
                running = [task for task in (walk, listing, near, out) if not task.done()]
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if walk.done() and walk.result():
                return walk.result()
            contacts = await self._walk(self._listed) if listing.result() and self._listed else 0
            if not contacts:
                await asyncio.wait([walk, near, out], return_when=asyncio.FIRST_COMPLETED)
                contacts = walk.result() if walk.done() else await self._walk(self._everybody)
            if not contacts and self._named:
                contacts = await self._walk(await _resolved(self._named))
            return contacts

    async def _walk(self, contacts: list[Contact]) -> int:
        done = await self._driver.run(lambda engine, now: engine.join(contacts, now), JoinDone)
        return done.contacts

    async def _load_list(self, *, alone: bool = True) -> bool:
        """Ask the sources; true when there are contacts of a list to try. `alone`: only while nobody is known."""
        now = self._driver.now()
        if self._fetch_list is None or now < self._next_list or (alone and self._driver.engine.contacts()):
            return False
        self._next_list = now + LIST_PAUSE
        report = await self._fetch_list()
        self.report = report
        now = self._driver.now()
        for outcome in report.outcomes:
            self._events.add(ListLoaded(now, outcome.source, outcome.status.value, outcome.message))
        for problem in report.problems:
            self._events.add(ListLoaded(now, report.origin, "problem", problem))
        self._listed = [contact for first in report.contacts for contact in _contacts_of(first)]
        self._rng.shuffle(self._listed)  # So that the first of a list does not meet every newcomer.
        self._named = [(first.key, name) for first in report.contacts for name in first.names]
        return bool(self._listed or self._named)


def _spawn(stack: AsyncExitStack, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start `work`; it is over when the stack is."""
    task = asyncio.get_running_loop().create_task(work)

    async def end() -> None:
        task.cancel()
        # Not awaited itself: its cancellation could not be told from ours, which must not get lost.
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()

    stack.push_async_callback(end)
    return task


def _contacts_of(first: FirstContact) -> list[Contact]:
    return [Contact(first.key, address) for address in first.addresses]


async def _resolved(named: Sequence[tuple[bytes, tuple[str, int]]]) -> list[Contact]:
    """The contacts behind host names; a name that does not resolve in time is left out."""

    async def resolve(key: bytes, host: str, port: int) -> list[Contact]:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(NAMES_TIMEOUT):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
            return [Contact(key, (str(entry[4][0]), port)) for entry in found if "%" not in str(entry[4][0])]
        return []

    lists = await asyncio.gather(*(resolve(key, host, port) for key, (host, port) in named))
    return list(dict.fromkeys(contact for found in lists for contact in found))
