"""Meeting a peer: from its key to an open link, and from its call to an open link.

Decides the order (look-up and gathering at once, then the call, then ICE, DTLS, SCTP), what a failure is called, and
that of several attempts at the same peer one remains. Refuses to know the bytes of signals and descriptions.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import PublicKey
from node.driver import Stopped
from node.node_calls import CallEnd, Calls
from node.node_events import EventLog, LinkFailed
from node.node_links import MAX_LINKS, Links, path_text
from node.node_results import ConnectOutcome, FindOutcome, Reason
from node.ports import Link, LinkEnd, LinkError, LinkFault, Session
from node.protocols.signaling import Signaling
from node.protocols.signaling_events import (
    AnswerReceived,
    CallFailed,
    CallRefused,
    Fault,
    OfferReceived,
)
from node.protocols.signaling_events import Reason as RefusalReason

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

log = logging.getLogger("rookery.meeting")

T = TypeVar("T")

PROBE_TIMEOUT: Final = 2.0
"""Seconds an old link has to show life before a new one is made. UNSOURCED: several round trips round the world."""

ANSWER_TIMEOUT: Final = 20.0
"""Seconds a link that a peer asked for may take to open. UNSOURCED: ICE's 15 s, and the handshakes."""

CLOSE_TIMEOUT: Final = 0.4
"""Seconds attempts under way get to end when the node stops. UNSOURCED"""

FRESH: Final = 2.0
"""Seconds after a link of ours opened in which an overtaken call of the peer may still come. UNSOURCED"""

_FAULTS: Final = {
    Fault.NO_HOME_NODE: Reason.NO_HOME_NODE,
    Fault.NOT_REGISTERED: Reason.NOT_REGISTERED,
    Fault.UNREACHED: Reason.UNREACHED,
    Fault.NO_ANSWER: Reason.NO_ANSWER,
    Fault.BAD_ANSWER: Reason.BAD_ANSWER,
}


class _Failed(Exception):
    """Carries a reason out of the middle of an attempt."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Meeting:
    """Makes the links of one identity."""

    def __init__(
        self,
        own: PublicKey,
        signaling: Signaling,
        driver: Driver[DhtEngine],
        links: Links,
        events: EventLog,
        find: Callable[[PublicKey], Awaitable[FindOutcome]],
        new_session: Callable[[], Session],
        *,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """`find` looks a peer's record up. `prepare` runs once, in a thread, before the first session is used."""
        self._own = own
        self._driver = driver
        self._links = links
        self._events = events
        self._find = find
        self._new_session = new_session
        self._dialling: dict[PublicKey, asyncio.Task[ConnectOutcome]] = {}
        self._answering: dict[PublicKey, asyncio.Task[Link]] = {}
        self._closing = False
        self._prepare_once = prepare
        self._prepared: asyncio.Task[object] | None = None
        self.calls = Calls(signaling, driver, self._ways, self._on_offer)

    async def connect(self, peer: PublicKey, timeout: float) -> ConnectOutcome:
        """Return a link with `peer`: the one there is, or a new one."""
        link = self._links.get(peer)
        if link is not None and await self._lives(link, timeout):
            return _outcome(link, {}, reused=True)
        if self._closing:
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")
        dialling = self._dialling.get(peer)
        if dialling is None:
            dialling = asyncio.get_running_loop().create_task(self._dial(peer))
            self._dialling[peer] = dialling
            dialling.add_done_callback(lambda task: self._on_dialled(peer, task))
        # Others may wait for the same attempt: a caller who gives up does not end it for them.
        done, _ = await asyncio.wait([dialling], timeout=timeout)
        if dialling.cancelled():
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")
        if done:
            return dialling.result()
        return ConnectOutcome(False, Reason.TIMEOUT, f"no link after {timeout:g} s")

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

    def prepare_soon(self) -> None:
        """Get ready for a link that somebody waits for, so that the first caller does not wait for it."""
        if self._prepare_once is not None and self._prepared is None:
            self._prepared = asyncio.get_running_loop().create_task(asyncio.to_thread(self._prepare_once))

    async def close(self) -> None:
        """Give up every attempt."""
        self._closing = True
        tasks: list[asyncio.Task[ConnectOutcome] | asyncio.Task[Link]] = []
        tasks += self._dialling.values()
        tasks += self._answering.values()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        await self.calls.close()
        if self._prepared is not None:
            await asyncio.wait([self._prepared], timeout=CLOSE_TIMEOUT)

    # Dialling

    async def _dial(self, peer: PublicKey) -> ConnectOutcome:
        started = self._driver.clock()
        phases: dict[str, float] = {}
        try:
            answering = self._answering.get(peer)
            link = await (self._join(answering) if answering is not None else self._attempt(peer, phases))
        except _Failed as failed:
            self._events.add(
                LinkFailed(self._driver.now(), peer, True, f"{failed.reason.value} {failed.detail}".strip())
            )
            phases["total"] = self._driver.clock() - started
            return ConnectOutcome(False, failed.reason, failed.detail, phases=phases)
        except Stopped:
            return ConnectOutcome(False, Reason.STOPPING, "the node is stopping")
        phases["total"] = self._driver.clock() - started
        return _outcome(link, phases)

    async def _attempt(self, peer: PublicKey, phases: dict[str, float]) -> Link:
        session = self._new_session()
        try:
            async with asyncio.TaskGroup() as both:
                finding = both.create_task(self._timed(self._found(peer), phases, "lookup"))
                offering = both.create_task(self._offer(session, phases))
        except ExceptionGroup as group:
            await session.close()
            raise _first(group) from None
        except BaseException:
            await session.close()
            raise
        try:
            called = self.calls.call(peer, finding.result().ways, offering.result())
            ended = await self._timed(called, phases, "signaling")
            if isinstance(ended, OfferReceived):
                return await self._join(self._answering.get(peer))
            opened = await session.connect(peer, _answer_of(ended))
            phases.update({name: session.phases[name] for name in ("ice", "dtls", "sctp") if name in session.phases})
            return await self._links.join(peer, opened, initiated=True)
        except LinkError as error:
            phases.update(session.phases)
            reason = Reason.REFUSED if error.end.fault is LinkFault.REFUSED else Reason.LINK_FAILED
            raise _Failed(reason, str(error.end)) from None
        finally:
            await session.close()

    async def _found(self, peer: PublicKey) -> FindOutcome:
        found = await self._find(peer)
        if not found.found:
            raise _Failed(found.reason, found.detail)
        return found

    async def _offer(self, session: Session, phases: dict[str, float]) -> bytes:
        await self._prepare(phases)
        try:
            return await self._timed(session.offer(), phases, "gather")
        except LinkError as error:
            raise _Failed(Reason.LINK_FAILED, str(error.end)) from None

    async def _join(self, answering: asyncio.Task[Link] | None) -> Link:
        """Wait for the link that the peer itself is opening."""
        if answering is None:
            raise _Failed(Reason.LINK_FAILED, "the peer called at the same time, and its call has failed already")
        await asyncio.wait([answering])
        if answering.cancelled():
            raise _Failed(Reason.STOPPING, "the attempt was given up")
        error = answering.exception()
        if isinstance(error, LinkError):
            raise _Failed(Reason.LINK_FAILED, str(error.end))
        return answering.result()

    async def _ways(self, peer: PublicKey) -> tuple[Contact, ...]:
        return (await self._find(peer)).ways

    async def _timed(self, work: Awaitable[T], phases: dict[str, float], name: str) -> T:
        started = self._driver.clock()
        try:
            return await work
        finally:
            phases[name] = self._driver.clock() - started

    def _on_dialled(self, peer: PublicKey, task: asyncio.Task[ConnectOutcome]) -> None:
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
        if len(self._links) + len(self._answering) >= MAX_LINKS:
            self.calls.refuse(offer, RefusalReason.BUSY)
            return
        before = self._answering.get(offer.peer)
        if before is not None:
            before.cancel()
        task = asyncio.get_running_loop().create_task(self._answer(offer))
        self._answering[offer.peer] = task
        task.add_done_callback(lambda ended: self._on_answered(offer.peer, ended))

    def _mine_counts(self, peer: PublicKey) -> bool:
        """Whether our own attempt at `peer` is the one that counts of two: that of the lower key, as in signaling."""
        if not self._own.raw < peer.raw:
            return False
        link = self._links.get(peer)
        fresh = link is not None and link.initiated and self._links.age(peer) < FRESH
        return peer in self._dialling or fresh

    async def _answer(self, offer: OfferReceived) -> Link:
        await self._prepare({})
        session = self._new_session()
        try:
            try:
                answer = await session.answer(offer.payload)
            except LinkError:
                self.calls.refuse(offer, RefusalReason.BAD_OFFER)
                raise
            if not self.calls.answer(offer, answer):
                raise LinkError(LinkEnd(LinkFault.LOST, "gathering took longer than the offer lives"))
            opened = await session.connect(offer.peer, timeout=ANSWER_TIMEOUT)
            return await self._links.join(offer.peer, opened, initiated=False)
        finally:
            await session.close()

    def _on_answered(self, peer: PublicKey, task: asyncio.Task[Link]) -> None:
        if self._answering.get(peer) is task:
            del self._answering[peer]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, LinkError):
            self._events.add(LinkFailed(self._driver.now(), peer, False, str(error.end)))
        elif error is not None and not isinstance(error, Stopped):
            log.error("answering %s failed", peer.short, exc_info=error)

    async def _prepare(self, phases: dict[str, float]) -> None:
        """Once, and in a thread: half a second in which the loop must go on answering others."""
        self.prepare_soon()
        if self._prepared is not None and not self._prepared.done():
            await self._timed(asyncio.shield(self._prepared), phases, "prepare")


def import_webrtc() -> None:
    """Import aiortc and what is built on it: 0.4 s and 44 MB, spent only when a first link is made."""
    for name in ("webrtc", "webrtc_ice", "webrtc_dtls", "webrtc_sctp", "webrtc_channel"):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"node.adapters.{name}")


def _answer_of(ended: CallEnd) -> bytes:
    match ended:
        case AnswerReceived():
            return ended.payload
        case CallRefused():
            raise _Failed(Reason.REFUSED, ended.reason.name.lower().replace("_", "-"))
        case CallFailed():
            raise _Failed(_FAULTS[ended.fault], ended.detail)
        case _:
            raise LocalError("an offer is no answer")


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Of what failed at once, what is to be told: why the peer was not found, rather than anything else."""
    failures = [error for error in group.exceptions if isinstance(error, _Failed | Stopped)]
    return failures[0] if len(failures) == len(group.exceptions) else group


def _outcome(link: Link, phases: dict[str, float], *, reused: bool = False) -> ConnectOutcome:
    return ConnectOutcome(
        True,
        Reason.NONE,
        reused=reused,
        address=link.stats.path.remote_address,
        path=path_text(link),
        phases=phases,
        _link=link,
    )
