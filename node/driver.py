"""Drives one five-verb protocol object on asyncio: one drain, one timer.

Decides when the object is called: for each batch of datagrams, at its deadline, and for each command. Every one of
these ends in the same drain: datagrams out, events to who waits for them, then the timer. Refuses to know what the
object is and what carries the datagrams (real sockets and the simulated network both do).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from dht.errors import LocalError

Address = tuple[str, int]

log = logging.getLogger("rookery.driver")

CLOCK_JUMP: Final = 30.0
"""Seconds the system clock must be ahead of ours before we follow it: a machine slept, or its clock was set.
UNSOURCED: far above what a clock drifts (50 ppm is 4 s a day), far below what records care about."""

TIMER_RESOLUTION: Final = 0.002
"""Seconds a loop may call early and still mean it: uvloop counts in milliseconds, and rounds."""

FAILURE_PAUSE: Final = 1.0
"""Seconds until the timer may fire again after it raised, so that a fault does not eat the machine. UNSOURCED"""

MAX_LOGGED: Final = 64
"""Different faults that are logged; beyond that they are only counted. UNSOURCED"""


class Stopped(LocalError):
    """Raised when an operation is cut short because the node stops."""

    def __init__(self) -> None:
        super().__init__("the node is stopping: the operation was given up")


class Engine(Protocol):
    """The five verbs."""

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> object:
        """Take a datagram in."""

    def datagrams_to_send(self, now: float) -> Iterable[tuple[bytes, Address]]:
        """Hand out what is to be sent, once."""

    def next_timer(self) -> float | None:
        """Say when `handle_timer` wants to be called, in Unix seconds."""

    def handle_timer(self, now: float) -> object:
        """Do what is due."""

    def next_event(self) -> object | None:
        """Hand out the next thing to report, once."""


class Neighbour(Protocol):
    """Who has a port together with the DHT: other protocols, told apart by the first byte (RFC 7983 section 7)."""

    def take(self, data: bytes, addr: Address) -> bool:
        """Take a datagram whose first byte is below 64, and say whether it was one of ours. Never raises."""

    def turn_done(self) -> None:
        """Everything that had arrived was handed over: answer now."""


class Datagrams(Protocol):
    """What carries an engine's datagrams: one port, on IPv4, IPv6, or both."""

    counters: Counter[str]
    addresses: list[Address]
    """Where it is bound, IPv4 first; known after `close`, too."""

    @property
    def port(self) -> int:
        """The port, the same for both families."""

    def attach(self, receive: Callable[[list[tuple[bytes, Address]]], object]) -> None:
        """Call `receive(batch)` whenever datagrams have come in."""

    def share(self, neighbour: Neighbour | None) -> None:
        """Let `neighbour` have the datagrams that are its own, before the receiver sees them."""

    def send(self, data: bytes, addr: Address) -> None:
        """Send now, or as soon as possible. Never raises: the network may lose anything."""

    def send_run(self, data: memoryview, size: int, addr: Address) -> None:
        """Send datagrams of `size` bytes that lie one behind the other, the last perhaps shorter."""

    def send_from_elsewhere(self, data: bytes, addr: Address) -> None:
        """Send from a port of its own: a probe whether `addr` can be reached unasked."""

    def close(self) -> None:
        """Free everything; what still waits to be sent is given up."""


E = TypeVar("E", bound=Engine)
R = TypeVar("R")
Done = TypeVar("Done")


class Driver(Generic[E]):
    """Calls an engine at the right times. Not started, not stopped: it works from construction until `close`."""

    def __init__(
        self,
        engine_at: Callable[[float], E],
        send: Callable[[bytes, Address], object],
        *,
        wall: Callable[[], float] | None = time.time,
    ) -> None:
        """`engine_at(now)` makes the engine. `wall` is the system clock; None where the loop's own clock is Unix time,
        as in a simulation."""
        self._loop = asyncio.get_running_loop()
        self._wall = wall
        # Not the loop's clock where there is a real one: uvloop's stands still within a turn and ticks in milliseconds.
        self.clock = self._loop.time if wall is None else time.monotonic
        """Seconds of a clock that nobody sets: to measure how long something takes."""
        self._offset = 0.0 if wall is None else wall() - self.clock()
        self._floor = 0.0
        self._send = send
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")
        self._draining = False
        self._again = False
        self._closed = False
        self._not_before = 0.0
        self._waiters: dict[int, tuple[asyncio.Future[Any], type]] = {}
        self._subscribers: dict[type, list[Callable[[Any], object]]] = {}
        self._logged: set[tuple[str, int]] = set()
        self.on_awake: Callable[[], object] | None = None
        """Called whenever datagrams have come or the timer has fired: what is due soon may be done at once."""
        self.counters: Counter[str] = Counter()
        """engine_faults, subscriber_faults, clock_jumps, timers."""
        self.engine = engine_at(self.now())
        self._drain()

    def now(self) -> float:
        """Unix seconds: the start plus what a clock that never goes back has advanced since."""
        now = self.clock() + self._offset
        return now if now > self._floor else self._floor

    def receive(self, batch: Iterable[tuple[bytes, Address]]) -> None:
        """Take in what arrived together, then drain once."""
        if self._closed:
            return
        now, take = self.now(), self.engine.receive_datagram
        for data, addr in batch:
            try:
                take(data, addr, now)
            except Exception as error:
                digest = hashlib.sha256(data).hexdigest()
                self._fault(error, f"while taking in {len(data)} bytes from {addr} (SHA-256 {digest})")
        self._drain()
        if self.on_awake is not None:
            self.on_awake()

    def command(self, call: Callable[[E, float], R]) -> R:
        """Run `call(engine, now)` and send what comes of it. Its exceptions are the caller's."""
        try:
            return call(self.engine, self.now())
        finally:
            self._drain()

    async def run(self, call: Callable[[E, float], int], until: type[Done] = object) -> Done:  # type: ignore[assignment]
        """Start an operation and return the first event of type `until` that carries its number."""
        if self._closed:
            raise Stopped
        future: asyncio.Future[Done] = self._loop.create_future()
        op = call(self.engine, self.now())
        self._waiters[op] = (future, until)
        try:
            self._drain()
            return await future
        finally:
            del self._waiters[op]

    async def run_many(self, call: Callable[[E, float], Sequence[int]], until: type[Done] = object) -> list[Done]:  # type: ignore[assignment]
        """Start several operations and return, in their order, the first event of type `until` of each."""
        if self._closed:
            raise Stopped
        ops = call(self.engine, self.now())
        futures: list[asyncio.Future[Done]] = [self._loop.create_future() for _ in ops]
        self._waiters.update((op, (future, until)) for op, future in zip(ops, futures, strict=True))
        try:
            self._drain()
            return await asyncio.gather(*futures)
        finally:
            for op in ops:
                del self._waiters[op]

    def subscribe(self, kind: type[R], callback: Callable[[R], object]) -> None:
        """Call `callback(event)` for every event of exactly the type `kind`."""
        self._subscribers.setdefault(kind, []).append(callback)

    def close(self) -> None:
        """Stop calling the engine after one last drain; operations under way end with `Stopped`."""
        if self._closed:
            return
        self._drain()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for future, _ in list(self._waiters.values()):
            if not future.done():
                future.set_exception(Stopped())

    def _drain(self) -> None:
        if self._draining:  # A subscriber gave a command: the drain that called it goes round once more.
            self._again = True
            return
        if self._closed:
            return
        engine, send = self.engine, self._send
        self._draining = self._again = True
        try:
            while self._again:
                self._again = False
                for data, addr in engine.datagrams_to_send(self.now()):
                    send(data, addr)
                while (event := engine.next_event()) is not None:
                    self._dispatch(event)
            deadline = engine.next_timer()
        except Exception as error:
            self._fault(error, "while draining")
            deadline = self.now() + FAILURE_PAUSE
        finally:
            self._draining = False
        # A timer that fires too early costs one look; re-arming at every datagram would cost more.
        if deadline is not None and deadline < self._armed:
            self._arm(deadline)

    def _dispatch(self, event: object) -> None:
        op = getattr(event, "op", None)
        if op is not None and (waiter := self._waiters.get(op)) is not None:
            future, until = waiter
            if isinstance(event, until) and not future.done():
                future.set_result(event)
        for callback in self._subscribers.get(type(event), ()):
            try:
                callback(event)
            except Exception as error:
                self._fault(error, f"in a subscriber of {type(event).__name__}", "subscriber_faults")

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = max(deadline, self._not_before)
        self._timer = self._loop.call_later(self._armed - self.now(), self._timer_fired)

    def _timer_fired(self) -> None:
        armed, self._timer, self._armed = self._armed, None, float("inf")
        self.counters["timers"] += 1
        self._follow_clock()
        # Loops call early by their clock's resolution, and sums are rounded: it is due all the same.
        if armed - self.now() < TIMER_RESOLUTION:
            self._floor = max(self._floor, armed)
        now = self.now()
        try:
            deadline = self.engine.next_timer()
            if deadline is not None and deadline <= now:
                self.engine.handle_timer(now)
        except Exception as error:
            self._fault(error, "in its timer")
            self._not_before = now + FAILURE_PAUSE
        self._drain()
        if self.on_awake is not None:
            self.on_awake()

    def _follow_clock(self) -> None:
        # The loop's clock stands still while the machine sleeps (CLOCK_MONOTONIC); time must never go back.
        if self._wall is not None and (ahead := self._wall() - self.now()) > CLOCK_JUMP:
            self._offset += ahead
            self.counters["clock_jumps"] += 1
            log.warning("the clock is %.0f s ahead of ours: following it", ahead)

    def _fault(self, error: Exception, where: str, counter: str = "engine_faults") -> None:
        # Never raised on: a fault of ours that strangers can trigger must not become a way to switch nodes off.
        self.counters[counter] += 1
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = (frame.tb_frame.f_code.co_filename, frame.tb_lineno) if frame else (repr(error), 0)
        if place not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(place)
            log.error("a fault of %s %s", type(self.engine).__name__, where, exc_info=error)
