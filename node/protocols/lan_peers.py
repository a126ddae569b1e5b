"""The nodes heard of on the local network: a bounded book, and what may go into it.

Decides who is kept when there are too many, and which of two announcements holds. Refuses to know bytes and timers.

A node is *heard* when an announcement with a good signature came, and *proven* when it answered in its box at an
address that the announcement named. Only a proven one is a peer; one that is only heard never pushes a proven one out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from dht.contact import Contact
from dht.identity import PublicKey
from node.protocols.lan_beacon import Announcement

MAX_SIGHTINGS: Final = 256
"""Nodes kept, about 1 kB each. UNSOURCED: a large flat network; the DHT knows more."""

MAX_HEARD: Final = 64
"""Of these, how many may be unproven: a flood of made-up announcements fills no more. UNSOURCED"""

MAX_EACH_SOURCE: Final = 16
"""Unproven nodes from one address: those of one machine. UNSOURCED"""

MAX_EACH_PEER: Final = 4
"""Nodes of one identity: a person's devices, and the one that was restarted. UNSOURCED"""

Place = tuple[bytes, bytes]
"""Identity and node key."""


class Taken(enum.Enum):
    """What became of an announcement."""

    NEW = "new"
    NEWER = "newer"
    """It replaces an earlier one of this node."""
    OLDER = "older"
    """A later one is known: this one was repeated, or overtaken."""
    FULL = "full"
    """There is no room for another node that has proven nothing."""


@dataclass(slots=True, eq=False)
class Sighting:
    """One node on the local network."""

    said: Announcement
    contacts: tuple[Contact, ...]
    """Its addresses that are on our networks, best first."""
    source: str
    """From where it was first heard: an IP, or `mdns`."""
    segment: str
    """Name of the interface."""
    first: float
    heard: float
    """When it last spoke: announced itself, or answered."""
    ways: set[str] = field(default_factory=set)
    """How it is heard: beacon, mdns."""
    contact: Contact | None = None
    """Where it answered."""
    rtt: float = 0.0
    proven: float | None = None
    """Since when it is a peer, Unix seconds."""
    asking: bool = False
    asked: int = 0
    """Questions in a row without an answer."""
    ask_at: float | None = None
    """When it is to be asked next."""

    @property
    def place(self) -> Place:
        """What tells it from others."""
        return self.said.identity.raw, self.said.node_key


class Book:
    """All of them."""

    def __init__(self) -> None:
        self.sightings: dict[Place, Sighting] = {}

    def take(self, new: Sighting) -> tuple[Taken, Sighting]:
        """Take in what was heard; gives the sighting that holds from now on."""
        old = self.sightings.get(new.place)
        if old is not None:
            if new.said.time <= old.said.time:
                old.ways |= new.ways
                return Taken.OLDER, old
            old.ways |= new.ways
            old.said, old.contacts, old.heard = new.said, new.contacts, new.heard
            return Taken.NEWER, old
        if not self._room(new):
            return Taken.FULL, new
        self.sightings[new.place] = new
        return Taken.NEW, new

    def drop(self, sighting: Sighting) -> None:
        """Forget one."""
        if self.sightings.get(sighting.place) is sighting:
            del self.sightings[sighting.place]

    def of(self, peer: PublicKey) -> list[Sighting]:
        """The nodes of one identity, the proven first, then the latest."""
        found = [one for one in self.sightings.values() if one.said.identity == peer]
        return sorted(found, key=lambda one: (one.proven is None, -one.said.time))

    def proven(self) -> list[Sighting]:
        """The peers, first found first."""
        return sorted(
            (one for one in self.sightings.values() if one.proven is not None), key=lambda one: one.proven or 0.0
        )

    def _room(self, new: Sighting) -> bool:
        same = self.of(new.said.identity)
        if len(same) >= MAX_EACH_PEER:
            # Its owner says so: of what the identity said before, the oldest goes.
            self.drop(same[-1])
        unproven = [one for one in self.sightings.values() if one.proven is None]
        if sum(one.source == new.source for one in unproven) >= MAX_EACH_SOURCE:
            return False
        if len(unproven) >= MAX_HEARD:
            self.drop(min(unproven, key=lambda one: one.first))
        elif len(self.sightings) >= MAX_SIGHTINGS:
            return False
        return True
