"""What simulated attempts at links say to each other, and how long they wait.

Decides first bytes, names and times, as `node.adapters.webrtc_ice` has them. Refuses to know who says it when.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from node.ports import LinkEnd, LinkError, LinkFault
from simulations.hops import Address

CHECK_INTERVAL, CHECK_INTERVAL_MAX, CHECK_TRIES, STUN_TIMEOUT = 0.05, 0.2, 60, 0.3
"""Seconds before a check is first repeated, the longest pause between repeats, how often, and seconds that neighbours
have to answer: those of `node.adapters.webrtc_ice`, which cannot be imported without aioice."""

HANDSHAKE_REPEAT: Final = 1.0
"""Seconds before a lost flight is repeated, doubling (RFC 6347 section 4.2.4.1; RFC 9260 section 16)."""

STEPS: Final = ("ice", "dtls", "dtls", "sctp", "sctp")
"""Round trips after the first check that got through, by phase: nomination (RFC 8445 section 8.1.1), two of DTLS 1.2
(RFC 6347 section 4.2.4), two of SCTP's association (RFC 9260 section 5.1)."""

CHECK, CHECKED, STEP, STEPPED = range(0x10, 0x14)
"""First byte of each datagram; STUN has 0 to 3 there, a channel 0x20 and above."""

NAME_BYTES: Final = 4
"""Characters of the name by which a session is called: as many as aioice's."""

FAULTS: Final = {"ice": LinkFault.ICE_TIMEOUT, "dtls": LinkFault.DTLS_FAILED, "sctp": LinkFault.SCTP_FAILED}


@asynccontextmanager
async def within(seconds: float, fault: LinkFault, what: str) -> AsyncIterator[None]:
    """Raise a typed `LinkError` when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise LinkError(LinkEnd(fault, f"no {what} after {seconds:g} s")) from None


def ice_text(rng: Random, size: int) -> bytes:
    """Random text of ICE's characters: base64's (RFC 8839 section 5.4)."""
    return base64.b64encode(rng.randbytes(size)).rstrip(b"=")


def pack(address: Address) -> bytes:
    """An endpoint in a datagram."""
    return f"{address[0]} {address[1]}".encode()


def unpack(data: bytes) -> Address:
    """And out of it."""
    ip, port = data.decode().split(" ")
    return ip, int(port)
