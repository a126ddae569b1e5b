"""What an owner says of itself, signed: beats and cards, pledges to its neighbours, and what those may say of it.

Decides the bytes and what is signed. Refuses to know who is told, and when.

    beat        kind 1 ‖ owner 32 ‖ epoch 4 ‖ seq 4 ‖ news 4 ‖ seconds 4 ‖ interval 2 ‖ status 1 ‖ known 2
                ‖ needed 1 ‖ void 4 ‖ card 16 ‖ signature 64
    accusation  kind 2 ‖ owner 32 ‖ epoch 4 ‖ news 4 ‖ seconds 4 ‖ given 4 ‖ until 4 ‖ needed 1 ‖ pledge's signature 64
                ‖ accuser 32 ‖ signature 64
    pledge      signed: owner 32 ‖ neighbour 32 ‖ epoch 4 ‖ given 4 ‖ until 4 ‖ needed 1
    card        a msgpack array, proven by its hash in the beat

Nobody can say anything of a third peer but that it has fallen silent, and that only whom this peer itself has named its
neighbour, by a pledge. The peer's next beat takes it back.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from dht.constants import SIGNATURE_BYTES
from dht.contact import PACKED_V4, PACKED_V6, Contact, unpack_contact
from dht.errors import DecodeError, LocalError
from dht.identity import IdentityKey, verify_strict
from node.protocols.peer_record import FINGERPRINT_BYTES, MAX_DIRECT, MAX_HOMES, PeerRecord, few_homes

BEAT_KIND: Final = 1
ACCUSATION_KIND: Final = 2

_BEAT: Final = struct.Struct(">B32sIIIIHBHBI16s")
_ACCUSATION: Final = struct.Struct(">B32sIIIIIB64s32s")
_PLEDGE: Final = struct.Struct(">32s32sIIIB")
BEAT_BYTES: Final = _BEAT.size + SIGNATURE_BYTES
ACCUSATION_BYTES: Final = _ACCUSATION.size + SIGNATURE_BYTES

BEAT_DOMAIN: Final = b"rookery/beat/1\0"
ACCUSATION_DOMAIN: Final = b"rookery/accuse/1\0"
PLEDGE_DOMAIN: Final = b"rookery/pledge/1\0"
"""Prefixes of what is signed: none of these signatures means anything elsewhere."""

CARD_DIGEST_BYTES: Final = 16
ID_BYTES: Final = 8
"""Of what news is named by: a second preimage is 2^64 of work, and would hide one item from some."""

CARD_VERSION: Final = 1
MAX_CARD: Final = 700
"""Bytes, as a peer record's payload."""
MAX_NEIGHBOURS: Final = 8
"""Neighbours that a card names. UNSOURCED: more than a node has."""
MARK_BYTES: Final = 8
"""Of an owner's key, by which a card names neighbours."""

Version = tuple[int, int]
"""Epoch and seq (or news): of two beats of one owner the higher counts."""

_WHAT: Final = "presence"


class Status(enum.IntEnum):
    """What an owner says it is."""

    OFFLINE = 0
    """It has left, in good order."""
    ONLINE = 1
    AWAY = 2
    BUSY = 3


_Packed = Annotated[bytes, Meta(min_length=PACKED_V4, max_length=PACKED_V6)]


class _Card(msgspec.Struct, frozen=True, array_like=True):
    """The array on the wire. Fields may be appended, with a default, and never be moved."""

    version: Annotated[int, Meta(ge=1, le=255)]
    direct: Annotated[list[_Packed], Meta(max_length=MAX_DIRECT)]
    homes: Annotated[list[_Packed], Meta(max_length=MAX_HOMES)]
    fingerprint: Annotated[bytes, Meta(max_length=FINGERPRINT_BYTES)]
    text: Annotated[str, Meta(max_length=200)]
    neighbours: Annotated[bytes, Meta(max_length=MAX_NEIGHBOURS * MARK_BYTES)]


_encode_card: Final = msgspec.msgpack.Encoder().encode
_decode_card: Final = msgspec.msgpack.Decoder(_Card).decode


@dataclass(frozen=True, slots=True)
class Card:
    """What changes seldom: ways to the owner, a line of text, whom it is linked with."""

    direct: tuple[Contact, ...]
    homes: tuple[Contact, ...]
    fingerprint: bytes
    text: str
    neighbours: tuple[bytes, ...]
    """The first 8 bytes of each neighbour's key."""
    raw: bytes
    digest: bytes

    @property
    def reachable(self) -> bool:
        """Whether it names any way to the owner."""
        return bool(self.direct or self.homes)


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat. From `decode_item` it is not verified yet."""

    owner: bytes
    version: Version
    news: int
    """Grows with what all should know: a change, a sign of life against an accusation, a refreshment."""
    seconds: int
    interval: int
    """Seconds until its neighbours may expect the next one."""
    status: Status
    known: int
    """Peers it knows of."""
    needed: int
    """Neighbours who have to agree on its death; of this and their pledges the highest number counts."""
    void: int
    """Pledges given before this news no longer count."""
    card: bytes
    """The hash of its card."""
    raw: bytes
    id: bytes
    """Names owner, epoch and news: what all should know is one thing, whichever beat brings it."""

    @property
    def told(self) -> Version:
        """Epoch and news."""
        return self.version[0], self.news


@dataclass(frozen=True, slots=True)
class Accusation:
    """A neighbour has heard nothing of its owner since a beat. From `decode_item` it is not verified yet."""

    owner: bytes
    version: Version
    """Epoch and news of the owner, as the accuser had them: later news of its refute it, not just a later beat."""
    seconds: int
    given: int
    """The owner's news when it gave the pledge."""
    until: int
    """Unix seconds to which the pledge holds."""
    needed: int
    """Accusers whom the owner itself asks for before it may be taken for dead."""
    accuser: bytes
    pledge: bytes
    raw: bytes
    id: bytes


@dataclass(frozen=True, slots=True)
class Pledge:
    """The owner's word that a node is its neighbour, and how many of them may together accuse it."""

    owner: bytes
    neighbour: bytes
    epoch: int
    given: int
    """Its news then."""
    until: int
    needed: int
    signature: bytes

    @property
    def said(self) -> bytes:
        """What is signed."""
        return PLEDGE_DOMAIN + _PLEDGE.pack(self.owner, self.neighbour, self.epoch, self.given, self.until, self.needed)


Item = Beat | Accusation


def make_card(
    direct: tuple[Contact, ...] = (),
    homes: tuple[Contact, ...] = (),
    fingerprint: bytes = b"",
    text: str = "",
    neighbours: tuple[bytes, ...] = (),
) -> Card:
    """Write a card; of many home nodes it names a few. Raises `LocalError` for a text or fingerprint that does not fit,
    as a peer record does."""
    homes = few_homes(homes)
    PeerRecord(direct=direct, homes=homes, status=text, fingerprint=fingerprint).to_bytes()
    marks = tuple(sorted(mark[:MARK_BYTES] for mark in neighbours))[:MAX_NEIGHBOURS]
    packed = [contact.packed for contact in direct], [contact.packed for contact in homes]
    raw = _encode_card(_Card(CARD_VERSION, *packed, fingerprint, text, b"".join(marks)))
    return Card(direct, homes, fingerprint, text, marks, raw, card_digest(raw))


def card_digest(raw: bytes) -> bytes:
    """The hash by which a beat names a card."""
    return hashlib.blake2b(raw, digest_size=CARD_DIGEST_BYTES, person=b"rookery/card").digest()


@lru_cache(maxsize=4096)  # UNSOURCED: about 4 MB; each card comes by several neighbours
def decode_card(raw: bytes) -> Card:
    """Read a card. Raises `DecodeError`."""
    if len(raw) > MAX_CARD:
        raise DecodeError(_WHAT, f"a card of {len(raw)} bytes, at most {MAX_CARD} are allowed")
    try:
        fields = _decode_card(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(_WHAT, f"a card: {error}") from None
    if fields.version != CARD_VERSION:
        raise DecodeError(_WHAT, f"a card of version {fields.version}, known is {CARD_VERSION}")
    if len(fields.neighbours) % MARK_BYTES or len(fields.fingerprint) not in (0, FINGERPRINT_BYTES):
        raise DecodeError(_WHAT, "a card's neighbours or fingerprint have no length of theirs")
    try:
        PeerRecord(status=fields.text).to_bytes()
    except LocalError as error:
        raise DecodeError(_WHAT, str(error)) from None
    marks = fields.neighbours
    return Card(
        _contacts(fields.direct),
        _contacts(fields.homes),
        fields.fingerprint,
        fields.text,
        tuple(marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)),
        raw,
        card_digest(raw),
    )


def _contacts(packed: list[bytes]) -> tuple[Contact, ...]:
    contacts = tuple(unpack_contact(one) if len(one) in (PACKED_V4, PACKED_V6) else None for one in packed)
    found = tuple(contact for contact in contacts if contact is not None)
    if len(found) != len(contacts):
        raise DecodeError(_WHAT, "a card names a contact nobody can reach")
    return found


def sign_beat(
    key: IdentityKey,
    version: Version,
    news: int,
    seconds: int,
    interval: int,
    status: Status,
    known: int,
    needed: int,
    void: int,
    card: bytes,
) -> Beat:
    """Make a beat of ours."""
    fields = (key.public.raw, *version, news, seconds, interval, status, min(known, 65535), needed, void, card)
    body = _BEAT.pack(BEAT_KIND, *fields)
    beat = decode_item(body + key.sign(BEAT_DOMAIN + body))
    assert isinstance(beat, Beat)
    return beat


def sign_pledge(key: IdentityKey, neighbour: bytes, epoch: int, given: int, until: int, needed: int) -> Pledge:
    """Name a node our neighbour until a time."""
    unsigned = Pledge(key.public.raw, neighbour, epoch, given, until, needed, b"")
    return Pledge(unsigned.owner, neighbour, epoch, given, until, needed, key.sign(unsigned.said))


def sign_accusation(key: IdentityKey, pledge: Pledge, version: Version, seconds: int) -> Accusation:
    """Say that we hear nothing more of a neighbour, whose news we have up to `version`."""
    head = (
        pledge.owner,
        *version,
        seconds,
        pledge.given,
        pledge.until,
        pledge.needed,
        pledge.signature,
        key.public.raw,
    )
    body = _ACCUSATION.pack(ACCUSATION_KIND, *head)
    made = decode_item(body + key.sign(ACCUSATION_DOMAIN + body))
    assert isinstance(made, Accusation)
    return made


@lru_cache(maxsize=8192)  # UNSOURCED: about 4 MB; the same item comes from several neighbours
def decode_item(raw: bytes) -> Item:
    """Read a beat or an accusation, without verifying it. Raises `DecodeError`."""
    if len(raw) == BEAT_BYTES and raw[0] == BEAT_KIND:
        _, owner, epoch, seq, news, seconds, interval, status, known, needed, void, card = _BEAT.unpack_from(raw)
        if status > Status.BUSY or interval == 0 or news > seq:
            raise DecodeError(_WHAT, f"a beat of status {status}, interval {interval}, news {news} of {seq}")
        named = hashlib.blake2b(raw[1:37] + news.to_bytes(4, "big"), digest_size=ID_BYTES).digest()
        return Beat(owner, (epoch, seq), news, seconds, interval, Status(status), known, needed, void, card, raw, named)
    if len(raw) == ACCUSATION_BYTES and raw[0] == ACCUSATION_KIND:
        _, owner, epoch, news, seconds, given, until, needed, pledge, accuser = _ACCUSATION.unpack_from(raw)
        if not needed or owner == accuser:
            raise DecodeError(_WHAT, "an accusation by the accused, or one for which nobody is needed")
        named = hashlib.blake2b(raw[:-SIGNATURE_BYTES], digest_size=ID_BYTES).digest()
        return Accusation(owner, (epoch, news), seconds, given, until, needed, accuser, pledge, raw, named)
    raise DecodeError(_WHAT, f"{len(raw)} bytes of kind {raw[:1].hex() or 'none'} are neither beat nor accusation")


Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a signature (second) over a message (third) is by a key (first)."""


class Verdicts:
    """Which items are what they claim to be: each is verified once (65 µs a signature), and the verdict kept."""

    def __init__(self, capacity: int = 8192, verify: Verify = verify_strict) -> None:
        """`capacity`: UNSOURCED, about 1 MB. `verify` is for worlds whose keys sign otherwise."""
        self._capacity = capacity
        self._verify = verify
        self._known: dict[bytes, bool] = {}
        self.verified = 0
        """Items that were really verified."""

    def true(self, item: Item) -> bool:
        """Whether every signature in `item` is that of whom it names."""
        key = hashlib.blake2b(item.raw, digest_size=16).digest()
        verdict = self._known.get(key)
        if verdict is None:
            self.verified += 1
            verdict = self._holds(item)
            if len(self._known) >= self._capacity:
                del self._known[next(iter(self._known))]
            self._known[key] = verdict
        return verdict

    def pledged(self, pledge: Pledge, now: float) -> bool:
        """Whether a pledge is its owner's, and still good."""
        return now <= pledge.until and self._verify(pledge.owner, pledge.signature, pledge.said)

    def _holds(self, item: Item) -> bool:
        body, signature = item.raw[:-SIGNATURE_BYTES], item.raw[-SIGNATURE_BYTES:]
        if isinstance(item, Beat):
            return self._verify(item.owner, signature, BEAT_DOMAIN + body)
        pledge = Pledge(item.owner, item.accuser, item.version[0], item.given, item.until, item.needed, item.pledge)
        return self._verify(item.owner, item.pledge, pledge.said) and self._verify(
            item.accuser, signature, ACCUSATION_DOMAIN + body
        )
