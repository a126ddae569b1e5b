"""One five-verb engine on one address: no asyncio, no task, no transport object.

Decides when an engine is called: for each datagram, at its one deadline, and for each command; after every call
it is drained the same way. Refuses to know what kind of engine it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappush
from typing import Any, Generic, TypeVar

from node.driver import Engine
from simulations.errors import SimulationError
from simulations.hops import Address
from simulations.network import Endpoint, Network

MOST_TIMERS_AT_ONCE = 10_000
"""Times an engine may ask to be called at one and the same instant before it is taken for stuck. UNSOURCED"""


E = TypeVar("E", bound=Engine)
R = TypeVar("R")


def _ignore(host: SimHost[Any], event: object) -> None:
    """Take no notice of an event."""


class SimHost(Generic[E]):
    """An engine attached to an address of the network, until `detach`."""

    __slots__ = (
        "_armed",
        "_endpoint",
        "_instant",
        "_network",
        "_on_timer",
        "_probes",
        "_queue",
        "_repeats",
        "_second",
        "engine",
        "on_event",
    )

    def __init__(
        self,
        network: Network,
        address: Address,
        engine: E,
        on_event: Callable[[SimHost[E], Any], object] = _ignore,
        second: Address | None = None,
    ) -> None:
        """`on_event(host, event)` is called for each event of the engine, at the instant it happens. `second`: its
        address of the other family, if it has two."""
        self._network = network
        self._queue = network.queue
        self.engine = engine
        self.on_event = on_event
        # The deadline of the one heap entry that counts. Entries made superfluous by an earlier deadline stay in
        # the heap and are recognised by not being this one: cheaper than taking them out.
        self._armed = math.inf
        self._instant = -math.inf
        self._repeats = 0
        self._on_timer = self._timer_fired
        self._probes: dict[str, Endpoint] = {}
        self._endpoint = network.bind(address, self._receive)
        self._second = None if second is None else network.bind(second, self._receive)
        self._drain(self._queue.now)

    @property
    def address(self) -> Address:
        """Where the engine is bound."""
        return self._endpoint.address

    def command(self, call: Callable[[E, float], R]) -> R:
        """Run `call(engine, now)` as a user of the engine would, and send what comes of it."""
        now = self._queue.now
        result = call(self.engine, now)
        self._drain(now)
        return result

    def send_from_elsewhere(self, data: bytes, addr: Address) -> None:
        """Send from another port of the same host: a probe whether `addr` can be reached unasked."""
        ip = self._source(addr).address[0]
        if ip not in self._probes:
            # What comes back to the probe's port is lost, as nobody reads there.
            self._probes[ip] = self._network.bind((ip, 0), lambda data, src: None)
        self._network.send(self._probes[ip], addr, data)

    def detach(self) -> None:
        """Take the engine off the network: it is never called again."""
        for endpoint in (self._endpoint, self._second, *self._probes.values()):
            if endpoint is not None:
                self._network.unbind(endpoint)
        self._armed = -math.inf

    def _source(self, addr: Address) -> Endpoint:
        """The endpoint from which `addr` is written to."""
        second = self._second
        return second if second is not None and (":" in second.address[0]) == (":" in addr[0]) else self._endpoint

    def _receive(self, data: bytes, src: Address) -> None:
        now = self._queue.now
        try:
            self.engine.receive_datagram(data, src, now)
            self._drain(now)
        except Exception as error:
            error.add_note(f"while {self.address} took in {len(data)} bytes from {src} at {now:.6f}")
            raise

    def _drain(self, now: float) -> None:
        engine = self.engine
        send, endpoint = self._network.send, self._endpoint
        for data, addr in engine.datagrams_to_send(now):
            send(endpoint if self._second is None else self._source(addr), addr, data)
        timer = engine.next_timer()
        if timer is not None and timer < self._armed:
            queue = self._queue
            self._armed = timer = max(timer, now)
            heappush(queue.heap, (timer, queue.next_number(), self._on_timer, timer, None, None))
        while (event := engine.next_event()) is not None:
            self.on_event(self, event)

    def _timer_fired(self, when: float, _a: object, _b: object) -> None:
        if when != self._armed:
            return
        host = self._endpoint.host
        if host.state:
            host.postpone(lambda: self._timer_fired(when, None, None))
            return
        self._armed = math.inf
        now = self._queue.now
        due = self.engine.next_timer()
        if due is not None and due <= now:
            self._watch(now)
            self.engine.handle_timer(now)
        self._drain(now)

    def _watch(self, now: float) -> None:
        # An engine whose deadline does not move on when it is handled would stop the clock for ever.
        if now != self._instant:
            self._instant, self._repeats = now, 0
        self._repeats += 1
        if self._repeats > MOST_TIMERS_AT_ONCE:
            raise SimulationError(
                f"the engine at {self.address} asked for its timer {self._repeats} times at {now:.6f}: "
                "handle_timer must move next_timer on"
            )
