"""Channels over WebSockets: real TCP and TLS on loopback, honest and otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, WSMsgType, web

from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey
from node.adapters import websocket_carrier
from node.adapters.certificate import load_or_create_certificate
from node.adapters.stream_link import StreamLink, link_over
from node.adapters.websocket import MAX_FRAME
from node.adapters.websocket_carrier import PATH, WebSockets
from node.ports import LinkError, LinkFault, Opened

ALICE, BOB, EVE = (IdentityKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
LOOPBACK = "127.0.0.1"


@dataclass
class Place:
    """A node that listens, and who has come."""

    server: WebSockets
    client: WebSockets
    fingerprint: bytes
    came: asyncio.Queue[tuple[PublicKey, Opened]]

    @property
    def address(self) -> tuple[str, int]:
        return self.server.listening[0]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    kept = load_or_create_certificate(tmp_path / "certificate")
    server, client = (WebSockets(who, random.Random(number)) for number, who in enumerate((BOB, ALICE)))
    came: asyncio.Queue[tuple[PublicKey, Opened]] = asyncio.Queue()
    server.on_opened = lambda peer, opened: came.put_nowait((peer, opened))
    await server.listen(LOOPBACK, 0, tmp_path / "certificate", kept.fingerprint)
    yield Place(server, client, kept.fingerprint, came)
    await client.close()
    await server.close()


async def links(place: Place) -> tuple[StreamLink, StreamLink]:
    opened = await place.client.dial(BOB.public, place.address, place.fingerprint, timeout=5)
    peer, taken = await place.came.get()
    assert peer == ALICE.public
    return link_over(opened, BOB.public, initiated=True), link_over(taken, ALICE.public, initiated=False)


async def test_a_link_over_tcp_carries_what_is_written(place: Place) -> None:
    near, far = await links(place)
    data = random.Random(5).randbytes(3_000_000)
    stream = await near.open_stream("bulk")
    taken = await far.accept_stream()

    async def read() -> bytes:
        return await taken.read_exactly(len(data))

    reading = asyncio.create_task(read())
    await stream.write(data)
    assert hashlib.sha256(await reading).digest() == hashlib.sha256(data).digest()
    assert near.stats.path.local_type == "websocket"
    assert set(near.stats.phases) >= {"tls", "proof"}
    await near.close()
    assert (await far.closed).fault is LinkFault.CLOSED_BY_PEER
    await far.close()


async def test_another_certificate_or_key_is_not_the_peer(place: Place) -> None:
    with pytest.raises(LinkError) as caught:
        await place.client.dial(BOB.public, place.address, bytes(32), timeout=5)
    assert caught.value.end.fault is LinkFault.FINGERPRINT_MISMATCH
    with pytest.raises(LinkError) as caught:
        await place.client.dial(EVE.public, place.address, timeout=5)
    assert caught.value.end.fault is LinkFault.NO_PROOF
    assert place.came.empty()


async def test_whoever_stands_between_with_a_certificate_of_his_own_proves_nothing(
    place: Place, tmp_path: Path
) -> None:
    """A proxy that ends TLS on both sides and hands every message on."""
    kept = load_or_create_certificate(tmp_path / "evil")
    middle = WebSockets(EVE, random.Random(9))

    async def between(request: web.Request) -> web.StreamResponse:
        left = web.WebSocketResponse(protocols=(websocket_carrier.PROTOCOL,))
        await left.prepare(request)
        right, _ = await middle._connect(place.address)

        async def copy() -> None:
            async for message in right:
                await left.send_bytes(message.data)

        copying = asyncio.create_task(copy())
        async for message in left:
            await right.send_bytes(message.data)
        copying.cancel()
        await right.close()
        return left

    middle._serve = between  # type: ignore[method-assign]
    await middle.listen(LOOPBACK, 0, tmp_path / "evil", kept.fingerprint)
    with pytest.raises(LinkError) as caught:
        await place.client.dial(BOB.public, middle.listening[0], timeout=5)
    assert caught.value.end.fault is LinkFault.NO_PROOF
    assert place.came.empty()
    await middle.close()


async def test_nobody_there_is_told(place: Place) -> None:
    await place.server.close()
    with pytest.raises(LinkError) as caught:
        await place.client.dial(BOB.public, place.address, timeout=5)
    assert caught.value.end.fault is LinkFault.LOST
    assert "no WebSocket at 127.0.0.1:" in caught.value.end.detail


async def test_a_taken_port_says_what_to_do(place: Place, tmp_path: Path) -> None:
    other = WebSockets(EVE, random.Random(4))
    with pytest.raises(LocalError, match="choose another port"):
        await other.listen(*place.address, tmp_path / "certificate", place.fingerprint)
    with pytest.raises(LocalError, match="cannot read the certificate"):
        await other.listen(LOOPBACK, 0, tmp_path / "none", place.fingerprint)


async def test_strangers_who_prove_nothing_are_few_and_leave_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_carrier, "PROOF_TIMEOUT", 0.3)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    url = "https://{}:{}".format(*place.address)
    async with ClientSession(connector=TCPConnector(ssl=context, limit=0)) as session:
        async with session.get(f"{url}/else") as answer:
            assert answer.status == 404
        sockets = [await session.ws_connect(url + PATH) for _ in range(websocket_carrier.MAX_UNPROVEN_PREFIX)]
        async with session.get(url + PATH) as answer:
            assert answer.status == 503
        await sockets[0].send_bytes(b"\x11 nonsense")
        await sockets[1].send_str("text")
        await sockets[2].send_bytes(bytes(MAX_FRAME + 1))
        for socket in sockets:
            message = await socket.receive(timeout=5)
            assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
            await socket.close()
    assert not place.server._unproven
    assert place.server.counters["not_proven"] == websocket_carrier.MAX_UNPROVEN_PREFIX
    near, far = await links(place)
    await near.close()
    await far.close()
