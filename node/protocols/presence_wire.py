"""The messages of gossip between two linked peers: one frozen struct each, to and from bytes.

Decides shapes and bounds. Refuses to know what they are for. A message is a msgpack array, its kind first; a later
release may append fields to one, and kinds that are not known are skipped.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from dht.constants import KEY_BYTES, SIGNATURE_BYTES
from dht.errors import DecodeError
from node.protocols.presence_beats import ACCUSATION_BYTES, ID_BYTES, MAX_CARD

VERSION: Final = 1
STREAM: Final = "rookery/presence/1"

MAX_MESSAGE: Final = 16_384
"""Bytes. Bounds what one message makes a receiver hold; the largest digest has 12 kB."""
MAX_ITEMS: Final = 32
"""News in one message."""
MAX_IDS: Final = 256
MAX_PEOPLE: Final = 8
"""Peers in a shuffle: HyParView has 1 + 3 + 4 (Leitão et al. 2007, section 5.1)."""
MAX_SOUGHT: Final = 32
"""Keys sought at once."""
DIGEST_BYTES: Final = 2
"""Of each id in a digest. Of 1,000 things, one in 66 unknown ones looks known; another place of the ids is taken each
time. A Bloom filter of 10 bits each is 1.6 times smaller, and cost 20 times the CPU in Python."""
MAX_DIGEST: Final = 6144
"""Things a digest names: 2,048 peers and who accuses them."""
MAX_WALK: Final = 6
"""Hops of a walk: ARWL of HyParView, as there."""
MAX_HOPS: Final = 64

_Raw = Annotated[bytes, Meta(max_length=ACCUSATION_BYTES)]
_CardRaw = Annotated[bytes, Meta(max_length=MAX_CARD)]
_Ids = Annotated[bytes, Meta(max_length=MAX_IDS * ID_BYTES)]
_Walk = Annotated[int, Meta(ge=0, le=MAX_WALK)]


class Told(msgspec.Struct, frozen=True, array_like=True):
    """An item on its way: how far it has come, its bytes, and a beat's card."""

    hops: Annotated[int, Meta(ge=0, le=MAX_HOPS)]
    raw: _Raw
    card: _CardRaw = b""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first message each way."""

    version: Annotated[int, Meta(ge=1, le=255)]
    flags: Annotated[int, Meta(ge=0, le=255)]
    """1: may be a neighbour."""
    told: Told


class Neighbour(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Be my neighbour; `urgent` when we have none."""

    urgent: bool


class NeighbourAnswer(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Yes or no."""

    accepted: bool


class Part(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """No longer neighbours; the link stays."""


class Walk(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A newcomer looks for neighbours by a random walk."""

    ttl: _Walk
    told: Told


class Shuffle(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Some peers we know, for some that you know."""

    people: Annotated[list[Told], Meta(max_length=MAX_PEOPLE)]
    answer: bool


class News(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """What all should know; `pushed` when it comes by the tree, not for the asking."""

    items: Annotated[list[Told], Meta(max_length=MAX_ITEMS)]
    pushed: bool


class Have(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """We could tell you of these (ids of 8 bytes)."""

    ids: _Ids


class Graft(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Tell me these, and henceforth at once."""

    ids: _Ids


class Prune(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """I hear it sooner from others: name it only."""


class Digest(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Two bytes of the id of each thing we have, from the place `at` of the id: tell me what I lack."""

    at: Annotated[int, Meta(ge=0, le=ID_BYTES - DIGEST_BYTES)]
    parts: Annotated[bytes, Meta(max_length=DIGEST_BYTES * MAX_DIGEST)]
    answer: bool


class Seek(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """We want to know of these peers (keys of 32 bytes), now and when they change."""

    hops: Annotated[int, Meta(ge=0, le=3)]
    keys: Annotated[bytes, Meta(max_length=MAX_SOUGHT * KEY_BYTES)]


class Probe(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Give a sign of life."""


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Our own newest beat; the card when it may be new to you."""

    raw: _Raw
    card: _CardRaw


class Pledged(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """We name you our neighbour: see `presence_beats.Pledge`."""

    epoch: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    given: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    until: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    needed: Annotated[int, Meta(ge=1, le=255)]
    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class Doubt(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """We are about to take this peer for dead: tell us if you have later news of it than these, else pass the question
    on towards it, with an accusation that it can answer."""

    hops: Annotated[int, Meta(ge=0, le=MAX_HOPS)]
    key: Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    epoch: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    news: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    accusation: _Raw


Message = (
    Hello
    | Neighbour
    | NeighbourAnswer
    | Part
    | Walk
    | Shuffle
    | News
    | Have
    | Graft
    | Prune
    | Digest
    | Seek
    | Probe
    | Heartbeat
    | Pledged
    | Doubt
)

MESSAGES: Final[tuple[type[msgspec.Struct], ...]] = (
    *(Hello, Neighbour, NeighbourAnswer, Part, Walk, Shuffle, News, Have),
    *(Graft, Prune, Digest, Seek, Probe, Heartbeat, Pledged, Doubt),
)
KNOWN_KINDS: Final = frozenset(range(1, len(MESSAGES) + 1))

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Message).decode


class _Kind(msgspec.Struct, frozen=True, array_like=True):
    """The first field alone."""

    kind: int


_decode_kind: Final = msgspec.msgpack.Decoder(_Kind).decode


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    return _encode(message)


def decode(data: bytes) -> Message | None:
    """Read a message; None for a kind of a later time. Raises `DecodeError`."""
    if len(data) > MAX_MESSAGE:
        raise DecodeError("gossip", f"a message of {len(data)} bytes, at most {MAX_MESSAGE} are allowed")
    try:
        message: Message = _decode(data)
        return message
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        problem = str(error)
    try:
        if _decode_kind(data).kind not in KNOWN_KINDS:
            return None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    raise DecodeError("gossip", problem)


def join_ids(ids: list[bytes]) -> bytes:
    """Ids as one string."""
    return b"".join(ids)


def split(joined: bytes, size: int) -> list[bytes]:
    """Parts of one length each. Raises `DecodeError` when they do not come out even."""
    if len(joined) % size:
        raise DecodeError("gossip", f"{len(joined)} bytes are no list of parts of {size}")
    return [joined[at : at + size] for at in range(0, len(joined), size)]
