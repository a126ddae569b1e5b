"""The keys of one circuit, and the encryption between its two ends.

Decides how keys follow from the secret of both, and how frames are sealed. Refuses to know what is in them.

The two circuit keys travel in the sealed and signed offer and answer, so their X25519 secret belongs to the two
identities alone; names and keys of both, and the relays of the way, are mixed into everything that follows from it. The
relays see lengths and times.

    circuit id: BLAKE2b-128 of the way, under the secret as key
    keys:       BLAKE2b-512 of the way, under the secret as key: 32 bytes first → second, 32 bytes second → first
    direction:  header 24 ‖ (length 3 ‖ secretstream frame)*        libsodium's crypto_secretstream_xchacha20poly1305
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from dht.constants import KEY_BYTES
from dht.errors import DecodeError
from dht.identity import PublicKey
from node.protocols.circuit import CIRCUIT_BYTES

HEADER_BYTES: Final = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
OVERHEAD: Final = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
TAG_MESSAGE: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
TAG_REKEY: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_REKEY
TAG_FINAL: Final = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL

LENGTH_BYTES: Final = 3

REKEY_EVERY: Final = 4096
"""Frames under one key: whoever takes it out of memory reads at most 256 MiB of what came before. UNSOURCED"""

_ID: Final = b"rookery/circ-id"
_KEYS: Final = b"rookery/circuit"


@dataclass(frozen=True, slots=True)
class CircuitKeys:
    """What both ends of one circuit share, as one of them sees it."""

    circuit: bytes
    """16 bytes that the ends name it by to relays."""
    sending: bytes
    receiving: bytes


class BadSeal(DecodeError):
    """Raised when a frame does not open: it was altered, left out, put elsewhere, or is another circuit's."""

    def __init__(self) -> None:
        super().__init__("circuit", "a frame does not open: it was altered, dropped or repeated on its way")


def circuit_public(secret: bytes) -> bytes:
    """The public circuit key of 32 secret bytes."""
    return bindings.crypto_scalarmult_base(secret)


def circuit_keys(
    secret: bytes,
    theirs: bytes,
    first: PublicKey,
    second: PublicKey,
    relays: tuple[PublicKey, ...],
    *,
    initiated: bool,
) -> CircuitKeys:
    """Agree on the keys of the circuit through `relays`, in order from the first end (whose offer it was).

    Raises `DecodeError` for a key that no secret belongs to.
    """
    if len(theirs) != KEY_BYTES:
        raise DecodeError("circuit key", f"{len(theirs)} bytes, expected {KEY_BYTES}")
    try:
        shared = bindings.crypto_scalarmult(secret, theirs)
    except CryptoError:
        raise DecodeError("circuit key", "is of small order") from None
    own = circuit_public(secret)
    ours = (own, theirs) if initiated else (theirs, own)
    # All parts have fixed lengths, so no two ways read the same.
    way = first.raw + second.raw + b"".join(ours) + b"".join(relay.raw for relay in relays)
    circuit = hashlib.blake2b(way, digest_size=CIRCUIT_BYTES, key=shared, person=_ID).digest()
    both = hashlib.blake2b(way, digest_size=64, key=shared, person=_KEYS).digest()
    keys = (both[:32], both[32:]) if initiated else (both[32:], both[:32])
    return CircuitKeys(circuit, *keys)


class FrameSealer:
    """Seals one direction. Frames open only in the order in which they were sealed."""

    def __init__(self, key: bytes, header: bytes) -> None:
        """`header`: 24 random bytes, which stand before the first frame."""
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        # Both ends set out from the same state; `init_push` would only take the header from a generator of its own,
        # and runs of one seed would differ.
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)
        self._sealed = 0

    def seal(self, frame: bytes, *, final: bool = False) -> bytes:
        """Return length and sealed frame. `final`: nothing will follow."""
        self._sealed += 1
        tag = TAG_FINAL if final else TAG_MESSAGE if self._sealed % REKEY_EVERY else TAG_REKEY
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(self._state, frame, None, tag)
        return len(sealed).to_bytes(LENGTH_BYTES, "big") + sealed


class FrameOpener:
    """Opens one direction."""

    def __init__(self, key: bytes, header: bytes) -> None:
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    def open(self, sealed: bytes) -> tuple[bytes, bool]:
        """Return the frame, and whether it is the last. Raises `BadSeal`."""
        if len(sealed) < OVERHEAD:
            raise BadSeal
        try:
            frame, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(self._state, sealed, None)
        except CryptoError:
            raise BadSeal from None
        return frame, tag == TAG_FINAL
