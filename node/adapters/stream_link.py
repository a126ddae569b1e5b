"""A `Link` over any reliable ordered channel of messages: the asyncio shell around the stream multiplexer.

Decides when bytes move between multiplexer and channel, and hands its events to whoever waits. Refuses to know what
the channel is made of; the in-memory link and WebRTC both use it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from dht.identity import PublicKey
from node.adapters.link_stream import LinkStream
from node.ports import Channel, LinkEnd, LinkError, LinkFault, LinkStats, Opened, Stream, StreamHandler, StreamReset
from node.protocols.stream_events import (
    CloseCode,
    ConnectionClosed,
    PongReceived,
    ResetCode,
    StreamConfig,
    StreamOpened,
    StreamReadable,
    StreamWasReset,
    StreamWritable,
)
from node.protocols.streams import StreamMux

logger = logging.getLogger(__name__)

MAX_WAITING_STREAMS: Final = 64
"""Incoming streams that wait for `accept_stream`; further ones are refused. UNSOURCED."""
CLOSE_GRACE: Final = 1.0
"""Seconds `close` waits for the last bytes to leave. UNSOURCED: half of what a node has to end."""
DISCARD_CHUNK: Final = 1 << 20


class StreamLink:
    """A `Link` to `peer` over `channel`."""

    def __init__(
        self,
        channel: Channel,
        peer: PublicKey,
        *,
        initiated: bool,
        config: StreamConfig | None = None,
        stats: LinkStats | None = None,
        clock: Callable[[], float] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        # The loop's clock may be virtual; uvloop's counts whole milliseconds, too coarse for a round trip.
        self._clock = clock or self.loop.time
        self._random_bytes = random_bytes
        self.mux = StreamMux(initiator=initiated, config=config)
        self._channel = channel
        self._peer = peer
        self._initiated = initiated
        self._stats = stats or LinkStats()
        self._closed: asyncio.Future[LinkEnd] = self.loop.create_future()
        self._end_seen: LinkEnd | None = None
        self._streams: dict[int, LinkStream] = {}
        self._discarding: set[int] = set()
        self._handlers: dict[str, StreamHandler] = {}
        self._handler_tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[LinkStream] = deque()
        self._acceptors: deque[asyncio.Future[None]] = deque()
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._flush_scheduled = False
        self._opened_at = self._clock()
        self._closing: asyncio.Task[None] | None = None
        channel.on_message = self._on_message
        channel.on_room = self._flush
        channel.on_closed = self._on_channel_closed
        channel.start()
        self.flush_soon()

    @property
    def peer(self) -> PublicKey:
        """The identity at the other end."""
        return self._peer

    @property
    def initiated(self) -> bool:
        """Whether we dialled."""
        return self._initiated

    @property
    def stats(self) -> LinkStats:
        """Counters, path and phase times."""
        return self._stats

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""
        return len(self._streams)

    @property
    def closed(self) -> asyncio.Future[LinkEnd]:
        """Done once the link has ended, with why. Cancelling what is returned does nothing to the link."""
        return asyncio.shield(self._closed)

    @property
    def end(self) -> LinkEnd | None:
        """How the link ended, or None while it lives."""
        return self._end_seen

    async def open_stream(self, name: str) -> Stream:
        """Open a stream; returns at once."""
        self._check_open()
        number = self.mux.open(name)
        stream = LinkStream(self, number, name)
        self._streams[number] = stream
        self.flush_soon()
        return stream

    async def accept_stream(self) -> Stream:
        """Wait for the next incoming stream that no handler took."""
        while not self._waiting:
            self._check_open()
            acceptor: asyncio.Future[None] = self.loop.create_future()
            self._acceptors.append(acceptor)
            try:
                await acceptor
            except asyncio.CancelledError:
                # The wake-up this one got, if it did, is for the next in line.
                if acceptor in self._acceptors:
                    self._acceptors.remove(acceptor)
                else:
                    self._wake_acceptor()
                raise
        return self._waiting.popleft()

    def register(self, name: str, handler: StreamHandler | None) -> None:
        """Serve incoming streams of `name` with `handler`; None takes the handler away."""
        if handler is None:
            self._handlers.pop(name, None)
            return
        self._handlers[name] = handler
        early = [stream for stream in self._waiting if stream.name == name]
        for stream in early:
            self._waiting.remove(stream)
            self._serve(stream, handler)

    async def ping(self) -> float:
        """Return the round trip over the link in seconds."""
        self._check_open()
        token = self._random_bytes(8)
        answered: asyncio.Future[None] = self.loop.create_future()
        self._pings[token] = answered
        started = self._clock()
        self.mux.ping(token)
        self._flush()
        try:
            await answered
        finally:
            self._pings.pop(token, None)
        self._check_open()
        return self._clock() - started

    async def close(self) -> None:
        """End the link in good order and free everything it holds."""
        # A handler may close its own link: nobody shall wait for that handler to end.
        task = asyncio.current_task()
        if task is not None:
            self._handler_tasks.discard(task)
        if self._closing is None:
            self._closing = self.loop.create_task(self._close())
        await asyncio.shield(self._closing)

    # For the streams.

    def flush_soon(self) -> None:
        """Send what is waiting, together with whatever else is written in this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.loop.call_soon(self._flush)

    def drop_stream(self, number: int, code: int) -> None:
        """Reset one stream."""
        self._streams.pop(number, None)
        self.mux.reset(number, code)
        self.flush_soon()

    # Between multiplexer and channel.

    def _flush(self) -> None:
        self._flush_scheduled = False
        channel, mux, stats = self._channel, self.mux, self._stats
        while (room := channel.room) > 0:
            messages = mux.messages_to_send(0.0, room)
            if not messages:
                break
            for message in messages:
                stats.bytes_sent += len(message)
                channel.send(message)
            stats.messages_sent += len(messages)
        self._drain_events()

    def _on_message(self, data: bytes) -> None:
        stats = self._stats
        if not stats.messages_received:
            stats.phases["first-byte"] = self._clock() - self._opened_at
        stats.messages_received += 1
        stats.bytes_received += len(data)
        self.mux.receive_message(data, 0.0)
        self._drain_events()
        if self.mux.has_output:
            self.flush_soon()

    def _drain_events(self) -> None:
        next_event = self.mux.next_event
        while (event := next_event()) is not None:
            if isinstance(event, StreamReadable):
                if event.stream in self._discarding:
                    self._discard(event.stream)
                elif (stream := self._streams.get(event.stream)) is not None:
                    stream.wake_reader()
            elif isinstance(event, StreamWritable):
                if (stream := self._streams.get(event.stream)) is not None:
                    stream.wake_writer()
            elif isinstance(event, StreamOpened):
                self._on_opened(event)
            elif isinstance(event, StreamWasReset):
                self._discarding.discard(event.stream)
                stream = self._streams.pop(event.stream, None)
                if stream is not None:
                    stream.fail(StreamReset(stream.name, event.code, by_peer=True))
            elif isinstance(event, PongReceived):
                waiting = self._pings.get(event.token)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            elif isinstance(event, ConnectionClosed):
                self._on_mux_closed(event)

    def _on_opened(self, event: StreamOpened) -> None:
        stream = LinkStream(self, event.stream, event.name)
        handler = self._handlers.get(event.name)
        if handler is None and not self._acceptors and len(self._waiting) >= MAX_WAITING_STREAMS:
            self.mux.reset(event.stream, ResetCode.REFUSED_NAME)
            self.flush_soon()
            return
        self._streams[event.stream] = stream
        if handler is not None:
            self._serve(stream, handler)
            return
        self._waiting.append(stream)
        self._wake_acceptor()

    def _wake_acceptor(self) -> None:
        while self._waiting and self._acceptors:
            acceptor = self._acceptors.popleft()
            if not acceptor.done():
                acceptor.set_result(None)
                break

    def _serve(self, stream: LinkStream, handler: StreamHandler) -> None:
        task = self.loop.create_task(self._run_handler(stream, handler))
        self._handler_tasks.add(task)
        task.add_done_callback(self._handler_tasks.discard)

    async def _run_handler(self, stream: LinkStream, handler: StreamHandler) -> None:
        try:
            await handler(stream)
        except (StreamReset, LinkError) as ended:
            logger.debug("stream %s ended under its handler: %s", stream.name, ended)
            stream.reset(ResetCode.CANCELLED)
        except asyncio.CancelledError:
            stream.reset(ResetCode.CANCELLED)
            raise
        except Exception:
            logger.exception("the handler of stream %s failed", stream.name)
            stream.reset(ResetCode.INTERNAL)
        else:
            await stream.close()
            self.abandon(stream)

    def abandon(self, stream: LinkStream) -> None:
        """Read on to the end for a reader that has gone, so that its unread bytes hold no window."""
        number = stream.number
        self._streams.pop(number, None)
        if not self.mux.at_end(number):
            self._discarding.add(number)
            self._discard(number)

    def _discard(self, number: int) -> None:
        while self.mux.unread_of(number):
            self.mux.read(number, DISCARD_CHUNK)
        if self.mux.at_end(number):
            self._discarding.discard(number)
        self.flush_soon()

    # The end.

    def _check_open(self) -> None:
        if self._end_seen is not None:
            raise LinkError(self._end_seen)

    def _on_mux_closed(self, event: ConnectionClosed) -> None:
        if event.by_peer:
            fault = LinkFault.CLOSED_BY_PEER if event.code == CloseCode.NORMAL else LinkFault.PROTOCOL
        else:
            fault = LinkFault.CLOSED_BY_US if event.code == CloseCode.NORMAL else LinkFault.PROTOCOL
        for message in self.mux.messages_to_send(0.0):
            self._channel.send(message)
        self._end(LinkEnd(fault, event.detail))
        if self._closing is None:
            self._closing = self.loop.create_task(self._close())

    def _on_channel_closed(self, end: LinkEnd) -> None:
        self._end(end)
        if self._closing is None:
            self._closing = self.loop.create_task(self._close())

    def _end(self, end: LinkEnd) -> None:
        if self._end_seen is not None:
            return
        self._end_seen = end
        self._closed.set_result(end)
        self.mux.closed = True
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.fail(None)
        for waiting in [*self._pings.values(), *self._acceptors]:
            if not waiting.done():
                waiting.set_result(None)

    async def _close(self) -> None:
        deadline = self.loop.time() + CLOSE_GRACE
        if self._end_seen is None:
            while self.mux.has_output and self._end_seen is None and self.loop.time() < deadline:
                self._flush()
                await asyncio.sleep(0.005)
            self.mux.close()
            self._drain_events()
        while not self._channel.idle and self.loop.time() < deadline:
            await asyncio.sleep(0.005)
        await self._channel.close()
        # Handlers may still read what came before the end. One that waits for something else would outlive the link.
        if self._handler_tasks:
            await asyncio.wait(set(self._handler_tasks), timeout=max(deadline - self.loop.time(), 0.0))
        if left := set(self._handler_tasks):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=CLOSE_GRACE)


def link_over(
    opened: Opened,
    peer: PublicKey,
    *,
    initiated: bool,
    config: StreamConfig | None = None,
    clock: Callable[[], float] | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> StreamLink:
    """Make a link of a channel that was opened."""
    stats = LinkStats(path=opened.path, phases=opened.phases)
    return StreamLink(
        opened.channel,
        peer,
        initiated=initiated,
        config=config,
        stats=stats,
        clock=clock,
        random_bytes=random_bytes,
    )
