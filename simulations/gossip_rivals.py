"""Other ways to spread news, to be held against the tree: over every link, and to random ones.

Refuses to be part of a node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from node.protocols.presence_book import Book
from node.protocols.presence_ground import Ground, LinkState
from node.protocols.presence_spread import Spread

FANOUT: Final = 3
"""Neighbours that random gossip tells at once: memberlist's GossipNodes."""


class Flooding(Spread):
    """Everything over every link: the quickest, and each news comes as often as there are neighbours."""

    def repeated(self, name: bytes, link: LinkState) -> None:
        """Never mind."""


class RandomGossip(Spread):
    """Everything to three neighbours drawn for each news; the others are told its name."""

    def is_eager(self, link: LinkState) -> bool:
        """Whether this one is drawn."""
        neighbours = len(self._ground.neighbours)
        return self._ground.rng.random() * neighbours < FANOUT

    def repeated(self, name: bytes, link: LinkState) -> None:
        """Never mind."""


STRATEGIES: Final[dict[str, Callable[[Ground, Book], Spread]]] = {
    "tree": Spread,
    "flooding": Flooding,
    "random": RandomGossip,
}
