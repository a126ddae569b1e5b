"""The message channel over one WebRTC connection: what a `StreamLink` sees of it.

Decides how much may wait before the link must hold back, and how everything is taken down. Refuses to know how the
connection came about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from aiortc import RTCIceTransport

from node.adapters.webrtc_dtls import RunDtlsTransport, stop_quietly
from node.adapters.webrtc_sctp import RunSctpTransport
from node.ports import LinkEnd, LinkFault

logger = logging.getLogger(__name__)

HIGH_WATER: Final = 262_144
"""Bytes queued beyond what is under way. Low, so that a small stream waits little behind a bulk one: four messages."""


class WebRtcChannel:
    """Messages over an established association."""

    def __init__(self, ice: RTCIceTransport, dtls: RunDtlsTransport, sctp: RunSctpTransport) -> None:
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self._ice = ice
        self._dtls = dtls
        self._sctp = sctp
        self._open = True
        self._full = False
        sctp.on_drained = self._drained
        sctp.on_state = self._check
        dtls.on_state = self._check

    def start(self) -> None:
        """Deliver what came so far, and everything from now on; `on_message` must be set."""
        self._sctp.release(self._deliver)
        self._check()

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        if not self._open:
            return 0
        room = HIGH_WATER - self._sctp.sender.queued_bytes
        if room <= 0:
            self._full = True
        return room

    @property
    def idle(self) -> bool:
        """Whether the other side acknowledged everything."""
        return not self._open or self._sctp.sender.idle

    def send(self, message: bytes) -> None:
        """Hand over one message."""
        if self._open:
            self._sctp.send_message(message)

    async def close(self) -> None:
        """Take the connection down, telling the other side where that is still possible."""
        self._open = False
        await close_transports(self._ice, self._dtls, self._sctp)

    def _deliver(self, message: bytes) -> None:
        self.on_message(message)

    def _drained(self) -> None:
        if self._full and self._sctp.sender.queued_bytes < HIGH_WATER:
            self._full = False
            self.on_room()

    def _check(self) -> None:
        if not self._open:
            return
        if self._sctp.state == "closed":
            self._lost("the peer ended the association without a word")
        elif self._dtls.state in ("closed", "failed"):
            self._lost("the encrypted connection ended: the peer left, or the path went dead")

    def _lost(self, detail: str) -> None:
        self._open = False
        self.on_closed(LinkEnd(LinkFault.LOST, detail))


async def close_transports(ice: RTCIceTransport, dtls: RunDtlsTransport, sctp: RunSctpTransport) -> None:
    """Stop the three layers from the top; after it no task, timer or socket of theirs is left."""
    sctp.on_state = dtls.on_state = None
    sctp.on_message = sctp.on_drained = None
    try:
        await sctp.stop()
    except ConnectionError:
        logger.debug("the path went before the association could be ended")
    dtls.on_packet = dtls.on_turn = None
    await stop_quietly(dtls)
    await ice.stop()
