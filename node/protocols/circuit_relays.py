"""How relays are named: in offers and answers, and in what they announce of themselves.

Decides the bytes. Refuses to know which relays are named, and who reads it.

    relay in an offer or answer: flags 1 ‖ distance 1 ‖ identity 32 ‖ [IPv4 6] ‖ [IPv6 18] ‖ [node key or SHA-256 32]
    announcement: version 1 ‖ flags 1 ‖ load 1 ‖ circuits 2 ‖ node key 32 ‖ [IPv4 6] ‖ [IPv6 18] ‖ [SHA-256 32]
    flags: 1 IPv4, 2 IPv6, 4 node key, 8 SHA-256, 16 the next relay in the list goes on from this one
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from dht.constants import KEY_BYTES
from dht.contact import Address, Contact, pack_address, unpack_address, unpack_contact
from dht.errors import DecodeError, LocalError
from dht.identity import PublicKey
from node.protocols.circuit import MAX_RELAYS, VERSION, read_key

FINGERPRINT_BYTES: Final = 32
"""SHA-256 (RFC 8122 section 5)."""

UNKNOWN_DISTANCE: Final = 255
DISTANCE_STEP: Final = 0.004
"""Seconds of round trip in one step of `distance`: 254 of them are a second. UNSOURCED"""

_ANNOUNCED: Final = struct.Struct(f">BBBH{KEY_BYTES}s")


class RelayFlag(IntFlag):
    """What follows in the bytes of a relay."""

    IPV4 = 1
    IPV6 = 2
    NODE_KEY = 4
    FINGERPRINT = 8
    CONTINUES = 16


@dataclass(frozen=True, slots=True)
class RelayContact:
    """Where a relay is: enough to open a link with it."""

    identity: PublicKey
    addresses: tuple[Address, ...]
    """One IPv4 at most, then one IPv6 at most: where its DHT node listens."""
    node_key: bytes = b""
    """Key of that node, to signal it; may be empty where it can be dialled."""
    fingerprint: bytes = b""
    """SHA-256 of its certificate, to dial it with no answer; empty where that is not offered."""

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Its DHT node, at each of its addresses; none without its key."""
        return tuple(Contact(self.node_key, address) for address in self.addresses) if self.node_key else ()

    @property
    def families(self) -> frozenset[int]:
        """4, 6, or both."""
        return frozenset(6 if ":" in host else 4 for host, _ in self.addresses)


@dataclass(frozen=True, slots=True)
class ProposedRelay:
    """A relay as an offer or answer names it."""

    relay: RelayContact
    distance: int = UNKNOWN_DISTANCE
    """Round trip from whoever names it, in steps of 4 ms; 255 unknown."""
    continues: bool = False
    """The circuit goes on through the next relay of the list."""

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` when it does not fit. With a fingerprint the node key is left out."""
        relay = self.relay
        flags, parts = _pack_addresses(relay.addresses)
        if relay.fingerprint:
            flags |= RelayFlag.FINGERPRINT
        elif relay.node_key:
            flags |= RelayFlag.NODE_KEY
        if self.continues:
            flags |= RelayFlag.CONTINUES
        head = bytes((flags, min(self.distance, UNKNOWN_DISTANCE))) + relay.identity.raw
        return head + parts + (relay.fingerprint or relay.node_key)

    @classmethod
    def from_bytes(cls, data: bytes) -> ProposedRelay:
        """Read one. Raises `DecodeError`."""
        what = "proposed relay"
        if len(data) < 2 + KEY_BYTES:
            raise DecodeError(what, f"{len(data)} bytes are too few")
        flags, distance = data[0], data[1]
        if flags & ~sum(RelayFlag) or (flags & RelayFlag.NODE_KEY and flags & RelayFlag.FINGERPRINT):
            raise DecodeError(what, f"flags {flags:#04x} do not go together")
        identity = read_key(data[2 : 2 + KEY_BYTES], what)
        addresses, rest = _read_addresses(flags, data[2 + KEY_BYTES :], what)
        if len(rest) != (KEY_BYTES if flags & (RelayFlag.NODE_KEY | RelayFlag.FINGERPRINT) else 0):
            raise DecodeError(what, f"{len(rest)} bytes at its end do not fit its flags")
        node_key = rest if flags & RelayFlag.NODE_KEY else b""
        fingerprint = rest if flags & RelayFlag.FINGERPRINT else b""
        _check_node(node_key, addresses, what)
        relay = RelayContact(identity, addresses, node_key, fingerprint)
        return cls(relay, distance, bool(flags & RelayFlag.CONTINUES))


@dataclass(frozen=True, slots=True)
class RelayAnnouncement:
    """What a willing relay says under the topic of relays; whose it is, the record's owner tells."""

    relay: RelayContact
    load: int
    """0 to 255."""
    capacity: int
    """Circuits it carries at most."""

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` when it does not fit."""
        relay = self.relay
        if len(relay.node_key) != KEY_BYTES:
            raise LocalError("an announced relay has a node key")
        flags, parts = _pack_addresses(relay.addresses)
        flags |= RelayFlag.NODE_KEY | (RelayFlag.FINGERPRINT if relay.fingerprint else 0)
        return _ANNOUNCED.pack(VERSION, flags, self.load, self.capacity, relay.node_key) + parts + relay.fingerprint

    @classmethod
    def from_bytes(cls, data: bytes, owner: PublicKey) -> RelayAnnouncement:
        """Read one; what a later release appends is passed over. Raises `DecodeError`."""
        what = "relay announcement"
        if len(data) < _ANNOUNCED.size or data[0] != VERSION:
            raise DecodeError(what, f"{len(data)} bytes of another version or too few")
        _, flags, load, capacity, node_key = _ANNOUNCED.unpack_from(data)
        addresses, rest = _read_addresses(flags, data[_ANNOUNCED.size :], what)
        _check_node(node_key, addresses, what)
        fingerprint = rest[:FINGERPRINT_BYTES] if flags & RelayFlag.FINGERPRINT else b""
        if len(fingerprint) not in (0, FINGERPRINT_BYTES) or bool(fingerprint) != bool(flags & RelayFlag.FINGERPRINT):
            raise DecodeError(what, "its fingerprint is cut short")
        return cls(RelayContact(owner, addresses, node_key, fingerprint), load, capacity)


def ways_of(relays: Sequence[ProposedRelay]) -> list[tuple[ProposedRelay, ...]]:
    """Cut a list at every relay from which the circuit does not go on. Raises `DecodeError` when it ends amid a way,
    or has more relays than allowed, or one twice."""
    if len(relays) > MAX_RELAYS or len({one.relay.identity for one in relays}) < len(relays):
        raise DecodeError("relays", f"{len(relays)} of them, at most {MAX_RELAYS}, each once")
    ways: list[tuple[ProposedRelay, ...]] = []
    way: list[ProposedRelay] = []
    for one in relays:
        way.append(one)
        if not one.continues:
            ways.append(tuple(way))
            way = []
    if way:
        raise DecodeError("relays", "the last one is to be gone on from")
    return ways


def _pack_addresses(addresses: tuple[Address, ...]) -> tuple[int, bytes]:
    packed = [pack_address(address) for address in addresses]
    if [len(one) for one in packed] not in ([6], [18], [6, 18]):
        raise LocalError(f"a relay has one IPv4 address, one IPv6 address, or both in this order, not {addresses}")
    flags = sum(RelayFlag.IPV4 if len(one) == 6 else RelayFlag.IPV6 for one in packed)
    return flags, b"".join(packed)


def _read_addresses(flags: int, data: bytes, what: str) -> tuple[tuple[Address, ...], bytes]:
    addresses: list[Address] = []
    for flag, size in ((RelayFlag.IPV4, 6), (RelayFlag.IPV6, 18)):
        if flags & flag:
            if len(data) < size:
                raise DecodeError(what, "its address is cut short")
            addresses.append(unpack_address(data[:size]))
            data = data[size:]
    if not addresses:
        raise DecodeError(what, "no address")
    return tuple(addresses), data


def _check_node(node_key: bytes, addresses: tuple[Address, ...], what: str) -> None:
    # Dialled and signalled: an address that names nobody, or many, is an attack.
    for address in addresses:
        if unpack_contact((node_key or bytes(KEY_BYTES)) + pack_address(address)) is None:
            raise DecodeError(what, f"nobody can be reached at {address}")
