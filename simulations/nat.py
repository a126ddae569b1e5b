"""Address translators and firewalls as hops on a packet's way.

Decides who may reach whom through a box of a given kind, and for how long. No event is ever scheduled: whether a
mapping is still alive is asked when it is used, and dead ones are swept out when a table has doubled. Permissions
to send in are kept with each mapping, as session tables do; for endpoint-independent mappings that is the same as
RFC 4787's "per internal endpoint". Refuses to know what is in the datagrams, and who asked for which box.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from simulations.errors import BadScenario
from simulations.hops import Address, Drop, Local, Packet
from simulations.nat_kinds import KINDS, NatKind, Scope, kind_named
from simulations.network import Network

FIRST_PORT, LAST_PORT = 1024, 65_535
"""Outside ports given out: all but the well-known ones (RFC 4787 section 4.2.2)."""
SMALLEST_SWEEP = 64
"""Entries a table must have before it is searched for dead ones. UNSOURCED"""

_NO_MAPPING = Drop("nat-no-mapping")
_FILTERED = Drop("nat-filtered")
_NO_HAIRPIN = Drop("nat-no-hairpin")
_FULL = Drop("nat-full")
_UNREACHABLE = Drop("unreachable")
_BLOCKED = Drop("udp-blocked")

Key = tuple[Address, str | Address | None]
Peer = str | Address


class Mapping:
    """An inside address, the outside one that stands for it, and who may send to that."""

    __slots__ = ("expires", "external", "inside", "key", "peers", "sweep_at")

    def __init__(self, key: Key | Address, inside: Address, external: Address) -> None:
        self.key = key
        self.inside = inside
        self.external = external
        self.expires = 0.0
        self.peers: dict[Peer, float] | None = None
        """Whoever may send in, with the Unix second until which; none are kept where anybody may."""
        self.sweep_at = SMALLEST_SWEEP


class Nat:
    """One box: downlink hop of the public host it owns, and through `Uplink` and `Gate` of those inside.

    Counters: `made` and `expired` mappings, `filtered` packets (from outside, refused), `refused` packets (from
    inside: no port or no hairpin).
    """

    __slots__ = (
        "_by_key",
        "_by_port",
        "_full_until",
        "_here",
        "_next_port",
        "_rng",
        "_sweep_at",
        "expired",
        "filtered",
        "inside",
        "kind",
        "made",
        "network",
        "outer",
        "public_ip",
        "refused",
    )

    def __init__(self, network: Network, kind: NatKind, public_ip: str, rng: Random) -> None:
        self.network = network
        self.kind = kind
        self.public_ip = public_ip
        self.inside: tuple[str, ...] | set[str] = ()
        """IPs of the hosts (or boxes) behind it."""
        self.outer: Nat | None = None
        """The next box on the way out, if it is not the outermost."""
        self.made = 0
        self.expired = 0
        self.filtered = 0
        self.refused = 0
        self._rng = rng
        self._here = Local(kind.delay)
        # Tables come with the first packet: most homes of a large world send few, some none.
        self._by_key: dict[Key | Address, Mapping] | None = None
        self._by_port: dict[int, Mapping] | None = None
        self._next_port = FIRST_PORT
        self._sweep_at = SMALLEST_SWEEP
        self._full_until = 0.0

    @property
    def outermost(self) -> Nat:
        """The box whose outside address the open network sees: this one, unless it stands behind another."""
        box = self
        while box.outer is not None:
            box = box.outer
        return box

    @property
    def live(self) -> int:
        """Mappings that are alive at this moment."""
        now = self.network.queue.now
        return sum(mapping.expires > now for mapping in (self._by_key or {}).values())

    @property
    def held(self) -> int:
        """Entries in memory, mappings and permissions, those that are dead but not swept out included."""
        mappings = (self._by_key or {}).values()
        return len(mappings) + sum(len(mapping.peers or ()) for mapping in mappings)

    def external(self, inside: Address, dst: Address) -> Address | None:
        """Say which address packets from `inside` to `dst` have at present outside of the outermost box.

        `None` when they have none, because no packet has been sent or its mapping is dead.
        """
        src = inside
        if self.kind.translates:
            mapping = (self._by_key or {}).get(self._key(inside, dst))
            if mapping is None or mapping.expires <= self.network.queue.now:
                return None
            src = mapping.external
        return src if self.outer is None else self.outer.external(src, dst)

    def add_inside(self, ip: str) -> None:
        """Put one more host behind the box; `place_behind` does it."""
        if ip in self.inside:
            raise BadScenario(f"host {ip} stands behind {self.public_ip} already")
        if isinstance(self.inside, set):
            self.inside.add(ip)
        else:
            # A home has a few hosts, which a tuple finds faster and in less memory; a carrier has thousands.
            self.inside = {*self.inside, ip} if len(self.inside) >= 8 else (*self.inside, ip)

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Let a packet from outside in if somebody inside asked for it (as downlink hop)."""
        kind = self.kind
        if not kind.translates:
            return self._admit(packet, now)
        mapping = self._by_port.get(packet.dst[1]) if self._by_port is not None else None
        if mapping is None or mapping.expires <= now:
            self.filtered += 1
            return _NO_MAPPING
        if kind.filtering and not self._allowed(mapping, packet.src, now):
            self.filtered += 1
            return _FILTERED
        if kind.refresh_inbound:
            mapping.expires = now + kind.lifetime
        packet.dst = mapping.inside
        packet.via = self
        return 0.0

    def leave(self, packet: Packet, now: float) -> float | Drop | Local:
        """Take a packet from inside: hand it over at once if it stays inside, else give it an outside address."""
        kind = self.kind
        dst = packet.dst
        if dst[0] in self.inside:
            packet.via = self
            return self._here
        if kind.blocks:
            return _BLOCKED
        hairpin = kind.translates and dst[0] == self.public_ip
        if hairpin and not kind.hairpin:
            self.refused += 1
            return _NO_HAIRPIN
        src = packet.src
        key = src if not kind.mapping else self._key(src, dst)
        mapping = self._by_key.get(key) if self._by_key is not None else None
        if mapping is None or mapping.expires <= now:
            found = self._make(key, src, now)
            if isinstance(found, Drop):
                self.refused += 1
                return found
            mapping = found
        mapping.expires = expires = now + kind.lifetime
        if kind.filtering:
            peers = mapping.peers
            if peers is None:
                peers = mapping.peers = {}
            peers[dst if kind.filtering is Scope.ADDRESS_AND_PORT else dst[0]] = expires
            if len(peers) > mapping.sweep_at:
                for peer in [peer for peer, until in peers.items() if until <= now]:
                    del peers[peer]
                mapping.sweep_at = max(SMALLEST_SWEEP, 2 * len(peers))
        packet.src = mapping.external
        # RFC 4787 REQ-9a: a hairpinned packet comes from the outside address too. It does not leave the box.
        return self._here if hairpin else 0.0

    # What follows is asked only by the above

    def _admit(self, packet: Packet, now: float) -> float | Drop:
        """The firewall's half of `forward`: nothing is rewritten."""
        if self.kind.blocks:
            # Hosts behind one box reach each other all the same.
            return 0.0 if packet.via is self else _BLOCKED
        if not self.kind.filtering or packet.via is self:
            return 0.0
        mapping = (self._by_key or {}).get(packet.dst)
        if mapping is None or mapping.expires <= now or not self._allowed(mapping, packet.src, now):
            self.filtered += 1
            return _FILTERED
        if self.kind.refresh_inbound:
            mapping.expires = now + self.kind.lifetime
        return 0.0

    def _key(self, src: Address, dst: Address) -> Key | Address:
        match self.kind.mapping:
            case Scope.ENDPOINT_INDEPENDENT:
                return src
            case Scope.ADDRESS:
                return (src, dst[0])
            case _:
                return (src, dst)

    def _allowed(self, mapping: Mapping, src: Address, now: float) -> bool:
        peers = mapping.peers
        if peers is None:
            return False
        peer: Peer = src if self.kind.filtering is Scope.ADDRESS_AND_PORT else src[0]
        until = peers.get(peer)
        if until is None or until <= now:
            return False
        if self.kind.refresh_inbound:
            peers[peer] = now + self.kind.lifetime
        return True

    def _make(self, key: Key | Address, src: Address, now: float) -> Mapping | Drop:
        if self._by_key is None or self._by_port is None:
            self._by_key, self._by_port = {}, {}
        old = self._by_key.get(key)
        if old is not None:
            self._forget(old)
        if len(self._by_key) >= min(self._sweep_at, self.kind.most):
            if now < self._full_until:
                return _FULL
            for mapping in [mapping for mapping in self._by_key.values() if mapping.expires <= now]:
                self._forget(mapping)
            self._sweep_at = max(SMALLEST_SWEEP, 2 * len(self._by_key))
            if len(self._by_key) >= self.kind.most:
                # Nothing can die before this, so a flood of packets does not make a flood of searches.
                self._full_until = min(mapping.expires for mapping in self._by_key.values())
                return _FULL
        if not self.kind.translates:
            mapping = Mapping(key, src, src)
        else:
            mapping = Mapping(key, src, (self.public_ip, self._free_port(src[1], now)))
            self._by_port[mapping.external[1]] = mapping
        self._by_key[key] = mapping
        self.made += 1
        return mapping

    def _free_port(self, wanted: int, now: float) -> int:
        by_port = self._by_port or {}
        match self.kind.ports:
            case "preserving":
                port = max(wanted, FIRST_PORT)
            case "sequential":
                port = self._next_port
            case _:
                port = self._rng.randint(FIRST_PORT, LAST_PORT)
        while (taken := by_port.get(port)) is not None:
            if taken.expires <= now:
                self._forget(taken)
                break
            # There is a free one: mappings are at most as many as ports.
            port = port + 1 if port < LAST_PORT else FIRST_PORT
        self._next_port = port + 1 if port < LAST_PORT else FIRST_PORT
        return port

    def _forget(self, mapping: Mapping) -> None:
        if self._by_key is None or self._by_port is None:
            return
        del self._by_key[mapping.key]
        if self.kind.translates:
            del self._by_port[mapping.external[1]]
        self.expired += 1


class Uplink:
    """What those inside a box have as uplink hop."""

    __slots__ = ("forward", "nat")

    def __init__(self, nat: Nat) -> None:
        self.nat = nat
        # The bound method itself: one call less for every packet.
        self.forward = nat.leave


class Gate:
    """What those inside a translator have as downlink hop: their addresses mean nothing outside of it."""

    __slots__ = ("nat",)

    def __init__(self, nat: Nat) -> None:
        self.nat = nat

    def forward(self, packet: Packet, now: float) -> float | Drop:
        """Let in what the translator let in, or what comes from beside."""
        return 0.0 if packet.via is self.nat else _UNREACHABLE


def place_behind(
    network: Network,
    kind: str | NatKind,
    inside_ips: Sequence[str],
    public_ip: str,
    rng: Random,
    *,
    carrier: Nat | None = None,
) -> Nat:
    """Put hosts behind a box of that kind, and give the box next to them.

    Inside addresses are unique over the whole network. The hosts' hops so far stay: uplinks before those of the
    box, downlinks after them. For the kinds that translate, `public_ip` is the address the box is given outside,
    for the others it means nothing. With `carrier` (the box that `make_carrier` or an earlier call's `.outer` gave)
    the new box stands behind that one, and `public_ip` means nothing either; a chain such as "cgnat" makes its
    outer box otherwise. Ports that a kind draws at random come from `rng`.
    """
    wanted = kind_named(kind)
    if carrier is None and wanted.behind is not None:
        carrier = make_carrier(network, wanted.behind, public_ip, rng)
    if carrier is not None:
        if not wanted.translates:
            raise BadScenario(f"NAT kind {wanted.name!r} cannot stand behind another box: it translates nothing")
        if not carrier.kind.translates:
            raise BadScenario(f"NAT kind {carrier.kind.name!r} cannot be a carrier's: it translates nothing")
        public_ip = network.carrier_ip()
    nat = Nat(network, wanted, public_ip, rng)
    up, gate = Uplink(nat), Gate(nat)
    above: tuple[Uplink, ...] = ()
    if wanted.translates:
        _own(network, nat)
    if carrier is not None:
        nat.outer = carrier
        carrier.add_inside(public_ip)
        box = network.host(public_ip)
        box.downlink = (Gate(carrier), *box.downlink)
        above = (Uplink(carrier),)
        for outer in _boxes_beyond(carrier):
            above = (*above, Uplink(outer))
    for ip in inside_ips:
        nat.add_inside(ip)
        if wanted.open:
            continue
        host = network.host(ip)
        host.uplink = (*host.uplink, up, *above)
        host.downlink = (gate if wanted.translates else nat, *host.downlink)
    return nat


def make_carrier(network: Network, kind: str | NatKind, public_ip: str, rng: Random) -> Nat:
    """Make a box with nobody behind it yet, for `place_behind(…, carrier=…)` to put many homes behind."""
    nat = Nat(network, kind_named(kind), public_ip, rng)
    if not nat.kind.translates or nat.kind.behind is not None:
        alone = [name for name, known in KINDS.items() if known.translates and known.behind is None]
        raise BadScenario(f"NAT kind {nat.kind.name!r} cannot be a carrier's: expected one of {', '.join(alone)}")
    _own(network, nat)
    return nat


def _own(network: Network, nat: Nat) -> None:
    box = network.host(nat.public_ip)
    if any(isinstance(hop, Nat) for hop in box.downlink):
        raise BadScenario(f"address {nat.public_ip} belongs to another translator already")
    box.downlink = (*box.downlink, nat)


def _boxes_beyond(nat: Nat) -> list[Nat]:
    boxes = []
    while nat.outer is not None:
        nat = nat.outer
        boxes.append(nat)
    return boxes
