"""A file over a real link that breaks in the middle, and over the next."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from dht.identity import IdentityKey
from node.adapters.file_store import BLOCK
from node.adapters.files import FileReceiver, IncomingFile, send_file
from node.adapters.stream_link import StreamLink
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.protocols.transfer import TransferFault
from tests.linking import linked

ALICE = IdentityKey.from_seed(bytes(31) + b"\1").public
BOB = IdentityKey.from_seed(bytes(31) + b"\2").public
LOOPBACK = WebRtcConfig(include_loopback=True, only_addresses=("127.0.0.1",))


async def connected() -> tuple[StreamLink, StreamLink]:
    dialler, listener = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    answer = await listener.answer(await dialler.offer())
    return await asyncio.gather(linked(dialler, BOB, answer, timeout=20), linked(listener, ALICE, timeout=20))


async def test_a_file_survives_the_death_of_its_link(tmp_path: Path) -> None:
    source = tmp_path / "film.bin"
    source.write_bytes(hashlib.shake_128(b"film").digest(6 * BLOCK + 17))
    near, far = await connected()
    broken: list[asyncio.Task[None]] = []

    def die(file: IncomingFile, done: int) -> None:
        if done >= 2 * BLOCK and not broken:
            broken.append(asyncio.create_task(far._channel.close()))

    first = FileReceiver(tmp_path / "in", reserve=0, on_progress=die)
    first.attach(far)
    sent = await send_file(near, source)
    assert sent.fault is TransferFault.LINK_LOST
    await asyncio.gather(*broken)
    await far.close()
    await near.close()
    assert not (await first.outcomes.get()).ok

    near, far = await connected()
    second = FileReceiver(tmp_path / "in", reserve=0)
    second.attach(far)
    sent = await send_file(near, source)
    got = await second.outcomes.get()
    assert sent.ok
    assert sent.resumed_at >= 2 * BLOCK
    assert sent.sent == sent.size - sent.resumed_at
    assert got.path is not None
    assert got.path.read_bytes() == source.read_bytes()
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["film.bin"]
    await near.close()
    await far.close()
