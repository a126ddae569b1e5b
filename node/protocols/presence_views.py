"""Whom a node is neighbour of, and who could become one.

Decides the active and the passive view. Refuses to open links: it asks for them, and is told when there is one.

HyParView (Leitão, Pereira and Rodrigues 2007): a few neighbours, always on both sides; a larger passive view that is
kept fresh by shuffles and takes the place of neighbours that fail. Two differences: a shuffle goes to a neighbour
rather than to the end of a walk, as there is no way back but links; and a newcomer's walk ends in a link that the far
end opens, since the walk brings the ways to it, signed.
"""

from __future__ import annotations

import math
from typing import Final

from node.protocols import presence_wire as wire
from node.protocols.presence_beats import MARK_BYTES, Card
from node.protocols.presence_book import Book, Entry
from node.protocols.presence_events import LinkSpare, LinkWanted, State
from node.protocols.presence_ground import Ground, LinkState

PASSIVE_WALK: Final = 3
"""PRWL: where a walk leaves the newcomer in a passive view (HyParView, section 5.1)."""
DIALLING_AT_MOST: Final = 2
"""Links asked for at once. UNSOURCED"""
DIAL_REST: Final = 30.0
"""Seconds until a link that was asked for is given up."""
FAILED_REST: Final = 300.0
"""Seconds until a peer that was not reached is tried again. UNSOURCED"""
REFUSED_REST: Final = 50.0
"""Seconds added to that when it said no. UNSOURCED"""
ENOUGH: Final = 3
"""Neighbours with which there is no hurry to find more. UNSOURCED"""
HURRY, EASY = 2.0, 5.0
"""Seconds between looks for more neighbours with fewer than that, and with fewer than are sought. UNSOURCED"""
DIAL_EASY: Final = 60.0
"""Seconds between dials then. UNSOURCED"""
ASK_REST: Final = 10.0
"""Seconds until somebody is asked again to be a neighbour. UNSOURCED"""
RECONNECT_EVERY: Final = 30.0
"""Seconds between attempts at somebody who seemed dead (Serf, `DefaultConfig`: ReconnectInterval)."""
RECONNECT_MOST: Final = 0.25
"""Of nodes that make such an attempt at a time. Serf's share is dead / alive, which in a network cut in half is all.
UNSOURCED"""
RECONNECT_SEEN: Final = 0.125
"""Of nodes that make one while somebody they were linked with fell silent: every four minutes. UNSOURCED"""
SHUNNED_FOR: Final = 600.0
"""Seconds for which who accused us is no neighbour. UNSOURCED: its link with us may have been what was dead"""
SHUNNED_AT_MOST: Final = 128
"""Accusers remembered. Bounds memory: 100 bytes each."""
SPARE_ROOM: Final = 1
"""Neighbours above the number sought, for those who have none: HyParView drops one for an urgent request; so both
stay."""


class Views:
    """The neighbours, and who could be one."""

    def __init__(self, ground: Ground, book: Book) -> None:
        self._ground = ground
        self._book = book
        self.passive: dict[bytes, None] = {}
        self._dialling: dict[bytes, float] = {}
        self._failed: dict[bytes, float] = {}
        self._dialled = 0.0
        self._shunned: dict[bytes, float] = {}
        """Who has said that we are dead, and until when they are no neighbours for it."""
        self.changed = False
        """Whether there are other neighbours than before; whoever looks resets it."""

    # The active view

    def fill(self, now: float) -> None:
        """See to it that there are enough neighbours: those linked first, then dials."""
        ground = self._ground
        wanted = ground.settings.active - len(ground.neighbours)
        if wanted <= 0:
            return
        asked = 0
        for link in ground.links.values():
            if self.suitable(link) and now - link.asked > ASK_REST and asked < wanted:
                link.asked = now
                asked += 1
                ground.send(link.peer, wire.Neighbour(not ground.neighbours))
        self._dialling = {peer: at for peer, at in self._dialling.items() if now - at < DIAL_REST}
        if asked >= wanted or not ground.settings.dials or len(self._dialling) >= DIALLING_AT_MOST:
            return
        # One neighbour too few is no hurry: where all are full, a search would go round for ever.
        if len(ground.neighbours) >= ENOUGH and now - self._dialled < DIAL_EASY:
            return
        self._dialled = now
        for peer, card in self._candidates(now, min(wanted - asked, DIALLING_AT_MOST - len(self._dialling))):
            self._dialling[peer] = now
            ground.emit(LinkWanted(peer, card))

    def hurry(self) -> float:
        """Seconds until more neighbours are to be sought; infinite when there are enough."""
        if not self._ground.links:
            return max(HURRY, self._ground.settings.interval)  # There is nobody to ask, and a phone that could sleep.
        count = len(self._ground.neighbours)
        return HURRY if count < ENOUGH else EASY if count < self._ground.settings.active else math.inf

    def suitable(self, link: LinkState) -> bool:
        """Whether a link could be a neighbour's."""
        fit = link.direct and link.greeted and link.may and not link.neighbour and not link.silent
        return fit and link.peer not in self._shunned

    def _candidates(self, now: float, count: int) -> list[tuple[bytes, Card]]:
        ground = self._ground
        self._failed = {peer: at for peer, at in self._failed.items() if now - at < FAILED_REST}
        out = {*self._failed, *self._dialling, *self._shunned, *ground.links}
        found: list[tuple[bytes, Card]] = []
        passive = list(self.passive)
        ground.rng.shuffle(passive)
        # Whoever can be dialled directly needs nobody's help for it; the others are asked only by who has nobody.
        passive.sort(key=lambda peer: (entry := self._book.get(peer)) is None or not entry.card.direct)
        for peer in passive:
            entry = self._book.get(peer)
            if entry is None or entry.state is not State.ONLINE or not entry.card.reachable:
                del self.passive[peer]
            elif peer not in out and len(found) < count and (entry.card.direct or not ground.neighbours):
                found.append((peer, entry.card))
        if len(found) < count:
            out.update(peer for peer, _ in found)
            some = self._book.pick(count - len(found), out)
            found += [(one.beat.owner, one.card) for one in some if one.card.direct or not ground.neighbours]
        return found

    def reconnect(self, now: float) -> None:
        """Try somebody who seemed dead: two halves of a network, each with neighbours enough, else never meet again."""
        ground = self._ground
        if not ground.settings.dials or len(self._dialling) >= DIALLING_AT_MOST:
            return
        if ground.rng.random() >= RECONNECT_MOST:
            return
        dead = [
            entry
            for owner, entry in self._book
            if seems_dead(entry) and entry.card.reachable and owner not in ground.links
        ]
        share = len(dead) / max(1, len(self._book) - len(dead))
        if share < RECONNECT_SEEN and (seen := [entry for entry in dead if entry.witnessed]):
            # Nobody else may think so: then nothing but our own attempt tells us better.
            share, dead = RECONNECT_SEEN, seen
        if dead and ground.rng.random() < share / RECONNECT_MOST:
            chosen = ground.rng.choice(dead)
            self._dialling[chosen.beat.owner] = now
            ground.emit(LinkWanted(chosen.beat.owner, chosen.card))

    def bridge(self, link: LinkState, now: float) -> None:
        """Somebody who seemed dead is linked: what was cut is whole, so be neighbours, whoever else has to go."""
        link.asked = now
        self._ground.send(link.peer, wire.Neighbour(True))

    def dial_failed(self, peer: bytes, now: float) -> None:
        """The link that was asked for did not come to be."""
        self._dialling.pop(peer, None)
        self.passive.pop(peer, None)
        self._failed[peer] = now
        self.fill(now)

    def linked(self, peer: bytes) -> None:
        """A link is there."""
        self._dialling.pop(peer, None)
        self.passive.pop(peer, None)

    def on_request(self, link: LinkState, *, urgent: bool, now: float) -> None:
        """Somebody wants to be our neighbour."""
        ground = self._ground
        self._shunned = {peer: until for peer, until in self._shunned.items() if until > now}
        room = ground.settings.active + (SPARE_ROOM if urgent else 0) - len(ground.neighbours)
        fit = link.direct and link.greeted and link.peer not in self._shunned
        accepted = link.neighbour or (fit and room > 0)
        if not accepted and urgent and fit and ground.neighbours:
            # Who has no neighbour at all is taken, in the place of one of ours (HyParView, section 4.3).
            self.part(ground.rng.choice(ground.neighbours), now)
            accepted = True
        ground.send(link.peer, wire.NeighbourAnswer(accepted))
        if accepted:
            self.become(link)

    def on_answer(self, link: LinkState, *, accepted: bool, now: float) -> None:
        """Yes or no to our request."""
        if not link.asked:
            return
        if not accepted:
            link.asked = now + REFUSED_REST
            self._failed[link.peer] = now
            self.fill(now)
            if self._ground.neighbours:
                self._ground.emit(LinkSpare(link.peer))
        elif self._fits(link) and len(self._ground.neighbours) < self._ground.settings.active + SPARE_ROOM:
            self.become(link)
        elif not link.neighbour:
            self._ground.send(link.peer, wire.Part())

    def _fits(self, link: LinkState) -> bool:
        return link.direct and link.peer not in self._shunned

    def shun(self, peer: bytes, now: float) -> None:
        """No longer have a peer for a neighbour, nor for a while: it says that we are dead."""
        if len(self._shunned) >= SHUNNED_AT_MOST:
            del self._shunned[next(iter(self._shunned))]
        self._shunned[peer] = now + SHUNNED_FOR
        self.passive.pop(peer, None)
        if (link := self._ground.links.get(peer)) is not None:
            self.part(link, now)
            self.passive.pop(peer, None)

    def agree(self, link: LinkState) -> None:
        """A link's peer takes us for its neighbour: so it is ours, too, or is told that it is not."""
        if link.neighbour:
            return
        if self._fits(link) and len(self._ground.neighbours) < self._ground.settings.active + SPARE_ROOM:
            self.become(link)
        else:
            self._ground.send(link.peer, wire.Part())

    def become(self, link: LinkState) -> None:
        """Take a link's peer as neighbour."""
        if not link.neighbour:
            link.neighbour = link.eager = True
            self.changed = True
        self.passive.pop(link.peer, None)

    def part(self, link: LinkState, now: float, *, told: bool = True) -> None:
        """No longer be neighbours."""
        if not link.neighbour:
            return
        link.neighbour = False
        link.asked = now
        link.lazy.clear()
        self.changed = True
        if told:
            self._ground.send(link.peer, wire.Part())
        if not link.silent:
            self.remember(link.peer)
            self._ground.emit(LinkSpare(link.peer))

    # Newcomers

    def welcome(self, link: LinkState, entry: Entry) -> None:
        """A peer that is new to the network has linked with us: send it on walks, one by each neighbour."""
        told = _told(entry)
        for other in self._ground.neighbours:
            if other is not link:
                self._ground.send(other.peer, wire.Walk(wire.MAX_WALK, told))

    def on_walk(self, link: LinkState, ttl: int, entry: Entry, now: float) -> None:
        """A newcomer's walk comes by; the entry is what it brought, verified."""
        ground, peer = self._ground, entry.beat.owner
        if ttl == PASSIVE_WALK:
            self.remember(peer)
        others = [other for other in ground.neighbours if other is not link and other.peer != peer]
        if ttl > 0 and others:
            ground.send(ground.rng.choice(others).peer, wire.Walk(ttl - 1, _told(entry)))
            return
        room = len(ground.neighbours) < ground.settings.active
        if ground.settings.dials and room and peer not in ground.links and len(self._dialling) < DIALLING_AT_MOST:
            self._dialling[peer] = now
            ground.emit(LinkWanted(peer, entry.card))
        else:
            self.remember(peer)

    # The passive view

    def remember(self, peer: bytes) -> None:
        """Keep a peer to become a neighbour one day."""
        ground = self._ground
        if peer == ground.own or peer in self.passive or ((link := ground.links.get(peer)) and link.neighbour):
            return
        if len(self.passive) >= ground.settings.passive:
            del self.passive[ground.rng.choice(list(self.passive))]
        self.passive[peer] = None

    def shuffle(self) -> None:
        """Exchange some peers with a neighbour."""
        neighbours = self._ground.neighbours
        if neighbours:
            link = self._ground.rng.choice(neighbours)
            self._ground.send(link.peer, wire.Shuffle(self._people(link.peer), answer=True))

    def on_shuffle(self, link: LinkState, message: wire.Shuffle, entries: list[Entry]) -> None:
        """A neighbour's peers, verified."""
        if message.answer:
            self._ground.send(link.peer, wire.Shuffle(self._people(link.peer), answer=False))
        for entry in entries:
            self.remember(entry.beat.owner)

    def _people(self, besides: bytes) -> list[wire.Told]:
        ground = self._ground
        active = [link.peer for link in ground.neighbours if link.peer != besides]
        passive = [peer for peer in self.passive if peer != besides]
        some = ground.rng.sample(active, min(2, len(active))) + ground.rng.sample(passive, min(2, len(passive)))
        entries = [entry for peer in some if (entry := self._book.get(peer)) is not None]
        return [_told(entry) for entry in entries if entry.state is State.ONLINE and entry.card.reachable]


def seems_dead(entry: Entry) -> bool:
    """Whether it fell silent, as far as we know or have been told: it may be only out of reach, and be back."""
    suspected = entry.state is State.SUSPECTED and not entry.deadline
    return suspected or (entry.state is State.OFFLINE and bool(entry.beat.status))


def _told(entry: Entry) -> wire.Told:
    return wire.Told(min(entry.hops + 1, wire.MAX_HOPS), entry.beat.raw, entry.card.raw)


def marks(links: list[LinkState]) -> tuple[bytes, ...]:
    """How a card names neighbours."""
    return tuple(sorted(link.peer[:MARK_BYTES] for link in links))
