"""What gossip reports: who came, went, fell silent or says something else, and which links it wants.

Refuses to know who listens.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from node.protocols.presence_beats import Card, Status


class State(enum.Enum):
    """What we take a peer for."""

    ONLINE = "online"
    SUSPECTED = "suspected"
    """It may be dead: we hear nothing of it, or its neighbours say so. It is still counted as there."""
    OFFLINE = "offline"


class Why(enum.Enum):
    """Why a peer is taken to be gone."""

    LEFT = "left"
    """It said so itself."""
    SILENT = "silent"
    """We are linked with it, and it says nothing more."""
    ACCUSED = "accused"
    """We were linked with it and hear nothing more, and as many of its neighbours as it asks for say the same."""
    EXPIRED = "expired"
    """Nothing new of it has come for very long."""


@dataclass(frozen=True, slots=True)
class CameOnline:
    """A peer is there that was not, as far as we knew."""

    owner: bytes
    status: Status
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A peer says something else of itself."""

    owner: bytes
    status: Status
    text: str
    before: Status
    text_before: str


@dataclass(frozen=True, slots=True)
class Suspected:
    """A peer may be dead."""

    owner: bytes
    accusers: int
    own: bool
    """Whether we have seen it ourselves."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """A suspicion was unfounded."""

    owner: bytes


@dataclass(frozen=True, slots=True)
class WentOffline:
    """A peer is gone."""

    owner: bytes
    why: Why
    last_seen: int
    """Seconds in its last beat."""


@dataclass(frozen=True, slots=True)
class LinkWanted:
    """A link with this peer would make a neighbour of it."""

    owner: bytes
    card: Card


@dataclass(frozen=True, slots=True)
class LinkSpare:
    """This link is no longer needed for gossip."""

    owner: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """Something came of a peer that was sought."""

    owner: bytes


PresenceEvent = CameOnline | Changed | Suspected | Cleared | WentOffline | LinkWanted | LinkSpare | Answered
