"""The proof of identity keys as the first messages of a channel.

Decides how long it may take and what becomes of messages that come right behind it. Refuses to know the proof's bytes
(`node.protocols.handshake`) and what carries the channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dht.identity import PublicKey
from node.ports import Channel, LinkEnd, LinkError, LinkFault
from node.protocols.handshake import LONGEST, ChannelKeys, Handshake

MAX_HELD: Final = 1_048_576 + 262_144
"""Bytes of messages kept behind the proof until the channel is taken: a peer's first window of streams, and frames'
heads. More ends the channel, so that a peer cannot fill memory before anybody has looked at it."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A peer that has proven its key, and the channel behind the proof."""

    peer: PublicKey
    channel: Channel
    """To be used in place of the channel that was handed in."""
    keys: ChannelKeys


class ProvenChannel:
    """A channel whose first messages were taken by the proof; what follows them waits for `start`."""

    def __init__(self, inner: Channel) -> None:
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self.send = inner.send
        self.close = inner.close
        self._inner = inner
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._ended: LinkEnd | None = None
        self._overrun: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Deliver what came so far, and everything from now on."""
        held, self._held = self._held, []
        inner = self._inner
        # Looked up at each call: whoever takes the channel may hand it on.
        inner.on_message, inner.on_room, inner.on_closed = self._deliver, self._on_room, self._on_end
        for message in held:
            self.on_message(message)
        if self._ended is not None:
            self.on_closed(self._ended)

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        return self._inner.room

    @property
    def idle(self) -> bool:
        """Whether everything handed over was taken by the other side."""
        return self._inner.idle

    def _deliver(self, message: bytes) -> None:
        self.on_message(message)

    def _on_room(self) -> None:
        self.on_room()

    def _on_end(self, end: LinkEnd) -> None:
        self.on_closed(end)

    def hold(self, message: bytes) -> None:
        """Keep a message until `start`."""
        self._held_bytes += len(message)
        if self._ended is not None:
            return
        if self._held_bytes > MAX_HELD:
            self._held.clear()
            self.ended(LinkEnd(LinkFault.PROTOCOL, "the peer sent more than fits before its proof was looked at"))
            self._overrun = asyncio.get_running_loop().create_task(self._inner.close())
            return
        self._held.append(message)

    def ended(self, end: LinkEnd) -> None:
        """The channel has ended before `start`."""
        self._ended = self._ended or end


async def prove(channel: Channel, handshake: Handshake, timeout: float) -> Proven:
    """Run the handshake over a channel that was not started yet, and return who is at its other end.

    Raises `LinkError` (no-proof), with the channel closed.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    proven = ProvenChannel(channel)

    def take(message: bytes) -> None:
        if done.done():
            proven.hold(message)
            return
        # Longer than any of the proof's messages: it is not worth hashing.
        if reply := handshake.receive(message if len(message) <= LONGEST else b""):
            channel.send(reply)
        if handshake.over:
            done.set_result(None)

    def closed(end: LinkEnd) -> None:
        proven.ended(end)
        if not done.done():
            done.set_exception(LinkError(LinkEnd(LinkFault.NO_PROOF, f"the channel ended before the proof: {end}")))

    channel.on_message, channel.on_closed = take, closed
    try:
        if handshake.initiator:
            channel.send(handshake.hello)
        channel.start()
        async with asyncio.timeout(timeout):
            await done
        if handshake.refused is not None:
            raise LinkError(LinkEnd(LinkFault.NO_PROOF, _SAID[handshake.refused.value]))
    except TimeoutError:
        await channel.close()
        raise LinkError(LinkEnd(LinkFault.NO_PROOF, f"no proof of its key within {timeout:g} s")) from None
    except BaseException:
        await channel.close()
        raise
    assert handshake.peer is not None
    assert handshake.keys is not None
    return Proven(handshake.peer, proven, handshake.keys)


_SAID: Final = {
    "malformed": "what it sent is no proof of a key",
    "bad-key": "it named a key that nobody can hold",
    "not-sealed": "its proof is for another channel, or was altered on the way",
    "bad-signature": "it named a key that it does not have",
    "another-peer": "it says that it is another peer than the one we meant to reach",
    "ourselves": "it has our own key",
}
