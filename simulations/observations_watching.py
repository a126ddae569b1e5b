"""Peers that follow records: they are let do so, and it is noted who was told of what, and when."""

from __future__ import annotations

from dht.events import Event, RecordChanged
from simulations.peers import Peer


class Told:
    """Who was told of what, and when."""

    def __init__(self) -> None:
        self.at: dict[tuple[int, bytes, int], float] = {}
        self.by_notice = 0

    def __call__(self, peer: Peer, event: Event, now: float) -> None:
        """Take in an event of a peer's."""
        if isinstance(event, RecordChanged):
            key = (peer.index, event.place, event.record.seq)
            self.by_notice += event.via is not None and key not in self.at
            self.at.setdefault(key, now)


def follow(peer: Peer, place: bytes) -> None:
    """Let a peer watch a place."""
    assert peer.host is not None
    peer.host.command(lambda _, now: peer.engine.watching.watch(place, now + peer.clock_offset))
