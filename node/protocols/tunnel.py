"""DHT datagrams inside a stream: how a node that UDP does not reach speaks through a gateway.

Decides the frames and what a gateway lets pass. Refuses to know streams and sockets.

    frame:     length(2) type(1) body, big-endian; the length counts type and body
    SEND       client → gateway: endpoint, node key(32), datagram
    RECEIVED   gateway → client: endpoint, datagram
    endpoint:  family(1: 4 or 6) address(4|16) port(2)

A gateway sends for its client only to nodes: it pings each endpoint itself, under the key that the client names, before
the first datagram goes there. So nobody makes it write to a machine that is no node, but for that one ping, of which
there are few and none is larger than what asked for it.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from dht.constants import KEY_BYTES, MAX_DATAGRAM
from dht.contact import Address
from dht.errors import DecodeError
from dht.limits import RateLimiter

MAX_FRAME: Final = 1 + 19 + KEY_BYTES + MAX_DATAGRAM
"""Bytes of the longest frame behind its length."""

VERIFIED_FOR: Final = 600.0
"""Seconds an endpoint that answered counts as a node's (as long as a write token lives, BEP 5)."""

MAX_VERIFIED: Final = 4096
"""Endpoints remembered for all clients; the one that was used longest ago goes first. Bounds memory."""

PERMITTED_FOR: Final = 120.0
"""Seconds in which an endpoint that was written to may answer: the least a NAT keeps a mapping (RFC 4787, REQ-5)."""

PINGS_A_SECOND: Final = 10.0
PING_BURST: Final = 40.0
"""Unknown endpoints that are pinged for one client: a look-up meets some forty. Bounds what a client can make a gateway
send to machines that are no nodes."""

BYTES_A_SECOND: Final = 65_536.0
BYTES_BURST: Final = 262_144.0
"""Datagram bytes that pass for one client in each direction: a client of a DHT sends about 100 B/s, and a look-up 40
kB. Bounds what one client takes of the gateway's line."""

WAITING: Final = 4
MAX_WAITING: Final = 64
"""Datagrams kept for an endpoint until it has answered the ping, and endpoints waited for. Bounds memory."""

_LENGTH: Final = struct.Struct("!H")
_WHAT: Final = "tunnel frame"


class Kind(enum.IntEnum):
    """What a frame is."""

    SEND = 1
    RECEIVED = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One datagram under way; `key` is its receiver's node key, empty on the way to a client."""

    kind: Kind
    address: Address
    data: bytes
    key: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the frame with its length. The address must be an IP text and a port."""
        ip = ipaddress.ip_address(self.address[0])
        endpoint = bytes((ip.version,)) + ip.packed + _LENGTH.pack(self.address[1])
        body = bytes((self.kind,)) + endpoint + self.key + self.data
        return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes a stream's bytes, gives frames. Feeding raises `DecodeError` on bytes that are none."""

    def __init__(self, kind: Kind) -> None:
        """`kind` is the only one that may come from the other side."""
        self._kind = kind
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return what is complete now."""
        self._rest += data
        frames, at = [], 0
        while len(self._rest) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest, at)
            if not 0 < length <= MAX_FRAME:
                raise DecodeError(_WHAT, f"{length} bytes, 1 to {MAX_FRAME} are allowed")
            if len(self._rest) - at < _LENGTH.size + length:
                break
            at += _LENGTH.size
            frames.append(self._frame(bytes(self._rest[at : at + length])))
            at += length
        del self._rest[:at]
        return frames

    def _frame(self, body: bytes) -> Frame:
        if body[0] != self._kind:
            raise DecodeError(_WHAT, f"type {body[0]}, expected {self._kind}")
        size = {4: 4, 6: 16}.get(body[1]) if len(body) > 1 else None
        if size is None:
            raise DecodeError(_WHAT, "an endpoint that is neither IPv4 nor IPv6")
        end = 2 + size + _LENGTH.size
        start = end + (KEY_BYTES if self._kind is Kind.SEND else 0)
        if len(body) <= start:
            raise DecodeError(_WHAT, "it ends before its datagram")
        if len(body) - start > MAX_DATAGRAM:
            raise DecodeError(_WHAT, f"a datagram of {len(body) - start} bytes, at most {MAX_DATAGRAM} are allowed")
        ip = ipaddress.ip_address(body[2 : 2 + size])
        (port,) = _LENGTH.unpack_from(body, 2 + size)
        return Frame(self._kind, (str(ip), port), body[start:], body[end:start])


class Verified:
    """Endpoints that are nodes', as the gateway found out itself; for all its clients."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Address, bytes], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def add(self, address: Address, key: bytes, now: float) -> None:
        """`address` has answered under `key`."""
        self._known[address, key] = now
        self._known.move_to_end((address, key))
        if len(self._known) > MAX_VERIFIED:
            self._known.popitem(last=False)

    def holds(self, address: Address, key: bytes, now: float) -> bool:
        """Whether it has, not long ago."""
        seen = self._known.get((address, key))
        return seen is not None and now - seen < VERIFIED_FOR


class Verdict(enum.Enum):
    """What is done with a client's datagram."""

    PASS = "pass"
    ASK = "ask"
    """Ping the endpoint; the datagram waits."""
    WAIT = "wait"
    """It is being pinged; the datagram waits."""
    DROP = "drop"


class Passage:
    """What one client may send and get."""

    def __init__(self, verified: Verified) -> None:
        self._verified = verified
        self._pings = RateLimiter(PINGS_A_SECOND, PING_BURST)
        self._bytes = {kind: (BYTES_BURST, 0.0) for kind in Kind}
        self._waiting: OrderedDict[tuple[Address, bytes], list[bytes]] = OrderedDict()
        self._permitted: OrderedDict[Address, float] = OrderedDict()

    def judge(self, frame: Frame, now: float) -> Verdict:
        """Whether a datagram goes out now."""
        if not self._within(frame, now):
            return Verdict.DROP
        place = (frame.address, frame.key)
        if self._verified.holds(*place, now):
            self._permit(frame.address, now)
            return Verdict.PASS
        waiting = self._waiting.get(place)
        if waiting is not None:
            if len(waiting) >= WAITING:
                return Verdict.DROP
            waiting.append(frame.data)
            return Verdict.WAIT
        if len(self._waiting) >= MAX_WAITING or not self._pings.allow(b"", now):
            return Verdict.DROP
        self._waiting[place] = [frame.data]
        return Verdict.ASK

    def answered(self, address: Address, key: bytes, now: float, *, ok: bool) -> list[bytes]:
        """The endpoint was pinged: what waited and goes out now."""
        waiting = self._waiting.pop((address, key), [])
        if not ok:
            return []
        self._verified.add(address, key, now)
        self._permit(address, now)
        return waiting

    def admits(self, frame: Frame, now: float) -> bool:
        """Whether a datagram that came from `frame.address` is handed on: only answers are, as through a NAT."""
        permitted = self._permitted.get(frame.address)
        return permitted is not None and now - permitted < PERMITTED_FOR and self._within(frame, now)

    def _permit(self, address: Address, now: float) -> None:
        self._permitted[address] = now
        self._permitted.move_to_end(address)
        if len(self._permitted) > MAX_VERIFIED:
            self._permitted.popitem(last=False)

    def _within(self, frame: Frame, now: float) -> bool:
        left, then = self._bytes[frame.kind]
        left = min(BYTES_BURST, left + (now - then) * BYTES_A_SECOND)
        if left < len(frame.data):
            return False
        self._bytes[frame.kind] = (left - len(frame.data), now)
        return True
