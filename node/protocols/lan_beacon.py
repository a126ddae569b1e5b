"""What nodes of one local network tell each other: the bytes of an announcement and of a query, and of a TXT record.

Decides the formats, what is signed, and who can read it. Refuses to know when anything is sent and who is believed.

    datagram  = "rkl" ‖ version 1 ‖ sealed            (at most 512 bytes)
    TXT       = txtvers=1, a=<sealed, first 240 bytes>, b=<the rest>
    sealed    = nonce 24 ‖ NaCl secretbox(message)
    message   = 1 ‖ signature 64 ‖ announcement       (announcement: a msgpack array)
              | 2 ‖ hint 16                           (query; zeros: everybody)

The box's key is a hash of the network's secret, so that strangers cannot tell one private network from another, nor
from themselves a day ago: what they see is a nonce that is new each time, and noise. In the open main network the
secret is empty, and everybody has that key. A node that wants to be seen only by who knows it puts its identity into
the hash as well. The signature is the identity's, over all that is said and over the network: whoever has a
network's key can say nothing in another member's name.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from nacl import bindings
from nacl.exceptions import CryptoError

from dht.constants import KEY_BYTES, SIGNATURE_BYTES
from dht.contact import Contact, is_one_host
from dht.errors import BoxError, DecodeError, LocalError, WeakKey
from dht.identity import IdentityKey, PublicKey, is_canonical_x25519, packed_ip, verify_strict

MAGIC: Final = b"rkl\x01"
"""Three letters and the version of the format."""

SERVICE: Final = "_rookery._udp.local."
"""The service type (RFC 6763, section 7)."""

TXT_VERSION: Final = b"1"
"""Of the keys of the TXT record (`txtvers`, RFC 6763, section 6.7)."""

NONCE_BYTES: Final = 24
HINT_BYTES: Final = 16
MAC_BYTES: Final = 16

MAX_ADDRESSES: Final = 8
"""Of a node on one network: a few of each family, as IPv6 gives several."""

MAX_BEACON: Final = 512
"""Bytes of a datagram: an announcement with eight IPv6 addresses has 430."""

MAX_INTERVAL: Final = 3600
"""Seconds between two announcements."""

TXT_PIECE: Final = 240
"""Bytes of a value: a string of a TXT record has at most 255 with its name (RFC 6763, section 6.1)."""

FINGERPRINT_BYTES: Final = 32

_DOMAIN: Final = b"rookery/lan/1\0"
_ANNOUNCEMENT, _QUERY = 1, 2
_EVERYBODY: Final = bytes(HINT_BYTES)
_WHAT: Final = "local announcement"

_Ip = Annotated[bytes, Meta(min_length=4, max_length=16)]


class _Payload(msgspec.Struct, frozen=True, array_like=True):
    """The array on the wire. Fields may be appended, with a default, and never be moved."""

    identity: Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    node_key: Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    port: Annotated[int, Meta(ge=1, le=65535)]
    ips: Annotated[list[_Ip], Meta(max_length=MAX_ADDRESSES)]
    fingerprint: Annotated[bytes, Meta(max_length=FINGERPRINT_BYTES)]
    time: Annotated[int, Meta(ge=0, le=2**53)]
    interval: Annotated[int, Meta(ge=1, le=MAX_INTERVAL)]
    leaving: bool


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Payload).decode


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a node says of itself. Decoded ones were signed by the identity they name, and prove no more than that."""

    identity: PublicKey
    node_key: bytes
    """X25519: the box of its datagrams. It shows that an address is its own, by answering there."""
    port: int
    """UDP, of the DHT and of dials, at each of `ips`."""
    ips: tuple[str, ...]
    fingerprint: bytes
    """SHA-256 of the certificate under which it takes dials with no answer; empty when it takes none."""
    time: int
    """When it was said, Unix milliseconds: of two by one node the later one holds."""
    interval: int
    """Seconds within which the node says it again, unless that is lost."""
    leaving: bool = False
    """Whether it is about to be gone."""

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Where its DHT node is said to be."""
        return tuple(Contact(self.node_key, (ip, self.port)) for ip in self.ips)


@dataclass(frozen=True, slots=True)
class Query:
    """Somebody asks who is there."""

    nonce: bytes
    hint: bytes
    """Whom it looks for, blinded; zeros for everybody."""

    @property
    def for_all(self) -> bool:
        """Whether everybody is to answer."""
        return self.hint == _EVERYBODY

    def is_for(self, identity: PublicKey) -> bool:
        """Whether this very peer is looked for."""
        return self.hint == _hint(identity, self.nonce)


class LanKeys:
    """The keys of one network's announcements."""

    def __init__(self, network_secret: bytes) -> None:
        """`network_secret`: what the DHT mixes into its boxes, 32 bytes; empty in the open main network."""
        self._secret = network_secret
        self.network = self._derive(b"")
        """Readable by every member."""
        self._binding = hashlib.blake2b(b"", key=network_secret, digest_size=32, person=b"rookery/lan-net").digest()

    def of_peer(self, identity: PublicKey) -> bytes:
        """Readable by members who know this peer."""
        return self._derive(identity.raw)

    def signed(self, payload: bytes) -> bytes:
        """The bytes under an announcement's signature."""
        return _DOMAIN + self._binding + payload

    def _derive(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self._secret, digest_size=32, person=b"rookery/lan-box").digest()


def seal_announcement(
    said: Announcement, identity: IdentityKey, keys: LanKeys, rng: Random, *, known_only: bool = False
) -> bytes:
    """Sign and seal. `known_only`: for those who know our identity alone. Raises `LocalError` for what does not fit."""
    if len(said.ips) > MAX_ADDRESSES:
        raise LocalError(f"an announcement has at most {MAX_ADDRESSES} addresses, not {len(said.ips)}")
    if len(said.fingerprint) not in (0, FINGERPRINT_BYTES):
        raise LocalError(f"a fingerprint has {FINGERPRINT_BYTES} bytes, not {len(said.fingerprint)}")
    payload = _encode(
        _Payload(
            said.identity.raw,
            said.node_key,
            said.port,
            [packed_ip(ip) for ip in said.ips],
            said.fingerprint,
            said.time,
            said.interval,
            said.leaving,
        )
    )
    message = bytes((_ANNOUNCEMENT,)) + identity.sign(keys.signed(payload)) + payload
    return _seal(message, keys.of_peer(said.identity) if known_only else keys.network, rng)


def seal_query(peer: PublicKey | None, keys: LanKeys, rng: Random) -> bytes:
    """A question for one peer, or for everybody. Only who knows the peer can tell whom it is for."""
    nonce = rng.randbytes(NONCE_BYTES)
    hint = _EVERYBODY if peer is None else _hint(peer, nonce)
    return nonce + bindings.crypto_secretbox(bytes((_QUERY,)) + hint, nonce, keys.network)


def unseal(sealed: bytes, key: bytes) -> bytes:
    """Return the message inside. Raises `BoxError` when the key is another."""
    if len(sealed) < NONCE_BYTES + MAC_BYTES + 1:
        raise BoxError(f"{len(sealed)} bytes are too few")
    try:
        return bindings.crypto_secretbox_open(sealed[NONCE_BYTES:], sealed[:NONCE_BYTES], key)
    except (CryptoError, ValueError):
        raise BoxError("it does not open") from None


def decode_message(message: bytes, nonce: bytes, keys: LanKeys) -> Announcement | Query:
    """Read what was sealed under `nonce`, and check its signature. Raises `DecodeError`."""
    if not message:
        raise DecodeError(_WHAT, "it is empty")
    kind, rest = message[0], message[1:]
    if kind == _QUERY:
        if len(rest) != HINT_BYTES:
            raise DecodeError(_WHAT, f"a query of {len(rest)} bytes, expected {HINT_BYTES}")
        return Query(nonce, rest)
    if kind != _ANNOUNCEMENT:
        raise DecodeError(_WHAT, f"kind {kind}, known are {_ANNOUNCEMENT} and {_QUERY}")
    signature, payload = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
    said = _read(payload)
    if not verify_strict(said.identity.raw, signature, keys.signed(payload)):
        raise DecodeError(_WHAT, "its signature is not by the identity that it names, or for another network")
    return said


def to_datagram(sealed: bytes) -> bytes:
    """What goes out by multicast or broadcast."""
    return MAGIC + sealed


def from_datagram(datagram: bytes) -> bytes:
    """Return what is sealed in a datagram. Raises `DecodeError`."""
    if len(datagram) > MAX_BEACON:
        raise DecodeError(_WHAT, f"a datagram of {len(datagram)} bytes, at most {MAX_BEACON} are allowed")
    if not datagram.startswith(MAGIC[:3]):
        raise DecodeError(_WHAT, "it does not begin with the protocol's name")
    if not datagram.startswith(MAGIC):
        raise DecodeError(_WHAT, f"version {datagram[3:4].hex() or 'none'}, known is {MAGIC[3]:02x}")
    return datagram[len(MAGIC) :]


def to_txt(sealed: bytes) -> dict[str, bytes]:
    """The properties of the TXT record."""
    return {"txtvers": TXT_VERSION, "a": sealed[:TXT_PIECE], "b": sealed[TXT_PIECE:]}


def from_txt(properties: Mapping[bytes, bytes | None]) -> bytes:
    """Return what is sealed in the properties of a TXT record. Raises `DecodeError`."""
    version = properties.get(b"txtvers")
    if version != TXT_VERSION:
        raise DecodeError("TXT record", f"txtvers {version!r}, known is {TXT_VERSION!r}")
    sealed = (properties.get(b"a") or b"") + (properties.get(b"b") or b"")
    if not NONCE_BYTES + MAC_BYTES < len(sealed) <= 2 * TXT_PIECE:
        raise DecodeError("TXT record", f"a and b hold {len(sealed)} bytes")
    return sealed


def announced_ips(ips: Sequence[str]) -> tuple[str, ...]:
    """Of this machine's addresses those that an announcement can name: IPv4 first, no link-local IPv6 ones, whose
    scope is another number on each machine."""
    found = [ip for ip in ips if not (":" in ip and ipaddress.ip_address(ip).is_link_local)]
    v4 = [ip for ip in found if ":" not in ip]
    v6 = [ip for ip in found if ":" in ip]
    room = MAX_ADDRESSES // 2
    return tuple((*v4[: MAX_ADDRESSES - min(len(v6), room)], *v6)[:MAX_ADDRESSES])


def _seal(message: bytes, key: bytes, rng: Random) -> bytes:
    nonce = rng.randbytes(NONCE_BYTES)
    return nonce + bindings.crypto_secretbox(message, nonce, key)


def _hint(identity: PublicKey, nonce: bytes) -> bytes:
    return hashlib.blake2b(identity.raw, key=nonce, digest_size=HINT_BYTES, person=b"rookery/lan-ask").digest()


def _read(payload: bytes) -> Announcement:
    try:
        fields = _decode(payload)
        identity = PublicKey(fields.identity)
    except (msgspec.MsgspecError, ValueError, WeakKey, RecursionError) as error:
        raise DecodeError(_WHAT, str(error)) from None
    if not is_canonical_x25519(fields.node_key):
        raise DecodeError(_WHAT, "its node key is not in its one encoding")
    if len(fields.fingerprint) not in (0, FINGERPRINT_BYTES):
        raise DecodeError(_WHAT, f"a fingerprint of {len(fields.fingerprint)} bytes")
    return Announcement(
        identity,
        fields.node_key,
        fields.port,
        tuple(_ip(packed) for packed in fields.ips),
        fields.fingerprint,
        fields.time,
        fields.interval,
        fields.leaving,
    )


def _ip(packed: bytes) -> str:
    if len(packed) not in (4, 16):
        raise DecodeError(_WHAT, f"an address of {len(packed)} bytes")
    address = ipaddress.ip_address(packed)
    if not is_one_host(address) or address.is_loopback:
        raise DecodeError(_WHAT, f"{address} is no address of a machine on a network")
    return str(address)
