"""The full matrix: a node behind each kind of box dials one behind each other, one after the other.

Decides which pairs there are, what is noted of each, and what counts as a success. All nodes run at once, and each pair
starts without a link between the two. Refuses to know how it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.natlab.kinds import EXPECTED, KINDS, Expected, expected_together
from tests.natlab.namespaces import LabError
from tests.natlab.nodes import Daemon, Nodes

OPEN_NODES: Final = 7
"""Servers in the open: a home node needs three, an address four votes, and one is to be spare."""

CONNECT: Final = 20.0
"""Seconds a pair gets. UNSOURCED: above what an attempt takes that tries everything."""

JOINED: Final = 20.0
"""Seconds for all nodes to join and be found; who cannot do it by then is tried all the same. UNSOURCED"""

SETTLED: Final = 1.0
"""Seconds after that until the first pair: what was heard of the boxes is then in the nodes' own view. UNSOURCED"""

RELAYS: Final = 15.0
"""Seconds the open network gets to announce its relays. UNSOURCED: some five are usual"""

ROUND_TRIPS: Final = 20
"""Further ones that this takes. UNSOURCED"""

UPGRADE: Final = 15.0
"""Seconds a link that opened relayed gets to become direct where it must. UNSOURCED"""

LOOK: Final = 0.1
"""Seconds between two looks at that. UNSOURCED"""

QUIET: Final = 0.3
"""Seconds between two pairs, in which links end on both sides. UNSOURCED"""

LIMITS: Final = {Expected.DIRECT: 1.5, Expected.RELAYED: 3.0}
"""Seconds to open that 95 of 100 pairs are to keep to."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Who dials whom."""

    dialler: str
    listener: str
    """Kinds."""
    together: str = ""
    """Empty for two places. `one-box`: both behind one box that lets them reach each other; `apart`: behind one that
    keeps them apart."""

    @property
    def expected(self) -> Expected:
        """What must come of it at least."""
        if self.together:
            return expected_together(self.dialler, isolated=self.together == "apart")
        return EXPECTED[self.dialler, self.listener]

    @property
    def text(self) -> str:
        """For people, and for `--pairs`."""
        return f"{self.dialler}:{self.listener}" if not self.together else f"{self.dialler}:{self.together}"


@dataclass(slots=True)
class Result:
    """What came of a pair."""

    pair: Pair
    outcome: str
    """direct, relayed or failed."""
    path: str = ""
    """Types of both ends, ours first."""
    way: str = ""
    """Which way opened it: dial, ice, relay, websocket."""
    seconds: float = 0.0
    """From asking for the link to having it."""
    upgraded: float = 0.0
    """Seconds from asking until a link that opened relayed ran directly; 0 when it never did."""
    phases: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    """Why there is none, in the node's words."""
    ways: list[dict[str, Any]] = field(default_factory=list)
    """Each way that was tried, as the node tells it."""

    @property
    def holds(self) -> bool:
        """Whether it is what must come of the pair, or better; a relayed link may become direct while it is used."""
        if self.outcome == "relayed":
            return self.upgraded > 0 or self.pair.expected is Expected.RELAYED
        return self.outcome == "direct"

    def document(self) -> dict[str, Any]:
        """All of it, for JSON."""
        said = asdict(self)
        return {**said.pop("pair"), "expected": self.pair.expected.value, "holds": self.holds, **said}


def pairs_of(kinds: Sequence[str]) -> list[Pair]:
    """Every ordered pair of these kinds, and those of two hosts behind one box of each."""
    apart = [Pair(a, b) for a in kinds for b in kinds]
    boxed = [kind for kind in kinds if KINDS[kind].boxes]
    return apart + [Pair(kind, kind, how) for kind in boxed for how in ("one-box", "apart")]


class Matrix:
    """Plays pairs. A context manager: when it is left, nothing of it remains."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        open_nodes: int = OPEN_NODES,
        timeout: float = CONNECT,
        delay: float = 0.0,
        settle: float = 0.0,
        folder: Path | None = None,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`delay`: seconds one way through the open network. `settle`: further seconds until the first pair, in which
        nodes look for relays. `folder` keeps the nodes' files; `say` is told what goes
        on."""
        self.pairs = list(pairs)
        self.results: list[Result] = []
        self.nodes = Nodes(folder)
        self._say = say
        self._timeout = timeout
        self.delay = delay
        self.settle = settle
        self._open_nodes = open_nodes
        self._ends: dict[Pair, tuple[Daemon, Daemon]] = {}
        self.late: dict[str, str] = {}
        """Nodes that have not joined or are not to be found, and why, as far as known."""

    def __enter__(self) -> Matrix:
        return self

    def __exit__(self, *exc: object) -> None:
        self.nodes.__exit__(*exc)

    async def build(self) -> None:
        """Start every node that the pairs need, and wait until the network stands."""
        nodes = self.nodes
        if self.delay:
            lines = nodes.folder / "lines"
            lines.mkdir()
            nodes.lab.lines(lines, delay=self.delay)
        self._say("the open network")
        opened = nodes.open_network(self._open_nodes)
        await nodes.joined(opened, published=False)
        if self.settle:
            # A network that stands has relays which are known; who looks for them too soon looks again much later.
            with contextlib.suppress(LabError):
                await asyncio.gather(*(daemon.logged("relay-announced", RELAYS) for daemon in opened))
        self._say("nodes behind boxes")
        for pair in self.pairs:
            if not pair.together:
                self._ends[pair] = self._apart(pair)
        hidden = [daemon for name, daemon in nodes.daemons.items() if not name.startswith("open-")]
        self._say(f"{len(hidden)} nodes join")
        await asyncio.gather(*(self._join(daemon) for daemon in hidden))
        await asyncio.sleep(SETTLED + self.settle + ROUND_TRIPS * 2 * self.delay)

    async def play(self, done: Callable[[Result], object] = lambda result: None, *, rounds: int = 1) -> list[Result]:
        """Play every pair so many times, one round after the other; `done` is told each result."""
        for number in range(rounds):
            for pair in self.pairs:
                self._say(pair.text if rounds == 1 else f"round {number + 1}: {pair.text}")
                result = await self.one(pair)
                self.results.append(result)
                done(result)
        return self.results

    async def one(self, pair: Pair) -> Result:
        """Have one dial the other, note what comes of it, and end the link.

        Two behind one box run for this pair only: no other needs them, and all at once would take much memory.
        """
        if not pair.together:
            return await self._one(pair, *self._ends[pair])
        ends = self._together(pair)
        try:
            await asyncio.gather(*(self._join(daemon) for daemon in ends))
            await asyncio.sleep(SETTLED + self.settle + ROUND_TRIPS * 2 * self.delay)
            return await self._one(pair, *ends)
        finally:
            for daemon in ends:
                await daemon.kill()

    async def _one(self, pair: Pair, dialler: Daemon, listener: Daemon) -> Result:
        ours, theirs = await dialler.peer(), await listener.peer()
        # One of them may use the other as its relay.
        await asyncio.gather(dialler.disconnect(theirs), listener.disconnect(ours))
        started = time.monotonic()
        said = await dialler.connect(theirs, self._timeout)
        result = result_of(pair, said, time.monotonic() - started)
        while not result.holds and result.outcome == "relayed" and time.monotonic() - started < UPGRADE:
            await asyncio.sleep(LOOK)
            links = (await dialler.call("peers"))["links"]
            if any(link["peer"] == theirs and not is_relayed(link["type"]) for link in links):
                result.upgraded = time.monotonic() - started
        await asyncio.gather(dialler.disconnect(theirs), listener.disconnect(ours))
        await asyncio.sleep(QUIET)
        return result

    def _apart(self, pair: Pair) -> tuple[Daemon, Daemon]:
        return self._behind(f"left-{pair.dialler}", pair.dialler), self._behind(f"right-{pair.listener}", pair.listener)

    def _together(self, pair: Pair) -> tuple[Daemon, Daemon]:
        name = f"{pair.together}-{pair.dialler}"
        places = self.nodes.lab.places
        place = places.get(name) or self.nodes.lab.place(name, pair.dialler, isolated=pair.together == "apart")
        ends = []
        for own in (f"{name}-1", f"{name}-2"):
            if own in self.nodes.daemons:
                self.nodes.daemons[own].start()
            else:
                self.nodes.behind(own, pair.dialler, place)
            ends.append(self.nodes.daemons[own])
        return ends[0], ends[1]

    def _behind(self, name: str, kind: str) -> Daemon:
        return self.nodes.daemons.get(name) or self.nodes.behind(name, kind)

    async def _join(self, daemon: Daemon) -> None:
        for step in ("joined", "published"):
            try:
                await daemon.logged(step, JOINED)
            except LabError as error:
                self.late[daemon.name] = str(error)
                return


def result_of(pair: Pair, said: dict[str, Any], seconds: float) -> Result:
    """Read what `rookery connect` said."""
    ways = list(said.get("ways", ()))
    if not said["connected"]:
        why = f"{said['reason']} {said['detail']}".strip()
        return Result(pair, "failed", seconds=seconds, phases=said["phases"], reason=why, ways=ways)
    path = str(said["path"])
    opened = next((str(way["way"]) for way in ways if way["outcome"] == "opened"), "")
    outcome = "relayed" if is_relayed(path) else "direct"
    return Result(pair, outcome, path, opened, seconds, phases=said["phases"], ways=ways)


def is_relayed(path: str) -> bool:
    """Whether a third party carries a link whose path is told so."""
    return any(word in path for word in ("relay", "websocket"))


async def played(matrix: Matrix, done: Callable[[Result], object] = lambda result: None) -> list[Result]:
    """Build and play; the matrix is left afterwards."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(matrix)
        await matrix.build()
        return await matrix.play(done)
