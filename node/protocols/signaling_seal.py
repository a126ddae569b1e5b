"""The sealed signal: one message from identity to identity that the nodes in between cannot read.

Decides the bytes. Refuses to know sessions, time windows and what the payload means.

    blob:  version 1 ‖ ephemeral X25519 key 32 ‖ NaCl box(inner ‖ zeros)      in all a multiple of 64, at least 320
    inner: kind 1 ‖ sender 32 ‖ session 16 ‖ Unix seconds 8 ‖ payload length 2 ‖ payload ‖ Ed25519 signature 64

The box is sealed to the X25519 form of the recipient's identity, under a key made for this blob alone, so its nonce
may follow from the two keys (as libsodium's sealed boxes do). Whoever forwards it learns the recipient, the size in
steps, and nothing of the sender. The signature covers domain, recipient, session, time, kind, ephemeral key and
payload: it means nothing to another recipient, in another session, or inside another box.
"""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from dht.constants import KEY_BYTES, MAC_BYTES, MAX_SIGNAL, NONCE_BYTES, SIGNATURE_BYTES
from dht.errors import DecodeError, LocalError, WeakKey
from dht.identity import IdentityKey, PublicKey

VERSION: Final = 1
SESSION_BYTES: Final = 16
"""Random, so that two sessions never share one (2^-64 among 2^32)."""

STEP: Final = 64
"""Blobs are padded to a multiple of this, so that sizes tell little. UNSOURCED"""

SMALLEST: Final = 5 * STEP
"""Size of the smallest blob: an offer of a few candidates, so that answers and refusals look alike. UNSOURCED"""

LARGEST: Final = MAX_SIGNAL // STEP * STEP

_INNER: Final = struct.Struct(f">B{KEY_BYTES}s{SESSION_BYTES}sQH")
_OUTER: Final = 1 + KEY_BYTES + MAC_BYTES

MAX_PAYLOAD: Final = LARGEST - _OUTER - _INNER.size - SIGNATURE_BYTES

_DOMAIN: Final = b"rookery/signal/1\x00"
_WHAT: Final = "signal"


class SignalKind(IntEnum):
    """What a signal is."""

    OFFER = 1
    ANSWER = 2
    REFUSAL = 3


@dataclass(frozen=True, slots=True)
class Signal:
    """An opened signal: its sender is proven, its freshness is not."""

    kind: SignalKind
    sender: PublicKey
    session: bytes
    time: int
    """Unix seconds by the sender's clock."""
    payload: bytes


def seal(
    kind: SignalKind,
    sender: IdentityKey,
    recipient: PublicKey,
    session: bytes,
    payload: bytes,
    now: float,
    rng: random.Random,
) -> bytes:
    """Return the blob. `rng` makes the ephemeral key: outside of simulations it must be `random.SystemRandom`.

    Raises `LocalError` for a payload that is too long or a recipient nobody can seal to.
    """
    if len(payload) > MAX_PAYLOAD:
        raise LocalError(f"a signal carries at most {MAX_PAYLOAD} bytes, not {len(payload)}")
    secret = rng.randbytes(KEY_BYTES)
    ephemeral = bindings.crypto_scalarmult_base(secret)
    body = _INNER.pack(kind, sender.public.raw, session, int(now), len(payload)) + payload
    body += sender.sign(_signed(recipient.raw, ephemeral, body))
    size = max(SMALLEST, -(-(_OUTER + len(body)) // STEP) * STEP)
    body += bytes(size - _OUTER - len(body))
    target = box_key(recipient)
    return bytes((VERSION,)) + ephemeral + bindings.crypto_box(body, _nonce(ephemeral, target), target, secret)


def unseal(blob: bytes, recipient: IdentityKey, box_secret: bytes) -> Signal:
    """Open a blob and check its signature. `box_secret` is `recipient.curve25519_secret()`, which callers keep.

    Raises `DecodeError` with the first fault found.
    """
    if not SMALLEST <= len(blob) <= LARGEST or len(blob) % STEP:
        raise DecodeError(_WHAT, f"{len(blob)} bytes are no whole steps of {STEP} in {SMALLEST}..{LARGEST}")
    if blob[0] != VERSION:
        raise DecodeError(_WHAT, f"version {blob[0]}, we speak {VERSION}")
    ephemeral = blob[1 : 1 + KEY_BYTES]
    target = box_key(recipient.public)
    try:
        body = bindings.crypto_box_open(blob[1 + KEY_BYTES :], _nonce(ephemeral, target), ephemeral, box_secret)
    except CryptoError:
        raise DecodeError(_WHAT, "does not open: sealed to somebody else, or altered") from None
    kind_number, sender_raw, session, time, length = _INNER.unpack_from(body)
    end = _INNER.size + length
    if len(body) < end + SIGNATURE_BYTES:
        raise DecodeError(_WHAT, f"a payload of {length} bytes does not fit")
    if any(body[end + SIGNATURE_BYTES :]):
        raise DecodeError(_WHAT, "the padding is not zero")
    try:
        kind = SignalKind(kind_number)
        sender = PublicKey(sender_raw)
    except (ValueError, WeakKey) as error:
        raise DecodeError(_WHAT, str(error)) from None
    signature = body[end : end + SIGNATURE_BYTES]
    if not sender.verify(signature, _signed(recipient.public.raw, ephemeral, body[:end])):
        raise DecodeError(_WHAT, f"not signed by {sender.short}… for us")
    return Signal(kind, sender, session, time, body[_INNER.size : end])


@lru_cache(maxsize=256)  # UNSOURCED: 49 µs saved for each further signal to the same peer
def box_key(peer: PublicKey) -> bytes:
    """The X25519 form of an identity. Raises `LocalError` when it is no point anybody can hold the secret of."""
    try:
        return bindings.crypto_sign_ed25519_pk_to_curve25519(peer.raw)
    except CryptoError:
        raise LocalError(f"{peer.text} is not a valid key; a character is probably mistyped") from None


def _signed(recipient: bytes, ephemeral: bytes, body: bytes) -> bytes:
    # All parts but the last are of fixed length, and the payload's length stands before it.
    return _DOMAIN + recipient + ephemeral + body


def _nonce(ephemeral: bytes, target: bytes) -> bytes:
    return hashlib.blake2b(ephemeral + target, digest_size=NONCE_BYTES, person=b"rookery/signal/1").digest()
