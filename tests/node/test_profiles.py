"""Profiles: each sets what it says, a given setting wins, and a node runs at the pace of its profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from dht.config import DhtConfig
from dht.errors import BadConfig
from node.config import NodeConfig
from node.config_profiles import PROFILES
from node.config_upkeep import DHT_TUNABLES, UpkeepSettings, dht_tunables
from node.node_rhythm import Alarm, Rhythm
from simulations import World, run
from simulations.awake import Awake
from simulations.shell import FullNodes


@pytest.mark.parametrize("profile", PROFILES)
def test_each_sets_what_its_table_says_and_nothing_else(profile: str) -> None:
    config, plain = NodeConfig.load({"profile": profile}, {}), NodeConfig()
    for name in NodeConfig.model_fields:
        wanted = PROFILES[profile].get(name, profile if name == "profile" else getattr(plain, name))
        assert getattr(config, name) == wanted, name
    # Each entry of the table says something: else it is none.
    there = {name: value for name, value in PROFILES[profile].items() if name in NodeConfig.model_fields}
    assert all(getattr(plain, name) != value for name, value in there.items() if name not in USUAL)


USUAL = {"stun", "port_mapping"}
"""What a profile may name though it is the default: it is part of what the word means."""


def test_what_is_given_wins_whoever_gives_it_and_origins_tell(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("profile = 'battery-saver'\nrelay = 'always'\n")
    config = NodeConfig.load({"home_keepalive": "30"}, {"ROOKERY_STUN": "true"}, file)
    assert (config.home_keepalive, config.stun, config.relay, config.mode) == (30, True, "always", "client")
    origins = config.origins
    assert origins["home_keepalive"] == "flag --home-keepalive" and origins["stun"] == "variable ROOKERY_STUN"
    assert origins["relay"].endswith("key 'relay'") and origins["mode"] == "profile battery-saver"
    assert origins["port"] == "default" and set(origins) == set(NodeConfig.model_fields)
    # The profile is the file's, a flag takes its place.
    assert NodeConfig.load({"profile": "Privacy-First"}, {}, file).remembered_peers == 0


def test_another_profile_takes_the_first_one_s_settings_back() -> None:
    config = NodeConfig(profile="battery-saver", home_keepalive=30)
    other = config.replace(profile="always-online")
    assert (other.mode, other.relay, other.home_keepalive) == ("auto", "auto", 30)
    assert config.replace(port=1).mode == "client"


@pytest.mark.parametrize("word", ["batery-saver", "", 7])
def test_a_profile_that_does_not_exist_is_refused(word: object) -> None:
    with pytest.raises(BadConfig, match="battery-saver"):
        NodeConfig.load({"profile": word}, {})


def test_a_setting_that_contradicts_the_profile_is_told() -> None:
    with pytest.raises(BadConfig, match="republish_interval"):
        NodeConfig(profile="battery-saver", record_ttl=3600)


def test_the_engine_is_told_what_differs_and_defaults_are_its_own() -> None:
    assert dht_tunables(NodeConfig()) == {}
    told = dht_tunables(NodeConfig(profile="battery-saver"))
    # The keep-alive begins as everybody's; it is the rare looks at home nodes that let it grow.
    assert set(told) == set(DHT_TUNABLES) - {"home_keepalive"} and DhtConfig(**told).home_check == 300
    for name in DHT_TUNABLES:
        assert UpkeepSettings.model_fields[name].default == getattr(DhtConfig(), name)


def test_pauses_end_early_when_the_node_is_awake_and_stretch_with_the_upkeep() -> None:
    async def script() -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        began = loop.time()
        usual = Rhythm(loop.time)
        await usual.pause(15)
        assert loop.time() - began == pytest.approx(15)
        saving = Rhythm(loop.time, interval=900, slack=60)
        began = loop.time()
        pausing = asyncio.create_task(saving.pause(15))
        await asyncio.sleep(800)
        saving.awake()
        await asyncio.sleep(50)
        assert not pausing.done()
        saving.awake()
        await pausing
        assert loop.time() - began == pytest.approx(850)
        began = loop.time()
        await saving.pause(15)  # Nobody is awake: it ends by itself.
        assert loop.time() - began == pytest.approx(900)
        await saving.pause(0.5)
        assert loop.time() - began == pytest.approx(930)
        assert not saving.waiting

    run(script)


def test_what_is_not_urgent_waits_until_the_node_is_awake() -> None:
    async def script() -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        rhythm = Rhythm(loop.time, interval=900, slack=60)
        began, rang = loop.time(), dict[str, float]()

        def alarm(name: str) -> Alarm:
            return Alarm(rhythm, lambda: rang.setdefault(name, loop.time() - began))

        patient, strict, cancelled = alarm("patient"), alarm("strict"), alarm("cancelled")
        patient.set(10, patience=60)
        strict.set(40)
        cancelled.set(20, patience=60)
        resting = asyncio.create_task(rhythm.rest(60))  # From 6 s on.
        await asyncio.sleep(25)
        cancelled.cancel()
        assert not rang and not resting.done()
        await asyncio.sleep(16)
        # The one that had to ring took along what was due, and what was nearly due.
        assert rang == {"patient": pytest.approx(40), "strict": pytest.approx(40)} and resting.done()
        late = alarm("late")
        late.set(10, patience=60)
        await asyncio.sleep(100)
        assert rang["late"] == pytest.approx(41 + 70)
        assert "cancelled" not in rang and not rhythm.waiting

    run(script)


def test_a_phone_that_nobody_wants_sleeps_but_for_its_renewals() -> None:
    """Whole nodes for ten quiet minutes: the radio is woken by renewals of entries alone, every 56 to 84 s
    behind this router, and the processor by looks at the machine's addresses, once a minute, beside them."""

    async def script() -> None:
        world = World(seed=3, seal="cheap", latency="constant:20ms", nat="cgnat")
        world.add(12)
        await world.settle()
        one, other = (FullNodes(world, watch_interfaces=True, profile=word) for word in ("battery-saver", "none"))
        phones = [shells.add(1, "home", spread=0.0)[0] for shells in (one, other)]
        await world.settle()
        await world.run(minutes=10)
        meter = Awake(world.network, [phone.peer.address[0] for phone in phones])
        await world.run(minutes=10)
        saving, usual = (meter.tallies[phone.peer.address[0]] for phone in phones)
        assert 6 <= saving.ramps <= 11 and saving.wakeups <= 18 and saving.awake_by(world.queue.now) < 20
        assert usual.wakeups > 250, "the meter sees the looks at the machine's addresses, every 2 s"
        for shells in (one, other):
            shells.close()

    run(script)
