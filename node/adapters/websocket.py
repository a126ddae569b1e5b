"""A channel over one WebSocket connection: TCP and TLS, for networks that let nothing else through.

Decides how much may wait, and when the other side counts as having taken it. Refuses to know who is at the other end:
that is proven by the handshake that runs over it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import ClientConnectionError, ClientWebSocketResponse, WSMsgType
from aiohttp.web import WebSocketResponse

from node.ports import LinkEnd, LinkFault
from node.protocols.stream_frames import MAX_MESSAGE

HIGH_WATER: Final = 262_144
"""Bytes that wait in here, as in the WebRTC channel: a small stream waits little behind a bulk one."""

MAX_FRAME: Final = MAX_MESSAGE + 1024
"""Bytes of a WebSocket message that are taken: a link's largest, and what lies around it. More ends the connection."""

CLOSE_TIMEOUT: Final = 0.4
"""Seconds the closing handshake may take (RFC 6455 section 7.1.1). UNSOURCED"""


class WebSocketChannel:
    """Messages over an open WebSocket, either side."""

    def __init__(self, socket: ClientWebSocketResponse | WebSocketResponse) -> None:
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self._socket = socket
        self._queued: deque[bytes] = deque()
        self._waiting = 0
        """Bytes handed over that TCP has not taken."""
        self._wake = asyncio.Event()
        self._open = True
        self._tasks: list[asyncio.Task[None]] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is of no use any more; a server's handler waits for it."""

    def start(self) -> None:
        """Read and write from now on; until then TCP itself holds the other side back."""
        if not self._tasks and self._open:
            loop = asyncio.get_running_loop()
            self._tasks = [loop.create_task(self._read()), loop.create_task(self._write())]

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        return HIGH_WATER - self._waiting if self._open else 0

    @property
    def idle(self) -> bool:
        """Whether everything handed over is on its way; TCP does not tell what has arrived."""
        return not self._waiting or not self._open

    def send(self, message: bytes) -> None:
        """Hand over one message."""
        if self._open:
            self._queued.append(message)
            self._waiting += len(message)
            self._wake.set()

    async def close(self) -> None:
        """End the connection, telling the other side where that is still possible."""
        self._stop()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._socket.close()
        except (TimeoutError, ConnectionError, ClientConnectionError):
            pass  # The other side is gone, or takes its time to say so.

    async def _read(self) -> None:
        while self._open:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                self.on_message(message.data)
            elif message.type is WSMsgType.TEXT:
                self._lose(LinkFault.PROTOCOL, "a text message came where only binary ones are spoken")
            else:
                self._lose(LinkFault.LOST, "the TCP connection ended")

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queued:
                    message = self._queued.popleft()
                    await self._socket.send_bytes(message)
                    full = self.room <= 0
                    self._waiting -= len(message)
                    if full and self.room > 0:
                        self.on_room()
        except (ConnectionError, ClientConnectionError) as error:
            self._lose(LinkFault.LOST, f"the TCP connection broke: {error}")

    def _lose(self, fault: LinkFault, detail: str) -> None:
        if self._open:
            self._stop()
            self.on_closed(LinkEnd(fault, detail))

    def _stop(self) -> None:
        self._open = False
        self._queued.clear()
        self._waiting = 0
        if not self.ended.done():
            self.ended.set_result(None)
