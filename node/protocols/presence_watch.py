"""Whether neighbours live: silence, questions, accusations, and when they add up to death.

Decides when a neighbour is accused, how long a suspicion lasts, and how far a node trusts its own ears. Refuses to take
anybody's word for a third peer's death: accusers whom the accused itself has named its neighbours, as many as it asks
for, make it suspected and no more, unless we were linked with it and heard nothing more ourselves.

SWIM (Das, Gupta and Motivala 2002): suspicion before death, refutation by incarnation; here the owner's next beat.
Lifeguard (Dadgar, Phillips and Currey 2018): a suspicion ends sooner the more accusers there are, and who is in
trouble itself waits longer before it accuses others.
"""

from __future__ import annotations

import math
from typing import Final

from dht.limits import RateLimiter
from node.protocols import presence_wire as wire
from node.protocols.presence_beats import Accusation, decode_item, sign_accusation
from node.protocols.presence_book import Book, Entry, Learned
from node.protocols.presence_events import State, Suspected, Why
from node.protocols.presence_ground import Ground, LinkState
from node.protocols.presence_spread import Spread, told
from node.protocols.presence_views import seems_dead

UNHEALTHY_MOST: Final = 8
"""Lifeguard's limit of the local health score (memberlist: AwarenessMaxMultiplier)."""
STRETCH_EACH: Final = 4.0
"""Points of health or caution that lengthen suspicions by once their time: three times at most. UNSOURCED"""
CALM_AFTER: Final = 15.0
"""Seconds in which a false accusation is forgotten. UNSOURCED"""
GRACE: Final = 0.25
"""Part of the interval by which a beat may be late before it is asked for. UNSOURCED"""
LOOK_OFTEN, LOOK_SELDOM = 1.0, 10.0
"""Seconds between looks at the neighbours while one is silent, and at most: the next beat is due before that."""
LATE: Final = 0.01
"""Seconds after a neighbour's time at which it is looked for: more than floats round away."""
PLEDGE_REST: Final = 10.0
"""Seconds until a neighbour that has given no pledge is asked for one. UNSOURCED"""
DOUBTS, DOUBT_REST = 3, 2.0
"""Times it is asked whether a peer lives before it is taken for dead, each time of one neighbour more, and seconds for
an answer: our own check of what accusers say. UNSOURCED"""
HEARSAY_DOUBTS: Final = 1
"""Times it is asked where we were never linked with the peer: it is only shown as suspected then, whatever comes."""
HEARSAY_RATE, HEARSAY_BURST = 0.5, 32.0
"""Such questions a second, for each node of its own. Bounds what a network cut in halves makes each of its nodes ask:
half of all it knows fall silent at once. UNSOURCED"""
ASK_ACROSS: Final = 32
"""Such questions at once to somebody who seemed dead and is back. UNSOURCED: as many as the burst."""
ANSWER_FOR: Final = 30.0
"""Seconds for which an answer is passed back. UNSOURCED"""
WANTS_AT_MOST: Final = 128
"""Keys one link may seek or doubt at a time. Bounds memory: 100 bytes each."""
SUSPECT_GAP: Final = 2.0
"""Seconds between questions to a peer that is suspected. UNSOURCED: a dozen until its time is over."""


def suspicion_time(accusers: int, needed: int, least: float, most: float) -> float:
    """Seconds from the first accusation to death: from `most` with one accuser down to `least` with all that are needed
    (Lifeguard, section IV-B: max - (max - min) * log(C + 1) / log(K + 1))."""
    confirmations, all_of_them = accusers - 1, needed - 1
    if all_of_them <= 0 or confirmations >= all_of_them:
        return least
    return most - (most - least) * math.log(confirmations + 1) / math.log(all_of_them + 1)


class Watch:
    """Looks after the neighbours, and keeps the suspicions of all."""

    def __init__(self, ground: Ground, book: Book, spread: Spread) -> None:
        self._ground = ground
        self._book = book
        self._spread = spread
        self.health = 0
        """Lifeguard's score: 0 is well."""
        self.caution = 0.0
        """How many accusations have lately proved false, up to the same most: then all suspicions take longer."""
        self._hearsay = RateLimiter(HEARSAY_RATE, HEARSAY_BURST)
        self._looked_at = 0.0
        self._refutations = 0
        self.lost_neighbours: list[bytes] = []
        """Whom the last look gave up, for the views."""

    # Neighbours

    def heard(self, link: LinkState, now: float) -> None:
        """Something came over a link: the peer lives."""
        link.heard = now
        if link.silent and (entry := self._book.get(link.peer)) is not None:
            entry.witnessed = False
        if link.probes:
            link.probes = 0
            self.health = max(0, self.health - 1)
        link.silent = False

    def look(self, now: float) -> float:
        """Ask the silent, and accuse those who say nothing; returns when to look again."""
        settings = self._ground.settings
        neighbours = self._ground.neighbours
        overdue: list[LinkState] = []
        again = now + LOOK_SELDOM
        self._be_cautious(now)
        self._ask_suspects(now)
        for link in neighbours:
            if (link.pledge is None or link.pledge.until < now) and now - link.asked > PLEDGE_REST:
                link.asked = now
                self._ground.send(link.peer, wire.Neighbour(False))
                again = now + PLEDGE_REST
        for link in neighbours:
            entry = self._book.get(link.peer)
            interval = settings.interval if entry is None else entry.beat.interval
            due = link.heard + interval * (1 + GRACE) + 1
            if now > due:
                overdue.append(link)
            else:
                again = min(again, due + LATE)
        # If all fall silent at once it is rather we who are cut off; of two that may be chance.
        cut_off = len(overdue) == len(neighbours) and len(neighbours) > 2
        for link in overdue:
            if now < link.probe_at:
                continue
            if link.probes < settings.probes:
                link.probes += 1
                link.probe_at = now + settings.probe_gap * (1 + self.health)
                if len(overdue) > 1 and link.probes > 1:
                    self.health = min(UNHEALTHY_MOST, self.health + 1)
                self._ground.send(link.peer, wire.Probe())
            elif not link.silent and not cut_off:
                self.accuse(link, now)
        silent = any(link.silent or link.probes for link in self._ground.links.values())
        return now + LOOK_OFTEN if silent else again

    def _be_cautious(self, now: float) -> None:
        seen = self._ground.counters["refutations seen"]
        calmer = (now - self._looked_at) / CALM_AFTER if self._looked_at else 0.0
        self.caution = min(UNHEALTHY_MOST, max(0.0, self.caution - calmer) + seen - self._refutations)
        self._looked_at, self._refutations = now, seen

    @property
    def _stretch(self) -> float:
        """By how much suspicions take longer: Lifeguard's health, and what suspicions were worth lately."""
        return 1 + max(self.health, self.caution) / STRETCH_EACH

    def _ask_suspects(self, now: float) -> None:
        """Go on asking those whom we suspect ourselves, for as long as there is a link: our own check."""
        for link in self._ground.links.values():
            if link.silent and now >= link.probe_at:
                link.probe_at = now + SUSPECT_GAP
                entry = self._book.get(link.peer)
                if entry is not None and entry.state is State.SUSPECTED:
                    self._ground.send(link.peer, wire.Probe())

    def accuse(self, link: LinkState, now: float) -> None:
        """Say that a neighbour fell silent; where it gave us no pledge, or is no neighbour, only to ourselves."""
        entry = self._book.get(link.peer)
        link.silent = True
        if entry is not None:
            entry.witnessed = True
        if link.neighbour:
            self.lost_neighbours.append(link.peer)
        if entry is None or entry.state is State.OFFLINE:
            return
        self.suspect(entry, now, own=True)
        pledge = link.pledge
        if pledge is None or pledge.until < now:
            return
        accusers, needed = self._book.accusers(entry)
        if accusers > max(needed, pledge.needed):
            return  # Enough have spoken: one more brings nothing.
        accusation = sign_accusation(self._ground.key, pledge, entry.beat.told, int(now))
        if self._book.accused(accusation, b"", now) is Learned.NEWS:
            self._spread.tell_all(accusation, b"", entry.hops + 1, b"", now)
            self._schedule(entry, now)

    def parted(self, link: LinkState) -> None:
        """A link was closed in good order: what we suspected by it alone, we no longer do."""
        entry = self._book.get(link.peer)
        if entry is not None and link.silent and entry.state is State.SUSPECTED:
            accusers, needed = self._book.accusers(entry)
            if accusers < needed:
                entry.suspected = entry.deadline = 0.0
                entry.doubts = 0
                self._book.clear(entry)

    # Suspicions

    def on_accusation(self, accusation: Accusation, link: LinkState, hops: int, now: float, *, pushed: bool) -> Learned:
        """A neighbour brings an accusation."""
        accused = self._ground.links.get(accusation.owner)
        entry = self._book.get(accusation.owner)
        learned = self._book.accused(accusation, link.peer, now)
        if learned is not Learned.NEWS or entry is None:
            return learned
        self._spread.arrived(accusation.id, link, pushed=pushed)
        if accused is not None and not accused.silent:
            # The accused lives, for all we hear: let it know at once, so that it answers.
            self._ground.send(accused.peer, wire.News([wire.Told(hops, accusation.raw)], pushed=False))
        accusers, needed = self._book.accusers(entry)
        if accusers <= needed:  # Enough for everybody: more would only cost.
            self._spread.tell_all(accusation, b"", min(hops + 1, wire.MAX_HOPS), link.peer, now, pushed=pushed)
        self.suspect(entry, now, own=False)
        return learned

    def suspect(self, entry: Entry, now: float, *, own: bool) -> None:
        """Begin, or go on with, the suspicion of a peer."""
        accusers, needed = self._book.accusers(entry)
        if entry.state is State.ONLINE and (own or accusers >= needed):
            entry.state = State.SUSPECTED
            self._ground.emit(Suspected(entry.beat.owner, accusers, own))
        if entry.suspected == 0.0 or entry.deadline == 0.0:
            entry.suspected = now
        self._schedule(entry, now)

    def _schedule(self, entry: Entry, now: float) -> None:
        settings = self._ground.settings
        accusers, needed = self._book.accusers(entry)
        least, most = settings.suspicion_least * self._stretch, settings.suspicion_most * self._stretch
        # Ours alone, and with nobody to ask, it takes the longest time.
        span = suspicion_time(max(1, accusers), max(2, needed), least, most)
        entry.deadline = max(now, entry.suspected + span)
        self._ground.timers.at(entry.deadline, self._decide, entry.beat.owner, entry.deadline)

    def _decide(self, owner: bytes, deadline: float, now: float) -> None:
        entry = self._book.get(owner)
        if entry is None or entry.deadline != deadline:
            return
        link = self._ground.links.get(owner)
        accusers, needed = self._book.accusers(entry)
        lives = link is not None and not link.silent
        doubtful = accusers >= needed and not lives and entry.state is not State.OFFLINE
        times = DOUBTS if entry.witnessed else HEARSAY_DOUBTS
        if doubtful and entry.doubts < times and (entry.witnessed or self._hearsay.allow("", now)):
            self._doubt(entry, now)
            return
        entry.suspected = entry.deadline = 0.0
        entry.doubts = 0
        if entry.state is State.OFFLINE:
            return
        if lives or (entry.state is State.ONLINE and accusers < needed):
            self._book.clear(entry)
        elif accusers >= needed and entry.witnessed:
            self._book.bury(entry, Why.ACCUSED)
        elif accusers >= needed:
            # Hearsay: who has many liars for neighbours would be talked to death. It stays suspected until it says
            # something, we see for ourselves, or nothing new of it comes for very long.
            return
        elif not self._ground.neighbours:
            # We have seen it ourselves, and there is nobody else who could know better.
            self._book.bury(entry, Why.SILENT)
        else:
            # It is our line to it that died: if it had, its neighbours would have said so by now.
            self._book.clear(entry)

    def _doubt(self, entry: Entry, now: float) -> None:
        """Before we believe it, our own check: has anybody later news of the peer, or can reach it and ask?"""
        entry.doubts += 1
        neighbours = [link.peer for link in self._ground.neighbours if link.peer != entry.source]
        some = self._ground.rng.sample(neighbours, min(len(neighbours), entry.doubts))
        for peer in [entry.source, *some]:
            self._question(peer, entry)
        entry.deadline = now + DOUBT_REST * self._stretch
        self._ground.timers.at(entry.deadline, self._decide, entry.beat.owner, entry.deadline)

    def ask_across(self, link: LinkState, now: float) -> None:
        """Somebody who seemed dead is linked with us: perhaps the others who do are only on its side of a cut.

        The way their news came is cut still, and accusations of long ago are told to nobody: without this, who made
        them would have to find each of the accused again.
        """
        standing = [entry for _, entry in self._book if entry.accusations and seems_dead(entry)]
        for entry in self._ground.rng.sample(standing, min(len(standing), ASK_ACROSS)):
            if not self._hearsay.allow("", now):
                return
            self._question(link.peer, entry)

    def _question(self, peer: bytes, entry: Entry) -> None:
        evidence = next(iter((entry.accusations or {}).values()), None)
        if evidence is not None and peer in self._ground.links:
            self._ground.send(peer, wire.Doubt(wire.MAX_WALK * 2, entry.beat.owner, *entry.beat.told, evidence.raw))

    def on_doubt(self, link: LinkState, message: wire.Doubt, now: float) -> None:
        """A linked peer doubts that another lives: tell later news, or pass the question on, the way its news came."""
        ground, owner = self._ground, message.key
        entry = self._book.get(owner)
        item = decode_item(message.accusation)
        if entry is None or not isinstance(item, Accusation) or item.owner != owner:
            return
        if entry.beat.told > (message.epoch, message.news):
            ground.send(link.peer, wire.News([told(entry.beat, entry)], pushed=False))
            return
        if len(link.wants) < WANTS_AT_MOST:
            link.wants[owner] = now + ANSWER_FOR  # Its answer goes back the same way, wherever the horizon lies.
        accused = ground.links.get(owner)
        if now - entry.doubted < DOUBT_REST:
            return
        entry.doubted = now
        if accused is not None:
            ground.send(owner, wire.News([wire.Told(2, message.accusation)], pushed=False))
        elif message.hops and entry.source in ground.links and entry.source != link.peer:
            ground.send(entry.source, wire.Doubt(message.hops - 1, owner, *entry.beat.told, message.accusation))

    def warn(self, link: LinkState, entry: Entry) -> None:
        """A linked peer lives, and is accused: it may not have heard of it yet, so that it answers."""
        if entry.accusations:
            items = [told(one, entry) for one in entry.accusations.values()]
            self._ground.send(link.peer, wire.News(items, pushed=False))

    def refuted(self, entry: Entry) -> None:
        """A newer beat has come."""
        if entry.deadline and entry.state is not State.SUSPECTED:
            entry.suspected = entry.deadline = 0.0
            entry.doubts = 0
