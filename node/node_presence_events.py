"""What a node reports of peers that come, go and change, and what it knows of each at a moment.

Decides the words. Refuses to know how it is found out.
"""

from __future__ import annotations

from dataclasses import dataclass

from dht.identity import PublicKey
from node.node_log import NodeEvent


@dataclass(frozen=True, slots=True)
class PresenceEvent(NodeEvent):
    """Base of the events about one peer's presence."""

    peer: PublicKey
    close: bool
    """Whether somebody here cares for it, or it is linked with us: the others are many, and told at level debug."""

    @property
    def level(self) -> str:
        """How grave it is."""
        return "info" if self.close else "debug"


@dataclass(frozen=True, slots=True)
class PeerOnline(PresenceEvent):
    """A peer is there that was not, or that was suspected to be dead and is not."""

    status: str
    status_text: str
    suspected: bool
    """Whether it was only suspected to be gone."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        said = f": {self.status_text}" if self.status_text else ""
        how = "lives after all" if self.suspected else f"is {self.status}"
        return f"{self.peer.text} {how}{said}"


@dataclass(frozen=True, slots=True)
class PeerAway(PresenceEvent):
    """A peer says that it is away."""

    status_text: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"{self.peer.text} is away{': ' + self.status_text if self.status_text else ''}"


@dataclass(frozen=True, slots=True)
class StatusChanged(PresenceEvent):
    """A peer says something else of itself."""

    status: str
    status_text: str
    before: str
    text_before: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        said = f": {self.status_text}" if self.status_text else ""
        return f"{self.peer.text} is {self.status} now{said}"


@dataclass(frozen=True, slots=True)
class PeerSuspected(PresenceEvent):
    """A peer may be dead."""

    accusers: int
    own: bool
    """Whether this node itself hears nothing of it."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.own:
            return f"{self.peer.text} does not answer any more"
        return f"{self.peer.text} does not answer {self.accusers} of its neighbours any more"


@dataclass(frozen=True, slots=True)
class PeerOffline(PresenceEvent):
    """A peer is gone."""

    reason: str
    """left, silent, accused, expired"""
    last_seen: int
    """Unix seconds, by its own last beat."""

    @property
    def text(self) -> str:
        """One sentence for people."""
        why = {
            "left": "has left",
            "silent": "is gone: it says nothing more",
            "accused": "is gone: its neighbours hear nothing more of it",
            "expired": "is no longer counted as there: nothing new has come of it for long",
        }[self.reason]
        return f"{self.peer.text} {why}"


@dataclass(frozen=True, slots=True)
class PresenceInfo:
    """What is known of one peer."""

    peer: PublicKey
    status: str
    """online, away, busy, offline"""
    status_text: str
    state: str
    """online, suspected, offline"""
    last_seen: float
    """Unix seconds of its last beat here."""
    since: int
    """Unix seconds at which it started."""
    hops: int
    """Links between it and this node; 1: linked."""
    linked: bool
    neighbour: bool
    """Whether gossip goes over that link."""
    close: bool
    """Whether somebody here cares for it, or it is linked."""
    knows: int
    """Peers it says it knows of."""


@dataclass(frozen=True, slots=True)
class OwnPresence:
    """What this node says of itself, and how its gossip goes."""

    peer: PublicKey
    status: str
    status_text: str
    neighbours: tuple[PublicKey, ...]
    known: int
    """Peers that are there, as far as it knows."""
    remembered: int
    """Peers in its memory, the gone ones included."""
    horizon: int
    """Hops that news travels at most, as far as this node passes it on."""
    health: int
    """0: its own line is well; up to 8: it waits longer before it suspects others."""
    sent: int
    received: int
    """Bytes of gossip over all links."""
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class Edge:
    """Two peers of which one says, signed, that the other is its neighbour."""

    peer: PublicKey
    neighbour: PublicKey
    mutual: bool
    """Whether both say so."""
