"""What befalls peers: death, freezing, return, partition, churn, and trying again to join.

Decides who lives when. Refuses to know what peers are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from dht.events import JoinDone
from simulations.diurnal import Diurnal
from simulations.errors import BadScenario
from simulations.events import EventQueue
from simulations.faults import Partition
from simulations.ground import Ground
from simulations.network import Network
from simulations.peers import Peer
from simulations.randomness import Streams
from simulations.sessions import Sessions
from simulations.sessions import named as sessions_named
from simulations.trace import Trace

FIRST_RETRY: Final = 1.0
LONGEST_RETRY: Final = 60.0
"""Seconds until a join that found nobody is tried again, doubling: the pauses of a real node (`node.node_joining`)."""


@dataclass(slots=True)
class Churn:
    """By which rule one peer comes and goes."""

    sessions: Sessions
    downtime: Sessions
    rng: Random
    keep_state: bool
    diurnal: Diurnal | None


class Lives(Ground):
    """The part of a world that ends and begins lives."""

    def __init__(self, seed: int, queue: EventQueue, network: Network, streams: Streams, trace: Trace) -> None:
        super().__init__(seed, queue, network, streams, trace)
        self.starting = 0
        """Peers added whose first start is still to come."""
        self._retries: dict[int, float] = {}
        self._churns: dict[int, Churn] = {}
        self._cut: Partition | None = None
        self._starts_rng = streams.stream("world/starts")
        self._cut_rng = streams.stream("world/partition")

    # By the script

    def kill(
        self, *, fraction: float | None = None, peers: Iterable[Peer] | None = None, keep_state: bool = True
    ) -> list[Peer]:
        """End peers without a word: a share of the living, chosen at random, or those given. Says which.

        Their state stays for `restart`, unless `keep_state` is false or the profile keeps none. Who is dead already
        stays dead.
        """
        victims = [peer for peer in self.chosen(fraction, peers) if peer.alive]
        for peer in victims:
            peer.stop(keep_state=keep_state and peer.profile.keeps_state)
            self._churns.pop(peer.index, None)
        self.metrics.mark(f"{len(victims)} killed")
        # A time line shows the step where it is, and not at the next sample.
        self.metrics.sample("alive", len(self.living))
        return victims

    def restart(self, peers: Iterable[Peer], *, keep_state: bool = True, spread: float = 0.0) -> list[Peer]:
        """Bring those of the peers that are dead back at their old addresses within `spread` seconds. Says which."""
        back = [peer for peer in peers if not peer.alive]
        for peer in back:
            if not keep_state:
                peer.journal = None
            self._start_within(spread, peer)
        self.metrics.mark(f"{len(back)} restarted")
        return back

    def freeze(self, *, fraction: float | None = None, peers: Iterable[Peer] | None = None) -> list[Peer]:
        """Stop peers as SIGSTOP does, until `wake`. Says which."""
        frozen = [peer for peer in self.chosen(fraction, peers) if peer.alive]
        for peer in frozen:
            self.network.freeze(peer.address[0])
        self.metrics.mark(f"{len(frozen)} frozen")
        return frozen

    def wake(self, peers: Iterable[Peer]) -> None:
        """Let frozen peers run on."""
        woken = list(peers)
        for peer in woken:
            self.network.wake(peer.address[0])
        self.metrics.mark(f"{len(woken)} woken")

    def partition(self, *groups: Iterable[Peer], fractions: Sequence[float] = ()) -> list[list[Peer]]:
        """Cut the network into groups that cannot reach one another: those given, or random shares of all peers.

        Whoever is in none forms one more group. Gives the groups. `heal` ends it.
        """
        if self._cut is not None:
            raise BadScenario("the network is cut already: heal it first")
        parts = [list(one) for one in groups] or self.shares(fractions, self._cut_rng)
        if not parts:
            raise BadScenario("nothing to cut: give groups of peers, or fractions such as [0.5, 0.5]")
        # Faults see packets in the core, where a home device has its router's address.
        self._cut = self.network.partition(*(list(dict.fromkeys(peer.public_ip for peer in part)) for part in parts))
        self.metrics.mark("cut into " + " / ".join(str(len(part)) for part in parts))
        return parts

    def heal(self) -> None:
        """End the partition."""
        if self._cut is None:
            raise BadScenario("the network is not cut: there is nothing to heal")
        self.network.remove_fault(self._cut)
        self._cut = None
        self.metrics.mark("healed")

    def churn(
        self,
        sessions: str | Sessions,
        downtime: str | Sessions,
        peers: Sequence[Peer] | None = None,
        *,
        keep_state: bool = True,
        after: float = 0.0,
        diurnal: Diurnal | None = None,
    ) -> None:
        """Let peers (all but the bootstraps, unless given) come and go, from `after` seconds from now on.

        Whoever lives is found somewhere in the middle of a session, as in a network that has long been there. With
        `diurnal` peers come back by day rather than by night.
        """
        on, off = sessions_named(sessions), sessions_named(downtime)
        fixed = {peer.index for peer in self.bootstraps}
        for peer in self.peers if peers is None else peers:
            if peers is None and peer.index in fixed:
                continue
            rng = self.streams.stream(f"churn/{peer.index}")
            self._churns[peer.index] = one = Churn(on, off, rng, keep_state and peer.profile.keeps_state, diurnal)
            self.queue.after(after + on.residual(rng), self._session_ends, peer, one)
        self.metrics.mark(f"churn: sessions {sessions}, downtime {downtime}")

    def end_churn(self) -> None:
        """Let everybody who lives live on, and who is away stay away."""
        self._churns.clear()
        self.metrics.mark("churn ends")

    # By themselves

    def start_within(self, spread: float, peer: Peer) -> None:
        """Start a new peer at a random time of the next `spread` seconds."""
        self.starting += 1
        self._start_within(spread, peer)

    def on_join(self, peer: Peer, event: JoinDone, started: float) -> None:
        """A walk to a peer's neighbourhood has ended."""
        stats = event.stats
        self.metrics.operation(
            "join",
            started=started - self.started,
            took=self.queue.now - started,
            ok=event.contacts > 0,
            reason="" if event.contacts else "nobody answered",
            hops=stats.hops,
            requests=stats.requests,
            failures=stats.failures,
            node=peer.index,
        )
        if event.contacts:
            self._retries.pop(peer.index, None)
        else:
            self.try_again(peer)

    def try_again(self, peer: Peer) -> None:
        """Let a peer that found nobody join again after a pause."""
        pause = self._retries.get(peer.index, FIRST_RETRY)
        self._retries[peer.index] = min(2 * pause, LONGEST_RETRY)
        self.queue.after(pause * self._starts_rng.uniform(0.8, 1.2), self._join_again, peer, peer.births)

    def _join_again(self, peer: Peer, births: int) -> None:
        # Somebody may have found it first; and it may have died, or live another life.
        if peer.alive and peer.births == births:
            peer.join()

    def _start_within(self, spread: float, peer: Peer) -> None:
        delay = self._starts_rng.uniform(0.0, spread) if spread else 0.0
        if delay:
            self.queue.after(delay, self._start, peer)
        else:
            self._start(peer)

    def _start(self, peer: Peer) -> None:
        if peer.births == 0:
            self.starting -= 1
        if not peer.alive:
            peer.start()

    def _session_ends(self, peer: Peer, churn: Churn) -> None:
        if self._churns.get(peer.index) is not churn:
            return
        if peer.alive:
            peer.stop(keep_state=churn.keep_state)
        self.queue.after(self._away(churn, peer), self._session_begins, peer, churn)

    def _session_begins(self, peer: Peer, churn: Churn) -> None:
        if self._churns.get(peer.index) is not churn:
            return
        if not peer.alive:
            peer.start()
        self.queue.after(churn.sessions.draw(churn.rng), self._session_ends, peer, churn)

    def _away(self, churn: Churn, peer: Peer) -> float:
        away = churn.downtime.draw(churn.rng)
        if churn.diurnal is None:
            return away
        # Thinning (Lewis and Shedler 1979): a return that falls into the night is likely put off by another downtime.
        now = self.queue.now
        while churn.rng.random() * churn.diurnal.highest > churn.diurnal.factor(now + away, self.longitude(peer)):
            away += churn.downtime.draw(churn.rng)
        return away

    def longitude(self, peer: Peer) -> float:
        """Degrees east of a peer's place; 0 in a world without places."""
        return 0.0
