"""What two ends of a link say to each other before anything else, in a network that has members: their certificates.

    hello      chain's length 2 ‖ chain ‖ revocations, 169 bytes each
    refusal    0 (2 bytes) ‖ why, in words (UTF-8)

Each stands behind its length (4 bytes). Who dialled says hello first. Decides these bytes; refuses to know who is let
in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from dht.errors import DecodeError
from node.protocols.membership import MAX_CHAIN
from node.protocols.revocation import REVOCATION_BYTES, Revocation, read_revocation

STREAM_NAME: Final = "rookery/member/1"
NEWS_STREAM: Final = "rookery/revoked/1"
"""Revocations, as they become known: each as it is, one behind the other."""

MOST_REVOCATIONS: Final = 256
"""In one hello: 43 kB. Bounds what a stranger makes us verify."""

MAX_HELLO: Final = 2 + MAX_CHAIN + MOST_REVOCATIONS * REVOCATION_BYTES
MAX_REASON: Final = 200
"""Bytes. UNSOURCED: two lines of a terminal."""

_WHAT: Final = "hello of a member"


@dataclass(frozen=True, slots=True)
class Hello:
    """What one end said."""

    chain: bytes
    """Empty in a refusal."""
    revocations: tuple[Revocation, ...] = ()
    reason: str = ""


def hello_bytes(chain: bytes, revocations: Iterable[Revocation]) -> bytes:
    """Our certificate and the first of the revocations that we know of, with their length in front."""
    told = b"".join(said.raw for said in islice(revocations, MOST_REVOCATIONS))
    body = struct.pack(">H", len(chain)) + chain + told
    return struct.pack(">I", len(body)) + body


def refusal_bytes(reason: str) -> bytes:
    """That the other end is not let in, and why."""
    words = reason.encode()[:MAX_REASON].decode(errors="ignore").encode()
    return struct.pack(">IH", 2 + len(words), 0) + words


def hello_length(head: bytes) -> int:
    """How many bytes follow the first four. Raises `DecodeError`."""
    (length,) = struct.unpack(">I", head)
    if not 2 <= length <= MAX_HELLO:
        raise DecodeError(_WHAT, f"{length} bytes, expected 2 to {MAX_HELLO}")
    return int(length)


def read_hello(body: bytes) -> Hello:
    """Read what follows the length. Revocations that do not hold are left out. Raises `DecodeError`."""
    if len(body) < 2:
        raise DecodeError(_WHAT, "it ends before its chain's length")
    (length,) = struct.unpack(">H", body[:2])
    rest = body[2 + length :]
    if not length:
        return Hello(b"", reason=_printable(rest[:MAX_REASON]))
    if length > MAX_CHAIN or len(body) < 2 + length:
        raise DecodeError(_WHAT, f"a chain of {length} bytes, expected at most {MAX_CHAIN}")
    return Hello(body[2 : 2 + length], read_revocations(rest))


def read_revocations(raw: bytes) -> tuple[Revocation, ...]:
    """Those of a run of revocations that hold. Raises `DecodeError` when it is none."""
    count, left = divmod(len(raw), REVOCATION_BYTES)
    if left or count > MOST_REVOCATIONS:
        raise DecodeError(_WHAT, f"{len(raw)} bytes of revocations, expected at most {MOST_REVOCATIONS} whole ones")
    held = []
    for at in range(0, len(raw), REVOCATION_BYTES):
        try:
            held.append(read_revocation(raw[at : at + REVOCATION_BYTES]))
        except DecodeError:
            continue
    return tuple(held)


def _printable(words: bytes) -> str:
    # It is shown on our terminal.
    return "".join(char for char in words.decode(errors="replace") if char.isprintable())
