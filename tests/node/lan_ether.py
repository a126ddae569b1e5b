"""A local network of protocol objects on a virtual clock: no sockets, no mDNS, no DHT."""

from __future__ import annotations

import heapq
import ipaddress
import random
from collections.abc import Callable
from functools import partial
from itertools import count

from dht.contact import Contact
from dht.identity import IdentityKey, NodeKey
from node.protocols.lan import LanProtocol, LanSelf
from node.protocols.lan_beacon import Announcement, LanKeys, seal_announcement, to_datagram
from node.protocols.lan_events import Ask, LanEvent, TxtDue
from node.protocols.lan_segment import Segment

START = 1_800_000_000.0
DELAY = 0.001
TIMEOUT = 1.0
"""Seconds of a datagram, and until a question in a box counts as unanswered."""


def segment(*addresses: str, index: int = 2, name: str = "eth0") -> Segment:
    """An interface with these addresses and prefixes."""
    return Segment(index, name, tuple(ipaddress.ip_interface(one) for one in addresses))


class Station:
    """One node on the ether."""

    def __init__(
        self, ether: Ether, number: int, *, prefix: str = "192.168.1", skew: float = 0.0, **own: object
    ) -> None:
        self.ip = f"{prefix}.{number}"
        self.identity = IdentityKey.from_seed(bytes([number]) * 32)
        self.node_key = NodeKey.from_secret(bytes([number, 7]) * 16)
        self.skew = skew
        self.there = True
        self.mdns = False
        self.deaf = False
        self.events: list[LanEvent] = []
        self.ether = ether
        own.setdefault("identity", self.identity)
        own.setdefault("node_key", self.node_key.public)
        own.setdefault("port", 7716)
        own.setdefault("fingerprint", bytes([number]) * 32)
        self.lan = LanProtocol(LanSelf(**own), random.Random(number), ether.now + skew)  # type: ignore[arg-type]
        ether.stations.append(self)
        self.segments = (segment(f"{self.ip}/24"),)
        self.call(lambda lan, now: lan.set_segments(self.segments, now))

    def call(self, command: Callable[[LanProtocol, float], object]) -> None:
        """Give a command at the present moment."""
        command(self.lan, self.ether.now + self.skew)
        self.ether.drain(self)

    def of(self, kind: type) -> list[LanEvent]:
        """Its events of one kind."""
        return [event for event in self.events if type(event) is kind]

    @property
    def peers(self) -> set[bytes]:
        """Whom it has found."""
        return {one.peer.raw for one in self.lan.peers()}


class Ether:
    """What all of them share."""

    def __init__(self) -> None:
        self.now = START
        self.stations: list[Station] = []
        self.sent: list[tuple[float, str, bytes]] = []
        self.carries: Callable[[Station, Station, bytes], bool] = lambda sender, to, data: True
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something then."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._numbers), action))

    def run(self, seconds: float) -> None:
        """Let that much time go by."""
        end = self.now + seconds
        while True:
            timers = [
                (timer - one.skew, one)
                for one in self.stations
                if one.there and (timer := one.lan.next_timer()) is not None
            ]
            first = min(timers, key=lambda pair: pair[0], default=None)
            queued = self._queue[0][0] if self._queue else float("inf")
            due = min(queued, first[0] if first else float("inf"))
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            if first is not None and first[0] <= queued:
                station = first[1]
                # Never earlier than the timer, whatever sums round to.
                station.lan.handle_timer(max(self.now + station.skew, station.lan.next_timer() or 0.0))
                self.drain(station)
            else:
                heapq.heappop(self._queue)[2]()

    def drain(self, station: Station) -> None:
        """Carry what a station has to send, and do what it asks for."""
        for data, (_, index) in station.lan.datagrams_to_send(self.now):
            assert index == station.segments[0].index
            self.sent.append((self.now, station.ip, data))
            for to in self.stations:
                if to.there and not to.deaf and self.carries(station, to, data):
                    self.later(DELAY, lambda to=to, data=data: self.deliver(to, data, station.ip))  # type: ignore[misc]
        while (event := station.lan.next_event()) is not None:
            station.events.append(event)
            if isinstance(event, Ask):
                self._box(station, event)
            elif isinstance(event, TxtDue) and station.mdns:
                self._publish(station)

    def deliver(self, to: Station, data: bytes, ip: str) -> None:
        """Hand a datagram to a station."""
        to.lan.receive_datagram(data, (ip, 0), self.now + to.skew)
        self.drain(to)

    def _publish(self, station: Station) -> None:
        properties = {key.encode(): value for key, value in station.lan.txt(self.now + station.skew).items()}
        for to in self.stations:
            if to.there and to.mdns:
                self.later(
                    DELAY,
                    lambda to=to: to.call(lambda lan, now: lan.receive_txt(f"i{station.ip}", properties, now)),  # type: ignore[misc]
                )

    def _box(self, station: Station, event: Ask) -> None:
        """A node answers at its own address, if it is there."""
        for contact in event.contacts:
            other = next((one for one in self.stations if one.there and one.ip == contact.ip), None)
            if other is not None and other.node_key.public == contact.key:
                self.later(2 * DELAY, partial(self._answer, station, event, contact))
                return
        self.later(TIMEOUT, lambda: station.call(lambda lan, now: lan.silent(event.place, now)))

    @staticmethod
    def _answer(station: Station, event: Ask, contact: Contact) -> None:
        station.call(lambda lan, now: lan.answered(event.place, contact, 2 * DELAY, now))


KEYS = LanKeys(b"")


def announcement(seed: int, now: float = START, **more: object) -> tuple[IdentityKey, Announcement]:
    """What a made-up node says."""
    identity = IdentityKey.from_seed(seed.to_bytes(32, "big"))
    fields: dict[str, object] = {
        "identity": identity.public,
        "node_key": NodeKey.from_secret((seed + 1).to_bytes(32, "little")).public,
        "port": 7716,
        "ips": ("192.168.1.200",),
        "fingerprint": b"",
        "time": int(now * 1000),
        "interval": 60,
    }
    return identity, Announcement(**{**fields, **more})  # type: ignore[arg-type]


def datagram(seed: int, now: float = START, keys: LanKeys = KEYS, **more: object) -> bytes:
    """The same, on its way."""
    identity, said = announcement(seed, now, **more)
    return to_datagram(seal_announcement(said, identity, keys, random.Random(str((seed, now, sorted(more))))))
