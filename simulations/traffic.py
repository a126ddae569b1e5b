"""A meter on a node: what its datagrams were for, when it was awake, and what that cost its radio.

Decides to which purpose a request, its repetition and its reply count, and what a wake-up is. Purposes are known where
a request begins, so each exchange is charged to who asked; the sum over all nodes is the traffic of the network.
Refuses to know what scenarios conclude. The metered engine does, byte for byte, what the real one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from dht.contact import Address, Contact
from dht.dialback import DialBackRound
from dht.engine import DhtEngine
from dht.maintenance import Check, Revival
from dht.meeting import Forward, SignalOperation
from dht.meeting_homes import HomeKeeper
from dht.operation_walk import QuietWalk
from dht.publish import PutWalk
from dht.publish_many import PutBatch
from dht.repair import CatchUp, Compare
from dht.requests import Owner, Pending
from dht.walks import FindNodeWalk, GetWalk, JoinWalk, PingOperation
from dht.wire import Message, Request
from simulations.peers import Peer
from simulations.world import World

PURPOSES: Final[dict[type, str]] = {
    JoinWalk: "join",
    QuietWalk: "upkeep",
    Check: "upkeep",
    Revival: "upkeep",
    PingOperation: "upkeep",
    DialBackRound: "reachability",
    HomeKeeper: "homes",
    SignalOperation: "signals",
    Forward: "signals",
    Compare: "repair",
    CatchUp: "repair",
    PutWalk: "publish",
    PutBatch: "publish",
    GetWalk: "read",
    FindNodeWalk: "look-up",
}
"""What each operation of the engine is for."""

QUIET: Final = 2.0
"""Seconds without a datagram or a timer after which the next one is a wake-up. UNSOURCED: a processor sleeps sooner,
but what comes within two seconds is one matter. It must be below the shortest beat of the engine (5 s), else a node
that is never left alone would seem never to be woken."""

TAIL_SECONDS: Final = 12.5
"""Seconds that a 3G radio stays at high power after a transfer (Balasubramanian, Balasubramanian and Venkataramani,
"Energy Consumption in Mobile Phones", IMC 2009, table 4)."""
RAMP_JOULES: Final = 3.5
"""Energy to get there, ibid."""
TAIL_WATTS: Final = 0.62
"""Power during the tail, ibid."""
JOULES_A_KILOBYTE: Final = 0.025
"""Energy of the transfer itself, ibid."""


class Tally:
    """What one peer's datagrams were, over all of its lives."""

    def __init__(self) -> None:
        self.bytes: Counter[str] = Counter()
        """By purpose: requests sent, those sent again, and the replies that came."""
        self.datagrams: Counter[str] = Counter()
        self.wakeups = 0
        """Datagrams and timers after a quiet time of `QUIET`."""
        self.ramps = 0
        """Datagrams that found the radio at rest."""
        self.tail = 0.0
        """Seconds the radio spent at high power after datagrams."""
        self.all_bytes = 0
        self.all_datagrams = 0
        """Sent and received, requests of others included."""
        self._awake = float("-inf")
        self._active = float("-inf")

    def charge(self, purpose: str, size: int) -> None:
        """A datagram for one of our own purposes."""
        self.bytes[purpose] += size
        self.datagrams[purpose] += 1

    def wake(self, now: float) -> None:
        """The engine was called."""
        self.wakeups += now - self._awake > QUIET
        self._awake = now

    def air(self, size: int, now: float) -> None:
        """A datagram went out or came in."""
        gap = now - self._active
        self.ramps += gap > TAIL_SECONDS
        self.tail += min(gap, TAIL_SECONDS) if self._active > 0 else 0.0
        self._active = now
        self.all_bytes += size
        self.all_datagrams += 1

    def tail_by(self, now: float) -> float:
        """The tail so far, with what has passed of the one that runs: so a span's share is never more than the span."""
        return self.tail + (min(now - self._active, TAIL_SECONDS) if self._active > 0 else 0.0)

    @property
    def joules(self) -> float:
        """What a 3G radio would have spent."""
        return self.ramps * RAMP_JOULES + self.tail * TAIL_WATTS + self.all_bytes / 1000 * JOULES_A_KILOBYTE


class _Charged:
    """Stands before the operation that asked, and charges what comes back to its purpose."""

    __slots__ = ("_engine", "_owner", "_purpose")

    def __init__(self, engine: Metered, owner: Owner, purpose: str) -> None:
        self._engine = engine
        self._owner = owner
        self._purpose = purpose

    def on_reply(self, pending: Pending, message: Message, now: float) -> None:
        """The asked node answered."""
        self._engine.tally.charge(self._purpose, self._engine.arriving)
        self._owner.on_reply(pending, message, now)

    def on_slow(self, pending: Pending, now: float) -> None:
        """It was sent once more, perhaps."""
        if pending.resend:
            self._engine.tally.charge(self._purpose, len(pending.data))
        self._owner.on_slow(pending, now)

    def on_failure(self, pending: Pending, now: float) -> None:
        """It did not answer."""
        self._owner.on_failure(pending, now)


class Metered(DhtEngine):
    """The real engine, with a `Tally` of what it does; `meter` starts it."""

    tally: Tally
    arriving = 0
    """Bytes of the datagram that is being taken in."""

    def meter(self, tally: Tally) -> None:
        """Charge what happens from now on, which should be everything."""
        self.tally = tally
        send = self.request

        def request(
            contact: Contact, owner: Owner, kind: type[Request], fields: tuple[object, ...], now: float, **how: Any
        ) -> int:
            purpose = PURPOSES.get(type(owner), "other")
            before = len(self._exchange._out)
            rid = send(contact, _Charged(self, owner, purpose), kind, fields, now, **how)
            for data, _ in self._exchange._out[before:]:
                tally.charge(purpose, len(data))
            return rid

        self.request = request

    def receive_datagram(self, data: bytes, addr: Address, now: float) -> None:
        """Take in a datagram."""
        self.arriving = len(data)
        self.tally.wake(now)
        self.tally.air(len(data), now)
        super().receive_datagram(data, addr, now)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Address]]:
        """What is to be sent."""
        sent = super().datagrams_to_send(now)
        for data, _ in sent:
            self.tally.air(len(data), now)
        return sent

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self.tally.wake(now)
        super().handle_timer(now)


def metered(world: World, tallies: dict[int, Tally]) -> Callable[[Peer], Metered]:
    """What `World.add(node=…)` takes to meter peers; their tallies appear in `tallies`, by the peers' numbers."""

    def make(peer: Peer) -> Metered:
        engine = world.make_engine(peer, Metered)
        engine.meter(tallies.setdefault(peer.index, Tally()))
        return engine

    return make
