"""A meter on whole machines: when each was awake, for a timer or a datagram, and what that cost its radio.

`simulations.traffic` meters bare engines and knows what each datagram was for; this one stands outside of a complete
node, so that whatever the node does counts: links, publishing, its own pauses. Decides nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from simulations.errors import SimulationError
from simulations.hops import Packet
from simulations.loop import VirtualLoop
from simulations.network import Network
from simulations.traffic import Tally


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
        self.tallies = {ip: Tally() for ip in ips}
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
