"""Write tokens and rate limits: what keeps strangers from using this node against others or itself."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections import OrderedDict
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


class RateLimiter:
    """A token bucket for each source, as `source_of` tells them apart.

    At most `capacity` sources are remembered (about 200 bytes each); the longest silent one is forgotten first, which
    gives it a full bucket again, so capacity is far above what can be silent within a second.
    """

    def __init__(self, rate: float, burst: float, *, capacity: int = 8192) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._sources: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def allow(self, source: object, now: float) -> bool:
        """Take one from the bucket of `source`; False when it is empty."""
        level, at = self._sources.get(source, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._rate)
        allowed = level >= 1.0
        self._sources[source] = (level - 1.0 if allowed else level, now)
        self._sources.move_to_end(source)
        if len(self._sources) > self._capacity:
            self._sources.popitem(last=False)
        return allowed


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
