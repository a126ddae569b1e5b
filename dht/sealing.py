"""Opens and seals datagrams: one X25519 box for each pair of nodes, its key kept.

    version 1 ‖ network tag 4 ‖ sender node key 32 ‖ nonce 24 ‖ NaCl box(message)

The first bit of the nonce says which way a datagram goes: it is set when the sender's key is the greater one.
Both directions share a key, so without it a datagram could be sent back to where it came from and would open there.
This file knows no messages and no addresses.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Final, Protocol

from nacl import bindings
from nacl.exceptions import CryptoError

from dht.constants import HEADER_BYTES, KEY_BYTES, MAC_BYTES, MAX_DATAGRAM, NONCE_BYTES, PROTOCOL_VERSION, TAG_BYTES
from dht.errors import BoxError
from dht.identity import NodeKey, is_canonical_x25519

_KEY_AT: Final = 1 + TAG_BYTES
_NONCE_AT: Final = _KEY_AT + KEY_BYTES
_NONCE_PREFIX: Final = NONCE_BYTES - 8

CACHED_KEYS: Final = 4096
"""Box keys kept of those we wrote to or know, and as many of strangers: about 1 MB each. A missing one costs a scalar
multiplication (32 µs)."""

PUBLIC_NETWORK: Final = b"rookery/main"


def network_tag(network_key: bytes, name: bytes = PUBLIC_NETWORK) -> bytes:
    """The 4 bytes that tell a network from others; `network_key` is empty in a public one."""
    return hashlib.blake2b(name, digest_size=TAG_BYTES, key=network_key, person=b"rookery/tag").digest()


class Sealing(Protocol):
    """What an engine needs of whoever seals for it: `Sealer` in a node; a simulation may stand in something cheaper."""

    prefix: bytes
    """First five bytes of every datagram of this network: version and network tag."""

    def knows(self, key: bytes) -> bool:
        """Whether datagrams of the node `key` (32 bytes) opened before, so that the next one costs no key exchange."""
        ...

    def keep(self, key: bytes) -> None:
        """The node `key` is one of ours from now on: strangers do not push its box key out."""
        ...

    def seal(self, key: bytes, message: bytes) -> bytes:
        """Return the datagram that carries `message` to the node `key`. Raises `BoxError` for a weak key."""
        ...

    def open(self, datagram: bytes) -> tuple[bytes, bytes]:
        """Return the sender's node key and the message. Raises `BoxError`; the caller has checked the prefix."""
        ...


class BoxKeys:
    """Box keys by node key: those of whom we wrote to first or know, and apart from them those of strangers, who can
    come under as many keys as they like. Of either the first to go is who spoke longest ago.
    """

    __slots__ = ("_ours", "_strangers")

    def __init__(self) -> None:
        self._ours: dict[bytes, bytes] = {}
        self._strangers: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._ours) + len(self._strangers)

    def __contains__(self, key: bytes) -> bool:
        return key in self._ours or key in self._strangers

    def get(self, key: bytes) -> bytes | None:
        """The box key, if it is here."""
        return self._ours.get(key) or self._strangers.get(key)

    def add(self, key: bytes, box_key: bytes) -> None:
        """Of somebody we write to of our own accord."""
        self._ours[key] = box_key
        if len(self._ours) > CACHED_KEYS:
            del self._ours[next(iter(self._ours))]

    def heard(self, key: bytes, box_key: bytes) -> None:
        """A datagram of that node opened."""
        # To the end: the first in the dict is who spoke longest ago.
        if self._ours.pop(key, None) is not None:
            self._ours[key] = box_key
            return
        self._strangers.pop(key, None)
        self._strangers[key] = box_key
        if len(self._strangers) > CACHED_KEYS:
            del self._strangers[next(iter(self._strangers))]

    def keep(self, key: bytes) -> None:
        """That node is a stranger no more."""
        box_key = self._strangers.pop(key, None)
        if box_key is not None:
            self.add(key, box_key)


class Sealer:
    """Seals to and opens from other nodes under our node key."""

    def __init__(
        self, node_key: NodeKey, rng: Random, *, network_key: bytes = b"", name: bytes = PUBLIC_NETWORK
    ) -> None:
        self.prefix = bytes((PROTOCOL_VERSION,)) + network_tag(network_key, name)
        self._node_key = node_key
        self._own = node_key.public
        self._network_key = network_key
        self._header = self.prefix + node_key.public
        # A nonce must never come twice under a key: 127 random bits for this run, then a counter (a nonce need not be
        # secret, and drawing 192 random bits for each datagram costs as much as the box).
        prefix = bytearray(rng.randbytes(_NONCE_PREFIX))
        prefix[0] &= 0x7F
        self._low_prefix = bytes(prefix)
        prefix[0] |= 0x80
        self._high_prefix = bytes(prefix)
        self._count = 0
        self._keys = BoxKeys()
        self.keep = self._keys.keep

    def knows(self, key: bytes) -> bool:
        """Whether opening a datagram of the node `key` costs no scalar multiplication."""
        return key in self._keys

    def seal(self, key: bytes, message: bytes) -> bytes:
        """Return the datagram that carries `message` to the node `key` (32 bytes). Raises `BoxError` for a weak key."""
        box_key = self._keys.get(key)
        if box_key is None:
            box_key = self.derive(key)
            self._keys.add(key, box_key)
        self._count += 1
        prefix = self._high_prefix if self._own > key else self._low_prefix
        nonce = prefix + self._count.to_bytes(8, "big")
        return self._header + nonce + bindings.crypto_box_easy_afternm(message, nonce, box_key)

    def open(self, datagram: bytes) -> tuple[bytes, bytes]:
        """Return the sender's node key and the message. Raises `BoxError`; the caller has checked the prefix."""
        if not HEADER_BYTES + MAC_BYTES < len(datagram) <= MAX_DATAGRAM:
            raise BoxError(f"a datagram of {len(datagram)} bytes")
        key = datagram[_KEY_AT:_NONCE_AT]
        nonce = datagram[_NONCE_AT:HEADER_BYTES]
        if (nonce[0] >= 0x80) is not (key > self._own) or key == self._own:
            raise BoxError("a datagram of ours, sent back")
        box_key = self._keys.get(key) or self.derive(key)
        try:
            message = bindings.crypto_box_open_easy_afternm(datagram[HEADER_BYTES:], nonce, box_key)
        except (CryptoError, ValueError):
            raise BoxError(f"the box of {key[:4].hex()}… does not open") from None
        # Only now: whoever cannot seal cannot fill the cache either.
        self._keys.heard(key, box_key)
        return key, message

    def derive(self, key: bytes) -> bytes:
        """The key shared with the node `key` (32 bytes): a scalar multiplication. Raises `BoxError` for a weak key."""
        if not is_canonical_x25519(key):
            raise BoxError(f"the node key {key[:4].hex()}… is not canonical")
        try:
            shared = bindings.crypto_box_beforenm(key, self._node_key.secret)
        except (CryptoError, RuntimeError):
            raise BoxError(f"the node key {key[:4].hex()}… is of small order") from None
        if self._network_key:
            shared = hashlib.blake2b(shared, digest_size=32, key=self._network_key, person=b"rookery/box").digest()
        return shared
