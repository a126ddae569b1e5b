"""Signaling on the event loop: carries its signals through the engine, its timer, and its events to who waits.

Decides how the two protocol objects, signaling and the DHT engine, are plugged together. Refuses to know what is
offered and what a call is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import SignalDone, SignalReceived
from dht.identity import PublicKey
from dht.records import Refusal
from node.driver import Driver, Stopped
from node.protocols.signaling import Signaling
from node.protocols.signaling_events import (
    AnswerReceived,
    CallFailed,
    CallRefused,
    HomesWanted,
    OfferReceived,
    OutgoingSignal,
    Reason,
)

CallEnd = AnswerReceived | CallRefused | CallFailed | OfferReceived
"""How a call ended; an `OfferReceived` is the peer's own call, in which ours ended."""


class Calls:
    """The calls of one identity."""

    def __init__(
        self,
        signaling: Signaling,
        driver: Driver[DhtEngine],
        find_ways: Callable[[PublicKey], Awaitable[Sequence[Contact]]],
        on_offer: Callable[[OfferReceived], object],
    ) -> None:
        """`find_ways` looks a peer's record up again; `on_offer` takes a peer's call."""
        self._signaling = signaling
        self._driver = driver
        self._find_ways = find_ways
        self._on_offer = on_offer
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, asyncio.Future[CallEnd]] = {}
        self._calling: dict[PublicKey, bytes] = {}
        self._on_delivered: dict[bytes, Callable[[Contact], object]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        driver.subscribe(SignalReceived, self._on_signal)

    @property
    def counters(self) -> dict[str, int]:
        """What signaling dropped and how calls ended."""
        return dict(self._signaling.counters)

    async def call(
        self,
        peer: PublicKey,
        ways: Sequence[Contact],
        offer: bytes,
        on_delivered: Callable[[Contact], object] = lambda _way: None,
    ) -> CallEnd:
        """Send an offer and wait for how the call ends; cancelling gives it up. `on_delivered` is told by way of whom
        it came to the peer."""
        session = self._signaling.call(peer, ways, offer, self._driver.now())
        ended: asyncio.Future[CallEnd] = self._loop.create_future()
        self._waiting[session] = ended
        self._calling[peer] = session
        self._on_delivered[session] = on_delivered
        try:
            self._pump()
            return await ended
        finally:
            del self._waiting[session], self._on_delivered[session]
            if self._calling.get(peer) == session:
                del self._calling[peer]
            self._signaling.cancel(session)
            self._pump()

    def add_ways(self, peer: PublicKey, ways: Sequence[Contact]) -> None:
        """Send the offer of the call to `peer` that is under way through more nodes, which were found meanwhile."""
        if ways and (session := self._calling.get(peer)) is not None:
            self._signaling.more_homes(session, ways, self._driver.now())
            self._pump()

    def answer(self, offer: OfferReceived, payload: bytes) -> bool:
        """Answer a peer's call; false when it came too late."""
        taken = self._signaling.answer(offer, payload, self._driver.now())
        self._pump()
        return taken

    def refuse(self, offer: OfferReceived, reason: Reason) -> None:
        """Refuse a peer's call."""
        self._signaling.refuse(offer, reason, self._driver.now())
        self._pump()

    async def close(self) -> None:
        """Give up every call."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_signal(self, event: SignalReceived) -> None:
        if not self._closed:
            self._signaling.receive_signal(event.recipient, event.reply, event.blob, event.via, self._driver.now())
            self._pump()

    def _pump(self) -> None:
        """Everything that goes in ends here: events out, signals out, then the timer."""
        if self._closed:
            return
        while (event := self._signaling.next_event()) is not None:
            if isinstance(event, HomesWanted):
                self._spawn(self._find_more(event))
                continue
            if isinstance(event, OfferReceived):
                self._on_offer(event)
            session = event.replaces if isinstance(event, OfferReceived) else event.session
            waiting = self._waiting.get(session)
            if waiting is not None and not waiting.done():
                waiting.set_result(event)
        for signal in self._signaling.signals_to_send():
            self._spawn(self._send(signal))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._signaling.next_timer()
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._driver.now()), self._on_timer)

    def _on_timer(self) -> None:
        self._signaling.handle_timer(self._driver.now())
        self._pump()

    async def _send(self, signal: OutgoingSignal) -> None:
        try:
            done = await self._driver.run(
                lambda engine, now: engine.signal(signal.recipient, signal.blob, signal.homes, now, reply=signal.reply),
                SignalDone,
            )
        except Stopped:
            return
        if signal.session:
            on_delivered = self._on_delivered.get(signal.session)
            if on_delivered is not None and (way := _delivered_by(done)) is not None:
                on_delivered(way)
            self._signaling.signal_done(signal.session, done.refusal, self._driver.now())
            self._pump()

    async def _find_more(self, wanted: HomesWanted) -> None:
        try:
            ways = await self._find_ways(wanted.peer)
        except Stopped:
            return
        self._signaling.more_homes(wanted.session, ways, self._driver.now())
        self._pump()

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _delivered_by(done: SignalDone) -> Contact | None:
    return next((way for way, refusal in done.ways if refusal is Refusal.NONE), None)
