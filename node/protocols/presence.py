"""Gossip presence: who is there, as each says of itself, and as far as a node's surroundings and interests reach.

Wires the parts to the five verbs over links: what is known (`presence_book`), how it spreads (`presence_spread`), who
lives (`presence_watch`), who is whose neighbour (`presence_views`), what we say of ourselves (`presence_self`) and whom
we seek (`presence_seek`). Refuses to know links but by their peer's key, which whoever made them has proven.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from dht.contact import Contact
from dht.errors import DecodeError
from dht.identity import IdentityKey
from node.protocols import presence_wire as wire
from node.protocols.presence_beats import (
    Accusation,
    Beat,
    Pledge,
    Status,
    Verdicts,
    decode_card,
    decode_item,
    make_card,
)
from node.protocols.presence_book import Book, Entry, Learned
from node.protocols.presence_events import Answered, PresenceEvent
from node.protocols.presence_ground import Ground, LinkState, PresenceSettings
from node.protocols.presence_seek import SEEK_EVERY, Seeking
from node.protocols.presence_self import ALONE, HEARD, HELLOS, MAY, Own
from node.protocols.presence_spread import Spread
from node.protocols.presence_views import HURRY, RECONNECT_EVERY, Views, seems_dead
from node.protocols.presence_watch import Watch

DIGEST_SELDOM: Final = 8.0
"""Times the least pause to which pauses between digests grow while they bring nothing. UNSOURCED"""
SETTLED: Final = 20.0
"""Seconds after which a newcomer says again that it is there: by then it has found its neighbours, who are as many ways
further; its first word went only as far as the horizon round the one it joined by. UNSOURCED"""
WALKED: Final = 30.0
"""Seconds for which news that a walk or a shuffle brought still goes on when the tree brings it. UNSOURCED"""
FAULTS_AT_MOST: Final = 3
"""Forged or unreadable messages of a link until its gossip is heard no more. UNSOURCED: an honest one sends none."""


class Presence:
    """The gossip of one identity."""

    def __init__(
        self,
        key: IdentityKey,
        settings: PresenceSettings,
        rng: Random,
        now: float,
        *,
        verdicts: Verdicts | None = None,
        make_spread: Callable[[Ground, Book], Spread] = Spread,
    ) -> None:
        """`verdicts` may be shared by the nodes of one process; `make_spread` is for comparisons."""
        self.ground = Ground(key, settings, rng, verdicts or Verdicts(), key.public.raw)
        self.book = Book(self.ground)
        self.spread = make_spread(self.ground, self.book)
        self.watch = Watch(self.ground, self.book, self.spread)
        self.views = Views(self.ground, self.book)
        self.own = Own(self.ground, self.book, self.spread, self.watch, self.views, now)
        self.seeking = Seeking(self.ground, self.book, self.spread)
        self._left = False
        self._digest_gap, self._brought = settings.digest, 0
        self._handlers: dict[type[Any], Callable[[LinkState, Any, float], None]] = {
            wire.Hello: self._on_hello,
            wire.Heartbeat: self._on_heartbeat,
            wire.News: self._on_news,
            wire.Walk: self._on_walk,
            wire.Shuffle: self._on_shuffle,
            wire.Seek: self.seeking.on_seek,
            wire.Pledged: self._on_pledged,
            wire.Probe: self.own.on_probe,
            wire.Have: lambda link, message, now: self.spread.on_have(link, message.ids, now),
            wire.Graft: lambda link, message, now: self.spread.on_graft(link, message.ids, now),
            wire.Prune: lambda link, _, now: self.spread.on_prune(link, now),
            wire.Digest: self.spread.on_digest,
            wire.Doubt: self.watch.on_doubt,
            wire.Neighbour: self._on_neighbour,
            wire.NeighbourAnswer: self._on_neighbour_answer,
            wire.Part: lambda link, _, now: self.views.part(link, now, told=False),
        }
        self.own.announce(now)
        timers, rest = self.ground.timers, rng.random
        timers.at(now + rest() * settings.interval, self._beat_due)
        self._look_at = math.inf
        self._look_by(now + 1 + rest())
        timers.at(now + rest() * settings.shuffle, self._shuffle_due)
        timers.at(now + rest() * settings.digest, self._digest_due)
        timers.at(now + SETTLED * (0.75 + rest() / 2), self._refresh_due)
        timers.at(now + 60 * rest(), self._expire_due)
        timers.at(now + RECONNECT_EVERY * (1 + rest()), self._reconnect_due)
        timers.at(now + SEEK_EVERY * rest(), self.seeking.seek_due)

    # The five verbs

    def receive_message(self, data: bytes, peer: bytes, now: float) -> None:
        """Take in what the peer of a link says; never raises for it."""
        link = self.ground.links.get(peer)
        if link is None or self._left:
            return
        self.watch.heard(link, now)
        if link.faults >= FAULTS_AT_MOST:
            self.ground.counters["unheard"] += 1
            return
        try:
            message = wire.decode(data)
            if message is not None:
                self._handlers[type(message)](link, message, now)
        except DecodeError:
            link.faults += 1
            self.ground.counters["unreadable"] += 1
        if self.views.changed:
            self._on_view(now)

    def messages_to_send(self, now: float) -> list[tuple[bytes, bytes]]:
        """What is to go out, as (bytes, peer)."""
        out, self.ground.outbox = self.ground.outbox, []
        return out

    def next_timer(self) -> float | None:
        """When to call `handle_timer`."""
        return None if self._left else self.ground.timers.next()

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        self.ground.timers.run(now)
        if self.views.changed:
            self._on_view(now)

    def next_event(self) -> PresenceEvent | None:
        """What was found out."""
        return self.ground.events.popleft() if self.ground.events else None

    # Commands

    def add_link(self, peer: bytes, now: float, *, direct: bool = True) -> None:
        """There is a link with `peer`; only a direct one can be a neighbour's."""
        self.drop_link(peer, now, lost=False)
        link = LinkState(peer, direct, opened=now, heard=now)
        self.ground.links[peer] = link
        self._look_by(now + HURRY)
        self.views.linked(peer)
        self.own.greet(link, now)

    def drop_link(self, peer: bytes, now: float, *, lost: bool) -> None:
        """A link has ended: lost, or closed in good order by either side."""
        link = self.ground.links.get(peer)
        if link is None:
            return
        if lost and not link.silent:
            self.watch.accuse(link, now)
        elif not lost:
            self.watch.parted(link)
        self.views.part(link, now, told=False)
        del self.ground.links[peer]
        self.views.fill(now)

    def dial_failed(self, peer: bytes, now: float) -> None:
        """A link that `LinkWanted` asked for did not come to be."""
        self.views.dial_failed(peer, now)

    def set_status(self, status: Status, text: str, now: float) -> None:
        """Say something else of ourselves, to all. Raises `LocalError` for a text that does not fit."""
        make_card(text=text)
        if (status, text) != (self.own.status, self.own.text):
            self.own.status, self.own.text = status, text
            self.own.announce(now)

    def set_ways(self, direct: tuple[Contact, ...], homes: tuple[Contact, ...], fingerprint: bytes, now: float) -> None:
        """Say where we can be reached."""
        if (direct, homes, fingerprint) != self.own.ways:
            self.own.ways = direct, homes, fingerprint
            self.own.announce(now)

    def set_interests(self, keys: Iterable[bytes], kept: Iterable[bytes] = ()) -> None:
        """Whom somebody here cares for: they are never forgotten, and sought beyond the horizon; `kept` are not sought,
        as neighbours would learn of it.
        """
        before = self.ground.sought
        self.ground.sought = frozenset(keys) - {self.ground.own}
        self.ground.interests = self.ground.sought | frozenset(kept)
        new = [key for key in self.ground.sought - before if self.book.get(key) is None]
        if new:
            self.seeking.ask(sorted(new))

    def seek(self, peer: bytes) -> bool:
        """Ask the neighbours for a peer; `Answered` comes when one knows it. False when there is nobody to ask."""
        return self.seeking.ask([peer])

    def leave(self, now: float) -> None:
        """Tell everybody linked that we go; nothing is said after that."""
        if not self._left:
            self.own.status = Status.OFFLINE
            self.own.announce(now)
            self._left = True

    # What is due

    def _beat_due(self, now: float) -> None:
        settings = self.ground.settings
        neighbours = self.ground.neighbours
        if neighbours:
            beat = self.own.sign_of_life(now)
            for link in neighbours:
                self.own.send_beat(link, beat)
                self.own.renew_pledge(link, now)
        self.ground.timers.at(now + settings.interval * (0.95 + self.ground.rng.random() / 10), self._beat_due)

    def _look_due(self, now: float) -> None:
        if now < self._look_at:
            return  # There has been one meanwhile.
        again = self.watch.look(now)
        lost, self.watch.lost_neighbours = self.watch.lost_neighbours, []
        for peer in lost:
            if (link := self.ground.links.get(peer)) is not None:
                self.views.part(link, now)
        self.views.fill(now)
        self._look_at = math.inf
        self._look_by(min(again, now + self.views.hurry()))

    def _look_by(self, when: float) -> None:
        """Look at the neighbours at that time, if not before."""
        if when < self._look_at:
            self._look_at = when
            self.ground.timers.at(when, self._look_due)

    def _shuffle_due(self, now: float) -> None:
        self.views.shuffle()
        self.ground.timers.at(now + self.ground.settings.shuffle, self._shuffle_due)

    def _digest_due(self, now: float) -> None:
        neighbours = self.ground.neighbours
        if neighbours:
            self.spread.digest(self.ground.rng.choice(neighbours).peer, answer=True)
        # Where digests bring nothing, they may be seldom.
        least, brought = self.ground.settings.digest, self.ground.counters["by digest"]
        self._digest_gap = least if brought > self._brought else min(DIGEST_SELDOM * least, self._digest_gap * 2)
        self._brought = brought
        self.ground.timers.at(now + self._digest_gap, self._digest_due)

    def _refresh_due(self, now: float) -> None:
        self.own.announce(now)
        rest = self.ground.settings.refresh * (0.9 + self.ground.rng.random() / 5)
        self.ground.timers.at(now + rest, self._refresh_due)

    def _reconnect_due(self, now: float) -> None:
        self.views.reconnect(now)
        self.ground.timers.at(now + RECONNECT_EVERY, self._reconnect_due)

    def _expire_due(self, now: float) -> None:
        self.book.expire(now)
        self.seeking.expire(now)
        self.ground.timers.at(now + 60, self._expire_due)

    def _on_view(self, now: float) -> None:
        """There are other neighbours: more or fewer of them have to agree on our death."""
        self.views.changed = False
        self._look_by(now + self.views.hurry())
        for link in self.ground.neighbours:
            if not link.pledged_at:
                self.own.renew_pledge(link, now)
        for link in self.ground.links.values():
            if not link.neighbour:
                link.pledged_at = 0.0

    # What links bring

    def _learn(
        self, told: wire.Told, link: LinkState, now: float, *, pushed: bool = False, quiet: bool = False
    ) -> tuple[Learned, Entry | None]:
        """A beat, by whatever message; what is news goes on."""
        beat = decode_item(told.raw)
        if not isinstance(beat, Beat):
            raise DecodeError("gossip", "an accusation where a beat belongs")
        if beat.owner == self.ground.own:
            self.own.on_own(beat, now)
            return Learned.OLD, None
        card = decode_card(told.card) if told.card else None
        hops = 1 if beat.owner == link.peer else max(2, told.hops)
        before = self.book.get(beat.owner)
        strange, answers = before is None, before is not None and before.accusations is not None
        learned = self.book.learn(beat, card, hops, link.peer, now)
        if learned is Learned.FORGED:
            link.faults += 1
        entry = self.book.get(beat.owner)
        if learned in (Learned.NEWS, Learned.NEWER) and entry is not None:
            self.watch.refuted(entry)
        if entry is not None and entry.accusations and beat.owner == link.peer:
            self.watch.warn(link, entry)
        if learned is Learned.NEWS and beat.status:
            self.ground.emit(Answered(beat.owner))
        if entry is not None and not quiet and self._is_to_go_on(learned, beat, entry, now, pushed=pushed):
            self.spread.arrived(beat.id, link, pushed=pushed)
            further = min(hops + 1, wire.MAX_HOPS)
            self.spread.tell_all(
                beat, entry.card.raw, further, link.peer, now, pushed=pushed, strange=strange, answers=answers
            )
            learned = Learned.NEWS
        return learned, entry

    def _is_to_go_on(self, learned: Learned, beat: Beat, entry: Entry, now: float, *, pushed: bool) -> bool:
        """Whether it is news, or comes by the tree for the first time after a walk had brought it a moment before."""
        if learned is Learned.NEWS:
            return True
        known = learned is Learned.OLD and pushed and entry.beat.id == beat.id and now - entry.received < WALKED
        return known and self.spread.fresh(beat.id)

    def _on_hello(self, link: LinkState, message: wire.Hello, now: float) -> None:
        first = not link.greeted
        before = self.book.get(link.peer)
        seemed_dead = before is not None and seems_dead(before)
        _, entry = self._learn(message.told, link, now, pushed=True)
        if entry is None or entry.beat.owner != link.peer:
            return
        link.greeted, link.may = True, bool(message.flags & MAY)
        if not first:
            if not message.flags & HEARD and link.hellos < 2 * HELLOS:
                self.own.say_hello(link, now)
            return
        if message.flags & ALONE and link.may:
            self.views.welcome(link, entry)
        if seemed_dead and self.views.suitable(link):
            self.views.bridge(link, now)
            self.watch.ask_across(link, now)
        self.views.fill(now)

    def _on_heartbeat(self, link: LinkState, message: wire.Heartbeat, now: float) -> None:
        told = wire.Told(1, message.raw, message.card)
        learned, _ = self._learn(told, link, now, pushed=True)
        if learned is Learned.NO_CARD:
            beat = decode_item(message.raw)
            self.ground.send(link.peer, wire.Graft(beat.id))

    def _on_news(self, link: LinkState, message: wire.News, now: float) -> None:
        for told in message.items:
            item = decode_item(told.raw)
            if isinstance(item, Accusation):
                learned = self._on_accusation(item, link, told.hops, now, pushed=message.pushed)
            else:
                learned, _ = self._learn(told, link, now, pushed=message.pushed)
            if learned is Learned.NEWS and not message.pushed:
                self.ground.counters["by digest"] += 1
            if learned is Learned.OLD and message.pushed:
                self.spread.repeated(item.id, link)

    def _on_accusation(
        self, accusation: Accusation, link: LinkState, hops: int, now: float, *, pushed: bool
    ) -> Learned:
        if accusation.owner == self.ground.own:
            self.spread.arrived(accusation.id, link, pushed=False)
            self.own.refute(accusation, now)
            return Learned.NEWER
        learned = self.watch.on_accusation(accusation, link, hops, now, pushed=pushed)
        if learned is Learned.FORGED:
            link.faults += 1
        return learned

    def _on_walk(self, link: LinkState, message: wire.Walk, now: float) -> None:
        learned, entry = self._learn(message.told, link, now, quiet=True)
        if entry is not None and learned not in (Learned.FORGED, Learned.REFUSED):
            self.views.on_walk(link, message.ttl, entry, now)

    def _on_shuffle(self, link: LinkState, message: wire.Shuffle, now: float) -> None:
        entries = [
            entry for told in message.people if (entry := self._learn(told, link, now, quiet=True)[1]) is not None
        ]
        self.views.on_shuffle(link, message, entries)

    def _on_pledged(self, link: LinkState, message: wire.Pledged, now: float) -> None:
        pledge = Pledge(
            link.peer, self.ground.own, message.epoch, message.given, message.until, message.needed, message.signature
        )
        if self.ground.verdicts.pledged(pledge, now):
            link.pledge = pledge
            self.views.agree(link)
        else:
            link.faults += 1

    def _on_neighbour(self, link: LinkState, message: wire.Neighbour, now: float) -> None:
        self.views.on_request(link, urgent=message.urgent, now=now)
        if link.neighbour:
            link.pledged_at = 0.0  # Asked again, it has lost our pledge.
            self.own.renew_pledge(link, now)

    def _on_neighbour_answer(self, link: LinkState, message: wire.NeighbourAnswer, now: float) -> None:
        was = link.neighbour
        self.views.on_answer(link, accepted=message.accepted, now=now)
        if link.neighbour and not was:
            self.spread.digest(link.peer, answer=True)
