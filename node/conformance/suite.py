"""Which checks there are, in order, and what a run of them gives.

Decides how a check's end becomes a verdict. Refuses to know what is checked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from importlib import import_module

from node.conformance.target import Failed, Mute, Target, Unjudged

Body = Callable[[Target], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the protocol, and how to see whether a node keeps it."""

    name: str
    part: str
    """The heading of docs/protocol.md that it stands on."""
    rule: str
    """What a node must do, in one sentence."""
    body: Body
    thorough: bool
    """Whether it takes minutes, or sends in masses."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found."""

    name: str
    part: str
    rule: str
    outcome: str
    """passed, failed, unjudged (it could not be found out here), or skipped (not asked for)."""
    reason: str = ""
    mute: bool = False
    """Whether it failed for want of any answer."""


FILES = ("datagrams", "answers", "batches", "proofs", "services", "keepalives", "watches")
"""The files of checks, in the order in which these are run."""

CHECKS: dict[str, Check] = {}
"""The checks defined so far; `load` has all of them."""


def check(name: str, part: str, rule: str, *, thorough: bool = False) -> Callable[[Body], Body]:
    """Register a check."""

    def register(body: Body) -> Body:
        if name in CHECKS:
            raise ValueError(f"two checks are called {name!r}")
        CHECKS[name] = Check(name, part, rule, body, thorough)
        return body

    return register


def load() -> dict[str, Check]:
    """Every check by its name, in order."""
    for name in FILES:
        import_module(f"node.conformance.{name}")  # Defines its checks.
    return CHECKS


async def run(target: Target, names: Collection[str] = ()) -> AsyncIterator[Verdict]:
    """Run the checks of these names (all when empty) and yield each verdict as it comes.

    A node that does not answer a PING is not asked anything else: nothing of it could be judged.
    """
    chosen = [each for each in load().values() if not names or each.name in names]
    for number, each in enumerate(chosen):
        verdict = await judge(each, target)
        yield verdict
        if number == 0 and each.name == "ping" and verdict.mute:
            for other in chosen[1:]:
                yield Verdict(other.name, other.part, other.rule, "unjudged", "it does not answer a PING")
            return


async def judge(each: Check, target: Target) -> Verdict:
    """Run one check."""
    if each.thorough and not target.thorough:
        return Verdict(each.name, each.part, each.rule, "skipped", "takes minutes or sends in masses: --thorough")
    try:
        await each.body(target)
    except Failed as verdict:
        return Verdict(each.name, each.part, each.rule, "failed", str(verdict), isinstance(verdict, Mute))
    except Unjudged as verdict:
        return Verdict(each.name, each.part, each.rule, "unjudged", str(verdict))
    return Verdict(each.name, each.part, each.rule, "passed")
