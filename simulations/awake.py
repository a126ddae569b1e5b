"""A meter on whole machines: when each was awake, for a timer or a datagram, and what that cost its radio.

`simulations.traffic` meters bare engines and knows what each datagram was for; this one stands outside of a complete
node, so that whatever the node does counts: links, publishing, its own pauses. Decides nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from simulations.errors import SimulationError
from simulations.hops import Packet
from simulations.loop import VirtualLoop
from simulations.network import Network
from simulations.traffic import Tally

DOZE: Final = 0.5
"""Seconds after the last timer or datagram for which the processor stays awake. UNSOURCED: a phone sleeps at once when
nobody holds it awake, but the answers to one question are one matter."""


class Sleeper(Tally):
    """What a machine did, and for how long its processor was awake."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        """Awake so far, up to the last time it was woken."""

    def wake(self, now: float) -> None:
        """A timer fired, or a datagram went out or came in."""
        gap = now - self._awake
        self.wakeups += gap > DOZE
        self.seconds += min(gap, DOZE) if self._awake > 0 else 0.0
        self._awake = now

    def awake_by(self, now: float) -> float:
        """Seconds awake until now."""
        return self.seconds + (min(now - self._awake, DOZE) if self._awake > 0 else 0.0)


class _Tap:
    """A hop that lets everything pass and notes it."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def forward(self, packet: Packet, now: float) -> float:
        """Note a datagram."""
        self._tally.wake(now)
        self._tally.air(len(packet.data), now)
        return 0.0


class Awake:
    """Meters some hosts of a network, from now on."""

    def __init__(self, network: Network, ips: Iterable[str]) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise SimulationError("only the virtual loop knows whose timer fires: start the script with run(main)")
        self.tallies = {ip: Sleeper() for ip in ips}
        for ip, tally in self.tallies.items():
            host = network.host(ip)
            tap = _Tap(tally)
            host.uplink = (tap, *host.uplink)
            host.downlink = (*host.downlink, tap)
        self._queue = network.queue
        loop.on_timer = self._on_timer

    def _on_timer(self, ip: str | None) -> None:
        tally = self.tallies.get(ip) if ip is not None else None
        if tally is not None:
            tally.wake(self._queue.now)
