"""What the local network's protocol reports: frozen events."""

from __future__ import annotations

from dataclasses import dataclass

from dht.contact import Contact
from dht.identity import PublicKey
from node.protocols.lan_peers import Place


@dataclass(frozen=True, slots=True)
class LanPeer:
    """A peer on the local network that has answered in its box."""

    peer: PublicKey
    contact: Contact
    """Its DHT node, where it answered."""
    fingerprint: bytes
    """Of the certificate under which it takes dials with no answer; empty without."""
    rtt: float
    since: float
    """When it first answered, Unix seconds."""
    heard: float
    """When it last spoke, Unix seconds."""
    interface: str
    """The name of ours on whose network it is."""
    ways: tuple[str, ...]
    """How it is heard: beacon, mdns."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these for a sign of life, and tell the protocol by `answered` or `silent`."""

    place: Place
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """A node announced itself that was not known before, or at other addresses than before. It has proven nothing."""

    peer: PublicKey


@dataclass(frozen=True, slots=True)
class Found:
    """A node has answered in its box: it is a peer."""

    peer: LanPeer


@dataclass(frozen=True, slots=True)
class Lost:
    """The last node of a peer is gone."""

    peer: PublicKey
    reason: str
    """said goodbye, no longer answers"""


@dataclass(frozen=True, slots=True)
class ClockApart:
    """A node is not believed: it says another time than we do."""

    peer: PublicKey
    offset: float
    """Its clock less ours, seconds."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """Somebody near speaks the protocol in a way that we cannot open."""

    source: str


@dataclass(frozen=True, slots=True)
class OutOfReach:
    """A node announced itself at no address of our networks."""

    peer: PublicKey
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Silenced:
    """What we send does not even come back to ourselves: something keeps this way shut."""

    way: str
    """beacon, mdns"""


@dataclass(frozen=True, slots=True)
class Echoed:
    """What was `Silenced` comes back again."""

    way: str


@dataclass(frozen=True, slots=True)
class TxtDue:
    """The TXT record is to be published anew: `LanProtocol.txt` gives it."""


LanEvent = Ask | Heard | Found | Lost | ClockApart | Foreign | OutOfReach | Silenced | Echoed | TxtDue
