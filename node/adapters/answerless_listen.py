"""Who dials us on the DHT's own port: told apart, proven to be where it says, and bounded.

Decides which datagrams of the port are a dialler's and how many diallers there may be. STUN checks are answered without
keeping anything (`node.protocols.dialing`); only an address that has shown to be its sender's gets a place here, and
only with its first DTLS record a handshake begins. Refuses to know what the handshake is.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from dht.limits import RateLimiter, prefix_of, source_of
from node.driver import Neighbour
from node.ports import Address
from node.protocols.dialing import Door

logger = logging.getLogger(__name__)

MAX_DIALLERS: Final = 512
"""Addresses with a place: attempts and channels. Bounds memory: 155 kB each (measured with aiortc). UNSOURCED"""

MAX_PER_PREFIX: Final = 32
"""Of them in one /24 or /48, so that one network cannot take all places. UNSOURCED: an office behind one address."""

MAX_HANDSHAKES: Final = 32
"""Handshakes under way. Bounds memory and how late the last of them is: 29 ms of CPU each. UNSOURCED"""

HANDSHAKES_PER_SOURCE: Final = 2.0
"""Handshakes per second that one source may begin, after a burst of 16. Bounds the CPU that one address can cost to 6 %
of a core: 29 ms each."""

ATTEMPT_TIMEOUT: Final = 10.0
"""Seconds from the proof of the address to the proof of the key: three repeats of a lost flight (RFC 6347 section
4.2.4.1)."""

SILENCE: Final = 30.0
"""Seconds without a datagram after which a dialler is gone: its consent checks come every 5 s (RFC 7675 section 5)."""

SWEEP: Final = 5.0
"""Seconds between looks for diallers that are gone. UNSOURCED"""

MAX_EARLY: Final = 4
"""Datagrams of an address kept until its handshake begins: the first may have to wait for an import. UNSOURCED"""


class Path(Protocol):
    """What takes a dialler's DTLS datagrams."""

    def receive(self, data: bytes) -> None:
        """Take one."""

    def turn_done(self) -> None:
        """Everything that had arrived was handed in."""

    def end_data(self) -> None:
        """The dialler is gone."""


class SharedPort(Protocol):
    """The DHT's port, as far as it is needed here (`UdpSockets`)."""

    addresses: list[Address]

    def share(self, neighbour: Neighbour | None) -> None:
        """Let `neighbour` have the datagrams that are its own."""

    def send(self, data: bytes, addr: Address) -> None:
        """Send a datagram."""

    def send_run(self, data: memoryview, size: int, addr: Address) -> None:
        """Send datagrams of `size` bytes that lie one behind the other, the last perhaps shorter."""


class Dialler:
    """One address that was shown to be its sender's."""

    def __init__(self, address: Address, now: float) -> None:
        self.address = address
        self.heard = now
        """When anything came from there."""
        self.path: Path | None = None
        self.task: asyncio.Task[None] | None = None
        self.early: list[bytes] = []


class Listener:
    """The neighbour of the DHT on its port."""

    def __init__(self, port: SharedPort, rng: Random, begin: Callable[[Dialler], asyncio.Task[None]]) -> None:
        """`begin(dialler)` starts the handshake; the task is done when the handshake is, however it ended."""
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._begin = begin
        self._door = Door(rng)
        self._rate = RateLimiter(HANDSHAKES_PER_SOURCE, 16.0)
        self._diallers: dict[Address, Dialler] = {}
        self._prefixes: Counter[object] = Counter()
        self._touched: dict[Dialler, None] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closing = False
        self.counters: Counter[str] = self._door.counters
        """Those of the door; stray (DTLS from nobody known), full, limited_handshakes, faults."""
        port.share(self)

    def __len__(self) -> int:
        return len(self._diallers)

    def take(self, data: bytes, addr: Address) -> bool:
        """Take a datagram whose first byte is below 64, and say whether it is a dialler's. Never raises."""
        if not data:
            return False
        dialler = self._diallers.get(addr)
        if data[0] < 4:
            return self._take_stun(data, addr, dialler)
        if data[0] < 20:
            return False
        if dialler is None:
            self.counters["stray"] += 1
            return True
        dialler.heard = self._loop.time()
        if dialler.path is not None:
            self._touched[dialler] = None
            self._guarded(dialler, lambda path: path.receive(data))
        elif len(dialler.early) < MAX_EARLY:
            dialler.early.append(data)
            if dialler.task is None:
                self._start(dialler)
        return True

    def turn_done(self) -> None:
        """Everything that had arrived was handed over."""
        touched, self._touched = self._touched, {}
        for dialler in touched:
            self._guarded(dialler, lambda path: path.turn_done())

    def attach(self, dialler: Dialler, path: Path) -> None:
        """Hand everything of this dialler to `path`, first what came so far."""
        dialler.path = path
        early, dialler.early = dialler.early, []
        for data in early:
            path.receive(data)

    def _guarded(self, dialler: Dialler, call: Callable[[Path], object]) -> None:
        """A fault of ours in one dialler's path ends that path, and keeps nothing from the DHT."""
        path = dialler.path
        if path is None:
            return
        try:
            call(path)
        except Exception:
            self.counters["faults"] += 1
            logger.exception("taking in a datagram of %s failed", dialler.address)
            path.end_data()

    def forget(self, dialler: Dialler) -> None:
        """The dialler is gone: its place is free."""
        if self._diallers.get(dialler.address) is not dialler:
            return
        del self._diallers[dialler.address]
        self._touched.pop(dialler, None)
        place = _place(dialler.address)
        self._prefixes[place] -= 1
        if not self._prefixes[place]:
            del self._prefixes[place]
        if self._closing and not self._diallers:
            self._stop()

    async def close(self) -> None:
        """Let nobody in any more and give up the handshakes; channels that stand go on until they are closed."""
        self._closing = True
        for task in self._handshakes:
            task.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)
        for dialler in [dialler for dialler in self._diallers.values() if dialler.path is None]:
            self.forget(dialler)
        if not self._diallers:
            self._stop()

    def _take_stun(self, data: bytes, addr: Address, dialler: Dialler | None) -> bool:
        if self._closing and dialler is None:
            return False
        now = self._loop.time()
        knock = self._door.knock(data, addr, now, known=dialler is not None)
        if knock is None:
            return False
        if dialler is not None:
            dialler.heard = now
        elif knock.arrived:
            self._let_in(addr, now)
        for reply in knock.replies:
            self._port.send(reply, addr)
        return True

    def _let_in(self, addr: Address, now: float) -> None:
        place = _place(addr)
        if len(self._diallers) >= MAX_DIALLERS or self._prefixes[place] >= MAX_PER_PREFIX:
            self.counters["full"] += 1
            return
        self._diallers[addr] = Dialler(addr, now)
        self._prefixes[place] += 1
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP, self._look)

    def _start(self, dialler: Dialler) -> None:
        now = self._loop.time()
        if len(self._handshakes) >= MAX_HANDSHAKES or not self._rate.allow(source_of(dialler.address), now):
            # It repeats its first flight after a second, and perhaps there is room then.
            dialler.early.clear()
            self.counters["limited_handshakes"] += 1
            return
        dialler.task = self._begin(dialler)
        self._handshakes.add(dialler.task)
        dialler.task.add_done_callback(self._handshakes.discard)

    def _look(self) -> None:
        now = self._loop.time()
        for dialler in list(self._diallers.values()):
            silent = now - dialler.heard
            if dialler.path is not None:
                if silent >= SILENCE:
                    dialler.path.end_data()
            elif dialler.task is None and silent >= ATTEMPT_TIMEOUT:
                self.forget(dialler)
        self._sweep = self._loop.call_later(SWEEP, self._look) if self._diallers else None

    def _stop(self) -> None:
        self._port.share(None)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None


def _place(address: Address) -> object:
    return prefix_of(address) or source_of(address)
