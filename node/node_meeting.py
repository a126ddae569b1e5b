"""Meeting a peer: from its key to an open link, and from its call to an open link.

Decides that a link which lives is used again, and that of several attempts at the same peer one remains. Refuses to
know what an attempt tries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dht.contact import Contact
from dht.identity import PublicKey
from node.driver import Stopped
from node.node_attempt import Attempts
from node.node_calls import Calls
from node.node_events import EventLog, LinkFailed
from node.node_ladder import Ladder
from node.node_links import MAX_LINKS, Links, path_text
from node.node_results import ConnectOutcome, Reason
from node.node_ways import AttemptFailed, CallAgain, Trace
from node.ports import Answerless, Link, LinkError, Opened, Session
from node.protocols.signaling import Signaling
from node.protocols.signaling_events import OfferReceived
from node.protocols.signaling_events import Reason as RefusalReason

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

log = logging.getLogger("rookery.meeting")

PROBE_TIMEOUT: Final = 2.0
"""Seconds an old link has to show life before a new one is made. UNSOURCED: several round trips round the world."""

CLOSE_TIMEOUT: Final = 0.4
"""Seconds attempts under way get to end when the node stops. UNSOURCED"""

FRESH: Final = 2.0
"""Seconds after a link of ours opened in which an overtaken call of the peer may still come. UNSOURCED"""


class Meeting:
    """Makes the links of one identity."""

    def __init__(
        self,
        own: PublicKey,
        signaling: Signaling,
        driver: Driver[DhtEngine],
        links: Links,
        events: EventLog,
        ladder: Ladder,
        new_session: Callable[[PublicKey], Session],
        *,
        answerless: Answerless | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """`ladder`: where peers are looked for. `prepare` runs once, in a thread, before the first session is used."""
        self._own = own
        self._driver = driver
        self._links = links
        self._events = events
        self._ladder = ladder
        self._answerless = answerless
        self._dialling: dict[PublicKey, asyncio.Task[ConnectOutcome]] = {}
        self._unrelayed: set[asyncio.Task[ConnectOutcome]] = set()
        """Those of them that look for a direct path alone."""
        self._traces: dict[asyncio.Task[ConnectOutcome], Trace] = {}
        self._answering: dict[PublicKey, asyncio.Task[Link]] = {}
        self._taking: set[asyncio.Task[None]] = set()
        self._closing = False
        self.calls = Calls(signaling, driver, self._ways, self._on_offer)
        self.attempts = Attempts(links, self.calls, driver.clock, ladder, new_session, answerless, prepare)
        self.attempts.called_by = lambda peer: peer in self._answering
        if answerless is not None:
            answerless.on_opened = self.take

    async def connect(self, peer: PublicKey, timeout: float) -> ConnectOutcome:
        """Return a link with `peer`: the one there is, or a new one."""
        link = self._links.get(peer)
        if link is not None and await self._lives(link, timeout):
            return _outcome(link, None, reused=True)
        if self._closing:
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")
        dialling = self.dial(peer)
        # Others may wait for the same attempt: a caller who gives up does not end it for them.
        done, _ = await asyncio.wait([dialling], timeout=timeout)
        if dialling.cancelled():
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")
        if done:
            return dialling.result()
        trace = self._traces[dialling]
        detail = f"no link after {timeout:g} s"
        return ConnectOutcome(False, Reason.TIMEOUT, detail, phases=trace.phases, ways=trace.ways, rungs=trace.rungs)

    def dial(self, peer: PublicKey, *, relayed: bool = True) -> asyncio.Task[ConnectOutcome]:
        """Begin an attempt at a new path to `peer`, or give the one under way; without `relayed`, no relay carries it.

        A link there is already goes on over the new path.
        """
        dialling = self._dialling.get(peer)
        if dialling is not None and relayed and dialling in self._unrelayed:
            # Who has no path cannot wait for the end of an attempt at a better one.
            dialling.cancel()
            dialling = None
        if dialling is None:
            trace = Trace(self._driver.clock)
            dialling = asyncio.get_running_loop().create_task(self._dial(peer, trace, relayed=relayed))
            self._dialling[peer] = dialling
            self._traces[dialling] = trace
            if not relayed:
                self._unrelayed.add(dialling)
            dialling.add_done_callback(lambda task: self._on_dialled(peer, task))
        return dialling

    async def _lives(self, link: Link, timeout: float) -> bool:
        """Whether the other end of an old link is still there: one that was killed leaves a path that ICE takes half a
        minute to give up. A new link then takes the old one's place."""
        heard = link.stats.messages_received
        try:
            async with asyncio.timeout(min(timeout, PROBE_TIMEOUT)):
                await self._links.ping(link)
        except TimeoutError:
            # Behind much that waits to be sent a ping may be late; a sign of life is enough.
            return link.stats.messages_received > heard
        except LinkError:
            return False
        return True

    async def close(self) -> None:
        """Give up every attempt."""
        self._closing = True
        tasks: list[asyncio.Task[ConnectOutcome] | asyncio.Task[Link] | asyncio.Task[None]] = []
        tasks += self._dialling.values()
        tasks += self._answering.values()
        tasks += self._taking
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        await self.calls.close()
        if self._answerless is not None:
            await self._answerless.close()
        await self.attempts.close(CLOSE_TIMEOUT)
        await self._ladder.close()

    # Dialling

    async def _dial(self, peer: PublicKey, trace: Trace, *, relayed: bool) -> ConnectOutcome:
        try:
            if peer in self._answering:
                link = await self._join(peer)
            else:
                link = await self._attempt(peer, trace, relayed=relayed)
        except AttemptFailed as failed:
            said = f"{failed.reason.value} {failed.detail}".strip()
            self._events.add(LinkFailed(self._driver.now(), peer, True, said))
            trace.phases["total"] = trace.elapsed
            self._ladder.note(trace.rungs, trace.elapsed)
            return ConnectOutcome(
                False, failed.reason, failed.detail, phases=trace.phases, ways=trace.ways, rungs=trace.rungs
            )
        except Stopped:
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")
        trace.phases["total"] = trace.elapsed
        self._ladder.note(trace.rungs, trace.elapsed)
        return _outcome(link, trace)

    async def _attempt(self, peer: PublicKey, trace: Trace, *, relayed: bool) -> Link:
        try:
            with suppress(CallAgain):
                return await self.attempts.dial(peer, trace, lambda: self._join(peer), relayed=relayed)
            return await self.attempts.dial(peer, trace, lambda: self._join(peer), relayed=relayed)
        except AttemptFailed:
            # It found no way to the peer; the peer may have found one to us.
            if relayed and peer in self._answering:
                return await self._join(peer)
            link = self._links.get(peer)
            if relayed and link is not None and self._links.age(peer) < trace.elapsed:
                return link
            raise

    async def _join(self, peer: PublicKey) -> Link:
        """Wait for the link that the peer itself is opening."""
        answering = self._answering.get(peer)
        if answering is None:
            raise AttemptFailed(Reason.LINK_FAILED, "the peer called at the same time, and its call has failed already")
        await asyncio.wait([answering])
        if answering.cancelled():
            raise AttemptFailed(Reason.STOPPING, "the attempt was given up")
        error = answering.exception()
        if isinstance(error, LinkError):
            raise AttemptFailed(Reason.LINK_FAILED, str(error.end))
        if isinstance(error, AttemptFailed):
            raise error
        return answering.result()

    async def _ways(self, peer: PublicKey) -> tuple[Contact, ...]:
        try:
            return self.attempts.callable((await self._ladder.look_up(peer)).ways)
        except AttemptFailed:
            return ()

    def _on_dialled(self, peer: PublicKey, task: asyncio.Task[ConnectOutcome]) -> None:
        self._unrelayed.discard(task)
        self._traces.pop(task, None)
        if self._dialling.get(peer) is task:
            del self._dialling[peer]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the attempt at a link with %s failed", peer.short, exc_info=error)

    # Being called

    def _on_offer(self, offer: OfferReceived) -> None:
        if self._closing:
            self.calls.refuse(offer, RefusalReason.GOING_AWAY)
            return
        if self._mine_counts(offer.peer):
            # Its call crossed ours and was overtaken: the peer itself has given it up for ours.
            self.calls.refuse(offer, RefusalReason.BUSY)
            return
        if self._full(offer.peer):
            self.calls.refuse(offer, RefusalReason.BUSY)
            return
        before = self._answering.get(offer.peer)
        if before is not None:
            before.cancel()
        task = asyncio.get_running_loop().create_task(self.attempts.answer(offer))
        self._answering[offer.peer] = task
        task.add_done_callback(lambda ended: self._on_answered(offer.peer, ended))

    def _full(self, peer: PublicKey) -> bool:
        return self._links.get(peer) is None and len(self._links) + len(self._answering) >= MAX_LINKS

    def _mine_counts(self, peer: PublicKey) -> bool:
        """Whether our own attempt at `peer` is the one that counts of two: that of the lower key, as in signaling.

        Only once the peer has answered it: before, the peer knows of none, and may be one that we do not find.
        """
        if not self._own.raw < peer.raw:
            return False
        link = self._links.get(peer)
        fresh = link is not None and link.initiated and self._links.age(peer) < FRESH
        dialling = self._dialling.get(peer)
        answered = dialling in self._traces and "signaling" in self._traces[dialling].phases
        return answered or fresh

    def _on_answered(self, peer: PublicKey, task: asyncio.Task[Link]) -> None:
        if self._answering.get(peer) is task:
            del self._answering[peer]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, LinkError | AttemptFailed):
            said = str(error.end) if isinstance(error, LinkError) else error.detail
            self._events.add(LinkFailed(self._driver.now(), peer, False, said))
        elif error is not None and not isinstance(error, Stopped):
            log.error("answering %s failed", peer.short, exc_info=error)

    def take(self, peer: PublicKey, opened: Opened) -> None:
        """A peer opened a channel with no word before."""

        async def join() -> None:
            if self._closing or self._full(peer):
                await opened.channel.close()
                return
            try:
                await self._links.join(peer, opened, initiated=False)
            except LinkError as error:
                self._events.add(LinkFailed(self._driver.now(), peer, False, str(error.end)))

        task = asyncio.get_running_loop().create_task(join())
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)


def _outcome(link: Link, trace: Trace | None, *, reused: bool = False) -> ConnectOutcome:
    return ConnectOutcome(
        True,
        Reason.NONE,
        reused=reused,
        address=link.stats.path.remote_address,
        path=path_text(link),
        phases={} if trace is None else trace.phases,
        ways=() if trace is None else trace.ways,
        rungs=() if trace is None else trace.rungs,
        _link=link,
    )
