"""Mutual proof of identity keys over a channel that was opened without one: three messages.

Decides the bytes and who is shown to whom. Refuses to know what carries the messages, and what the binding is made of.

    hello   I → R   0x11 ‖ ephemeral X25519 key of I 32
    proof   R → I   0x12 ‖ ephemeral X25519 key of R 32 ‖ sealed(identity of R 32 ‖ Ed25519 signature 64) 112
    proof   I → R   0x13 ‖ sealed(identity of I 32 ‖ Ed25519 signature 64) 112

This is SIGMA-I (Krawczyk, "SIGMA: the SIGn-and-MAc approach to authenticated Diffie-Hellman", 2003, section 5.2): each
signs the transcript, which holds both ephemeral keys and the binding; the identity lies with the signature in an AEAD
(RFC 8439) whose key comes from the ephemeral keys, so that nobody can put a name of his own under another's signature.
The responder shows itself first; an initiator who expects one peer says nothing of itself to any other. Whoever listens
sees neither. The binding ties the proof to the channel below it (both DTLS certificates, say): in another channel the
same messages prove nothing. Both ends get a key for each direction, for channels that have no encryption of their own.
"""

from __future__ import annotations

import enum
import hashlib
import random
from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from dht.constants import KEY_BYTES, MAC_BYTES, SIGNATURE_BYTES
from dht.errors import LocalError, WeakKey
from dht.identity import IdentityKey, PublicKey

HELLO, RESPONSE, CLOSING = 0x11, 0x12, 0x13
"""First byte of each message: version 1, and its number."""

MAX_BINDING: Final = 1024
"""Bytes of a binding: two certificates' digests have 64. UNSOURCED"""

_SEALED: Final = KEY_BYTES + SIGNATURE_BYTES + MAC_BYTES
_LENGTHS: Final = {HELLO: 1 + KEY_BYTES, RESPONSE: 1 + KEY_BYTES + _SEALED, CLOSING: 1 + _SEALED}

LONGEST: Final = max(_LENGTHS.values())
"""Bytes of the longest message: what is longer is none."""

_PERSON: Final = b"rookery/prove/1"
_DOMAIN: Final = b"rookery/prove/1\x00"
_NONCE: Final = bytes(12)
"""Each key seals one message."""


class NotProven(enum.Enum):
    """Why a handshake ended without a peer."""

    MALFORMED = "malformed"
    """The length or the first byte is wrong, or a message came out of turn."""
    BAD_KEY = "bad-key"
    """An ephemeral or identity key is of small order."""
    NOT_SEALED = "not-sealed"
    """It does not open: altered on the way, or made for another channel."""
    BAD_SIGNATURE = "bad-signature"
    """The key was named by somebody who does not have it, or for another channel."""
    ANOTHER = "another-peer"
    """It names a key, but not the one we expected."""
    OURSELVES = "ourselves"
    """It has our own key."""


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """A secret for each direction, 32 bytes each, known to both ends alone."""

    sending: bytes
    receiving: bytes


class Handshake:
    """One side of one handshake. Feed it with `receive`; it is over when `peer` or `refused` is set."""

    def __init__(
        self,
        identity: IdentityKey,
        rng: random.Random,
        *,
        initiator: bool,
        binding: bytes = b"",
        expected: PublicKey | None = None,
    ) -> None:
        """`expected` is the only peer that will do. `binding` may be set later, before the first `receive`.

        `rng` makes the ephemeral key: outside of simulations it must be `random.SystemRandom`.
        """
        self.initiator = initiator
        self.binding = binding
        self.peer: PublicKey | None = None
        """Who the other end is, once it has proven it."""
        self.refused: NotProven | None = None
        self.keys: ChannelKeys | None = None
        """Set together with `peer`."""
        self._identity = identity
        self._expected = expected
        self._secret = rng.randbytes(KEY_BYTES)
        self._ephemeral = bindings.crypto_scalarmult_base(self._secret)
        self._shared = b""
        self._transcript = b""
        self._hello_taken = False

    @property
    def hello(self) -> bytes:
        """The initiator's first message."""
        return bytes((HELLO,)) + self._ephemeral

    @property
    def over(self) -> bool:
        """Whether nothing more is expected."""
        return self.peer is not None or self.refused is not None

    def receive(self, message: bytes) -> bytes | None:
        """Take a message; return what is to be sent in answer. Never raises for what a stranger sends."""
        if len(self.binding) > MAX_BINDING:
            raise LocalError(f"a binding has at most {MAX_BINDING} bytes, not {len(self.binding)}")
        if self.over:
            return None
        kind = message[0] if message else 0
        awaited = RESPONSE if self.initiator else CLOSING if self._hello_taken else HELLO
        if kind != awaited or len(message) != _LENGTHS[awaited]:
            self.refused = NotProven.MALFORMED
            return None
        if kind == HELLO:
            return self._respond(message)
        if kind == RESPONSE:
            return self._close(message)
        self._finish(message)
        return None

    def _respond(self, hello: bytes) -> bytes | None:
        self._hello_taken = True
        head = bytes((RESPONSE,)) + self._ephemeral
        if not self._agree(hello, head, hello[1:]):
            return None
        sealed = self._seal(b"responder", RESPONSE)
        self._transcript = _digest(self._transcript + sealed)
        return head + sealed

    def _close(self, message: bytes) -> bytes | None:
        head, sealed = message[: 1 + KEY_BYTES], message[1 + KEY_BYTES :]
        if not self._agree(self.hello, head, head[1:]):
            return None
        peer = self._open(sealed, b"responder", RESPONSE)
        if peer is None:
            return None
        self._transcript = _digest(self._transcript + sealed)
        closing = self._seal(b"initiator", CLOSING)
        self._proven(peer, closing)
        return bytes((CLOSING,)) + closing

    def _finish(self, message: bytes) -> None:
        peer = self._open(message[1:], b"initiator", CLOSING)
        if peer is not None:
            self._proven(peer, message[1:])

    def _agree(self, hello: bytes, head: bytes, theirs: bytes) -> bool:
        try:
            self._shared = bindings.crypto_scalarmult(self._secret, theirs)
        except CryptoError:  # All zero: the point was of small order (RFC 7748 section 6.1).
            self.refused = NotProven.BAD_KEY
            return False
        # All parts but the binding are of fixed length, and its length stands before it.
        self._transcript = _digest(len(self.binding).to_bytes(2, "big") + self.binding + hello + head)
        return True

    def _seal(self, label: bytes, kind: int) -> bytes:
        own = self._identity.public.raw
        signature = self._identity.sign(_signed(kind, self._transcript, own))
        return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            own + signature, self._transcript, _NONCE, self._key(label)
        )

    def _open(self, sealed: bytes, label: bytes, kind: int) -> PublicKey | None:
        try:
            plain = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                sealed, self._transcript, _NONCE, self._key(label)
            )
        except CryptoError:
            self.refused = NotProven.NOT_SEALED
            return None
        raw, signature = plain[:KEY_BYTES], plain[KEY_BYTES:]
        try:
            peer = PublicKey(raw)
        except WeakKey:
            self.refused = NotProven.BAD_KEY
            return None
        if self._expected is not None and peer != self._expected:
            self.refused = NotProven.ANOTHER
        elif peer == self._identity.public:
            self.refused = NotProven.OURSELVES
        elif not peer.verify(signature, _signed(kind, self._transcript, raw)):
            self.refused = NotProven.BAD_SIGNATURE
        return None if self.refused is not None else peer

    def _proven(self, peer: PublicKey, closing: bytes) -> None:
        self._transcript = _digest(self._transcript + closing)
        mine, theirs = (b"from initiator", b"from responder")[:: 1 if self.initiator else -1]
        self.keys = ChannelKeys(sending=self._key(mine), receiving=self._key(theirs))
        self.peer = peer
        self._shared = self._secret = b""

    def _key(self, label: bytes) -> bytes:
        return hashlib.blake2b(
            label + b"\x00" + self._transcript, digest_size=KEY_BYTES, key=self._shared, person=_PERSON
        ).digest()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=KEY_BYTES, person=_PERSON).digest()


def _signed(kind: int, transcript: bytes, identity: bytes) -> bytes:
    return _DOMAIN + bytes((kind,)) + transcript + identity
