"""How long two nodes on one switch take to find each other: by mDNS, by beacons, by both; on IPv4 and on IPv6.

Decides what is timed and how the page looks. Refuses to know how peers are found. Each is a process of its own; one has
run for a while when the other starts, and nothing but the switch connects them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from dht.errors import RookeryError
from tests.natlab.nodes import Daemon, Document
from tests.natlab.switch import Switch

SETTLED: Final = 1.0
"""Seconds that the first node runs alone. UNSOURCED: its first announcements are out by then"""

FOUND: Final = 20.0
"""Seconds after which one counts as not found. UNSOURCED"""

BUDGET: Final = 1.0
"""Seconds within which both must have found each other."""

WAYS: Final = {"both": (), "mDNS alone": (7717,), "beacons alone": (5353,)}
"""Ways, and the UDP ports that both machines' firewalls drop."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is timed."""

    family: str
    way: str

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.family}, {self.way}"


@dataclass(frozen=True, slots=True)
class Timed:
    """One round: seconds from when the newcomer began to look."""

    first: float
    """Until the one that was there had found the newcomer."""
    second: float
    """Until the newcomer had found it."""
    linked: float
    """Seconds for a link by key alone, asked for right after."""

    @property
    def both(self) -> float:
        """Until both had."""
        return max(self.first, self.second)


CASES: Final = tuple(Case(family, way) for family in ("IPv4", "IPv6") for way in WAYS)


async def seen(by: Daemon, peer: str) -> Document:
    """Wait for the event that a node has found a peer."""
    return await by.hear(
        lambda line: line.get("kind") == "lan-peer-found" and line["fields"]["peer"] == peer, FOUND, f"finding {peer}"
    )


async def play(switch: Switch, case: Case) -> Timed:
    """One round on an empty switch."""
    hosts = [switch.host(name, v4=case.family == "IPv4", v6=case.family == "IPv6") for name in ("first", "second")]
    for host in hosts:
        if WAYS[case.way]:
            switch.drop(host, *WAYS[case.way])
    first = switch.node(hosts[0])
    await first.ready()
    await asyncio.sleep(SETTLED)
    second = switch.node(hosts[1])
    by_first, by_second = await seen(first, await second.peer()), await seen(second, await first.peer())
    began = by_second["time"] - by_second["fields"]["seconds"]
    asked = time.monotonic()
    connected = await second.connect(await first.peer(), FOUND)
    if not connected["connected"]:
        raise RookeryError(f"{case.text}: found, but not linked: {connected['reason']} {connected['detail']}")
    return Timed(by_first["time"] - began, by_second["time"] - began, time.monotonic() - asked)


async def measure(rounds: int, say: Callable[[str], None]) -> dict[Case, list[Timed]]:
    """Play every case so many times."""
    results: dict[Case, list[Timed]] = {case: [] for case in CASES}
    with Switch() as switch:
        for case in CASES:
            for _ in range(rounds):
                results[case].append(await play(switch, case))
                switch.empty()
            say(line(case, results[case]))
    return results


def line(case: Case, times: Sequence[Timed]) -> str:
    """One row of the page's table."""
    both = [one.both for one in times]
    cells = (
        case.family,
        case.way,
        len(times),
        *(f"{1000 * value:.0f}" for value in (median(one.first for one in times), median(one.second for one in times))),
        *(f"{1000 * value:.0f}" for value in (median(both), max(both))),
        f"{sum(value <= BUDGET for value in both)} of {len(both)}",
        f"{1000 * median(one.linked for one in times):.0f}",
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def page(results: dict[Case, list[Timed]]) -> str:
    """The page."""
    return "\n".join(
        (
            "# Time to find a peer on the local network",
            "",
            "Made by `python -m tests.natlab lan --out docs/results/lan.md`. Two nodes, each a process in a network "
            "namespace of its own, on one bridge:",
            f"no router, no first contact. One has run for {SETTLED:g} s when the other starts; times are in "
            "milliseconds from when that one begins to look,",
            "until the peer has answered in its box. Where one way is blocked, both machines' firewalls drop its port. "
            f"The budget is {BUDGET:g} s for both.",
            "Linked: `connect` by key alone, right after.",
            "",
            "| family | ways | runs | found by who was there (median) | by the newcomer (median) | by both (median) "
            f"| by both (worst) | within {BUDGET:g} s | linked (median) |",
            "|---|---|---|---|---|---|---|---|---|",
            *(line(case, times) for case, times in results.items()),
            "",
            "mDNS takes longer than beacons: its answers wait 20-120 ms so as not to collide (RFC 6762, section 6), "
            "and the package for it",
            "is loaded once the first beacons are out.",
            "",
        )
    )
