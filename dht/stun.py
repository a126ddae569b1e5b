"""STUN binding answers on the DHT port (RFC 8489): every server node is the ICE server of its neighbours.

Only what a server without authentication needs: a Binding request in, XOR-MAPPED-ADDRESS out.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

from dht.contact import Address

MAGIC_COOKIE: Final = 0x2112A442
"""RFC 8489 section 5."""

HEADER: Final = struct.Struct(">HHI12s")

BINDING_REQUEST: Final = 0x0001
BINDING_SUCCESS: Final = 0x0101
XOR_MAPPED_ADDRESS: Final = 0x0020
"""RFC 8489 section 14.2."""


def is_stun(data: bytes) -> bool:
    """Whether `data` looks like a STUN message (RFC 7983: first byte 0-3; the magic cookie at byte 4)."""
    return len(data) >= HEADER.size and data[0] < 4 and data[4:8] == MAGIC_COOKIE.to_bytes(4, "big")


def binding_request(transaction: bytes) -> bytes:
    """A binding request of 20 bytes; `transaction` has 12 random ones."""
    return HEADER.pack(BINDING_REQUEST, 0, MAGIC_COOKIE, transaction)


def binding_response(data: bytes, address: Address) -> bytes | None:
    """The answer to a binding request from `address`: 32 (IPv4) or 44 (IPv6) bytes. None for anything else."""
    kind, length, cookie, transaction = HEADER.unpack_from(data)
    if kind != BINDING_REQUEST or length != len(data) - HEADER.size or length % 4:
        return None
    if not _only_optional(data[HEADER.size :]):
        return None
    ip = ipaddress.ip_address(address[0])
    mask = cookie.to_bytes(4, "big") + transaction
    host = bytes(byte ^ key for byte, key in zip(ip.packed, mask, strict=False))
    family = 1 if ip.version == 4 else 2
    value = struct.pack(">BBH", 0, family, address[1] ^ cookie >> 16) + host
    attribute = struct.pack(">HH", XOR_MAPPED_ADDRESS, len(value)) + value
    return HEADER.pack(BINDING_SUCCESS, len(attribute), cookie, transaction) + attribute


def _only_optional(attributes: bytes) -> bool:
    """Whether a server that understands no attribute may answer: all are well-formed and of the optional range
    (RFC 8489 section 14). Others would need an error answer longer than it is worth to a stranger."""
    at = 0
    while at < len(attributes):
        kind, length = struct.unpack_from(">HH", attributes, at)
        at += 4 + (length + 3) // 4 * 4
        if kind < 0x8000:
            return False
    return at == len(attributes)
