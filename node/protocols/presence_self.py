"""What a node says of itself by gossip: its beats, its card, its pledges, and its answers to accusations.

Decides when there is news of us, and what everybody linked is sent. Refuses to know what others say.
"""

from __future__ import annotations

from typing import Final

from dht.contact import Contact
from node.protocols import presence_wire as wire
from node.protocols.presence_beats import Accusation, Beat, Card, Status, Version, make_card, sign_beat, sign_pledge
from node.protocols.presence_book import Book
from node.protocols.presence_ground import CLOCK_TOLERANCE, Ground, LinkState
from node.protocols.presence_spread import Spread
from node.protocols.presence_views import Views, marks
from node.protocols.presence_watch import UNHEALTHY_MOST, Watch

MAY: Final = 1
"""Flag of a Hello: may be a neighbour."""
ALONE: Final = 2
"""Flag of a Hello: has none."""
HEARD: Final = 4
"""Flag of a Hello: yours has come."""
REFUTE_REST: Final = 2.0
"""Seconds between answers to accusations. Bounds what accusers make us tell all."""
PROBE_REST: Final = 0.5
"""Seconds between answers to one link's probes. Bounds what they make us sign: 25 µs each."""
HELLO_REST, HELLOS = 2.0, 10
"""Seconds between greetings that nobody answers, and how many there are. UNSOURCED"""
SHORT_PLEDGE: Final = 120.0
"""Seconds that a pledge holds while we have few neighbours: with more, more accusers are needed."""

Ways = tuple[tuple[Contact, ...], tuple[Contact, ...], bytes]
"""Direct contacts, home nodes, fingerprint."""


class Own:
    """Our own word."""

    def __init__(self, ground: Ground, book: Book, spread: Spread, watch: Watch, views: Views, now: float) -> None:
        self._ground = ground
        self._book = book
        self._spread = spread
        self._watch = watch
        self._views = views
        self._epoch = int(now)
        self._seq = self._news = self._known = self._void = 0
        self.status, self.text = Status.ONLINE, ""
        self.ways: Ways = ((), (), b"")
        self._card: Card = make_card()
        self._carded: tuple[Ways, str, tuple[bytes, ...]] | None = None
        """What the card was made of."""
        self._refuted = 0.0

    @property
    def version(self) -> Version:
        """Of our newest beat."""
        return self._epoch, self._seq

    # Beats

    def announce(self, now: float) -> None:
        """Say to all what is new of us."""
        self._known = self._book.known()
        beat = self._sign(now, news=True)
        for link in self._ground.links.values():
            if link.neighbour and not self._spread.is_eager(link):
                self._spread.name(link, beat.id, now)
            else:
                self.send_beat(link, beat)

    def sign_of_life(self, now: float) -> Beat:
        """The next beat, with no news."""
        return self._sign(now, news=False)

    def _sign(self, now: float, *, news: bool) -> Beat:
        ground = self._ground
        self._seq += 1
        if news:
            self._news = self._seq
        carded = self.ways, self.text, marks(ground.neighbours)
        if carded != self._carded:
            self._carded = carded
            self._card = make_card(*self.ways, text=self.text, neighbours=carded[2])
        interval = max(1, min(65535, round(ground.settings.interval)))
        said = (interval, self.status, self._known, self._needed(), self._void, self._card.digest)
        beat = sign_beat(ground.key, self.version, self._news, int(now), *said)
        ground.said = beat, self._card
        return beat

    def send_beat(self, link: LinkState, beat: Beat) -> None:
        """Send a beat of ours over one link, with the card when that is another than it was sent before."""
        card = b"" if link.card_sent == beat.card else self._card.raw
        link.card_sent = beat.card
        self._ground.send(link.peer, wire.Heartbeat(beat.raw, card))

    def greet(self, link: LinkState, now: float) -> None:
        """Say hello until the other end has."""
        if not link.greeted and self._ground.links.get(link.peer) is link and link.hellos < HELLOS:
            self.say_hello(link, now)
            self._ground.timers.at(now + HELLO_REST, self.greet, link)

    def say_hello(self, link: LinkState, now: float) -> None:
        """Introduce us."""
        link.hellos += 1
        beat = self.sign_of_life(now)
        link.card_sent = beat.card
        flags = (MAY if link.direct else 0) | (0 if self._ground.neighbours else ALONE)
        flags |= HEARD if link.greeted else 0
        self._ground.send(link.peer, wire.Hello(wire.VERSION, flags, wire.Told(1, beat.raw, self._card.raw)))

    def on_probe(self, link: LinkState, _message: wire.Probe, now: float) -> None:
        """A neighbour asks for a sign of life."""
        if now - link.answered >= PROBE_REST:
            link.answered = now
            self.send_beat(link, self.sign_of_life(now))

    # Pledges

    def _needed(self) -> int:
        """How many neighbours have to agree on our death: more than half of them, up to the quorum."""
        return max(1, min(self._ground.settings.quorum, (len(self._ground.neighbours) + 1) // 2))

    def renew_pledge(self, link: LinkState, now: float) -> None:
        """Name a neighbour ours, for a while, and how many of its like it takes to accuse us."""
        settings = self._ground.settings
        count = len(self._ground.neighbours)
        needed = self._needed()
        span = settings.pledge if count >= settings.active else SHORT_PLEDGE
        if link.pledged_at and now < link.pledged_at + span / 2:
            return
        link.pledged_at = now
        pledge = sign_pledge(self._ground.key, link.peer, self._epoch, self._news, int(now + span), needed)
        self._ground.send(link.peer, wire.Pledged(pledge.epoch, pledge.given, pledge.until, needed, pledge.signature))

    # Against us

    def refute(self, accusation: Accusation, now: float) -> None:
        """We are said to be silent: say that we are not. Who says so of us does not hear us, and is no neighbour."""
        if accusation.version < (self._epoch, self._news) or now - self._refuted < REFUTE_REST:
            return
        if not self._ground.verdicts.true(accusation):
            return
        self._refuted = now
        self._ground.counters["refuted"] += 1
        self._watch.health = min(UNHEALTHY_MOST, self._watch.health + 1)
        self._views.shun(accusation.accuser, now)
        # Pledges of before are void from here on: whoever has used one, or kept one of a time as neighbour, has none.
        self._void = self._seq + 1
        self.announce(now)
        for link in self._ground.neighbours:
            link.pledged_at = 0.0
            self.renew_pledge(link, now)

    def on_own(self, beat: Beat, now: float) -> None:
        """A beat of ours came back: of an earlier run whose clock was ahead, or of another device with our key."""
        ahead = self.version < beat.version and beat.version[0] <= now + CLOCK_TOLERANCE
        if ahead and now - self._refuted > REFUTE_REST and self._ground.verdicts.true(beat):
            self._refuted = now
            self._epoch, self._seq, self._news, self._void = beat.version[0] + 1, 0, 0, 0
            self._ground.counters["overtaken by our own beat"] += 1
            self.announce(now)
