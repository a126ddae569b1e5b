"""The proof as the first messages of a channel: what comes behind it waits, and everything has a limit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from node.adapters.proving import MAX_HELD, prove
from node.ports import LinkEnd, LinkError, LinkFault
from node.protocols.handshake import Handshake
from tests.node.test_handshake import ALICE, BINDING, BOB, CAROL


class Pipe:
    """One end of a channel in memory."""

    def __init__(self) -> None:
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self.other: Pipe = self
        self.room, self.idle = 65536, True
        self.closed = False
        self._started = False
        self._waiting: list[bytes] = []

    def start(self) -> None:
        self._started = True
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.on_message(message)

    def send(self, message: bytes) -> None:
        asyncio.get_running_loop().call_soon(self.other.arrived, message)

    def arrived(self, message: bytes) -> None:
        if self._started:
            self.on_message(message)
        else:
            self._waiting.append(message)

    async def close(self) -> None:
        self.closed = True
        self.other.on_closed(LinkEnd(LinkFault.LOST))


def pipes() -> tuple[Pipe, Pipe]:
    one, other = Pipe(), Pipe()
    one.other, other.other = other, one
    return one, other


def alice(expected: bool = True) -> Handshake:
    return Handshake(
        ALICE, random.Random(1), initiator=True, binding=BINDING, expected=BOB.public if expected else None
    )


def bob(key=BOB) -> Handshake:
    return Handshake(key, random.Random(2), initiator=False, binding=BINDING)


async def test_what_comes_right_behind_the_proof_waits_and_callbacks_may_change_hands() -> None:
    one, other = pipes()
    far = asyncio.create_task(prove(other, bob(), 1.0))
    near = await prove(one, alice(), 1.0)
    near.channel.send(b"first")
    near.channel.send(b"second")
    there = await far
    assert near.peer == BOB.public and there.peer == ALICE.public
    assert near.keys.sending == there.keys.receiving
    await asyncio.sleep(0.01)
    taken: list[tuple[str, bytes]] = []
    there.channel.on_message = lambda message: taken.append(("a", message))
    there.channel.start()
    there.channel.on_message = lambda message: taken.append(("b", message))
    near.channel.send(b"third")
    await asyncio.sleep(0.01)
    assert taken == [("a", b"first"), ("a", b"second"), ("b", b"third")]
    rooms: list[int] = []
    there.channel.on_room = lambda: rooms.append(1)
    other.on_room()
    assert rooms and there.channel.room == 65536 and there.channel.idle
    ends: list[LinkEnd] = []
    there.channel.on_closed = ends.append
    await near.channel.close()
    assert [end.fault for end in ends] == [LinkFault.LOST]


async def test_another_peer_gets_no_proof_and_both_ends_learn_of_it() -> None:
    one, other = pipes()
    far = asyncio.create_task(prove(other, bob(CAROL), 1.0))
    with pytest.raises(LinkError, match="another peer") as failed:
        await prove(one, alice(), 1.0)
    assert failed.value.end.fault is LinkFault.NO_PROOF and one.closed
    with pytest.raises(LinkError, match="ended before the proof"):
        await far


async def test_silence_is_no_proof() -> None:
    one, _ = pipes()
    with pytest.raises(LinkError, match=r"within 0\.02 s"):
        await prove(one, alice(), 0.02)
    assert one.closed


async def test_a_message_that_is_none_of_the_proofs_ends_it() -> None:
    one, other = pipes()
    other.send(bytes(100_000))
    with pytest.raises(LinkError, match="no proof of a key"):
        await prove(one, alice(), 1.0)


async def test_more_than_fits_before_the_channel_is_taken_ends_it() -> None:
    one, other = pipes()
    far = asyncio.create_task(prove(other, bob(), 1.0))
    near = await prove(one, alice(), 1.0)
    for _ in range(MAX_HELD // 60_000 + 2):
        near.channel.send(bytes(60_000))
    there = await far
    await asyncio.sleep(0.01)
    ends: list[LinkEnd] = []
    taken: list[bytes] = []
    there.channel.on_closed, there.channel.on_message = ends.append, taken.append
    there.channel.start()
    assert [end.fault for end in ends] == [LinkFault.PROTOCOL] and not taken
    assert other.closed
