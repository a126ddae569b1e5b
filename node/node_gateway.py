"""A gateway for nodes that UDP does not reach: their DHT datagrams come in a stream and leave from a socket of ours.

Decides who is served and what a client's datagram has to go through. Refuses to know what is in the datagrams: they are
sealed between the client and the nodes it speaks to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from dht.contact import Address, Contact
from dht.errors import DecodeError, LocalError
from dht.events import PingDone
from node.driver import Datagrams, Stopped
from node.node_links import Links
from node.ports import Link, LinkError, Stream, StreamHandler, StreamReset
from node.protocols.tunnel import Frame, FrameReader, Kind, Passage, Verdict, Verified

if TYPE_CHECKING:
    from dht.engine import DhtEngine
    from node.driver import Driver

log = logging.getLogger("rookery.gateway")

STREAM: Final = "rookery/dht"

MAX_CLIENTS: Final = 64
"""Clients at once; further ones are refused. Bounds sockets and the gateway's line: 4 MB/s at most. UNSOURCED"""

REFUSED: Final = 2
"""Reset code: no room for another client."""

MAX_QUEUED: Final = 256
"""Datagrams kept for a client whose stream takes none; then the newest are lost, as on any line."""


class Gateway:
    """Serves clients on all links."""

    def __init__(
        self,
        links: Links,
        driver: Driver[DhtEngine],
        open_datagrams: Callable[[list[str], int], Awaitable[Datagrams]],
        willing: Callable[[], bool],
        listening: Sequence[Address],
    ) -> None:
        """`open_datagrams(hosts, port)` binds sockets; `willing` says whether clients are served just now; `listening`
        is where this node's own port is bound.
        """
        self.counters: Counter[str] = Counter()
        """clients, refused, passed, returned, dropped, pinged, malformed."""
        self._driver = driver
        self._open_datagrams = open_datagrams
        self._willing = willing
        self._listening = tuple(listening)
        self._verified = Verified()
        self._clients = 0
        self._asking: set[asyncio.Task[None]] = set()
        links.serve(STREAM, self._handler)

    async def close(self) -> None:
        """Give up what is being asked; clients end with their links."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    def _handler(self, link: Link) -> StreamHandler:
        return self._serve

    async def _serve(self, stream: Stream) -> None:
        if not self._willing() or self._clients >= MAX_CLIENTS:
            self.counters["refused"] += 1
            stream.reset(REFUSED)
            return
        self._clients += 1
        self.counters["clients"] += 1
        try:
            # Both families where there are both: the client's nodes may have either.
            sockets = await self._open_datagrams(["0.0.0.0", "::"], 0)
        except LocalError as error:
            log.warning("a client was turned away: %s", error)
            self._clients -= 1
            stream.reset(REFUSED)
            return
        client = _Client(self, stream, sockets, Passage(self._verified))
        try:
            await client.run()
        finally:
            self._clients -= 1
            sockets.close()

    def ask(self, client: _Client, address: Address, key: bytes) -> None:
        """Ping an endpoint that a client wants to write to."""
        engine = self._driver.engine
        if key == engine.own_key:
            # Clients mostly know this very node: it cannot ping itself, and knows where it is.
            client.answered(address, key, ok=address in (engine.public_address, *self._listening))
            return
        self.counters["pinged"] += 1

        async def ping() -> None:
            try:
                contact = Contact(key, address)
                done = await self._driver.run(lambda engine, now: engine.ping(contact, now), PingDone)
            except (LocalError, DecodeError, Stopped):
                client.answered(address, key, ok=False)
            else:
                client.answered(address, key, ok=done.rtt is not None)

        task = asyncio.get_running_loop().create_task(ping())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def now(self) -> float:
        """Unix seconds."""
        return self._driver.now()


class _Client:
    """One client: its stream and its socket."""

    def __init__(self, gateway: Gateway, stream: Stream, sockets: Datagrams, passage: Passage) -> None:
        self._gateway = gateway
        self._stream = stream
        self._sockets = sockets
        self._passage = passage
        self._returning: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED)

    async def run(self) -> None:
        """Carry until the stream ends."""
        self._sockets.attach(self._received)
        returning = asyncio.get_running_loop().create_task(self._return())
        reader = FrameReader(Kind.SEND)
        try:
            while data := await self._stream.read():
                for frame in reader.feed(data):
                    self._take(frame)
        except DecodeError as error:
            self._gateway.counters["malformed"] += 1
            log.debug("a client's stream broke off: %s", error)
            self._stream.reset(REFUSED)
        finally:
            returning.cancel()
            await asyncio.gather(returning, return_exceptions=True)

    def answered(self, address: Address, key: bytes, *, ok: bool) -> None:
        """The gateway has pinged an endpoint."""
        for data in self._passage.answered(address, key, self._gateway.now(), ok=ok):
            self._pass(data, address)

    def _take(self, frame: Frame) -> None:
        verdict = self._passage.judge(frame, self._gateway.now())
        if verdict is Verdict.PASS:
            self._pass(frame.data, frame.address)
        elif verdict is Verdict.ASK:
            self._gateway.ask(self, frame.address, frame.key)
        elif verdict is Verdict.DROP:
            self._gateway.counters["dropped"] += 1

    def _pass(self, data: bytes, address: Address) -> None:
        self._gateway.counters["passed"] += 1
        self._sockets.send(data, address)

    def _received(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, address in batch:
            frame = Frame(Kind.RECEIVED, address, data)
            if self._returning.full() or not self._passage.admits(frame, self._gateway.now()):
                self._gateway.counters["dropped"] += 1
                continue
            self._returning.put_nowait(frame.to_bytes())

    async def _return(self) -> None:
        try:
            while True:
                await self._stream.write(await self._returning.get())
                self._gateway.counters["returned"] += 1
        except (StreamReset, LinkError):
            pass  # The stream has ended: whoever reads it sees that, too.
