"""How news spread: at once along a tree, by name beside it, and by digests where both failed.

Decides which neighbour hears what, and how far news goes. Refuses to know what the news are.

Plumtree (Leitão, Pereira and Rodrigues, "Epidemic Broadcast Trees", 2007): a neighbour that brings what is known
already is pruned from the tree and henceforth told names only; a name whose news does not follow is asked for, and its
teller is in the tree again. Flooding sends each news over every link; the tree sends it to each node about once.

The horizon is ours: news travels so many hops at most as keep what a node hears to its budget. So what a node hears
does not grow with the network; what it knows is its surroundings, and whom it seeks beyond them.
"""

from __future__ import annotations

import math
from typing import Final

from dht.limits import RateLimiter
from node.protocols import presence_wire as wire
from node.protocols.presence_beats import ID_BYTES, Accusation, Beat, Item
from node.protocols.presence_book import Book, Entry
from node.protocols.presence_ground import Ground, LinkState

MAX_MISSING: Final = 1024
"""Names waited for. UNSOURCED; bounds what invented names cost: 100 bytes each."""
ASKED_AT_MOST: Final = 3
"""Neighbours asked for one news. UNSOURCED; the digests find what is missing then."""
NAMES_RATE, NAMES_BURST = 50.0, 2000.0
"""Names a second of one link that are looked at. UNSOURCED"""
GRAFT_RATE, GRAFT_BURST = 20.0, 600.0
"""Items a second that one link is told for the asking: 7 kB/s. UNSOURCED"""

PUSHED_KEPT: Final = 512
"""Ids remembered to have come by the tree. UNSOURCED: a repeat comes within seconds"""

FARTHEST: Final = 32
NEAREST: Final = 2
"""Bounds of the horizon. Five neighbours reach 10^4 nodes in 8 hops, 10^7 in 14; the tree is up to twice as deep."""
HORIZON_WINDOW: Final = 30.0
"""Seconds over which news is counted to set the horizon. UNSOURCED"""
HOP_BRINGS: Final = 4.0
"""Times the news that one hop more brings at most: each of five neighbours passes it on to four."""
WIDEN_BELOW: Final = 1 / HOP_BRINGS
"""Part of the budget below which the horizon grows by a hop."""
CROWD: Final = 8.0
"""Minutes of the budget after which a crowd of strangers has the horizon judged at once, by as many hops as it takes.
So of a flash crowd a node hears some 2,000 news (the horizon comes down from its most in eight steps), not all.
UNSOURCED"""
ALARMS: Final = 4.0
"""Minutes of the budget, heard in half a minute, after which accusations keep to the horizon as all news does: where
many lie, most news is accusations and their answers. UNSOURCED"""
DIGEST_TELLS: Final = 64
"""Items that one digest is answered with; then another digest follows. UNSOURCED"""
LEFT_FOR: Final = 300.0
"""Seconds for which digests bring that a peer has left. UNSOURCED: five of them"""


class Spread:
    """Plumtree over the neighbours, with a horizon."""

    def __init__(self, ground: Ground, book: Book) -> None:
        self._ground = ground
        self._book = book
        self.horizon = ground.settings.first_horizon
        """Hops that news travels at most, as far as this node passes it on."""
        self._missing: dict[bytes, list[bytes]] = {}
        self._pushed: dict[bytes, None] = {}
        self._names = RateLimiter(NAMES_RATE, NAMES_BURST)
        self._told = RateLimiter(GRAFT_RATE, GRAFT_BURST)
        self._heard = self._strange = 0
        self._window_from: float | None = None
        self._flushing = False

    # Sending

    def tell_all(
        self,
        item: Item,
        card: bytes,
        hops: int,
        besides: bytes,
        now: float,
        *,
        pushed: bool = True,
        strange: bool = False,
        answers: bool = False,
    ) -> None:
        """Pass news on to the tree, and its name to the neighbours beside it; to whoever seeks the peer in any case.

        What came for the asking is old to most: it is only named (`pushed` false). `strange`: of a peer of whom nothing
        was known. `answers`: we had passed on accusations that it takes back.
        """
        if besides:
            self._count(now, strange=strange)
        message = wire.News([wire.Told(hops, item.raw, card)], pushed=True)
        # Who falls silent concerns all who know it: within the horizon each of its neighbours is heard by another part
        # of them, and nowhere enough of them. Who does not know it passes nothing on.
        calm = self._heard < ALARMS * self._ground.settings.news_per_minute
        # An answer goes wherever what it answers went, or those behind the horizon would believe that for ever. It goes
        # no further: who heard no accusation passes it on as any news.
        far = hops > self.horizon and not answers and not (calm and isinstance(item, Accusation))
        for link in self._ground.links.values():
            if link.peer == besides or (link.peer == item.owner and isinstance(item, Beat)):
                continue
            wanted = bool(link.wants) and link.wants.get(item.owner, 0.0) > now
            if wanted or (pushed and link.neighbour and not far and self.is_eager(link)):
                self._ground.send(link.peer, message)
            elif link.neighbour and not far:
                self.name(link, item.id, now)

    def is_eager(self, link: LinkState) -> bool:
        """Whether this neighbour is in the tree."""
        return link.eager

    def _known(self, name: bytes) -> bool:
        said = self._ground.said
        return self._book.has(name) or (said is not None and said[0].id == name)

    def name(self, link: LinkState, name: bytes, now: float) -> None:
        """Tell a neighbour beside the tree what it could ask for, together with the next few."""
        if len(link.lazy) < wire.MAX_IDS:
            link.lazy.append(name)
        if not self._flushing:
            self._flushing = True
            self._ground.timers.at(now + self._ground.settings.lazy, self._flush)

    def _flush(self, now: float) -> None:
        self._flushing = False
        for link in self._ground.links.values():
            if link.lazy:
                names = [name for name in link.lazy if self._known(name)]
                link.lazy.clear()
                if names:
                    self._ground.send(link.peer, wire.Have(wire.join_ids(names)))

    # Receiving

    def arrived(self, name: bytes, link: LinkState, *, pushed: bool) -> None:
        """Something has come, by the tree (`pushed`) or otherwise."""
        self._missing.pop(name, None)
        if pushed and link.neighbour:
            if not link.eager:
                # Pruned while this was under way: without a word, we would be beside the tree for it and it not for us.
                link.eager = True
                self._ground.send(link.peer, wire.Graft(b""))
            self._pushed[name] = None
            if len(self._pushed) > PUSHED_KEPT:
                del self._pushed[next(iter(self._pushed))]

    def fresh(self, name: bytes) -> bool:
        """Whether this has not come by the tree before."""
        return name not in self._pushed

    def repeated(self, name: bytes, link: LinkState) -> None:
        """A neighbour brought by the tree what had come by the tree before: one of both ways is too many.

        What came otherwise first, as by a walk, says nothing of the tree.
        """
        if link.neighbour and link.eager and name in self._pushed:
            link.eager = False
            self._ground.send(link.peer, wire.Prune())

    def on_prune(self, link: LinkState, now: float) -> None:
        """It hears sooner from others."""
        link.eager = False

    def on_have(self, link: LinkState, ids: bytes, now: float) -> None:
        """A neighbour names news."""
        for name in wire.split(ids, ID_BYTES):
            if self._known(name):
                continue
            if not self._names.allow(link.peer, now):
                self._ground.counters["over the link's names"] += 1
                return
            tellers = self._missing.get(name)
            if tellers is not None:
                if len(tellers) < ASKED_AT_MOST and link.peer not in tellers:
                    tellers.append(link.peer)
            elif len(self._missing) < MAX_MISSING:
                self._missing[name] = [link.peer]
                self._ground.timers.at(now + self._ground.settings.graft, self._ask, name)

    def _ask(self, name: bytes, now: float) -> None:
        tellers = self._missing.get(name)
        if tellers is None:
            return
        while tellers:
            link = self._ground.links.get(tellers.pop(0))
            if link is not None and link.neighbour:
                link.eager = True
                self._ground.send(link.peer, wire.Graft(name))
                self._ground.timers.at(now + self._ground.settings.graft, self._ask, name)
                return
        del self._missing[name]

    def on_graft(self, link: LinkState, ids: bytes, now: float) -> None:
        """A neighbour asks for what we named, and to be in the tree."""
        if link.neighbour:
            link.eager = True
        found: list[wire.Told] = []
        for name in wire.split(ids, ID_BYTES)[: wire.MAX_ITEMS]:
            there, said = self._book.item(name), self._ground.said
            if not self._told.allow(link.peer, now):
                break
            if there is not None:
                found.append(told(*there))
            elif said is not None and said[0].id == name:
                found.append(wire.Told(1, said[0].raw, said[1].raw))
        if found:
            self._ground.send(link.peer, wire.News(found, pushed=True))

    # The horizon

    def _count(self, now: float, *, strange: bool) -> None:
        if self._window_from is None:
            self._window_from = now
            self._ground.timers.at(now + HORIZON_WINDOW, self._judge_due)
        self._heard += 1
        self._strange += strange
        if self._strange >= CROWD * self._ground.settings.news_per_minute:
            self._judge(now)

    def _judge_due(self, now: float) -> None:
        assert self._window_from is not None
        if now >= self._window_from + HORIZON_WINDOW:
            self._judge(now)
        self._ground.timers.at(self._window_from + HORIZON_WINDOW, self._judge_due)

    def _judge(self, now: float) -> None:
        """Set the horizon by what was heard in a minute."""
        assert self._window_from is not None
        minutes = max(1.0, now - self._window_from) / 60
        budget = self._ground.settings.news_per_minute * minutes
        if self._heard > budget:
            # What befalls those we know passes. Of strangers there may be ever more: away with them at once.
            crowd = max(1.0, self._strange / budget)
            self.horizon = max(NEAREST, self.horizon - max(1, round(math.log(crowd, HOP_BRINGS))))
        elif self._heard < WIDEN_BELOW * budget:
            self.horizon = min(FARTHEST, self.horizon + 1)
        self._heard, self._strange, self._window_from = 0, 0, now

    # Digests

    def digest(self, peer: bytes, *, answer: bool) -> None:
        """Say what we have, so that a neighbour tells what we lack."""
        at = self._ground.rng.randrange(ID_BYTES - wire.DIGEST_BYTES + 1)
        end = at + wire.DIGEST_BYTES
        names = [name[at:end] for name in self._book.names()]
        if self._ground.said is not None:
            names.append(self._ground.said[0].id[at:end])
        self._ground.send(peer, wire.Digest(at, b"".join(names[: wire.MAX_DIGEST]), answer))

    def on_digest(self, link: LinkState, message: wire.Digest, now: float) -> None:
        """Tell a peer what it lacks of our surroundings; when there is more, it is to ask again."""
        at, end = message.at, message.at + wire.DIGEST_BYTES
        there = set(wire.split(message.parts, wire.DIGEST_BYTES))
        known = (self._book.item(name) for name in self._book.names() if name[at:end] not in there)
        lacking = [pair for pair in known if pair is not None and self._is_lacking(pair[1], link, now)]
        more = len(lacking) > DIGEST_TELLS
        items = [told(*pair) for pair in lacking[:DIGEST_TELLS] if self._told.allow(link.peer, now)]
        for start in range(0, len(items), wire.MAX_ITEMS):
            self._ground.send(link.peer, wire.News(items[start : start + wire.MAX_ITEMS], pushed=False))
        if message.answer:
            self.digest(link.peer, answer=more)

    def _is_lacking(self, entry: Entry, link: LinkState, now: float) -> bool:
        """Whether a peer is to be told of this one: not of itself, of nobody far off, of nobody gone for long."""
        left = not entry.beat.status and now - entry.received > LEFT_FOR
        return entry.hops < self.horizon and entry.beat.owner != link.peer and not left


def told(item: Item, entry: Entry) -> wire.Told:
    """An item as it is told on."""
    card = entry.card.raw if isinstance(item, Beat) else b""
    return wire.Told(min(entry.hops + 1, wire.MAX_HOPS), item.raw, card)
