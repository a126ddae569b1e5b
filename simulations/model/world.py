"""A network of up to 4 billion nodes as a formula: what scripts use.

Decides how settings become the tuples that compiled code takes, and which kernel answers which question. Refuses to
know what happens inside a look-up.

    world = ModelWorld(nodes=1_000_000, seed=7, latency="lognormal:50ms,0.4", loss=0.01, sessions="ipfs-2022")
    print(world.lookups(10_000).summary())
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from dht.config import DhtConfig
from simulations import sessions as session_models
from simulations.errors import BadScenario
from simulations.latency import Latency
from simulations.model.adversaries import Adversaries, behaviour_of
from simulations.model.chunks import Progress, in_chunks
from simulations.model.draws import seed_of
from simulations.model.ids import spread
from simulations.model.outcomes import Lookups, unfilled
from simulations.model.paths import walk_disjoint_paths
from simulations.model.patience import ASKED_BEFORE, patience
from simulations.model.round_trips import round_trips, spread_of
from simulations.model.stages import walk_in_rounds
from simulations.model.staleness import MOST_DEAD, dead_share, ghosts_for
from simulations.model.survival import Survival, survive
from simulations.model.tables import Tables
from simulations.model.timed import FIND, READ, WRITE, Outcome, Task, walk_in_time
from simulations.session_lengths import Sessions

NEAREST = 3
"""Honest nodes nearest to a target of which a look-up has to find one to count as successful."""
TOGETHER = 0.6
"""Part of a crowded bucket that lies side by side, because one walk filled it. With this part walks take as many hops
as over the tables of 1,000 real nodes some minutes after they joined (`docs/results/agreement.md`)."""
MOST_K = 64
"""Widest bucket: beyond, the room for candidates would grow past what is kept for one look-up."""

Mode = Literal["timed", "full", "hops"]


class ModelWorld:
    """A network in its steady state. Equal settings and seed give equal results, whatever the number of threads."""

    def __init__(
        self,
        nodes: int,
        seed: int = 0,
        *,
        k: int = 20,
        alpha: int = 10,
        latency: str | Latency = "constant:50ms",
        loss: float = 0.0,
        sessions: str | Sessions | None = None,
        dead: float | None = None,
        died: float = 0.0,
        together: float = TOGETHER,
        asked: int = ASKED_BEFORE,
        clients: float = 0.0,
        adversaries: float = 0.0,
        behaviour: str = "collude",
        timeouts: str = "hedged",
        config: DhtConfig | None = None,
        threads: int | None = None,
    ) -> None:
        """Lay out the ids: about 5 bytes a server, all that grows with the network.

        `nodes` are those alive at any moment. `clients` is the share that nobody can dial, which stands in no table;
        they look things up like all others. `loss` is that of single datagrams. `sessions` (a name or a model of
        `simulations.sessions`) decides how many contacts in tables are dead, or `dead` says so itself. `died` is the
        share of all that died a moment ago, which nobody has noticed. `together` is the part of a crowded bucket that
        lies side by side, `asked` how often contacts have been asked before. `adversaries` is the share of servers that
        are an attacker's and do as `behaviour` says (`silent`, `empty`, `collude`). `timeouts` is `hedged` (ours),
        `measured` or `fixed:5s`; `config` has the times they go by, and the quorums.

        Raises `BadScenario` for what is out of range.
        """
        for name, share in (("loss", loss), ("clients", clients), ("adversaries", adversaries), ("together", together)):
            if not 0 <= share < 1:
                raise BadScenario(f"{name} = {share!r}: expected a share from 0 to less than 1")
        for name, value, most in (("k", k, MOST_K), ("alpha", alpha, 64)):
            if not 1 <= value <= most:
                raise BadScenario(f"{name} = {value!r}: expected 1 to {most}")
        self.nodes, self.seed, self.k, self.alpha = nodes, seed, k, alpha
        self.loss, self.clients = loss, clients
        self.config = config or DhtConfig()
        self.sessions = None if sessions is None else session_models.named(sessions)
        self.threads = threads
        self.servers = max(2, round(nodes * (1 - clients)))
        """Nodes alive that stand in tables."""
        if dead is None:
            dead = 0.0 if self.sessions is None else dead_share(self.sessions, self.config.liveness_interval, seed)
        self.dead = dead
        """Share of dead contacts in tables."""
        if died:
            if not 0 < died <= MOST_DEAD or dead:
                raise BadScenario(f"died = {died!r} beside dead = {dead!r}: expected one, from 0 to {MOST_DEAD}")
            self.dead = died
        ghosts = died or ghosts_for(dead)
        ids = spread(round(self.servers / (1 - ghosts)), seed)
        self._tables = Tables(ids, k, seed_of(seed, "tables"), ghosts, not died, round(together * k))
        self._ideal = self._tables._replace(together=0)
        """Tables as papers take them: every bucket a sample."""
        self._round_trips = round_trips(latency, seed)
        self._patience = patience(timeouts, self.config, spread_of(self._round_trips), asked)
        self._adversaries = Adversaries(adversaries, behaviour_of(behaviour), 0, seed_of(seed, "adversaries"))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the network takes."""
        return self._tables.ids.nbytes

    def lookups(
        self,
        count: int,
        *,
        mode: Mode = "timed",
        to_nodes: bool = False,
        first: int = 0,
        progress: Progress | None = None,
    ) -> Lookups:
        """Look for the nodes nearest to `count` random targets.

        `timed`: as our code does it, with time-outs, losses and the dead. `full`: in rounds of α, with nobody dead and
        no time, as the papers count hops and requests; `to_nodes` makes the targets ids of nodes. `hops`: the same with
        one request in flight. `first` is the number of the first look-up: other numbers, other look-ups.
        """
        if mode == "timed":
            if to_nodes:
                raise BadScenario("to_nodes is for look-ups of mode full or hops")
            return self._in_time(FIND, "lookups", count, first, progress, copies=NEAREST)
        if mode not in ("full", "hops"):
            raise BadScenario(f"mode = {mode!r} of a look-up: expected timed, full or hops")
        if self.dead or self.loss or self._adversaries.share:
            raise BadScenario(f"mode {mode} counts with nobody dead, lost or hostile: choose mode timed for this world")
        out = unfilled(count)
        alpha = self.alpha if mode == "full" else 1
        key = seed_of(self.seed, "lookups")

        def work(begin: int, end: int) -> None:
            hops, requests = out.hops[begin:end], out.requests[begin:end]
            walk_in_rounds(self._ideal, alpha, key, first + begin, self.clients, to_nodes, hops, requests)

        in_chunks(count, work, threads=self.threads, progress=progress)
        out.success[:] = True
        return out

    def reads(
        self,
        count: int,
        *,
        age: float = 0.0,
        quorum: int | None = None,
        crowd: int = 0,
        first: int = 0,
        progress: Progress | None = None,
    ) -> Lookups:
        """Read `count` records, each stored with the k nearest nodes `age` seconds ago and not since.

        A read ends at `quorum` equal answers (6 of 20 by our rule) or when the k nearest have answered. `crowd` is the
        number of Sybil ids that an attacker put next to each key; they, and `adversaries`, withhold the record.
        """
        holding = 1.0
        if age and self.sessions is not None:
            rng = np.random.Generator(np.random.PCG64(seed_of(self.seed, "holding")))
            holding = float((self.sessions.residuals(rng, 1 << 18) > age).mean())
        needed = self._quorum_of_k(self.config.read_quorum) if quorum is None else quorum
        if not 1 <= needed <= self.k:
            raise BadScenario(f"quorum = {quorum!r}: expected 1 to k ({self.k})")
        return self._in_time(
            READ, "reads", count, first, progress, copies=self.k, holding=holding, quorum=needed, crowd=crowd
        )

    def writes(self, count: int, *, crowd: int = 0, first: int = 0, progress: Progress | None = None) -> Lookups:
        """Write `count` records: walk, store with the k nearest that answered, end when 15 of 20 have acknowledged."""
        needed = self.config.acknowledgements(self.k)
        return self._in_time(WRITE, "writes", count, first, progress, quorum=needed, crowd=crowd)

    def attack(
        self,
        count: int,
        *,
        share: float | None = None,
        paths: int = 1,
        first: int = 0,
        progress: Progress | None = None,
    ) -> Lookups:
        """Look for `count` nodes over disjoint paths past attackers: the experiment of the S/Kademlia paper.

        `share` of the nodes are hostile (else this world's `adversaries`); one request in flight on each of `paths`.
        """
        if not 1 <= paths <= self.k:
            raise BadScenario(f"paths = {paths!r}: expected 1 to k ({self.k})")
        if self.dead or self.loss:
            raise BadScenario("this experiment counts with nobody dead and nothing lost: make a world without")
        hostile = self._adversaries.share if share is None else share
        if not 0 <= hostile < 1:
            raise BadScenario(f"share = {share!r} of hostile nodes: expected 0 to less than 1")
        out = unfilled(count)
        who = self._adversaries._replace(share=hostile)
        key = seed_of(self.seed, "attack")

        def work(begin: int, end: int) -> None:
            requests, success = out.requests[begin:end], out.success[begin:end]
            walk_disjoint_paths(self._ideal, paths, who, key, first + begin, requests, success)

        in_chunks(count, work, threads=self.threads, progress=progress)
        return out

    def records_alive(
        self,
        records: int,
        *,
        seconds: float,
        step: float = 900.0,
        repair: bool = True,
        publish: float | None = None,
        quorum: int | None = None,
        progress: Progress | None = None,
    ) -> Survival:
        """Follow records while their holders come and go. `repair`: whether holders store anew what nobody has stored
        for a repair interval; `publish`: seconds between stores of a publisher that is online, or None for none."""
        if self.sessions is None:
            raise BadScenario("records live for ever where nodes do: give the world sessions")
        return survive(
            records,
            self.sessions,
            seconds=seconds,
            step=step,
            k=self.k,
            quorum=self._quorum_of_k(self.config.read_quorum) if quorum is None else quorum,
            repair=max(self.config.repair_interval, step) if repair else None,
            publish=publish,
            # A store is sent twice; each time request and answer must both arrive.
            loss=(1 - (1 - self.loss) ** 2) ** 2,
            seed=self.seed,
            progress=progress,
        )

    def _quorum_of_k(self, quorum: int) -> int:
        """The quorum of `DhtConfig.k` replicas in proportion to this world's k."""
        return max(1, round(quorum * self.k / self.config.k))

    def _in_time(
        self,
        purpose: int,
        label: str,
        count: int,
        first: int,
        progress: Progress | None,
        *,
        copies: int = 1,
        holding: float = 1.0,
        quorum: int = 1,
        crowd: int = 0,
    ) -> Lookups:
        if crowd < 0 or crowd > 8 * self.k:
            raise BadScenario(f"crowd = {crowd!r} Sybil ids next to a key: expected 0 to {8 * self.k}")
        out = unfilled(count)
        room = _room(self.k, 1 - (1 - self.loss) ** 2 * (1 - self._tables.ghosts))
        key = seed_of(self.seed, label)
        task = Task(purpose, self.alpha, self.loss, self.clients, quorum, copies, room, holding, key)
        who = self._adversaries._replace(crowd=crowd)

        def work(begin: int, end: int) -> None:
            part = Outcome(
                out.hops[begin:end],
                out.requests[begin:end],
                out.failures[begin:end],
                out.seconds[begin:end],
                out.success[begin:end],
                out.copies[begin:end],
            )
            walk_in_time(self._tables, self._round_trips, self._patience, who, task, first + begin, part)

        in_chunks(count, work, threads=self.threads, progress=progress)
        return out


def _room(k: int, lost: float) -> int:
    """Candidates to keep so that `k` answer though a share of `lost` does not: three standard deviations (of a negative
    binomial) beyond the mean, and a fifth of k for those that are slow. What is kept beyond costs time only."""
    lost = min(lost, 0.95)
    return math.ceil((k + 3 * math.sqrt(k * lost)) / (1 - lost) + k / 5)
