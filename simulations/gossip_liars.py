"""Nodes that lie about others by gossip, as far as the protocol lets them.

Decides the lies: beats with another's name and no signature of its, old beats again, accusations of neighbours that
live (by their real pledges), accusations by pledges nobody gave, and silence about whoever answers one. Refuses to be
caught easily: a liar is an ordinary node besides.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from dht.constants import SIGNATURE_BYTES
from node.protocols import presence_wire as wire
from node.protocols.presence import Presence
from node.protocols.presence_beats import Beat, Pledge, decode_item, sign_accusation
from node.protocols.presence_book import Entry
from node.protocols.presence_events import State
from simulations.gossip import GossipNode, GossipWorld

LIE_EVERY: Final = 5.0
"""Seconds between a liar's lies."""
OLD_KEPT: Final = 64


class Liar(Presence):
    """An ordinary node that lies every few seconds."""

    def start_lying(self, now: float) -> None:
        """From now on."""
        self.lies = 0
        self._old: deque[tuple[bytes, bytes]] = deque(maxlen=OLD_KEPT)
        self.ground.timers.at(now + LIE_EVERY * self.ground.rng.random(), self._lie)

    def receive_message(self, data: bytes, peer: bytes, now: float) -> None:
        """Keep old beats; pass on no news of those it has accused."""
        message = wire.decode(data)
        if isinstance(message, wire.News):
            for told in message.items:
                item = decode_item(told.raw)
                if isinstance(item, Beat):
                    self._old.append((told.raw, told.card))
                    if self._accused(item.owner):
                        return
        super().receive_message(data, peer, now)

    def _accused(self, owner: bytes) -> bool:
        entry = self.book.get(owner)
        return entry is not None and self.ground.own in (entry.accusations or {})

    def _lie(self, now: float) -> None:
        self.ground.timers.at(now + LIE_EVERY, self._lie)
        ground = self.ground
        neighbours = ground.neighbours
        if not neighbours:
            return
        self.lies += 1
        victim = ground.rng.choice(neighbours)
        entry = self.book.get(victim.peer)
        if victim.pledge is not None and entry is not None and victim.pledge.until > now:
            accusation = sign_accusation(ground.key, victim.pledge, entry.beat.told, int(now))
            self.book.accused(accusation, b"", now)
            self._tell(wire.Told(2, accusation.raw), victim.peer)
        others = [one for _, one in self.book if one.state is not State.OFFLINE]
        if others:
            self._false_words(ground.rng.choice(others), ground.rng, now)

    def _false_words(self, entry: Entry, rng: Random, now: float) -> None:
        """One of what nobody should believe."""
        beat = entry.beat
        kind = rng.randrange(3)
        if kind == 0 and self._old:
            raw, card = rng.choice(list(self._old))
            self._tell(wire.Told(2, raw, card), beat.owner)
        elif kind == 1:
            pledge = Pledge(
                beat.owner, self.ground.own, beat.version[0], beat.news, int(now) + 60, 1, rng.randbytes(64)
            )
            self._tell(wire.Told(2, sign_accusation(self.ground.key, pledge, beat.told, int(now)).raw), beat.owner)
        elif rng.random() < 0.1:  # More often, and nobody hears the liar any more.
            later = beat.raw[:37] + (beat.version[1] + 99).to_bytes(4, "big") + beat.raw[41:-SIGNATURE_BYTES]
            self._tell(wire.Told(2, later + rng.randbytes(SIGNATURE_BYTES), entry.card.raw), beat.owner)

    def _tell(self, told: wire.Told, besides: bytes) -> None:
        for link in self.ground.neighbours:
            if link.peer != besides:
                self.ground.send(link.peer, wire.News([told], True))


def make_liar(world: GossipWorld, node: GossipNode, rng: Random, now: float) -> Presence:
    """A liar, for `GossipWorld.start`."""
    liar = Liar(node.key, world.settings, rng, now, verdicts=world.verdicts)
    liar.start_lying(now)
    return liar
