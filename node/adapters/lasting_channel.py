"""A channel that outlives the channels it runs over: what a link sees of `node.protocols.continuity`.

Decides when messages move between link and channel, when acknowledgements and probes leave, and when old channels are
closed. Refuses to know how further channels come to be: it says that it needs one (`on_suspect`), and is given one.

A deliberate end, told by the stream protocol's CLOSE, ends it at once; the death of a channel suspends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from dht.errors import DecodeError
from node.adapters.lasting_greeting import Greeted
from node.adapters.lasting_paths import Path, Paths
from node.adapters.lasting_watch import PathWatch
from node.ports import LinkEnd, LinkError, LinkFault, LinkPath
from node.protocols.continuity import (
    CONTROL_FROM,
    Broken,
    Continuity,
    Control,
    Hello,
    Taken,
    Verdict,
    Way,
    decode_control,
    probe,
)
from node.protocols.liveness import SUSPENDED_FOR, Look
from node.protocols.stream_frames import FrameType

log = logging.getLogger("rookery.paths")

ACK_DELAY: Final = 0.2
"""Seconds an acknowledgement waits for more to acknowledge. UNSOURCED: a tenth of what makes a path suspect."""
LINGER: Final = 2.0
"""Seconds the peer has to close a channel that it has left; then we do. UNSOURCED"""
_CLOSE: Final = bytes((FrameType.CLOSE,))
"""How a message begins that ends the link."""


class LastingChannel:
    """A `Channel` of `node.ports` over one channel after another.

    After it is made, one of `begin`, `accept` and `carry` gives it its first channel.
    """

    def __init__(
        self,
        core: Continuity | None,
        *,
        clock: Callable[[], float] | None = None,
        suspended_for: float = SUSPENDED_FOR,
    ) -> None:
        """`core` None: the peer's release knows nothing of all this, and the link ends with its channel."""
        self.on_message: Callable[[bytes], None] = lambda _message: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[LinkEnd], None] = lambda _end: None
        self.on_suspect: Callable[[str], None] = lambda _why: None
        """Called when another path is needed, with why."""
        self.on_path: Callable[[LinkPath, LinkPath, str], None] = lambda _old, _new, _why: None
        """Called when the link goes on over another path."""
        self._loop = asyncio.get_running_loop()
        self._core = core
        self._paths = Paths()
        self._path: Path | None = None
        self._last_path = LinkPath()
        self._why_lost = ""
        self._watch = PathWatch(clock or self._loop.time, suspended_for, self._state, self._act)
        self._full = False
        self._ending = self._over = self._started = False
        self._ack_timer: asyncio.TimerHandle | None = None

    def begin(self, greeted: Greeted) -> None:
        """Begin a new link on a channel that we opened; nothing is waited for."""
        assert self._core is not None
        hello = self._core.begin()
        assert self._core.current is not None
        path = self._paths.add(greeted, self._core.current, greeting=True)
        path.channel.send(hello.to_bytes())
        self._path, self._last_path = path, path.path

    def accept(self, greeted: Greeted, hello: Hello) -> None:
        """Begin a link that the peer made, with its BEGIN. Raises `Broken` when that is none."""
        assert self._core is not None
        taken = self._core.asked(hello)
        if not isinstance(taken, Taken):
            raise Broken(f"a new link on channel {hello.channel}")
        self._last_path = greeted.opened.path
        self._switch(self._paths.add(greeted, taken.way), taken.reply, "")

    def carry(self, greeted: Greeted) -> None:
        """Carry a link with a peer whose release has no continuity: it ends with its channel."""
        self._path = self._paths.add(greeted, Way(0, 0))
        self._last_path = self._path.path

    # What a link asks

    def start(self) -> None:
        """Deliver what came so far, and everything from now on."""
        self._started = True
        for path in self._paths.all:
            self._attach(path)
        if self._core is not None:
            self._watch.hurry()

    @property
    def room(self) -> int:
        """Bytes it takes now."""
        path = self._path
        if path is None or path.way.backlog:
            self._full = True
            return 0
        room = path.channel.room
        if self._core is not None and room > 0:
            kept = self._core.room
            if kept < room:
                room = kept
                if room <= 0:
                    self._full = True
        return room

    @property
    def idle(self) -> bool:
        """Whether everything handed over was taken by the other side, as far as it can be."""
        path = self._path
        return path is None or self._over or (not path.way.backlog and path.channel.idle)

    def send(self, message: bytes) -> None:
        """Hand over one message."""
        if self._over:
            return
        core, path = self._core, self._path
        if message[:1] == _CLOSE:
            self._ending = True
        if (core is None or core.keep(message) is not None) and path is not None:
            path.channel.send(message)
        self._watch.used = True
        if self._watch.resting:
            self._watch.hurry()

    async def close(self) -> None:
        """Free everything; the other end learns it from the CLOSE that was sent before."""
        self._stop()
        await self._paths.closed()

    # What its owner asks

    @property
    def lasting(self) -> bool:
        """Whether it can go on over another channel."""
        return self._core is not None and not self._over and not self._ending

    @property
    def core(self) -> Continuity | None:
        """The numbers of the link; None for a peer whose release has none."""
        return self._core

    @property
    def suspended(self) -> bool:
        """Whether it needs another path: there is none, or a silent one."""
        return not self._over and self._watch.suspected

    def suspect(self, why: str) -> None:
        """Take the path for dead, because somebody knows better; a sign of life takes that back."""
        if self.lasting and self._watch.suspect():
            self._why_lost = why
            self.on_suspect(why)

    async def resume(self, greeted: Greeted, why: str = "") -> bool:
        """Go on over a channel that we opened. False when the other end has no such link any more: then this one has
        ended (forgotten), and the channel is the caller's again. Raises `LinkError` when it does not answer in time.
        """
        core = self._core
        if core is None or not self.lasting:
            return False
        earlier = core.pending
        way, hello = core.dial()
        if earlier is not None:
            self._drop(earlier)
        path = self._paths.add(greeted, way)
        path.channel.send(hello.to_bytes())
        try:
            answer = await greeted.hello()
            if answer is None:
                raise Broken("the peer says something else than hello")
            if way in self._paths and not core.answered(way, answer):
                self._paths.release(way)
                self._fail(LinkFault.FORGOTTEN, "the peer has no such link any more, as after a restart")
                return False
        except (Broken, DecodeError) as error:
            self._drop(way)
            raise LinkError(LinkEnd(LinkFault.PROTOCOL, str(error))) from None
        except LinkError:
            overtaken = way not in self._paths and not self._over
            self._drop(way)
            if not overtaken:
                raise
        except asyncio.CancelledError:
            self._drop(way)
            raise
        if core.current is way:
            self._switch(path, None, why)
        return True

    def take(self, greeted: Greeted, hello: Hello, why: str = "") -> None:
        """Go on over a channel that the peer opened, with what it said. Raises `Broken` when that does not fit."""
        core = self._core
        verdict = core.asked(hello) if core is not None and self.lasting else Verdict.STALE
        if verdict is Verdict.LATER:
            self._paths.put_off(greeted, hello)
        elif not isinstance(verdict, Taken):
            self._paths.refuse(greeted)
        else:
            if verdict.left is not None:
                self._drop(verdict.left)
            self._switch(self._paths.add(greeted, verdict.way), verdict.reply, why)

    # Between link and channel

    def _receive(self, path: Path, message: bytes) -> None:
        if self._over:
            return
        core = self._core
        if message and message[0] >= CONTROL_FROM:
            if core is not None:
                self._on_control(core, path, message)
            return
        if path.greeting and core is not None:
            if core.confirmed:
                self._fail(LinkFault.PROTOCOL, "the peer says no hello")
                return
            # An older release: it has skipped our hello, and the link ends with this channel.
            core.forget()
            self._core = core = None
            self._cancel_timers()
        if core is None:
            self.on_message(message)
            return
        self._watch.used = True
        if path is self._path:
            self._watch.heard = True
        if core.take(path.way, len(message)):
            if message[:1] == _CLOSE:
                self._ending = True
            self.on_message(message)
        if core.ack_due:
            self._acknowledge()
        elif self._ack_timer is None and not self._over:
            self._ack_timer = self._loop.call_later(ACK_DELAY, self._acknowledge_late)
        if self._watch.resting:
            self._watch.hurry()

    def _on_control(self, core: Continuity, path: Path, message: bytes) -> None:
        if path is self._path:
            self._watch.heard = True
        try:
            said = decode_control(message)
            if said is None:
                return
            kind, value = said
            if isinstance(value, Hello):
                if not path.greeting:
                    raise Broken("the peer says hello twice")
                path.greeting = False
                if not core.answered(path.way, value):
                    raise Broken("the peer knows nothing of a link that just began")
            elif kind is Control.ACK:
                core.on_ack(value)
                if self._full and self.room > 0:
                    self._full = False
                    self.on_room()
            elif kind is Control.FROM:
                core.begins(path.way, value)
            elif kind is Control.PROBED:
                self._watch.on_answer(value)
            elif self._watch.may_answer():
                path.channel.send(probe(value, answer=True))
        except (Broken, DecodeError) as error:
            self._fail(LinkFault.PROTOCOL, str(error))

    def _acknowledge_late(self) -> None:
        self._ack_timer = None
        if self._core is not None and self._core.ack_owed:
            self._acknowledge()

    def _acknowledge(self) -> None:
        # Without a path nobody hears it; the next path's hello says the same.
        if self._path is not None and self._core is not None:
            self._path.channel.send(self._core.acknowledge())

    def _on_room(self, path: Path) -> None:
        if path is self._path and self._started and not self._over:
            backlog, channel = path.way.backlog, path.channel
            while backlog and channel.room > 0:
                channel.send(backlog.popleft())
            if not backlog:
                self._full = False
                self.on_room()

    # Paths

    def _switch(self, path: Path, reply: Hello | None, why: str) -> None:
        """Send on `path` from now on. Where we opened it, the peer has switched before, so the old one can go."""
        old, self._path = self._path, path
        if reply is not None:
            path.channel.send(reply.to_bytes())
        path.channel.send(path.way.opening)
        why = why or self._why_lost or "a better path"
        self._why_lost = ""
        self._watch.renew()
        if old is not None and reply is None:
            self._drop(old.way)
        elif old is not None:
            self._loop.call_later(LINGER, self._drop, old.way)
        self._paths.refuse_later()
        before, self._last_path = self._last_path, path.path
        if self._started:
            self._attach(path)
            self.on_path(before, path.path, why)
            self._on_room(path)

    def _attach(self, path: Path) -> None:
        path.greeted.give(
            lambda message: self._receive(path, message),
            lambda: self._on_room(path),
            lambda end: self._on_path_closed(path, end),
        )

    def _on_path_closed(self, path: Path, end: LinkEnd) -> None:
        self._drop(path.way)
        if path is not self._path or self._over:
            return
        self._path = None
        core = self._core
        if core is None or self._ending or not core.confirmed:
            self._stop()
            self.on_closed(end)
            return
        self._why_lost = str(end)
        if self._watch.suspect():
            self.on_suspect(self._why_lost)

    def _drop(self, way: Way) -> None:
        """Close a channel that is not needed any more, or has ended."""
        core = self._core
        pending = core is not None and core.pending is way
        if not self._paths.close(way):
            return
        if core is not None:
            core.lost(way)
        if pending and not self._over and (later := self._paths.later()) is not None:
            # The peer's own channel waited for what became of ours.
            try:
                self.take(*later)
            except Broken as error:
                self._fail(LinkFault.PROTOCOL, str(error))

    # Time

    def _state(self) -> tuple[int | None, bool]:
        if self._path is None or self._core is None:
            return None, False
        return self._path.channel.room, self._core.outstanding

    def _act(self, look: Look) -> None:
        if look is Look.OVER:
            self._fail(LinkFault.LOST, self._why_lost or "the path went dead, and no other was found")
        elif look is Look.SUSPECT:
            self._why_lost = "the path is silent"
            self.on_suspect(self._why_lost)
        elif self._path is not None:
            self._path.channel.send(probe(self._watch.ask()))

    # The end

    def _fail(self, fault: LinkFault, detail: str) -> None:
        if not self._over:
            self._stop()
            self.on_closed(LinkEnd(fault, detail))

    def _stop(self) -> None:
        self._over = True
        self._cancel_timers()
        if self._core is not None:
            self._core.forget()
        self._path = None
        self._paths.refuse_later()
        for path in self._paths.all:
            self._drop(path.way)

    def _cancel_timers(self) -> None:
        self._watch.stop()
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
