"""The rungs on which a peer is looked for: what is remembered, the local network, gossip, the DHT, the signed lists.

Decides in what order they begin, how long each waits for those before it, and what is counted of them. Refuses to know
what is done with what they find (`node_climb` dials and calls), and how a source knows what it knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from dht.identity import PublicKey
from node.node_results import FindOutcome, Reason, RungStatus, RungTried
from node.node_ways import AttemptFailed
from node.ports import Hint, PeerSource

log = logging.getLogger("rookery.ladder")

DIRECT, DHT, BOOTSTRAP = "direct", "dht", "bootstrap"
"""The rungs that are no `PeerSource`. `direct`: the peer is called through nodes remembered, with no look-up."""

ORDER: Final = ("cache", "invite", "lan", DIRECT, "gossip", DHT, BOOTSTRAP)
"""The rungs from first to last, as they are shown; a source of another name stands before the DHT."""

INSTANT: Final = 0.002
"""Seconds in which a source that has its answer at hand gives it; nobody waits longer for what may be nothing.
UNSOURCED: a hundred turns of a loop that has nothing else to do."""

SOURCE_TIMEOUT: Final = 2.0
"""Seconds a source may take; it is asked beside the others, so that this delays only failures. UNSOURCED: mDNS answers
within 0.5 s (RFC 6762, sections 6 and 6.3)."""

TIMES_KEPT: Final = 128
"""Times of links kept for each rung, for the median. UNSOURCED"""


@dataclass(frozen=True, slots=True)
class HeadStarts:
    """Seconds that rungs leave to those before them, as long as one of those is at it.

    Budgets of the connection ladder: a peer at a remembered address or in the same network is linked within 50 ms, one
    reached directly within 200 ms, one known by gossip within 500 ms, one that takes a bootstrap list within 1 s.
    """

    look_up: float = 0.05
    """The DHT leaves this to a peer that was found at once: all that a stale address can cost."""
    call: float = 0.2
    """A call leaves this to a dial of an address that a source named."""
    bootstrap: float = 0.5
    """The lists leave this to a look-up that nobody answers; one that has ended without the peer they do not wait for.
    """


class _Tally:
    """What became of one rung so far."""

    def __init__(self) -> None:
        self.tried = self.won = self.failed = 0
        self.times: deque[float] = deque(maxlen=TIMES_KEPT)


class Ladder:
    """The places where a node looks for peers."""

    def __init__(
        self, find: Callable[[PublicKey], Awaitable[FindOutcome]], *, starts: HeadStarts | None = None
    ) -> None:
        """`find` looks a peer's record up in the DHT."""
        self._find = find
        self.starts = starts or HeadStarts()
        self.sources: list[PeerSource] = []
        """Asked before the DHT, all at once. Whatever makes one appends it here."""
        self.rejoin: Callable[[], Awaitable[str]] = _nobody_to_join
        """Finds the network anew by the lists and the first contacts; returns "" or why it could not."""
        self.heard: Callable[[], int] = lambda: 0
        """How many datagrams have come in: when none does during a look-up, nobody is there who could answer."""
        self.on_wrong: Callable[[PublicKey, Hint], None] = lambda _peer, _hint: None
        """Told of an address at which somebody else was, or nobody who could prove to be the peer."""
        self.on_linked: Callable[[PublicKey, Hint, str], object] = lambda _peer, _hint, _path: None
        """Told where a peer was that is linked now, and by what kind of path."""
        self._looking: dict[PublicKey, asyncio.Task[FindOutcome]] = {}
        self._tallies: dict[str, _Tally] = {}

    async def ask(self, source: PeerSource, peer: PublicKey) -> Hint | None:
        """What a source knows; None when it knows nothing, or not in time. Raises nothing that a source does."""
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT):
                hint = await source.find(peer)
        except TimeoutError:
            return None
        except Exception:
            # It promises not to. A source is a convenience: whatever ails one must not keep peers apart.
            log.exception("source %s failed", source.name)
            return None
        return hint if hint is not None and (hint.direct or hint.homes) else None

    async def look_up(self, peer: PublicKey) -> FindOutcome:
        """What the DHT has of a peer; who asks during a look-up gets its outcome. Raises `AttemptFailed`."""
        looking = self._looking.get(peer)
        if looking is None:
            looking = asyncio.ensure_future(self._find(peer))
            self._looking[peer] = looking
            looking.add_done_callback(lambda ended: self._looked(peer, ended))
        found = await asyncio.shield(looking)
        if not found.found:
            raise AttemptFailed(found.reason, found.detail)
        return found

    async def look_up_anew(self, peer: PublicKey) -> FindOutcome:
        """Find the network again, then the peer. Raises `AttemptFailed`."""
        if why := await self.rejoin():
            raise AttemptFailed(Reason.NOT_JOINED, why)
        return await self.look_up(peer)

    async def close(self) -> None:
        """Give up the look-ups under way."""
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    # What became of them

    def note(self, rungs: Iterable[RungTried], seconds: float) -> None:
        """Count the rungs of an attempt that has ended, after so many seconds."""
        for rung in rungs:
            if rung.outcome == "skipped":
                continue
            tally = self._tallies.setdefault(rung.rung, _Tally())
            tally.tried += 1
            if rung.outcome == "won":
                tally.won += 1
                tally.times.append(seconds)
            elif rung.outcome == "failed":
                tally.failed += 1

    def status(self) -> tuple[RungStatus, ...]:
        """The rungs in order, with what became of each since the start."""
        there = {source.name for source in self.sources} | {DIRECT, DHT, BOOTSTRAP} | self._tallies.keys()
        others = [name for name in sorted(there) if name not in ORDER]
        return tuple(self._status(name) for name in (*ORDER[:-2], *others, *ORDER[-2:]) if name in there)

    def _status(self, name: str) -> RungStatus:
        tally = self._tallies.get(name) or _Tally()
        middle = median(tally.times) if tally.times else None
        return RungStatus(name, tally.tried, tally.won, tally.failed, middle)

    def _looked(self, peer: PublicKey, ended: asyncio.Task[FindOutcome]) -> None:
        if self._looking.get(peer) is ended:
            del self._looking[peer]
        if not ended.cancelled():
            ended.exception()  # Whoever waited has it; where nobody waits any more, nobody misses it.


def hint_of(found: FindOutcome) -> Hint:
    """What a peer's record says, as a hint."""
    return Hint(found.direct, found.homes, found.fingerprint)


async def _nobody_to_join() -> str:
    return "no list and no first contact is known"
