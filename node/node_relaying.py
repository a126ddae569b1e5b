"""A node as a relay for others: their streams tied together two by two, their reservations kept.

Decides when bytes move from one stream to the other. Refuses to know who may (`node.protocols.relaying`), and what the
bytes are. It writes to nobody but those who asked, and to the relays it knows itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from dht.errors import DecodeError
from dht.identity import PublicKey, address_prefix
from node.node_links import Links
from node.ports import Link, LinkError, Stream, StreamEnded, StreamReset
from node.protocols.circuit import (
    CIRCUIT_STREAM,
    LENGTH,
    MAX_MESSAGE,
    RELAY_STREAM,
    Join,
    Joined,
    Message,
    Refused,
    RelayRefusal,
    Reserve,
    decode_circuit_message,
)
from node.protocols.circuit_relays import RelayContact
from node.protocols.relaying import CarriedCircuit, RelayCounters, Relaying, RelayLimits, Seat
from node.protocols.relaying_shares import LARGEST_PIECE, Flow

REQUEST_TIMEOUT: Final = 5.0
"""Seconds a request may take to arrive whole, so that nobody holds a handler with half of one. UNSOURCED"""

RESET_CODE: Final = 256
"""Added to the refusal in the reset that ends a circuit: codes below belong to the stream protocol."""


class CircuitOver(Exception):
    """Raised inside a circuit that the relay ends."""

    def __init__(self, reason: RelayRefusal) -> None:
        super().__init__(reason.name)
        self.reason = reason


@dataclass(slots=True, eq=False)
class _Waiting:
    """The stream of an end that waits for its partner."""

    stream: Stream
    first: asyncio.Task[bytes]
    partnered: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)


async def read_message(stream: Stream) -> Message:
    """Read one message and its length. Raises `DecodeError`, `StreamEnded`, `StreamReset` or `LinkError`."""
    (length,) = LENGTH.unpack(await stream.read_exactly(LENGTH.size))
    if length > MAX_MESSAGE:
        raise DecodeError("circuit message", f"{length} bytes, at most {MAX_MESSAGE} are allowed")
    return decode_circuit_message(await stream.read_exactly(length))


def framed(message: Message) -> bytes:
    """A message behind its length."""
    data = message.to_bytes()
    return LENGTH.pack(len(data)) + data


def direct_link(links: Links, peer: PublicKey) -> Link | None:
    """The link with a relay that a circuit may begin on: one that no relay carries, and whose path lives."""
    link = links.get(peer)
    return link if link is not None and link.stats.path.direct and not links.suspended(peer) else None


class RelayService:
    """The relay of one node."""

    def __init__(
        self,
        own: PublicKey,
        links: Links,
        clock: Callable[[], float],
        willing: Callable[[], bool],
        known: Callable[[PublicKey], Awaitable[RelayContact | None]],
        reach: Callable[[RelayContact, float], Awaitable[Link]],
        limits: RelayLimits | None = None,
    ) -> None:
        """`known` finds a relay that this node knows by itself, or None. `reach` makes or finds a link with one."""
        self._own = own
        self._links = links
        self._clock = clock
        self._willing = willing
        self._known = known
        self._reach = reach
        self._relaying = Relaying(own, clock(), limits)
        self._waiting: dict[Seat, _Waiting] = {}
        self._granted: dict[Flow, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def serve(self) -> None:
        """Take requests on every link there is and will be."""
        self._links.serve(RELAY_STREAM, lambda link: partial(self._on_reserve, link))
        self._links.serve(CIRCUIT_STREAM, lambda link: partial(self._on_circuit, link))

    @property
    def load(self) -> int:
        """0 to 255."""
        return self._relaying.load(self._clock())

    @property
    def limits(self) -> RelayLimits:
        """What is given."""
        return self._relaying.limits

    def counters(self) -> RelayCounters:
        """What there is to know."""
        return self._relaying.counters(self._clock())

    def close(self) -> None:
        """Free the timer; circuits end with their links."""
        if self._timer is not None:
            self._timer.cancel()

    # Requests

    async def _on_reserve(self, link: Link, stream: Stream) -> None:
        request = await self._request(stream)
        if isinstance(request, Reserve):
            answer = self._relaying.reserve(link.peer, request, self._clock(), willing=self._willing())
            await stream.write(framed(answer))
        else:
            await stream.write(framed(self._relaying.refused(RelayRefusal.BAD_REQUEST)))

    async def _on_circuit(self, link: Link, stream: Stream) -> None:
        request = await self._request(stream)
        if not isinstance(request, Join):
            await stream.write(framed(self._relaying.refused(RelayRefusal.BAD_REQUEST)))
            return
        if not link.stats.path.direct:
            # Circuits inside circuits would hide relays from the limit of hops, and from the guard against loops.
            await stream.write(framed(self._relaying.refused(RelayRefusal.HOP_LIMIT)))
            return
        seat = self._relaying.join(link.peer, _prefix(link), request, self._clock(), willing=self._willing())
        if isinstance(seat, Refused):
            await stream.write(framed(seat))
            return
        try:
            if seat.partner is not None:
                await self._tie(seat, self._waiting.pop(seat.partner), stream)
            elif seat.path:
                await self._go_on(seat, stream, request)
            else:
                await self._wait(seat, stream)
        finally:
            self._relaying.leave(seat)

    async def _request(self, stream: Stream) -> Message | None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await read_message(stream)
        except (DecodeError, StreamEnded, TimeoutError):
            return None

    # The three things that become of a JOIN

    async def _wait(self, seat: Seat, stream: Stream) -> None:
        """Keep one end until the other comes. What it says meanwhile waits in its stream's window."""
        waiting = _Waiting(stream, asyncio.ensure_future(stream.read(LARGEST_PIECE)))
        self._waiting[seat] = waiting
        # Not under a time-out: a partner may come in the very moment it runs out, and has the stream then.
        partnered = asyncio.ensure_future(waiting.partnered.wait())
        try:
            deadline = self._clock() + self._relaying.limits.half_joined_seconds
            watched: set[asyncio.Future[Any]] = {partnered, waiting.first}
            while not waiting.partnered.is_set() and (left := deadline - self._clock()) > 0:
                done, _ = await asyncio.wait(watched, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if waiting.first in done and not waiting.partnered.is_set():
                    if not waiting.first.result():
                        return  # It has given up.
                    watched.discard(waiting.first)
            if waiting.partnered.is_set():
                await waiting.done.wait()
                return
            self._waiting.pop(seat, None)
            await stream.write(framed(self._relaying.refused(RelayRefusal.NO_PARTNER)))
        finally:
            self._waiting.pop(seat, None)
            partnered.cancel()
            if not waiting.partnered.is_set():
                waiting.first.cancel()
                with contextlib.suppress(asyncio.CancelledError, StreamReset, LinkError):
                    await waiting.first

    async def _tie(self, seat: Seat, other: _Waiting, stream: Stream) -> None:
        circuit = self._relaying.tie(seat, self._clock())
        other.partnered.set()
        try:
            joined = framed(Joined())
            await other.stream.write(joined)
            await stream.write(joined)
            await self._carry(circuit, other.stream, stream, other.first)
        except BaseException:
            other.first.cancel()
            other.stream.reset(RESET_CODE)
            raise
        finally:
            other.done.set()

    async def _go_on(self, seat: Seat, stream: Stream, join: Join) -> None:
        """Join at the next relay on behalf of the end that sits here."""
        onward: Stream | None = None
        try:
            async with asyncio.timeout(self._relaying.limits.half_joined_seconds):
                link = await self._next(seat.path[0])
                onward = await link.open_stream(CIRCUIT_STREAM)
                visited = (*join.visited, self._own)
                await onward.write(framed(Join(join.circuit, join.role, join.hops - 1, join.path[1:], visited)))
                answer = await read_message(onward)
        except CircuitOver as over:
            await self._give_up(stream, onward, over.reason)
            return
        except (LinkError, StreamReset, StreamEnded, DecodeError, TimeoutError):
            await self._give_up(stream, onward, RelayRefusal.HOP_FAILED)
            return
        except BaseException:
            if onward is not None:
                onward.reset()
            raise
        if not isinstance(answer, Joined):
            reason = answer.reason if isinstance(answer, Refused) else RelayRefusal.HOP_FAILED
            await self._give_up(stream, onward, reason)
            return
        circuit = self._relaying.extend(seat, self._clock())
        try:
            await stream.write(framed(Joined()))
            await self._carry(circuit, stream, onward)
        except BaseException:
            onward.reset(RESET_CODE)
            raise

    async def _next(self, relay: PublicKey) -> Link:
        # Never on the word of whoever asks: only to what this node itself found to be a relay.
        contact = await self._known(relay)
        if contact is None:
            raise CircuitOver(RelayRefusal.UNKNOWN_HOP)
        link = direct_link(self._links, relay)
        return link or await self._reach(contact, self._relaying.limits.half_joined_seconds)

    async def _give_up(self, stream: Stream, onward: Stream | None, reason: RelayRefusal) -> None:
        if onward is not None:
            onward.reset()
        await stream.write(framed(self._relaying.refused(reason)))

    # Carrying

    async def _carry(
        self, circuit: CarriedCircuit, one: Stream, other: Stream, first: asyncio.Task[bytes] | None = None
    ) -> None:
        """Move bytes both ways until both ends have ended, or something breaks."""
        there, back = circuit.flows
        pumps = {
            asyncio.ensure_future(self._pump(circuit, there, one, other, first)),
            asyncio.ensure_future(self._pump(circuit, back, other, one)),
        }
        code = RESET_CODE
        try:
            while pumps:
                pause = self._relaying.limits.idle_seconds / 4
                done, pumps = await asyncio.wait(pumps, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                failures = [error for pump in done if (error := pump.exception()) is not None]
                if failures:
                    raise failures[0]
                if pumps and (reason := self._relaying.over(circuit, self._clock())) is not None:
                    raise CircuitOver(reason)
            return
        except CircuitOver as over:
            self._relaying.refused(over.reason)
            code = RESET_CODE + over.reason
        except (LinkError, StreamReset):
            code = RESET_CODE
        finally:
            for pump in pumps:
                pump.cancel()
            if pumps:
                await asyncio.wait(pumps)
            for flow in circuit.flows:
                self._granted.pop(flow, None)
        for stream in (one, other):
            stream.reset(code)

    async def _pump(
        self,
        circuit: CarriedCircuit,
        flow: Flow,
        source: Stream,
        target: Stream,
        first: asyncio.Task[bytes] | None = None,
    ) -> None:
        # A piece is taken only once the last one was: so each end goes no faster than the other takes.
        relaying = self._relaying
        data = await (source.read(LARGEST_PIECE) if first is None else first)
        while data:
            if not relaying.ask(circuit, flow, len(data), self._clock()):
                await self._turn(flow)
            if circuit.left <= 0:
                raise CircuitOver(RelayRefusal.USED_UP)
            await target.write(data)
            data = await source.read(LARGEST_PIECE)
        await target.close()

    async def _turn(self, flow: Flow) -> None:
        """Wait until the relay has something to give to this flow."""
        self._granted[flow] = asyncio.get_running_loop().create_future()
        self._arm()
        await self._granted[flow]

    def _arm(self) -> None:
        due = self._relaying.shares.next_timer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            wait = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._on_timer, due)

    def _on_timer(self, due: float) -> None:
        self._timer = None
        # Loops call early by their clock's resolution: it is due all the same.
        flow = self._relaying.shares.grant(max(due, self._clock()))
        waiting = None if flow is None else self._granted.pop(flow, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self._arm()


def _prefix(link: Link) -> bytes:
    address = link.stats.path.remote_address
    return b"" if address is None else address_prefix(address[0])
