"""A channel whose first message is awaited before anybody knows what becomes of the channel.

Decides how long that may take, and how much may come behind it meanwhile. Refuses to know what follows from it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from node.ports import LinkEnd, LinkError, LinkFault, Opened
from node.protocols.continuity import Broken, Hello, decode_control, is_control

GREETING_TIMEOUT: Final = 5.0
"""Seconds the other end has for its first message on a channel that is open. UNSOURCED: a lost flight and its repeat.
Bounds how long whoever opens channels and says nothing on them holds them."""
MAX_EARLY: Final = 2 * 1_048_576
"""Bytes that may come meanwhile: the streams' initial window, and as much again. Bounds what a stranger to the link
protocol makes us hold."""


class Greeted:
    """A channel that just opened; it is started here, and handed on with `give`."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.channel = opened.channel
        self.end: LinkEnd | None = None
        self._early: deque[bytes] = deque()
        self._early_bytes = 0
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], None] = self._keep
        self._room: Callable[[], None] = lambda: None
        self._ended: Callable[[LinkEnd], None] | None = None
        # A channel may read its callbacks once, at the start: they stay, and what they do changes.
        self.channel.on_message = self._on_message
        self.channel.on_room = self._on_room
        self.channel.on_closed = self._on_closed
        self.channel.start()

    async def first(self, timeout: float = GREETING_TIMEOUT) -> bytes:
        """Return the next message, and take it away. Raises `LinkError` (lost) when none comes."""
        if not self._early and self.end is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._waiter
            except TimeoutError:
                raise LinkError(LinkEnd(LinkFault.LOST, f"the peer said nothing for {timeout:g} s")) from None
            finally:
                self._waiter = None
        if not self._early:
            raise LinkError(self.end or LinkEnd(LinkFault.LOST, "more came than may wait"))
        message = self._early.popleft()
        self._early_bytes -= len(message)
        return message

    async def hello(self) -> Hello | None:
        """Return the other end's hello, and take it away; None when its first message is no control message, which
        then stays. Raises `LinkError` when nothing comes, `DecodeError` or `Broken` for another control message.
        """
        message = await self.first()
        if not is_control(message):
            self.put_back(message)
            return None
        said = decode_control(message)
        if said is None or not isinstance(said[1], Hello):
            raise Broken("the peer begins a channel with something else than hello")
        return said[1]

    def put_back(self, message: bytes) -> None:
        """Let `message` be the next again."""
        self._early.appendleft(message)
        self._early_bytes += len(message)

    def give(
        self,
        on_message: Callable[[bytes], None],
        on_room: Callable[[], None],
        on_closed: Callable[[LinkEnd], None],
    ) -> None:
        """Hand the channel on, with what has come."""
        self._room = on_room
        while self._early:
            # What comes during these calls is behind them.
            on_message(self._early.popleft())
        if self._closed:
            return
        self._take, self._ended = on_message, on_closed
        if self.end is not None:
            on_closed(self.end)

    async def close(self, why: str = "given up") -> None:
        """Close the channel; whoever waits for its first message learns that."""
        self._ended = None
        self._on_closed(LinkEnd(LinkFault.CLOSED_BY_US, why))
        self._early.clear()
        if not self._closed:
            self._closed = True
            self._take = _ignore
            await self.channel.close()

    def _on_message(self, message: bytes) -> None:
        self._take(message)

    def _on_room(self) -> None:
        self._room()

    def _keep(self, message: bytes) -> None:
        self._early_bytes += len(message)
        if self._early_bytes > MAX_EARLY:
            self._on_closed(LinkEnd(LinkFault.PROTOCOL, f"more than {MAX_EARLY} bytes before the channel was taken"))
            return
        self._early.append(message)
        self._wake()

    def _on_closed(self, end: LinkEnd) -> None:
        if self.end is None:
            self.end = end
            self._wake()
            if self._ended is not None:
                self._ended(end)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _ignore(_message: bytes) -> None:
    """Nobody takes it any more."""
