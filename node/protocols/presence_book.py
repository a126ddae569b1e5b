"""What is known of whom: the newest word of each owner, and for how long it counts.

Decides which of two words counts (higher epoch, then higher seq: so two halves of a network that meet again agree at
once), who is remembered when there is no room for all, and how many made-up peers one link can bring. Refuses to know
how words travel.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from dht.limits import RateLimiter
from node.protocols.presence_beats import Accusation, Beat, Card, Item, Status, Version
from node.protocols.presence_events import CameOnline, Changed, Cleared, State, WentOffline, Why
from node.protocols.presence_ground import CLOCK_TOLERANCE, Ground

NEW_RATE: Final = 2.0
"""New owners a second that one link may bring for long. UNSOURCED: a day of them is 170,000, held to `book` at once."""
NEW_BURST: Final = 600.0
"""And at once: a first meeting, or the other half of a network. UNSOURCED"""
VERIFY_RATE: Final = 20.0
"""Signatures a second verified for one link: 1.3 ms of 65 µs each."""
VERIFY_BURST: Final = 1500.0
TOLD_FOR: Final = 300.0
"""Seconds for which an accusation is passed on: five digests. Bounds how long an old one can be played again."""
ACCUSE_RATE, ACCUSE_BURST = 0.1, 8.0
"""Accusations a second of one accuser that count: honest ones lose a few neighbours at a time. UNSOURCED"""
FORGED: Final = "bad signature"
MAX_ACCUSERS: Final = 8
"""Accusations kept of one peer. UNSOURCED: more than any asks for."""


class Learned(enum.Enum):
    """What a word brought."""

    NEWS = "news"
    """Something all should know."""
    NEWER = "newer"
    """A later beat that says the same."""
    OLD = "old"
    """Known already, or overtaken."""
    NO_CARD = "no-card"
    """Its card is missing."""
    REFUSED = "refused"
    """Out of date, or over a limit; counted by reason."""
    FORGED = "forged"
    """Not signed by whom it names."""


class Entry:
    """What is known of one owner."""

    __slots__ = (
        *("accusations", "beat", "card", "deadline", "doubted", "doubts", "witnessed"),
        *("hops", "received", "seen", "source", "state", "suspected", "via"),
    )

    def __init__(self, beat: Beat, card: Card, hops: int, via: bytes, now: float) -> None:
        self.beat = beat
        self.card = card
        self.hops = hops
        """Links that its news came over to us: 1 from the owner itself."""
        self.via = via
        """The link that brought it first, whose share it takes."""
        self.source = via
        """The link that brought its last news: the way back to it."""
        self.received = now
        self.seen = min(float(beat.seconds), now)
        """When it was last there, by its own signed beats."""
        self.state = State.ONLINE if beat.status else State.OFFLINE
        self.accusations: dict[bytes, Accusation] | None = None
        self.suspected = 0.0
        self.deadline = 0.0
        self.witnessed = False
        """Whether we were linked with it, and it has fallen silent."""
        self.doubted = 0.0
        """When a question for it was passed on."""
        self.doubts = 0
        """Times the neighbours were asked whether it lives, in this suspicion."""

    @property
    def version(self) -> Version:
        """Epoch and seq."""
        return self.beat.version


class Book:
    """The newest word of each owner, bounded."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._entries: dict[bytes, Entry] = {}
        self._by_id: dict[bytes, bytes] = {}
        self._buried: set[bytes] = set()
        """Beats (their ids) of those taken for gone of whom nothing is to be told: out of date, or silent to us."""
        self._due = 0.0
        """Before this nobody is out of date."""
        self._shares: Counter[bytes] = Counter()
        self._new = RateLimiter(NEW_RATE, NEW_BURST)
        self._verify = RateLimiter(VERIFY_RATE, VERIFY_BURST)
        self._accusing = RateLimiter(ACCUSE_RATE, ACCUSE_BURST)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[bytes, Entry]]:
        return iter(self._entries.items())

    def get(self, owner: bytes) -> Entry | None:
        """What is known of an owner."""
        return self._entries.get(owner)

    def item(self, name: bytes) -> tuple[Item, Entry] | None:
        """The beat or accusation of that id, if it is still the one that counts."""
        owner = self._by_id.get(name)
        entry = None if owner is None else self._entries.get(owner)
        if entry is None:
            return None
        if entry.beat.id == name:
            return entry.beat, entry
        for one in (entry.accusations or {}).values():
            if one.id == name:
                return one, entry
        return None

    def names(self) -> list[bytes]:
        """The ids of all that a digest says we have, in no order."""
        if not self._buried:
            return list(self._by_id)
        buried = self._buried
        return [name for name in self._by_id if name not in buried]

    def has(self, name: bytes) -> bool:
        """Whether an item of that id is known."""
        return name in self._by_id

    def known(self) -> int:
        """Peers that are there."""
        return sum(entry.state is not State.OFFLINE for entry in self._entries.values())

    # Beats

    def learn(self, beat: Beat, card: Card | None, hops: int, via: bytes, now: float) -> Learned:
        """Take in a beat that a link brought; it is verified here, and only when it could change something."""
        ground, owner = self._ground, beat.owner
        entry = self._entries.get(owner)
        if entry is not None and beat.version <= entry.beat.version:
            return Learned.OLD
        if problem := self._problem(beat, card, entry, via, now):
            ground.counters[problem] += 1
            return {"no card": Learned.NO_CARD, FORGED: Learned.FORGED}.get(problem, Learned.REFUSED)
        card = card if card is not None else entry.card if entry is not None else None
        assert card is not None
        if entry is None:
            self._insert(beat, card, hops, via, now)
            return Learned.NEWS
        return self._replace(entry, beat, card, hops, via, now)

    def _problem(self, beat: Beat, card: Card | None, entry: Entry | None, via: bytes, now: float) -> str | None:
        ground = self._ground
        if beat.owner == ground.own:
            return "our own beat"
        if max(beat.seconds, beat.version[0]) > now + CLOCK_TOLERANCE:
            return "from the future"
        if beat.seconds < now - ground.settings.expiry:
            return "long past"
        digest = card.digest if card is not None else entry.card.digest if entry is not None else b""
        if digest != beat.card:
            return "no card"
        if not self._verify.allow(via, now):
            return "over the link's signatures"
        if not ground.verdicts.true(beat):
            return FORGED
        # Interests and whoever is linked with us need no quota: they are few, and not the link's choice.
        free = beat.owner in ground.interests or beat.owner in ground.links
        if entry is None and not free and (not beat.status or not self._new.allow(via, now)):
            return "over the link's new peers" if beat.status else "unknown and gone"
        return None

    def _insert(self, beat: Beat, card: Card, hops: int, via: bytes, now: float) -> None:
        if len(self._entries) >= self._ground.settings.book:
            self._evict()
        self._entries[beat.owner] = entry = Entry(beat, card, hops, via, now)
        self._by_id[beat.id] = beat.owner
        self._shares[via] += 1
        if entry.state is State.ONLINE:
            self._ground.emit(CameOnline(beat.owner, beat.status, card.text))

    def _replace(self, entry: Entry, beat: Beat, card: Card, hops: int, via: bytes, now: float) -> Learned:
        old, old_card, before = entry.beat, entry.card, entry.state
        news = old.told < beat.told
        if self._buried:
            self._buried.discard(old.id)
        if old.id != beat.id:
            self._by_id.pop(old.id, None)
            self._by_id[beat.id] = beat.owner
        entry.beat, entry.card, entry.received = beat, card, now
        entry.seen = max(entry.seen, min(float(beat.seconds), now))
        if news or hops < entry.hops:
            entry.hops, entry.source = hops, via
        if news:
            entry.witnessed = False
        accused = entry.accusations is not None
        self._forget_accusations(entry, beat.told)
        if accused and not entry.accusations and beat.status:
            self._ground.counters["refutations seen"] += 1
        entry.state = State.OFFLINE if not beat.status else State.ONLINE
        if entry.accusations and beat.status:
            entry.state = State.SUSPECTED
        self._tell(entry, before, old, old_card)
        return Learned.NEWS if news else Learned.NEWER

    def _tell(self, entry: Entry, before: State, old: Beat, old_card: Card) -> None:
        emit, beat, text = self._ground.emit, entry.beat, entry.card.text
        if entry.state is State.OFFLINE:
            if before is not State.OFFLINE:
                emit(WentOffline(beat.owner, Why.LEFT, int(entry.seen)))
            return
        if before is State.OFFLINE:
            emit(CameOnline(beat.owner, beat.status, text))
            return
        if before is State.SUSPECTED and entry.state is State.ONLINE:
            emit(Cleared(beat.owner))
        if (old.status, old_card.text) != (beat.status, text):
            emit(Changed(beat.owner, beat.status, text, old.status, old_card.text))

    # Accusations

    def accused(self, accusation: Accusation, via: bytes, now: float) -> Learned:
        """Take in a neighbour's word that an owner fell silent."""
        ground = self._ground
        entry = self._entries.get(accusation.owner)
        if entry is None or self.has(accusation.id) or accusation.version < entry.beat.told or not entry.beat.status:
            return Learned.OLD
        if entry.state is State.OFFLINE or accusation.given < entry.beat.void:
            return Learned.OLD
        there = entry.accusations or {}
        if accusation.accuser in there or len(there) >= MAX_ACCUSERS:
            return Learned.OLD
        made = min(float(accusation.seconds), now)
        # Made while the pledge held, and told for a while after that: but not for ever, whatever it says of its time.
        if made > accusation.until or now - made > TOLD_FOR or now - accusation.until > TOLD_FOR:
            ground.counters["accusation out of date"] += 1
            return Learned.REFUSED
        if via and not self._verify.allow(via, now):
            ground.counters["over the link's signatures"] += 1
            return Learned.REFUSED
        if not ground.verdicts.true(accusation):
            ground.counters[FORGED] += 1
            return Learned.FORGED
        # Who is linked with the accused takes all, to let it know.
        free = not via or accusation.owner in ground.links
        if not free and not self._accusing.allow(accusation.accuser, now):
            ground.counters["over the accuser's rate"] += 1
            return Learned.REFUSED
        if entry.accusations is None:
            entry.accusations = {}
        entry.accusations[accusation.accuser] = accusation
        self._by_id[accusation.id] = accusation.owner
        return Learned.NEWS

    def accusers(self, entry: Entry) -> tuple[int, int]:
        """How many accuse, and how many the owner asks for: the highest number that its beat and pledges say."""
        there = (entry.accusations or {}).values()
        return len(there), max(entry.beat.needed, *(one.needed for one in there), 1)

    def _forget_accusations(self, entry: Entry, version: Version | None) -> None:
        for accuser, one in list((entry.accusations or {}).items()):
            if version is None or one.version < version:
                assert entry.accusations is not None
                del entry.accusations[accuser]
                self._by_id.pop(one.id, None)
        if not entry.accusations:
            entry.accusations = None

    def clear(self, entry: Entry) -> None:
        """A suspicion came to nothing."""
        self._forget_accusations(entry, None)
        if entry.state is State.SUSPECTED:
            entry.state = State.ONLINE
            self._ground.emit(Cleared(entry.beat.owner))

    def bury(self, entry: Entry, why: Why) -> None:
        """Take a peer for gone. What was said of it is kept, for those who have not heard."""
        if entry.state is not State.OFFLINE:
            entry.state = State.OFFLINE
            if not entry.accusations:
                self._buried.add(entry.beat.id)
            self._ground.emit(WentOffline(entry.beat.owner, why, int(entry.seen)))

    # Bounds

    def expire(self, now: float) -> None:
        """Let go of what is out of date: first a peer is taken for gone, then it is forgotten."""
        if now < self._due:
            return
        expiry, links = self._ground.settings.expiry, self._ground.links
        for owner, entry in list(self._entries.items()):
            age = now - entry.received
            if age > 2 * expiry:
                self._drop(owner)
            elif age > expiry and owner not in links:
                self.bury(entry, Why.EXPIRED)
        # Whatever comes from now on is due later still: until then nobody need be looked at.
        gone = State.OFFLINE
        ends = (one.received + (2 * expiry if one.state is gone else expiry) for one in self._entries.values())
        self._due = min(ends, default=now)

    def _evict(self) -> None:
        """Make room: of the link that takes most of it, whoever is gone, or else came from farthest away."""
        ground = self._ground

        def kept(owner: bytes) -> bool:
            return owner in ground.interests or owner in ground.links

        greatest = self._shares.most_common(1)[0][0]
        mine = [(owner, entry) for owner, entry in self._entries.items() if entry.via == greatest and not kept(owner)]
        if not mine:
            mine = [(owner, entry) for owner, entry in self._entries.items() if not kept(owner)] or list(self)
        worst = max(mine, key=lambda pair: (pair[1].state is State.OFFLINE, pair[1].hops, -pair[1].received))
        self._drop(worst[0])

    def _drop(self, owner: bytes) -> None:
        entry = self._entries.pop(owner)
        self._forget_accusations(entry, None)
        self._by_id.pop(entry.beat.id, None)
        self._buried.discard(entry.beat.id)
        self._shares[entry.via] -= 1
        if self._shares[entry.via] <= 0:
            del self._shares[entry.via]
        self._ground.counters["forgotten"] += 1

    def pick(self, count: int, besides: Iterable[bytes] = ()) -> list[Entry]:
        """Some that are there and name a way to them."""
        out = set(besides)
        there = [
            entry
            for owner, entry in self._entries.items()
            if entry.state is State.ONLINE and entry.card.reachable and owner not in out
        ]
        return there if len(there) <= count else self._ground.rng.sample(there, count)


def status_of(entry: Entry) -> Status:
    """What a peer is, as far as we know."""
    return Status.OFFLINE if entry.state is State.OFFLINE else entry.beat.status
