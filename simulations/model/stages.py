"""Full look-ups in rounds, with nobody dead: hops and requests, as the papers count them.

Decides the order of requests only; no time passes here and nothing is lost. Each round asks the α nearest candidates
not asked yet among the k nearest, and takes in all their answers; the walk ends when the k nearest have all answered.
Hops count as follows: 1 for a node that the origin's own table names, one more for each referral; a look-up's hops are
those of the nearest node of all that answered. With α = 1 this is the number of requests until the nearest node is
asked, the usual measure.
"""

from __future__ import annotations

import numpy as np

from simulations.model.compiled import Array, compiled, zero
from simulations.model.draws import below, bits, start, unit
from simulations.model.ids import id_at
from simulations.model.shortlist import bound_of, clear, empty, insert
from simulations.model.tables import Tables, nearest, nobody_found


@compiled
def walk_in_rounds(
    tables: Tables, alpha: int, seed: int, first: int, clients: float, to_nodes: bool, hops: Array, requests: Array
) -> None:
    """Do look-ups number `first` and on, as many as `hops` has places, and fill in what each took.

    `clients` is the likelihood that the asker stands in nobody's table; `to_nodes` makes each target a node's own id.
    """
    k, ids = tables.k, tables.ids
    # Nobody fails: what is not among the k nearest will never be asked.
    into, listed = nobody_found(k), empty(k)
    stream = np.zeros(1, np.uint64)
    batch = np.zeros(alpha, np.int64)
    for number in range(len(hops)):
        start(stream, seed, first + number)
        origin = below(stream, ids.total)
        own = id_at(ids, origin)
        if clients > 0.0 and unit(stream) < clients:
            own = bits(stream)
            origin = -1 - own
        target = id_at(ids, below(stream, ids.total)) if to_nodes else bits(stream)
        clear(listed)
        asked = chosen = turn = depth = zero()
        node, place = origin, own
        while True:
            for seat in range(nearest(tables, node, place, target, k, bound_of(listed), zero(), into)):
                if into.node[seat] != origin:
                    insert(listed, into.node[seat], into.distance[seat], depth + 1)
            if turn == chosen:
                turn = chosen = 0
                for seat in range(listed.size[0]):
                    if listed.state[listed.number[seat]] == 0:
                        batch[chosen] = listed.number[seat]
                        listed.state[batch[chosen]] = 1
                        chosen += 1
                        if chosen == alpha:
                            break
                if not chosen:
                    break
                asked += chosen
            node, depth = listed.node[batch[turn]], listed.hops[batch[turn]]
            place = id_at(ids, node)
            turn += 1
        hops[number] = listed.hops[listed.number[0]]
        requests[number] = asked
