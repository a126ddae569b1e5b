"""asyncio on the event queue's clock: unmodified asyncio code runs on the in-memory network.

Decides when callbacks and timers run: what is ready first, in the order it became ready; then the earliest timer
or network event, by time and then by insertion. With nothing left that could ever happen it raises `Deadlock`
where a real loop would hang. Whatever would leave the simulation (sockets, streams, processes, name look-ups,
other threads) is refused by name.

`loop.time()` is Unix seconds here, so that loop and engines speak of one clock. Several hosts share one loop, so
the loop can cut a host off, but cannot stop the host's tasks.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import ipaddress
import math
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import Any, NoReturn, TypeVar, cast

from simulations.datagram import SimDatagramTransport
from simulations.errors import Deadlock, ForeignThread, NotSimulated
from simulations.hops import Address
from simulations.network import Network

T = TypeVar("T")

SELDOM = (50_000, 20, 50)
"""Thresholds of the three generations of `gc`; Python's own are 700, 10, 10. The first makes the difference; higher
ones made none (600 nodes joining)."""

FEWEST_CANCELLED = 100
"""Cancelled timers below which the heap is left alone; asyncio's own `_MIN_SCHEDULED_TIMER_HANDLES`."""

_current_host: contextvars.ContextVar[str | None] = contextvars.ContextVar("simulated host", default=None)


@contextmanager
def on_host(ip: str) -> Iterator[None]:
    """Let code in the block, and every task it starts, stand on the host `ip`: where a wildcard address binds."""
    token = _current_host.set(ip)
    try:
        yield
    finally:
        _current_host.reset(token)


def run(main: Coroutine[Any, Any, T], network: Network) -> T:
    """Run a coroutine on a fresh virtual loop over `network`, as `asyncio.run` does on a real one."""
    with collecting_seldom(), asyncio.Runner(loop_factory=lambda: VirtualLoop(network)) as runner:
        return runner.run(main)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Let Python look for circular garbage less often in the block.

    A world is millions of objects that live to its end, and Python would look through them again and again: joins of
    600 nodes took a fifth less time. What circles there are die with their peers, and are found later.
    """
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to whatever comes next."""

    # Of BaseEventLoop, which typeshed does not show.
    _ready: deque[asyncio.Handle]
    _stopping: bool
    _thread_id: int | None
    _check_closed: Callable[[], None]

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self._queue = network.queue
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._cancelled_timers = 0
        self.on_timer: Callable[[str | None], object] | None = None
        """Called with the host whose timer fires, before it does: for meters."""

    def time(self) -> float:
        """Unix seconds of the simulation; never goes back."""
        return self._queue.now

    # Running

    def run_forever(self) -> None:
        """Run until stopped; the queue is this loop's alone meanwhile."""
        with self._queue.exclusively():
            super().run_forever()

    def _run_once(self) -> None:
        ready = self._ready
        while not ready and not self._stopping:
            self._advance()
        # Only what is ready now: what these make ready runs after the next look at `_stopping`, as in asyncio.
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _advance(self) -> None:
        """Move time to the next timer or network event, and make it happen."""
        timers, heap = self._timers, self._queue.heap
        if self._cancelled_timers > max(FEWEST_CANCELLED, len(timers) // 2):
            self._forget_cancelled()
        while timers and timers[0][2].cancelled():
            self._take_timer()
        # Two numbers are never equal, so the comparison ends before it reaches a handle.
        if timers and (not heap or timers[0][:2] < heap[0][:2]):
            when, handle = self._take_timer()
            self._queue.now = max(self._queue.now, when)
            self._ready.append(handle)
            if self.on_timer is not None:
                self.on_timer(handle._context.get(_current_host))  # type: ignore[attr-defined]
        elif heap:
            self._run_events()
        else:
            raise Deadlock(self._describe_deadlock())

    def _run_events(self) -> None:
        """Run the network's events until a timer is next, or one of them has woken somebody."""
        queue, heap, timers, ready = self._queue, self._queue.heap, self._timers, self._ready
        while heap and not ready and (not timers or heap[0][:2] < timers[0][:2]):
            queue.now, _, call, a, b, c = heappop(heap)
            call(a, b, c)

    def _take_timer(self) -> tuple[float, asyncio.TimerHandle]:
        when, _, handle = heappop(self._timers)
        handle._scheduled = False  # type: ignore[attr-defined]
        if handle.cancelled():
            self._cancelled_timers -= 1
        return when, handle

    def _forget_cancelled(self) -> None:
        # Time-outs that never fire are the rule: without this a long run is made of their remains.
        kept = []
        for entry in self._timers:
            if entry[2].cancelled():
                entry[2]._scheduled = False  # type: ignore[attr-defined]
            else:
                kept.append(entry)
        self._timers[:] = kept
        heapify(self._timers)
        self._cancelled_timers = 0

    def _describe_deadlock(self) -> str:
        waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
        shown = ", ".join(waiting[:5]) + (", …" if len(waiting) > 5 else "")
        return (
            f"nothing will ever happen again: no timer and no packet is under way at {self._queue.now:.6f}, "
            f"and {len(waiting)} tasks wait ({shown})"
        )

    # Scheduling

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at a time of this loop's clock; equal times run in the order in which they were asked for."""
        self._check_closed()
        self._check_own_thread()
        if math.isnan(when):
            raise ValueError("a callback cannot be scheduled at NaN")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]
        heappush(self._timers, (when, self._queue.next_number(), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._cancelled_timers += 1

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Work as `call_soon` from the loop's own thread; refused from any other."""
        self._check_own_thread()
        return self.call_soon(callback, *args, context=context)

    def _check_own_thread(self) -> None:
        if self._thread_id is not None and self._thread_id != threading.get_ident():
            raise ForeignThread("a virtual loop takes no calls from other threads: their timing is not repeatable")

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run `func` on the loop's own thread, soon, and whatever executor is named; it takes no virtual time."""
        self._check_closed()
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(work)
        return future

    # The network

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        local_addr: Address | None = None,
        remote_addr: Address | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: object = None,
    ) -> tuple[SimDatagramTransport, asyncio.BaseProtocol]:
        """Bind a protocol to an address of the in-memory network.

        A wildcard (or no) local address binds on the host the caller stands on, see `on_host`.
        """
        if sock is not None:
            raise NotSimulated("a ready-made socket", "name a local_addr instead of passing sock")
        if reuse_port or allow_broadcast:
            raise NotSimulated("reuse_port and allow_broadcast", "bind each endpoint to an address of its own")
        local = self._local_address(local_addr, remote_addr, family)
        protocol = protocol_factory()
        transport = SimDatagramTransport(
            self, self.network, cast(asyncio.DatagramProtocol, protocol), local, remote_addr
        )
        protocol.connection_made(transport)
        return transport, protocol

    def _local_address(self, local: Address | None, remote: Address | None, family: int) -> Address:
        if local is None and remote is None and family == 0:
            raise ValueError("unexpected address family")
        ip, port = local[:2] if local is not None else ("0.0.0.0", 0)
        if ipaddress.ip_address(ip).is_unspecified:
            host = _current_host.get()
            if host is None:
                raise NotSimulated(f"a wildcard address such as {ip!r}", "name an IP, or bind inside on_host(ip)")
            ip = host
        return ip, port

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: str | None,
        port: str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve numeric addresses only."""
        numeric = flags | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        try:
            return socket.getaddrinfo(host, port, family, type, proto, numeric)
        except socket.gaierror:
            raise NotSimulated(f"looking up the name {host!r}", "use an IP address") from None

    # What would leave the simulation

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> NoReturn:
        """Refuse: there are no names in here."""
        raise NotSimulated("getnameinfo", "use an IP address")

    async def create_connection(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: TCP is not simulated."""
        raise NotSimulated("create_connection", "only datagrams cross the simulated network")

    async def create_server(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: TCP is not simulated."""
        raise NotSimulated("create_server", "only datagrams cross the simulated network")

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: another process would run on real time."""
        raise NotSimulated("subprocess_exec", "another process does not know the virtual clock")

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: another process would run on real time."""
        raise NotSimulated("subprocess_shell", "another process does not know the virtual clock")
