"""A link through a relay beside the direct one it stands for, in the same run: throughput, and the round trip added.

`memory`: three links in one process, so the processor is the limit, and what a relay costs is seen bare. `webrtc`: real
data channels on loopback, all in one process as well. Trust the ratios, and on a busy machine what a second of the
processor's time carries: wall clocks count other programs' share as well.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from dht.identity import IdentityKey, PublicKey
from node.adapters.memory_link import MemoryChannelPair
from node.adapters.stream_link import StreamLink, link_over
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.node_events import EventLog
from node.node_links import Links
from node.node_mesh import Mesh
from node.ports import Link, LinkPath, Opened, Stream
from node.protocols.circuit_relays import RelayContact
from node.protocols.relaying import RelayLimits

PIECE = 65_536
PIECES = 400
"""26 MB."""
PINGS = 300

FAST = RelayLimits(total_rate=1e10, peer_rate=1e10, circuit_rate=1e10)
Pair = Callable[[], Awaitable[tuple[Opened, Opened]]]


async def memory_pair() -> tuple[Opened, Opened]:
    pair = MemoryChannelPair()
    return Opened(pair.near, LinkPath()), Opened(pair.far, LinkPath())


async def webrtc_pair() -> tuple[Opened, Opened]:
    peer = IdentityKey.from_seed(bytes(32)).public
    near, far = WebRtcSession(WebRtcConfig()), WebRtcSession(WebRtcConfig())
    answer = await far.answer(await near.offer())
    both = await asyncio.gather(near.connect(peer, answer, timeout=20), far.connect(peer, timeout=20))
    return both[0], both[1]


class NoDht:
    """In place of a driver: nothing is looked for here."""

    clock = now = staticmethod(time.monotonic)

    async def run(self, call: object, until: object) -> None:
        await asyncio.sleep(3600)


class End:
    """A machine with its links and mesh."""

    def __init__(self, number: int) -> None:
        self.identity = IdentityKey.from_seed(bytes([number]) * 32)
        self.links = Links(EventLog(), time.time, time.monotonic, random.randbytes)
        self.mesh = Mesh(
            self.identity,
            self.links,
            NoDht(),  # type: ignore[arg-type]
            self.reach,
            EventLog(),
            random.Random(number),
            time.time,
            time.monotonic,
            lambda: True,
            limits=FAST,
        )
        self.mesh.serve()

    @property
    def key(self) -> PublicKey:
        return self.identity.public

    async def reach(self, relay: RelayContact, timeout: float) -> Link:
        link = self.links.get(relay.identity)
        assert link is not None
        return link


async def tie(pair: Pair, one: End, other: End) -> None:
    near, far = await pair()
    one.links.add(link_over(near, other.key, initiated=True))
    other.links.add(link_over(far, one.key, initiated=False))


async def relayed(pair: Pair) -> tuple[StreamLink, StreamLink, list[End]]:
    one, other, relay = End(1), End(2), End(3)
    await tie(pair, one, relay)
    await tie(pair, other, relay)
    one.mesh.book.learn(RelayContact(relay.key, (("192.0.2.3", 1),)))
    mine = one.mesh.propose(other.key)
    theirs = other.mesh.accept(one.key, mine.extras)
    near, far = await asyncio.gather(
        one.mesh.open(other.key, mine, theirs.extras, initiated=True, timeout=10),
        other.mesh.open(one.key, theirs, mine.extras, initiated=False, timeout=10),
    )
    ends = link_over(near, other.key, initiated=True), link_over(far, one.key, initiated=False)
    return *ends, [one, other, relay]


async def direct(pair: Pair) -> tuple[StreamLink, StreamLink, list[End]]:
    near, far = await pair()
    key = IdentityKey.from_seed(bytes(32)).public
    return link_over(near, key, initiated=True), link_over(far, key, initiated=False), []


async def bulk(link: StreamLink) -> None:
    stream = await link.open_stream("sink")
    for _ in range(PIECES):
        await stream.write(bytes(PIECE))
    await stream.close()
    assert await stream.read_exactly(1) == b"k"


async def sink(stream: Stream) -> None:
    while await stream.read(262_144):
        pass
    await stream.write(b"k")


async def pings(link: StreamLink) -> list[float]:
    return sorted([await link.ping() for _ in range(PINGS)])


Made = tuple[asyncio.Runner, StreamLink]


@pytest.fixture(params=["memory", pytest.param("webrtc", marks=pytest.mark.slow)])
def carrier(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["direct", "relayed"])
def made(request: pytest.FixtureRequest, carrier: str) -> Iterator[Made]:
    pair = memory_pair if carrier == "memory" else webrtc_pair
    with asyncio.Runner() as runner:
        near, far, ends = runner.run((relayed if request.param == "relayed" else direct)(pair))
        far.register("sink", sink)
        yield runner, near

        async def close() -> None:
            await near.close()
            await far.close()
            for end in ends:
                await end.mesh.close()
                await end.links.close()

        runner.run(close())


@pytest.mark.benchmark(group="relay: 26 MB in pieces of 64 KiB")
def test_throughput(made: Made, carrier: str, benchmark: Any) -> None:
    runner, link = made
    processor: list[float] = []

    def timed() -> None:
        began = time.process_time()
        runner.run(bulk(link))
        processor.append(time.process_time() - began)

    benchmark.pedantic(timed, rounds=3, warmup_rounds=1)
    size = PIECES * PIECE / 1e6
    said = f"{size / benchmark.stats['min']:.1f} MB/s, {size / min(processor):.1f} MB a second of one processor"
    print(f"\n{benchmark.name}: {said}")


@pytest.mark.benchmark(group="relay: round trip")
def test_round_trip(made: Made, carrier: str, benchmark: Any) -> None:
    runner, link = made
    times = benchmark.pedantic(lambda: runner.run(pings(link)), rounds=3, warmup_rounds=1)
    print(f"\n{benchmark.name}: median {times[PINGS // 2] * 1e3:.2f} ms, p95 {times[PINGS * 95 // 100] * 1e3:.2f} ms")
