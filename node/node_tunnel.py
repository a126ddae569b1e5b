"""Getting through where UDP does not: DHT datagrams go through a gateway's stream while nothing comes in otherwise.

Decides when UDP counts as blocked, which gateway is used, and when UDP is tried again. Refuses to know how a link with
a gateway is opened.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from dht.contact import Address
from dht.errors import DecodeError
from dht.identity import PublicKey
from dht.stun import binding_request
from node.config_values import GatewayAddress
from node.driver import Datagrams, Neighbour
from node.node_gateway import STREAM
from node.ports import Link, LinkError, Stream, StreamReset
from node.protocols.tunnel import Frame, FrameReader, Kind

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

log = logging.getLogger("rookery.tunnel")

SILENT_AT_START: Final = 3.0
"""Seconds without any datagram after which a node that has sent some takes UDP for blocked. UNSOURCED: the third
repetition of a first request, and a round trip round the world."""

SILENT_LATER: Final = 60.0
"""The same for a node that UDP reached before: a network that was left, or a firewall that was changed. UNSOURCED:
homes' pings come every 25 s to 120 s, and upkeep's own requests oftener."""

SEVERAL: Final = 4
"""Addresses whose common silence shows in `SILENT_AT_START` seconds what a few dead ones show in `SILENT_LATER`: a link
that has lost its path waits `node.protocols.liveness.SUSPENDED_FOR` for another. UNSOURCED: more than a look-up asks
at once of those that died together"""

LOOK: Final = 1.0
"""Seconds between looks."""

DIAL_TIMEOUT: Final = 10.0
"""Seconds a gateway has to be reached in. UNSOURCED"""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 120.0
"""Seconds between rounds of gateways that were not reached, doubling. UNSOURCED"""

FIRST_TRY, TRY_UDP = 5.0, 300.0
"""Seconds until it is tried whether UDP gets through after all, doubling, and the most. UNSOURCED"""

MAX_QUEUED: Final = 512
"""Datagrams that wait for the stream; then the oldest go, as in the sockets' own queue."""


class TunnelledDatagrams:
    """The node's sockets, and in their place a stream while there is one."""

    def __init__(self, inner: Datagrams) -> None:
        self.inner = inner
        self.counters: Counter[str] = inner.counters
        self.addresses = inner.addresses
        self.key_of: Callable[[Address], bytes | None] = lambda _address: None
        self.attempts = 0
        """Datagrams handed over to be sent by UDP."""
        self.asked: set[Address] = set()
        """Up to `SEVERAL` addresses written to by UDP; cleared by whoever judges its silence."""
        self._receive: Callable[[list[tuple[bytes, Address]]], object] = lambda _batch: None
        self._queue: asyncio.Queue[bytes] | None = None

    @property
    def port(self) -> int:
        """The port of the sockets."""
        return self.inner.port

    @property
    def tunnelled(self) -> bool:
        """Whether datagrams go through a gateway now."""
        return self._queue is not None

    def attach(self, receive: Callable[[list[tuple[bytes, Address]]], object]) -> None:
        """Call `receive(batch)` for what comes, whichever way."""
        self._receive = receive
        self.inner.attach(receive)

    def send(self, data: bytes, addr: Address) -> None:
        """Send now, or as soon as possible."""
        if self._queue is None:
            self.attempts += 1
            if len(self.asked) < SEVERAL:
                self.asked.add(addr)
            self.inner.send(data, addr)
            return
        key = self.key_of(addr)
        if key is None:
            self.counters["tunnel_no_key"] += 1
            return
        if self._queue.full():
            self._queue.get_nowait()
            self.counters["send_dropped"] += 1
        self.counters["tunnelled"] += 1
        self._queue.put_nowait(Frame(Kind.SEND, addr, data, key).to_bytes())

    def share(self, neighbour: Neighbour | None) -> None:
        """Let `neighbour` have its own datagrams, which come by UDP alone."""
        self.inner.share(neighbour)

    def send_run(self, data: memoryview, size: int, addr: Address) -> None:
        """Send a neighbour's datagrams, by UDP."""
        self.inner.send_run(data, size, addr)

    def send_from_elsewhere(self, data: bytes, addr: Address) -> None:
        """Send from a port of its own; through a gateway there is none."""
        if self._queue is None:
            self.inner.send_from_elsewhere(data, addr)

    def close(self) -> None:
        """Free everything."""
        self.inner.close()

    async def carry(self, stream: Stream) -> None:
        """Send and receive through `stream` until it ends."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED)
        writing = asyncio.get_running_loop().create_task(_write(stream, queue))
        self._queue = queue
        reader = FrameReader(Kind.RECEIVED)
        try:
            while data := await stream.read():
                if batch := [(frame.data, frame.address) for frame in reader.feed(data)]:
                    self._receive(batch)
        except (StreamReset, LinkError, DecodeError) as error:
            log.info("the tunnel ended: %s", error)
        finally:
            self._queue = None
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _write(stream: Stream, queue: asyncio.Queue[bytes]) -> None:
    try:
        while True:
            await stream.write(await queue.get())
    except (StreamReset, LinkError):
        pass  # Whoever reads the stream sees its end, too.


class Silence:
    """Judges whether nothing comes in by UDP though something should."""

    def __init__(self, datagrams: TunnelledDatagrams, now: float) -> None:
        self._datagrams = datagrams
        self._came = datagrams.counters["received"]
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._sent = self._datagrams.attempts
        self._several_since: float | None = None
        self._datagrams.asked.clear()

    def look(self, now: float) -> bool:
        """Whether UDP counts as blocked, as of a look at `now`."""
        datagrams = self._datagrams
        came = datagrams.counters["received"]
        if came != self._came or datagrams.attempts == self._sent:
            self._came = came
            self._begin(now)  # Who asks nobody cannot expect answers.
            return False
        if self._several_since is None and len(datagrams.asked) >= SEVERAL:
            self._several_since = now
        if self._several_since is not None and now - self._several_since >= SILENT_AT_START:
            return True
        return now - self._since >= (SILENT_LATER if came else SILENT_AT_START)


class Tunnel:
    """Looks whether UDP gets through, and opens a tunnel when it does not."""

    def __init__(
        self,
        datagrams: TunnelledDatagrams,
        driver: Driver[DhtEngine],
        gateways: Sequence[GatewayAddress],
        open_link: Callable[[GatewayAddress, float], Awaitable[Link]],
        on_change: Callable[[PublicKey | None], object],
        rng: Random,
    ) -> None:
        """`open_link(gateway, timeout)` raises `LinkError`. `on_change(gateway)` is told when datagrams begin to go
        another way; None means UDP."""
        self._datagrams = datagrams
        self._driver = driver
        self._gateways = list(gateways)
        self._open_link = open_link
        self._on_change = on_change
        self._rng = rng
        if gateways:
            driver.engine.note_recipients()
            datagrams.key_of = driver.engine.recipient_at

    async def run(self) -> None:
        """Watch until cancelled; at once done where no gateway is known."""
        pause = FIRST_PAUSE
        while self._gateways:
            await self._silence()
            if await self._through_one():
                pause = FIRST_PAUSE
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _silence(self) -> None:
        """Wait until nothing has come in for long though something was sent."""
        silence = Silence(self._datagrams, self._driver.clock())
        while not silence.look(self._driver.clock()):
            await asyncio.sleep(LOOK)

    async def _through_one(self) -> bool:
        """Carry datagrams through the first gateway that is reached, until it ends. Returns whether one was."""
        for gateway in self._gateways:
            try:
                link = await self._open_link(gateway, DIAL_TIMEOUT)
                stream = await link.open_stream(STREAM)
            except LinkError as error:
                log.warning("gateway %s:%d is not reached: %s", gateway.host, gateway.port, error)
                continue
            log.info("UDP does not get through: DHT datagrams go through %s:%d", gateway.host, gateway.port)
            carrying = asyncio.get_running_loop().create_task(self._datagrams.carry(stream))
            await asyncio.sleep(0)
            self._on_change(gateway.peer)
            try:
                await self._until_udp(carrying)
            finally:
                carrying.cancel()
                await asyncio.gather(carrying, return_exceptions=True)
                stream.reset()
            self._on_change(None)
            return True
        return False

    async def _until_udp(self, carrying: asyncio.Task[None]) -> None:
        """Wait for the end of the tunnel, or for a datagram that came by UDP in spite of all."""
        counters, driver = self._datagrams.counters, self._driver
        before, last_try, pause = counters["received"], driver.clock(), FIRST_TRY
        while not carrying.done():
            await asyncio.wait([carrying], timeout=LOOK)
            if counters["received"] != before:
                log.info("UDP gets through again")
                return
            contacts = driver.engine.contacts()
            if driver.clock() - last_try >= pause and contacts:
                last_try, pause = driver.clock(), min(2 * pause, TRY_UDP)
                # STUN is answered by every server, and asks for no engine's attention.
                self._datagrams.inner.send(binding_request(self._rng.randbytes(12)), contacts[0].address)
