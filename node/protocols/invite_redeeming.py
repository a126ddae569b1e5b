"""Redeeming an invite over a stream of a link: who says what, and what proves that somebody has the invite.

Decides the messages, their order and the proof. Refuses to know who keeps count of uses and what a certificate is.

    joiner                                inviter
    ASK      token                    →
                                      ←   CHALLENGE  nonce
    PROOF    keyed hash               →
                                      ←   GRANTED  clock, certificate, contacts    or    REFUSED  reason, clock, words

Each message is its length (2 bytes), version 1, its kind, and the fields. The proof is a hash of the inviter's and the
joiner's identity, the token and the nonce, keyed with the secret of the invite (`invite.py`): it is worth nothing on
another link, for another joiner, or a second time. The link has proven both identities before. Of an invite that does
not exist a challenge is made, too, so that nobody learns which do.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
from collections import deque
from dataclasses import dataclass
from typing import Final

from dht.contact import Contact, pack_contacts, unpack_contacts
from dht.errors import DecodeError, LocalError
from dht.identity import PublicKey
from node.protocols.invite import TOKEN_BYTES, Invite
from node.protocols.invite_faults import InviteFault
from node.protocols.invite_ports import MAX_CERTIFICATE

STREAM_NAME: Final = "rookery/invite/1"

VERSION: Final = 1

NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32

CONTACT_ROOM: Final = 400
"""Bytes of contacts that are given to a joiner: eight of IPv6, ten of IPv4. UNSOURCED: half of them may be gone soon"""

MAX_WORDS: Final = 200
"""Bytes of UTF-8 that explain a refusal. UNSOURCED: two lines of a terminal"""

MAX_MESSAGE: Final = 2 + 8 + 2 + MAX_CERTIFICATE + 2 + 2 * CONTACT_ROOM
"""Bytes of one message without its length."""

_LENGTH: Final = struct.Struct("!H")
_WHAT: Final = "redemption"


class Kind(enum.IntEnum):
    """The messages."""

    ASK = 1
    CHALLENGE = 2
    PROOF = 3
    GRANTED = 4
    REFUSED = 5


class Refusal(enum.IntEnum):
    """Why an inviter lets nobody in. Unknown numbers are read as UNSPECIFIED."""

    UNSPECIFIED = 0
    UNKNOWN = 1
    """No such invite, or not all of it is as it was made."""
    USED_UP = 2
    EXPIRED = 3
    REVOKED = 4
    NOT_GRANTED = 5
    """The inviter may not, or may no longer, make members."""
    BUSY = 6
    """Too many at once, or too often."""
    BAD_REQUEST = 7
    FAILED = 8
    """The inviter could not write down that the invite was used."""


FAULTS: Final = {
    Refusal.UNSPECIFIED: InviteFault.NOT_GRANTED,
    Refusal.UNKNOWN: InviteFault.UNKNOWN,
    Refusal.USED_UP: InviteFault.USED_UP,
    Refusal.EXPIRED: InviteFault.EXPIRED,
    Refusal.REVOKED: InviteFault.REVOKED,
    Refusal.NOT_GRANTED: InviteFault.NOT_GRANTED,
    Refusal.BUSY: InviteFault.BUSY,
    Refusal.BAD_REQUEST: InviteFault.PROTOCOL,
    Refusal.FAILED: InviteFault.FAILED,
}


_REFUSALS: Final = frozenset(Refusal)


@dataclass(frozen=True, slots=True)
class Granted:
    """The invite was good: what the joiner gets."""

    certificate: bytes
    """Empty in an open network."""
    contacts: tuple[Contact, ...]
    clock: int
    """The inviter's, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side refused, or broke the protocol (`clock` is 0 then)."""

    refusal: Refusal
    clock: int
    words: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A joiner wants to redeem the invite `token`, and has sent its proof: see `InviterSide.proves`."""

    token: bytes


Event = Granted | Refused | Asked


def proof_of(secret: bytes, inviter: PublicKey, joiner: PublicKey, token: bytes, nonce: bytes) -> bytes:
    """The 32 bytes that prove to have the invite of this secret."""
    said = inviter.raw + joiner.raw + token + nonce
    return hashlib.blake2b(said, digest_size=PROOF_BYTES, key=secret, person=b"rookery/redeem").digest()


class _Side:
    """What both sides share: the stream cut into messages, output, events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._output: deque[bytes] = deque()
        self._events: deque[Event] = deque()
        self.finished = False

    def receive_data(self, data: bytes) -> None:
        """Take bytes of the stream. A peer's wrong bytes end it with an event, never an exception."""
        if self.finished:
            return
        self._buffer += data
        try:
            while not self.finished and (message := self._message()) is not None:
                self._take(Kind(message[1]), message[2:])
        except (DecodeError, ValueError, IndexError, struct.error) as error:
            self._broken(str(error))

    def data_to_send(self) -> bytes:
        """Return what belongs on the stream now."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def next_event(self) -> Event | None:
        """Return the oldest event not yet seen."""
        return self._events.popleft() if self._events else None

    def _message(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if not 2 <= length <= MAX_MESSAGE:
            raise DecodeError(_WHAT, f"a message of {length} bytes")
        if len(self._buffer) < _LENGTH.size + length:
            return None
        message = bytes(self._buffer[_LENGTH.size : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        if message[0] != VERSION:
            raise DecodeError(_WHAT, f"version {message[0]}, known is {VERSION}")
        return message

    def _say(self, kind: Kind, fields: bytes) -> None:
        message = bytes([VERSION, kind]) + fields
        self._output.append(_LENGTH.pack(len(message)) + message)

    def _broken(self, problem: str) -> None:
        self.finished = True
        self._events.append(Refused(Refusal.BAD_REQUEST, 0, problem))

    def _take(self, kind: Kind, fields: bytes) -> None:
        raise NotImplementedError


class JoinerSide(_Side):
    """Asks, proves, and is told."""

    def __init__(self, invite: Invite, joiner: PublicKey) -> None:
        super().__init__()
        self._invite = invite
        self._joiner = joiner
        self._proven = False
        self._say(Kind.ASK, invite.token)

    def _take(self, kind: Kind, fields: bytes) -> None:
        if kind is Kind.CHALLENGE and not self._proven:
            if len(fields) != NONCE_BYTES:
                raise DecodeError(_WHAT, f"a nonce of {len(fields)} bytes")
            invite = self._invite
            self._proven = True
            self._say(Kind.PROOF, proof_of(invite.secret, invite.inviter, self._joiner, invite.token, fields))
        elif kind is Kind.GRANTED and self._proven:
            self._events.append(_read_granted(fields))
            self.finished = True
        elif kind is Kind.REFUSED:
            self._events.append(_read_refused(fields))
            self.finished = True
        else:
            raise DecodeError(_WHAT, f"{kind.name} is not due")


class InviterSide(_Side):
    """Challenges, and after `Asked` grants or refuses."""

    def __init__(self, inviter: PublicKey, joiner: PublicKey, nonce: bytes) -> None:
        """`nonce`: 32 random bytes, for this one redemption."""
        super().__init__()
        if len(nonce) != NONCE_BYTES:
            raise LocalError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
        self._inviter = inviter
        self._joiner = joiner
        self._nonce = nonce
        self._token = b""
        self._proof = b""

    def proves(self, secret: bytes) -> bool:
        """Whether the joiner has the invite of this secret."""
        wanted = proof_of(secret, self._inviter, self._joiner, self._token, self._nonce)
        return hmac.compare_digest(wanted, self._proof)

    def grant(self, certificate: bytes, contacts: tuple[Contact, ...], now: float) -> None:
        """Let the joiner in. Raises `LocalError` when the certificate is too long."""
        if len(certificate) > MAX_CERTIFICATE:
            raise LocalError(f"a certificate has {MAX_CERTIFICATE} bytes at most, not {len(certificate)}")
        v4, v6 = pack_contacts(list(contacts), CONTACT_ROOM)
        head = struct.pack("!QH", int(now), len(certificate)) + certificate
        self._say(Kind.GRANTED, head + _LENGTH.pack(len(v4)) + v4 + v6)
        self.finished = True

    def refuse(self, refusal: Refusal, now: float, words: str = "") -> None:
        """Let nobody in, saying why."""
        if not self.finished:
            said = words.encode()[:MAX_WORDS].decode(errors="ignore").encode()
            self._say(Kind.REFUSED, struct.pack("!BQ", refusal, int(now)) + said)
            self.finished = True

    def _take(self, kind: Kind, fields: bytes) -> None:
        if kind is Kind.ASK and not self._token:
            if len(fields) != TOKEN_BYTES:
                raise DecodeError(_WHAT, f"a token of {len(fields)} bytes")
            self._token = fields
            self._say(Kind.CHALLENGE, self._nonce)
        elif kind is Kind.PROOF and self._token and not self._proof:
            if len(fields) != PROOF_BYTES:
                raise DecodeError(_WHAT, f"a proof of {len(fields)} bytes")
            self._proof = fields
            self._events.append(Asked(self._token))
        else:
            raise DecodeError(_WHAT, f"{kind.name} is not due")


def _read_granted(fields: bytes) -> Granted:
    clock, length = struct.unpack_from("!QH", fields)
    certificate = fields[10 : 10 + length]
    (v4,) = _LENGTH.unpack_from(fields, 10 + length)
    rest = fields[10 + length + _LENGTH.size :]
    if length > MAX_CERTIFICATE or len(rest) < v4 or len(rest) > 2 * CONTACT_ROOM:
        raise DecodeError(_WHAT, f"a certificate of {length} bytes, {len(rest)} of contacts")
    return Granted(certificate, tuple(unpack_contacts(rest[:v4], rest[v4:])), clock)


def _read_refused(fields: bytes) -> Refused:
    number, clock = struct.unpack_from("!BQ", fields)
    refusal = Refusal(number) if number in _REFUSALS else Refusal.UNSPECIFIED
    words = fields[9 : 9 + MAX_WORDS].decode(errors="replace")
    return Refused(
        refusal, clock, "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
    )
