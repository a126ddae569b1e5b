"""Where attackers' ids lie: keys and addresses ground so that node ids come to rest near a place.

An id is computed from address and key (21 bits of the address, the rest of the key; `dht.identity.node_id`), so ids
near a place cost addresses. Decides what an attacker with many networks, one network or one address can have. Refuses
to know what is done with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from random import Random
from typing import Final

from dht.constants import BEP42_PREFIX_BITS, ID_BITS, KEY_BYTES
from dht.contact import Address
from dht.identity import NodeKey, bep42_prefix, is_exempt, node_id
from simulations.errors import BadScenario

FIRST_PORT: Final = 4000
"""Port of the first attacker at an address; the next has the next one. UNSOURCED"""

IDS_AN_ADDRESS: Final = 8
"""Places an address owns: BEP 42's r has three bits."""


@dataclass(frozen=True, slots=True)
class Seat:
    """An address and a key, and with them an id."""

    key: NodeKey
    address: Address

    @property
    def long_id(self) -> int:
        """The node id that follows."""
        return node_id(self.key.public, self.address[0])


def everywhere(place: bytes, count: int, bits: int, rng: Random) -> list[Seat]:
    """Seats of an attacker who has its pick of all networks: one in a /24, each sharing `bits` (0-21) bits with
    `place`. The costliest attack: an address in `2^bits / 8` serves."""
    if not 0 <= bits <= BEP42_PREFIX_BITS:
        raise BadScenario(f"bits = {bits!r}: an address decides {BEP42_PREFIX_BITS} bits of an id, so expected 0 to 21")
    wanted = int.from_bytes(place, "big") >> (ID_BITS - bits)
    drop = BEP42_PREFIX_BITS - bits
    seats: list[Seat] = []
    for ip in _addresses(rng):
        fitting = [r for r in range(IDS_AN_ADDRESS) if bep42_prefix(ip, r) >> drop == wanted]
        if fitting:
            seats.append(Seat(_key_with(fitting[0], ip, rng), (ip, FIRST_PORT)))
        if len(seats) == count:
            break
    return seats


def one_network(place: bytes, count: int, rng: Random) -> list[Seat]:
    """Seats of an attacker who has one /24: of its 2,048 ids the `count` nearest to `place`."""
    network = next(_addresses(rng)).rpartition(".")[0]
    number = int.from_bytes(place, "big") >> (ID_BITS - BEP42_PREFIX_BITS)
    ids = [
        (bep42_prefix(ip, r) ^ number, ip, r)
        for ip in (f"{network}.{last}" for last in range(1, 255))
        for r in range(IDS_AN_ADDRESS)
    ]
    if count > len(ids):
        raise BadScenario(f"{count} ids of one /24: it has {len(ids)}")
    chosen = nsmallest(count, ids)
    return [Seat(_key_with(r, ip, rng), (ip, FIRST_PORT + r)) for _, ip, r in chosen]


def one_address(place: bytes, count: int, rng: Random) -> list[Seat]:
    """Seats of an attacker who has one address and grinds keys: all of them in its eight places, nearest first."""
    ip = next(_addresses(rng))
    number = int.from_bytes(place, "big") >> (ID_BITS - BEP42_PREFIX_BITS)
    order = sorted(range(IDS_AN_ADDRESS), key=lambda r: bep42_prefix(ip, r) ^ number)
    return [Seat(_key_with(order[index % IDS_AN_ADDRESS], ip, rng), (ip, FIRST_PORT + index)) for index in range(count)]


def _addresses(rng: Random) -> Iterator[str]:
    """Addresses of ordinary hosts, no two of one /24, none of 11.0.0.0/8, where a world's peers live."""
    seen: set[int] = set()
    while True:
        number = rng.randrange(1 << 24, 224 << 24)
        ip = f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        if number >> 24 == 11 or number & 255 in (0, 255) or number >> 8 in seen or is_exempt(ip):
            continue
        seen.add(number >> 8)
        yield ip


def _key_with(r: int, ip: str, rng: Random) -> NodeKey:
    """A key whose hash ends in the three bits `r`, so that its id at `ip` lies where those say."""
    wanted = bep42_prefix(ip, r)
    while True:
        key = NodeKey.from_secret(rng.randbytes(KEY_BYTES))
        if node_id(key.public, ip) >> (ID_BITS - BEP42_PREFIX_BITS) == wanted:
            return key
