"""Look-ups over disjoint paths past attackers, as Baumgart and Mies measured them.

Decides one experiment: "S/Kademlia: A practicable approach towards secure key-based routing" (2007), section 5: α = 1
on each of d paths, a node is asked by one path only, a path that asks an attacker is lost (it is led on among
attackers for ever), and a look-up for a node succeeds once an honest node on some path names that node. Time and
loss are left out, as they were there.
"""

from __future__ import annotations

import numpy as np

from simulations.model.adversaries import Adversaries, hostile
from simulations.model.compiled import Array, compiled, zero
from simulations.model.draws import below, start
from simulations.model.ids import id_at
from simulations.model.tables import Tables, nearest, nobody_found, sort_part

_ANYWHERE = 1 << 62
_MOST_ASKED = 256
"""Requests of one look-up: ten times what any takes."""


@compiled
def walk_disjoint_paths(
    tables: Tables, paths: int, who: Adversaries, seed: int, first: int, requests: Array, success: Array
) -> None:
    """Do look-ups number `first` and on, as many as `success` has places, and fill in whether each got there."""
    k, ids = tables.k, tables.ids
    into, stream = nobody_found(k), np.zeros(1, np.uint64)
    asked = np.zeros(_MOST_ASKED, np.int64)
    # What each path has heard of, and how much of it there is; a path that was lost has -1.
    known = np.zeros((paths, 2 * k), np.int64)
    far = np.zeros((paths, 2 * k), np.int64)
    count = np.zeros(paths, np.int64)
    for number in range(len(success)):
        start(stream, seed, first + number)
        origin, goal = below(stream, ids.total), below(stream, ids.total)
        while hostile(who, origin):
            origin = below(stream, ids.total)
        while goal == origin or hostile(who, goal):
            goal = below(stream, ids.total)
        target = id_at(ids, goal)
        sent = 0
        done = False
        count[:] = 0
        found = nearest(tables, origin, id_at(ids, origin), target, k, _ANYWHERE + zero(), zero(), into)
        sort_part(into.node, into.distance, zero(), found)
        for rank in range(found):
            path = rank % paths
            known[path, count[path]], far[path, count[path]] = into.node[rank], into.distance[rank]
            count[path] += 1
            done = done or into.node[rank] == goal
        alive = True
        while alive and not done and sent < _MOST_ASKED:
            alive = False
            for path in range(paths):
                best = -1
                while count[path] > 0:
                    best = 0
                    for seat in range(1, count[path]):
                        if far[path, seat] < far[path, best]:
                            best = seat
                    taken = False
                    for other in range(sent):
                        taken = taken or asked[other] == known[path, best]
                    if not taken:
                        break
                    # Another path has asked it.
                    count[path] -= 1
                    known[path, best], far[path, best] = known[path, count[path]], far[path, count[path]]
                    best = -1
                if best < 0 or sent == _MOST_ASKED:
                    continue
                alive = True
                node, own = known[path, best], far[path, best]
                asked[sent] = node
                sent += 1
                if hostile(who, node):
                    count[path] = 0
                    continue
                found = nearest(tables, node, id_at(ids, node), target, k, _ANYWHERE + zero(), zero(), into)
                # Only what leads nearer is of use to a path that keeps one request in flight.
                count[path] = 0
                for seat in range(found):
                    done = done or into.node[seat] == goal
                    if into.distance[seat] < own:
                        known[path, count[path]], far[path, count[path]] = into.node[seat], into.distance[seat]
                        count[path] += 1
        requests[number] = sent
        success[number] = done
