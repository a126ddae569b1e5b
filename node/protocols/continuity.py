"""What lets a link outlive the channels it runs over: numbered messages, kept until the other end has them.

Decides what the two ends of a link say on each new channel, which messages are sent again there, which arrive twice
and are dropped, and which of two new channels counts. Refuses to know about time (`node.protocols.liveness`), and what
the messages hold. Sans-IO; a peer's wrong bytes end in `DecodeError` or `Broken`, never in anything else.

    control message: type(1) 0(1) length(2) 0(4) payload(length)      big-endian: a frame of the stream protocol

Control messages look like frames of the stream protocol of a type that is skipped where it is not known (0x80 and up),
so that a release without them takes them for nothing. Every other message counts: its number follows from its place on
the channel. On a new channel each end first says how many messages it has had of the link so far; the other says with
which it goes on, one that is not acknowledged yet. So no number travels with a message, and what comes on two channels
at once is told apart all the same. Stream management of XMPP (XEP-0198) counts and resumes likewise.
"""

from __future__ import annotations

import enum
import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from dht.errors import DecodeError, RemoteError
from node.protocols.stream_frames import HEADER

VERSION: Final = 1
LINK_ID_BYTES: Final = 16
CONTROL_FROM: Final = 0x80
"""First bytes from here up are control messages; the stream protocol's own begin with 1-7."""

MAX_KEPT: Final = 10 * 1_048_576
"""Bytes kept for one link until the other end has them: the streams' window of 8 MiB, which bounds what is under way,
and room for what acknowledgements lag behind. Bounds what a peer that reads and never acknowledges makes us hold."""
MAX_KEPT_IN_ALL: Final = 64 * 1_048_576
"""The same over all links of a node. UNSOURCED: six links at full window."""
LEAST_KEPT: Final = 262_144
"""What each link may keep even then: four of the largest messages."""
OVERHEAD: Final = 64
"""Bytes a kept message counts beside its length: an empty `bytes` object and its place take 41 in CPython 3.11."""

ACK_MESSAGES, ACK_BYTES = 256, 524_288
"""Messages or bytes taken after which we acknowledge at once. UNSOURCED: a twentieth of what the other end may keep."""

MAX_SKIP: Final = 1024
"""Channel numbers a peer may leave out. Bounds how soon it could use them all up (2^32)."""


class Control(enum.IntEnum):
    """The control messages."""

    HELLO = 0x80
    """payload: version(1) word(1) link id(16) channel(4) received(8)"""
    ACK = 0x81
    """payload: received(8)"""
    PROBE = 0x82
    """payload: token(4)"""
    PROBED = 0x83
    """payload: the token"""
    FROM = 0x84
    """payload: number(8) of the next message on this channel"""


class Word(enum.IntEnum):
    """What a HELLO means."""

    BEGIN = 1
    """From the side that opened the channel: make this link if you have not, and go on with it here if you have."""
    RESUME = 2
    """Likewise, for a link that both ends have: go on with it here."""
    TAKEN = 3
    """The answer: it goes on here."""
    UNKNOWN = 4
    """The answer: there is no such link. A BEGIN may follow on the same channel."""


_HELLO: Final = struct.Struct("!BB16sIQ")
_COUNT: Final = struct.Struct("!Q")
_TOKEN: Final = struct.Struct("!I")
_SIZES: Final = {
    Control.HELLO: _HELLO.size,
    Control.ACK: _COUNT.size,
    Control.PROBE: _TOKEN.size,
    Control.PROBED: _TOKEN.size,
    Control.FROM: _COUNT.size,
}


class Broken(RemoteError):
    """Raised when a peer says what cannot be: the link has to end."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message on a channel, in each direction."""

    word: Word
    link_id: bytes
    channel: int
    """Counts the channels of a link from 1; odd ones were opened by the side that made the link."""
    received: int
    """Messages of the link that the sender has had."""

    def to_bytes(self) -> bytes:
        """Return the control message."""
        return _pack(Control.HELLO, _HELLO.pack(VERSION, self.word, self.link_id, self.channel, self.received))


def ack(received: int) -> bytes:
    """Return the control message that says how many messages were had."""
    return _pack(Control.ACK, _COUNT.pack(received))


def probe(token: int, *, answer: bool = False) -> bytes:
    """Return a PROBE, or the answer to one."""
    return _pack(Control.PROBED if answer else Control.PROBE, _TOKEN.pack(token))


def _pack(kind: Control, payload: bytes) -> bytes:
    return HEADER.pack(kind, 0, len(payload), 0) + payload


def is_control(message: bytes) -> bool:
    """Whether a message is for this protocol, and does not count."""
    return message[:1] >= b"\x80"


def decode_control(message: bytes) -> tuple[Control, Hello | int] | None:
    """Read a control message: a `Hello`, a count or a token. None for a type of a later release.

    Raises `DecodeError` for anything that is wrong.
    """
    if len(message) < HEADER.size:
        raise DecodeError("control message", f"{len(message)} bytes, a header has {HEADER.size}")
    number, _, length, stream = HEADER.unpack_from(message)
    if number < CONTROL_FROM:
        raise DecodeError("control message", f"type {number} is none")
    if length != len(message) - HEADER.size or stream:
        raise DecodeError("control message", f"says {length} bytes on {stream}, has {len(message) - HEADER.size} on 0")
    try:
        kind = Control(number)
    except ValueError:
        return None
    if length != _SIZES[kind]:
        raise DecodeError("control message", f"{kind.name} has {_SIZES[kind]} bytes, not {length}")
    payload = message[HEADER.size :]
    if kind is Control.HELLO:
        return kind, _decode_hello(payload)
    return kind, int.from_bytes(payload, "big")


def _decode_hello(payload: bytes) -> Hello:
    version, word, link_id, channel, received = _HELLO.unpack(payload)
    if version != VERSION:
        raise DecodeError("hello", f"version {version}, this is {VERSION}")
    try:
        return Hello(Word(word), link_id, channel, received)
    except ValueError:
        raise DecodeError("hello", f"word {word} is none") from None


class Keeping:
    """What all links of a node keep together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = MAX_KEPT_IN_ALL) -> None:
        self.held = 0
        self.limit = limit


class Way:
    """One channel of a link, as this protocol sees it."""

    __slots__ = ("backlog", "number", "opening", "taken")

    def __init__(self, number: int, taken: int) -> None:
        self.number = number
        self.taken = taken
        """Number of the next message that arrives on it."""
        self.opening = b""
        """The control message that goes before all others, after the hello."""
        self.backlog: deque[bytes] = deque()
        """Messages that have to be sent on it before new ones may be."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A peer's channel is used from now on; `reply` is to be sent on it before all else, `left` ends."""

    way: Way
    reply: Hello
    left: Way | None
    """An own attempt that this one overtakes."""


class Verdict(enum.Enum):
    """What becomes of a peer's channel that is not used now."""

    STALE = "stale"
    """A later one is in use: close it."""
    LATER = "later"
    """An own attempt of a higher number is under way: ask again when that has failed, close it when it has not."""


class Continuity:
    """One end of a link."""

    def __init__(self, link_id: bytes, *, initiated: bool, keeping: Keeping | None = None) -> None:
        """`initiated`: we opened the link's first channel, and chose the id."""
        self.link_id = link_id
        self.initiated = initiated
        self.confirmed = not initiated
        """Whether the other end is known to have the link."""
        self.current: Way | None = None
        """Where messages leave."""
        self.pending: Way | None = None
        """Opened by us, not answered yet."""
        self.received = 0
        self.sent = 0
        self.acknowledged = 0
        self.duplicates = 0
        self._keeping = keeping or Keeping()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._highest = 0
        self._used = 0
        self._to_ack = 0
        self._to_ack_bytes = 0

    # Messages

    def keep(self, message: bytes) -> Way | None:
        """Take a message to be sent; return the way it goes at once, None when it has to wait."""
        self.sent += 1
        self._kept.append(message)
        size = len(message) + OVERHEAD
        self._kept_bytes += size
        self._keeping.held += size
        way = self.current
        if way is None:
            return None
        if way.backlog:
            way.backlog.append(message)
            return None
        return way

    @property
    def room(self) -> int:
        """Bytes that may be kept now."""
        room = MAX_KEPT - self._kept_bytes
        together = self._keeping.limit - self._keeping.held
        if together < room:
            room = max(together, LEAST_KEPT - self._kept_bytes)
        return room

    @property
    def outstanding(self) -> bool:
        """Whether the other end has yet to acknowledge something."""
        return self.acknowledged < self.sent

    def take(self, way: Way, size: int) -> bool:
        """Count a message of `size` bytes that arrived on `way`; False when it was had before."""
        number = way.taken
        way.taken = number + 1
        self._to_ack += 1
        self._to_ack_bytes += size
        if number < self.received:
            self.duplicates += 1
            return False
        # A way begins with a message we have had, or the next, and loses none: there is never a gap.
        self.received += 1
        return True

    def begins(self, way: Way, number: int) -> None:
        """The other end goes on with message `number` on `way`. Raises `Broken` when some before it are missing."""
        if number > self.received:
            raise Broken(f"the peer goes on with message {number}, {self.received} came")
        way.taken = number

    @property
    def ack_due(self) -> bool:
        """Whether enough came to acknowledge it at once."""
        return self._to_ack >= ACK_MESSAGES or self._to_ack_bytes >= ACK_BYTES

    @property
    def ack_owed(self) -> bool:
        """Whether anything came since the last acknowledgement."""
        return self._to_ack > 0

    def acknowledge(self) -> bytes:
        """Return the acknowledgement of all that came."""
        self._to_ack = self._to_ack_bytes = 0
        return ack(self.received)

    def on_ack(self, received: int) -> None:
        """The other end has had so many. Raises `Broken` when that are more than were sent."""
        if received > self.sent:
            raise Broken(f"the peer acknowledges {received} messages of {self.sent}")
        kept, freed = self._kept, 0
        for _ in range(received - self.acknowledged):
            freed += len(kept.popleft()) + OVERHEAD
        self.acknowledged = max(received, self.acknowledged)
        self._kept_bytes -= freed
        self._keeping.held -= freed

    def forget(self) -> None:
        """The link has ended: free what is kept."""
        self._keeping.held -= self._kept_bytes
        self._kept.clear()
        self._kept_bytes = 0
        self.current = self.pending = None

    # Channels that we open

    def begin(self) -> Hello:
        """Open the first channel of a new link; data may follow at once."""
        self.current = Way(self._next_number(), 0)
        self._used = self.current.number
        return Hello(Word.BEGIN, self.link_id, self.current.number, 0)

    def dial(self) -> tuple[Way, Hello]:
        """Open a further channel. It is used once `answered`; an earlier one that is `pending` is given up."""
        way = Way(self._next_number(), self.received)
        self.pending = way
        word = Word.RESUME if self.confirmed else Word.BEGIN
        return way, Hello(word, self.link_id, way.number, self.received)

    def answered(self, way: Way, hello: Hello) -> bool:
        """Take the answer on a channel of ours: True when the link goes on there, False when the other end has no such
        link. Raises `Broken` for an answer that does not fit.
        """
        if hello.link_id != self.link_id or hello.channel != way.number:
            raise Broken("the peer's hello answers another")
        if hello.word is Word.UNKNOWN:
            return False
        if hello.word is not Word.TAKEN:
            raise Broken(f"the peer answers with {hello.word.name}")
        self._check(hello)
        self.confirmed = True
        if way is self.pending:
            self._go_on(way, hello)
        return True

    # Channels that the peer opens

    def asked(self, hello: Hello) -> Taken | Verdict:
        """Take a peer's BEGIN or RESUME for this link. Raises `Broken` when it does not fit."""
        if hello.word not in (Word.BEGIN, Word.RESUME) or hello.link_id != self.link_id:
            raise Broken(f"the peer asks with {hello.word.name}")
        if self.pending is not None and hello.channel < self.pending.number:
            return Verdict.LATER
        if hello.channel <= self._used:
            return Verdict.STALE
        if hello.channel > self._highest + MAX_SKIP or hello.channel % 2 == (1 if self.initiated else 0):
            raise Broken(f"the peer calls its channel {hello.channel} after {self._highest}")
        self._check(hello)
        self.confirmed = True
        left = self.pending
        way = Way(hello.channel, self.received)
        self._highest = max(hello.channel, self._highest)
        self._go_on(way, hello)
        return Taken(way, Hello(Word.TAKEN, self.link_id, way.number, self.received), left)

    def lost(self, way: Way) -> None:
        """A channel has ended."""
        if way is self.current:
            self.current = None
        if way is self.pending:
            self.pending = None

    def _check(self, hello: Hello) -> None:
        if hello.received > self.sent:
            raise Broken(f"the peer has had {hello.received} messages of {self.sent}")

    def _go_on(self, way: Way, hello: Hello) -> None:
        # It may have acknowledged more meanwhile, on another channel: hence the opening.
        self.on_ack(hello.received)
        way.opening = _pack(Control.FROM, _COUNT.pack(self.acknowledged))
        way.backlog = deque(self._kept)
        self.current = way
        self._used = way.number
        self.pending = None

    def _next_number(self) -> int:
        number = self._highest + 1
        if number % 2 != (1 if self.initiated else 0):
            number += 1
        self._highest = number
        return number
