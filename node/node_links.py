"""The links of a node: one for each peer, found again, pinged, and let go of.

Decides that a newer link takes an older one's place (the peer that asks for a new one has lost the old), and which
streams every link serves. Refuses to know how links come to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dht.identity import PublicKey
from node.adapters.stream_link import link_over
from node.node_events import EventLog, LinkEnded, LinkOpened
from node.node_results import LinkInfo
from node.ports import Link, LinkEnd, Opened, StreamHandler

MAX_LINKS: Final = 256
"""Links open at once. UNSOURCED: 155 kB each on aiortc makes 40 MB."""

CLOSE_TIMEOUT: Final = 0.7
"""Seconds the links get to say goodbye when the node stops: the node has to end within 2 s."""


@dataclass(slots=True)
class _Entry:
    link: Link
    opened: float
    rtt: float | None = None


class Links:
    """The open links by peer."""

    def __init__(
        self,
        events: EventLog,
        now: Callable[[], float],
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`now` gives Unix seconds, `clock` seconds that never jump."""
        self._events = events
        self._now = now
        self._clock = clock
        self._random_bytes = random_bytes
        self._entries: dict[PublicKey, _Entry] = {}
        self._handlers: dict[str, Callable[[Link], StreamHandler]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def serve(self, name: str, handler_for: Callable[[Link], StreamHandler]) -> None:
        """Serve streams of `name` on every link there is and will be."""
        self._handlers[name] = handler_for
        for entry in self._entries.values():
            entry.link.register(name, handler_for(entry.link))

    def get(self, peer: PublicKey) -> Link | None:
        """The open link with `peer`, if there is one."""
        entry = self._entries.get(peer)
        return None if entry is None or entry.link.closed.done() else entry.link

    def age(self, peer: PublicKey) -> float:
        """Seconds since the link with `peer` opened."""
        return self._now() - self._entries[peer].opened

    async def join(self, peer: PublicKey, opened: Opened, *, initiated: bool) -> Link:
        """Take a channel in that was opened with `peer`. Raises `LinkError` when it ends meanwhile."""
        link = link_over(opened, peer, initiated=initiated, clock=self._clock, random_bytes=self._random_bytes)
        self.add(link)
        return link

    def add(self, link: Link) -> None:
        """Take a new link in; an older one with the same peer is closed."""
        old = self._entries.pop(link.peer, None)
        if old is not None:
            self._close_soon(old.link)
        for name, handler_for in self._handlers.items():
            link.register(name, handler_for(link))
        self._entries[link.peer] = _Entry(link, self._now())
        link.closed.add_done_callback(lambda ended: self._on_closed(link, ended))
        self._events.add(LinkOpened(self._now(), link.peer, link.initiated, dict(link.stats.phases)))

    async def ping(self, link: Link) -> float:
        """The round trip over a link, which is remembered for `info`. Raises `LinkError`."""
        rtt = await link.ping()
        entry = self._entries.get(link.peer)
        if entry is not None and entry.link is link:
            entry.rtt = rtt
        return rtt

    def info(self) -> list[LinkInfo]:
        """What there is to know of each link."""
        now = self._now()
        return [_info(entry, now) for entry in self._entries.values()]

    async def close(self) -> None:
        """Close every link, in good order as far as time allows."""
        for entry in list(self._entries.values()):
            self._close_soon(entry.link)
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_TIMEOUT)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _close_soon(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _on_closed(self, link: Link, ended: asyncio.Future[LinkEnd]) -> None:
        entry = self._entries.get(link.peer)
        if entry is None or entry.link is not link:
            return  # Replaced by a newer one.
        del self._entries[link.peer]
        reason = "cancelled" if ended.cancelled() else str(ended.result())
        self._events.add(LinkEnded(self._now(), link.peer, reason))


def _info(entry: _Entry, now: float) -> LinkInfo:
    link, stats = entry.link, entry.link.stats
    path = stats.path
    return LinkInfo(
        peer=link.peer,
        initiated=link.initiated,
        address=path.remote_address,
        type=path_text(link),
        age=now - entry.opened,
        rtt=entry.rtt,
        bytes_sent=stats.bytes_sent,
        bytes_received=stats.bytes_received,
        phases=dict(stats.phases),
    )


def path_text(link: Link) -> str:
    """How a link runs: our end's kind of address, then the peer's."""
    path = link.stats.path
    if path.local_type == path.remote_type:
        return path.local_type
    return f"{path.local_type}-{path.remote_type}"
