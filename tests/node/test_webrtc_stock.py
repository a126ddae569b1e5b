"""Our link and aiortc as it comes understand each other."""

from __future__ import annotations

import asyncio

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
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.protocols.offer import (
    Kind,
    PackedCandidate,
    SessionDescription,
    Setup,
    decode_description,
    derived_priority,
)
from node.protocols.stream_frames import FrameType, iter_frames, pack_frame
from tests.linking import linked

BOB = IdentityKey.from_seed(bytes(31) + b"\2").public


def described(raw: bytes) -> SessionDescription:
    description = decode_description(raw)
    assert isinstance(description, SessionDescription)
    return description


class StockPeer:
    """aiortc as it comes, driven by hand: what another implementation looks like from here."""

    def __init__(self) -> None:
        self.gatherer = RTCIceGatherer([])
        self.ice = RTCIceTransport(self.gatherer)
        self.certificate = RTCCertificate.generateCertificate()
        self.dtls = RTCDtlsTransport(self.ice, [self.certificate])
        self.sctp = RTCSctpTransport(self.dtls)
        self.channel = RTCDataChannel(self.sctp, RTCDataChannelParameters(label="rookery", negotiated=True, id=0))
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.channel.on("message", self.messages.put_nowait)

    async def answer(self, offer: SessionDescription) -> bytes:
        self.ice._connection.ice_controlling = False
        await self.gatherer.gather()
        self.dtls._set_role("client")
        fingerprint = next(f for f in self.certificate.getFingerprints() if f.algorithm == "sha-256")
        own = self.gatherer.getLocalParameters()
        assert own.usernameFragment is not None
        assert own.password is not None
        self.offer = offer
        return SessionDescription(
            Kind.ANSWER,
            Setup.ACTIVE,
            own.usernameFragment,
            own.password,
            bytes.fromhex(fingerprint.value.replace(":", "")),
            tuple(PackedCandidate(c.type, c.ip, c.port) for c in self.gatherer.getLocalCandidates()),
        ).to_bytes()

    async def connect(self) -> None:
        for i, c in enumerate(self.offer.candidates):
            priority = derived_priority(c.kind, i)
            await self.ice.addRemoteCandidate(RTCIceCandidate(1, f"f{i}", c.host, c.port, priority, "udp", c.kind))
        await self.ice.addRemoteCandidate(None)
        await self.ice.start(RTCIceParameters(self.offer.ufrag, self.offer.password))
        print_ = RTCDtlsFingerprint("sha-256", self.offer.fingerprint.hex(":").upper())
        await self.dtls.start(RTCDtlsParameters([print_]))
        await self.sctp.start(None, 5000)
        while self.channel.readyState != "open":
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.sctp.stop()
        task = self.dtls._task
        await self.dtls.stop()
        if task is not None:
            await asyncio.wait([task])
        await self.ice.stop()


async def test_stock_aiortc_is_understood_and_understands() -> None:
    session, stock = WebRtcSession(WebRtcConfig()), StockPeer()
    answer = await stock.answer(described(await session.offer()))
    link, _ = await asyncio.gather(linked(session, BOB, answer, timeout=20), stock.connect())
    stream = await link.open_stream("big")
    sent = bytes(range(256)) * 800
    await stream.write(sent)
    got = b""
    while len(got) < len(sent):
        for kind, _, _, payload in iter_frames(await asyncio.wait_for(stock.messages.get(), 10)):
            got += payload if kind is FrameType.DATA else b""
    assert got == sent
    # And back, in messages cut into many packets by it.
    for start in range(0, len(sent), 40_000):
        stock.channel.send(pack_frame(FrameType.DATA, 1, sent[start : start + 40_000]))
    assert await asyncio.wait_for(stream.read_exactly(len(sent)), 10) == sent
    await link.close()
    await stock.close()
