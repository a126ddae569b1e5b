"""What only a simulation can see: the whole network at one instant, and when something became true of it.

Decides how tables, copies and look-ups are judged against the truth. Asks no node anything and draws nothing at
random, so that a run with and one without it are the same run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from typing import Final

from dht.contact import Address
from dht.engine import DhtEngine
from dht.events import FindNodeDone, Mode
from dht.records import SignedRecord
from simulations.peers import Peer
from simulations.world import World

LOOK_EVERY: Final = 0.25
"""Virtual seconds between two looks of `until`, unless a script says otherwise. UNSOURCED: a quarter of a second is
less than one look-up takes."""


def engines(peers: Iterable[Peer]) -> Iterator[DhtEngine]:
    """The real engines of those of the peers that live; attackers and other kinds of node are passed over."""
    for peer in peers:
        if peer.alive and isinstance(peer.engine, DhtEngine):
            yield peer.engine


def dead_contacts(world: World) -> float:
    """The share of all contacts in the tables of the living that lead to nobody; 0 where there are no contacts."""
    alive = _living_contacts(world)
    dead = total = 0
    for engine in engines(world.living):
        for contact in engine.contacts():
            total += 1
            dead += (contact.key, contact.address) not in alive
    return dead / total if total else 0.0


def living_contacts(world: World, peer: Peer) -> int:
    """How many of the contacts in a peer's table live."""
    alive = _living_contacts(world)
    return sum((contact.key, contact.address) in alive for engine in engines([peer]) for contact in engine.contacts())


def copies(world: World, records: Iterable[SignedRecord]) -> list[int]:
    """How many living nodes hold each of the records, just as it is."""
    held = Counter(raw for engine in engines(world.living) for raw, _ in engine.records())
    return [held[record.raw] for record in records]


def recall(world: World, target: bytes, done: FindNodeDone, by: Peer) -> float:
    """The share of the servers nearest to `target` that a look-up of `by` named: 1 when it ended with just those that
    are the nearest in truth."""
    place, count = int.from_bytes(target, "big"), len(done.closest)
    others = (engine for engine in engines(world.living) if engine.mode is Mode.SERVER and engine.own_key != _key(by))
    nearest = nsmallest(count, (engine.own_id ^ place for engine in others))
    named = {contact.long_id ^ place for contact in done.closest}
    return sum(distance in named for distance in nearest) / len(nearest) if nearest else 0.0


def traffic(world: World) -> int:
    """Bytes of datagrams sent so far by all hosts together."""
    return sum(host.bytes_sent for host in world.network.hosts.values())


async def until(world: World, condition: Callable[[], bool], *, within: float, every: float = LOOK_EVERY) -> float:
    """Let time pass until `condition()` holds. Gives the virtual seconds it took; NaN, which meets no expectation, if
    it never did."""
    began = world.elapsed
    while not condition():
        if world.elapsed - began >= within:
            return math.nan
        await world.run(seconds=every)
    return world.elapsed - began


def _key(peer: Peer) -> bytes:
    return bytes(peer.engine.own_key) if peer.alive else b""


def _living_contacts(world: World) -> set[tuple[bytes, Address]]:
    # Never iterated over: the order of a set of bytes differs from one start of Python to the next.
    return {
        (peer.engine.own_key, (peer.public_ip, peer.address[1]))
        for peer in world.living
        if isinstance(peer.engine, DhtEngine)
    }
