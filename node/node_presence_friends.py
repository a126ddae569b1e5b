"""Whom a node follows by gossip without being asked to: friends.

Decides who counts as one: whoever has a name in the address book, and the members of the node's topics that it is
connected with. Refuses to tell anybody: neighbours do not learn whom a node calls its friends, so nobody is asked for
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from dht.identity import PublicKey

FOLLOWED_AT_MOST: Final = 512
"""Peers cared for: a quarter of what is remembered. UNSOURCED"""

Friends = Callable[[], Iterable[PublicKey]]
"""Tells who is a friend now."""


class Followed:
    """The peers that a node cares for: those an app names first, then its friends, as many as there is room for."""

    def __init__(self) -> None:
        self.friends: list[Friends] = []
        """Whoever knows some; those of the first come first."""
        self._named: list[bytes] = []
        self._asked = False
        self._told: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ())

    def name(self, peers: Iterable[PublicKey], *, ask: bool) -> None:
        """An app cares for these, and no longer for those before; with `ask` they may be asked for."""
        self._named = [peer.raw for peer in peers][:FOLLOWED_AT_MOST]
        self._asked = ask

    def changes(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]] | None:
        """Keys (32 bytes each) to seek, and to keep; None when they are those of the last time."""
        known = dict.fromkeys(self._named)
        for friends in self.friends:
            known.update(dict.fromkeys(peer.raw for peer in friends()))
        now = tuple(self._named) if self._asked else (), tuple(known)[:FOLLOWED_AT_MOST]
        if now == self._told:
            return None
        self._told = now
        return now
