"""Peers on the local network: found with no internet, no first contact and no look-up.

Decides what is done with who is found: it is asked in its box whether it is who it says, it becomes a contact of the
DHT, and who wants a link with it gets its address at once. Refuses to know how announcements look and who is believed
(`node/protocols/lan.py`), and how they travel (`node/adapters/lan_broadcast.py`, `mdns.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from dht.contact import Contact
from dht.engine import DhtEngine
from dht.events import PingDone
from dht.identity import IdentityKey, PublicKey
from node.config import NodeConfig
from node.driver import Driver, Stopped
from node.node_events import EventLog
from node.node_lan_events import LanPeerFound, LanPeerLost, LanProblem, LanStatus
from node.node_lan_means import LanMeans, MdnsNode, Sockets
from node.node_lan_words import CLOCK, SILENCED, clock_apart, foreign, out_of_reach
from node.node_rhythm import Rhythm
from node.ports import Hint
from node.protocols.lan import BEACON, MDNS, LanProtocol, LanSelf
from node.protocols.lan_events import (
    Ask,
    ClockApart,
    Echoed,
    Foreign,
    Found,
    Heard,
    LanPeer,
    Lost,
    OutOfReach,
    Silenced,
    TxtDue,
)
from node.protocols.lan_peers import Place
from node.protocols.lan_segment import Segment

FIND_WAIT: Final = 0.1
"""Seconds an answer to a question for one peer is waited for: who is asked by name answers at once, and a beacon on
Wi-Fi may wait for the next DTIM, 100 ms as a rule (IEEE 802.11, beacon interval of 100 TU)."""


class Lan:
    """The local networks of one node: a part that runs, and a `PeerSource`."""

    name = "lan"

    def __init__(
        self,
        identity: IdentityKey,
        config: NodeConfig,
        driver: Driver[DhtEngine],
        events: EventLog,
        rng: random.Random,
        *,
        means: LanMeans | None,
        port: int,
        fingerprint: bytes,
        network_secret: bytes,
        wall: Callable[[], float] | None,
        near: Callable[[Contact], object],
        rhythm: Rhythm,
    ) -> None:
        """`means` None: there is no local network, as in a simulation. `near` is told of each contact found."""
        self._config = config
        self._dht = driver
        self._events = events
        self._rng = rng
        self._means = means or LanMeans()
        self._wall = wall
        self._near = near
        self._rhythm = rhythm
        self._port = port
        self.wanted = means is not None and config.lan != "off" and not ipaddress.ip_address(config.listen).is_loopback
        """Whether peers are looked for there: nobody reaches a node that listens on loopback."""
        self._self = LanSelf(
            identity=identity,
            node_key=driver.engine.own_key,
            port=port,
            fingerprint=fingerprint,
            network_secret=network_secret,
            known_only=config.lan == "known",
            interval=config.lan_interval,
            slack=rhythm.slack,
        )
        self._lan: Driver[LanProtocol] | None = None
        self._sockets: Sockets | None = None
        self._mdns: MdnsNode | None = None
        self._publishing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[PublicKey, asyncio.Event] = {}
        self._problems: dict[str, str] = {}
        self._since = 0.0

    async def run(self) -> None:
        """Announce and look for peers. Ends only by being cancelled."""
        from node.adapters.interfaces import Interfaces

        try:
            self._open()
            watching = Interfaces(
                lambda old, new: self._look(),
                clock=self._dht.clock,
                now=self._dht.now,
                interval=self._config.network_watch,
                addresses=self._described,
                routes=frozenset,
                rest=self._rest,
            )
            await watching.run()
        finally:
            await self._close()

    async def _rest(self, seconds: float) -> None:
        await self._rhythm.rest(seconds)
        if self._lan is not None:  # It is awake: what it has to say soon is said at once.
            self._lan.command(lambda lan, now: lan.handle_timer(now))

    # What there is to know

    @property
    def running(self) -> bool:
        """Whether it looks for peers just now."""
        return self._lan is not None

    @property
    def age(self) -> float:
        """Seconds for which it has looked; 0 before."""
        return self._dht.now() - self._since if self._since else 0.0

    def now(self) -> float:
        """The node's time, Unix seconds."""
        return self._dht.now()

    def peers(self) -> tuple[LanPeer, ...]:
        """Who is there, first found first."""
        return () if self._lan is None else self._lan.engine.peers()

    def status(self) -> LanStatus:
        """The state of it."""
        visible = self._config.lan if self.wanted else "off"
        if self._lan is None:
            return LanStatus(visible, (), (), (), tuple(self._problems.values()), {})
        segments = self._lan.engine.segments
        return LanStatus(
            visible,
            tuple(f"{segment.name}: {', '.join(segment.ips)}" for segment in segments),
            tuple(way for way, there in ((MDNS, self._mdns), (BEACON, self._sockets)) if there is not None),
            self.peers(),
            tuple(self._problems.values()),
            dict(self._lan.engine.counters),
        )

    async def find(self, peer: PublicKey) -> Hint | None:
        """Where a peer is on the local network: at once when that is known, else it is asked for."""
        if self._lan is None or (hint := self._hint(peer)) is not None:
            return hint if self._lan is not None else None
        heard = self._waiting.setdefault(peer, asyncio.Event())
        try:
            self._lan.command(lambda lan, now: lan.look_for(peer, now))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIND_WAIT):
                    await heard.wait()
        finally:
            if self._waiting.get(peer) is heard:
                del self._waiting[peer]
        return self._hint(peer)

    def _hint(self, peer: PublicKey) -> Hint | None:
        known = [] if self._lan is None else self._lan.engine.known(peer)
        return Hint(known[0].contacts, (), known[0].said.fingerprint) if known else None

    # Running

    def _open(self) -> None:
        self._since = self._dht.now()
        try:
            self._sockets = self._means.open_sockets()
        except OSError as error:
            self._trouble(BEACON, f"UDP port 7717 cannot be used on the local network ({error.strerror or error})")
        self._lan = Driver(lambda now: LanProtocol(self._self, self._rng, now), self._send, wall=self._wall)
        handlers: dict[type, Callable[[Any], object]] = {
            Ask: self._on_ask,
            Heard: self._on_heard,
            Found: self._on_found,
            Lost: lambda event: self._events.add(LanPeerLost(self._dht.now(), event.peer, event.reason)),
            ClockApart: lambda event: self._report(CLOCK, clock_apart(event)),
            Foreign: lambda event: self._report("network", foreign(event)),
            OutOfReach: lambda event: self._report("address", out_of_reach(event)),
            Silenced: lambda event: self._trouble(event.way, SILENCED[event.way]),
            Echoed: lambda event: self._over(event.way),
            TxtDue: lambda _: self._start(self._publish()),
        }
        for kind, handler in handlers.items():
            self._lan.subscribe(kind, handler)
        if self._sockets is not None:
            self._sockets.attach(self._lan.receive)
        self._look()

    def _look(self) -> None:
        """See which networks there are."""
        if self._lan is None:
            return
        try:
            segments = self._segments()
        except OSError:
            return  # The list is being changed this moment: the next look sees it.
        if self._sockets is not None:
            self._sockets.set_segments(segments)
        if not segments:
            self._trouble("address", "this machine has no address on any local network")
        else:
            self._over("address")
        self._lan.command(lambda lan, now: lan.set_segments(segments, now))

    def _segments(self) -> tuple[Segment, ...]:
        listen = self._config.listen
        found = []
        for segment in self._means.segments(self._config.lan_interfaces):
            nets = tuple(
                net
                for net in segment.nets
                if (listen == "::" or (listen == "0.0.0.0" and net.version == 4) or str(net.ip) == listen)
            )
            if nets:
                found.append(Segment(segment.index, segment.name, nets))
        return tuple(found)

    def _described(self) -> frozenset[str]:
        return frozenset(f"{one.index} {one.name} {net}" for one in self._segments() for net in one.nets)

    async def _close(self) -> None:
        lan, self._lan = self._lan, None
        if lan is not None:
            lan.command(lambda protocol, now: protocol.close(now))
            lan.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sockets is not None:
            self._sockets.close()
            self._sockets = None
        if self._mdns is not None:
            mdns, self._mdns = self._mdns, None
            await mdns.close()

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._sockets is not None:
            self._sockets.send(data, addr[1])

    async def _publish(self) -> None:
        """Bring our TXT record up to date, and mDNS up if it is not."""
        if not self._config.lan_mdns:
            return
        async with self._publishing:
            lan = self._lan
            if lan is None or not lan.engine.segments:
                return
            segments = lan.engine.segments
            try:
                if self._mdns is None:
                    self._mdns = await self._means.open_mdns(segments, self._rng, self._on_txt, self._on_gone)
                properties = lan.command(lambda protocol, now: protocol.txt(now))
                await self._mdns.publish(properties, self._port, segments)
            except OSError as error:
                self._trouble(MDNS, f"mDNS cannot be used: {error.strerror or error}; UDP port 7717 is used alone")

    # What happens

    def _on_txt(self, instance: str, properties: Mapping[bytes, bytes | None]) -> None:
        if self._lan is not None:
            self._lan.command(lambda lan, now: lan.receive_txt(instance, properties, now))

    def _on_gone(self, instance: str) -> None:
        if self._lan is not None:
            self._lan.command(lambda lan, now: lan.txt_gone(instance, now))

    def _on_ask(self, event: Ask) -> None:
        self._start(self._ask(event))

    async def _ask(self, event: Ask) -> None:
        """Ask at all addresses at once; the first answer in the box holds."""
        pings = [asyncio.ensure_future(self._ping(contact)) for contact in event.contacts]
        try:
            for next_done in asyncio.as_completed(pings):
                done = await next_done
                if done is not None and done.rtt is not None:
                    self._answered(event.place, done.contact, done.rtt)
                    return
        finally:
            for ping in pings:
                ping.cancel()
        if self._lan is not None:
            self._lan.command(lambda lan, now: lan.silent(event.place, now))

    def _answered(self, place: Place, contact: Contact, rtt: float) -> None:
        if self._lan is not None:
            self._lan.command(lambda lan, now: lan.answered(place, contact, rtt, now))

    async def _ping(self, contact: Contact) -> PingDone | None:
        try:
            return await self._dht.run(lambda engine, now: engine.ping(contact, now), PingDone)
        except Stopped:
            return None

    def _on_heard(self, event: Heard) -> None:
        if (heard := self._waiting.get(event.peer)) is not None:
            heard.set()

    def _on_found(self, event: Found) -> None:
        now = self._dht.now()
        found = event.peer
        seconds = now - self._since
        self._events.add(LanPeerFound(now, found.peer, found.contact, found.interface, found.ways, seconds))
        self._near(found.contact)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Troubles

    def _report(self, what: str, text: str) -> None:
        self._events.add(LanProblem(self._dht.now(), what, text))

    def _trouble(self, what: str, text: str) -> None:
        if self._problems.get(what) != text:
            self._problems[what] = text
            self._report(what, text)

    def _over(self, what: str) -> None:
        if self._problems.pop(what, None) is not None:
            self._report(what, "")
