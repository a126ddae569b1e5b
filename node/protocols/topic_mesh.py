"""A topic's mesh: how a broadcast reaches members with whom there is no link.

After Plumtree (Leitão, Pereira, Rodrigues 2007): a message goes in full along the branches of a tree, and its id to the
other neighbours, who ask for what they miss. Who sends what had come by another way is pruned from the tree; who is
asked joins it. Decides what is new, to whom it goes, and what is kept for those who ask. Refuses to know streams. Every
message is signed by its author and checked before it is handed on, so whoever hands on a forgery made it.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from dht.errors import DecodeError, WeakKey
from dht.identity import IdentityKey, PublicKey
from dht.limits import RateLimiter
from node.protocols.topic_messages import (
    ID_BYTES,
    MAX_HOPS,
    MAX_IDS,
    Broadcast,
    Direct,
    Have,
    Leave,
    Members,
    Prune,
    TopicMessage,
    TopicRefusal,
    Want,
    check_data,
    decode_topic_message,
    framed,
    sign_broadcast,
)
from node.protocols.topic_outbox import Outbox
from node.protocols.topic_seen import Novelty, SeenMessages

KEPT_MESSAGES: Final = 256
KEPT_BYTES: Final = 2_097_152
"""Messages kept for those who ask, of one topic. UNSOURCED"""

TELL_AFTER: Final = 0.3
"""Seconds until ids are told, so that many go together. UNSOURCED"""

ASK_AFTER: Final = 0.7
"""Seconds after an id was told until the message is asked for, should it not come by itself: Plumtree's timer, a few
round trips. UNSOURCED"""

MAX_MISSING: Final = 1024
"""Messages waited for at once: bounds what made-up ids take. UNSOURCED"""

ASKED_AT_MOST: Final = 3
"""Neighbours asked for one message. UNSOURCED"""

AUTHOR_RATE, AUTHOR_BURST = 10.0, 100.0
"""Messages a second of one author that are handed on: nobody can talk a topic down. UNSOURCED"""

NEIGHBOUR_RATE, NEIGHBOUR_BURST = 50.0, 500.0
"""New messages a second taken from one neighbour, whoever wrote them; above that its stream is read no faster, so it
has to wait. UNSOURCED"""

STRANGER_RATE, STRANGER_BURST = 1.0, 64.0
"""New authors a second taken from one neighbour: keys cost nothing, memory does. UNSOURCED"""


class Delivery(Enum):
    """What became of a message for one neighbour."""

    QUEUED = "queued"
    """It goes out in full."""
    TOLD = "told"
    """It is told that there is one, and asks for it unless it has it by another way."""
    FULL = "full"
    """Too much waits for it already."""
    NOT_CONNECTED = "not-connected"
    """It is no neighbour."""


@dataclass(frozen=True, slots=True)
class Received:
    """An app's message."""

    author: PublicKey
    data: bytes
    number: int
    """Microseconds since 1970 by the author's clock; 0 of a direct one."""
    via: PublicKey
    """The neighbour it came from."""
    direct: bool
    """For us alone, and from the neighbour itself."""


@dataclass(frozen=True, slots=True)
class Told:
    """A neighbour told of other members."""

    peer: PublicKey
    records: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """A neighbour is to be let go of."""

    peer: PublicKey
    reason: TopicRefusal
    detail: str


MeshEvent = Received | Told | Lost


@dataclass(slots=True)
class _Neighbour:
    outbox: Outbox
    eager: bool = True
    mesh: bool = True
    untold: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Missing:
    due: float
    holders: list[PublicKey]
    asked: int = 0


class TopicMesh:
    """One member's part of the mesh. `receive_message`, `take`, `next_timer`, `handle_timer`, `next_event`."""

    def __init__(self, identity: IdentityKey, tag: bytes) -> None:
        self._identity = identity
        self._tag = tag
        self._neighbours: dict[PublicKey, _Neighbour] = {}
        self._seen = SeenMessages()
        self._kept: OrderedDict[bytes, Broadcast] = OrderedDict()
        self._kept_bytes = 0
        self._missing: OrderedDict[bytes, _Missing] = OrderedDict()
        self._tell_at: float | None = None
        self._number = 0
        self._events: deque[MeshEvent] = deque()
        self._authors = RateLimiter(AUTHOR_RATE, AUTHOR_BURST, capacity=4096)
        self._strangers = RateLimiter(STRANGER_RATE, STRANGER_BURST, capacity=256)
        self._taken: dict[PublicKey, float] = {}
        self.counters: Counter[str] = Counter()
        """received, forwarded, duplicates, old, author_rate, strangers, hops, asked, not_queued, pruned."""

    def __contains__(self, peer: PublicKey) -> bool:
        return peer in self._neighbours

    def add(self, peer: PublicKey, now: float, *, mesh: bool = True) -> None:
        """A neighbour; with `mesh` off only for direct messages."""
        self._neighbours[peer] = _Neighbour(Outbox(now), mesh=mesh)

    def remove(self, peer: PublicKey) -> None:
        """A neighbour no longer."""
        self._neighbours.pop(peer, None)
        self._taken.pop(peer, None)

    # What the app says

    def broadcast(self, data: bytes, now: float) -> dict[PublicKey, Delivery] | None:
        """Say something to everybody; None when this member says too much. Raises `LocalError` for too long a one."""
        check_data(data)
        # Half of what others grant: a message that they left out would be lost with nobody told.
        if not (self._authors.allow(self._identity.public, now) and self._authors.allow(self._identity.public, now)):
            return None
        self._number = max(self._number + 1, int(now * 1e6))
        message = sign_broadcast(self._identity, self._tag, self._number, data)
        self._seen.add(message.author, message.number)
        return self._spread(message, None, now)

    def direct(self, peer: PublicKey, data: bytes, now: float) -> Delivery:
        """Say something to one neighbour. Raises `LocalError` for too long a message."""
        check_data(data)
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return Delivery.NOT_CONNECTED
        return Delivery.QUEUED if neighbour.outbox.push(framed(Direct(data)), now) else Delivery.FULL

    def tell_members(self, peer: PublicKey, records: tuple[bytes, ...], now: float) -> None:
        """Hand announcements of others to a neighbour."""
        if records and (neighbour := self._neighbours.get(peer)) is not None:
            self._control(neighbour, Members(records), now)

    # The wire

    def take(self, peer: PublicKey, now: float) -> bytes | None:
        """The next message for a neighbour, with its length."""
        neighbour = self._neighbours.get(peer)
        return None if neighbour is None else neighbour.outbox.take(now)

    def waiting(self) -> list[PublicKey]:
        """Neighbours for whom there is something to take."""
        return [peer for peer, one in self._neighbours.items() if len(one.outbox)]

    def pause(self, peer: PublicKey, now: float) -> float:
        """Seconds until the stream of a neighbour is to be read again."""
        return max(0.0, self._taken.get(peer, now) - now - NEIGHBOUR_BURST / NEIGHBOUR_RATE)

    def receive_message(self, data: bytes, peer: PublicKey, now: float) -> None:
        """Take in what a neighbour said, without the length. Never raises."""
        neighbour = self._neighbours.get(peer)
        if neighbour is None:
            return
        try:
            message = decode_topic_message(data)
        except DecodeError as error:
            self._lose(peer, TopicRefusal.UNSPECIFIED, str(error))
            return
        self._taken[peer] = max(self._taken.get(peer, now), now) + 1.0 / NEIGHBOUR_RATE
        match message:
            case Direct():
                self._events.append(Received(peer, message.data, 0, peer, True))
            case Broadcast():
                self._on_broadcast(message, peer, neighbour, now)
            case Have():
                self._on_have(message, peer, now)
            case Want():
                self._on_want(message, neighbour, now)
            case Prune():
                neighbour.eager = False
            case Members():
                self._events.append(Told(peer, message.records))
            case Leave():
                self._lose(peer, message.reason, "it left")
            case _:
                self._lose(peer, TopicRefusal.UNSPECIFIED, f"{type(message).__name__} after the greeting")

    def next_event(self) -> MeshEvent | None:
        """What came, one at a time."""
        return self._events.popleft() if self._events else None

    def next_timer(self) -> float | None:
        """When `handle_timer` is due."""
        times = [self._tell_at, *(one.due for one in list(self._missing.values())[:1])]
        times += [one.outbox.stuck_at() for one in self._neighbours.values()]
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Tell ids, ask for what did not come, let go of who is stuck."""
        if self._tell_at is not None and self._tell_at <= now:
            self._tell_at = None
            for neighbour in self._neighbours.values():
                self._tell(neighbour, now)
        self._ask(now)
        for peer, neighbour in list(self._neighbours.items()):
            stuck = neighbour.outbox.stuck_at()
            if stuck is not None and stuck <= now:
                self._lose(peer, TopicRefusal.TOO_SLOW, "it takes nothing any more")

    # Broadcasts

    def _on_broadcast(self, message: Broadcast, peer: PublicKey, neighbour: _Neighbour, now: float) -> None:
        novelty = self._seen.judge(message.author, message.number, now)
        if novelty is Novelty.SEEN:
            self.counters["duplicates"] += 1
            if neighbour.eager:
                neighbour.eager = False
                self.counters["pruned"] += 1
                self._control(neighbour, Prune(), now)
            return
        if novelty is Novelty.OLD or message.author == self._identity.public:
            self.counters["old"] += 1
            return
        if message.hops > MAX_HOPS:
            self.counters["hops"] += 1
            return
        if not self._seen.knows(message.author) and not self._strangers.allow(peer, now):
            self.counters["strangers"] += 1
            return
        if not message.holds(self._tag):
            self._lose(peer, TopicRefusal.UNSPECIFIED, f"a message that {message.author.short} did not sign")
            return
        if not self._authors.allow(message.author, now):
            self.counters["author_rate"] += 1
            return
        self._seen.add(message.author, message.number)
        self._missing.pop(message.id, None)
        neighbour.eager = True
        self.counters["received"] += 1
        self._events.append(Received(message.author, message.data, message.number, peer, False))
        self._spread(replace(message, hops=message.hops + 1), peer, now)

    def _spread(self, message: Broadcast, source: PublicKey | None, now: float) -> dict[PublicKey, Delivery]:
        self._keep(message)
        outcome: dict[PublicKey, Delivery] = {}
        if message.hops > MAX_HOPS:
            return outcome
        raw = framed(message)
        for peer, neighbour in self._neighbours.items():
            if peer == source or not neighbour.mesh or peer == message.author:
                continue
            if neighbour.eager and neighbour.outbox.push(raw, now):
                outcome[peer] = Delivery.QUEUED
                self.counters["forwarded"] += 1
            elif len(neighbour.untold) < MAX_MISSING:
                outcome[peer] = Delivery.FULL if neighbour.eager else Delivery.TOLD
                self.counters["not_queued"] += neighbour.eager
                # One whose queue is full still hears of it, and asks once it has caught up.
                neighbour.untold.append(message.id)
                self._tell_at = now + TELL_AFTER if self._tell_at is None else self._tell_at
            else:
                outcome[peer] = Delivery.FULL
                self.counters["not_queued"] += 1
        return outcome

    def _keep(self, message: Broadcast) -> None:
        self._kept[message.id] = message
        self._kept_bytes += len(message.data)
        while len(self._kept) > KEPT_MESSAGES or self._kept_bytes > KEPT_BYTES:
            _, old = self._kept.popitem(last=False)
            self._kept_bytes -= len(old.data)

    def _tell(self, neighbour: _Neighbour, now: float) -> None:
        while neighbour.untold:
            ids = tuple(neighbour.untold[:MAX_IDS])
            if not self._control(neighbour, Have(ids), now):
                self._tell_at = now + TELL_AFTER
                return
            del neighbour.untold[: len(ids)]

    def _on_have(self, message: Have, peer: PublicKey, now: float) -> None:
        for each in message.ids:
            if (missing := self._missing.get(each)) is not None:
                if peer not in missing.holders and len(missing.holders) < ASKED_AT_MOST:
                    missing.holders.append(peer)
                continue
            number = int.from_bytes(each[-8:], "big")
            author = _author(each)
            if author is None or self._seen.judge(author, number, now) is not Novelty.NEW:
                continue
            if len(self._missing) < MAX_MISSING:
                self._missing[each] = _Missing(now + ASK_AFTER, [peer])

    def _ask(self, now: float) -> None:
        wanted: dict[PublicKey, list[bytes]] = {}
        for each, missing in list(self._missing.items()):
            if missing.due > now:
                break  # In the order in which they are due.
            del self._missing[each]
            if missing.asked < len(missing.holders):
                wanted.setdefault(missing.holders[missing.asked], []).append(each)
                self._missing[each] = _Missing(now + ASK_AFTER, missing.holders, missing.asked + 1)
        for peer, ids in wanted.items():
            neighbour = self._neighbours.get(peer)
            if neighbour is None:
                continue
            neighbour.eager = True
            for at in range(0, len(ids), MAX_IDS):
                self.counters["asked"] += 1
                self._control(neighbour, Want(tuple(ids[at : at + MAX_IDS])), now)

    def _on_want(self, message: Want, neighbour: _Neighbour, now: float) -> None:
        neighbour.eager = True
        for each in message.ids:
            kept = self._kept.get(each)
            if kept is not None and not neighbour.outbox.push(framed(kept), now):
                self.counters["not_queued"] += 1

    def _control(self, neighbour: _Neighbour, message: TopicMessage, now: float) -> bool:
        return neighbour.outbox.push(framed(message), now, control=True)

    def _lose(self, peer: PublicKey, reason: TopicRefusal, detail: str) -> None:
        self.remove(peer)
        self._events.append(Lost(peer, reason, detail))


def _author(message_id: bytes) -> PublicKey | None:
    try:
        return PublicKey(message_id[: ID_BYTES - 8])
    except WeakKey:
        return None
