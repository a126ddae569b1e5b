"""What both directions of a file transfer share: outcomes, the next event off a stream, the last words.

Refuses to know how files are read or written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dht.errors import LocalError
from dht.identity import PublicKey
from node.adapters.file_store import BLOCK
from node.ports import LinkError, Stream, StreamReset
from node.protocols.transfer import ReceiverSide, SenderSide, TransferEvent, TransferFault

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with bytes done (those of an earlier attempt included) and the size."""


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """How sending ended. `fault` is None exactly when the receiver confirmed the digest."""

    name: str
    size: int
    sent: int
    resumed_at: int = 0
    digest: bytes = b""
    stored_as: str = ""
    fault: TransferFault | None = None
    detail: str = ""
    by_peer: bool = False

    @property
    def ok(self) -> bool:
        """Whether the file arrived whole."""
        return self.fault is None


@dataclass(frozen=True, slots=True)
class ReceiveOutcome:
    """How receiving ended. `path` is set exactly when the file is there, whole."""

    peer: PublicKey
    name: str
    size: int
    received: int
    resumed_at: int = 0
    path: Path | None = None
    digest: bytes = b""
    fault: TransferFault | None = None
    detail: str = ""
    by_peer: bool = False

    @property
    def ok(self) -> bool:
        """Whether the file arrived whole."""
        return self.fault is None


@dataclass(frozen=True, slots=True)
class IncomingFile:
    """What a policy decides about."""

    peer: PublicKey
    name: str
    size: int


class Broken(Exception):
    """Carries a fault out of the middle of a transfer."""

    def __init__(self, fault: TransferFault, detail: str, *, by_peer: bool = False) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail
        self.by_peer = by_peer


async def next_event(side: SenderSide | ReceiverSide, stream: Stream) -> TransferEvent:
    """Return the next event, reading the stream as needed. Raises `Broken` when it ends first."""
    while (event := side.next_event()) is None:
        data = await stream.read(BLOCK)
        if not data:
            raise Broken(TransferFault.LINK_LOST, "the stream ended in the middle", by_peer=True)
        side.receive_data(data)
    return event


async def say_goodbye(side: SenderSide | ReceiverSide, stream: Stream) -> None:
    """Send what is left to say and end our direction, if the stream still can."""
    try:
        last = side.data_to_send()
        if last:
            await stream.write(last)
        await stream.close()
    except (LinkError, StreamReset, LocalError):
        logger.debug("the stream ended before the reason could be sent")
