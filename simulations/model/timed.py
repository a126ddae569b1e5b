"""One look-up in time: requests under way, answers, losses, the slow and the dead.

Decides what happens in which order within a single look-up, as `dht/lookup.py`, `dht/operation_walk.py`, `dht/walks.py`
and `dht/publish.py` do with real messages: up to α requests in flight, a slow one lets another be sent beside it, the
walk ends when the k nearest that are neither failed nor slow have answered. Look-ups do not disturb one another here.

Left out, because it matters to few look-ups or in tiny networks only: optimistic writes to contacts whose token is at
hand, the second copy of a request where fewer than k nodes are known, the whole table as a last resort, hints.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from simulations.model.adversaries import Adversaries, hostile, is_silent, misleading
from simulations.model.closest import closest, empty_region
from simulations.model.compiled import Array, compiled, inlined, zero
from simulations.model.draws import below, bits, hashed_unit, start, unit
from simulations.model.ids import id_at
from simulations.model.patience import Patience, waits
from simulations.model.round_trips import RoundTrips, round_trip
from simulations.model.shortlist import Shortlist, bound_of, clear, empty, insert
from simulations.model.tables import Found, Tables, departed, nearest, nobody_found

FIND, READ, WRITE = range(3)
"""What a look-up is for."""
_UNASKED, _WAITING, _SLOW, _ANSWERED, _FAILED = range(5)
MAX_REQUESTS: Final = 256
"""As in `dht/lookup.py`."""
_SPARE: Final = 2
"""Requests of a read beyond what the quorum lacks, as in `dht/walks.py`."""
_NEVER: Final = 1e18


class Task(NamedTuple):
    """What is looked up, and under which conditions."""

    purpose: int
    """`FIND`, `READ` or `WRITE`."""
    alpha: int
    loss: float
    """Likelihood that one datagram is lost."""
    clients: float
    """Likelihood that the asker stands in nobody's table."""
    quorum: int
    """Equal answers that end a read; acknowledgements that a write needs."""
    copies: int
    """Nearest nodes that were given the record."""
    room: int
    """Candidates kept. The real code keeps 256, but asks the far ones only when most of the nearer have failed."""
    holding: float
    """Likelihood that each of these still has it."""
    seed: int


class Outcome(NamedTuple):
    """One place a look-up, to be filled in."""

    hops: Array
    requests: Array
    failures: Array
    seconds: Array
    success: Array
    copies: Array
    """Equal answers of a read; acknowledgements of a write; 0 else."""


class Flight(NamedTuple):
    """The requests of one look-up: `active` lists the places of those that are still open."""

    active: Array
    number: Array
    """int32: the candidate."""
    slow: Array
    """bool: whether it has become slow."""

    at: Array
    """float64: when something happens next: an answer, slowness, loss."""
    answer: Array
    """float64: when the answer comes; later than everything if never."""
    lost: Array
    """float64: when it is given up."""


@inlined
def _wanted(task: Task, listed: Shortlist, region: int, had: int) -> int:
    """How many requests in flight could still be of use."""
    if task.purpose != READ:
        return task.alpha
    if had == 0:
        known = 0
        for seat in range(listed.size[0]):
            if listed.distance[seat] >= region:
                break
            candidate = listed.number[seat]
            known += listed.hops[candidate] == 1 or listed.state[candidate] == _ANSWERED
        if known < task.quorum + _SPARE:
            return min(task.quorum, task.alpha)
    return task.quorum - had + _SPARE


@inlined
def _standing(listed: Shortlist, k: int) -> tuple[bool, bool]:
    """Whether the walk has ended, and whether no slow one could still be among the k nearest."""
    answered = 0
    slow = False
    for seat in range(listed.size[0]):
        state = listed.state[listed.number[seat]]
        if state == _ANSWERED:
            answered += 1
            if answered == k:
                return True, not slow
        elif state == _SLOW:
            slow = True
        elif state != _FAILED:
            return False, not slow
    return not slow, not slow


@inlined
def _send(
    tables: Tables,
    model: RoundTrips,
    rule: Patience,
    who: Adversaries,
    task: Task,
    flight: Flight,
    slot: int,
    own: int,
    peer: int,
    known: bool,
    now: float,
    stream: Array,
) -> None:
    """Put a request under way."""
    slow, lost = waits(rule, model, own, peer, known)
    took = round_trip(model, own, peer, stream)
    arrives = unit(stream) >= task.loss and unit(stream) >= task.loss
    alive = peer < 0 or not departed(tables, peer)
    if not (arrives and alive) or (is_silent(who) and hostile(who, peer)):
        took = _NEVER
    flight.answer[slot] = now + took
    flight.lost[slot] = now + lost
    flight.at[slot] = now + min(took, slow)


@inlined
def _store(
    model: RoundTrips, rule: Patience, who: Adversaries, task: Task, own: int, peer: int, stream: Array
) -> float:
    """Seconds until a node that was asked to store has said so; very many if never. Sent twice if it is slow."""
    slow, lost = waits(rule, model, own, peer, task.purpose == WRITE)
    best = _NEVER
    if is_silent(who) and hostile(who, peer):
        return best
    for sent in (0.0, slow):
        took = sent + round_trip(model, own, peer, stream)
        if (sent < best) and unit(stream) >= task.loss and unit(stream) >= task.loss:
            best = min(best, took)
    return best if best <= slow + max(lost, rule.first) else _NEVER


@inlined
def _write(
    model: RoundTrips,
    rule: Patience,
    who: Adversaries,
    task: Task,
    listed: Shortlist,
    k: int,
    own: int,
    times: Array,
    stream: Array,
) -> tuple[float, int, int, int]:
    """Store with the k nearest that answered: seconds until enough have, requests, acknowledgements, how many
    were needed."""
    asked = acknowledged = 0
    for seat in range(listed.size[0]):
        candidate = listed.number[seat]
        if asked == k:
            break
        if listed.state[candidate] == _ANSWERED:
            took = _store(model, rule, who, task, own, listed.node[candidate], stream)
            asked += 1
            if took < _NEVER:
                # Sorted as they come: the last of those needed is what the writer waits for.
                at = acknowledged
                while at > 0 and times[at - 1] > took:
                    times[at] = times[at - 1]
                    at -= 1
                times[at] = took
                acknowledged += 1
    needed = max(1, (asked * task.quorum + k - 1) // k)
    if acknowledged >= needed:
        return times[needed - 1], asked, acknowledged, needed
    return (times[acknowledged - 1] if acknowledged else 0.0), asked, acknowledged, needed


@inlined
def _nothing_sent() -> Flight:
    return Flight(
        np.zeros(MAX_REQUESTS, np.int32),
        np.zeros(MAX_REQUESTS, np.int32),
        np.zeros(MAX_REQUESTS, np.bool_),
        np.zeros(MAX_REQUESTS),
        np.zeros(MAX_REQUESTS),
        np.zeros(MAX_REQUESTS),
    )


@compiled
def walk_in_time(
    tables: Tables,
    model: RoundTrips,
    rule: Patience,
    who: Adversaries,
    task: Task,
    first: int,
    out: Outcome,
) -> None:
    """Do look-ups number `first` and on, as many as `out` has places, and fill in what each took."""
    k, ids = tables.k, tables.ids
    into, region, listed, flight = nobody_found(k), empty_region(), empty(task.room), _nothing_sent()
    stream, times = np.zeros(1, np.uint64), np.zeros(k)
    reach = int((1 << 62) / (ids.total * (1.0 - tables.ghosts)) * k)
    for number in range(len(out.hops)):
        start(stream, task.seed, first + number)
        origin = below(stream, ids.total)
        while departed(tables, origin):
            origin = below(stream, ids.total)
        own, key = id_at(ids, origin), origin
        if task.clients > 0.0 and unit(stream) < task.clients:
            own = key = bits(stream)
            origin = -1 - own
        target = bits(stream)
        holders = closest(tables, target, task.copies, region) if task.purpose != WRITE else 1
        clear(listed)
        requests = failures = in_flight = had = opened = hops = zero()
        now = 0.0
        asked, place = origin, own
        while True:
            # What the asker itself knows comes as the first answer.
            if hops and hostile(who, asked):
                named = misleading(who, tables, target, k, into)
            else:
                if hops and task.purpose == READ and _holds(task, region, holders, asked, first + number):
                    had += 1
                    if had >= task.quorum:
                        break
                named = nearest(tables, asked, place, target, k, bound_of(listed), who.crowd, into)
            for seat in range(named):
                if into.node[seat] != origin:
                    insert(listed, into.node[seat], into.distance[seat], hops + 1)
            answered = -1
            while answered < 0:
                free = min(_wanted(task, listed, reach, had) - in_flight, MAX_REQUESTS - requests)
                rank = 0
                for seat in range(listed.size[0]):
                    if free <= 0 or rank == k:
                        break
                    candidate = listed.number[seat]
                    state = listed.state[candidate]
                    if state == _UNASKED:
                        known, peer = listed.hops[candidate] == 1, listed.node[candidate]
                        _send(tables, model, rule, who, task, flight, requests, key, peer, known, now, stream)
                        listed.state[candidate] = _WAITING
                        flight.number[requests], flight.slow[requests] = candidate, False
                        flight.active[opened] = requests
                        opened += 1
                        requests += 1
                        in_flight += 1
                        free -= 1
                    elif state in (_SLOW, _FAILED):
                        continue
                    rank += 1
                ended, settled = _standing(listed, k)
                if requests >= MAX_REQUESTS:
                    ended = in_flight == 0
                if not opened or (ended and (task.purpose != READ or had > 0 or settled)):
                    break
                chosen = 0
                for other in range(1, opened):
                    if flight.at[flight.active[other]] < flight.at[flight.active[chosen]]:
                        chosen = other
                slot = flight.active[chosen]
                now = flight.at[slot]
                candidate = flight.number[slot]
                if flight.answer[slot] > now and now < flight.lost[slot]:
                    in_flight -= 1
                    flight.slow[slot] = True
                    flight.at[slot] = min(flight.answer[slot], flight.lost[slot])
                    listed.state[candidate] = _SLOW
                    continue
                in_flight -= not flight.slow[slot]
                opened -= 1
                flight.active[chosen] = flight.active[opened]
                if flight.answer[slot] > now:
                    failures += 1
                    listed.state[candidate] = _FAILED
                else:
                    listed.state[candidate] = _ANSWERED
                    answered = candidate
            if answered < 0:
                break
            asked, hops = listed.node[answered], listed.hops[answered]
            place = id_at(ids, asked) if asked >= 0 else target
        out.hops[number] = 0
        for seat in range(listed.size[0]):
            if listed.state[listed.number[seat]] == _ANSWERED:
                out.hops[number] = listed.hops[listed.number[seat]]
                break
        out.failures[number] = failures
        if task.purpose == FIND:
            out.success[number] = _reached(listed, k, region, holders, who, origin)
        elif task.purpose == READ:
            out.success[number] = had > 0
        else:
            wait, stores, had, needed = _write(model, rule, who, task, listed, k, key, times, stream)
            now += wait
            requests += stores
            out.success[number] = stores > 0 and had >= needed
        out.copies[number] = had
        out.requests[number] = requests
        out.seconds[number] = now


@inlined
def _holds(task: Task, region: Found, holders: int, peer: int, number: int) -> bool:
    """Whether a node has the record that this look-up is for."""
    for place in range(holders):
        if region.node[place] == peer:
            return hashed_unit(task.seed + 1 + number, peer) < task.holding
    return False


@inlined
def _reached(listed: Shortlist, k: int, region: Found, holders: int, who: Adversaries, origin: int) -> bool:
    """Whether one of the honest nodes nearest to the target is among the k nearest that answered."""
    answered = 0
    for seat in range(listed.size[0]):
        candidate = listed.number[seat]
        if listed.state[candidate] != _ANSWERED:
            continue
        node = listed.node[candidate]
        for place in range(holders):
            if region.node[place] == node and not hostile(who, node):
                return True
        answered += 1
        if answered == k:
            break
    return False
