"""Both ends of a measured data path: our link and stock aiortc, each with the same three verbs.

Decides what is sent and when it counts as arrived. Run as a script it is the far end, in a process of its own, told
over standard input and output what an offer or answer would tell.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Final, Protocol

from aiortc import (
    RTCCertificate,
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCSctpTransport,
)
from aiortc.rtcicetransport import RTCIceCandidate, RTCIceParameters

from dht.identity import IdentityKey
from node.adapters.stream_link import StreamLink, link_over
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.ports import Opened, Stream
from node.protocols.offer import Kind, PackedCandidate, SessionDescription, Setup, decode_description, derived_priority
from tests.linking import lasting_over

PEER: Final = IdentityKey.from_seed(bytes(32)).public
MESSAGE: Final = 65_536
SMALL: Final = 100
LOW_WATER: Final = 262_144
"""Bytes aiortc may have buffered before we hand it more."""


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop called `name`: uvloop or asyncio."""
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


class End(Protocol):
    """One end of a channel under measurement."""

    async def offer(self) -> bytes: ...
    async def answer(self, offer: bytes) -> bytes: ...
    async def connect(self, answer: bytes | None) -> None: ...
    async def send(self, size: int, count: int) -> None:
        """Send `count` messages of `size` bytes and wait until the far end says it has them all."""

    async def close(self) -> None: ...


class OurEnd:
    """A link of ours and one stream on it."""

    link: StreamLink
    stream: Stream

    def __init__(self) -> None:
        self._session = WebRtcSession(WebRtcConfig())

    async def offer(self) -> bytes:
        return await self._session.offer()

    async def answer(self, offer: bytes) -> bytes:
        return await self._session.answer(offer)

    async def connect(self, answer: bytes | None) -> None:
        opened = await self._session.connect(PEER, answer, timeout=20)
        self.link = await self._link_over(opened, initiated=answer is not None)
        if answer is None:
            self.link.register("measure", self._serve)
        else:
            self.stream = await self.link.open_stream("measure")

    async def send(self, size: int, count: int) -> None:
        await self.stream.write(size.to_bytes(4, "big") + count.to_bytes(4, "big"))
        message = bytes(size)
        for _ in range(count):
            await self.stream.write(message)
        await self.stream.read_exactly(1)

    async def close(self) -> None:
        await self.link.close()

    async def _link_over(self, opened: Opened, *, initiated: bool) -> StreamLink:
        return link_over(opened, PEER, initiated=initiated)

    async def _serve(self, stream: Stream) -> None:
        while True:
            head = await stream.read(8)
            if not head:
                return
            if len(head) < 8:
                head += await stream.read_exactly(8 - len(head))
            size, count = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            for _ in range(count):
                await stream.read_exactly(size)
            await stream.write(b"k")


class LastingEnd(OurEnd):
    """The same, able to go on over another channel."""

    async def _link_over(self, opened: Opened, *, initiated: bool) -> StreamLink:
        return await lasting_over(opened, PEER, initiated=initiated)


class StockEnd:
    """aiortc as it comes, on the same classes and the same kind of channel."""

    def __init__(self) -> None:
        self.gatherer = RTCIceGatherer([])
        self.ice = RTCIceTransport(self.gatherer)
        self.certificate = RTCCertificate.generateCertificate()
        self.dtls = RTCDtlsTransport(self.ice, [self.certificate])
        self.sctp = RTCSctpTransport(self.dtls)
        self.channel = RTCDataChannel(self.sctp, RTCDataChannelParameters(label="m", negotiated=True, id=0))
        self.channel.bufferedAmountLowThreshold = LOW_WATER
        self.channel.on("message", self._on_message)
        self.channel.on("bufferedamountlow", self._on_low)
        self._low = asyncio.Event()
        self._done = asyncio.Event()
        self._remote: SessionDescription | None = None
        self._expected = 0

    async def offer(self) -> bytes:
        return await self._describe(Kind.OFFER)

    async def answer(self, offer: bytes) -> bytes:
        self._take(offer)
        return await self._describe(Kind.ANSWER)

    async def connect(self, answer: bytes | None) -> None:
        if answer is not None:
            self._take(answer)
        remote = self._remote
        assert remote is not None
        for i, c in enumerate(remote.candidates):
            priority = derived_priority(c.kind, i)
            await self.ice.addRemoteCandidate(RTCIceCandidate(1, f"f{i}", c.host, c.port, priority, "udp", c.kind))
        await self.ice.addRemoteCandidate(None)
        await self.ice.start(RTCIceParameters(remote.ufrag, remote.password))
        fingerprint = RTCDtlsFingerprint("sha-256", remote.fingerprint.hex(":").upper())
        await self.dtls.start(RTCDtlsParameters([fingerprint]))
        await self.sctp.start(None, 5000)
        while self.channel.readyState != "open":
            await asyncio.sleep(0.001)

    async def send(self, size: int, count: int) -> None:
        self._done.clear()
        self.channel.send(b"N" + count.to_bytes(4, "big"))
        message = bytes(size)
        for _ in range(count):
            self.channel.send(message)
            if self.channel.bufferedAmount > LOW_WATER:
                self._low.clear()
                await self._low.wait()
        await self._done.wait()

    async def close(self) -> None:
        await self.sctp.stop()
        task = self.dtls._task
        await self.dtls.stop()
        if task is not None:
            await asyncio.wait([task])
        await self.ice.stop()

    def _take(self, raw: bytes) -> None:
        remote = decode_description(raw)
        assert isinstance(remote, SessionDescription)
        self._remote = remote

    async def _describe(self, kind: Kind) -> bytes:
        self.ice._connection.ice_controlling = kind is Kind.OFFER
        self.dtls._set_role("server" if kind is Kind.OFFER else "client")
        await self.gatherer.gather()
        own = self.gatherer.getLocalParameters()
        fingerprint = next(f for f in self.certificate.getFingerprints() if f.algorithm == "sha-256")
        assert own.usernameFragment is not None
        assert own.password is not None
        return SessionDescription(
            kind,
            Setup.ACTPASS if kind is Kind.OFFER else Setup.ACTIVE,
            own.usernameFragment,
            own.password,
            bytes.fromhex(fingerprint.value.replace(":", "")),
            tuple(PackedCandidate(c.type, c.ip, c.port) for c in self.gatherer.getLocalCandidates()),
        ).to_bytes()

    def _on_low(self) -> None:
        self._low.set()

    def _on_message(self, message: bytes) -> None:
        if len(message) == 5 and message[:1] == b"N":
            self._expected = int.from_bytes(message[1:], "big")
        elif message == b"k":
            self._done.set()
        else:
            self._expected -= 1
            if self._expected == 0:
                self.channel.send(b"k")


ENDS: Final[dict[str, Callable[[], End]]] = {"ours": OurEnd, "lasting": LastingEnd, "stock": StockEnd}


async def far_end(kind: str) -> None:
    """Answer one offer, serve until standard input ends."""
    loop = asyncio.get_running_loop()

    async def line() -> str:
        return await loop.run_in_executor(None, sys.stdin.readline)

    while offer := (await line()).strip():
        end = ENDS[kind]()
        print((await end.answer(bytes.fromhex(offer))).hex(), flush=True)
        await end.connect(None)
        print("open", flush=True)
        await line()
        await end.close()
        print("closed", flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory(sys.argv[2])) as far:
        far.run(far_end(sys.argv[1]))
