"""Write tokens, waiting times and rate limits: what keeps strangers from using this node against others or itself."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from math import ceil
from random import Random
from typing import Final

from dht.constants import TOKEN_BYTES
from dht.contact import Address
from dht.identity import address_prefix, is_exempt, packed_ip

_SECRET_BYTES: Final = 32

_TICK: Final = 4.0
"""Seconds of a token's stamp, one byte: it comes round after 1,024, more than a token can live. UNSOURCED"""


class Tokens:
    """Proof that an address is its sender's own: a keyed hash of it that only who receives there can show (BEP 5).

    Two secrets: the current one makes tokens, it and the one before are taken, so a token lives one to two rotations.

        stamp 1 ‖ keyed hash 7 of stamp, node key, port and IP

    The stamp says since when its holder has been asking here: a token shown in time is replaced by one of the same
    stamp. So who has to wait needs no entry here, and comes back with the proof that it has waited.
    """

    def __init__(self, rng: Random, rotation: float, now: float) -> None:
        self._rng = rng
        self._rotation = rotation
        self._current = rng.randbytes(_SECRET_BYTES)
        self._previous = rng.randbytes(_SECRET_BYTES)
        self._rotates = now + rotation

    def make(self, key: bytes, address: Address, now: float) -> bytes:
        """A new token for the node `key` at `address`."""
        self._turn(now)
        return _token(self._current, _stamp(now), key, address)

    def _turn(self, now: float) -> None:
        if now >= self._rotates:
            # After a long silence the one before is out of date as well.
            late = now >= self._rotates + self._rotation
            self._previous = self._rng.randbytes(_SECRET_BYTES) if late else self._current
            self._current = self._rng.randbytes(_SECRET_BYTES)
            # On the old beat: a secret that turned late would be taken for longer than two rotations.
            self._rotates = (now if late else self._rotates) + self._rotation

    def judge(self, token: bytes, key: bytes, address: Address, now: float) -> tuple[bytes, bool]:
        """Return the token to give now, and whether `token` is one we gave this node at this address lately."""
        self._turn(now)
        proven = False
        if len(token) == TOKEN_BYTES:
            current = _token(self._current, token[0], key, address)
            proven = hmac.compare_digest(token, current) or hmac.compare_digest(
                token, _token(self._previous, token[0], key, address)
            )
            if proven and self.age(token, now) < self._rotation:
                return current, True
        return _token(self._current, _stamp(now), key, address), proven

    @staticmethod
    def age(token: bytes, now: float) -> float:
        """For how many seconds the holder of a token that is valid has been asking here, to within 4."""
        return (_stamp(now) - token[0]) % 256 * _TICK

    def left(self, token: bytes, wait: float, now: float) -> int:
        """In how many seconds the holder of a valid token will have asked for `wait` seconds; 0 when it has."""
        age = self.age(token, now)
        return 0 if age >= wait else ceil(wait - age + _TICK)


def _stamp(now: float) -> int:
    return int(now / _TICK) % 256


def _token(secret: bytes, stamp: int, key: bytes, address: Address) -> bytes:
    first = bytes((stamp,))
    rest = hashlib.blake2b(
        first + key + address[1].to_bytes(2, "big") + address[0].encode(), digest_size=TOKEN_BYTES - 1, key=secret
    )
    return first + rest.digest()


CROWDED: Final = 0.5
"""Part of what there is room for above which anybody waits: a topic of few members is never slow. UNSOURCED"""


def waiting_time(*, base: float, topic: float, store: float, network: float, near: int) -> float:
    """Seconds that an announcement waits.

    `topic`, `store`, `network`: how full the topic's place is, the whole store, and the share of it that the
    announcer's /24 or /48 may have, from 0 to 1; the fullest counts. `near`: how many of that network are at the place.
    `base`: seconds for a network's first announcement at a full place; each further one waits twice as long.

    DISC-NG (Król and others, 2024), which discv5's topics follow, multiplies occupancy by the similarity of address and
    topic as well, with occupancy to the tenth power; here it is a straight line, for a full place makes room by itself
    (`store.Store`), and similarity doubles, since what must stay short is the time of those who come alone.
    """
    crowd = (min(max(topic, store, network), 1.0) - CROWDED) / (1.0 - CROWDED)
    return base * crowd * 2.0**near if crowd > 0 else 0.0


_ROUNDING: Final = 1e-5
"""Seconds granted for what adding up Unix times as floats rounds away (2^-22 s each)."""

_FIRST_SWEEP: Final = 16
"""Sources remembered before those whose bucket has filled up again are looked for. UNSOURCED"""


class RateLimiter:
    """A token bucket for each source, as `source_of` tells them apart.

    Kept as the time at which the bucket will be full again (the virtual scheduling form of ITU-T I.371), one number a
    source; who is past that time need not be remembered at all. At most `capacity` sources are, about 130 bytes each;
    of more, the longest silent is forgotten, which gives it a full bucket, so capacity is far above what a second
    brings.
    """

    def __init__(self, rate: float, burst: float, *, capacity: int = 8192) -> None:
        self._interval = 1.0 / rate
        self._tolerance = (burst - 1.0) / rate + _ROUNDING
        self._capacity = capacity
        self._sources: dict[object, float] = {}
        self._sweep_at = _FIRST_SWEEP

    def __len__(self) -> int:
        return len(self._sources)

    def allow(self, source: object, now: float) -> bool:
        """Take one from the bucket of `source`; False when it is empty."""
        sources = self._sources
        full_at = sources.pop(source, now)
        full_at = max(full_at, now)
        allowed = full_at - now <= self._tolerance
        sources[source] = full_at + self._interval if allowed else full_at
        if len(sources) > self._sweep_at:
            self._sweep(now)
        if len(sources) > self._capacity:
            del sources[next(iter(sources))]
        return allowed

    def spent(self, source: object, now: float) -> bool:
        """Whether the bucket of `source` is empty; takes nothing."""
        return self._sources.get(source, now) - now > self._tolerance

    def _sweep(self, now: float) -> None:
        for source in [source for source, full_at in self._sources.items() if full_at <= now]:
            del self._sources[source]
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._sources))


class SourceLimits:
    """A rate for each address, one for each /24 or /48, and where asked for one for all together.

    What one address may not have takes nothing from its network's share, and what a network may not, nothing from that
    of all: who floods uses up its own.
    """

    def __init__(self, each: float, burst: float, network: float, everybody: float | None = None) -> None:
        """Rates in requests a second; of `network` and `everybody` twice that at once."""
        self._each = RateLimiter(each, burst)
        self._networks = RateLimiter(network, 2 * network)
        self._all = RateLimiter(everybody, 2 * everybody) if everybody is not None else None

    def allow(self, address: Address, now: float, *, apart: bool = False) -> bool:
        """Take one for `address`; False when it, its network, or everybody has none left. `apart`: it does not count
        among everybody."""
        everybody = None if apart else self._all
        # What costs least comes first: who makes addresses up, each to be parsed, has soon used up what all have.
        if everybody is not None and everybody.spent(None, now):
            return False
        if not self._each.allow(source_of(address), now):
            return False
        network = prefix_of(address)
        if network and not self._networks.allow(network, now):
            return False
        return everybody is None or everybody.allow(None, now)

    def spent(self, address: Address, now: float) -> bool:
        """Whether an address, or its network, has none left now; takes nothing."""
        return self._each.spent(source_of(address), now) or self._networks.spent(prefix_of(address), now)


def source_of(address: Address) -> object:
    """What rate limits count: the IPv4 address or the IPv6 /64, which is one line's; on private and loopback addresses,
    where many nodes share one, the endpoint."""
    ip = address[0]
    if ":" in ip:
        ip = _on_same_line(ip)
    if is_exempt(ip):
        return address
    return packed_ip(ip)[:8] if ":" in ip else ip


def prefix_of(address: Address) -> bytes:
    """What quotas count: the /24 or /48; nothing for private addresses."""
    ip = address[0]
    return _network_of(_on_same_line(ip) if ":" in ip else ip)


def _on_same_line(ip: str) -> str:
    """An IPv6 address as the first one of its /64, where that can be told from its text, or as it is.

    Who owns a /64 comes from another address each time, and no cache of what is parsed helps against that: a datagram
    that is dropped costs 34 µs then, and 9 by text.
    """
    head, both, tail = ip.partition("::")
    if "." in ip or not head:
        return ip
    groups = head.split(":", 4)
    if len(groups) > 4:
        return ":".join(groups[:4]) + "::"
    if not both:
        return ip
    # What lies between stands for the groups that are not written, all of them zero.
    written = tail.count(":") + 1 if tail else 0
    return head + "::" if written <= 4 else ip


@lru_cache(maxsize=4096)  # UNSOURCED: about 1 MB; parsing costs more than the rest of a limit
def _network_of(ip: str) -> bytes:
    return b"" if is_exempt(ip) else address_prefix(ip)
