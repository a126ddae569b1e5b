"""The links of a node: one for each peer, found again, pinged, and let go of.

Decides which channel goes to which link, that a newer link takes an older one's place (the peer that asks for a new
one has lost the old), and which streams every link serves. Refuses to know how channels come to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from dht.errors import DecodeError
from dht.identity import PublicKey
from node.adapters.lasting_channel import LastingChannel
from node.adapters.lasting_greeting import Greeted
from node.adapters.stream_link import StreamLink
from node.node_events import EventLog, LinkEnded, LinkOpened, PathChanged, PathLost
from node.node_results import LinkInfo
from node.ports import Link, LinkEnd, LinkError, LinkFault, LinkPath, LinkStats, Opened, StreamHandler
from node.protocols.continuity import (
    LINK_ID_BYTES,
    Broken,
    Continuity,
    Hello,
    Keeping,
    Word,
)
from node.protocols.liveness import SUSPENDED_FOR

MAX_LINKS: Final = 256
"""Links open at once. UNSOURCED: 155 kB each on aiortc makes 40 MB."""

CLOSE_TIMEOUT: Final = 0.7
"""Seconds the links get to say goodbye when the node stops: the node has to end within 2 s."""

IDLE: Final = 30.0
"""Seconds after which a link that has served its purpose is closed. UNSOURCED"""

CROSSING: Final = 2.0
"""Seconds after a link of ours began in which one that the peer began at the same time may still come. UNSOURCED"""


class Gate(Protocol):
    """Who says whether a link is of use to anybody: the door of a network that has members."""

    open_names: frozenset[str]
    """Streams that are served to those who are not let in (yet)."""

    def handlers(self, link: Link) -> Mapping[str, StreamHandler]:
        """Further streams that are served meanwhile."""

    async def admit(self, link: Link) -> None:
        """Return once the link may be used. Raises `LinkError`, and closes it, when it may not."""


@dataclass(slots=True)
class _Entry:
    link: Link
    opened: float
    admitted: bool = True
    """Whether it may be used."""
    channel: LastingChannel | None = None
    rtt: float | None = None


class Links:
    """The open links by peer."""

    def __init__(
        self,
        events: EventLog,
        now: Callable[[], float],
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        *,
        own: PublicKey | None = None,
        suspended_for: float = SUSPENDED_FOR,
    ) -> None:
        """`now` gives Unix seconds, `clock` seconds that never jump. `own` settles which of two links counts that both
        ends began at once: the lower key's. A link without a path is lost after `suspended_for` seconds.
        """
        self._events = events
        self._now = now
        self._clock = clock
        self._random_bytes = random_bytes
        self._own = own
        self._suspended_for = suspended_for
        self._keeping = Keeping()
        self.on_suspect: Callable[[PublicKey], None] = lambda _peer: None
        """Called when the link with a peer needs another path: whoever finds one gives it to `join`."""
        self._entries: dict[PublicKey, _Entry] = {}
        self._handlers: dict[str, Callable[[Link], StreamHandler]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.gate: Gate | None = None
        """Asked about every new link; None where everybody is welcome."""

    def __len__(self) -> int:
        return len(self._entries)

    def serve(self, name: str, handler_for: Callable[[Link], StreamHandler]) -> None:
        """Serve streams of `name` on every link there is and will be."""
        self._handlers[name] = handler_for
        for entry in self._entries.values():
            if entry.admitted or (self.gate is not None and name in self.gate.open_names):
                entry.link.register(name, handler_for(entry.link))

    def get(self, peer: PublicKey) -> Link | None:
        """The open link with `peer`, if there is one that may be used."""
        entry = self._entries.get(peer)
        return None if entry is None or not entry.admitted or entry.link.closed.done() else entry.link

    def age(self, peer: PublicKey) -> float:
        """Seconds since the link with `peer` opened."""
        return self._now() - self._entries[peer].opened

    def all(self) -> list[Link]:
        """Every link there is, those included that wait for another path."""
        return [entry.link for entry in self._entries.values() if entry.admitted]

    def suspended(self, peer: PublicKey) -> bool:
        """Whether the link with `peer` needs another path: it has none, or a silent one."""
        channel = self._channel(peer)
        return channel is not None and channel.suspended

    def suspect(self, peer: PublicKey, why: str = "this machine has left the network it went through") -> None:
        """Take the path to `peer` for dead; a sign of life takes that back."""
        channel = self._channel(peer)
        if channel is not None:
            channel.suspect(why)

    async def join(self, peer: PublicKey, opened: Opened, *, initiated: bool) -> Link:
        """Take a channel in that was opened with `peer`, and return the link it now belongs to. Raises `LinkError`.

        | who opened it | what is said      | what we have           | what comes of it                              |
        |---------------|-------------------|------------------------|-----------------------------------------------|
        | we            | BEGIN             | no link                | a new link, at once                           |
        | we            | RESUME            | a link, alive or not   | it goes on here, when the peer has it, too    |
        | we            | RESUME, UNKNOWN   | a link                 | it ends (forgotten); a new one                |
        | peer          | BEGIN or RESUME   | the link of that id    | it goes on here, unless a later channel does  |
        | peer          | RESUME            | another or none        | we say UNKNOWN; a BEGIN follows               |
        | peer          | BEGIN             | none, or an older link | a new link, in the older one's place          |
        | peer          | BEGIN             | our own of the moment  | the link of the lower key stays               |
        | peer          | nothing, it closes| a link that lives      | that link: another channel was quicker        |
        | peer          | stream frames     | anything               | an older release: a link that has one channel |

        Channels of one link are numbered, odd by the side that began it, even by the other: when both open one at once,
        the higher number counts.
        """
        greeted = Greeted(opened)
        try:
            return await (self._dialled(peer, greeted) if initiated else self._called(peer, greeted))
        except (Broken, DecodeError) as error:
            await greeted.close()
            raise LinkError(LinkEnd(LinkFault.PROTOCOL, str(error))) from None
        except BaseException:
            await greeted.close()
            raise

    async def _dialled(self, peer: PublicKey, greeted: Greeted) -> Link:
        while (channel := self._channel(peer)) is not None:
            link = self._entries[peer].link
            if await channel.resume(greeted):
                return _living(link)
            if link.closed.done():
                self._on_closed(link, link.closed)  # At once: its successor comes before the callback.
        channel = self._new_channel(self._random_bytes(LINK_ID_BYTES), initiated=True)
        channel.begin(greeted)
        return await self._admitted(self._new_link(peer, greeted.opened, channel, initiated=True))

    async def _called(self, peer: PublicKey, greeted: Greeted) -> Link:
        try:
            hello = await greeted.hello()
        except LinkError:
            channel = self._channel(peer)
            if greeted.end is None or channel is None or channel.suspended:
                raise
            return self._entries[peer].link  # Given up by the peer for a channel that was quicker.
        channel = self._channel(peer)
        if hello is not None and hello.word is Word.RESUME and not _is_of(channel, hello):
            unknown = Hello(Word.UNKNOWN, hello.link_id, hello.channel, 0)
            greeted.channel.send(unknown.to_bytes())
            hello = await greeted.hello()
            channel = self._channel(peer)
        if hello is None:
            channel = LastingChannel(None, clock=self._clock)
            channel.carry(greeted)
            return await self._admitted(self._new_link(peer, greeted.opened, channel, initiated=False))
        if channel is not None and _is_of(channel, hello):
            channel.take(greeted, hello)
            return _living(self._entries[peer].link)
        if self._ours_counts(peer):
            await greeted.close()
            return _living(self._entries[peer].link)
        channel = self._new_channel(hello.link_id, initiated=False)
        channel.accept(greeted, hello)
        return await self._admitted(self._new_link(peer, greeted.opened, channel, initiated=False))

    async def _admitted(self, link: Link) -> Link:
        """The link, once it may be used. Raises `LinkError`."""
        if self.gate is not None:
            await self.gate.admit(link)
            entry = self._entries.get(link.peer)
            if entry is None or entry.link is not link:
                return _living(link)
            entry.admitted = True
            self._serve_all(link)
        return link

    def _serve_all(self, link: Link) -> None:
        for name, handler_for in self._handlers.items():
            link.register(name, handler_for(link))
        self._events.add(LinkOpened(self._now(), link.peer, link.initiated, dict(link.stats.phases)))

    def _ours_counts(self, peer: PublicKey) -> bool:
        channel, own = self._channel(peer), self._own
        if channel is None or channel.suspended or own is None or not own.raw < peer.raw:
            return False
        return self._entries[peer].link.initiated and self.age(peer) < CROSSING

    def _channel(self, peer: PublicKey) -> LastingChannel | None:
        """What the link with `peer` runs over, where that can go on over another channel."""
        entry = self._entries.get(peer)
        return None if entry is None or entry.channel is None or not entry.channel.lasting else entry.channel

    def _new_channel(self, link_id: bytes, *, initiated: bool) -> LastingChannel:
        core = Continuity(link_id, initiated=initiated, keeping=self._keeping)
        return LastingChannel(core, clock=self._clock, suspended_for=self._suspended_for)

    def _new_link(self, peer: PublicKey, opened: Opened, channel: LastingChannel, *, initiated: bool) -> Link:
        stats = LinkStats(path=opened.path, phases=opened.phases)
        link = StreamLink(
            channel,
            peer,
            initiated=initiated,
            stats=stats,
            clock=self._clock,
            random_bytes=self._random_bytes,
        )
        channel.on_suspect = lambda why: self._on_suspect(link, why)
        channel.on_path = lambda old, new, why: self._on_path(link, old, new, why)
        self.add(link, channel)
        return link

    def _on_suspect(self, link: Link, why: str) -> None:
        entry = self._entries.get(link.peer)
        if entry is not None and entry.link is link:
            self._events.add(PathLost(self._now(), link.peer, why))
            self.on_suspect(link.peer)

    def _on_path(self, link: Link, old: LinkPath, new: LinkPath, why: str) -> None:
        link.stats.path = new
        self._events.add(PathChanged(self._now(), link.peer, path_words(old), path_words(new), why))

    def add(self, link: Link, channel: LastingChannel | None = None) -> None:
        """Take a new link in; an older one with the same peer is closed."""
        old = self._entries.pop(link.peer, None)
        if old is not None:
            self._close_soon(old.link)
        gate = self.gate
        self._entries[link.peer] = _Entry(link, self._now(), gate is None, channel)
        link.closed.add_done_callback(lambda ended: self._on_closed(link, ended))
        if gate is None:
            self._serve_all(link)
            return
        for name in gate.open_names & self._handlers.keys():
            link.register(name, self._handlers[name](link))
        for name, handler in gate.handlers(link).items():
            link.register(name, handler)

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
        return [_info(entry, now) for entry in self._entries.values() if entry.admitted]

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

    def close_when_idle(self, peer: PublicKey) -> None:
        """Close the link with `peer` if no stream is open on it a while from now."""
        entry = self._entries.get(peer)
        if entry is not None:
            asyncio.get_running_loop().call_later(IDLE, self._close_idle, entry.link)

    def _close_idle(self, link: Link) -> None:
        if isinstance(link, StreamLink) and link.open_streams == 0 and not link.closed.done():
            self._close_soon(link)

    def _close_soon(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _on_closed(self, link: Link, ended: asyncio.Future[LinkEnd]) -> None:
        entry = self._entries.get(link.peer)
        if entry is None or entry.link is not link:
            return  # Replaced by a newer one.
        del self._entries[link.peer]
        if not entry.admitted:
            return
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


def path_words(path: LinkPath) -> str:
    """A path in a few words: its kind, and where it leads."""
    where = "" if path.remote_address is None else f" {path.remote_address[0]} port {path.remote_address[1]}"
    return f"{path.remote_type}{where}"


def _is_of(channel: LastingChannel | None, hello: Hello) -> bool:
    return channel is not None and channel.core is not None and channel.core.link_id == hello.link_id


def _living(link: Link) -> Link:
    """The link, unless it has ended meanwhile. Raises `LinkError`."""
    if link.closed.done():
        raise LinkError(link.closed.result())
    return link
