"""How a world's nodes seal their datagrams: with real boxes, or with an equal-sized stand-in that costs a checksum.

Decides what a stand-in must keep: every size to the byte, which datagrams open and which do not, and the draws from
a node's randomness. So a run differs under the two seals only in the bytes behind the header: the same datagrams go the
same ways at the same times. Refuses to know messages, engines and networks.

A stand-in proves nothing to anybody outside a simulation: whoever knows the world's secret can seal under any key.
Attackers of a scenario seal with keys they own, as they would have to in earnest.
"""

from __future__ import annotations

from random import Random
from typing import Final, Protocol
from zlib import crc32

from dht.constants import HEADER_BYTES, KEY_BYTES, MAC_BYTES, MAX_DATAGRAM, NONCE_BYTES, PROTOCOL_VERSION, TAG_BYTES
from dht.errors import BoxError
from dht.identity import NodeKey, is_canonical_x25519
from dht.sealing import PUBLIC_NETWORK, BoxKeys, Sealer, Sealing, network_tag

_KEY_AT: Final = 1 + TAG_BYTES
_NONCE_AT: Final = _KEY_AT + KEY_BYTES
_MESSAGE_AT: Final = HEADER_BYTES + MAC_BYTES
_NONCE_PREFIX: Final = NONCE_BYTES - 8

PAIRS_WAITING: Final = 1 << 18
"""Keys of pairs kept for the second of the two to need them: about 60 MB. One forgotten is computed twice. UNSOURCED"""

_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""The canonical keys that a scalar multiplication refuses (Bernstein, "Curve25519", section 3;
https://cr.yp.to/ecdh.html#validate)."""


class Seals(Protocol):
    """The seals of one world."""

    def sealer(self, node_key: NodeKey, rng: Random) -> Sealing:
        """Who seals for a node: the `sealer` of `DhtEngine`, to be made right before it from the same randomness."""
        ...


class RealSeals:
    """Real boxes. A pair's key is computed by the first of the two that needs it and handed to the second.

    Both would compute the same one (X25519 is symmetric), so every byte is what two nodes on two machines would send.
    """

    def __init__(self, *, network_key: bytes = b"", waiting: int = PAIRS_WAITING) -> None:
        self._network_key = network_key
        self._most = waiting
        self._waiting: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def sealer(self, node_key: NodeKey, rng: Random) -> Sealing:
        """Who seals for a node."""
        return _PairSealer(self, node_key, rng, network_key=self._network_key)

    def taken(self, pair: bytes) -> bytes | None:
        """The key of a pair, if one side has computed it; then it is kept no longer."""
        return self._waiting.pop(pair, None)

    def keep(self, pair: bytes, box_key: bytes) -> None:
        """Keep a pair's key for the other side, forgetting the oldest when there are too many."""
        self._waiting[pair] = box_key
        if len(self._waiting) > self._most:
            del self._waiting[next(iter(self._waiting))]


class _PairSealer(Sealer):
    """A `Sealer` that looks for a key among those its world has computed already."""

    def __init__(self, seals: RealSeals, node_key: NodeKey, rng: Random, *, network_key: bytes) -> None:
        super().__init__(node_key, rng, network_key=network_key)
        self._seals = seals
        self._public = node_key.public

    def derive(self, key: bytes) -> bytes:
        """The key shared with the node `key`."""
        pair = key + self._public if key < self._public else self._public + key
        box_key = self._seals.taken(pair)
        if box_key is None:
            box_key = super().derive(key)
            self._seals.keep(pair, box_key)
        return box_key


class CheapSeals:
    """Checksums in place of boxes. `secret` is any 32 bits of the world's own."""

    def __init__(self, secret: int, *, network_key: bytes = b"", name: bytes = PUBLIC_NETWORK) -> None:
        self.secret = secret & 0xFFFFFFFF
        self.prefix = bytes((PROTOCOL_VERSION,)) + network_tag(network_key, name)
        self.keys: dict[bytes, bytes] = {}
        """Every node key met, once: what thousands of nodes remember of each other is one object."""

    def sealer(self, node_key: NodeKey, rng: Random) -> Sealing:
        """Who seals for a node."""
        return CheapSealer(self, node_key, rng)


class CheapSealer:
    """Stands in for `dht.sealing.Sealer`: same layout and sizes, the message in clear behind a CRC-32.

    The sum covers the world's secret, the receiver's key, header, nonce and message: what was damaged, sent to another
    node than it was sealed for, or sealed in another world does not open. The sum fills four of the box's 16 bytes.
    """

    __slots__ = (
        "_count",
        "_header",
        "_high_prefix",
        "_known",
        "_low_prefix",
        "_own",
        "_own_sum",
        "_seals",
        "keep",
        "prefix",
    )

    def __init__(self, seals: CheapSeals, node_key: NodeKey, rng: Random) -> None:
        self.prefix = seals.prefix
        self._seals = seals
        own = node_key.public
        self._own = seals.keys.setdefault(own, own)
        self._own_sum = crc32(own, seals.secret)
        self._header = seals.prefix + own
        # As `Sealer` draws it: both leave a node's randomness in the same state.
        prefix = bytearray(rng.randbytes(_NONCE_PREFIX))
        prefix[0] &= 0x7F
        self._low_prefix = self._header + bytes(prefix)
        prefix[0] |= 0x80
        self._high_prefix = self._header + bytes(prefix)
        self._count = 0
        self._known = BoxKeys()
        self.keep = self._known.keep

    def knows(self, key: bytes) -> bool:
        """Whether a `Sealer` would have the key of the pair in its cache."""
        return key in self._known

    def seal(self, key: bytes, message: bytes) -> bytes:
        """Return the datagram that carries `message` to the node `key` (32 bytes). Raises `BoxError` for a weak key."""
        if key not in self._known:
            self._check(key)
            key = self._seals.keys.setdefault(key, key)
            self._known.add(key, key)
        self._count += 1
        head = (self._high_prefix if self._own > key else self._low_prefix) + self._count.to_bytes(8, "big")
        total = crc32(message, crc32(head, crc32(key, self._seals.secret)))
        return b"%b%b%b" % (head, total.to_bytes(MAC_BYTES, "big"), message)

    def open(self, datagram: bytes) -> tuple[bytes, bytes]:
        """Return the sender's node key and the message. Raises `BoxError`; the caller has checked the prefix."""
        if not _MESSAGE_AT < len(datagram) <= MAX_DATAGRAM:
            raise BoxError(f"a datagram of {len(datagram)} bytes")
        key = datagram[_KEY_AT:_NONCE_AT]
        if (datagram[_NONCE_AT] >= 0x80) is not (key > self._own) or key == self._own:
            raise BoxError("a datagram of ours, sent back")
        known = self._known.get(key)
        if known is None:
            self._check(key)
        message = datagram[_MESSAGE_AT:]
        total = crc32(message, crc32(datagram[:HEADER_BYTES], self._own_sum))
        if total != int.from_bytes(datagram[HEADER_BYTES:_MESSAGE_AT], "big"):
            raise BoxError(f"the box of {key[:4].hex()}… does not open")
        key = known or self._seals.keys.setdefault(key, key)
        self._known.heard(key, key)
        return key, message

    def _check(self, key: bytes) -> None:
        if not is_canonical_x25519(key):
            raise BoxError(f"the node key {key[:4].hex()}… is not canonical")
        if key in _SMALL_ORDER:
            raise BoxError(f"the node key {key[:4].hex()}… is of small order")
