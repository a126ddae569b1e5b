"""A contact: a node's key and endpoint, and its packed form inside messages.

Built on the kademlia package's `Node`, so that its routing table takes it as it is.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

from kademlia.node import Node

from dht.constants import ID_BYTES, KEY_BYTES
from dht.errors import DecodeError, LocalError
from dht.identity import address_prefix, from_zbase32, is_canonical_x25519, is_exempt, node_id, packed_ip, to_zbase32

Address = tuple[str, int]
"""IP text and port."""

PACKED_V4: Final = KEY_BYTES + 4 + 2
PACKED_V6: Final = KEY_BYTES + 16 + 2

_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


class Contact(Node):  # type: ignore[misc]  # the package is untyped
    """A DHT node that we may talk to: X25519 key (32 bytes), address; the id follows from both."""

    id: bytes
    long_id: int
    ip: str
    port: int

    __slots__ = ("address", "exempt", "key", "packed", "prefix")

    def __init__(self, key: bytes, address: Address) -> None:
        long_id = node_id(key, address[0])
        super().__init__(long_id.to_bytes(ID_BYTES, "big"), address[0], address[1])
        self.key = key
        self.address = address
        self.packed = key + pack_address(address)
        self.prefix = address_prefix(address[0])
        self.exempt = is_exempt(address[0])

    @property
    def text(self) -> str:
        """`KEY@HOST:PORT`, as configuration files and lists write it."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{to_zbase32(self.key)}@{host}:{self.port}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contact) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    def __repr__(self) -> str:
        return f"Contact({self.key[:4].hex()}…@{self.ip}:{self.port})"


def pack_address(address: Address) -> bytes:
    """Write an endpoint as 6 (IPv4) or 18 (IPv6) bytes: address, then port, big-endian."""
    return packed_ip(address[0]) + address[1].to_bytes(2, "big")


def unpack_address(packed: bytes) -> Address:
    """Read an endpoint of 6 or 18 bytes. Raises `DecodeError`."""
    if len(packed) not in (6, 18):
        raise DecodeError("endpoint", f"{len(packed)} bytes, expected 6 or 18")
    return str(ipaddress.ip_address(packed[:-2])), int.from_bytes(packed[-2:], "big")


def is_one_host(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether `ip` names one host, by its only name: not multicast, unspecified, broadcast, or IPv4 written as IPv6."""
    if ip.is_multicast or ip.is_unspecified or ip == _BROADCAST:
        return False
    return getattr(ip, "ipv4_mapped", None) is None and getattr(ip, "scope_id", None) is None


_living: Final[WeakValueDictionary[bytes, Contact]] = WeakValueDictionary()
"""Every contact read that somebody still holds: what a hundred tables of one process know is one object."""


@lru_cache(maxsize=16384)  # UNSOURCED: about 8 MB at most; a look-up meets the same contacts in twenty replies
def unpack_contact(packed: bytes) -> Contact | None:
    """Read one packed contact; None when nobody can be reached there: port 0, an address of no single host, a
    key not in its one encoding."""
    contact = _living.get(packed)
    if contact is None:
        contact = _read_contact(packed)
        if contact is not None:
            _living[packed] = contact
    return contact


def _read_contact(packed: bytes) -> Contact | None:
    ip = ipaddress.ip_address(packed[KEY_BYTES:-2])
    port = int.from_bytes(packed[-2:], "big")
    if port == 0 or not is_one_host(ip) or not is_canonical_x25519(packed[:KEY_BYTES]):
        return None
    return Contact(packed[:KEY_BYTES], (str(ip), port))


def unpack_contacts(v4: bytes, v6: bytes) -> list[Contact]:
    """Read the packed contacts of a reply. Raises `DecodeError` when a length does not fit."""
    if len(v4) % PACKED_V4 or len(v6) % PACKED_V6:
        raise DecodeError("contacts", f"{len(v4)} and {len(v6)} bytes are not whole contacts")
    found = [unpack_contact(v4[i : i + PACKED_V4]) for i in range(0, len(v4), PACKED_V4)]
    if v6:
        found += [unpack_contact(v6[i : i + PACKED_V6]) for i in range(0, len(v6), PACKED_V6)]
    return [contact for contact in found if contact is not None]


def pack_contacts(contacts: list[Contact], room: int) -> tuple[bytes, bytes]:
    """Pack as many of `contacts` as fit `room` bytes, nearest first, into an IPv4 and an IPv6 string."""
    fitting = [contact.packed for contact in contacts[: max(0, room) // PACKED_V4]]
    joined = b"".join(fitting)
    if len(joined) == len(fitting) * PACKED_V4:
        return joined, b""
    v4: list[bytes] = []
    v6: list[bytes] = []
    for packed in fitting:
        room -= len(packed)
        if room < 0:
            break
        (v4 if len(packed) == PACKED_V4 else v6).append(packed)
    return b"".join(v4), b"".join(v6)


def parse_contact(text: str) -> Contact:
    """Read `KEY@HOST:PORT` as a person wrote it. Raises `LocalError` with what is wrong."""
    key_text, at, endpoint = text.strip().partition("@")
    host, colon, port_text = endpoint.rpartition(":")
    try:
        key = from_zbase32(key_text.lower()) if len(key_text) == 52 else None
    except KeyError:
        key = None
    if not at or key is None:
        raise LocalError(f"{text!r} is not a contact: expected KEY@HOST:PORT, where KEY has 52 characters")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise LocalError(f"{text!r} is not a contact: {host!r} is not an IP address") from None
    if not is_one_host(ip):
        raise LocalError(f"{text!r} is not a contact: {host!r} is not the address of one host")
    digits = port_text.isascii() and port_text.isdigit() and len(port_text) <= 5
    if not colon or not digits or not 0 < int(port_text) < 65536:
        raise LocalError(f"{text!r} is not a contact: {port_text!r} is not a port (1-65535)")
    return Contact(key, (str(ip), int(port_text)))
