"""Signed records: what the DHT stores, and the rules by which one replaces another.

`UnverifiedRecord` and `SignedRecord` are different types: only `verify` (or signing it oneself) makes the second,
so nobody holds an unchecked record by accident. The encoding is unique: decoding and encoding again gives the
same bytes, and the signature covers all of them.

    version 1 ‖ kind 1 ‖ owner 32 ‖ seq 8 ‖ expiry 8 ‖ salt length 1 ‖ salt ‖ payload length 2 ‖ payload ‖ signature 64

An immutable record has no owner and no signature: its place is the hash of its bytes, which proves them.
Newest wins: higher sequence number replaces lower (BEP 44), equal ones must be the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dht.constants import KEY_BYTES, MAX_RECORD, MAX_SALT, PRINT_BYTES, SIGNATURE_BYTES
from dht.errors import LocalError, RemoteError, WeakKey
from dht.identity import IdentityKey, PublicKey, check_strict_point, hash_place, verify_strict

RECORD_VERSION: Final = 1

_SIGN_DOMAIN: Final = b"rookery/record/1\x00"
"""Prefix of what is signed: a record's signature means nothing elsewhere, nor another's here."""

_HEAD: Final = struct.Struct(">BB32sQQB")
_SHORT_HEAD: Final = struct.Struct(">BBQ")

MAX_LIFETIME: Final = 8 * 86_400.0
"""Longest time a record may still live when it is stored, in seconds. UNSOURCED: a week without its publisher, and a
day; IPFS keeps provider records for 48 h."""

CLOCK_TOLERANCE: Final = 2 * 3600.0
"""Clock error granted to an owner, in seconds: an hour off, as time zone mistakes are, must not cut a peer off.
UNSOURCED beyond that."""

MAX_SEQ: Final = 2**63 - 1
"""BEP 44 sequence numbers are signed 64-bit integers; negative ones are not used here."""


class Kind(IntEnum):
    """What a record is for; each kind has its own rule of place."""

    PEER = 1
    """How to reach an identity; one for each owner."""
    MUTABLE = 2
    """An app's own value under an owner and a salt of 1-64 bytes."""
    IMMUTABLE = 3
    """A value whose place is the hash of its bytes."""
    TOPIC = 4
    """An owner's announcement under a topic; many owners share one place. The salt is the 20-byte `topic_salt`."""
    LIST = 5
    """A pointer to a signed first-contact list."""


class Refusal(IntEnum):
    """Why a record, or the request that carries it, was not taken. Travels in replies, so numbers are for ever."""

    NONE = 0
    """Not refused."""
    MALFORMED = 1
    """The bytes are not a record."""
    UNKNOWN_VERSION = 2
    """A record format or kind of another time."""
    OVERSIZED = 3
    """More than 1,000 bytes, or a salt of more than 64."""
    BAD_SIGNATURE = 4
    """Not signed by the owner it names."""
    WEAK_KEY = 5
    """The owner's key, or the signature's point, is of small order or not canonical."""
    EXPIRED = 6
    """Its expiry has passed."""
    TOO_LONG = 7
    """It would live for longer than records may."""
    WRONG_PLACE = 8
    """It does not belong where it was stored or asked for."""
    OLDER = 9
    """A record with a higher sequence number is known: a roll-back or a replay."""
    CONFLICT = 10
    """Other bytes with the same sequence number are known."""
    CAS_MISMATCH = 11
    """Compare-and-swap: the expected sequence number is not the current one."""
    BAD_TOKEN = 12
    """The write token is missing, too old, or another address's."""
    OWNER_QUOTA = 13
    """The owner has as many records here as one may."""
    PREFIX_QUOTA = 14
    """The network the request came from has as many records here as one may."""
    FULL = 15
    """The store is full of records that belong here more."""
    RATE_LIMITED = 16
    """Too many requests from this address."""
    NOT_REGISTERED = 17
    """The peer has no forwarding entry here."""
    UNREACHED = 18
    """The registered peer did not take the signal in time."""
    NOT_SERVER = 19
    """This node is a client: it stores and forwards nothing."""
    TIMEOUT = 20
    """No answer came. Never on the wire: a receipt's word for silence."""
    WAIT = 21
    """The topic is crowded: ask again, with the token that came with this, in the seconds said."""


class RecordRefused(RemoteError):
    """Raised when a record does not hold; `refusal` says why, `detail` to which value."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"record refused ({refusal.name.lower()}): {detail}")
        self.refusal = refusal
        self.detail = detail


@dataclass(frozen=True, slots=True)
class UnverifiedRecord:
    """A record as decoded: well-formed, and nothing more."""

    raw: bytes
    """All its bytes."""
    kind: Kind
    owner: bytes
    """The owner's 32-byte Ed25519 key; empty for an immutable record."""
    seq: int
    expires: int
    """Unix seconds, by the owner's clock."""
    salt: bytes
    payload: bytes

    @property
    def place(self) -> bytes:
        """The 20-byte place it belongs to."""
        return place_of(self.kind, self.owner, self.salt, self.raw)


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A record whose signature (or hash) was checked, or that we signed ourselves."""

    raw: bytes
    kind: Kind
    owner: bytes
    seq: int
    expires: int
    salt: bytes
    payload: bytes
    place: bytes

    def newer_than(self, other: SignedRecord) -> bool:
        """Whether this one replaces `other` of the same place and owner."""
        return self.seq > other.seq


def place_of(kind: Kind, owner: bytes, salt: bytes, raw: bytes = b"") -> bytes:
    """Return the 20-byte place of a record: H(owner ‖ salt), H(bytes) of an immutable one, H(salt) of a topic's."""
    if kind is Kind.IMMUTABLE:
        return hash_place(b"rookery/value", raw)
    if kind is Kind.TOPIC:
        # Hashed once more: were the salt the place itself, announcements could be aimed at a peer record's place,
        # and fill its holders with records of strangers.
        return hash_place(b"rookery/topics", salt)
    return hash_place(b"rookery/place", bytes((kind,)), owner, salt)


def peer_place(owner: PublicKey) -> bytes:
    """The place of an identity's peer record."""
    return place_of(Kind.PEER, owner.raw, b"")


def mutable_place(owner: PublicKey, salt: bytes) -> bytes:
    """The place of an app's own record under `salt`."""
    return place_of(Kind.MUTABLE, owner.raw, salt)


def topic_salt(name: str) -> bytes:
    """The salt of an announcement under a topic's name: a hash, so that holders do not read the name."""
    return hash_place(b"rookery/topic", name.encode())


def topic_place(name: str) -> bytes:
    """The place where announcements under a topic's name are kept. Their salt is `topic_salt`, not this."""
    return place_of(Kind.TOPIC, b"", topic_salt(name))


def fingerprint(raw: bytes) -> bytes:
    """The 8 bytes that stand for a record of these bytes where holders compare what they have."""
    return hashlib.blake2b(raw, digest_size=PRINT_BYTES, person=b"rookery/have").digest()


def sign_record(
    identity: IdentityKey, kind: Kind, payload: bytes, *, seq: int, expires: float, salt: bytes = b""
) -> SignedRecord:
    """Make a record of ours. Raises `LocalError` naming the field that breaks a rule."""
    if kind is Kind.IMMUTABLE:
        raise LocalError("an immutable record has no owner: use immutable_record")
    if kind is Kind.MUTABLE and not 1 <= len(salt) <= MAX_SALT:
        raise LocalError(f"a mutable record's salt has 1 to {MAX_SALT} bytes, not {len(salt)}")
    if kind is Kind.TOPIC and len(salt) != 20:
        raise LocalError("a topic announcement's salt is the 20-byte topic_salt of its topic")
    if kind is Kind.PEER and salt:
        raise LocalError("a peer record has no salt: there is one for each identity")
    if kind is Kind.LIST and len(salt) > MAX_SALT:
        raise LocalError(f"a salt has at most {MAX_SALT} bytes, not {len(salt)}")
    if not 0 <= seq <= MAX_SEQ:
        raise LocalError(f"a sequence number lies in 0..2^63-1, not {seq}")
    if not 0 <= expires < 2**64:
        raise LocalError(f"an expiry is in Unix seconds, 0 or later, not {expires}")
    if len(payload) > MAX_RECORD:
        raise LocalError(f"a value of {len(payload)} bytes is too long: a record has at most {MAX_RECORD} bytes")
    owner = identity.public.raw
    body = _HEAD.pack(RECORD_VERSION, kind, owner, seq, int(expires), len(salt)) + salt
    body += len(payload).to_bytes(2, "big") + payload
    size = len(body) + SIGNATURE_BYTES
    if size > MAX_RECORD:
        raise LocalError(
            f"the value is {size - MAX_RECORD} bytes too long: a record has at most {MAX_RECORD} bytes, "
            f"of which {size - len(payload)} are its envelope"
        )
    raw = body + identity.sign(_SIGN_DOMAIN + body)
    return SignedRecord(raw, kind, owner, seq, int(expires), salt, payload, place_of(kind, owner, salt))


def immutable_record(payload: bytes, *, expires: float) -> SignedRecord:
    """Make a record whose place is the hash of its value. `expires` is not part of the bytes: holders keep it as
    long as they keep records at all, so that equal values share a place."""
    raw = _SHORT_HEAD.pack(RECORD_VERSION, Kind.IMMUTABLE, len(payload)) + payload
    if len(raw) > MAX_RECORD:
        raise LocalError(f"the value is {len(raw) - MAX_RECORD} bytes too long: at most {MAX_RECORD - 10} fit")
    return SignedRecord(
        raw, Kind.IMMUTABLE, b"", 0, int(expires), b"", payload, place_of(Kind.IMMUTABLE, b"", b"", raw)
    )


def decode_record(raw: bytes) -> UnverifiedRecord:
    """Read a record's bytes. Raises `RecordRefused` for anything that is not exactly one well-formed record."""
    if len(raw) > MAX_RECORD:
        raise RecordRefused(Refusal.OVERSIZED, f"{len(raw)} bytes, at most {MAX_RECORD} are allowed")
    if len(raw) < _SHORT_HEAD.size:
        raise RecordRefused(Refusal.MALFORMED, f"{len(raw)} bytes are too few")
    if raw[0] != RECORD_VERSION:
        raise RecordRefused(Refusal.UNKNOWN_VERSION, f"version {raw[0]}, known is {RECORD_VERSION}")
    try:
        kind = Kind(raw[1])
    except ValueError:
        raise RecordRefused(Refusal.UNKNOWN_VERSION, f"kind {raw[1]}") from None
    if kind is Kind.IMMUTABLE:
        length = _SHORT_HEAD.unpack_from(raw)[2]
        if len(raw) != _SHORT_HEAD.size + length:
            raise RecordRefused(Refusal.MALFORMED, f"{len(raw)} bytes, {_SHORT_HEAD.size + length} were said")
        return UnverifiedRecord(raw, kind, b"", 0, 0, b"", raw[_SHORT_HEAD.size :])
    return _decode_signed(raw, kind)


def _decode_signed(raw: bytes, kind: Kind) -> UnverifiedRecord:
    if len(raw) < _HEAD.size + 2 + SIGNATURE_BYTES:
        raise RecordRefused(Refusal.MALFORMED, f"{len(raw)} bytes are too few for a signed record")
    _, _, owner, seq, expires, salt_length = _HEAD.unpack_from(raw)
    if salt_length > MAX_SALT:
        raise RecordRefused(Refusal.OVERSIZED, f"a salt of {salt_length} bytes, at most {MAX_SALT} are allowed")
    if kind is Kind.MUTABLE and salt_length == 0:
        raise RecordRefused(Refusal.MALFORMED, "a mutable record without a salt")
    if kind is Kind.TOPIC and salt_length != 20:
        raise RecordRefused(Refusal.MALFORMED, "a topic announcement whose salt is no topic's")
    if kind is Kind.PEER and salt_length != 0:
        raise RecordRefused(Refusal.MALFORMED, "a peer record with a salt")
    if seq > MAX_SEQ:
        raise RecordRefused(Refusal.MALFORMED, f"sequence number {seq} is over 2^63-1")
    start = _HEAD.size + salt_length + 2
    payload_length = int.from_bytes(raw[start - 2 : start], "big")
    if len(raw) != start + payload_length + SIGNATURE_BYTES:
        raise RecordRefused(Refusal.MALFORMED, f"{len(raw)} bytes do not fit the lengths inside")
    return UnverifiedRecord(
        raw, kind, owner, seq, expires, raw[_HEAD.size : start - 2], raw[start : start + payload_length]
    )


class VerdictCache:
    """Remembers which signatures were good, by hash, so that the twentieth copy of a record costs 1 µs, not 60.

    Only good verdicts are kept: a forger cannot fill it. Bounded: `capacity` entries of about 120 bytes.
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._good)

    def knows(self, digest: bytes) -> bool:
        """Whether the bytes behind `digest` were verified before."""
        return digest in self._good

    def add(self, digest: bytes) -> None:
        """Remember a good verdict, forgetting the oldest when full."""
        self._good[digest] = None
        if len(self._good) > self._capacity:
            self._good.popitem(last=False)


def verify_record(
    record: UnverifiedRecord, now: float, cache: VerdictCache | None = None, *, place: bytes | None = None
) -> SignedRecord:
    """Check place, expiry and signature, cheapest first. Raises `RecordRefused` with the first rule broken.

    `place` is where it was stored or asked for; None accepts any. An immutable record gets the longest lifetime.
    """
    own_place = record.place
    if place is not None and own_place != place:
        raise RecordRefused(Refusal.WRONG_PLACE, f"belongs to {own_place.hex()}, not {place.hex()}")
    expires = record.expires
    if record.kind is Kind.IMMUTABLE:
        expires = int(now + MAX_LIFETIME)
    else:
        if expires <= now:
            raise RecordRefused(Refusal.EXPIRED, f"expired {now - expires:.0f} s ago by this node's clock")
        if expires > now + MAX_LIFETIME + CLOCK_TOLERANCE:
            raise RecordRefused(
                Refusal.TOO_LONG,
                f"expires in {(expires - now) / 3600:.1f} h, at most {MAX_LIFETIME / 3600:.0f} h",
            )
        _check_signature(record, cache)
    return SignedRecord(
        record.raw, record.kind, record.owner, record.seq, expires, record.salt, record.payload, own_place
    )


def _check_signature(record: UnverifiedRecord, cache: VerdictCache | None) -> None:
    raw = record.raw
    digest = hashlib.blake2b(raw, digest_size=20).digest()
    if cache is not None and cache.knows(digest):
        return
    signature = raw[-SIGNATURE_BYTES:]
    try:
        check_strict_point(record.owner)
        check_strict_point(signature[:KEY_BYTES])
    except WeakKey as error:
        raise RecordRefused(Refusal.WEAK_KEY, str(error)) from None
    if not verify_strict(record.owner, signature, _SIGN_DOMAIN + raw[:-SIGNATURE_BYTES]):
        raise RecordRefused(Refusal.BAD_SIGNATURE, f"not signed by {record.owner[:4].hex()}…")
    if cache is not None:
        cache.add(digest)


def check_replaces(new: SignedRecord, old: SignedRecord | None, expected_seq: int | None) -> Refusal:
    """Judge `new` against the record held under the same place and owner.

    `NONE` means take it; for equal bytes that is a refresh. `expected_seq` is compare-and-swap: the sequence
    number the writer believes to be current (BEP 44 `cas`), None to not ask.
    """
    if old is None:
        # A holder that never saw the record cannot contradict the writer: replicas may come and go.
        return Refusal.NONE
    if new.raw == old.raw:
        return Refusal.NONE
    if new.seq < old.seq:
        return Refusal.OLDER
    if new.seq == old.seq:
        return Refusal.CONFLICT
    if expected_seq is not None and expected_seq != old.seq:
        return Refusal.CAS_MISMATCH
    return Refusal.NONE
