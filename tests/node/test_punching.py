"""Who punches how: every pair of kinds of routers, the arithmetic against chance, and the limits."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest

from dht.nat_report import Allocation, Filtering, Mapping, NatReport
from node.protocols.punching import (
    FIRST_PORT,
    GENERATION,
    LAST_PORT,
    MOST,
    MOST_TO_ONE_ADDRESS,
    SOCKETS,
    WINDOW,
    Budget,
    Part,
    chance,
    plan,
    ports_to_try,
)
from simulations.nat_kinds import KINDS, NatKind, Scope

_MAPPING = {
    Scope.ENDPOINT_INDEPENDENT: Mapping.ENDPOINT_INDEPENDENT,
    Scope.ADDRESS: Mapping.ADDRESS_DEPENDENT,
    Scope.ADDRESS_AND_PORT: Mapping.ADDRESS_AND_PORT_DEPENDENT,
}
_ALLOCATION = {
    "preserving": Allocation.PRESERVING,
    "sequential": Allocation.SEQUENTIAL,
    "random": Allocation.RANDOM,
}


def _report(kind: NatKind) -> NatReport:
    if kind.blocks:
        return NatReport(filtering=Filtering.BLOCKED)
    mapping = _MAPPING[kind.mapping] if kind.translates else Mapping.NONE
    allocation = _ALLOCATION[kind.ports]
    return NatReport(mapping, allocation=allocation, delta=int(allocation is Allocation.SEQUENTIAL))


@pytest.mark.parametrize(("one", "other"), list(itertools.product(KINDS, KINDS)))
def test_both_sides_agree_on_their_parts(one: str, other: str) -> None:
    left, right = _report(KINDS[one]), _report(KINDS[other])
    here, there = plan(left, right), plan(right, left)
    varying = [r for r in (left, right) if r.mapping >= Mapping.ADDRESS_DEPENDENT]
    blocked = Filtering.BLOCKED in (left.filtering, right.filtering)
    assert here.hopeless == there.hopeless == (blocked or len(varying) == 2)
    parts = {here.part, there.part}
    assert parts == ({Part.OPEN, Part.TRY} if len(varying) == 1 and not blocked else {Part.NOTHING})
    if parts == {Part.OPEN, Part.TRY}:
        assert (here.part is Part.OPEN) == (varying[0] is left)
        assert 0 < max(here.sockets, there.sockets) <= SOCKETS


def test_the_chance_is_what_chance_gives() -> None:
    rng, rounds = Random(1), 400
    ports, met = range(FIRST_PORT, LAST_PORT + 1), 0
    for _ in range(rounds):
        opened = set(rng.sample(ports, SOCKETS))
        met += any(port in opened for port in itertools.islice(ports_to_try([], 0, rng), 174))
    expected = chance(SOCKETS, 174)
    assert expected == pytest.approx(0.5, abs=0.01)
    assert abs(met / rounds - expected) < 4 * math.sqrt(expected * (1 - expected) / rounds)
    assert chance(SOCKETS, 1147) < 0.99 <= chance(SOCKETS, 1148)
    assert chance(SOCKETS, MOST) > 0.9996


@pytest.mark.parametrize("step", [0, 1, -2])
def test_no_port_is_tried_twice_and_those_in_sequence_first(step: int) -> None:
    ports = list(itertools.islice(ports_to_try([40_000], step, Random(2)), MOST))
    assert len(set(ports)) == MOST and 40_000 not in ports
    assert all(FIRST_PORT <= port <= LAST_PORT for port in ports)
    if step:
        assert ports[:WINDOW] == [40_000 + step * number for number in range(1, WINDOW + 1)]


def test_one_address_gets_no_more_whoever_asks() -> None:
    budget = Budget()
    assert sum(budget.take("203.0.113.1", 0.0) for _ in range(3 * MOST_TO_ONE_ADDRESS)) == MOST_TO_ONE_ADDRESS
    assert budget.take("203.0.113.2", 0.0)
    assert not budget.take("203.0.113.1", GENERATION)
    assert budget.take("203.0.113.1", 2 * GENERATION)
