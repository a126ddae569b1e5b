"""Asking a router to forward a port: PCP (RFC 6887), and NAT-PMP (RFC 6886) where the router is older.

Decides requests, repeats, renewals and what an answer means. Refuses to know how the router was found. Ours, since no
kept library speaks PCP, and NAT-PMP is its predecessor on the same port with the same few bytes.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from dataclasses import dataclass
from random import Random
from typing import Final

PORT: Final = 5351
"""Of PCP and NAT-PMP servers (RFC 6887 section 19.1)."""

LIFETIME: Final = 7200
"""Seconds asked for: what RFC 6886 section 3.3 recommends."""

RENEW_AT: Final = 0.5
"""Part of the granted lifetime after which it is renewed (RFC 6887 section 11.2.1: between 1/2 and 5/8)."""

FIRST_REPEAT: Final = 0.25
TRIES: Final = 5
"""Seconds until a request is repeated, doubling, and how often: 8 s in all (RFC 6886 section 3.1 has nine, 64 s; RFC
6887 section 8.1.1 begins with 3 s: both for lost datagrams, which a home's first hop hardly knows)."""

LEAST_LIFETIME: Final = 120
"""A granted lifetime below this counts as this, so that a broken router is not asked all the time (RFC 6887 section 15
has clients treat lifetimes below two minutes so)."""

PAUSE_AFTER_REFUSAL: Final = 1800.0
"""Seconds until a router that refused or did not answer is asked again (RFC 6887 section 7.4: 30 minutes for errors of
long life)."""

_MAP: Final = 1
_RESPONSE: Final = 0x80
_UDP: Final = 17
_PCP_HEADER: Final = struct.Struct("!BBHI16s")
_PCP_ANSWER: Final = struct.Struct("!BBBBII12x")
_PCP_MAP: Final = struct.Struct("!12sB3xHH16s")
_PMP_REQUEST: Final = struct.Struct("!BBHHHI")
_PMP_ANSWER: Final = struct.Struct("!BBHIHHI")
_PMP_ADDRESS: Final = struct.Struct("!BBHI4s")
_UNSUPPORTED_VERSION: Final = 1

_RESULTS: Final = {
    1: "it speaks another version",
    2: "it does not allow it",
    3: "it did not understand the request",
    4: "it does not know MAP",
    5: "it does not know an option",
    6: "the request had a wrong option",
    7: "it has no network",
    8: "it has no resources left",
    9: "it does not forward UDP",
    10: "too many ports are mapped already",
    11: "it cannot give the external port",
    12: "the request came from another address than it names",
    13: "the remote peers were too many",
}
"""RFC 6887 section 7.4."""
_PMP_RESULTS: Final = {1: 1, 2: 2, 3: 7, 4: 8, 5: 4}
"""NAT-PMP's codes (RFC 6886 section 3.5) as PCP's."""


class Dialect(enum.Enum):
    """Which protocol the router speaks."""

    PCP = "PCP"
    NAT_PMP = "NAT-PMP"


@dataclass(frozen=True, slots=True)
class Mapped:
    """The router forwards: `address` reaches our port for `lifetime` seconds."""

    address: tuple[str, int]
    lifetime: float
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class NotMapped:
    """The router does not forward, for a reason."""

    detail: str


class PortControl:
    """Keeps one UDP port mapped at one router."""

    def __init__(self, own_ip: str, port: int, rng: Random, now: float) -> None:
        """`own_ip` is our address towards the router, IPv4, or IPv6 where the router is a firewall."""
        self._own = ipaddress.ip_address(own_ip)
        self._port = port
        self._nonce = rng.randbytes(12)
        self._dialect = Dialect.PCP
        self._events: list[Mapped | NotMapped] = []
        self._out: list[bytes] = []
        self._sent = 0
        self._wanted = LIFETIME
        self._due: float | None = None
        self._asked = False
        self._external_ip: str | None = None
        self._mapped_port: tuple[int, int] | None = None
        self._suggested: tuple[bytes, int] = (self._any(), port)
        self.ignored = 0
        """Datagrams that were no answer to us."""
        self._begin(now)

    # The five verbs

    def receive_datagram(self, data: bytes, now: float) -> None:
        """Take what the router's address sent; anything else is counted and dropped."""
        answered = self._on_pcp(data, now) if self._dialect is Dialect.PCP else self._on_pmp(data, now)
        if not answered:
            self.ignored += 1

    def datagrams_to_send(self) -> list[bytes]:
        """What is to be sent to the router, once."""
        out, self._out = self._out, []
        return out

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        return self._due

    def handle_timer(self, now: float) -> None:
        """Repeat, renew, or give up for a while."""
        if self._due is None or now < self._due:
            return
        if not self._asked:
            self._begin(now)
        elif self._sent < TRIES:
            self._send(now)
        elif self._dialect is Dialect.PCP:
            # A router that speaks NAT-PMP alone may keep silent at a version it does not know.
            self._dialect = Dialect.NAT_PMP
            self._begin(now, tries=TRIES - 2)
        else:
            self._refused("the router does not answer", now)

    def next_event(self) -> Mapped | NotMapped | None:
        """The oldest thing that happened."""
        return self._events.pop(0) if self._events else None

    def release(self, now: float) -> None:
        """Take the mapping away; one datagram, whose answer nobody waits for."""
        self._wanted = 0
        self._begin(now)
        self._due = None

    # Asking

    def _any(self) -> bytes:
        return bytes(16) if self._own.version == 6 else bytes(10) + b"\xff\xff" + bytes(4)

    def _begin(self, now: float, tries: int = 0) -> None:
        self._asked = True
        self._sent = tries
        self._send(now)

    def _send(self, now: float) -> None:
        if self._dialect is Dialect.PCP:
            own = self._own.packed if self._own.version == 6 else bytes(10) + b"\xff\xff" + self._own.packed
            ip, port = self._suggested
            self._out.append(
                _PCP_HEADER.pack(2, _MAP, 0, self._wanted, own) + _PCP_MAP.pack(self._nonce, _UDP, self._port, port, ip)
            )
        else:
            port = self._suggested[1] if self._wanted else 0
            self._out.append(bytes(2))
            self._out.append(_PMP_REQUEST.pack(0, 1, 0, self._port, port, self._wanted))
        self._due = now + FIRST_REPEAT * 2**self._sent
        self._sent += 1

    # Answers

    def _on_pcp(self, data: bytes, now: float) -> bool:
        if len(data) >= 4 and data[0] == 0 and data[3] == _UNSUPPORTED_VERSION and self._asked:
            # RFC 6887 section 9 with RFC 6886 section 3.5: a NAT-PMP router says so in its own words.
            self._dialect = Dialect.NAT_PMP
            self._begin(now)
            return True
        if len(data) < _PCP_ANSWER.size + _PCP_MAP.size or len(data) > 1100:
            return False
        version, opcode, _, result, lifetime, _epoch = _PCP_ANSWER.unpack_from(data)
        nonce, protocol, inside, outside, ip = _PCP_MAP.unpack_from(data, _PCP_ANSWER.size)
        if (version, opcode, nonce, protocol, inside) != (2, _MAP | _RESPONSE, self._nonce, _UDP, self._port):
            return False
        if result:
            if self._asked:
                self._refused(f"the router refused: {_RESULTS.get(result, f'result {result}')}", now)
            return True
        address = ipaddress.IPv6Address(ip)
        text = str(address.ipv4_mapped or address)
        self._suggested = (ip, outside)
        self._granted((text, outside), lifetime, now)
        return True

    def _on_pmp(self, data: bytes, now: float) -> bool:
        if len(data) == _PMP_ADDRESS.size:
            version, opcode, result, _epoch, ip = _PMP_ADDRESS.unpack(data)
            if (version, opcode) != (0, _RESPONSE):
                return False
            if not result:
                self._external_ip = str(ipaddress.IPv4Address(ip))
        elif len(data) == _PMP_ANSWER.size:
            version, opcode, result, _epoch, inside, outside, lifetime = _PMP_ANSWER.unpack(data)
            if (version, opcode, inside) != (0, 1 | _RESPONSE, self._port):
                return False
            if not result:
                self._mapped_port = (outside, lifetime)
        else:
            return False
        if result and self._asked:
            code = _PMP_RESULTS.get(result, 0)
            self._refused(f"the router refused: {_RESULTS.get(code, f'result {result}')}", now)
        elif self._external_ip is not None and self._mapped_port is not None:
            port, granted = self._mapped_port
            self._mapped_port = None
            self._suggested = (self._suggested[0], port)
            self._granted((self._external_ip, port), granted, now)
        return True

    def _granted(self, address: tuple[str, int], lifetime: int, now: float) -> None:
        if not self._asked or not self._wanted:
            return
        self._asked = False
        lasting = float(min(max(lifetime, LEAST_LIFETIME), 24 * 3600))
        self._due = now + lasting * RENEW_AT
        self._events.append(Mapped(address, lasting, self._dialect))

    def _refused(self, detail: str, now: float) -> None:
        self._asked = False
        self._dialect = Dialect.PCP
        self._due = now + PAUSE_AFTER_REFUSAL
        self._events.append(NotMapped(detail))
