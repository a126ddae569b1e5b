"""What a relay decides: whose reservations and circuits it takes, which two ends belong together, when one is over.

Decides quotas, the loop guard, overload, and what a circuit may carry before it must be renewed. Refuses to know
streams and links: whoever owns the seats ties streams together. It originates nothing: every answer is shorter than
what was asked, and the only relays to go on to are those its owner knows as relays.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from dht.identity import PublicKey
from node.protocols.circuit import MAX_RELAYS, Granted, Join, Refused, RelayRefusal, Reserve, Role
from node.protocols.relaying_shares import Flow, Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """What a relay gives. Each names the attack it bounds."""

    circuits: int = 128
    """Circuits at once, a quarter of them for those with a reservation. Bounds memory: two windows of a stream each at
    most, of ends that keep to theirs 2 MiB."""
    per_peer: int = 8
    """Circuits of one peer, joined halfway or whole: one peer cannot take them all. UNSOURCED"""
    per_prefix: int = 32
    """Circuits of one /24 or /48: nor can one network under many keys. UNSOURCED: a carrier's NAT has many homes"""
    half_joined: int = 64
    """Ends that wait for their other end: bounds what JOINs of circuits that never come to be hold. UNSOURCED"""
    half_joined_seconds: float = 12.0
    """How long one waits. The two ends come within a second, or a search of the second for its path. UNSOURCED"""
    joins_a_minute: float = 60.0
    """JOINs and RESERVEs of one peer: bounds the work strangers cause. UNSOURCED"""
    total_rate: float = 32 * 1_048_576.0
    """Bytes a second that all circuits carry: what the owner's line is asked for. UNSOURCED"""
    peer_rate: float = 16 * 1_048_576.0
    """Bytes a second of all circuits of one peer. UNSOURCED"""
    circuit_rate: float = 8 * 1_048_576.0
    """Bytes a second of one circuit, both directions. UNSOURCED"""
    least_share: float = 65_536.0
    """Bytes a second that each circuit which wants them keeps: one more is refused as OVERLOADED rather than taking
    them from those that stand. UNSOURCED"""
    allowance: int = 4 * 1_073_741_824
    """Bytes of one circuit before a reservation of one of its ends is renewed. Bounds what a forgotten one costs."""
    idle_seconds: float = 120.0
    """Ends ask each other for a sign of life every 10 s: a circuit without is dead at both ends."""
    reservations: int = 1024
    """Kept at once: bounds memory. UNSOURCED"""
    reservation_seconds: int = 1800
    """How long one holds. UNSOURCED: libp2p's circuit v2 has an hour"""


LN2: Final = 0.6931471805599453
HALF_LIFE: Final = 2.0
"""Seconds after which what a circuit carried counts half in what it wants. UNSOURCED"""


@dataclass(slots=True, eq=False)
class Seat:
    """One end that has joined."""

    circuit: bytes
    peer: PublicKey
    prefix: bytes
    role: Role
    since: float
    path: tuple[PublicKey, ...] = ()
    partner: Seat | None = None
    through: CarriedCircuit | None = None


@dataclass(slots=True, eq=False)
class CarriedCircuit:
    """Two ends tied together."""

    circuit: bytes
    peers: tuple[PublicKey, PublicKey]
    """The peers on both sides; a relay may be one of them."""
    flows: tuple[Flow, Flow]
    since: float
    last: float
    """When it last carried something."""
    left: int
    carried: int = 0
    recent: float = 0.0
    ended: bool = False

    def wants(self, now: float) -> float:
        """Bytes a second that it has carried lately."""
        return self.recent * float(0.5 ** ((now - self.last) / HALF_LIFE)) * LN2 / HALF_LIFE


@dataclass(slots=True)
class _Peer:
    """What is known of a peer that asks."""

    circuits: int = 0
    tokens: float = 0.0
    seen: float = 0.0
    reserved_until: float = 0.0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class RelayCounters:
    """What a relay has done."""

    circuits: int
    half_joined: int
    reservations: int
    load: int
    carried_circuits: int
    carried_bytes: int
    refusals: dict[str, int] = field(default_factory=dict)


class Relaying:
    """The decisions of one relay."""

    def __init__(self, own: PublicKey, now: float, limits: RelayLimits | None = None) -> None:
        self.limits = limits or RelayLimits()
        self._own = own
        self.shares = Shares(self.limits.total_rate, self.limits.peer_rate, now)
        self._half: OrderedDict[tuple[bytes, Role], Seat] = OrderedDict()
        self._carried: dict[bytes, CarriedCircuit] = {}
        self._peers: OrderedDict[PublicKey, _Peer] = OrderedDict()
        self._prefixes: Counter[bytes] = Counter()
        self._refusals: Counter[RelayRefusal] = Counter()
        self._carried_circuits = self._carried_bytes = 0

    # What is asked of it

    def reserve(self, peer: PublicKey, wish: Reserve, now: float, *, willing: bool) -> Granted | Refused:
        """Keep room for a peer, or say why not. Renewed by asking again, which also renews what its circuits carry."""
        if not willing:
            return self._refuse(RelayRefusal.NOT_WILLING)
        known = self._peer(peer, now)
        if not self._admits(known, now):
            return self._refuse(RelayRefusal.RATE_LIMITED, 60)
        if known.reserved_until <= now and self._reserved(now) >= self.limits.reservations:
            return self._refuse(RelayRefusal.FULL, 300)
        if known.reserved_until <= now and (reason := self._overloaded(now)) is not None:
            return self._refuse(reason, 60)
        limits = self.limits
        known.reserved_until = now + limits.reservation_seconds
        known.reserved = min(wish.circuits, limits.per_peer)
        rate = int(min(limits.circuit_rate, wish.rate or limits.circuit_rate))
        for circuit in self._carried.values():
            if peer in circuit.peers:
                circuit.left = limits.allowance
        return Granted(limits.reservation_seconds, known.reserved, rate, limits.allowance, self.load(now))

    def join(self, peer: PublicKey, prefix: bytes, join: Join, now: float, *, willing: bool) -> Seat | Refused:
        """Seat one end of a circuit, or say why not.

        A seat with a `partner` completes a circuit: call `tie`. One with a `path` is to be gone on from: join there on
        its behalf, then call `extend`. Any other waits for its partner: `half_joined_seconds`.
        """
        reason = self._why_not(peer, prefix, join, now, willing)
        if reason is not None:
            return self._refuse(reason, 60 if reason in _PASSING else 0)
        partner = self._half.pop((join.circuit, Role(1 - join.role)), None) if not join.path else None
        seat = Seat(join.circuit, peer, prefix, join.role, now, join.path, partner)
        self._peer(peer, now).circuits += 1
        self._prefixes[prefix] += 1
        if partner is None:
            self._half[join.circuit, join.role] = seat
        return seat

    def tie(self, seat: Seat, now: float) -> CarriedCircuit:
        """Make a circuit of a seat and its partner."""
        assert seat.partner is not None
        circuit = self._begin(seat.circuit, (seat.partner.peer, seat.peer), now)
        seat.through = seat.partner.through = circuit
        return circuit

    def extend(self, seat: Seat, now: float) -> CarriedCircuit:
        """The next relay has tied the circuit further on: carry between it and the seat."""
        self._half.pop((seat.circuit, seat.role), None)
        seat.through = self._begin(seat.circuit, (seat.peer, seat.path[0]), now)
        return seat.through

    def leave(self, seat: Seat) -> None:
        """An end has gone, or is given up; the circuit it was part of is over."""
        if self._half.get((seat.circuit, seat.role)) is seat:
            del self._half[seat.circuit, seat.role]
        if seat.through is not None:
            self._over(seat.through)
        known = self._peers.get(seat.peer)
        if known is not None:
            known.circuits = max(0, known.circuits - 1)
        self._prefixes[seat.prefix] -= 1
        if self._prefixes[seat.prefix] <= 0:
            del self._prefixes[seat.prefix]

    def refused(self, reason: RelayRefusal) -> Refused:
        """Count a refusal that the owner decided for."""
        return self._refuse(reason)

    # While a circuit stands

    def ask(self, circuit: CarriedCircuit, flow: Flow, size: int, now: float) -> bool:
        """Ask to carry `size` bytes. Whether at once; otherwise `shares.grant` will say."""
        circuit.recent = circuit.recent * 0.5 ** ((now - circuit.last) / HALF_LIFE) + size
        circuit.last = now
        circuit.carried += size
        circuit.left -= size
        self._carried_bytes += size
        return self.shares.ask(flow, size, now)

    def over(self, circuit: CarriedCircuit, now: float) -> RelayRefusal | None:
        """Why the circuit is to be ended now, or None."""
        if circuit.left <= 0:
            return RelayRefusal.USED_UP
        if now - circuit.last >= self.limits.idle_seconds:
            return RelayRefusal.IDLE
        return None

    def load(self, now: float) -> int:
        """How busy it is, 0 to 255: by circuits, or by what is left for one more, whichever is worse."""
        by_count = (len(self._carried) + len(self._half)) / self.limits.circuits
        by_rate = self._active(now) * self.limits.least_share / self.limits.total_rate
        return min(255, int(255 * max(by_count, by_rate)))

    def counters(self, now: float) -> RelayCounters:
        """What there is to know."""
        return RelayCounters(
            circuits=len(self._carried),
            half_joined=len(self._half),
            reservations=self._reserved(now),
            load=self.load(now),
            carried_circuits=self._carried_circuits,
            carried_bytes=self._carried_bytes,
            refusals={reason.name.lower().replace("_", "-"): count for reason, count in self._refusals.items()},
        )

    # Inner workings

    def _why_not(self, peer: PublicKey, prefix: bytes, join: Join, now: float, willing: bool) -> RelayRefusal | None:
        limits, known = self.limits, self._peer(peer, now)
        if not self._admits(known, now):
            return RelayRefusal.RATE_LIMITED
        if not willing:
            return RelayRefusal.NOT_WILLING
        if join.visited and join.visited[-1] != peer:
            return RelayRefusal.BAD_REQUEST  # Only the relay before us may speak for an end.
        relays = (*join.visited, self._own, *join.path)
        if len(set(relays)) < len(relays) or peer in (self._own, *join.path):
            return RelayRefusal.LOOP
        if len(join.path) > join.hops or len(join.visited) + 1 + join.hops > MAX_RELAYS:
            return RelayRefusal.HOP_LIMIT
        if (join.circuit, join.role) in self._half or join.circuit in self._carried:
            return RelayRefusal.TAKEN
        partner = self._half.get((join.circuit, Role(1 - join.role)))
        if partner is not None and (partner.peer == peer or partner.path):
            return RelayRefusal.TAKEN
        if known.circuits >= limits.per_peer or (prefix and self._prefixes[prefix] >= limits.per_prefix):
            return RelayRefusal.PEER_QUOTA
        if partner is not None:
            return None  # Its other end was let in already.
        if len(self._half) >= limits.half_joined:
            return RelayRefusal.FULL
        reserved = known.reserved_until > now and known.circuits < known.reserved
        return self._overloaded(now, reserved=reserved)

    def _overloaded(self, now: float, *, reserved: bool = False) -> RelayRefusal | None:
        places = self.limits.circuits
        if len(self._carried) + len(self._half) >= (places if reserved else places - places // 4):
            return RelayRefusal.FULL
        if (self._active(now) + 1) * self.limits.least_share > self.limits.total_rate:
            return RelayRefusal.OVERLOADED
        return None

    def _active(self, now: float) -> int:
        return sum(circuit.wants(now) > self.limits.least_share / 2 for circuit in self._carried.values())

    def _begin(self, name: bytes, peers: tuple[PublicKey, PublicKey], now: float) -> CarriedCircuit:
        limits = self.limits
        flows = self.shares.flows(limits.circuit_rate, peers, now)
        circuit = CarriedCircuit(name, peers, flows, now, now, limits.allowance)
        self._carried[name] = circuit
        self._carried_circuits += 1
        return circuit

    def _over(self, circuit: CarriedCircuit) -> None:
        if not circuit.ended:
            circuit.ended = True
            self.shares.leave(circuit.flows, circuit.peers)
            del self._carried[circuit.circuit]

    def _refuse(self, reason: RelayRefusal, retry_after: int = 0) -> Refused:
        self._refusals[reason] += 1
        return Refused(reason, retry_after)

    def _reserved(self, now: float) -> int:
        return sum(known.reserved_until > now for known in self._peers.values())

    def _peer(self, peer: PublicKey, now: float) -> _Peer:
        known = self._peers.get(peer)
        if known is None:
            known = self._peers[peer] = _Peer(tokens=self.limits.joins_a_minute, seen=now)
            self._forget_idle(now)
        self._peers.move_to_end(peer)
        return known

    def _forget_idle(self, now: float) -> None:
        # Two at least for each new one, so that they never become more than are busy, or were seen lately.
        for peer in list(self._peers)[: min(4, len(self._peers) - 1)]:
            known = self._peers[peer]
            if known.circuits or known.reserved_until > now or now - known.seen < 60:
                self._peers.move_to_end(peer)
            else:
                del self._peers[peer]

    def _admits(self, known: _Peer, now: float) -> bool:
        rate = self.limits.joins_a_minute
        known.tokens = min(rate, known.tokens + (now - known.seen) * rate / 60)
        known.seen = now
        if known.tokens < 1:
            return False
        known.tokens -= 1
        return True


_PASSING: Final = frozenset({RelayRefusal.OVERLOADED, RelayRefusal.FULL, RelayRefusal.RATE_LIMITED})
"""What may be otherwise in a minute."""
