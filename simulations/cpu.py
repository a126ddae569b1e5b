"""A processor in front of an engine: each datagram takes its time, and waits for those that came before it.

Decides what a datagram costs its receiver and what is dropped when it cannot keep up. A downlink hop, so that a world
without it is the same world. Refuses to know engines: like a wiretap it judges from outside, by the same limits that
the engine has, so its verdicts are the engine's but for what the engine alone can tell (whether a box opens).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from dht.config import DhtConfig
from dht.constants import PROTOCOL_VERSION
from dht.limits import SourceLimits
from dht.sealing import CACHED_KEYS
from simulations.hops import Drop, Packet
from simulations.network import RECEIVE_BUFFER, Network

RECEIVE: Final = 10e-6
"""Seconds to take any datagram out of the socket. UNSOURCED: a system call and asyncio's call of the protocol."""
FOREIGN: Final = 1e-6
"""Seconds to see that a datagram is none of this network's."""
ANSWER: Final = 45e-6
"""Seconds to open a request of a node met before and to answer it: FIND_NODE, the dearest one."""
MEET: Final = 46e-6
"""Further seconds for a node never met: an X25519 agreement."""
SHUT_OUT: Final = 2e-6
"""Seconds to see that too many such, or too many requests, came from one source. These four were measured with
`DhtEngine` as it is, real boxes, Python 3.11, one core of a shared machine: the same on which the figures of
docs/results/benchmarks.md were."""

_OVERRUN: Final = Drop("cpu-overrun")


class Core:
    """One core, which one host has to itself. Counters: `busy` seconds in all, `overrun` datagrams dropped."""

    __slots__ = (
        "_free_at",
        "_known",
        "_queue",
        "_queued",
        "_requests",
        "_strangers",
        "busy",
        "overrun",
        "speed",
        "worst",
    )

    def __init__(self, speed: float = 1.0, config: DhtConfig | None = None) -> None:
        """`speed`: how fast it is; 0.25 takes four times as long."""
        config = config or DhtConfig()
        self.speed = speed
        self.busy = 0.0
        self.overrun = 0
        self.worst = 0.0
        """Longest time a datagram spent waiting and being served, seconds."""
        self._free_at = 0.0
        self._queue: deque[tuple[float, int]] = deque()
        """When each datagram that waits is taken out of the socket's buffer, and its bytes."""
        self._queued = 0
        self._known: dict[bytes, None] = {}
        self._requests = SourceLimits(config.rate_limit, config.rate_burst, config.network_rate)
        self._strangers = SourceLimits(
            config.stranger_rate, config.stranger_rate * 2, config.stranger_network_rate, config.stranger_total
        )

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Let a datagram through when it has been served; drop it when the socket's buffer is full."""
        queue = self._queue
        while queue and queue[0][0] <= now:
            self._queued -= queue.popleft()[1]
        waiting = max(0.0, self._free_at - now)
        size = len(packet.data)
        if self._queued + size > RECEIVE_BUFFER:
            self.overrun += 1
            return _OVERRUN
        took = self.cost(packet, now) / self.speed
        if waiting:
            queue.append((self._free_at, size))
            self._queued += size
        self._free_at = now + waiting + took
        self.busy += took
        self.worst = max(self.worst, waiting + took)
        return waiting + took

    def cost(self, packet: Packet, now: float) -> float:
        """Seconds that a datagram takes on a core of speed 1."""
        data = packet.data
        if len(data) < 37 or data[0] != PROTOCOL_VERSION:
            return RECEIVE + FOREIGN
        key = data[5:37]
        meeting = 0.0
        if key not in self._known:
            if not self._strangers.allow(packet.src, now):
                return RECEIVE + SHUT_OUT
            self._known[key] = None
            if len(self._known) > CACHED_KEYS:
                del self._known[next(iter(self._known))]
            meeting = MEET
        # Where no box is opened, nothing tells a reply that is waited for from a request: both are shut out here.
        return RECEIVE + meeting + (ANSWER if self._requests.allow(packet.src, now) else SHUT_OUT)


def attach(network: Network, ips: Iterable[str], *, speed: float = 1.0, config: DhtConfig | None = None) -> list[Core]:
    """Give each of these hosts a core of its own, behind whatever stands before it already."""
    cores = []
    for ip in ips:
        core = Core(speed, config)
        host = network.host(ip)
        host.downlink = (*host.downlink, core)
        cores.append(core)
    return cores
