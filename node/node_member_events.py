"""What an app hears of a topic it is in, and what becomes of what it says.

Decides the words. Refuses to know how any of it comes about.
"""

from __future__ import annotations

from dataclasses import dataclass

from dht.identity import PublicKey
from node.node_log import NodeEvent
from node.protocols.topic_mesh import Delivery


@dataclass(frozen=True, slots=True)
class TopicEvent:
    """Base of what happens in a topic."""


@dataclass(frozen=True, slots=True)
class PeerJoined(TopicEvent):
    """A member is connected with us."""

    peer: PublicKey
    app_version: int
    """What the app at the other end called its version."""


@dataclass(frozen=True, slots=True)
class PeerLeft(TopicEvent):
    """It is connected no longer."""

    peer: PublicKey
    reason: str
    """leaving, made-room, too-slow, lost …"""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Message(TopicEvent):
    """A member said something."""

    author: PublicKey
    """Who said it: of a broadcast the signer, of a direct one the other end of the link."""
    data: bytes
    direct: bool
    """To us alone."""
    via: PublicKey
    """The neighbour it came from."""
    sent: float | None
    """Unix seconds by the author's clock; None of a direct one."""


@dataclass(frozen=True, slots=True)
class EventsLost(TopicEvent):
    """The app was too slow: so many of the oldest events were left out."""

    count: int


@dataclass(frozen=True, slots=True)
class BroadcastOutcome:
    """What became of a broadcast at this end."""

    sent: bool
    """False when this member says too much: wait, and say it again."""
    deliveries: dict[PublicKey, Delivery]
    """By neighbour; empty when nobody is connected."""
    detail: str = ""

    @property
    def reached(self) -> int:
        """Neighbours to whom it goes, now or when they ask."""
        return sum(one in (Delivery.QUEUED, Delivery.TOLD) for one in self.deliveries.values())


@dataclass(frozen=True, slots=True)
class DirectOutcome:
    """What became of a message to one member at this end."""

    delivery: Delivery
    detail: str = ""

    @property
    def sent(self) -> bool:
        """Whether it goes out."""
        return self.delivery is Delivery.QUEUED


@dataclass(frozen=True, slots=True)
class TopicPeer:
    """A member that is connected with us."""

    peer: PublicKey
    initiated: bool
    """Whether we dialled."""
    since: float
    app_version: int
    mesh: bool
    """Whether broadcasts go by it; otherwise it came to say something to us alone."""


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """A topic this node is in."""

    topic: str
    private: bool
    app: str
    peers: tuple[TopicPeer, ...]
    known: int
    """Members that are announced, as far as we know."""
    announced: int
    """Nodes that stored our last announcement."""
    kept: bool
    """Whether the node stays in it by itself (`rookery topic announce`), not only while somebody follows it."""
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class TopicJoined(NodeEvent):
    """The node is in a topic."""

    topic: str
    private: bool

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"in the {'private ' if self.private else ''}topic {self.topic!r}"


@dataclass(frozen=True, slots=True)
class TopicAnnounced(NodeEvent):
    """The node told the DHT that it is in a topic."""

    topic: str
    stored: int
    asked: int

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"announced itself in the topic {self.topic!r}: {self.stored} of {self.asked} nodes hold it"

    @property
    def level(self) -> str:
        """How grave it is."""
        return "debug" if self.stored else "warning"


@dataclass(frozen=True, slots=True)
class TopicPeerChanged(NodeEvent):
    """A neighbour in a topic came or went."""

    topic: str
    peer: PublicKey
    connected: bool
    reason: str = ""

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.connected:
            return f"connected with {self.peer.text} in the topic {self.topic!r}"
        return f"no longer connected with {self.peer.text} in the topic {self.topic!r}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TopicLeft(NodeEvent):
    """The node left a topic."""

    topic: str

    @property
    def text(self) -> str:
        """One sentence for people."""
        return f"left the topic {self.topic!r}"
