"""The network's next key: how it gets from member to member, and when the node has to go over to it.

Decides which renewal is taken, and that it goes over links between members alone, together with the revocations known.
Refuses to know how a node goes over: whoever runs it ends it and starts it again (`NetworkKeyDue`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dht.errors import DecodeError
from node.node_events import EventLog, NodeEvent
from node.node_networks import renewal_by
from node.ports import Link, Stream
from node.protocols.membership import read_chain
from node.protocols.renewal import (
    LONGEST_AHEAD,
    MAX_MESSAGE,
    STREAM_NAME,
    Renewal,
    message_bytes,
    read_message,
    read_renewal,
)

if TYPE_CHECKING:
    from node.node_admission import Admission
    from node.node_links import Links

LOOK_EVERY: Final = 60.0
"""Seconds after which the clock is looked at again at the latest: it may have been set. UNSOURCED"""

LATER: Final = 1.0
"""Seconds after which a key that is due is gone over to: whoever reads the file by the system's clock finds it in force
by then."""


@dataclass(frozen=True, slots=True)
class NetworkRenewed(NodeEvent):
    """The network is to have another key."""

    epoch: int
    since: int
    """Unix seconds."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"this network goes over to key {self.epoch} at {self.since} (Unix time)"


@dataclass(frozen=True, slots=True)
class NetworkKeyDue(NodeEvent):
    """The key that this node runs under is no longer that of the network: it has to be started again."""

    epoch: int

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"this network has key {self.epoch} from now on: the node goes over to it"


class Renewals:
    """The next key of the network that one node is in."""

    def __init__(self, door: Admission, links: Links, events: EventLog, now: Callable[[], float]) -> None:
        self._door = door
        self._links = links
        self._events = events
        self._now = now
        self._news = asyncio.Event()

    @property
    def next(self) -> Renewal | None:
        """The key that is to come, if one is known."""
        raw = self._door.network.next
        return read_renewal(raw) if raw else None

    def begin(self, after: float) -> Renewal:
        """Make the next key as the founder, and tell the members. Raises `LocalError`."""
        said = renewal_by(self._door.network, self._now(), after)
        self._take(said)
        return said

    def admitted(self, link: Link) -> None:
        """Tell a member that was just let in, and hear it."""
        link.register(STREAM_NAME, self._hear)
        if (said := self.next) is not None:
            self._door.run_soon(self._tell(link, said))

    async def run(self) -> None:
        """Say when the next key is due. Ends only by being cancelled."""
        while True:
            said = self.next
            wait = LOOK_EVERY if said is None else min(LOOK_EVERY, said.since + LATER - self._now())
            if said is not None and wait <= 0:
                self._events.add(NetworkKeyDue(self._now(), said.epoch))
                await asyncio.Event().wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait if said is not None else None):
                    await self._news.wait()
            self._news.clear()

    def _take(self, said: Renewal) -> bool:
        """Keep the next key and pass it on, if it is one that holds and is news."""
        network, now = self._door.network, self._now()
        known = max(network.epoch, 0 if (coming := self.next) is None else coming.epoch)
        # Who was let in later than a key came into force has that one, or a later one: it is an old one, said again.
        old = said.epoch <= known or said.since <= read_chain(network.chain)[0].issued
        if said.authority != network.authority or old or said.since > now + 2 * LONGEST_AHEAD:
            return False
        self._door.keep(replace(network, next=said.raw))
        self._events.add(NetworkRenewed(now, said.epoch, said.since))
        self._news.set()
        for link in self._links.all():
            if self._door.is_member(link):
                self._door.run_soon(self._tell(link, said))
        return True

    async def _tell(self, link: Link, said: Renewal) -> None:
        if not self._door.is_member(link):
            return
        stream = await link.open_stream(STREAM_NAME)
        await stream.write(message_bytes(said, self._door.revocations))
        await stream.close()

    async def _hear(self, stream: Stream) -> None:
        with suppress(DecodeError):
            said, revocations = read_message(await read_to_end(stream, MAX_MESSAGE))
            self._door.learn(revocations)
            self._take(said)


async def read_to_end(stream: Stream, most: int) -> bytes:
    """What a stream says until its end. Raises `DecodeError`, and resets it, when that is more than `most` bytes."""
    raw = b""
    while more := await stream.read():
        raw += more
        if len(raw) > most:
            stream.reset()
            raise DecodeError(stream.name, f"it says more than {most} bytes")
    return raw
