"""A `Channel` through relays: the stream to the first relay, and what the far end proves and says inside it.

Decides when bytes are read and written, and how a circuit's end is told to a link. Refuses to know how relays are
chosen and what the messages are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from node.ports import LinkEnd, LinkError, LinkFault, Stream, StreamReset
from node.protocols.circuit import RelayRefusal
from node.protocols.circuit_end import (
    CircuitEnd,
    CircuitEnded,
    EndReason,
    MessageReceived,
    Proven,
    RoomAgain,
    Selected,
)

READ: Final = 262_144
"""Bytes taken from the stream at once: four of the largest messages. UNSOURCED"""

BACKLOG: Final = 262_144
"""Bytes of messages that may wait for the stream to the relay: as much as the other carriers of links queue."""

CLOSE_GRACE: Final = 0.5
"""Seconds that a goodbye may take to get to the far end and back. UNSOURCED: half of what a link has to end"""

RESET_CODE: Final = 256
"""Added to the relay's reason in the reset that ends a circuit."""

_FAULTS: Final = {
    EndReason.CLOSED_BY_PEER: LinkFault.CLOSED_BY_PEER,
    EndReason.ALTERED: LinkFault.RELAY_FAILED,
    EndReason.BROKEN_RULES: LinkFault.PROTOCOL,
    EndReason.CUT: LinkFault.LOST,
    EndReason.SILENT: LinkFault.LOST,
}


class CircuitChannel:
    """One end of a circuit that a relay has tied to the other end."""

    def __init__(self, stream: Stream, end: CircuitEnd, clock: Callable[[], float]) -> None:
        """`stream` gives and takes what is the far end's; `end` may have said something already."""
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._stream = stream
        self._end = end
        self._clock = clock
        self._proven: asyncio.Future[None] = loop.create_future()
        self._selected: asyncio.Future[None] = loop.create_future()
        self._started = asyncio.Event()
        self._early: list[bytes] = []
        self._ended: LinkEnd | None = None
        self._told = False
        self._backlog = 0
        self._crowded = False
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._reader = loop.create_task(self._read())
        self._writer = loop.create_task(self._write())
        self._after()

    # Before it is a link's

    async def proven(self) -> None:
        """Wait until the far end has shown that it has the keys. Raises `LinkError`."""
        await asyncio.shield(self._proven)

    async def selected(self) -> None:
        """Wait until the first end decided for this circuit. Raises `LinkError`."""
        await asyncio.shield(self._selected)

    def select(self) -> None:
        """Decide for this circuit."""
        self._end.select()
        self._after()

    # What a link asks

    def start(self) -> None:
        """Deliver what came so far, and everything from now on."""
        self._loop.call_soon(self._deliver_early)

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        return 0 if self._closing else min(self._end.room, BACKLOG - self._backlog)

    @property
    def idle(self) -> bool:
        """Whether the far end, not the relay, has everything."""
        return self._end.idle or self._ended is not None

    def send(self, message: bytes) -> None:
        """Hand over one message."""
        if self._ended is None and not self._closing:
            self._end.send(message)
            self._backlog += len(message)
            self._crowded = self._backlog >= BACKLOG
            self._due.set()

    async def close(self) -> None:
        """Say goodbye and free everything."""
        if self._closing:
            return
        self._closing = True
        if self._ended is None:
            self._end.finish()
            self._due.set()
        await asyncio.wait([self._writer, self._reader], timeout=CLOSE_GRACE)
        await self._free()

    # Inner workings

    def _deliver_early(self) -> None:
        early, self._early = self._early, []
        for message in early:
            self.on_message(message)
        self._started.set()
        if self._ended is not None:
            self._tell()

    async def _read(self) -> None:
        detail = "the circuit was cut: a relay or its link has gone"
        try:
            while data := await self._stream.read(READ):
                self._end.receive(data, self._clock())
                self._after()
                if self._ended is not None:
                    return
                if self._early:
                    # Nothing more is read than a link takes: the rest waits in the stream's window.
                    await self._started.wait()
        except StreamReset as reset:
            with contextlib.suppress(ValueError):
                reason = RelayRefusal(reset.code - RESET_CODE)
                detail = f"the relay cut the circuit ({reason.name.lower().replace('_', '-')})"
        except LinkError as lost:
            detail = f"the link with the relay has ended: {lost.end}"
        self._end.stream_ended(detail)
        self._after()

    async def _write(self) -> None:
        try:
            while True:
                await self._due.wait()
                self._due.clear()
                taken = self._backlog
                if pieces := self._end.data_to_send():
                    await self._stream.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                self._backlog -= taken
                if self._crowded and self.room > 0:
                    self._crowded = False
                    self.on_room()
                if (self._closing or self._ended is not None) and not self._end.has_output:
                    await self._stream.close()
                    return
        except (StreamReset, LinkError):
            # The reader learns of it as well, and why.
            return

    def _after(self) -> None:
        """Hand out what came of the last call."""
        while (event := self._end.next_event()) is not None:
            match event:
                case MessageReceived():
                    if self._started.is_set():
                        self.on_message(event.message)
                    else:
                        self._early.append(event.message)
                case RoomAgain():
                    self.on_room()
                case Proven():
                    _settle(self._proven)
                case Selected():
                    _settle(self._selected)
                case CircuitEnded():
                    self._over(LinkEnd(_FAULTS[event.reason], event.detail))
                    if event.reason is not EndReason.CLOSED_BY_PEER and not self._closing:
                        self._stream.reset()
        if self._end.has_output or self._ended is not None:
            self._due.set()
        self._arm()

    def _over(self, end: LinkEnd) -> None:
        self._ended = end
        for waiting in (self._proven, self._selected):
            if not waiting.done():
                waiting.set_exception(LinkError(end))
                waiting.exception()  # Nobody need have waited.
        if self._started.is_set():
            self._tell()

    def _tell(self) -> None:
        if self._ended is not None and not self._told and not self._closing:
            self._told = True
            self.on_closed(self._ended)

    def _arm(self) -> None:
        due = self._end.next_timer()
        if self._timer is not None:
            if due is not None and self._timer.when() <= self._loop.time() + due - self._clock():
                return  # It looks again then.
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - self._clock()), self._on_timer, due)

    def _on_timer(self, due: float) -> None:
        self._timer = None
        # Loops call early by their clock's resolution: it is due all the same.
        self._end.handle_timer(max(due, self._clock()))
        self._after()

    async def _free(self) -> None:
        tasks = [task for task in (self._reader, self._writer) if not task.done()]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            self._stream.reset()
        self._end.stream_ended("closed by us")
        self._ended = self._ended or LinkEnd(LinkFault.CLOSED_BY_US)
        for waiting in (self._proven, self._selected):
            waiting.cancel()


def _settle(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
