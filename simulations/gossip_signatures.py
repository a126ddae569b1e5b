"""Signatures that cost a checksum: for worlds of gossip in which thousands sign every few seconds.

Decides that a checksum under the public key stands for a signature: the same sizes, and the same verdict on whatever is
not signed by whom it names. Refuses to be used where an attacker would know how: those of `gossip_liars` write random
bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dht.constants import SIGNATURE_BYTES
from dht.identity import IdentityKey
from node.protocols.presence_beats import Item, Verdicts


def checksum(public: bytes, message: bytes) -> bytes:
    """What stands for the signature of a key (32 bytes) over a message."""
    return hashlib.blake2b(message, digest_size=SIGNATURE_BYTES, key=public).digest()


@dataclass(frozen=True, slots=True)
class CheapKey(IdentityKey):
    """A real key pair that signs by checksum."""

    def sign(self, message: bytes) -> bytes:
        """Return the checksum of a message, 64 bytes."""
        return checksum(self.public.raw, message)


class CheapVerdicts(Verdicts):
    """Checks checksums; that is as quick as to remember a verdict."""

    def __init__(self) -> None:
        super().__init__(0, lambda public, signature, message: signature == checksum(public, message))

    def true(self, item: Item) -> bool:
        """Whether every checksum in `item` is that of whom it names."""
        self.verified += 1
        return self._holds(item)
