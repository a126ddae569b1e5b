"""Records over time, against what probability says."""

import numpy as np
import pytest

from dht.config import DhtConfig
from simulations.errors import BadScenario
from simulations.model import ModelWorld

HOUR = 3600.0


def test_records_nobody_stores_anew_die_as_their_holders_leave():
    world = ModelWorld(1000, seed=3, sessions="exponential:1h")
    kept = world.records_alive(20_000, seconds=6 * HOUR, repair=False)
    each = np.exp(-kept.times / HOUR)
    assert np.allclose(kept.copies, 20 * each, atol=0.05)
    assert np.allclose(kept.alive, 1 - (1 - each) ** 20, atol=0.01)
    assert kept.stores == 0
    assert (kept.readable <= kept.alive).all()


def test_repair_keeps_records_alive_for_a_week():
    config = DhtConfig(repair_interval=HOUR)
    world = ModelWorld(1000, seed=3, sessions="stutzbach-3", loss=0.01, config=config)
    kept = world.records_alive(2000, seconds=7 * 24 * HOUR)
    assert kept.alive[-1] > 0.99
    assert 100 * 20 < kept.stores < 169 * 20
    assert world.records_alive(2000, seconds=24 * HOUR, repair=False).alive[-1] < 0.5


def test_a_publisher_brings_records_back():
    world = ModelWorld(1000, seed=3, sessions="exponential:10m")
    kept = world.records_alive(2000, seconds=12 * HOUR, repair=False, publish=4 * HOUR)
    by_time = dict(zip(kept.times.tolist(), kept.alive.tolist(), strict=True))
    assert by_time[3.75 * HOUR] < 0.01
    assert by_time[4 * HOUR] == 1.0
    assert kept.stores == 3 * 20


def test_equal_seeds_give_equal_records():
    one, two = (
        ModelWorld(1000, seed=3, sessions="ipfs-2022").records_alive(500, seconds=24 * HOUR).copies for _ in "12"
    )
    assert (one == two).all()


def test_times_that_make_no_sense_are_refused():
    world = ModelWorld(1000, sessions="exponential:1h")
    with pytest.raises(BadScenario, match="step"):
        world.records_alive(10, seconds=10.0, step=20.0)
    with pytest.raises(BadScenario, match="publish"):
        world.records_alive(10, seconds=HOUR, step=60.0, publish=1.0)
    with pytest.raises(BadScenario, match="0 records"):
        world.records_alive(0, seconds=HOUR)
