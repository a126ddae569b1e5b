"""The connection ladder in the laboratory and in the simulator, as one page.

    python -m tests.natlab.ladder --out FILE

Decides the cases, the budgets' verdicts and the words. Real processes in the laboratory, each on a machine of its own;
whole nodes on a virtual clock in the simulator, with seeds.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from dht.identity import NodeKey, to_zbase32
from node.node_ladder import ORDER
from simulations.running import run_seed
from simulations.scenarios.ladder import BUDGETS
from simulations.settings import RunSpec
from tests.natlab import wire
from tests.natlab.namespaces import why_not
from tests.natlab.nodes import Daemon, Nodes

SERVERS: Final = 8
SETTLE: Final = 8.0
"""Seconds for home nodes and relays to be found. UNSOURCED"""

DIAL_TRIPS: Final = 5
"""Round trips of a dial (`simulations.link_dial`)."""

PAUSE: Final = 5.5
"""Seconds between two calls of one peer: it takes one in five seconds, after a burst of six."""

NOBODY: Final = "10.255.255.1"
"""An address that nobody has."""


@dataclass
class Case:
    """One way to be found, and what came of it."""

    name: str
    rung: str
    """Which one is to win."""
    times: list[float] = field(default_factory=list)
    won: Counter[str] = field(default_factory=Counter)
    became: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What became of each rung: by its name and outcome."""
    also: str = ""
    """Another rung that may win: who starts may have joined before it was asked for anything."""
    trip: float = 0.0
    """Round trip to the peer, seconds."""

    @property
    def budget(self) -> float:
        """Seconds within which there should be a link."""
        budget = BUDGETS[self.rung]
        return budget if DIAL_TRIPS * self.trip < budget else max(budget, BUDGETS["direct"])

    @property
    def kept(self) -> bool:
        """Whether every link came by its rung, and the median within its budget: a machine that others use, too, is
        late now and then."""
        return self.won.keys() <= {self.rung, self.also} and median(self.times) <= self.budget


def _note(case: Case, said: dict[str, Any]) -> None:
    won = next((rung["rung"] for rung in said["rungs"] if rung["outcome"] == "won"), said["reason"] or "none")
    case.won[won] += 1
    case.became.update((rung["rung"], rung["outcome"]) for rung in said["rungs"])
    case.times.append(said["phases"].get("total", float("inf")) if said["connected"] else float("inf"))


async def in_lab(delay: float, rounds: int, say: Callable[[str], object]) -> list[Case]:
    """Play every case that needs no scripted source."""
    cases: list[Case] = []
    # By gossip the peer would be linked again before the next round begins, and known when nothing is to be remembered.
    with Nodes(ROOKERY_PORT_MAPPING="false", ROOKERY_PRESENCE="false") as nodes:
        if delay:
            (nodes.folder / "lines").mkdir()
            nodes.lab.lines(nodes.folder / "lines", delay=delay)
        opened = nodes.open_network(SERVERS)
        await nodes.joined(opened)
        one, called = nodes.behind("one", "port-restricted"), nodes.behind("called", "port-restricted")
        await nodes.joined([one, called])
        await asyncio.sleep(SETTLE)
        server, friend = await opened[-1].peer(), await called.peer()
        hole = f"{to_zbase32(NodeKey.from_secret(b'h' * 32).public)}@{NOBODY}:4000"

        async def case(name: str, rung: str, peer: str, before: Callable[[], Awaitable[object]] | None = None) -> None:
            made = Case(name, rung, trip=2 * delay)
            for number in range(rounds + 1):
                if before is not None:
                    await before()
                said = await one.connect(peer, 30.0)
                await one.disconnect(peer)
                if number:  # The first imports what links are made of.
                    _note(made, said)
                await asyncio.sleep(PAUSE if peer == friend else 0.3)
            cases.append(made)
            say(_row(made))

        await case("a server, nothing remembered", "dht", server, lambda: one.control(forget=server))
        await case("a server, where it was before", "cache", server)
        await case("a server, remembered where nobody is", "dht", server, lambda: one.control(mislead=server, to=hole))
        await case("behind a router, nothing remembered", "dht", friend, lambda: one.control(forget=friend))
        await case("behind a router, home nodes remembered", "direct", friend)
        cases.append(await _cold(nodes, server, rounds))
        say(_row(cases[-1]))
    return cases


async def _cold(nodes: Nodes, server: str, rounds: int) -> Case:
    """Nodes that have just started and know first contacts only."""
    case = Case("by a node that has just started", "bootstrap", also="dht")
    for number in range(rounds):
        fresh: Daemon = nodes.behind(f"fresh-{number}", "port-restricted")
        await fresh.ready()
        _note(case, await fresh.connect(server, 30.0))
        await fresh.kill()
    return case


def in_simulator(seeds: int, rounds: int) -> list[Case]:
    """Play the scenario `ladder`."""
    cases: dict[str, Case] = {}
    for seed in range(1, seeds + 1):
        result = run_seed(RunSpec(scenario="ladder", world={}, parameters={"rounds": rounds}), seed)
        rows = result.tables["operations"].columns
        for kind, ok, took, why in zip(rows["kind"], rows["ok"], rows["took"], rows["reason"], strict=True):
            rung = kind.split()[0]
            if rung in BUDGETS:
                made = cases.setdefault(kind, Case(NAMES.get(kind, kind), rung))
                made.won[rung if ok else why or "none"] += 1
                made.times.append(took)
        values = result.tables["values"].columns
        for metric, value in zip(values["metric"], values["value"], strict=True):
            kind, _, said = metric.rpartition(", ")
            rung, _, outcome = said.partition(" ")
            if kind in cases and outcome:
                cases[kind].became[rung, outcome] += round(value)
    return list(cases.values())


NAMES: Final = {
    "cache": "a server, where it was before",
    "lan": "a server, announced in the local network",
    "direct": "behind a router, home nodes remembered",
    "gossip": "behind a router, home nodes known by gossip",
    "dht": "a server, nothing remembered",
    "dht past a stale cache": "a server, remembered where nobody is",
    "bootstrap": "by a node that has just started",
}


def page(lab: list[tuple[float, list[Case]]], simulated: list[Case], seeds: int, command: str, seconds: float) -> str:
    """The page."""
    lines = [
        "# The connection ladder",
        "",
        f"Made by `{command}` in {seconds:.0f} s. What the rungs are: "
        "[protocol-links.md](../protocol-links.md#the-ladder).",
        "The budget is asked of the median; the longest was as long as it was on a machine that others used, too.",
        "A dial has five round trips: where they alone are as long as the first rung's budget, the direct rung's is",
        "asked of it. **!** marks a case over budget, or with a link won by a rung that should not have. What became",
        "of each rung: `overtaken` was given up for a quicker one, what is `found` was not needed, and – never began.",
    ]
    head = ["", "| peer | rung | budget | links | median | longest |", "|---|---|---|---|---|---|"]
    for delay, cases in lab:
        trip = f"a round trip of {2000 * delay:g} ms between machines" if delay else "no delay between machines"
        lines += ["", f"## Real processes in the laboratory, {trip}", *head, *map(_row, cases), *_outcomes(cases)]
    lines += [
        "",
        f"## Whole nodes on a virtual clock, a round trip of 6 ms, {'seeds 1 to ' + str(seeds)}",
        "",
        "What the local network's source and gossip's know is scripted here; what is done with it is the node's own.",
        *head,
        *map(_row, simulated),
        *_outcomes(simulated),
    ]
    return "\n".join(lines) + "\n"


RUNGS: Final = [rung for rung in ORDER if rung != "invite"]
"""Those of the table: no case here has an invite."""


def _outcomes(cases: list[Case]) -> list[str]:
    """What became of each rung, as a table. `overtaken`: given up for a quicker one; –: never begun."""
    lines = ["", f"| what became of each rung | {' | '.join(RUNGS)} |", "|---" * (len(RUNGS) + 1) + "|"]
    for case in cases:
        cells = [
            ", ".join(f"{count} {outcome}" for (name, outcome), count in sorted(case.became.items()) if name == rung)
            for rung in RUNGS
        ]
        told = [re.sub(r"(?:, )?\d+ skipped", "", cell).lstrip(", ") or "–" for cell in cells]
        lines.append(f"| {case.name} | {' | '.join(told)} |")
    return lines


def _row(case: Case) -> str:
    mark = "" if case.kept else "**!** "
    others = ", ".join(f"{count} by {rung}" for rung, count in case.won.items() if rung != case.rung)
    name = f"{mark}{case.name}{f' ({others})' if others else ''}"
    budget, middle, longest = case.budget, median(case.times), max(case.times)
    times = f"{budget * 1000:.0f} ms | {len(case.times)} | {middle * 1000:.0f} ms | {longest * 1000:.0f} ms"
    return f"| {name} | {case.rung} | {times} |"


def main() -> int:
    """Play, print, write the page; 1 when a budget was not kept, 2 when there can be no laboratory."""
    parser = argparse.ArgumentParser(prog="python -m tests.natlab.ladder", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="links of each case (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the simulation (%(default)s)")
    parser.add_argument("--delays", default="0,3", help="milliseconds one way, in the laboratory (%(default)s)")
    parser.add_argument("--out", type=Path, help="write the page there")
    options = parser.parse_args()
    if (problem := why_not() or wire.missing()) is not None and problem:
        print(f"natlab: {problem}", file=sys.stderr)
        return 2
    began = time.monotonic()
    delays = [float(text) / 1000 for text in options.delays.split(",")]
    lab = [(delay, asyncio.run(in_lab(delay, options.rounds, print))) for delay in delays]
    simulated = in_simulator(options.seeds, options.rounds)
    command = (
        f"python -m tests.natlab.ladder --rounds {options.rounds} --seeds {options.seeds} --delays {options.delays}"
    )
    text = page(lab, simulated, options.seeds, command, time.monotonic() - began)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(case.kept for cases in (*(cases for _, cases in lab), simulated) for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
