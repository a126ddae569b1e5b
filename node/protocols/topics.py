"""Topics: where their members announce themselves, what an announcement says, and how members prove they know a topic.

Decides places, bytes and secrets. Refuses to know when anybody announces (`topic_members`) and what members say to each
other (`topic_messages`).

A public topic is its name. A private one is a name and a secret: its places follow from both, and its announcements are
signed by a key made for this alone, with the announcer's identity sealed inside. So whoever holds them sees how many
there are, and neither the topic nor who is there.
"""

from __future__ import annotations

import enum
import hashlib
import struct
import unicodedata
from dataclasses import dataclass, field
from typing import Final

import nacl.exceptions
from nacl import pwhash
from nacl.secret import SecretBox

from dht.errors import DecodeError, LocalError, WeakKey
from dht.identity import IdentityKey, PublicKey
from dht.records import Kind, SignedRecord, place_of, sign_record, topic_salt

VERSION: Final = 1
SEALED: Final = 2
"""First byte of an announcement that only members can read."""

MAX_NAME_BYTES: Final = 128
"""Bytes of a topic's name in UTF-8. UNSOURCED"""

SHARDS: Final = 16
"""Further places of a topic, for those whom its first place has no room for: a place holds 128 announcements, so 2,176
members can be found in all, and who floods a topic has seventeen places to fill."""

_OWN: Final = "rookery/"
"""Topics of the program's own begin so: apps neither join nor flood them by mistake."""

_TAG_BYTES: Final = 32
_HEAD: Final = struct.Struct(">BB")
_SEALED: Final = struct.Struct(">32s64sB")
_DOMAIN: Final = b"rookery/topic-member/1\x00"
SEALED_BYTES: Final = 1 + SecretBox.NONCE_SIZE + SecretBox.MACBYTES + _SEALED.size


class AnnouncementFlags(enum.IntFlag):
    """What an announcement says of its owner."""

    LEAVING = 1
    """It has left: do not dial it."""
    FULL = 2
    """It has as many neighbours as it takes: dial it after others."""


KNOWN_FLAGS: Final = AnnouncementFlags.LEAVING | AnnouncementFlags.FULL


class BadTopic(LocalError):
    """Raised for a text that cannot be a topic's name."""

    kind = "bad-topic"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name[:64]!r} cannot be a topic: {problem}")


def checked_topic(text: str) -> str:
    """A topic's name as it is hashed: NFC, printable. Raises `BadTopic`."""
    name = unicodedata.normalize("NFC", text.strip())
    if not 1 <= len(name.encode(errors="replace")) <= MAX_NAME_BYTES:
        raise BadTopic(text, f"a name has 1 to {MAX_NAME_BYTES} bytes of UTF-8")
    if any(not char.isprintable() for char in name):
        raise BadTopic(text, "it has a character that cannot be printed")
    if name.startswith(_OWN):
        raise BadTopic(text, f"names that begin with {_OWN} are the program's own")
    return name


@dataclass(frozen=True, slots=True)
class Announcement:
    """That somebody is in a topic."""

    member: PublicKey
    flags: AnnouncementFlags
    record: SignedRecord
    """What was announced, to be handed on as it is."""


@dataclass(frozen=True, slots=True, repr=False)
class TopicKey:
    """What one has to know of a topic to be in it. Made by `public` or `private`."""

    name: str
    is_private: bool
    _secret: bytes = field(repr=False)
    """32 bytes that follow from the name, of a private topic from name and secret."""

    def __repr__(self) -> str:
        return f"TopicKey({self.name!r}{', private' if self.is_private else ''})"

    @classmethod
    def public(cls, name: str) -> TopicKey:
        """A topic that everybody who knows its name is free to join. Raises `BadTopic`."""
        name = checked_topic(name)
        return cls(name, False, _hash(b"public", name.encode()))

    @classmethod
    def private(cls, name: str, secret: str) -> TopicKey:
        """A topic of those who know the secret. Takes 0.1 s and 64 MiB, so that guessing words costs that for each.

        Raises `BadTopic`, or `LocalError` for an empty secret.
        """
        name = checked_topic(name)
        if not secret:
            raise LocalError("a private topic's secret must not be empty")
        drawn = pwhash.argon2id.kdf(
            32,
            unicodedata.normalize("NFC", secret).encode(),
            hashlib.blake2b(name.encode(), digest_size=pwhash.argon2id.SALTBYTES, person=b"rookery/topic").digest(),
            opslimit=pwhash.argon2id.OPSLIMIT_INTERACTIVE,
            memlimit=pwhash.argon2id.MEMLIMIT_INTERACTIVE,
        )
        return cls(name, True, _hash(b"private", name.encode(), drawn))

    @property
    def tag(self) -> bytes:
        """32 bytes that stand for the topic in what is signed; never sent."""
        return _hash(b"tag", self._secret)

    def shard_of(self, owner: bytes) -> int:
        """The further place (1 to `SHARDS`) of an announcement's owner."""
        return 1 + owner[-1] % SHARDS

    def salt(self, shard: int = 0) -> bytes:
        """The salt of announcements at one of the topic's places."""
        name = _hash(b"place", self._secret).hex() if self.is_private else self.name
        # No name has a line break: no topic's further place is another topic's.
        return topic_salt(f"{name}\n{shard}" if shard else name)

    def place(self, shard: int = 0) -> bytes:
        """One of the topic's places, 20 bytes: 0 is the first, 1 to `SHARDS` the further ones."""
        return place_of(Kind.TOPIC, b"", self.salt(shard))

    def proof(self, opener: PublicKey, other: PublicKey, *, answering: bool) -> bytes:
        """32 bytes by which one end of a link shows the other that it knows the topic; useless to anybody else."""
        word = b"answer" if answering else b"open"
        return hashlib.blake2b(
            word + b"\x00" + opener.raw + other.raw, key=self.tag, digest_size=_TAG_BYTES, person=b"rookery/topic"
        ).digest()

    def announce(
        self,
        identity: IdentityKey,
        owner: IdentityKey,
        flags: AnnouncementFlags,
        *,
        shard: int,
        seq: int,
        expires: float,
        nonce: bytes,
    ) -> SignedRecord:
        """A member's announcement. `owner` is its identity, or in a private topic a key made for this alone; `nonce`
        has 24 random bytes."""
        payload = _HEAD.pack(VERSION, flags)
        if self.is_private:
            signature = identity.sign(self._membership(owner.public.raw))
            box = SecretBox(_hash(b"seal", self._secret))
            sealed = box.encrypt(_SEALED.pack(identity.public.raw, signature, flags), nonce)
            payload = bytes((SEALED,)) + sealed
        return sign_record(owner, Kind.TOPIC, payload, seq=seq, expires=expires, salt=self.salt(shard))

    def read(self, record: SignedRecord) -> Announcement:
        """What an announcement says. Raises `DecodeError`; a later release may append."""
        payload = record.payload
        if record.kind is not Kind.TOPIC or not payload:
            raise DecodeError("topic announcement", "not one")
        try:
            if self.is_private:
                member, said = self._opened(record)
            else:
                if payload[0] != VERSION or len(payload) < _HEAD.size:
                    raise DecodeError("topic announcement", f"version {payload[0]}, {len(payload)} bytes")
                member, said = PublicKey(record.owner), payload[1]
        except WeakKey as error:
            raise DecodeError("topic announcement", str(error)) from None
        return Announcement(member, AnnouncementFlags(said & KNOWN_FLAGS), record)

    def _opened(self, record: SignedRecord) -> tuple[PublicKey, int]:
        payload = record.payload
        if payload[0] != SEALED or len(payload) < SEALED_BYTES:
            raise DecodeError("topic announcement", "not a sealed one")
        try:
            plain = SecretBox(_hash(b"seal", self._secret)).decrypt(payload[1:])
        except nacl.exceptions.CryptoError:
            raise DecodeError("topic announcement", "sealed under another secret") from None
        raw, signature, flags = _SEALED.unpack_from(plain)
        member = PublicKey(raw)
        if not member.verify(signature, self._membership(record.owner)):
            raise DecodeError("topic announcement", f"not by {member.short}")
        return member, flags

    def _membership(self, owner: bytes) -> bytes:
        """What a member signs to say that the announcements of `owner` are its own."""
        return _DOMAIN + self.tag + owner


def _hash(word: bytes, *parts: bytes) -> bytes:
    joined = b"".join(len(part).to_bytes(2, "big") + part for part in (word, *parts))
    return hashlib.blake2b(joined, digest_size=32, person=b"rookery/topic").digest()
