"""A network of gossip alone: the real presence objects on the virtual clock, over links that just carry bytes.

Decides how long a link takes to open, what is lost on it, when its ends learn that it is dead, and who can reach whom.
There is no DHT below it and no ICE: a dial opens a link when the other end lives and is in reach. Links are what a data
channel is, reliable and in order: a packet lost (`loss`) is sent again, and all behind it wait. Harsher than that,
messages can be lost for good (`gone`). Refuses to know what is measured.

Signatures are real, and each is verified once for all nodes of a world, since the verdict is the same; or they are
checksums (`gossip_signatures`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import Final

from dht.contact import Contact
from dht.identity import IdentityKey
from node.protocols.liveness import SILENT_FOR, SUSPENDED_FOR
from node.protocols.presence import Presence
from node.protocols.presence_beats import Verdicts
from node.protocols.presence_book import Book
from node.protocols.presence_events import LinkSpare, LinkWanted, PresenceEvent
from node.protocols.presence_ground import Ground, PresenceSettings
from node.protocols.presence_spread import Spread
from simulations.cluster import public_address
from simulations.events import EventQueue
from simulations.gossip_signatures import CheapKey, CheapVerdicts
from simulations.latency import Latency
from simulations.randomness import Streams
from simulations.trace import Trace

OVERHEAD: Final = 60
"""Bytes around a message on a link: IPv4 20, UDP 8, DTLS 29 (RFC 9147 with AES-GCM: 13 + 8 + 8), SCTP's share of a
packet; as if every message had a packet of its own."""
RESEND_LEAST, RESEND_MOST = 0.2, 10.0
"""Seconds beyond a round trip after which a packet is sent again, doubling: SCTP's RTO.Min is 1 s (RFC 9260), that of
this stack 0.2 s (`node.adapters.webrtc_sctp_send`). UNSOURCED: the most."""
DIAL_DELAYS: Final = 6.0
"""One-way delays until a link is open: an answerless dial takes three round trips (ICE, DTLS, SCTP)."""
DIAL_TIMEOUT: Final = 10.0
"""Seconds until an attempt at a peer that does not answer is given up: `node.node_attempt`'s."""
LINK_LOST: Final = SILENT_FOR + SUSPENDED_FOR
"""Seconds until a link's own liveness gives it up."""
SPARE_REST: Final = 5.0
"""Seconds until a link that gossip no longer needs is closed."""
VERDICTS: Final = 400_000
DRAWS: Final = 8
"""Nodes drawn for a newcomer to link with before all that live are counted: of half a network one of 8 is alive."""


class GossipNode:
    """One peer."""

    __slots__ = (
        "address",
        "alive",
        "armed",
        "bytes_received",
        "bytes_sent",
        "group",
        "index",
        "key",
        "name",
        "presence",
    )

    def __init__(self, index: int, key: IdentityKey) -> None:
        self.index = index
        self.key = key
        self.name = key.public.raw
        self.address = public_address(index)
        self.group = 0
        """Which side of a partition it is on."""
        self.alive = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self.armed = math.inf
        self.presence: Presence = None  # type: ignore[assignment]  # made at each start


MakePresence = Callable[[GossipNode, Random, float], Presence]


class GossipWorld:
    """Nodes, links, and what befalls them."""

    def __init__(
        self,
        queue: EventQueue,
        streams: Streams,
        latency: Latency,
        *,
        loss: float = 0.0,
        gone: float = 0.0,
        settings: PresenceSettings | None = None,
        make_spread: Callable[[Ground, Book], Spread] = Spread,
        trace: Trace | None = None,
        cheap: bool = False,
    ) -> None:
        """`cheap`: signatures are checksums, of the same sizes and with the same verdicts."""
        self.queue = queue
        self.loss = loss
        self.gone = gone
        self._trace = trace
        self.settings = settings or PresenceSettings()
        self._make_spread = make_spread
        self._streams = streams
        self._latency = latency
        self._rng = streams.stream("gossip/latency")
        self._loss_rng = streams.stream("gossip/loss")
        self._choice = streams.stream("gossip/first links")
        self._make_key: Callable[[bytes], IdentityKey] = CheapKey.from_seed if cheap else IdentityKey.from_seed
        self.verdicts = CheapVerdicts() if cheap else Verdicts(VERDICTS)
        self.nodes: list[GossipNode] = []
        self._by_name: dict[bytes, GossipNode] = {}
        self._arrivals: dict[tuple[int, int], float] = {}
        self.on_event: Callable[[GossipNode, PresenceEvent], None] = lambda node, event: None
        self.messages = 0

    # Nodes

    def new(self) -> GossipNode:
        """A node that does not live yet."""
        index = len(self.nodes)
        node = GossipNode(index, self._make_key(self._streams.stream(f"gossip/key/{index}").randbytes(32)))
        self.nodes.append(node)
        self._by_name[node.name] = node
        return node

    def start(self, node: GossipNode, first: GossipNode | None = None, make: MakePresence | None = None) -> None:
        """Start a node; it links with `first`, or with any that lives."""
        self.prepare(node, self.queue.now, make)
        self.drain(node)
        first = first or self._any(node)
        if first is not None:
            self.link(node, first)

    def prepare(self, node: GossipNode, now: float, make: MakePresence | None = None) -> None:
        """Let a node live, since `now`, linked with nobody."""
        rng = self._streams.stream(f"gossip/node/{node.index}/{self.queue.now}")
        node.presence = (make or self.make_presence)(node, rng, now)
        key = hashlib.blake2b(node.name, digest_size=32).digest()
        node.presence.set_ways((Contact(key[:31] + bytes([key[31] & 0x3F]), node.address),), (), b"", now)
        node.alive = True
        node.armed = math.inf

    def _any(self, besides: GossipNode) -> GossipNode | None:
        """Somebody who lives, on the same side."""
        for number in self._choice.choices(range(len(self.nodes)), k=DRAWS):
            other = self.nodes[number]
            if other.alive and other is not besides and other.group == besides.group:
                return other
        others = [one for one in self.nodes if one.alive and one is not besides and one.group == besides.group]
        return self._choice.choice(others) if others else None

    def make_presence(self, node: GossipNode, rng: Random, now: float) -> Presence:
        """The real thing."""
        return Presence(node.key, self.settings, rng, now, verdicts=self.verdicts, make_spread=self._make_spread)

    def add(self, count: int, *, within: float) -> list[GossipNode]:
        """So many new nodes, one after another within a time."""
        added = [self.new() for _ in range(count)]
        for number, node in enumerate(added):
            self.queue.after(within * number / count, self.start, node)
        return added

    def kill(self, node: GossipNode) -> None:
        """Let a node die without a word; the links to it are lost a while later."""
        node.alive = False
        for name in list(node.presence.ground.links):
            self.queue.after(LINK_LOST, self._drop, self._by_name[name], node, True, node.presence)

    def leave(self, node: GossipNode) -> None:
        """Let a node go in good order."""
        self.call(node, lambda presence, now: presence.leave(now))
        node.alive = False
        for name in list(node.presence.ground.links):
            self.queue.after(1.0, self._drop, self._by_name[name], node, False, node.presence)

    def split(self, groups: Iterable[Iterable[GossipNode]]) -> None:
        """Cut the network: nodes of different groups do not reach each other."""
        for number, group in enumerate(groups):
            for node in group:
                node.group = number
        for node in self.nodes:
            for name in list(node.presence.ground.links) if node.alive else ():
                other = self._by_name[name]
                if other.group != node.group:
                    self.queue.after(LINK_LOST, self._drop_if_cut, node, other)

    def heal(self) -> None:
        """Make it whole again."""
        for node in self.nodes:
            node.group = 0

    def named(self, name: bytes) -> GossipNode | None:
        """The node with that key, if it is one of this world's."""
        return self._by_name.get(name)

    @property
    def living(self) -> list[GossipNode]:
        """Those that live."""
        return [node for node in self.nodes if node.alive]

    # Links

    def link(self, one: GossipNode, other: GossipNode) -> None:
        """Open a link between two; it takes its round trips."""
        delay = DIAL_DELAYS * self._latency.delay(one.address, other.address, self._rng)
        self.queue.after(delay, self._linked, one, other, one.presence)

    def _linked(self, one: GossipNode, other: GossipNode, life: Presence) -> None:
        if one.presence is not life or not one.alive:
            return
        if not other.alive or one.group != other.group:
            self.queue.after(DIAL_TIMEOUT, self._failed, one, other, life)
            return
        for node, peer in ((one, other), (other, one)):
            if peer.name not in node.presence.ground.links:
                self.call(node, partial(_add_link, peer.name))

    def _failed(self, one: GossipNode, other: GossipNode, life: Presence) -> None:
        if one.presence is life and one.alive:
            self.call(one, lambda presence, now: presence.dial_failed(other.name, now))

    def _drop(self, node: GossipNode, other: GossipNode, lost: bool, life: Presence) -> None:
        # Unless it lives again meanwhile, and the link is another one.
        if node.alive and (other.presence is life and not other.alive):
            self.call(node, lambda presence, now: presence.drop_link(other.name, now, lost=lost))

    def _drop_if_cut(self, node: GossipNode, other: GossipNode) -> None:
        if node.alive and node.group != other.group:
            self.call(node, lambda presence, now: presence.drop_link(other.name, now, lost=True))

    def _spare(self, node: GossipNode, other: GossipNode) -> None:
        """Close a link that neither end needs."""
        for one, peer in ((node, other), (other, node)):
            link = one.presence.ground.links.get(peer.name) if one.alive else None
            if link is not None and link.neighbour:
                return
        for one, peer in ((node, other), (other, node)):
            if one.alive:
                self.call(one, partial(_drop_link, peer.name))

    # What nodes do

    def call(self, node: GossipNode, command: Callable[[Presence, float], object]) -> None:
        """Command a node's presence, and let it act."""
        command(node.presence, self.queue.now)
        self.drain(node)

    def drain(self, node: GossipNode) -> None:
        """Carry what a node has to say, and see when it is to be called again."""
        presence, now = node.presence, self.queue.now
        ground = presence.ground
        if ground.outbox:
            for data, name in presence.messages_to_send(now):
                self._send(node, self._by_name[name], data, now)
        while ground.events:
            self._on_event(node, presence, ground.events.popleft())
        due = presence.next_timer()
        if due is not None and due < node.armed:
            node.armed = due
            self.queue.schedule(due, self._timer, node, presence, due)

    def _on_event(self, node: GossipNode, presence: Presence, event: PresenceEvent) -> None:
        if isinstance(event, LinkWanted):
            other = self._by_name.get(event.owner)
            if other is not None:
                self.link(node, other)
            else:  # Made up by an attacker: nobody answers there.
                self.queue.after(DIAL_TIMEOUT, self._nobody, node, event.owner, presence)
        elif isinstance(event, LinkSpare):
            self.queue.after(SPARE_REST, self._spare, node, self._by_name[event.owner])
        else:
            self.on_event(node, event)

    def _nobody(self, node: GossipNode, name: bytes, life: Presence) -> None:
        if node.alive and node.presence is life:
            self.call(node, lambda presence, now: presence.dial_failed(name, now))

    def _timer(self, node: GossipNode, life: Presence, due: float) -> None:
        if node.presence is not life or not node.alive or node.armed != due:
            return
        node.armed = math.inf
        life.handle_timer(self.queue.now)
        self.drain(node)

    def _send(self, node: GossipNode, other: GossipNode, data: bytes, now: float) -> None:
        node.bytes_sent += len(data) + OVERHEAD
        self.messages += 1
        if not other.alive or node.group != other.group or (self.gone and self._loss_rng.random() < self.gone):
            return
        pair = node.index, other.index
        delay = self._latency.delay(node.address, other.address, self._rng)
        when = now + delay
        if self.loss:
            again = 2 * delay + RESEND_LEAST
            while self._loss_rng.random() < self.loss:
                node.bytes_sent += len(data) + OVERHEAD
                when += again
                again = min(2 * again, RESEND_MOST)
        # In order, as on a link.
        when = self._arrivals[pair] = max(when, self._arrivals.get(pair, 0.0))
        self.queue.schedule(when, self._arrive, other, node, data)

    def _arrive(self, other: GossipNode, node: GossipNode, data: bytes) -> None:
        if other.alive:
            other.bytes_received += len(data) + OVERHEAD
            if self._trace is not None:
                self._trace.delivered(self.queue.now, node.address, other.address, data)
            other.presence.receive_message(data, node.name, self.queue.now)
            self.drain(other)


def _add_link(peer: bytes, presence: Presence, now: float) -> None:
    presence.add_link(peer, now)


def _drop_link(peer: bytes, presence: Presence, now: float) -> None:
    presence.drop_link(peer, now, lost=False)
