"""WebRTC links over loopback: opening, every typed way to fail, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
import subprocess
import sys
from typing import Any, cast

import pytest

from dht.errors import BadConfig
from dht.identity import IdentityKey
from node.adapters.stream_link import StreamLink
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.ports import Address, LinkError, LinkFault, StreamMisuse
from node.protocols.offer import (
    Kind,
    PackedCandidate,
    Refusal,
    RefusalReason,
    SessionDescription,
    Setup,
    decode_description,
)
from tests.linking import linked

ALICE = IdentityKey.from_seed(bytes(31) + b"\1").public
BOB = IdentityKey.from_seed(bytes(31) + b"\2").public
LOOPBACK = WebRtcConfig(include_loopback=True, only_addresses=("127.0.0.1",))


def changed(config: WebRtcConfig = LOOPBACK, **changes: Any) -> WebRtcConfig:
    return dataclasses.replace(config, **changes)


async def connected(near: WebRtcConfig = LOOPBACK, far: WebRtcConfig = LOOPBACK) -> tuple[StreamLink, StreamLink]:
    dialler, listener = WebRtcSession(near), WebRtcSession(far)
    answer = await listener.answer(await dialler.offer())
    return await asyncio.gather(linked(dialler, BOB, answer, timeout=20), linked(listener, ALICE, timeout=20))


def described(raw: bytes) -> SessionDescription:
    description = decode_description(raw)
    assert isinstance(description, SessionDescription)
    return description


async def fault_of(awaitable: Any) -> LinkFault:
    with pytest.raises(LinkError) as seen:
        await awaitable
    return seen.value.end.fault


async def test_a_link_knows_its_path_and_phases() -> None:
    near, far = await connected()
    for link in (near, far):
        assert set(link.stats.phases) >= {"gather", "ice", "dtls", "sctp"}
        assert all(seconds >= 0 for seconds in link.stats.phases.values())
        assert link.stats.path.local_address is not None
        assert link.stats.path.local_address[0] == "127.0.0.1"
    assert near.stats.path.remote_address == far.stats.path.local_address
    assert near.stats.path.remote_type == "host"
    await near.close()
    await far.close()


async def test_an_offer_fits_its_bytes() -> None:
    session = WebRtcSession(LOOPBACK)
    offer = await session.offer()
    assert len(offer) == 77
    assert described(offer).setup is Setup.ACTPASS
    await session.close()


async def test_a_machine_that_has_no_address_just_now_fails_at_once_and_goes_on() -> None:
    """Nothing is waited for there: the connection is closed before what watches it has run."""
    nowhere = changed(reaches=lambda _ip: False)
    dialler, listener = WebRtcSession(nowhere), WebRtcSession(nowhere)
    answer = await listener.answer(await dialler.offer())
    assert await fault_of(dialler.connect(BOB, answer)) is LinkFault.ICE_FAILED
    assert await fault_of(listener.connect(ALICE)) is LinkFault.ICE_FAILED


async def test_a_wrong_fingerprint_fails_with_its_own_reason() -> None:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    answer = described(await listener.answer(await dialler.offer()))
    forged = dataclasses.replace(answer, fingerprint=bytes(32)).to_bytes()
    near, far = await asyncio.gather(
        fault_of(linked(dialler, BOB, forged, timeout=20)), fault_of(linked(listener, ALICE, timeout=20))
    )
    assert near is LinkFault.FINGERPRINT_MISMATCH
    assert far in (LinkFault.SCTP_FAILED, LinkFault.DTLS_FAILED)


async def test_the_answering_side_checks_the_fingerprint_too() -> None:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    forged = dataclasses.replace(described(await dialler.offer()), fingerprint=bytes(32)).to_bytes()
    answer = await listener.answer(forged)
    near, far = await asyncio.gather(
        fault_of(linked(dialler, BOB, answer, timeout=20)), fault_of(linked(listener, ALICE, timeout=20))
    )
    assert far is LinkFault.FINGERPRINT_MISMATCH
    assert near in (LinkFault.SCTP_FAILED, LinkFault.DTLS_FAILED)


async def test_nobody_there_is_an_ice_timeout_on_our_own_timer() -> None:
    session = WebRtcSession(changed(ice_timeout=0.3))
    await session.offer()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        answer = SessionDescription(
            Kind.ANSWER,
            Setup.ACTIVE,
            "abcd",
            "x" * 22,
            bytes(32),
            (PackedCandidate("host", *silent.getsockname()),),
        )
        assert await fault_of(linked(session, BOB, answer.to_bytes())) is LinkFault.ICE_TIMEOUT


async def test_the_callers_timeout_names_the_phase_it_hit() -> None:
    session = WebRtcSession(LOOPBACK)
    await session.offer()
    answer = SessionDescription(
        Kind.ANSWER, Setup.ACTIVE, "abcd", "x" * 22, bytes(32), (PackedCandidate("host", "127.0.0.1", 9),)
    )
    assert await fault_of(linked(session, BOB, answer.to_bytes(), timeout=0.2)) is LinkFault.ICE_TIMEOUT


async def test_no_candidates_is_an_ice_failure_at_once() -> None:
    session = WebRtcSession(LOOPBACK)
    await session.offer()
    answer = SessionDescription(Kind.ANSWER, Setup.ACTIVE, "abcd", "x" * 22, bytes(32), ())
    assert await fault_of(linked(session, BOB, answer.to_bytes(), timeout=5)) is LinkFault.ICE_FAILED


async def test_a_refusal_is_told_with_its_reason() -> None:
    session = WebRtcSession(LOOPBACK)
    await session.offer()
    with pytest.raises(LinkError) as seen:
        await linked(session, BOB, Refusal(RefusalReason.BUSY).to_bytes(), timeout=5)
    assert (seen.value.end.fault, seen.value.end.detail) == (LinkFault.REFUSED, "busy")


async def test_bytes_that_are_no_answer_are_a_bad_description() -> None:
    for raw in (b"", b"\x01\x10rubbish"):
        session = WebRtcSession(LOOPBACK)
        await session.offer()
        assert await fault_of(linked(session, BOB, raw, timeout=5)) is LinkFault.BAD_DESCRIPTION
    session = WebRtcSession(LOOPBACK)
    offer = await session.offer()
    assert await fault_of(linked(session, BOB, offer, timeout=5)) is LinkFault.BAD_DESCRIPTION
    assert await fault_of(WebRtcSession(LOOPBACK).answer(b"\x07")) is LinkFault.BAD_DESCRIPTION


async def test_a_session_is_used_once() -> None:
    session = WebRtcSession(LOOPBACK)
    with pytest.raises(StreamMisuse):
        await linked(session, BOB)
    await session.offer()
    with pytest.raises(StreamMisuse):
        await session.offer()
    await session.close()
    await session.close()


def test_bad_limits_are_refused() -> None:
    with pytest.raises(BadConfig):
        WebRtcConfig(ice_timeout=0)


async def test_cancelling_a_dial_leaves_nothing() -> None:
    session = WebRtcSession(LOOPBACK)
    await session.offer()
    answer = SessionDescription(
        Kind.ANSWER, Setup.ACTIVE, "abcd", "x" * 22, bytes(32), (PackedCandidate("host", "127.0.0.1", 9),)
    )
    dialling = asyncio.create_task(linked(session, BOB, answer.to_bytes()))
    await asyncio.sleep(0.05)
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling


async def test_what_arrives_before_the_link_is_handed_over_is_not_lost() -> None:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    answer = await listener.answer(await dialler.offer())
    start, sent = listener._start_sctp, asyncio.Event()

    async def slowly() -> None:
        await start()
        await sent.wait()

    listener._start_sctp = slowly  # type: ignore[method-assign]
    listening = asyncio.create_task(linked(listener, ALICE, timeout=20))
    near = await linked(dialler, BOB, answer, timeout=20)
    stream = await near.open_stream("at-once")
    await stream.write(b"first words")
    while not near._channel.idle or near.mux.has_output:
        await asyncio.sleep(0.01)
    sent.set()
    far = await listening
    incoming = await far.accept_stream()
    assert await incoming.read_exactly(11) == b"first words"
    await near.close()
    await far.close()


async def test_a_peer_that_vanishes_ends_the_link_as_lost() -> None:
    near, far = await connected()
    await far._channel.close()
    assert (await asyncio.wait_for(asyncio.shield(near.closed), 10)).fault is LinkFault.LOST
    await far.close()
    await near.close()


async def test_datagrams_of_strangers_do_not_disturb_a_link() -> None:
    near, far = await connected()
    address = far.stats.path.local_address
    assert address is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for first in (0, 1, 3, 20, 22, 23, 63, 64, 128, 255):
            stranger.sendto(bytes((first,)) + bytes(range(100)), address)
            stranger.sendto(bytes((first,)), address)
        stranger.sendto(b"", address)
        stranger.sendto(b"\x17\xfe\xfd" + bytes(8) + struct.pack("!H", 60000), address)
    assert await near.ping() < 10
    assert await far.ping() < 10
    await near.close()
    await far.close()


class StunServer(asyncio.DatagramProtocol):
    """Answers binding requests with an address of its choice."""

    def __init__(self, seen_as: Address) -> None:
        self.seen_as = seen_as

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport is no subclass of DatagramTransport.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        from aioice import stun

        request = stun.parse_message(data)
        response = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        response.attributes["XOR-MAPPED-ADDRESS"] = self.seen_as
        self.transport.sendto(bytes(response), addr)


def own_address() -> str:
    """An address of this machine that is not loopback."""
    from aioice.ice import get_host_addresses

    found = get_host_addresses(use_ipv4=True, use_ipv6=False)
    return found[0] if found else ""


async def test_neighbours_tell_our_outside_address_and_a_silent_one_costs_little() -> None:
    host = own_address()
    if not host:
        pytest.skip("this machine has no address but loopback")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: StunServer(("198.51.100.7", 4242)), local_addr=(host, 0))
    server = transport.get_extra_info("sockname")[:2]
    config = WebRtcConfig(only_addresses=(host,), stun_servers=(server, (host, 9)))
    session = WebRtcSession(config)
    started = loop.time()
    offer = described(await session.offer())
    assert loop.time() - started < 5
    assert [(c.kind, c.host, c.port) for c in offer.candidates][1:] == [("srflx", "198.51.100.7", 4242)]
    await session.close()
    transport.close()


async def test_the_observed_address_is_offered_with_our_own_port() -> None:
    host = own_address()
    if not host:
        pytest.skip("this machine has no address but loopback")
    session = WebRtcSession(WebRtcConfig(only_addresses=(host,), observed=(("203.0.113.9", 1), (host, 2))))
    own, guessed = described(await session.offer()).candidates
    assert (guessed.kind, guessed.host, guessed.port) == ("srflx", "203.0.113.9", own.port)
    await session.close()


async def test_loopback_is_offered_only_when_asked() -> None:
    for include, expected in ((False, False), (True, True)):
        session = WebRtcSession(WebRtcConfig(include_loopback=include))
        offer = described(await session.offer())
        assert ("127.0.0.1" in [c.host for c in offer.candidates]) is expected
        await session.close()


def test_importing_the_adapter_does_not_import_aiortc() -> None:
    code = "import sys, node.adapters.webrtc, node.adapters.files; print('aiortc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_uvloop_works_too() -> None:
    uvloop = pytest.importorskip("uvloop", reason="not on this platform: uvloop has no wheel here")

    async def scenario() -> bytes:
        near, far = await connected()

        async def echo(stream: Any) -> None:
            while data := await stream.read():
                await stream.write(data)

        far.register("echo", echo)
        stream = await near.open_stream("echo")
        sending = asyncio.create_task(stream.write(bytes(500_000)))
        got = await stream.read_exactly(500_000)
        await sending
        await near.close()
        await far.close()
        return bytes(got)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == bytes(500_000)
