"""Write tokens and rate limits: what keeps strangers from using this node against others or itself."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from functools import lru_cache
from random import Random
from typing import Final

from dht.constants import TOKEN_BYTES
from dht.contact import Address
from dht.identity import address_prefix, is_exempt

_SECRET_BYTES: Final = 32


class Tokens:
    """Proof that an address is its sender's own: a keyed hash of it that only who receives there can show (BEP 5).

    Two secrets: the current one makes tokens, it and the one before are taken, so a token lives one to two rotations.
    """

    def __init__(self, rng: Random, rotation: float, now: float) -> None:
        self._rng = rng
        self._rotation = rotation
        self._current = rng.randbytes(_SECRET_BYTES)
        self._previous = rng.randbytes(_SECRET_BYTES)
        self._rotates = now + rotation

    def make(self, key: bytes, address: Address, now: float) -> bytes:
        """The token for the node `key` at `address`."""
        if now >= self._rotates:
            # After a long silence the one before is out of date as well.
            late = now >= self._rotates + self._rotation
            self._previous = self._rng.randbytes(_SECRET_BYTES) if late else self._current
            self._current = self._rng.randbytes(_SECRET_BYTES)
            # On the old beat: a secret that turned late would be taken for longer than two rotations.
            self._rotates = (now if late else self._rotates) + self._rotation
        return _token(self._current, key, address)

    def judge(self, token: bytes, key: bytes, address: Address, now: float) -> tuple[bytes, bool]:
        """Return the token to give now, and whether `token` is one we gave this node at this address lately."""
        current = self.make(key, address, now)
        if len(token) != TOKEN_BYTES:
            return current, False
        if hmac.compare_digest(token, current):
            return current, True
        return current, hmac.compare_digest(token, _token(self._previous, key, address))


def _token(secret: bytes, key: bytes, address: Address) -> bytes:
    return hashlib.blake2b(
        key + address[1].to_bytes(2, "big") + address[0].encode(), digest_size=TOKEN_BYTES, key=secret
    ).digest()


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

    def _sweep(self, now: float) -> None:
        for source in [source for source, full_at in self._sources.items() if full_at <= now]:
            del self._sources[source]
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._sources))


def source_of(address: Address) -> object:
    """What rate limits count: the IPv4 address or the IPv6 /64, which is one line's; on private and loopback addresses,
    where many nodes share one, the endpoint."""
    ip = address[0]
    if is_exempt(ip):
        return address
    return _line_of(ip) if ":" in ip else ip


@lru_cache(maxsize=4096)  # UNSOURCED: about 1 MB; parsing costs more than the rest of a limit
def _line_of(ip: str) -> bytes:
    return ipaddress.ip_address(ip).packed[:8]


def prefix_of(address: Address) -> bytes:
    """What quotas count: the /24 or /48; nothing for private addresses."""
    return b"" if is_exempt(address[0]) else address_prefix(address[0])
