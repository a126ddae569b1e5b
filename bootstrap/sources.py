"""Gets the first-contact list: asks the configured sources in order, each with a head start, keeps the last good one.

This file decides which list is used and says of every source what became of it. It refuses to fail a node that still
has a list: whatever goes wrong here is in the report, not raised. How bytes travel is in `bootstrap.carriers`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bootstrap.carriers import CarrierError, fetch
from bootstrap.contacts import FirstContact
from bootstrap.firstcontacts import VerifiedList, decode_file, verify
from bootstrap.refusals import ListRefused, Refusal
from bootstrap.store import ListStorage
from bootstrap.trust import TrustRoot
from dht.errors import LocalError

HEAD_START: Final = 0.25
"""Seconds that a source has for itself before the next one is asked too (RFC 8305 section 5, "Connection Attempt
Delay", recommends 250 ms)."""

TIMEOUT: Final = 5.0
"""Seconds until a source is given up. UNSOURCED: several round trips of TCP and TLS on a slow mobile link."""


class Status(StrEnum):
    """What became of one source."""

    ACCEPTED = "accepted"
    """Its list is verified and is the one in use; it is newer than what we had."""
    UNCHANGED = "unchanged"
    """Its list is the one we had."""
    REFUSED = "refused"
    """It gave a list that was not taken; `refusal` says why."""
    UNREACHABLE = "unreachable"
    """It gave no list."""
    NOT_NEEDED = "not-needed"
    """Another source was faster."""


@dataclass(frozen=True, slots=True)
class SourceOutcome:
    """One source and what became of it; shown to people."""

    source: str
    status: Status
    message: str
    seconds: float
    refusal: Refusal | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class ListReport:
    """The list to use, where it came from, and what every source did."""

    current: VerifiedList | None
    """None when no source gave a list and none was kept."""
    origin: str
    """The source, or "last good list", or "none"."""
    outcomes: tuple[SourceOutcome, ...]
    problems: tuple[str, ...] = ()
    """What is wrong with the kept list or its storage."""

    @property
    def hints_only(self) -> bool:
        """Whether the list has expired: its contacts may be tried, but the list is not to be relied on or served."""
        return self.current is not None and self.current.expired

    @property
    def contacts(self) -> tuple[FirstContact, ...]:
        """The contacts to try, hints or not."""
        return self.current.content.contacts if self.current else ()


@dataclass(frozen=True, slots=True)
class _Taken:
    verified: VerifiedList
    data: bytes
    outcome: SourceOutcome


async def fetch_first_contacts(
    sources: Sequence[str],
    trust: TrustRoot,
    network: str,
    storage: ListStorage,
    *,
    clock: Callable[[], float] = time.time,
    head_start: float = HEAD_START,
    timeout: float = TIMEOUT,
) -> ListReport:
    """Return the best list that can be had. Sources are paths, `file://` and `http(s)://` addresses.

    A source that fails hands on at once; a slow one is joined by the next after `head_start` seconds. The first good
    list wins. It is kept in `storage` when it is newer.
    """
    problems: list[str] = []
    known = await _load_known(storage, trust, network, clock, problems)
    outcomes: dict[str, SourceOutcome] = {}
    names = list(dict.fromkeys(sources))
    taken = await _race(names, outcomes, trust, network, known, clock, head_start, timeout)
    current, origin = (known, "last good list") if known else (None, "none")
    if taken:
        current, origin = taken.verified, taken.outcome.source
        newer = known is None or current.content.sequence > known.content.sequence or current.trust != known.trust
        if newer:
            try:
                await asyncio.to_thread(storage.save, taken.data)
            except LocalError as problem:
                problems.append(f"the list could not be kept for the next start: {problem}")
    return ListReport(current, origin, tuple(outcomes[name] for name in names), tuple(problems))


async def _load_known(
    storage: ListStorage, trust: TrustRoot, network: str, clock: Callable[[], float], problems: list[str]
) -> VerifiedList | None:
    """Return the kept list if it still verifies under the configured trust root. One that does not is left out of
    the roll-back rule too: after a change of trust by hand, the old signers' sequence numbers count no more."""
    try:
        data = await asyncio.to_thread(storage.load)
        if data is None:
            return None
        return verify(decode_file(data), trust, network, clock(), accept_expired=True)
    except (LocalError, ListRefused) as problem:
        problems.append(f"the list kept from before is not used: {problem}")
        return None


async def _race(
    names: list[str],
    outcomes: dict[str, SourceOutcome],
    trust: TrustRoot,
    network: str,
    known: VerifiedList | None,
    clock: Callable[[], float],
    head_start: float,
    timeout: float,
) -> _Taken | None:
    running: dict[asyncio.Task[_Taken | SourceOutcome], str] = {}
    waiting = list(names)
    winner: _Taken | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                name = waiting.pop(0)
                running[asyncio.create_task(_ask(name, trust, network, known, clock, timeout))] = name
            done, _ = await asyncio.wait(
                running, timeout=head_start if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            # In the order of the configuration, when several finish together.
            for task in sorted(done, key=lambda each: names.index(running[each])):
                name = running.pop(task)
                result = task.result()
                if isinstance(result, SourceOutcome):
                    outcomes[name] = result
                elif winner is None:
                    winner = result
                    outcomes[name] = result.outcome
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    for name in names:
        outcomes.setdefault(name, SourceOutcome(name, Status.NOT_NEEDED, "another source was faster", 0.0))
    return winner


async def _ask(
    source: str,
    trust: TrustRoot,
    network: str,
    known: VerifiedList | None,
    clock: Callable[[], float],
    timeout: float,
) -> _Taken | SourceOutcome:
    started = time.monotonic()
    try:
        async with asyncio.timeout(timeout):
            data = await fetch(source)
        file = decode_file(data)
        verified = verify(file, trust, network, clock(), known)
    except TimeoutError:
        return SourceOutcome(source, Status.UNREACHABLE, f"no answer within {timeout:g} s", time.monotonic() - started)
    except (CarrierError, LocalError) as problem:
        return SourceOutcome(source, Status.UNREACHABLE, str(problem), time.monotonic() - started)
    except ListRefused as refused:
        return SourceOutcome(
            source, Status.REFUSED, refused.message, time.monotonic() - started, refusal=refused.reason
        )
    sequence = verified.content.sequence
    same = known is not None and known.payload == verified.payload
    status = Status.UNCHANGED if same else Status.ACCEPTED
    count = len(verified.content.contacts)
    message = f"list {sequence} with {count} contact{'' if count == 1 else 's'}"
    return _Taken(verified, data, SourceOutcome(source, status, message, time.monotonic() - started, sequence=sequence))
