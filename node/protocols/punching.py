"""Getting through routers that give every destination another port: who opens many ports, and who tries many.

Decides from both sides' NAT reports what each has to do beside ordinary ICE, how much of it, and for whom no more.
Refuses to know sockets and checks. The way is that of a birthday attack: one side opens many ports, the other tries
many, and each needs the square root of what one of them would need alone.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from dht.nat_report import Allocation, Filtering, Mapping, NatReport

FIRST_PORT, LAST_PORT = 1024, 65535
"""Ports that routers give out (RFC 4787 section 4.2.2 leaves the well-known ones alone)."""

SOCKETS: Final = 256
"""Sockets opened behind a router that gives out random ports. Measured with 256 of them: 20 of 20 pairs, 142 tries in
the median, 0.28 s."""

SOCKETS_IN_ORDER: Final = 32
"""The same where ports follow one another: so many in a row that the other side cannot step over them. UNSOURCED"""

RATE: Final = 500.0
"""Tries a second: 50 kB/s. Home routers forget nothing at that rate; their tables hold some thousands of mappings."""

MOST: Final = 2048
"""Tries of one attempt, 4 s of them: all but 0.03 % of attempts have met by then (`chance`)."""

HEAD_START: Final = 0.15
"""Seconds that ordinary checks get first: those of pairs that need nothing else are through by then (0.05-0.25 s in a
lab)."""

OPEN_RATE: Final = 1600.0
"""Sockets opened a second. UNSOURCED: a burst of 256 is more than a home router's queue may hold."""

WINDOW: Final = 96
"""Ports tried in a row behind the last one seen, where they follow one another: what checks of the other side, and
others in its house, may have used since. UNSOURCED"""

MOST_TO_ONE_ADDRESS: Final = 2 * MOST
"""Tries towards one IP address in a minute or two, whoever asks for them: what a peer that names a victim as its own
router can make this node send there (400 kB, by either part). Bounds scans and floods by proxy."""

GENERATION: Final = 60.0
"""Seconds after which tries are half forgotten."""


class Part(enum.Enum):
    """What this side does beside ordinary checks."""

    NOTHING = "nothing"
    OPEN = "open"
    """Open many sockets, and send a check from each to where the other side is known to be."""
    TRY = "try"
    """Send checks to many ports of the other side's router."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What this side does."""

    part: Part = Part.NOTHING
    sockets: int = 0
    step: int = 0
    """Ports from one of the other side's mappings to the next; 0 where they are random."""
    hopeless: bool = False
    """No direct path can be expected, unless both are behind one router."""
    why: str = ""
    """In one clause, for people; of what is not ordinary."""


def plan(own: NatReport, remote: NatReport) -> Plan:
    """Return what the side of `own` does to meet the side of `remote`; both see it alike."""
    for whose, report in (("this network", own), ("the peer's network", remote)):
        if report.filtering is Filtering.BLOCKED:
            return Plan(hopeless=True, why=f"{whose} lets no UDP through")
    ours, theirs = _varies(own), _varies(remote)
    if ours and theirs:
        # Each side's port depends on the other's, which depends on it: 64,512 x 64,512 pairs, of which 256 sockets and
        # 2,048 tries meet one in 8,000 attempts.
        return Plan(hopeless=True, why="both routers give every destination another port")
    if ours:
        sockets = SOCKETS_IN_ORDER if own.allocation is Allocation.SEQUENTIAL else SOCKETS
        return Plan(Part.OPEN, sockets, why=f"this router gives every destination another port: {sockets} sockets")
    if theirs:
        step = remote.delta if remote.allocation is Allocation.SEQUENTIAL else 0
        how = "the next ones are tried" if step else "random ones are tried"
        return Plan(Part.TRY, step=step, why=f"the peer's router gives every destination another port: {how}")
    return Plan()


def _varies(report: NatReport) -> bool:
    return report.mapping in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


def ports_to_try(known: Sequence[int], step: int, rng: Random) -> Iterator[int]:
    """Give ports of the other side's router, each once: those that follow the `known` ones, then random ones."""
    tried = set(known)
    if step and known:
        last = max(known) if step > 0 else min(known)
        for number in range(1, WINDOW + 1):
            port = last + number * step
            if FIRST_PORT <= port <= LAST_PORT and port not in tried:
                tried.add(port)
                yield port
    while len(tried) < LAST_PORT - FIRST_PORT:
        port = rng.randint(FIRST_PORT, LAST_PORT)
        if port not in tried:
            tried.add(port)
            yield port


def chance(sockets: int, tries: int) -> float:
    """Probability that random tries without repetition have met one of so many open ports: 1 - C(N-s, t) / C(N, t)."""
    ports = LAST_PORT - FIRST_PORT + 1
    missed = math.fsum(math.log1p(-sockets / (ports - number)) for number in range(min(tries, ports - sockets)))
    return 1.0 - math.exp(missed)


class Budget:
    """Tries towards each address, of all attempts of a node together."""

    def __init__(self) -> None:
        self._generations: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._turned = -math.inf

    def take(self, ip: str, now: float) -> bool:
        """Whether one more try may go to `ip`; `now` in seconds of a clock that never jumps."""
        current, before = self._generations
        if now - self._turned >= GENERATION:
            current, before = Counter(), current if now - self._turned < 2 * GENERATION else Counter()
            self._generations, self._turned = (current, before), now
        if current[ip] + before[ip] >= MOST_TO_ONE_ADDRESS:
            return False
        current[ip] += 1
        return True
