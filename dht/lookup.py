"""One iterative look-up as a state machine: which contact to ask next, and when to stop.

Rules of this file:
1. It sends nothing and knows no clock, message or key. `next_requests` says whom to ask; `on_reply`, `on_slow`,
   `on_failure` say what came of it.
2. A candidate is unasked → waiting → answered or failed; waiting → slow → answered or failed. A slow one no longer
   holds a place among the α in flight, nor holds up the end.
3. Only candidates that may still be among the k closest are asked.
4. It ends when the k closest candidates that are neither failed nor slow have answered (Kademlia paper, section 2.3).
   Where fewer than k have answered, slow ones are waited for.
5. Replies of contacts that were not asked, or twice, are ignored.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from dht.constants import ID_SPACE
from dht.contact import Contact
from dht.events import Asked, LookupStats

MAX_CANDIDATES: Final = 256
"""Candidates kept: bounds what liars who name endless contacts make us remember (12 k; 60 kB)."""

MAX_REQUESTS: Final = 256
"""Requests of one path: a full look-up among 10^8 nodes takes about 30, so only one led in circles gets here."""


class State(IntEnum):
    """Where a candidate stands."""

    UNASKED = 0
    WAITING = 1
    SLOW = 2
    ANSWERED = 3
    FAILED = 4
    ELSEWHERE = 5
    """Another path has asked it."""


# Read for every candidate at every reply: as globals they cost half.
_UNASKED: Final = State.UNASKED
_WAITING: Final = State.WAITING
_SLOW: Final = State.SLOW
_ANSWERED: Final = State.ANSWERED
_FAILED: Final = State.FAILED

_ASKED: Final = frozenset((_WAITING, _SLOW, _ANSWERED, _FAILED))


class Candidate:
    """A contact the look-up has heard of."""

    __slots__ = ("asked_at", "contact", "distance", "had_value", "hops", "named", "referrer", "rtt", "state")

    def __init__(self, contact: Contact, distance: int, hops: int, referrer: Contact | None) -> None:
        self.contact = contact
        self.distance = distance
        self.hops = hops
        self.referrer = referrer
        self.state: State = _UNASKED
        self.asked_at = 0.0
        self.rtt: float | None = None
        self.had_value = False
        self.named = 0


class Lookup:
    """One path towards `target` (an id as an integer). Paths that share `claims` never ask the same node."""

    def __init__(
        self,
        target: int,
        k: int,
        alpha: int,
        now: float,
        *,
        own_key: bytes = b"",
        claims: dict[bytes, Lookup] | None = None,
    ) -> None:
        self.target = target
        self._claims = claims
        self._k = k
        self._alpha = alpha
        self._started = now
        self._seen: dict[bytes, Candidate | None] = {own_key: None}
        self._sorted: list[Candidate] = []
        self._distances: list[int] = []
        """Of the candidates in `_sorted`, one by one: bare integers are found and kept in order without a call each."""
        self._in_flight = 0
        self._requests = 0
        self._replies = 0
        self._failures = 0

    @property
    def finished(self) -> bool:
        """Whether the k closest have answered, or there is nobody left to ask."""
        answered = 0
        slow = 0
        if self._requests >= MAX_REQUESTS:
            return self._in_flight == 0
        for candidate in self._sorted:
            state = candidate.state
            if state is _ANSWERED:
                answered += 1
                if answered == self._k:
                    return True
            elif state is _SLOW:
                slow += 1
            elif state < _FAILED:
                return False
        return slow == 0

    @property
    def all_asked(self) -> int:
        """How many candidates there are once all were asked and none but slow ones may still answer; else 0."""
        open_states = (_UNASKED, _WAITING)
        return 0 if any(c.state in open_states for c in self._sorted) else len(self._sorted)

    @property
    def settled(self) -> bool:
        """Whether no slow candidate may still turn out to be among the k closest."""
        answered = 0
        for candidate in self._sorted:
            if candidate.state is _SLOW:
                return False
            answered += candidate.state is _ANSWERED
            if answered == self._k:
                break
        return True

    def known_within(self, distance: int) -> int:
        """How many candidates nearer than `distance` are known for sure: from our own table, or by their answer. Whom
        others only name may not exist."""
        near = self._sorted[: bisect_left(self._distances, distance)]
        return sum(c.referrer is None or c.state is _ANSWERED for c in near)

    def within(self, distance: int) -> list[Candidate]:
        """The candidates nearer than `distance`, nearest first."""
        return self._sorted[: bisect_left(self._distances, distance)]

    def named_within(self, distance: int) -> int:
        """How many candidates nearer than `distance` have been heard of and not been found dead."""
        return sum(candidate.state is not _FAILED for candidate in self.within(distance))

    def distances(self, count: int) -> list[int]:
        """The distances of the nearest `count` candidates that were not found dead, in order."""
        return [candidate.distance for candidate in self._sorted[: 2 * count] if candidate.state is not _FAILED][:count]

    def widen(self, k: int) -> None:
        """Go on until this many have answered."""
        self._k = k

    def seed(self, contacts: Iterable[Contact]) -> None:
        """Start from these contacts."""
        self._add(contacts, 1, None)

    def next_requests(self, now: float, limit: int = 0) -> list[Contact]:
        """The contacts to ask now, so that at most `limit` (0: α) of them are in flight. They count as asked."""
        chosen: list[Contact] = []
        rank = 0
        free = min((limit or self._alpha) - self._in_flight, MAX_REQUESTS - self._requests)
        if free <= 0:
            return chosen
        claims = self._claims
        for candidate in self._sorted:
            state = candidate.state
            if state is _UNASKED:
                if claims is not None and claims.setdefault(candidate.contact.key, self) is not self:
                    candidate.state = State.ELSEWHERE
                    continue
                candidate.state = _WAITING
                candidate.asked_at = now
                chosen.append(candidate.contact)
                if len(chosen) == free:
                    break
            elif state is _SLOW or state >= _FAILED:
                continue
            rank += 1
            if rank == self._k:
                break
        self._in_flight += len(chosen)
        self._requests += len(chosen)
        return chosen

    def on_reply(self, contact: Contact, nodes: Iterable[Contact], now: float, *, had_value: bool = False) -> None:
        """`contact` answered and named `nodes`."""
        candidate = self._seen.get(contact.key)
        if candidate is None or candidate.state not in (_WAITING, _SLOW):
            return  # ignored: not asked, or answered before
        if candidate.state is _WAITING:
            self._in_flight -= 1
        candidate.state = _ANSWERED
        candidate.rtt = now - candidate.asked_at
        candidate.had_value = had_value
        self._replies += 1
        known = len(self._seen)
        self._add(nodes, candidate.hops + 1, contact)
        candidate.named = len(self._seen) - known

    def hear(self, contact: Contact, nodes: Iterable[Contact]) -> None:
        """`contact` named `nodes` to another look-up; its answer to this one is still to come."""
        candidate = self._seen.get(contact.key)
        if candidate is not None:
            self._add(nodes, candidate.hops + 1, contact)

    def on_slow(self, contact: Contact) -> None:
        """`contact` takes longer than it should: ask somebody else beside it."""
        candidate = self._seen.get(contact.key)
        if candidate is not None and candidate.state is _WAITING:
            candidate.state = _SLOW
            self._in_flight -= 1

    def on_failure(self, contact: Contact) -> Contact | None:
        """`contact` did not answer. Returns who named it, for a hint."""
        candidate = self._seen.get(contact.key)
        if candidate is None or candidate.state not in (_WAITING, _SLOW):
            return None
        if candidate.state is _WAITING:
            self._in_flight -= 1
        candidate.state = _FAILED
        self._failures += 1
        return candidate.referrer

    def closest(self, count: int) -> list[Contact]:
        """The `count` closest contacts that answered, nearest first."""
        answered = [candidate.contact for candidate in self._sorted if candidate.state is _ANSWERED]
        return answered[:count]

    def stats(self, now: float) -> LookupStats:
        """What it cost so far."""
        nearest = next((c for c in self._sorted if c.state is _ANSWERED), None)
        hops = nearest.hops if nearest else 0
        return LookupStats(self._requests, self._replies, self._failures, hops, now - self._started)

    def trace(self) -> tuple[Asked, ...]:
        """Every candidate that was asked, nearest first."""
        return tuple(
            Asked(
                c.contact,
                c.distance.bit_length(),
                c.state.name.lower(),
                c.rtt,
                c.hops,
                c.had_value,
                c.asked_at - self._started,
                c.named,
                c.referrer,
            )
            for c in self._sorted
            if c.state in _ASKED
        )

    def _add(self, contacts: Iterable[Contact], hops: int, referrer: Contact | None) -> None:
        seen = self._seen
        # A public node that names private addresses would have us knock at machines of our own network.
        public = referrer is not None and not referrer.exempt
        target = self.target
        distances = self._distances
        for contact in contacts:
            if contact.key in seen or (public and contact.exempt):
                continue
            distance = contact.long_id ^ target
            candidate = Candidate(contact, distance, hops, referrer)
            seen[contact.key] = candidate
            at = bisect_right(distances, distance)
            distances.insert(at, distance)
            self._sorted.insert(at, candidate)
        if len(distances) > MAX_CANDIDATES:
            self._trim()

    def _trim(self) -> None:
        """Forget the farthest that were never asked."""
        kept = [c for c in self._sorted[MAX_CANDIDATES // 2 :] if c.state in _ASKED]
        self._sorted = self._sorted[: MAX_CANDIDATES // 2] + kept
        self._distances = [c.distance for c in self._sorted]


class DisjointLookup:
    """`d` look-ups for one target that never ask the same node (S/Kademlia, section 4.4), behind the same verbs.

    A liar on one path cannot lead the others astray. A contact belongs to the path that asks it first, not to the one
    that hears of it first: else a liar would only have to name the honest ones to keep the other paths from them.
    """

    def __init__(self, target: int, k: int, alpha: int, paths: int, now: float, *, own_key: bytes = b"") -> None:
        self.target = target
        self._k = k
        share = max(1, -(-alpha // paths))
        width = max(3, -(-k // paths))  # UNSOURCED floor: a path of fewer than three stalls on one failure
        self._path_of: dict[bytes, Lookup] = {}
        self._paths = [Lookup(target, width, share, now, own_key=own_key, claims=self._path_of) for _ in range(paths)]
        self._started = now

    @property
    def finished(self) -> bool:
        """Whether every path has ended."""
        return all(path.finished for path in self._paths)

    @property
    def all_asked(self) -> int:
        """The sum over the paths, once that holds of each."""
        each = [path.all_asked for path in self._paths]
        return sum(each) if all(each) else 0

    @property
    def settled(self) -> bool:
        """Whether that holds of every path."""
        return all(path.settled for path in self._paths)

    def known_within(self, distance: int) -> int:
        """How many candidates nearer than `distance` are known for sure over all paths."""
        return sum(path.known_within(distance) for path in self._paths)

    def named_within(self, distance: int) -> int:
        """The same over all paths; one heard of on several counts once."""
        return len({candidate.contact.key for candidate in self._living(distance)})

    def distances(self, count: int) -> list[int]:
        """The same over all paths."""
        return sorted({candidate.distance for candidate in self._living(ID_SPACE)})[:count]

    def _living(self, distance: int) -> list[Candidate]:
        """Those nearer than `distance` on any path whom no path has found dead."""
        near = [candidate for path in self._paths for candidate in path.within(distance)]
        dead = {candidate.contact.key for candidate in near if candidate.state is _FAILED}
        return [c for c in near if c.state < _FAILED and c.contact.key not in dead]

    def widen(self, k: int) -> None:
        """Go on until this many have answered, each path for its share."""
        for path in self._paths:
            path.widen(-(-k // len(self._paths)))

    def seed(self, contacts: Iterable[Contact]) -> None:
        """Deal the starting contacts out, nearest first."""
        for index, contact in enumerate(contacts):
            self._paths[index % len(self._paths)].seed([contact])

    def next_requests(self, now: float, limit: int = 0) -> list[Contact]:
        """The contacts to ask now, over all paths, each of which gets its share of `limit`."""
        share = -(-limit // len(self._paths))
        return [contact for path in self._paths for contact in path.next_requests(now, share)]

    def on_reply(self, contact: Contact, nodes: Iterable[Contact], now: float, *, had_value: bool = False) -> None:
        """`contact` answered and named `nodes`."""
        path = self._path_of.get(contact.key)
        if path is not None:
            path.on_reply(contact, nodes, now, had_value=had_value)

    def hear(self, contact: Contact, nodes: Iterable[Contact]) -> None:
        """`contact` named `nodes` to another look-up."""
        path = self._path_of.get(contact.key)
        if path is not None:
            path.hear(contact, nodes)

    def on_slow(self, contact: Contact) -> None:
        """`contact` takes longer than it should."""
        path = self._path_of.get(contact.key)
        if path is not None:
            path.on_slow(contact)

    def on_failure(self, contact: Contact) -> Contact | None:
        """`contact` did not answer. Returns who named it."""
        path = self._path_of.get(contact.key)
        return path.on_failure(contact) if path is not None else None

    def closest(self, count: int) -> list[Contact]:
        """The `count` closest contacts that answered on any path, nearest first."""
        found = [contact for path in self._paths for contact in path.closest(count)]
        return sorted(found, key=lambda contact: contact.long_id ^ self.target)[:count]

    def stats(self, now: float) -> LookupStats:
        """The sum over the paths; hops of the path that came nearest."""
        each = [path.stats(now) for path in self._paths]
        best = self.closest(1)
        hops = 0
        if best:
            hops = self._path_of[best[0].key].stats(now).hops
        return LookupStats(
            sum(s.requests for s in each),
            sum(s.replies for s in each),
            sum(s.failures for s in each),
            hops,
            now - self._started,
        )

    def trace(self) -> tuple[Asked, ...]:
        """Every candidate that was asked, nearest first."""
        asked = [entry for path in self._paths for entry in path.trace()]
        return tuple(sorted(asked, key=lambda entry: entry.contact.long_id ^ self.target))


AnyLookup = Lookup | DisjointLookup
