"""Other implementations dial us without an answer, and what a restart of the dialled side means."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from aioice import stun
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

from node.adapters.answerless import WebRtcAnswerless
from node.adapters.certificate import load_or_create_certificate
from node.adapters.udp import UdpSockets
from node.protocols.dialing import name_for
from node.protocols.handshake import Handshake
from tests.node.test_answerless import ALICE, BOB, CERTIFICATE, LOCAL, end_of


async def test_stock_aiortc_dials_with_short_checks_and_a_proof_of_its_own() -> None:
    """What a browser's page does: an invented answer, ICE as it comes, one negotiated channel, three messages."""
    async with end_of(BOB) as bob:
        gatherer = RTCIceGatherer([])
        ice = RTCIceTransport(gatherer)
        ice._connection.ice_controlling = True
        certificate = RTCCertificate.generateCertificate()
        dtls = RTCDtlsTransport(ice, [certificate])
        dtls._set_role("client")
        sctp = RTCSctpTransport(dtls)
        channel = RTCDataChannel(sctp, RTCDataChannelParameters(label="rookery", negotiated=True, id=0))
        messages: asyncio.Queue[bytes] = asyncio.Queue()
        channel.on("message", messages.put_nowait)
        gatherer._connection._use_ipv6 = False
        await gatherer.gather()
        own = gatherer.getLocalParameters()
        assert own.password is not None
        name = name_for(own.password)
        await ice.addRemoteCandidate(RTCIceCandidate(1, "1", LOCAL, bob.address[1], 1, "udp", "host"))
        await ice.addRemoteCandidate(None)
        await ice.start(RTCIceParameters(name, name))
        assert ice.state == "completed"
        print_ = RTCDtlsFingerprint("sha-256", CERTIFICATE.fingerprint.hex(":").upper())
        await dtls.start(RTCDtlsParameters([print_]))
        assert dtls.state == "connected"
        await sctp.start(sctp.getCapabilities(), 5000)
        while channel.readyState != "open":
            await asyncio.sleep(0.01)
        mine = next(f.value for f in certificate.getFingerprints() if f.algorithm == "sha-256")
        binding = b"rookery/dtls/1\0" + bytes.fromhex(mine.replace(":", "")) + CERTIFICATE.fingerprint
        proof = Handshake(ALICE, random.Random(1), initiator=True, binding=binding, expected=BOB.public)
        channel.send(proof.hello)
        closing = proof.receive(await asyncio.wait_for(messages.get(), 5))
        assert closing is not None
        channel.send(closing)
        peer, opened = await asyncio.wait_for(bob.opened.get(), 5)
        assert peer == ALICE.public
        taken: asyncio.Queue[bytes] = asyncio.Queue()
        opened.channel.on_message = taken.put_nowait
        channel.send(b"hello")
        await asyncio.sleep(0.05)
        opened.channel.start()
        opened.channel.send(b"world")
        assert await asyncio.wait_for(taken.get(), 5) == b"hello"
        assert await asyncio.wait_for(messages.get(), 5) == b"world"
        await opened.channel.close()
        await sctp.stop()
        await dtls.stop()
        await ice.stop()


async def test_after_a_restart_the_record_still_holds_and_the_old_link_is_not_taken_for_a_new_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "certificate"
    first = UdpSockets.open([LOCAL], 0)
    first.attach(list)
    address = (LOCAL, first.port)
    before = await WebRtcAnswerless.open(BOB, first, load_or_create_certificate(path))
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    before.on_opened = lambda peer, opened: arrived.put_nowait(opened)
    async with end_of(ALICE) as alice:
        old = await alice.answerless.dial(BOB.public, address, before.fingerprint, timeout=5)
        lost = await asyncio.wait_for(arrived.get(), 5)
        first.close()  # Killed: nothing is said.
        second = UdpSockets.open([LOCAL], address[1])
        second.attach(list)
        after = await WebRtcAnswerless.open(BOB, second, load_or_create_certificate(path))
        after.on_opened = lambda peer, opened: arrived.put_nowait(opened)
        connection = old.channel._inner._ice._connection  # type: ignore[attr-defined]
        pair = connection._pair
        request = connection.build_request(pair, nominate=False)
        with pytest.raises(stun.TransactionError):
            await pair.protocol.request(
                request, pair.remote_addr, connection.remote_password.encode(), retransmissions=0
            )
        assert after.counters["challenged"] == 1 and after.counters["arrived"] == 0
        new = await alice.answerless.dial(BOB.public, address, before.fingerprint, timeout=5)
        there = await asyncio.wait_for(arrived.get(), 5)
        for opened in (old, new, there, lost):
            await opened.channel.close()
        await after.close()
        await before.close()
        second.close()


async def test_who_passes_everything_on_reads_nothing() -> None:
    """The link comes about, and is the two ends' alone: neither identity passes him in the clear."""
    async with end_of(ALICE) as alice, end_of(BOB) as bob:
        sockets = UdpSockets.open([LOCAL], 0)
        diallers: list[tuple[str, int]] = []
        seen = bytearray()

        def pass_on(batch: list[tuple[bytes, tuple[str, int]]]) -> None:
            for data, source in batch:
                seen.extend(data)
                if source != bob.address:
                    diallers.append(source)
                sockets.send(data, bob.address if source != bob.address else diallers[-1])

        sockets.attach(pass_on)
        opened = await alice.answerless.dial(BOB.public, (LOCAL, sockets.port), CERTIFICATE.fingerprint, timeout=5)
        peer, other = await asyncio.wait_for(bob.opened.get(), 5)
        assert peer == ALICE.public
        assert ALICE.public.raw not in seen and BOB.public.raw not in seen
        await opened.channel.close()
        await other.channel.close()
        sockets.close()
