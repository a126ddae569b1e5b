"""A peer is dialled with no answer at all, on the port its DHT uses."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from dht.identity import IdentityKey, PublicKey
from dht.stun import BINDING_REQUEST, HEADER, MAGIC_COOKIE
from node.adapters.answerless import WebRtcAnswerless
from node.adapters.answerless_listen import MAX_DIALLERS
from node.adapters.certificate import KeptCertificate, generate_certificate
from node.adapters.stream_link import StreamLink, link_over
from node.adapters.udp import UdpSockets
from node.ports import LinkError, LinkFault, Opened
from tests.node.test_dialing import check_of

LOCAL = "127.0.0.1"
ALICE, BOB, CAROL = (IdentityKey.from_seed(bytes(31) + bytes((n,))) for n in (1, 2, 3))
CERTIFICATE = generate_certificate()


class End:
    """One node's port, what its DHT gets from it, and who dialled."""

    def __init__(self, sockets: UdpSockets, answerless: WebRtcAnswerless) -> None:
        self.sockets = sockets
        self.answerless = answerless
        self.address = sockets.addresses[0]
        self.heard: list[tuple[bytes, tuple[str, int]]] = []
        self.opened: asyncio.Queue[tuple[PublicKey, Opened]] = asyncio.Queue()
        sockets.attach(self.heard.extend)
        answerless.on_opened = lambda peer, opened: self.opened.put_nowait((peer, opened))


@contextlib.asynccontextmanager
async def end_of(
    identity: IdentityKey, certificate: KeptCertificate = CERTIFICATE, host: str = LOCAL
) -> AsyncIterator[End]:
    sockets = UdpSockets.open([host], 0)
    answerless = await WebRtcAnswerless.open(identity, sockets, certificate, rng=random.Random(7))
    try:
        yield End(sockets, answerless)
    finally:
        await answerless.close()
        sockets.close()


async def links_of(dialler: End, listener: End) -> tuple[StreamLink, StreamLink]:
    opened = await dialler.answerless.dial(BOB.public, listener.address, CERTIFICATE.fingerprint, timeout=5)
    peer, other = await asyncio.wait_for(listener.opened.get(), 5)
    assert peer == ALICE.public
    return link_over(opened, BOB.public, initiated=True), link_over(other, peer, initiated=False)


async def test_a_dialled_link_carries_streams_both_ways_and_ends_for_both() -> None:
    async with end_of(ALICE) as alice, end_of(BOB) as bob:
        one, other = await links_of(alice, bob)
        assert one.stats.path.remote_address == bob.address
        assert other.stats.path.remote_address == one.stats.path.local_address
        assert one.stats.path.direct and one.stats.path.local_type == "host"
        stream = await one.open_stream("talk")
        data = random.Random(1).randbytes(3_000_000)
        taken = asyncio.create_task(other.accept_stream())

        async def echo() -> None:
            far = await taken
            while chunk := await far.read():
                await far.write(chunk)
            await far.close()

        echoing = asyncio.create_task(echo())
        writing = asyncio.create_task(stream.write(data))
        assert await asyncio.wait_for(stream.read_exactly(len(data)), 20) == data
        await writing
        await stream.close()
        await echoing
        assert set(one.stats.phases) >= {"ice", "dtls", "sctp", "proof"}
        await one.close()
        await asyncio.wait_for(asyncio.shield(other.closed), 5)
        await other.close()
        assert not bob.answerless._listener or len(bob.answerless._listener) == 0


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_it_works_over_ipv6() -> None:
    async with end_of(ALICE, host="::1") as alice, end_of(BOB, host="::1") as bob:
        one, other = await links_of(alice, bob)
        assert one.stats.path.remote_address == bob.address and one.stats.path.local_type == "host"
        assert await asyncio.wait_for(one.ping(), 5) < 5
        await asyncio.gather(one.close(), other.close())


async def test_another_certificate_is_noticed_before_anything_is_said() -> None:
    async with end_of(ALICE) as alice, end_of(BOB, generate_certificate()) as bob:
        with pytest.raises(LinkError) as failed:
            await alice.answerless.dial(BOB.public, bob.address, CERTIFICATE.fingerprint, timeout=5)
        assert failed.value.end.fault is LinkFault.FINGERPRINT_MISMATCH
        assert bob.opened.empty()


async def test_another_identity_with_the_right_certificate_is_noticed() -> None:
    async with end_of(ALICE) as alice, end_of(CAROL) as carol:
        with pytest.raises(LinkError) as failed:
            await alice.answerless.dial(BOB.public, carol.address, CERTIFICATE.fingerprint, timeout=5)
        assert failed.value.end.fault is LinkFault.NO_PROOF
        await asyncio.sleep(0.05)
        assert carol.opened.empty()


async def test_nobody_at_the_address_is_a_timeout() -> None:
    async with end_of(ALICE) as alice:
        with pytest.raises(LinkError) as failed:
            await alice.answerless.dial(BOB.public, (LOCAL, 9), CERTIFICATE.fingerprint, timeout=0.3)
        assert failed.value.end.fault is LinkFault.ICE_TIMEOUT


async def test_twenty_dial_one_port_at_once_and_its_dht_goes_on() -> None:
    async with end_of(ALICE) as alice, end_of(BOB) as bob:
        sender = UdpSockets.open([LOCAL], 0)
        dials = [alice.answerless.dial(BOB.public, bob.address, CERTIFICATE.fingerprint, timeout=10) for _ in range(20)]
        dialling = asyncio.gather(*dials)
        sent = 0
        while not dialling.done():
            sender.send(b"\xd1" + sent.to_bytes(4, "big"), bob.address)
            sent += 1
            await asyncio.sleep(0.01)
        opened = await dialling
        taken = [await asyncio.wait_for(bob.opened.get(), 5) for _ in range(20)]
        for one in (*opened, *(channel for _, channel in taken)):
            await one.channel.close()
        await asyncio.sleep(0.05)
        assert [int.from_bytes(data[1:], "big") for data, _ in bob.heard] == list(range(sent))
        sender.close()


async def test_floods_of_garbage_raise_nothing_and_take_no_memory() -> None:
    rng = random.Random(5)
    async with end_of(ALICE) as alice, end_of(BOB) as bob:
        listener = bob.answerless._listener
        assert listener is not None
        for n in range(20_000):
            addr = (f"{n % 200 + 1}.{n // 200}.3.4", rng.randrange(1024, 65536))
            match n % 4:
                case 0:
                    data = bytes((rng.randrange(20, 64),)) + rng.randbytes(rng.randrange(1400))
                case 1:
                    data = check_of()
                case 2:
                    data = HEADER.pack(BINDING_REQUEST, 40, MAGIC_COOKIE, rng.randbytes(12)) + rng.randbytes(40)
                case _:
                    data = bytes((rng.randrange(64),)) + rng.randbytes(rng.randrange(60))
            listener.take(data, addr)
        assert len(listener) == 0
        assert listener.counters["stray"] >= 5000
        one, other = await links_of(alice, bob)
        await one.close()
        await other.close()


async def test_proven_addresses_that_go_no_further_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async with end_of(BOB) as bob:
        listener = bob.answerless._listener
        assert listener is not None
        for n in range(2 * MAX_DIALLERS):
            listener._let_in((f"{n % 200 + 1}.{n // 200}.3.4", 4000), 0.0)
        assert len(listener) == MAX_DIALLERS
        for n in range(100):
            listener._let_in(("99.1.1.1", 4000 + n), 0.0)
        listener._look()  # All of them were heard of long ago.
        assert len(listener) == 0 and not listener._prefixes
        for n in range(100):
            listener._let_in(("99.1.1.1", 4000 + n), 0.0)
        assert len(listener) == 32
        listener.take(b"\x16" + bytes(2000), ("99.1.1.1", 4000))
        await asyncio.sleep(0.1)


async def test_garbage_in_place_of_a_handshake_harms_nobody() -> None:
    async with end_of(ALICE) as alice, end_of(BOB) as bob:
        listener = bob.answerless._listener
        assert listener is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((LOCAL, 0))
            source = stranger.getsockname()
            listener._let_in(source, asyncio.get_running_loop().time())
            for n in range(64):
                stranger.sendto(bytes((20 + n % 44,)) + random.Random(n).randbytes(200), bob.address)
            one, other = await links_of(alice, bob)
            # Spoofed into the channel that stands: not under its keys, so dropped.
            assert one.stats.path.local_address is not None
            for n in range(64):
                listener.take(b"\x17\xfe\xfd" + random.Random(n).randbytes(300), one.stats.path.local_address)
            assert await asyncio.wait_for(one.ping(), 5) < 5
            await one.close()
            await other.close()


async def test_the_dht_gets_what_is_not_a_diallers() -> None:
    async with end_of(BOB) as bob:
        stun = HEADER.pack(BINDING_REQUEST, 0, MAGIC_COOKIE, bytes(12))
        sender = UdpSockets.open([LOCAL], 0)
        for data in (stun, b"", b"\x05ours?", b"\xd1" + bytes(60), b"\x01"):
            sender.send(data, bob.address)
        await asyncio.sleep(0.05)
        assert [data for data, _ in bob.heard] == [stun, b"", b"\x05ours?", b"\xd1" + bytes(60), b"\x01"]
        sender.close()


async def test_a_dialler_that_falls_silent_is_given_up_and_a_fault_ends_its_link_alone() -> None:
    async with end_of(ALICE) as alice, end_of(BOB) as bob:
        listener = bob.answerless._listener
        assert listener is not None
        ends = [await links_of(alice, bob) for _ in range(3)]
        silent, faulty, fine = listener._diallers.values()
        silent.heard -= 31.0
        listener._look()
        assert (await asyncio.wait_for(asyncio.shield(ends[0][1].closed), 5)).fault is LinkFault.LOST

        def fail(_data: bytes) -> None:
            raise RuntimeError("a fault of ours")

        faulty.path.receive = fail  # type: ignore[union-attr, method-assign]
        assert listener.take(b"\x17", faulty.address)
        assert (await asyncio.wait_for(asyncio.shield(ends[1][1].closed), 5)).fault is LinkFault.LOST
        assert await asyncio.wait_for(ends[2][0].ping(), 5) < 5
        assert listener.counters["faults"] == 1
        await asyncio.gather(*(link.close() for pair in ends for link in pair))
        assert len(listener) == 0 and fine.path is not None
