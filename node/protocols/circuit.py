"""What ends and relays say to each other before a circuit stands: joining, reserving, refusing.

Decides the bytes. Refuses to know who may join what (`relaying`), and what travels through a circuit (`circuit_end`).
Big-endian; every message on a stream stands behind its length (2 bytes).

    JOIN:     version 1 ‖ 1 ‖ circuit 16 ‖ role 1 ‖ hops 1 ‖ count 1 ‖ path 32 each ‖ count 1 ‖ visited 32 each
    JOINED:   version 1 ‖ 2
    REFUSED:  version 1 ‖ 3 ‖ reason 1 ‖ seconds until it may be tried again 2
    RESERVE:  version 1 ‖ 4 ‖ circuits 1 ‖ bytes a second 4
    GRANTED:  version 1 ‖ 5 ‖ seconds 2 ‖ circuits 1 ‖ bytes a second 4 ‖ bytes 8 ‖ load 1
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dht.constants import KEY_BYTES
from dht.errors import DecodeError, LocalError, WeakKey
from dht.identity import PublicKey

VERSION: Final = 1

CIRCUIT_STREAM: Final = "rookery/circuit/1"
RELAY_STREAM: Final = "rookery/relay/1"

CIRCUIT_BYTES: Final = 16
"""Nobody but the two ends can compute or guess one (2^-128 a try)."""

MAX_RELAYS: Final = 3
"""Relays of one circuit, and proposed in one description. Bounds how much traffic one byte of an attacker makes, and
how many strangers a description has us dial."""

LENGTH: Final = struct.Struct(">H")
MAX_MESSAGE: Final = 2 + CIRCUIT_BYTES + 2 + 2 + KEY_BYTES * (MAX_RELAYS - 1) * 2
"""The largest JOIN. Bounds what a stream makes us hold before anything is decided."""

_RESERVE: Final = struct.Struct(">BI")
_GRANTED: Final = struct.Struct(">HBIQB")
_REFUSED: Final = struct.Struct(">BH")
_WHAT: Final = "circuit message"


class MessageKind(IntEnum):
    """The messages before a circuit stands."""

    JOIN = 1
    JOINED = 2
    REFUSED = 3
    RESERVE = 4
    GRANTED = 5


class Role(IntEnum):
    """Which end of a circuit speaks."""

    FIRST = 0
    """That of the side whose offer it was, or a relay on its behalf."""
    SECOND = 1


class RelayRefusal(IntEnum):
    """Why a relay does not carry a circuit. Unknown numbers decode as UNSPECIFIED."""

    UNSPECIFIED = 0
    NOT_WILLING = 1
    """It carries nothing for others."""
    OVERLOADED = 2
    """One more circuit would leave those that stand less than their least share."""
    FULL = 3
    """It carries as many circuits, or keeps as many reservations, as it allows."""
    PEER_QUOTA = 4
    """It carries as many circuits of this peer, or of its network, as it allows."""
    RATE_LIMITED = 5
    """Too many requests of this peer."""
    HOP_LIMIT = 6
    """More relays than one circuit may have."""
    LOOP = 7
    """The path comes back to where it was."""
    UNKNOWN_HOP = 8
    """The relay does not know the next one as a relay."""
    HOP_FAILED = 9
    """The next relay was not reached."""
    NO_PARTNER = 10
    """The other end did not join in time."""
    TAKEN = 11
    """That end of that circuit has joined already."""
    BAD_REQUEST = 12
    """The request does not decode there."""
    USED_UP = 13
    """The circuit carried as many bytes as were granted."""
    IDLE = 14
    """Nothing went through the circuit for long."""


@dataclass(frozen=True, slots=True)
class Join:
    """One end, or the relay before, asks to be tied to the other end of `circuit`."""

    circuit: bytes
    role: Role
    hops: int = MAX_RELAYS - 1
    """Relays that may still follow."""
    path: tuple[PublicKey, ...] = ()
    """Relays through which to go on; none: the other end joins here."""
    visited: tuple[PublicKey, ...] = ()
    """Relays it came through."""

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` when it does not fit the format."""
        if len(self.circuit) != CIRCUIT_BYTES or not 0 <= self.hops < MAX_RELAYS:
            raise LocalError(f"a JOIN of a circuit of {len(self.circuit)} bytes with {self.hops} hops left")
        if len(self.path) >= MAX_RELAYS or len(self.visited) >= MAX_RELAYS:
            raise LocalError(f"{len(self.path)} relays ahead and {len(self.visited)} behind: at most {MAX_RELAYS}")
        head = bytes((VERSION, MessageKind.JOIN)) + self.circuit + bytes((self.role, self.hops))
        return head + _pack_keys(self.path) + _pack_keys(self.visited)


@dataclass(frozen=True, slots=True)
class Joined:
    """Both ends are tied together: all that follows is theirs."""

    def to_bytes(self) -> bytes:
        """Encode."""
        return bytes((VERSION, MessageKind.JOINED))


@dataclass(frozen=True, slots=True)
class Refused:
    """The relay does not do it."""

    reason: RelayRefusal
    retry_after: int = 0
    """Seconds, 0 to 65,535; 0: no use in trying again."""

    def to_bytes(self) -> bytes:
        """Encode."""
        return bytes((VERSION, MessageKind.REFUSED)) + _REFUSED.pack(self.reason, self.retry_after)


@dataclass(frozen=True, slots=True)
class Reserve:
    """A peer asks a relay to keep room for it."""

    circuits: int
    """1 to 255."""
    rate: int = 0
    """Bytes a second wished for; 0: whatever there is."""

    def to_bytes(self) -> bytes:
        """Encode. Raises `LocalError` when a number does not fit."""
        if not 1 <= self.circuits <= 255 or not 0 <= self.rate < 2**32:
            raise LocalError(f"a reservation of {self.circuits} circuits at {self.rate} bytes/s")
        return bytes((VERSION, MessageKind.RESERVE)) + _RESERVE.pack(self.circuits, self.rate)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a relay promises. It lapses by itself."""

    seconds: int
    """How long the reservation holds."""
    circuits: int
    rate: int
    """Bytes a second of one circuit."""
    allowance: int
    """Bytes that one circuit carries before the reservation must be renewed."""
    load: int
    """0 (nothing to do) to 255 (full)."""

    def to_bytes(self) -> bytes:
        """Encode."""
        fields = _GRANTED.pack(self.seconds, self.circuits, self.rate, self.allowance, self.load)
        return bytes((VERSION, MessageKind.GRANTED)) + fields


Message = Join | Joined | Refused | Reserve | Granted


def decode_circuit_message(data: bytes) -> Message:
    """Read one message, without its length. Raises `DecodeError` on any byte that does not belong."""
    if not 2 <= len(data) <= MAX_MESSAGE:
        raise DecodeError(_WHAT, f"{len(data)} bytes, expected 2 to {MAX_MESSAGE}")
    if data[0] != VERSION:
        raise DecodeError(_WHAT, f"version {data[0]}, we speak {VERSION}")
    body = data[2:]
    match data[1]:
        case MessageKind.JOIN:
            return _read_join(body)
        case MessageKind.JOINED:
            _whole(body, 0)
            return Joined()
        case MessageKind.REFUSED:
            _whole(body, _REFUSED.size)
            reason, retry_after = _REFUSED.unpack(body)
            known = reason in RelayRefusal.__members__.values()
            return Refused(RelayRefusal(reason) if known else RelayRefusal.UNSPECIFIED, retry_after)
        case MessageKind.RESERVE:
            _whole(body, _RESERVE.size)
            circuits, rate = _RESERVE.unpack(body)
            if not circuits:
                raise DecodeError(_WHAT, "a reservation of no circuit")
            return Reserve(circuits, rate)
        case MessageKind.GRANTED:
            _whole(body, _GRANTED.size)
            return Granted(*_GRANTED.unpack(body))
    raise DecodeError(_WHAT, f"unknown kind {data[1]}")


def _pack_keys(keys: tuple[PublicKey, ...]) -> bytes:
    return bytes((len(keys),)) + b"".join(key.raw for key in keys)


def _read_join(body: bytes) -> Join:
    if len(body) < CIRCUIT_BYTES + 4:
        raise DecodeError(_WHAT, f"a JOIN of {len(body)} bytes is too short")
    circuit, role, hops = body[:CIRCUIT_BYTES], body[CIRCUIT_BYTES], body[CIRCUIT_BYTES + 1]
    if role > 1 or hops >= MAX_RELAYS:
        raise DecodeError(_WHAT, f"a JOIN as {role} with {hops} hops")
    path, rest = _read_keys(body[CIRCUIT_BYTES + 2 :])
    visited, rest = _read_keys(rest)
    _whole(rest, 0)
    return Join(circuit, Role(role), hops, path, visited)


def _read_keys(data: bytes) -> tuple[tuple[PublicKey, ...], bytes]:
    if not data or data[0] >= MAX_RELAYS or len(data) < 1 + data[0] * KEY_BYTES:
        raise DecodeError(_WHAT, "a list of relays that is too long, or cut short")
    end = 1 + data[0] * KEY_BYTES
    return tuple(read_key(data[at : at + KEY_BYTES], _WHAT) for at in range(1, end, KEY_BYTES)), data[end:]


def read_key(raw: bytes, what: str) -> PublicKey:
    """Read an identity. Raises `DecodeError`."""
    try:
        return PublicKey(raw)
    except WeakKey as error:
        raise DecodeError(what, str(error)) from None


def _whole(body: bytes, size: int) -> None:
    if len(body) != size:
        raise DecodeError(_WHAT, f"{len(body)} bytes after its head, expected {size}")
