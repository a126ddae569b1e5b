"""A node to be tested without sockets, on a clock of its own: right, or broken in one way.

Decides nothing about what is right: the engine is the real one, and each way to break it is one change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from dht.contact import Address
from dht.events import ProbeRequested
from dht.sealing import PUBLIC_NETWORK
from node.conformance import suite
from node.conformance.suite import Verdict
from node.conformance.target import Target
from tests.dht.handdriven import Wire

HOST = "11.200.0.1"
"""Where the testers are: a public address, so that no rule makes an exception for them."""

HOST6 = "2a00:200:1:2::1"
"""The same in the other family."""

Breakage = Callable[[Any], None]
"""What changes an engine: its insides, too, for which there are no types."""


class MemoryLine:
    """A port of the testers' host."""

    def __init__(self, lab: Lab, port: int) -> None:
        self.lab = lab
        self.address: Address | None = (lab.host, port)
        self.arrived: deque[tuple[bytes, Address]] = deque()
        self._last: Address | None = None

    def send(self, data: bytes) -> None:
        """Hand a datagram over."""
        assert self.address is not None
        self.lab.node.receive_datagram(data, self.address, self.lab.wire.now)

    async def receive(self, timeout: float) -> bytes | None:
        """What has come, or comes within `timeout` seconds of the lab's clock."""
        self.lab.advance(timeout, until=lambda: bool(self.arrived))
        if not self.arrived:
            return None
        data, self._last = self.arrived.popleft()
        return data

    def from_target(self) -> bool:
        """Whether the last came from the node's address."""
        return self._last == self.lab.address

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.lab.advance(seconds)

    def now(self) -> float:
        """The lab's clock."""
        return self.lab.wire.now


class Lab:
    """The node under test, three others, and the testers' lines."""

    def __init__(self, breakage: Breakage | None = None, host: str = HOST) -> None:
        """`host`: where the testers are."""
        self.host = host
        self.wire = Wire(4)
        self.wire.join_all()
        self.node = next(iter(self.wire.engines.values()))
        self.address = self.wire.address(self.node)
        self.lines: dict[Address, MemoryLine] = {}
        self.probe_source: Address = (self.address[0], 4999)
        self.wire.events(self.node, ProbeRequested)
        if breakage is not None:
            breakage(self.node)

    @asynccontextmanager
    async def line(self) -> AsyncIterator[MemoryLine]:
        """Open one more port."""
        port = 5000 + len(self.lines)
        line = self.lines[(self.host, port)] = MemoryLine(self, port)
        yield line

    def target(self, *, thorough: bool) -> Target:
        """The suite's view of the node."""
        return Target(self.node.own_key, self.line, Random(5), network=PUBLIC_NETWORK, thorough=thorough)

    def advance(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, until something is so."""
        wire = self.wire
        end = wire.now + seconds
        while True:
            self._carry()
            if until():
                return
            due = min((engine.next_timer() or end for engine in wire.engines.values()), default=end)
            if due >= end:
                break
            wire.now = max(wire.now, due)
            for engine in list(wire.engines.values()):
                if (engine.next_timer() or end) <= wire.now:
                    engine.handle_timer(wire.now)
        wire.now = end
        self._carry()

    def _carry(self) -> None:
        while datagrams := self.wire.waiting():
            for datagram in datagrams:
                line = self.lines.get(datagram.target)
                if line is not None:
                    line.arrived.append((datagram.data, datagram.source))
                    continue
                engine = self.wire.engines.get(datagram.target)
                if engine is not None:
                    engine.receive_datagram(datagram.data, datagram.source, self.wire.now)
        while (event := self.node.next_event()) is not None:
            if isinstance(event, ProbeRequested) and (line := self.lines.get(event.address)):
                line.arrived.append((event.data, self.probe_source))


async def verdicts(lab: Lab, *, thorough: bool = True) -> dict[str, Verdict]:
    """Run all checks on a lab's node; the costly ones too, if `thorough`."""
    return {verdict.name: verdict async for verdict in suite.run(lab.target(thorough=thorough))}
