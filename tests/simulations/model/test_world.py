"""What scripts ask of a modelled network."""

import subprocess
import sys

import numpy as np
import pytest

from dht.config import DhtConfig
from simulations.errors import BadScenario
from simulations.latency_models import named
from simulations.latency_models import round_trips as of_hosts
from simulations.model import ModelWorld
from simulations.model.round_trips import round_trips, sample
from simulations.randomness import Streams

ARRAYS = ("hops", "requests", "failures", "seconds", "success", "copies")


def rough(seed=7, **settings):
    """A network with everything that goes wrong in it."""
    usual = {"latency": "lognormal:50ms,0.4", "loss": 0.01, "dead": 0.1, "alpha": 3}
    return ModelWorld(10_000, seed, **{**usual, **settings})


def test_results_follow_from_the_seed_and_not_from_threads():
    runs = [rough(threads=threads).lookups(600) for threads in (1, 2, 5)]
    for name in ARRAYS:
        assert (getattr(runs[0], name) == getattr(runs[1], name)).all()
        assert (getattr(runs[0], name) == getattr(runs[2], name)).all()
    assert (rough(seed=8).lookups(600).seconds != runs[0].seconds).any()


def test_look_ups_are_numbered():
    world = rough()
    whole, later = world.lookups(300), world.lookups(100, first=200)
    assert (whole.seconds[200:] == later.seconds).all()
    assert (whole.seconds[:100] != later.seconds).any()


def test_without_trouble_time_is_round_trips():
    found = ModelWorld(10_000, latency="constant:50ms").lookups(500)
    assert found.success.all()
    assert not found.failures.any()
    assert np.allclose(found.seconds / 0.1, np.rint(found.seconds / 0.1))
    assert (found.seconds >= found.hops * 0.1 - 1e-9).all()
    assert len(found) == 500


def test_timed_look_ups_with_one_in_flight_take_the_hops_and_requests_of_the_papers():
    world = ModelWorld(10_000, k=20, alpha=1, together=0)
    timed, full = world.lookups(4000), world.lookups(4000, mode="hops")
    assert timed.hops.mean() == pytest.approx(full.hops.mean(), abs=0.05)
    assert timed.requests.mean() == pytest.approx(full.requests.mean(), rel=0.01)


def test_the_dead_are_met_rather_more_often_than_they_stand_in_tables():
    # Given up at once: then a failure is counted for every dead contact that was asked. A third of the places are
    # ghosts here, and one is asked as soon as any of those who answered still has it.
    found = ModelWorld(100_000, latency="constant:10ms", dead=0.2, timeouts="fixed:0.02001s").lookups(2000)
    assert 0.2 < found.failures.sum() / found.requests.sum() < 1 / 3
    assert found.success.mean() > 0.99


def test_losses_cost_two_chances_each():
    found = ModelWorld(10_000, latency="constant:10ms", loss=0.1, timeouts="fixed:0.02001s").lookups(2000)
    assert found.failures.sum() / found.requests.sum() == pytest.approx(0.19, abs=0.01)


def test_sessions_decide_how_many_contacts_are_dead():
    # A remainder of exponential sessions of 1 h, looked at every quarter of an hour: 1 - 4 (1 - e^-1/4).
    world = ModelWorld(1000, sessions="exponential:1h")
    assert world.dead == pytest.approx(1 - 4 * (1 - np.exp(-0.25)), abs=0.003)
    often = ModelWorld(1000, sessions="exponential:1h", config=DhtConfig(liveness_interval=90.0))
    assert often.dead == pytest.approx(0.0124, abs=0.002)


def test_clients_stand_in_no_table():
    world = ModelWorld(20_000, clients=0.5)
    assert world.servers == 10_000
    assert world.nbytes < 6 * 10_000
    assert world.lookups(2000, mode="full").hops.mean() == pytest.approx(
        ModelWorld(10_000).lookups(2000, mode="full").hops.mean(), abs=0.05
    )
    assert world.lookups(500).success.all()


def test_reads_end_at_the_quorum_and_age():
    world = rough(sessions="exponential:1h", dead=None)
    fresh, old = world.reads(1000), world.reads(1000, age=3 * 3600.0)
    assert fresh.success.mean() > 0.99
    assert fresh.copies.max() == 6
    assert fresh.requests.mean() < world.lookups(1000).requests.mean()
    # e^-3 of the holders are left: with 20 of them at least one in 64 % of cases.
    assert old.success.mean() == pytest.approx(1 - (1 - np.exp(-3)) ** 20, abs=0.06)
    assert world.reads(200, quorum=1).copies.max() == 1


def test_writes_store_with_twenty_and_wait_for_fifteen():
    found = rough().writes(500)
    assert found.success.mean() > 0.99
    assert found.copies.mean() > 19.5
    assert (found.requests >= 40).all()
    assert found.seconds.mean() > rough().lookups(500).seconds.mean()


def test_attackers_deny_more_the_more_they_are():
    world = rough(adversaries=0.0)
    right = [rough(adversaries=share, behaviour="collude").reads(500).success.mean() for share in (0.0, 0.2, 0.6)]
    assert right[0] > right[1] > right[2]
    alone, crowded = world.reads(500), world.reads(500, crowd=40)
    assert crowded.success.mean() < alone.success.mean() - 0.3
    silent = rough(adversaries=0.2, behaviour="silent").lookups(500)
    assert silent.failures.mean() > world.lookups(500).failures.mean()


@pytest.mark.parametrize("spec", ["constant:50ms", "uniform:20ms-80ms", "lognormal:50ms,0.4", "cities", "planetlab"])
@pytest.mark.parametrize("jitter", ["", "+jitter:5ms"])
def test_round_trips_are_distributed_as_in_the_other_engine(spec, jitter):
    ours = sample(round_trips(spec + jitter, 3), 16_384)
    hosts = np.random.default_rng(1).integers(0, 10**6, (2, 16_384))
    theirs = of_hosts(named(spec + jitter, Streams(3)), hosts[0], hosts[1], np.random.default_rng(2))
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.quantile(ours, share) == pytest.approx(np.quantile(theirs, share), rel=0.04)


def test_geographic_round_trips_grow_with_the_distance():
    drawn = sample(round_trips("geographic", 3), 16_384)
    # Distances between places strewn over a sphere have a mean of a quarter of its girth: 10,008 km.
    assert drawn.mean() == pytest.approx(0.0317 + 0.0000174 * 10_008, rel=0.01)
    assert drawn.min() >= 0.0317


def test_progress_is_told_and_can_interrupt():
    told = []
    ModelWorld(1000).lookups(5000, mode="full", progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (5000, 5000)
    assert told == sorted(told)

    def stop(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ModelWorld(1000).lookups(5000, mode="full", progress=stop)


def test_summaries_name_means_and_percentiles():
    figures = rough().lookups(400).summary()
    assert figures["lookups"] == 400
    assert figures["p50"] <= figures["p95"] <= figures["p99"]
    assert set(ARRAYS) < figures.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": 1.0}, "loss"),
        ({"k": 0}, "k = 0"),
        ({"alpha": 65}, "alpha"),
        ({"clients": -0.1}, "clients"),
        ({"dead": 0.95}, "dead"),
        ({"behaviour": "nice"}, "behaviour"),
        ({"timeouts": "soon"}, "timeouts"),
        ({"latency": "fast"}, "latency"),
        ({"sessions": "short"}, "short"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(BadScenario, match=message):
        ModelWorld(1000, **settings)


def test_questions_that_make_no_sense_are_refused():
    world = rough()
    for ask in (
        lambda: world.lookups(10, mode="full"),
        lambda: world.lookups(10, mode="fast"),
        lambda: world.lookups(10, to_nodes=True),
        lambda: world.reads(10, quorum=21),
        lambda: world.reads(10, crowd=161),
        lambda: world.attack(10),
        lambda: ModelWorld(100).attack(10, paths=21),
        lambda: ModelWorld(100).attack(10, share=1.0),
        lambda: ModelWorld(100).records_alive(10, seconds=60.0),
        lambda: ModelWorld(100, threads=0).lookups(10),
    ):
        with pytest.raises(BadScenario):
            ask()


def test_numba_is_imported_with_the_model_only():
    code = "import sys, simulations, simulations.sessions; assert 'numba' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_buckets_filled_by_one_walk_lead_to_fewer_places():
    hops = [ModelWorld(10_000, alpha=1, together=share).lookups(3000).hops.mean() for share in (0.0, 0.6)]
    assert 1.05 * hops[0] < hops[1] < 1.2 * hops[0]


def test_who_died_a_moment_ago_stands_in_every_table():
    quiet, sudden = ModelWorld(2_000, died=0.0), ModelWorld(2_000, died=1 / 3)
    found = sudden.lookups(2_000)
    assert sudden.dead == pytest.approx(1 / 3)
    # Of those asked a third is dead, and most of the time-outs come before the end.
    assert 0.15 < (found.failures / found.requests).mean() < 0.34
    assert found.requests.mean() > 1.3 * quiet.lookups(2_000).requests.mean()
    assert found.success.mean() > 0.99
    with pytest.raises(BadScenario, match="died"):
        ModelWorld(100, died=0.2, dead=0.2)


def test_contacts_seldom_asked_are_waited_for_longer():
    seconds = [
        ModelWorld(2_000, latency="lognormal:50ms,0.4", loss=0.05, asked=asked).lookups(4_000).seconds.mean()
        for asked in (1, 4)
    ]
    assert seconds[0] > 1.005 * seconds[1]
    with pytest.raises(BadScenario, match="asked"):
        ModelWorld(100, asked=0)
