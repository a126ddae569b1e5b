"""Keys and ids: who a peer is (Ed25519 identity), which node speaks (X25519 node key), where a node stands (id).

This file refuses to know about files, records and messages.

One strict Ed25519 rule holds everywhere: a point of small order or with a non-canonical encoding is refused before
verifying, because implementations disagree on those (RFC 8032 section 5.1.3 asks for canonical decoding; "Taming the
many EdDSAs", Chalkias et al. 2020, lists who accepts what). Otherwise one node would hold a record true that another
refuses.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import google_crc32c
from nacl import bindings
from nacl.exceptions import CryptoError

from dht.constants import (
    BEP42_MASK_V4,
    BEP42_MASK_V6,
    BEP42_PREFIX_BITS,
    ID_BITS,
    ID_BYTES,
    KEY_BYTES,
    SIGNATURE_BYTES,
)
from dht.errors import BadPeerId, LocalError, WeakKey

_ALPHABET: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"
"""z-base-32 (Zooko Wilcox-O'Hearn, "human-oriented base-32 encoding", 2002)."""

_VALUES: Final = {char: value for value, char in enumerate(_ALPHABET)}

TEXT_LENGTH: Final = 52
"""Characters of a peer id: ceil(256 / 5)."""

_LOOKALIKES: Final = {"l": "1", "0": "o", "2": "z", "v": "u"}
"""The characters z-base-32 leaves out, and what a reader of handwriting most likely saw."""

_P: Final = 2**255 - 19
"""The field of Curve25519 (RFC 7748 section 4.1)."""

_SMALL_ORDER_Y: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)
"""y coordinates of the eight points of small order (Chalkias et al. 2020, table 1)."""

EXEMPT_NETWORKS: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
"""Networks free of the address rules: IPv4 as BEP 42 lists them, IPv6 their counterparts (RFC 4291 section 2.5.3 and
2.5.6, RFC 4193). Python's `is_private` will not do: what it covers has changed between releases, so that two nodes
would compute two ids for one contact, and it covers Teredo (2001::/32), whose owners could then choose any id."""

_EXEMPT: Final = {
    version: tuple(
        (int(network.network_address), int(network.netmask))
        for network in EXEMPT_NETWORKS
        if network.version == version
    )
    for version in (4, 6)
}
"""The same as numbers: address and mask, by version."""

_LOWER_255: Final = (1 << 255) - 1


def check_strict_point(raw: bytes) -> None:
    """Raise `WeakKey` unless `raw` (32 bytes) is a canonical encoding with a y that is not of small order."""
    if len(raw) != KEY_BYTES:
        raise WeakKey(f"an Ed25519 key has 32 bytes, not {len(raw)}")
    y = int.from_bytes(raw, "little") & _LOWER_255
    if y >= _P:
        raise WeakKey("the encoding of the point is not canonical")
    if y in _SMALL_ORDER_Y:
        raise WeakKey("the point is of small order")


def verify_strict(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `signature` (64 bytes) over `message` is by `public` (32 bytes), under the strict rule."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        check_strict_point(public)
        check_strict_point(signature[:32])
        bindings.crypto_sign_open(signature + message, public)
    except (WeakKey, CryptoError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """An identity: the 32 bytes of an Ed25519 public key. Names a peer for ever."""

    raw: bytes

    def __post_init__(self) -> None:
        check_strict_point(self.raw)

    @property
    def text(self) -> str:
        """The peer id: z-base-32 of the key, 52 characters, as pkarr writes it."""
        return to_zbase32(self.raw)

    @property
    def short(self) -> str:
        """The first eight characters, for people's eyes only."""
        return self.text[:8]

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Return whether `signature` over `message` is ours, under the strict rule."""
        return verify_strict(self.raw, signature, message)

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Read a peer id as a person typed it. Raises `BadPeerId` with what is wrong and where."""
        cleaned = text.strip().lower().removeprefix("rookery:").removeprefix("pk:")
        for position, char in enumerate(cleaned):
            if char not in _VALUES:
                guess = _LOOKALIKES.get(char)
                hint = f"; did you mean {guess!r}?" if guess else ""
                raise BadPeerId(text, f"character {position + 1} is {char!r}, which peer ids do not use{hint}")
        if len(cleaned) != TEXT_LENGTH:
            missing = TEXT_LENGTH - len(cleaned)
            fault = f"{missing} too few" if missing > 0 else f"{-missing} too many"
            raise BadPeerId(text, f"{text!r} has {len(cleaned)} characters, {fault}")
        raw = from_zbase32(cleaned)
        if raw is None:
            raise BadPeerId(text, f"its last character {cleaned[-1]!r} cannot end a peer id; it is probably mistyped")
        # A mistyped key is a point of the prime-order group in one case of sixteen: worth asking of a typed text.
        if not bindings.crypto_core_ed25519_is_valid_point(raw):
            raise BadPeerId(text, f"{text!r} is not a valid key; a character is probably mistyped")
        return cls(raw)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """The private half of an identity: a 32-byte Ed25519 seed (RFC 8032)."""

    seed: bytes
    public: PublicKey
    _secret: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> IdentityKey:
        """Derive the key pair from 32 secret bytes."""
        if len(seed) != KEY_BYTES:
            raise LocalError(f"an identity seed has 32 bytes, not {len(seed)}")
        public, secret = bindings.crypto_sign_seed_keypair(seed)
        return cls(seed, PublicKey(public), secret)

    @classmethod
    def generate(cls) -> IdentityKey:
        """Make a new identity from the operating system's randomness."""
        return cls.from_seed(bindings.randombytes(KEY_BYTES))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over `message`."""
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def curve25519_secret(self) -> bytes:
        """The X25519 secret of this identity, to open what was sealed to it."""
        return bindings.crypto_sign_ed25519_sk_to_curve25519(self._secret)

    def __repr__(self) -> str:
        return f"IdentityKey({self.public.short}…)"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """The X25519 key pair (RFC 7748) under which a node seals its datagrams."""

    secret: bytes
    public: bytes

    @classmethod
    def from_secret(cls, secret: bytes) -> NodeKey:
        """Derive the pair from 32 secret bytes."""
        if len(secret) != KEY_BYTES:
            raise LocalError(f"a node secret has 32 bytes, not {len(secret)}")
        return cls(secret, bindings.crypto_scalarmult_base(secret))

    @classmethod
    def generate(cls) -> NodeKey:
        """Make a new node key from the operating system's randomness."""
        return cls.from_secret(bindings.randombytes(KEY_BYTES))

    def __repr__(self) -> str:
        return f"NodeKey({self.public[:4].hex()}…)"


def is_canonical_x25519(key: bytes) -> bool:
    """Whether `key` is the one encoding of its X25519 point: below the field's prime, top bit clear.

    RFC 7748 section 5 has implementations ignore the top bit and reduce: one secret would own several keys, and ids.
    """
    return int.from_bytes(key, "little") < _P


def to_zbase32(raw: bytes) -> str:
    """Write 32 bytes as 52 characters of z-base-32."""
    bits = int.from_bytes(raw, "big") << (TEXT_LENGTH * 5 - len(raw) * 8)
    return "".join(_ALPHABET[(bits >> shift) & 31] for shift in range((TEXT_LENGTH - 1) * 5, -1, -5))


def from_zbase32(text: str) -> bytes | None:
    """Read 52 characters of z-base-32, or None when the four spare bits are not zero (two texts for one key)."""
    bits = 0
    for char in text:
        bits = bits << 5 | _VALUES[char]
    spare = TEXT_LENGTH * 5 - KEY_BYTES * 8
    if bits & ((1 << spare) - 1):
        return None
    return (bits >> spare).to_bytes(KEY_BYTES, "big")


def hash_place(domain: bytes, *parts: bytes) -> bytes:
    """Return the 20-byte place of `parts` under `domain` (at most 16 bytes): BLAKE2b-160, personalised, each part
    length-prefixed, so that no two lists of parts read the same."""
    state = hashlib.blake2b(digest_size=ID_BYTES, person=domain)
    for part in parts:
        state.update(len(part).to_bytes(2, "big"))
        state.update(part)
    return state.digest()


@lru_cache(maxsize=4096)  # UNSOURCED: about 1 MB; the addresses of a busy node's neighbourhood
def is_exempt(ip: str) -> bool:
    """Whether `ip` is loopback, private or link-local, and so free of the address rules (BEP 42, "exempt")."""
    address = ipaddress.ip_address(ip)
    number = int(address)
    return any(number & mask == network for network, mask in _EXEMPT[address.version])


@lru_cache(maxsize=4096)  # UNSOURCED: about 1 MB; parsing costs as much as a token
def packed_ip(ip: str) -> bytes:
    """The 4 or 16 bytes of an address written as text."""
    return ipaddress.ip_address(ip).packed


def bep42_prefix(ip: str, r: int) -> int:
    """Return the 21 bits that BEP 42 gives a public `ip` and `r` in 0..7."""
    packed = packed_ip(ip)
    if len(packed) == 4:
        masked = (int.from_bytes(packed, "big") & BEP42_MASK_V4) | (r & 7) << 29
        digest = google_crc32c.value(masked.to_bytes(4, "big"))
    else:
        masked = (int.from_bytes(packed[:8], "big") & BEP42_MASK_V6) | (r & 7) << 61
        digest = google_crc32c.value(masked.to_bytes(8, "big"))
    return int(digest) >> (32 - BEP42_PREFIX_BITS)


def node_id(key: bytes, ip: str) -> int:
    """Return the id of the node with public `key` (32 bytes) at `ip`: 21 bits from the masked address and r, the
    rest from the hash of the key; r is the hash's last three bits, as the last byte of a BEP 42 id holds it.

    Both halves are computed, never claimed, so an id always proves its key and fits its address: one IPv4 address
    (or IPv6 /64) owns eight places of 2^-21 of the space, however many keys it grinds.
    """
    digest = int.from_bytes(hashlib.blake2b(key, digest_size=ID_BYTES, person=b"rookery/node-id").digest(), "big")
    if is_exempt(ip):
        return digest
    rest = ID_BITS - BEP42_PREFIX_BITS
    return bep42_prefix(ip, digest & 7) << rest | digest & ((1 << rest) - 1)


def address_prefix(ip: str) -> bytes:
    """The /24 of an IPv4 or /48 of an IPv6 address, as bytes: what subnet limits count."""
    packed = packed_ip(ip)
    return packed[:3] if len(packed) == 4 else packed[:6]
