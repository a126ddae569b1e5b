"""Dialling with no answer beside offer and answer: time to open and bulk, on loopback, in the same run.

`make bench` prints both. Offer and answer are handed over in memory: what home nodes would add to them is missing here,
and is seen in the simulated worlds (`tests/simulations/test_link_dial.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dht.identity import IdentityKey, PublicKey
from node.adapters.answerless import WebRtcAnswerless
from node.adapters.certificate import generate_certificate
from node.adapters.stream_link import StreamLink, link_over
from node.adapters.udp import UdpSockets
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.ports import Opened

LOCAL = "127.0.0.1"
ALICE, BOB = (IdentityKey.from_seed(bytes(31) + bytes((n,))) for n in (1, 2))
CERTIFICATE = generate_certificate()
CONFIG = WebRtcConfig(include_loopback=True, only_addresses=(LOCAL,))
BYTES = 100_000_000


class Both:
    """Both ends of each way, in one process."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.opened: asyncio.Queue[tuple[PublicKey, Opened]] = asyncio.Queue()
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.sockets = [UdpSockets.open([LOCAL], 0) for _ in range(2)]
        for one in self.sockets:
            one.attach(list)
        self.alice, self.bob = [
            await WebRtcAnswerless.open(key, port, CERTIFICATE)
            for key, port in zip((ALICE, BOB), self.sockets, strict=True)
        ]
        self.bob.on_opened = lambda peer, opened: self.opened.put_nowait((peer, opened))

    async def dial(self) -> tuple[Opened, Opened]:
        address = (LOCAL, self.sockets[1].port)
        one = await self.alice.dial(BOB.public, address, CERTIFICATE.fingerprint, timeout=5)
        return one, (await self.opened.get())[1]

    async def call(self) -> tuple[Opened, Opened]:
        caller, callee = WebRtcSession(CONFIG), WebRtcSession(CONFIG)
        answer = await callee.answer(await caller.offer())
        far = asyncio.create_task(callee.connect(ALICE.public))
        return await caller.connect(BOB.public, answer), await far

    def stop(self) -> None:
        async def close() -> None:
            await self.alice.close()
            await self.bob.close()
            for one in self.sockets:
                one.close()

        self.runner.run(close())
        self.runner.close()


@pytest.fixture
def both() -> Iterator[Both]:
    made = Both()
    yield made
    made.stop()


@pytest.mark.benchmark(group="opening a channel, both ends in one process")
@pytest.mark.parametrize("way", ["dial", "call"])
def test_open(both: Both, benchmark: Any, way: str) -> None:
    ends: list[Opened] = []

    def again() -> None:
        for one in ends:
            both.runner.run(one.channel.close())
        ends.clear()

    benchmark.pedantic(lambda: ends.extend(both.runner.run(getattr(both, way)())), setup=again, rounds=20)
    print(f"\n{way}: open in {benchmark.stats['median'] * 1000:.1f} ms")
    again()


@pytest.mark.benchmark(group="bulk, both ends in one process")
@pytest.mark.parametrize("way", ["dial", "call", "dial-back"])
def test_bulk(both: Both, benchmark: Any, way: str) -> None:
    async def links() -> tuple[StreamLink, StreamLink]:
        one, other = await getattr(both, way.partition("-")[0])()
        return link_over(one, BOB.public, initiated=True), link_over(other, ALICE.public, initiated=False)

    source, sink = both.runner.run(links())[:: -1 if way == "dial-back" else 1]
    piece = bytes(1 << 18)

    async def send() -> None:
        stream = await source.open_stream("bulk")

        async def read() -> None:
            far = await sink.accept_stream()
            while await far.read(1 << 18):
                pass

        reading = asyncio.create_task(read())
        for _ in range(BYTES // len(piece)):
            await stream.write(piece)
        await stream.close()
        await reading

    benchmark.pedantic(lambda: both.runner.run(send()), rounds=3, warmup_rounds=1)
    print(f"\n{way}: {BYTES / benchmark.stats['min'] / 1e6:.0f} MB/s")
    both.runner.run(asyncio.wait_for(asyncio.gather(source.close(), sink.close()), 5))
