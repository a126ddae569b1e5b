"""Who lies, and how.

Decides which nodes are an attacker's and what they answer; knows no look-up. Records are signed, so that an attacker
can withhold and mislead but not forge: what its nodes can do is named in `BEHAVIOURS`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from simulations.errors import BadScenario
from simulations.model.compiled import inlined
from simulations.model.draws import hashed_unit
from simulations.model.ids import first_from
from simulations.model.tables import Found, Tables, departed, distance_to

BEHAVIOURS: Final = ("silent", "empty", "collude")
"""`silent`: no answer. `empty`: an answer that names nobody and holds nothing. `collude`: the same, but it names the
attacker's nodes nearest to the target, so that these fill the shortlist."""
_SILENT, _EMPTY, _COLLUDE = range(3)
_SCANNED: Final = 2048
"""Neighbours of a target that are looked at for colluders; 20 of them are found down to a share of 2 %."""


class Adversaries(NamedTuple):
    """Attackers, as compiled code takes them."""

    share: float
    """Of all nodes, placed by chance."""
    behaviour: int
    """Index into `BEHAVIOURS`."""
    crowd: int
    """Further ids next to each key that is looked up."""
    seed: int


def behaviour_of(name: str) -> int:
    """The number of a behaviour. Raises `BadScenario`."""
    if name not in BEHAVIOURS:
        raise BadScenario(f"behaviour = {name!r} is none: expected one of {', '.join(BEHAVIOURS)}")
    return BEHAVIOURS.index(name)


@inlined
def hostile(who: Adversaries, index: int) -> bool:
    """Whether a node is an attacker's."""
    return index < 0 or (who.share > 0.0 and hashed_unit(who.seed, index) < who.share)


@inlined
def is_silent(who: Adversaries) -> bool:
    """Whether attackers leave requests unanswered."""
    return who.behaviour == _SILENT


@inlined
def misleading(who: Adversaries, tables: Tables, target: int, count: int, into: Found) -> int:
    """Put together what an attacker names: its nodes nearest to the target, at most `count`."""
    if who.behaviour != _COLLUDE:
        return 0
    found = 0
    while found < min(who.crowd, count):
        into.node[found] = -2 - found
        into.distance[found] = 1 + found
        found += 1
    if who.share <= 0.0:
        return found
    ids = tables.ids
    middle = first_from(ids, target)
    for step in range(_SCANNED):
        # Alternately below and above: near in order is near enough by XOR for an attacker's purpose.
        index = middle + (step >> 1) if step & 1 else middle - 1 - (step >> 1)
        if 0 <= index < ids.total and hostile(who, index) and not departed(tables, index):
            into.node[found] = index
            into.distance[found] = distance_to(ids, index, target)
            found += 1
            if found == count:
                break
    return found
