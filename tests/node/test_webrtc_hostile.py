"""A peer that is who it says, and means harm: nonsense below the streams, after a proper handshake."""

from __future__ import annotations

import asyncio
import random
import struct

import google_crc32c

from dht.identity import IdentityKey
from node.adapters.stream_link import StreamLink
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.adapters.webrtc_channel import WebRtcChannel
from node.adapters.webrtc_sctp import RunSctpTransport
from node.adapters.webrtc_sctp_receive import MAX_MESSAGE
from node.ports import LinkFault
from tests.linking import linked

PEER = IdentityKey.from_seed(bytes(31) + b"\1").public
LOOPBACK = WebRtcConfig(include_loopback=True, only_addresses=("127.0.0.1",))
KINDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 130, 192, 77, 255)


async def connected() -> tuple[StreamLink, StreamLink]:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    answer = await listener.answer(await dialler.offer())
    return await asyncio.gather(linked(dialler, PEER, answer, timeout=20), linked(listener, PEER, timeout=20))


def association(link: StreamLink) -> RunSctpTransport:
    channel = link._channel
    assert isinstance(channel, WebRtcChannel)
    return channel._sctp


def packet(to: RunSctpTransport, chunks: bytes, tag: int | None = None) -> bytes:
    head = struct.pack("!HHL", 5000, 5000, to._local_verification_tag if tag is None else tag)
    return head + struct.pack("<L", google_crc32c.value(head + bytes(4) + chunks)) + chunks


def chunk(kind: int, flags: int, body: bytes, length: int | None = None) -> bytes:
    raw = struct.pack("!BBH", kind, flags, len(body) + 4 if length is None else length) + body
    return raw + bytes(-len(raw) & 3)


async def test_nonsense_of_every_kind_is_dropped_and_the_link_harms_no_association() -> None:
    near, far = await connected()
    victim = association(far)
    rng = random.Random(7)
    for _ in range(3000):
        chunks = b""
        for _ in range(rng.randrange(1, 4)):
            # An ABORT or SHUTDOWN is no nonsense but a wish, tested below.
            kind = rng.choice([k for k in KINDS if k not in (6, 7, 8, 14)])
            length = rng.choice([None, 0, 3, 4, 5, 65535, rng.randrange(2000)])
            chunks += chunk(kind, rng.randrange(256), rng.randbytes(rng.randrange(60)), length)
        tag = rng.choice([None, None, None, 0, rng.getrandbits(32)])
        victim.packet_received(packet(victim, chunks, tag))
        victim.packet_received(rng.randbytes(rng.randrange(80)))
        victim.turn_done()
        await asyncio.sleep(0) if rng.random() < 0.01 else None
    assert victim.bad_packets > 100
    assert len(victim.receiver._ahead) < 65_536
    assert victim.state == "connected"
    assert far.end is None or far.end.fault is LinkFault.PROTOCOL
    await near.close()
    await far.close()


async def test_a_mutated_record_of_the_conversation_never_raises() -> None:
    near, far = await connected()
    victim = association(far)
    seen: list[bytes] = []
    take = victim.packet_received

    def listen(data: bytes) -> None:
        seen.append(data)
        take(data)

    victim._dtls.on_packet = listen
    stream = await near.open_stream("x")
    await stream.write(bytes(20_000))
    await near.ping()
    assert seen
    rng = random.Random(11)
    for _ in range(2000):
        raw = bytearray(rng.choice(seen))
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(12, len(raw))] = rng.randrange(256)
        victim.packet_received(packet(victim, bytes(raw[12:])))
    victim.turn_done()
    await near.close()
    await far.close()


async def test_an_abort_ends_the_link_as_lost() -> None:
    near, far = await connected()
    victim = association(far)
    victim.packet_received(packet(victim, chunk(6, 0, b"")))
    assert (await far.closed).fault is LinkFault.LOST
    await near.close()
    await far.close()


async def test_a_message_without_end_ends_the_link() -> None:
    near, far = await connected()
    victim = association(far)
    tsn = victim.receiver.cumulative
    flags = 2
    for _ in range(MAX_MESSAGE // 60_000 + 2):
        tsn = (tsn + 1) % 2**32
        body = struct.pack("!LHHL", tsn, 0, 0, 53) + bytes(60_000)
        victim.packet_received(packet(victim, chunk(0, flags, body)))
        flags = 0
    assert (await far.closed).fault is LinkFault.LOST
    await near.close()
    await far.close()
