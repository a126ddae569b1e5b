"""Nodes that mean harm, built on the real engine: each behaves until its plot says that the attack is on.

Decides what a dishonest answer is. Refuses to know who is attacked, and how many attackers there are: a scenario adds
them with `world.add(20, group="sybil", node=attacker(world, Plot(), Denying))`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from dht.constants import KEY_BYTES, MAX_CONTACTS
from dht.contact import Address, Contact, pack_contacts
from dht.engine import DhtEngine
from dht.identity import NodeKey
from dht.records import Refusal
from dht.responder import AnyTable, Asking, Responder
from dht.routing import Table
from dht.wire import FindNode, Get, Message, Nodes, Put, Stored, Value
from simulations.peers import Peer
from simulations.seats import Seat
from simulations.world import World

HEAD: Final = 48
"""Message bytes of a NODES, VALUE or STORED without contacts and records: numbers, id, token, heads of lists."""

SLOWNESS: Final = 2.0
"""Seconds by which a slow node delays whatever it sends. UNSOURCED: above any patience for a peer once measured, and
below the longest one (`DhtConfig.max_timeout`)."""


@dataclass(slots=True)
class Plot:
    """What the attackers of one group share."""

    attacking: bool = False
    """Whether they have dropped the mask; until then they are honest nodes, so that others come to know them."""
    named: list[Contact] = field(default_factory=list)
    """Whom they name in place of true neighbours: one another (`attacker` adds each that starts), or inventions."""
    place: int | None = None
    """The one place under attack; None for every place."""

    def against(self, place: bytes) -> bool:
        """Whether a question for this place gets a dishonest answer."""
        return self.attacking and (self.place is None or self.place == int.from_bytes(place, "big"))


class Honest(Responder):
    """The real responder of an engine, as the base of dishonest ones: it shares all of its state."""

    def __init__(self, engine: DhtEngine, plot: Plot) -> None:
        real = engine._responder
        super().__init__(engine.config, real._store, real._tokens, real._verdicts, engine.emit, real._changed)
        self.plot = plot

    def named(self, target: bytes, asking: Asking, room: int, count: int = MAX_CONTACTS) -> tuple[bytes, bytes]:
        """The nearest to `target` of those the plot names, packed."""
        number = int.from_bytes(target, "big")
        others = (contact for contact in self.plot.named if contact.key != asking.key)
        return pack_contacts(sorted(others, key=lambda contact: contact.long_id ^ number)[:count], room)


class SilentResponder(Honest):
    """Answers nobody."""

    def admit(self, address: Address, now: float) -> bool:
        """Let no request in."""
        return not self.plot.attacking and super().admit(address, now)


class WrongResponder(Honest):
    """Names those of the plot in place of true neighbours; has no record; says that it stored what it did not."""

    def on_find_node(self, request: FindNode, asking: Asking, table: AnyTable) -> Message:
        """FIND_NODE → NODES that lead into the plot."""
        if not self.plot.against(request.target):
            return super().on_find_node(request, asking, table)
        return Nodes(request.rid, asking.token, *self.named(request.target, asking, asking.room - HEAD))

    def on_get(self, request: Get, asking: Asking, table: AnyTable, now: float) -> Message:
        """GET → VALUE without a record, and contacts that lead into the plot."""
        if not self.plot.against(request.place):
            return super().on_get(request, asking, table, now)
        return Value(request.rid, asking.token, [], 0, *self.named(request.place, asking, asking.room - HEAD))

    def on_put(self, request: Put, asking: Asking, table: Table, own_id: int, now: float) -> Stored:
        """PUT → STORED, which is a lie."""
        if not self.plot.attacking:
            return super().on_put(request, asking, table, own_id, now)
        return Stored(request.rid, asking.token, Refusal.NONE, 0, b"", b"")


class DenyingResponder(Honest):
    """Stores, acknowledges, names true neighbours, and never gives a record back."""

    def on_get(self, request: Get, asking: Asking, table: AnyTable, now: float) -> Message:
        """GET → VALUE without the record."""
        if not self.plot.against(request.place):
            return super().on_get(request, asking, table, now)
        found = self._nearest(table, request.place, asking, MAX_CONTACTS)
        return Value(request.rid, asking.token, [], 0, *pack_contacts(found, asking.room - HEAD))


class StaleResponder(Honest):
    """Gives the first version of a record that it ever held, however many newer ones it acknowledged."""

    def __init__(self, engine: DhtEngine, plot: Plot) -> None:
        super().__init__(engine, plot)
        self._first: dict[tuple[bytes, bytes], bytes] = {}

    def _judge_put(self, request: Put, asking: Asking, now: float) -> tuple[Refusal, bytes, int]:
        refusal, place, seq = super()._judge_put(request, asking, now)
        if refusal is Refusal.NONE:
            for record in self._store.get(place, now):
                self._first.setdefault((place, record.owner), record.raw)
        return refusal, place, seq

    def on_get(self, request: Get, asking: Asking, table: AnyTable, now: float) -> Message:
        """GET → VALUE with the oldest there was."""
        old = [raw for (place, _), raw in self._first.items() if place == request.place]
        if not old or not self.plot.against(request.place):
            return super().on_get(request, asking, table, now)
        if len(old[0]) + HEAD > asking.room:
            old = []
        found = self._nearest(table, request.place, asking, MAX_CONTACTS)
        room = asking.room - HEAD - sum(len(raw) + 3 for raw in old[:1])
        return Value(request.rid, asking.token, old[:1], len(old[:1]), *pack_contacts(found, room))


class Attacker(DhtEngine):
    """Base: the real engine with another responder, which `conspire` puts in."""

    responder: type[Honest] = Honest
    plot: Plot

    def conspire(self, plot: Plot) -> None:
        """Join a plot, before anything is received."""
        self.plot = plot
        self.answer_by(self.responder(self, plot))

    def answer_by(self, responder: Honest) -> None:
        """Let another responder answer from now on."""
        self._responder = self._dispatch._responder = responder


class Silent(Attacker):
    """Keeps its place in others' tables and then answers nobody."""

    responder = SilentResponder


class WrongNeighbours(Attacker):
    """Leads look-ups astray."""

    responder = WrongResponder


class Denying(Attacker):
    """Acknowledges a record and hides it."""

    responder = DenyingResponder


class Stale(Attacker):
    """Holds on to the first version of a record."""

    responder = StaleResponder


class Slow(Attacker):
    """Does everything right and everything late."""

    _held: deque[tuple[float, tuple[bytes, Address]]]
    late: bool

    def conspire(self, plot: Plot) -> None:
        """Join a plot."""
        super().conspire(plot)
        self._held = deque()
        self.late = True

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """What has waited long enough."""
        sent = super().datagrams_to_send(now)
        if self.late and self.plot.attacking:
            self._held.extend((now + SLOWNESS, one) for one in sent)
            sent = []
        while self._held and self._held[0][0] <= now:
            sent.append(self._held.popleft()[1])
        return sent

    def next_timer(self) -> float | None:
        """The engine's, or when the next datagram may leave."""
        timer = super().next_timer()
        held = self._held[0][0] if self._held else math.inf
        return held if timer is None else min(timer, held)


class Turncoat(Slow):
    """Behaves in one way after another, as the scenario says, so that all of them meet the same network.

    Until told otherwise it is one that will be stale: only who was so from the first has first versions to give.
    """

    responder = StaleResponder

    def conspire(self, plot: Plot) -> None:
        """Join a plot."""
        super().conspire(plot)
        self.late = False

    def turn(self, kind: type[Attacker]) -> None:
        """Behave like that kind of attacker from now on."""
        self.late = issubclass(kind, Slow)
        if kind.responder is not type(self._responder):
            self.answer_by(kind.responder(self, self.plot))


ATTACKERS: Final[dict[str, type[Attacker]]] = {
    "silent": Silent,
    "slow": Slow,
    "wrong-neighbours": WrongNeighbours,
    "bogus-neighbours": WrongNeighbours,
    "denying": Denying,
    "stale": Stale,
}
"""Every attacker by the name under which scenarios offer it; `bogus-neighbours` is for a plot with `invented`."""


def attacker(
    world: World, plot: Plot, kind: type[Attacker], *, seats: Iterable[Seat] = (), known: bool = True
) -> Callable[[Peer], Any]:
    """What `World.add(node=…)` takes to make attackers of one plot.

    `seats`: addresses and keys that they take, one each, in place of those the world would give them; a world with
    bandwidth gives such a seat no access link. `known`: whether the plot names them.
    """
    free = iter(seats)

    def make(peer: Peer) -> Attacker:
        seat = next(free, None)
        if seat is not None:
            peer.address = seat.address
            peer.public_ip = seat.address[0]
        engine = world.make_engine(peer, kind, key=seat.key if seat is not None else None)
        engine.conspire(plot)
        if known:
            plot.named.append(peer_contact(engine, peer))
        return engine

    return make


def peer_contact(engine: DhtEngine, peer: Peer) -> Contact:
    """A node as others will know it."""
    return Contact(engine.own_key, (peer.public_ip, peer.address[1]))


def invented(count: int, rng: Random) -> list[Contact]:
    """Contacts that do not exist: keys nobody owns at addresses where nobody lives."""
    return [
        Contact(
            NodeKey.from_secret(rng.randbytes(KEY_BYTES)).public,
            (f"12.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}", 4000),
        )
        for _ in range(count)
    ]
