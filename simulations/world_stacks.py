"""Peers with IPv4, with IPv6, or with both, in one world: no datagram crosses from one to the other.

Decides which addresses a peer has. Refuses to know what its engine makes of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dht.engine import DhtEngine
from simulations.cluster import PORT
from simulations.errors import BadScenario
from simulations.hops import Address, Drop
from simulations.peers import Peer
from simulations.world import World

STACKS = ("v4", "v6", "dual")


def address_v6(index: int) -> Address:
    """Give peer `index` an IPv6 address of its own, in a /48 of its own for the first 65,536.

    2a0e::/16 is global unicast space. BEP 42 takes few bits of each byte (0x0103070f1f3f7fff), fewest of the first: the
    number is spread over the last four bytes of the /64, so that ids of neighbours do not lie in clumps.
    """
    if not 0 <= index < 1 << 16:
        raise BadScenario(f"peer {index} has no IPv6 address: at most {1 << 16} have")
    mixed = index * 40_503 & 0xFFFF  # Knuth's multiplicative hash: a bijection of 16 bits.
    return (f"2a0e:{mixed >> 8 & 0xFF:x}:{index:x}:{mixed:x}::1", PORT)


def with_stack(world: World, stack: str) -> Callable[[Peer], Any]:
    """What `World.add(node=…)` takes to make peers of one of `STACKS`."""
    if stack not in STACKS:
        raise BadScenario(f"{stack!r} is no stack: expected one of {', '.join(STACKS)}")

    def make(peer: Peer) -> DhtEngine:
        if stack == "v6":
            peer.address = address_v6(peer.index)
            peer.public_ip = peer.address[0]
        elif stack == "dual":
            peer.second = address_v6(peer.index)
        engine = world.make_engine(peer, DhtEngine)
        own = (peer.address,) if peer.second is None else (peer.address, peer.second)
        engine.set_own_addresses(own, world.queue.now + peer.clock_offset)
        return engine

    return make


def keep_apart(world: World) -> None:
    """From now on, lose what goes from an address of one family to one of the other."""
    world.network.add_fault(
        lambda src, dst, _size, _now: Drop("no-route") if (":" in src[0]) != (":" in dst[0]) else None
    )
