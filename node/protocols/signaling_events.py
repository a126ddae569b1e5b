"""What signaling reports and hands out. Plain frozen data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from dht.contact import Contact
from dht.identity import PublicKey


class Reason(IntEnum):
    """Why a peer refused. Travels in one byte; the first six are those of `offer.RefusalReason`."""

    UNSPECIFIED = 0
    """Also what a reason of a later time decodes as."""
    BUSY = 1
    NOT_WANTED = 2
    NO_COMMON_PATH = 3
    BAD_OFFER = 4
    GOING_AWAY = 5
    WRONG_CLOCK = 6
    """The clocks differ by more than two hours, so that the offer might be a replay."""


class Fault(Enum):
    """Why a call ended without the peer's word."""

    NO_HOME_NODE = "no-home-node"
    """The peer names no home node, or none of them answers."""
    NOT_REGISTERED = "peer-not-registered"
    """Its home nodes answer, and have no forwarding entry for it: it is offline, or moved on."""
    UNREACHED = "peer-unreached"
    """A home node forwarded the offer, and the peer did not take it."""
    NO_ANSWER = "no-answer"
    """The peer took the offer and sent nothing back in time."""
    BAD_ANSWER = "bad-answer"
    """What came back is not the peer's answer to this offer."""


@dataclass(frozen=True, slots=True)
class OutgoingSignal:
    """Hand this to the engine's `signal`, then tell `signal_done` what came of it."""

    recipient: bytes
    """The place of an identity, or a reply handle."""
    blob: bytes
    homes: tuple[Contact, ...]
    """Through whom, all at once."""
    reply: bytes
    """Our handle for the answer; empty when none is wanted."""
    session: bytes
    """The call it belongs to; empty for an answer."""


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """A peer wants to talk: `answer` or `refuse` it."""

    peer: PublicKey
    session: bytes
    payload: bytes
    replaces: bytes
    """Our own call to the same peer, which this one takes the place of; empty when there was none."""


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    """The peer's answer to our call."""

    peer: PublicKey
    session: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class CallRefused:
    """The peer refused our call."""

    peer: PublicKey
    session: bytes
    reason: Reason


@dataclass(frozen=True, slots=True)
class CallFailed:
    """Our call ended without the peer's word."""

    peer: PublicKey
    session: bytes
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class HomesWanted:
    """The home nodes known did not help: look the peer's record up again and call `more_homes`."""

    peer: PublicKey
    session: bytes


SignalingEvent = OfferReceived | AnswerReceived | CallRefused | CallFailed | HomesWanted
