"""The wiring: an internet of many prefixes, places behind boxes, and hosts in them.

Decides addresses, routes and what is plugged into what. The open network is one namespace that forwards between
prefixes that look public, for addresses of documentation and private ranges count for nothing with a node. What has no
route is swallowed there in silence, as the real one does with private addresses. Refuses to know nodes.

Without a delay round trips take a fraction of a millisecond; `Lab.lines` gives the open network one, and a rate.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final

from simulations.nat_kinds import NatKind
from tests.natlab.kinds import KINDS, Access
from tests.natlab.namespaces import LabError, Namespaces
from tests.natlab.routers import TABLE, Behaviour, rules

INTERNET = "internet"

TUNNEL: Final = "lines"
TABLE_OF_LINES: Final = 100
"""Name of the device that delays, and number of the routing table that leads there."""

POLL: Final = 0.01
"""Seconds between two looks whether it is there. UNSOURCED"""

OPEN = ("23", "31", "45", "62", "77", "81", "91", "104", "133", "151", "163", "176", "185", "193", "202", "213")
"""First bytes of the prefixes of hosts in the open: no two share more, so each votes for itself."""


@dataclass(eq=False)
class Box:
    """A router: a namespace with `wan` outside and `lan0`, `lan1`, ... inside."""

    space: str
    behaviour: Behaviour
    """How it behaves; changed by `Lab.behave`."""
    inside6: str = ""
    """Inside IPv6 prefix of 64 bits, without its `::/64`; empty without IPv6."""
    gateway: str = ""
    """Its inside IPv4 address."""
    ports: int = 0
    """Interfaces inside so far."""
    hosts: int = 0
    """Addresses given out so far."""


@dataclass(eq=False)
class Place:
    """What stands between the open network and hosts: a home, an office, a carrier's customer."""

    name: str
    kind: Access
    boxes: list[Box] = field(default_factory=list)
    """From the open network to the hosts."""


@dataclass(eq=False)
class Host:
    """A machine: a namespace with `eth0`."""

    name: str
    space: str
    place: Place | None
    v4: str = ""
    v6: str = ""


class Lab:
    """An internet with places and hosts. A context manager: when it is left, nothing of it remains."""

    def __init__(self) -> None:
        self.spaces = Namespaces()
        self.hosts: dict[str, Host] = {}
        self.places: dict[str, Place] = {}
        self._numbers = count(1)
        self._open = count()
        try:
            self._space(INTERNET)
            self._forward(INTERNET)
            self.spaces.ip(INTERNET, "route add blackhole default")
            self.spaces.ip(INTERNET, "route add blackhole ::/0 metric 4096")
        except BaseException:
            self.spaces.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self.spaces.close()

    # Building

    def host(self, name: str, place: Place | None = None, *, v4: bool = True, v6: bool = False) -> Host:
        """Add a machine: in a place, whose kind says which addresses it gets, or in the open with these families."""
        if name in self.hosts:
            raise LabError(f"there is a host {name!r} already")
        host = Host(name, f"host-{name}", place)
        self._space(host.space)
        self.hosts[name] = host
        self._plug(host, place, v4=v4, v6=v6)
        return host

    def place(self, name: str, kind: str, *, isolated: bool = False) -> Place:
        """Add a place of this kind; `isolated`: its last box keeps its hosts apart."""
        if name in self.places:
            raise LabError(f"there is a place {name!r} already")
        place = Place(name, KINDS[kind])
        for depth, box in enumerate(place.kind.boxes):
            last = depth == len(place.kind.boxes) - 1
            place.boxes.append(self._box(place, depth, box, isolated=isolated and last))
        self.places[name] = place
        return place

    def lines(self, folder: Path, *, delay: float = 0.0, rate: float = 0.0) -> None:
        """Have every packet take so many seconds through the open network, and so many bytes a second go to one
        address (0: as many as come). `folder`: for the output of the process that does it. Call it once."""
        arguments = (TUNNEL, str(delay * 1000), str(rate))
        pid = self.spaces.start(INTERNET, "tests.natlab.wire:main", arguments, {}, folder)
        output = folder / "stdout"
        while not (output.exists() and output.read_text()):
            if self.spaces.exit_code(pid) is not None:
                raise LabError(f"no delay: {(folder / 'stderr').read_text()[-500:]}")
            time.sleep(POLL)
        self.spaces.ip(
            INTERNET,
            f"link set {TUNNEL} up",
            f"route add default dev {TUNNEL} table {TABLE_OF_LINES}",
            f"route add ::/0 dev {TUNNEL} table {TABLE_OF_LINES}",
        )
        # What comes off the line goes to its end, all else onto the line.
        for family in ("-4", "-6"):
            for words in (f"pref 10 iif {TUNNEL} lookup main", f"pref 20 lookup {TABLE_OF_LINES}"):
                self.spaces.run(INTERNET, ["ip", family, "rule", "add", *words.split()])

    # Changing what runs

    def move(self, host: Host, place: Place | None, *, v4: bool = True, v6: bool = False) -> None:
        """Unplug a host and plug it in elsewhere: its addresses change under what runs on it."""
        self.spaces.ip(host.space, "link del eth0")
        host.v4 = host.v6 = ""
        self._plug(host, place, v4=v4, v6=v6)

    def block_udp(self, place: Place, *, blocked: bool = True) -> None:
        """Have the place's outermost box drop every UDP packet from now on, or no longer."""
        self._behave(place.boxes[0], replace(place.boxes[0].behaviour, udp_blocked=blocked))

    def forget(self, place: Place) -> None:
        """Have the place's boxes forget their mappings, as when they are switched off and on."""
        for box in place.boxes:
            self._behave(box, box.behaviour)

    def unplug(self, host: Host, *, plugged: bool = False) -> None:
        """Take a host's cable out, or put it back; addresses stay."""
        self.spaces.ip(host.space, f"link set eth0 {'up' if plugged else 'down'}")
        if plugged:
            self._default_routes(host)

    # Wiring

    def _box(self, place: Place, depth: int, kind: NatKind, *, isolated: bool) -> Box:
        number = next(self._numbers)
        space = f"box-{place.name}-{depth}"
        self._space(space)
        self._forward(space)
        outer = place.boxes[-1] if place.boxes else None
        v4, v6 = place.kind.v4, place.kind.v6
        if kind.blocks:
            kind = replace(kind, translates=True)
        # Between two boxes: a carrier's own range (RFC 6598), or the first home's.
        between = depth < len(place.kind.boxes) - 1
        ranges = ("100.64" if kind.name.startswith("carrier") else "10.0") if between else "192.168"
        inside = f"{ranges}.{number}" if kind.translates else f"84.{number}.2"
        wan = ""
        if outer is None:
            if v4:
                wan = f"84.{number}.1.2"
                self._uplink(space, f"box{number}", f"84.{number}.1.1/24", f"{wan}/24")
            if v6:
                self._uplink6(space, f"box{number}", f"2a10:{number}::1/64", f"2a10:{number}::2/64", new=not v4)
        else:
            wan = self._inside(outer, space, "wan")
        box = Box(
            space,
            Behaviour(kind, wan, f"{inside}.0/24" if v4 else "", isolates=isolated),
            inside6=f"2a10:{number}:0:2" if v6 else "",
            gateway=f"{inside}.1" if v4 else "",
        )
        if not kind.translates and v4:
            self.spaces.ip(INTERNET, f"route add {inside}.0/24 via {wan} dev box{number}")
        if v6:
            self.spaces.ip(INTERNET, f"route add {box.inside6}::/64 via 2a10:{number}::2 dev box{number}")
        self._behave(box, box.behaviour)
        return box

    def _behave(self, box: Box, behaviour: Behaviour) -> None:
        box.behaviour = behaviour
        self.spaces.run(box.space, ["nft", "-f", "-"], rules(behaviour))
        # Says so with an error when there is nothing to forget.
        self.spaces.run(box.space, ["conntrack", "-F"], check=False)
        self.spaces.run(box.space, ["nft", "list", "table", "inet", TABLE])

    def _plug(self, host: Host, place: Place | None, *, v4: bool, v6: bool) -> None:
        host.place = place
        if place is not None and place.boxes:
            box = place.boxes[-1]
            host.v4 = self._inside(box, host.space, "eth0")
            host.v6 = f"{box.inside6}::{box.hosts + 1}" if box.inside6 else ""
            return
        v4, v6 = (v4, v6) if place is None else (place.kind.v4, place.kind.v6)
        number = next(self._open)
        first, rest = OPEN[number % len(OPEN)], number // len(OPEN)
        if v4:
            host.v4 = f"{first}.{rest}.7.2"
            self._uplink(host.space, f"open{number}", f"{first}.{rest}.7.1/24", f"{host.v4}/24", inside="eth0")
        if v6:
            host.v6 = f"2a02:{first}:{rest + 1}::2"
            gateway = f"2a02:{first}:{rest + 1}::1/64"
            self._uplink6(host.space, f"open{number}", gateway, f"{host.v6}/64", inside="eth0", new=not v4)

    def _uplink(self, space: str, cable: str, gateway: str, address: str, *, inside: str = "wan") -> None:
        """Connect a namespace with the open network by IPv4."""
        self.spaces.connect(INTERNET, cable, space, inside)
        self.spaces.ip(INTERNET, f"addr add {gateway} dev {cable}")
        self.spaces.ip(space, f"addr add {address} dev {inside}", f"route add default via {gateway.partition('/')[0]}")

    def _uplink6(
        self, space: str, cable: str, gateway: str, address: str, *, inside: str = "wan", new: bool = False
    ) -> None:
        """The same by IPv6, over the cable of IPv4 unless it is to be a `new` one."""
        if new:
            self.spaces.connect(INTERNET, cable, space, inside)
        via = gateway.partition("/")[0]
        self.spaces.ip(INTERNET, f"addr add {gateway} dev {cable} nodad")
        self.spaces.ip(space, f"addr add {address} dev {inside} nodad", f"route add ::/0 via {via}")

    def _inside(self, box: Box, space: str, interface: str) -> str:
        """Connect a namespace with the inside of a box; returns the IPv4 address it gets there.

        Each has a cable of its own and no neighbour but the box, which forwards between them. A bridge would do the
        same with less, but may run packets through the rules of IP, which breaks hairpins.
        """
        port, box.ports = f"lan{box.ports}", box.ports + 1
        box.hosts += 1
        number = box.hosts + 1
        self.spaces.connect(box.space, port, space, interface)
        address = ""
        if box.gateway:
            address = f"{box.gateway.rpartition('.')[0]}.{number}"
            self.spaces.ip(box.space, f"addr add {box.gateway}/32 dev {port}", f"route add {address}/32 dev {port}")
            self.spaces.ip(
                space,
                f"addr add {address}/32 dev {interface}",
                f"route add {box.gateway}/32 dev {interface}",
                f"route add default via {box.gateway} src {address}",
            )
        if box.inside6:
            self.spaces.ip(box.space, f"route add {box.inside6}::{number}/128 dev {port}")
            self.spaces.ip(box.space, f"addr add fe80::1/64 dev {port} nodad")
            self.spaces.ip(
                space,
                f"addr add {box.inside6}::{number}/128 dev {interface} nodad",
                f"route add ::/0 via fe80::1 dev {interface}",
            )
        return address

    def _default_routes(self, host: Host) -> None:
        box = host.place.boxes[-1] if host.place is not None and host.place.boxes else None
        if box is None:
            if host.v4:
                self.spaces.ip(host.space, f"route replace default via {host.v4.rpartition('.')[0]}.1")
            if host.v6:
                self.spaces.ip(host.space, f"route replace ::/0 via {host.v6.rpartition('::')[0]}::1")
            return
        if host.v4:
            self.spaces.ip(host.space, f"route replace {box.gateway}/32 dev eth0")
            self.spaces.ip(host.space, f"route replace default via {box.gateway} src {host.v4}")
        if host.v6:
            self.spaces.ip(host.space, f"addr replace {host.v6}/128 dev eth0 nodad")
            self.spaces.ip(host.space, "route replace ::/0 via fe80::1 dev eth0")

    def _space(self, space: str) -> None:
        self.spaces.add(space)
        # Looking for duplicates would keep each new IPv6 address from use for a second or two.
        self.spaces.set(space, {"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"})

    def _forward(self, space: str) -> None:
        self.spaces.set(space, {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"})
