"""Worlds as scripts use them: peers come, ask, die and return, on a clock of their own."""

import asyncio

import pytest

from dht.engine import DhtEngine
from dht.events import GetDone, Mode
from simulations import Profile, World, run
from simulations.diurnal import DAY, Diurnal
from simulations.errors import BadScenario, SimulationError
from simulations.trace import Trace
from simulations.workload import NobodyAsks

LATENCY = "lognormal:50ms,0.4"


def play(script, *, peers=27, **settings):
    """Run `script(world)` in a world of so many servers that have joined, and three of the list."""

    async def main():
        world = World(**{"seed": 3, "latency": LATENCY, **settings})
        world.add(peers)
        await world.settle()
        return world, await script(world)

    return run(main)


async def nothing(world):
    return None


class TestAsking:
    def test_what_was_put_is_found(self):
        async def script(world):
            records = await world.puts(5)
            return records, await world.gets(20, records)

        world, (records, reads) = play(script)
        assert all(outcome.ok and outcome.receipt.stored >= 15 for outcome in records)
        assert all(outcome.ok for outcome in reads)
        assert world.metrics.figure("get.success") == 1.0
        assert world.metrics.figure("get.count") == 20
        assert 0.05 < world.metrics.figure("get.p50") < 1.0

    def test_what_nobody_put_is_not_found(self):
        async def script(world):
            return await world.get(bytes(20))

        world, outcome = play(script)
        assert (outcome.ok, outcome.reason) == (False, "not-found")
        assert world.metrics.tables["operations"].columns["reason"][-1] == "not-found"

    def test_a_newer_record_counts_as_found_and_an_older_one_as_stale(self):
        async def script(world):
            first = await world.put(b"one")
            owner = world.identity_of(world.peers[5])
            old = await world.put(b"old", owner=owner, seq=1)
            new = await world.put(b"new", owner=owner, seq=2)
            return first, old, new, await world.get(old), await world.get(new)

        _, (first, old, new, got_old, got_new) = play(script)
        assert first.ok and old.ok and new.ok
        assert got_old.ok and got_new.ok
        assert [record.payload for record in got_old.records] == [b"new"]

    def test_whose_peer_dies_under_way_is_abandoned_and_nobodys_failure(self):
        async def script(world):
            peer = world.peers[7]
            reading = asyncio.create_task(world.get(bytes(20), by=peer))
            await world.run(seconds=0.01)
            world.kill(peers=[peer])
            return await reading

        world, outcome = play(script)
        assert (outcome.reason, outcome.done) == ("abandoned", None)
        assert world.abandoned == 1
        assert "get" not in world.metrics.tables["operations"].columns["kind"]

    def test_nobody_asks_where_nobody_lives(self):
        async def script(world):
            world.kill(fraction=1.0)
            with pytest.raises(NobodyAsks, match=r"seed 3, at \d+\.\d+ s: none of 0 peers"):
                await world.get(bytes(20))

        play(script)

    def test_a_script_may_ask_for_anything_an_engine_can(self):
        async def script(world):
            peer, other = world.peers[4], world.peers[9]
            return await world.ask(peer, lambda engine, now: engine.ping(other.contact, now))

        _, event = play(script)
        assert event.rtt is not None and 0 < event.rtt < 1


class TestLives:
    def test_the_killed_are_gone_and_come_back_with_what_they_knew(self):
        async def script(world):
            records = await world.puts(3)
            # The last copies of a record are still under way when enough are acknowledged.
            await world.run(seconds=5)
            held = {peer.index: {raw for raw, _ in peer.engine.records()} for peer in world.living}
            victims = world.kill(fraction=0.5)
            alive = len(world.living)
            for peer in world.bootstraps:
                if peer.alive:
                    world.kill(peers=[peer])
            back = world.restart(victims)
            await world.run(seconds=30)
            return records, held, victims, alive, back

        _, (_, held, victims, alive, back) = play(script)
        assert (len(victims), alive, back) == (15, 15, victims)
        assert all(peer.joined for peer in victims)
        for peer in victims:
            assert {raw for raw, _ in peer.engine.records()} >= held[peer.index]

    def test_state_can_be_lost_with_the_machine(self):
        async def script(world):
            peer = world.peers[10]
            key = peer.engine.own_key
            world.kill(peers=[peer], keep_state=False)
            world.restart([peer])
            return key, peer.engine.own_key, peer.engine.held_records()

        _, (before, after, held) = play(script)
        assert before != after
        assert held == 0

    def test_a_server_keeps_its_key_and_a_client_does_not(self):
        async def script(world):
            phone = world.add(1, "phone", spread=0.0)[0]
            server = world.peers[5]
            keys = {peer.index: peer.engine.own_key for peer in (phone, server)}
            await world.run(seconds=5)
            world.kill(peers=[phone, server])
            world.restart([phone, server])
            return phone, server, keys

        _, (phone, server, keys) = play(script)
        assert server.engine.own_key == keys[server.index]
        assert phone.engine.own_key != keys[phone.index]
        assert phone.engine.mode is Mode.CLIENT

    def test_the_frozen_stand_still_and_run_on(self):
        async def script(world):
            frozen = world.freeze(fraction=0.2)
            received = [world.network.host(peer.address[0]).received for peer in frozen]
            await world.find_nodes(5)
            still = [world.network.host(peer.address[0]).received for peer in frozen]
            world.wake(frozen)
            await world.run(seconds=5)
            return received, still, [world.network.host(peer.address[0]).received for peer in frozen]

        _, (before, still, after) = play(script)
        assert before == still
        assert sum(after) > sum(still)

    def test_halves_do_not_hear_each_other_until_healed(self):
        async def script(world):
            here, there = world.partition(fractions=[0.5, 0.5])
            mine = await world.put(by=world.asker(here))
            await world.run(seconds=60)
            apart = await world.get(mine, by=world.asker(there))
            world.heal()
            await world.run(seconds=120)
            together = await world.get(mine, by=world.asker(there))
            with pytest.raises(BadScenario, match="not cut"):
                world.heal()
            return apart, together

        world, (apart, together) = play(script)
        assert (apart.reason, together.ok) == ("not-found", True)
        assert world.network.dropped["partition"] > 0
        assert "healed" in world.metrics.tables["marks"].columns["text"]

    def test_churn_keeps_about_the_share_alive_that_sessions_and_downtime_say(self):
        async def script(world):
            world.churn("exponential:10m", "exponential:10m")
            await world.run(hours=2)
            world.end_churn()
            alive = len(world.living)
            await world.run(hours=1)
            return alive, len(world.living)

        world, (alive, later) = play(script)
        assert alive == later
        series = world.metrics.tables["series"].columns
        seen = [value for name, value in zip(series["metric"], series["value"], strict=True) if name == "alive"]
        steady = seen[40:120]
        # Half of 27, and the three bootstraps; the mean over 80 minutes of 27 coins wanders by some 1.2.
        assert 12 < sum(steady) / len(steady) < 21

    def test_a_join_that_finds_nobody_is_tried_again(self):
        async def main():
            world = World(seed=1, latency=LATENCY)
            world.add(5, spread=0.0)
            await world.settle()
            world.kill(peers=world.bootstraps)
            alone = world.add(1, spread=0.0)[0]
            await world.run(seconds=20)
            before = alone.joined
            world.restart(world.bootstraps)
            await world.run(seconds=90)
            return before, alone.joined

        assert run(main) == (False, True)


class TestPlaces:
    @pytest.mark.parametrize("nat", ["port-restricted", "symmetric", "firewall", "cgnat", "published"])
    def test_homes_join_and_read_from_behind_their_routers(self, nat):
        async def script(world):
            homes = world.add(6, "home", spread=1.0)
            await world.settle()
            records = await world.puts(3, by=homes)
            return homes, await world.gets(6, records, by=homes)

        _, (homes, reads) = play(script, nat=nat)
        assert all(outcome.ok for outcome in reads)
        assert all(peer.nat != "none" or nat == "published" for peer in homes)

    def test_clocks_that_go_wrong_leave_the_network_whole(self):
        async def script(world):
            records = await world.puts(5)
            return await world.gets(10, records)

        world, reads = play(script, clock_skew=20.0)
        assert all(outcome.ok for outcome in reads)
        assert len({peer.clock_offset for peer in world.peers}) == 30

    def test_access_links_slow_down_what_is_behind_them(self):
        async def script(world):
            slow = world.add(3, Profile(name="dsl", up=256e3, down=512e3, queue=64_000), spread=0.0)
            await world.settle()
            target = bytes(20)
            slowly = await world.find_node(target, by=slow[0])
            swiftly = await world.find_node(target, by=world.peers[5])
            return slowly.stats.seconds, swiftly.stats.seconds

        _, (slow, fast) = play(script, bandwidth=True)
        assert slow > 1.5 * fast


class TestSame:
    def test_one_seed_is_one_world_and_another_is_another(self):
        async def script(world):
            records = await world.puts(3)
            world.kill(fraction=0.3)
            await world.gets(5, records)
            world.churn("exponential:5m", "exponential:5m")
            await world.run(minutes=10)

        first, second, third = (
            play(script, loss=0.02, nat="published", seed=seed)[0].result().facts for seed in (5, 5, 6)
        )
        assert first == second
        assert first["trace_hash"] != third["trace_hash"]

    def test_a_world_made_outside_is_played(self):
        world = World(seed=2, latency=LATENCY)
        world.add(5)

        async def script():
            await world.settle()
            return await world.find_node()

        assert len(world.play(script()).closest) >= 5

    def test_an_own_trace_sees_every_delivery(self):
        trace = Trace(keep_all=True)
        world, _ = play(nothing, trace=trace)
        assert trace.events is not None
        assert trace.count == len(trace.events) == world.result().facts["deliveries"] > 500


class TestEngines:
    def test_a_node_class_of_the_scripts_own_takes_part(self):
        class Mute(DhtEngine):
            """Answers nothing."""

            def datagrams_to_send(self, now):
                super().datagrams_to_send(now)
                return []

        async def script(world):
            def make(peer):
                real = world.make_engine(peer)
                real.__class__ = Mute
                return real

            mute = world.add(3, group="mute", spread=0.0, node=make)
            await world.run(seconds=10)
            return mute

        world, mute = play(script)
        assert world.group("mute") == mute
        assert not any(peer.joined for peer in mute)
        hosts = [world.network.host(peer.address[0]) for peer in mute]
        assert [host.sent for host in hosts] == [0, 0, 0]

    def test_watchers_see_every_event(self):
        seen = []

        async def script(world):
            world.watchers.append(lambda peer, event, now: seen.append((peer.index, type(event))))
            await world.get(bytes(20), by=world.peers[6])

        play(script)
        assert (6, GetDone) in seen


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"loss": 1.5}, "loss = 1.5 is not allowed"),
            ({"seal": "rot13"}, "seal = 'rot13' is not allowed"),
            ({"bootstraps": 0}, "bootstraps = 0 is not allowed"),
            ({"nat": "tor"}, "nat = 'tor' is neither a kind"),
            ({"latency": "warp"}, "warp"),
        ],
    )
    def test_settings_out_of_bounds_are_named(self, settings, said):
        with pytest.raises(BadScenario, match=said):
            World(**{"latency": LATENCY, **settings})

    def test_what_cannot_be_done_is_said(self):
        async def script(world):
            for wrong, said in (
                (lambda: world.add(0), "expected a whole number above 0"),
                (lambda: world.add(1, "toaster"), "there is no profile 'toaster': there are server, home"),
                (world.kill, "say who"),
                (lambda: world.kill(fraction=2.0), "no share of the living"),
                (world.partition, "nothing to cut"),
                (lambda: world.partition(fractions=[0.8, 0.8]), "are no shares"),
                (lambda: world.group("ghosts"), "there is no group 'ghosts': there are bootstrap, server"),
                (world.peers[3].start, "node 3 is running already"),
            ):
                with pytest.raises(BadScenario, match=said):
                    wrong()
            with pytest.raises(BadScenario, match="nothing to read"):
                await world.gets(3, [])
            with pytest.raises(BadScenario, match="cannot pass"):
                await world.run(seconds=-1)

        play(script)

    def test_time_passes_nowhere_else(self):
        world = World(latency=LATENCY)
        with pytest.raises(SimulationError, match=r"start the script with simulations\.run"):
            asyncio.run(world.run(hours=1))


class TestCutOff:
    def test_a_copy_of_ones_own_alone_is_no_success(self):
        async def script(world):
            server = world.peers[8]
            world.partition([server])
            return await world.put(by=server), await world.get(bytes(20), by=server)

        _, (put, get) = play(script)
        assert not put.ok
        assert put.receipt.stored <= 1 < put.receipt.needed
        assert get.reason == "not-found"


class TestWeather:
    def test_bursts_lose_as_many_datagrams_as_even_loss(self):
        async def script(world):
            await world.run(minutes=20)

        for burst in (1.0, 4.0):
            world, _ = play(script, loss=0.05, burst=burst)
            sent = sum(world.network.host(peer.address[0]).sent for peer in world.peers)
            assert 0.03 < sum(world.network.dropped.values()) / sent < 0.07

    def test_datagrams_held_back_cost_time_and_no_answer(self):
        async def script(world):
            records = await world.puts(5)
            return await world.gets(20, records)

        slow, reads = play(script, reordering=0.5)
        quick, _ = play(script)
        assert all(outcome.ok for outcome in reads)
        assert slow.metrics.figure("get.p50") > quick.metrics.figure("get.p50")

    def test_people_ask_by_day(self):
        async def script(world):
            wave = Diurnal(1.0, peak_hour=6.0)
            await world.puts(60, per_second=60 / DAY, diurnal=wave)

        world, _ = play(script, peers=3)
        operations = world.metrics.tables["operations"]
        columns = operations.columns
        times = [at % DAY for at, kind in zip(columns["started"], columns["kind"], strict=True) if kind == "put"]
        assert len(times) == 60
        assert sum(at < DAY / 2 for at in times) > 45
