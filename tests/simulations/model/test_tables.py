"""Ids and implied tables against what plain Python says."""

import numpy as np
import pytest

from simulations.errors import BadScenario
from simulations.model.closest import closest, empty_region
from simulations.model.compiled import compiled
from simulations.model.draws import seed_of
from simulations.model.ids import BITS, all_ids, first_from, id_at, spread
from simulations.model.staleness import ghosts_for
from simulations.model.tables import Tables, departed, nearest, nobody_found

ANYWHERE = 1 << BITS


@compiled
def named_by(tables, owner, own, target, count, bound, crowd, out):
    into = nobody_found(tables.k)
    found = nearest(tables, owner, own, target, count, bound, crowd, into)
    out[:found] = into.node[:found]
    return found


@compiled
def nearest_of_all(tables, target, count, out):
    into = empty_region()
    found = closest(tables, target, count, into)
    out[:found] = into.node[:found]
    return found


@compiled
def positions(ids, values, out):
    for place in range(len(values)):
        out[place] = first_from(ids, values[place])


@compiled
def dead_and_named(tables, owners):
    into = nobody_found(tables.k)
    dead = named = 0
    for owner in range(owners):
        found = nearest(tables, owner, id_at(tables.ids, owner), 1 << 61, tables.k, 1 << 62, 0, into)
        for seat in range(found):
            dead += departed(tables, into.node[seat])
        named += found
    return dead, named


def tables_of(nodes, k, seed=5):
    return Tables(spread(nodes, seed), k, seed_of(seed, "tables"), 0.0)


def ask(tables, ids, owner, target, count, bound=ANYWHERE, crowd=0):
    out = np.zeros(2 * count, np.int64)
    found = named_by(tables, owner, int(ids[owner]), int(target), count, bound, crowd, out)
    return out[:found].tolist()


@pytest.mark.parametrize("nodes", [2, 3, 63, 64, 65, 1000, 65_536])
def test_ids_are_sorted_and_found(nodes):
    ids = spread(nodes, 1)
    values = all_ids(ids)
    assert len(values) == nodes
    assert (np.diff(values) >= 0).all()
    assert 0 <= values[0] <= values[-1] < 1 << BITS
    asked = np.concatenate([values[:500], values[:500] + 1, [0, (1 << BITS) - 1, 1 << BITS]])
    out = np.zeros(len(asked), np.int64)
    positions(ids, asked, out)
    assert (out == np.searchsorted(values, asked)).all()


def test_ids_are_uniform_and_as_uneven_as_chance():
    values = all_ids(spread(200_000, 2))
    counts = np.bincount(values >> (BITS - 10), minlength=1024)
    # The variance of a multinomial count is its mean, here 195 ± 9 (two standard errors).
    assert counts.mean() == 200_000 / 1024
    assert counts.var() == pytest.approx(195.1, rel=0.15)
    gaps = np.diff(values) / 2.0**BITS * 200_000
    # Gaps of uniform places are exponential.
    assert gaps.mean() == pytest.approx(1.0, abs=0.02)
    assert gaps.std() == pytest.approx(1.0, abs=0.02)


def test_seeds_give_other_ids_and_equal_seeds_equal_ones():
    assert (all_ids(spread(5000, 1)) == all_ids(spread(5000, 1))).all()
    assert (all_ids(spread(5000, 1)) != all_ids(spread(5000, 2))).any()


@pytest.mark.parametrize("nodes", [-1, 1, 2**32])
def test_sizes_out_of_range_are_refused(nodes):
    with pytest.raises(BadScenario, match="nodes"):
        spread(nodes, 1)


@pytest.mark.parametrize("nodes", [500, 20_000])
def test_an_answer_is_the_nearest_of_the_whole_table(nodes):
    k = 20
    tables = tables_of(nodes, k)
    ids = all_ids(tables.ids)
    rng = np.random.default_rng(1)
    for owner in rng.integers(0, nodes, 10).tolist():
        own = int(ids[owner])
        # A question for a place in each bucket brings out all of them.
        table = {n for bucket in range(BITS) for n in ask(tables, ids, owner, own ^ (1 << (BITS - 1 - bucket)), k)}
        assert owner not in table
        shared = [BITS - (int(ids[n]) ^ own).bit_length() for n in range(nodes)]
        for bucket in range(12):
            range_of = [n for n in range(nodes) if n != owner and shared[n] == bucket]
            known = [n for n in range_of if n in table]
            assert len(known) == min(k, len(range_of))
        for _ in range(20):
            target = int(rng.integers(0, 1 << BITS))
            by_hand = sorted(table, key=lambda n: int(ids[n]) ^ target)[:k]
            assert sorted(ask(tables, ids, owner, target, k)) == sorted(by_hand)
            bound = int(ids[by_hand[k // 2]]) ^ target
            assert sorted(ask(tables, ids, owner, target, k, bound)) == sorted(by_hand[: k // 2])


def test_whoever_knows_all_names_the_nearest_of_all():
    tables = tables_of(64, 64)
    ids = all_ids(tables.ids)
    for target in np.random.default_rng(2).integers(0, 1 << BITS, 20).tolist():
        by_hand = sorted((n for n in range(64) if n != 7), key=lambda n: int(ids[n]) ^ target)
        assert sorted(ask(tables, ids, 7, target, 20)) == sorted(by_hand[:20])


def test_the_nearest_of_all_are_found_in_order():
    tables = tables_of(3000, 20)
    ids = all_ids(tables.ids)
    out = np.zeros(40, np.int64)
    for target in np.random.default_rng(3).integers(0, 1 << BITS, 50).tolist():
        assert nearest_of_all(tables, target, 20, out) == 20
        assert out[:20].tolist() == sorted(range(3000), key=lambda n: int(ids[n]) ^ target)[:20]


def test_a_crowd_is_named_first_by_those_near_and_rarely_by_those_far():
    tables = tables_of(20_000, 20)
    ids = all_ids(tables.ids)
    out = np.zeros(40, np.int64)
    target = 0x123456789ABCDEF
    nearest_of_all(tables, target, 1, out)
    near, far = int(out[0]), 19_999
    assert [n for n in ask(tables, ids, near, target, 20, crowd=10) if n < 0] == list(range(-2, -12, -1))
    assert len([n for n in ask(tables, ids, far, target, 20, crowd=10) if n < 0]) <= 2


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_as_many_contacts_are_dead_as_was_asked_for(share):
    tables = Tables(spread(20_000, 1), 20, seed_of(1, "tables"), ghosts_for(share))
    dead, named = dead_and_named(tables, 5000)
    assert named == 5000 * 20
    assert dead / named == pytest.approx(share, abs=0.01)


def test_more_dead_than_can_be_kept_track_of_are_refused():
    with pytest.raises(BadScenario, match="dead"):
        ghosts_for(0.95)
