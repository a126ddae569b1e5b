"""Whole nodes on the simulated network: what takes hours, and what takes a network that fails."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dht.config import DhtConfig
from dht.errors import LocalError
from dht.identity import IdentityKey, PublicKey
from dht.records import Kind, sign_record
from node.node_events import Alone, Published, PublishFailed
from node.node_joining import LONGEST_PAUSE
from node.node_results import Reason
from node.node_values import Value
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.node_network import VirtualNetwork, found, kinds, until

HOUR = 3600.0
STRANGER = IdentityKey.from_seed(b"s" * 32).public


@pytest.fixture
def virtually(tmp_path):
    """Run a scenario with its own network; time jumps."""

    def run(scenario: Callable[[VirtualNetwork, Network], Awaitable[None]]) -> None:
        simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

        async def main() -> None:
            async with AsyncExitStack() as stack:
                await scenario(VirtualNetwork(tmp_path, stack), simulated)

        run_virtually(main(), simulated)

    return run


async def meet_in_time(by, peer):
    await found(by, peer, 60)
    return await by.connect(peer.identity)


def test_records_are_published_again_with_higher_numbers_and_live_on(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1", republish_interval=HOUR, record_ttl=3 * HOUR)
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
        assert await one.wait_joined(30)
        await one.put(b"value", salt=b"s")
        await until(lambda: one.status().published is not None, "publishing", 60)
        first = one.status().published
        written = (await others[0].get(owner=one.identity, salt=b"s")).records[0]
        await asyncio.sleep(3 * HOUR)
        again = one.status().published
        assert again.seq > first.seq and again.age <= HOUR
        read = await others[0].get(owner=one.identity, salt=b"s")
        assert read.found and read.records[0].seq > written.seq and read.records[0].payload == b"value"
        assert (await others[1].find(one.identity)).found
        assert kinds(one).count("Published") >= 6

    virtually(scenario)


def test_many_are_stored_and_published_again_in_one_go(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1", republish_interval=HOUR, record_ttl=3 * HOUR)
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
        assert await one.wait_joined(30)
        values = [Value(b"a", salt=b"1"), Value(b"b", salt=b"2"), Value(b"c"), Value(b"d", topic="chess")]
        receipts = await one.put_many(values)
        assert all(receipt.ok for receipt in receipts) and len({receipt.place for receipt in receipts}) == 4
        assert (await others[0].get(owner=one.identity, salt=b"2")).records[0].payload == b"b"
        with pytest.raises(LocalError, match="record 2: "):
            await one.put_many([Value(b"x", salt=b"3"), Value(bytes(2000), salt=b"4")])
        with pytest.raises(LocalError, match="record 2 would lie where record 1 does"):
            await one.put_many([Value(b"x", salt=b"3"), Value(b"y", salt=b"3")])
        assert not (await others[0].get(owner=one.identity, salt=b"3")).found
        await asyncio.sleep(700)
        again = [event for event in one.recent_events() if isinstance(event, Published) and event.what != "peer"]
        assert {event.place for event in again} >= {receipt.place for receipt in receipts}
        last = [event.time for event in again[-4:]]
        assert max(last) - min(last) < 1.0
        assert (await others[1].get(place=receipts[2].place)).found

    virtually(scenario)


@pytest.mark.slow
def test_what_enough_nodes_hold_for_long_enough_is_not_published_again(virtually):
    async def scenario(net, simulated):
        few = {"dht": DhtConfig(k=4)}
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}", parts=few) for i in range(1, 6)]
        one = await net.start("one", listen="10.0.0.1", republish_interval=HOUR, record_ttl=3 * HOUR, parts=few)
        assert await one.wait_joined(30)
        await asyncio.sleep(60)
        first = await one.put(b"value", salt=b"s")
        assert first.stored >= 3
        began = one.inside.driver.now()
        await asyncio.sleep(1.5 * HOUR)
        read = await others[0].get(owner=one.identity, salt=b"s")
        assert read.records[0].seq == first.seq  # seen, and left as it was: it lives for two more hours
        await asyncio.sleep(1 * HOUR)
        read = await others[0].get(owner=one.identity, salt=b"s")
        assert read.records[0].seq > first.seq
        anew = [event for event in one.recent_events() if isinstance(event, Published) and event.what == "mutable"]
        assert len(anew) == 1 and anew[0].time - began >= 2 * HOUR

    virtually(scenario)


def test_each_node_publishes_at_beats_of_its_own_never_before_an_interval_is_over(virtually):
    async def scenario(net, simulated):
        beats = set()
        for index in range(6):
            node = await net.start(f"n{index}", listen=f"10.0.1.{index + 1}", republish_interval=16 * HOUR)
            publishing = node.inside.publishing
            now = 1_800_000_000.0
            waits = [publishing._next_beat(now + minute * 60) - now - minute * 60 for minute in range(120)]
            assert all(16 * HOUR <= wait <= 17 * HOUR for wait in waits)
            # What was stored within one beat is due together.
            assert len({round(publishing._next_beat(now + minute * 60)) for minute in range(120)}) <= 3
            beats.add(round(publishing._next_beat(now)))
        assert len(beats) == 6

    virtually(scenario)


def test_a_value_that_another_device_replaced_is_left_alone(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1", republish_interval=HOUR, record_ttl=3 * HOUR)
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
        assert await one.wait_joined(30)
        mine = await one.put(b"mine", salt=b"s")
        now = one.inside.driver.now()
        newer = sign_record(
            one.inside._secret, Kind.MUTABLE, b"by my phone", seq=mine.seq + 10**9, expires=now + 40 * HOUR, salt=b"s"
        )
        done = await others[0].inside.driver.run(lambda engine, now: engine.put(newer, now))
        assert done.receipt.stored
        await asyncio.sleep(2 * HOUR)
        read = await others[1].get(owner=one.identity, salt=b"s")
        assert read.records[0].payload == b"by my phone"
        assert not net.rows["one"].own

    virtually(scenario)


@pytest.mark.slow
def test_an_apps_records_are_published_again_after_a_restart(virtually):
    async def scenario(net, simulated):
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
        one = await net.start("one", listen="10.0.0.1", republish_interval=HOUR, record_ttl=2 * HOUR)
        assert await one.wait_joined(30)
        receipt = await one.put(b"value", salt=b"s")
        for_ever = await one.put(b"immutable")
        await one.__aexit__(None, None, None)
        await asyncio.sleep(3 * HOUR)
        assert not (await others[0].get(owner=one.identity, salt=b"s")).found  # It has expired.
        again = await net.start("one", listen="10.0.0.1", republish_interval=HOUR, record_ttl=2 * HOUR)
        assert await again.wait_joined(30)
        await asyncio.sleep(600)
        read = await others[0].get(owner=one.identity, salt=b"s")
        assert read.found and read.records[0].seq > receipt.seq
        assert (await others[0].get(place=for_ever.place)).found

    virtually(scenario)


def test_a_record_that_few_could_take_is_stored_again_soon(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1")
        receipt = await one.put(b"value", salt=b"s")
        assert receipt.ok and receipt.stored == 1  # by itself, who else
        await asyncio.sleep(20)
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
        assert await one.wait_joined(30)
        await asyncio.sleep(400)
        again = [event for event in one.recent_events() if isinstance(event, Published) and event.what == "mutable"]
        assert again and again[-1].stored >= 3  # acknowledged by three of four
        await one.__aexit__(None, None, None)
        assert (await others[0].get(owner=one.identity, salt=b"s")).found

    virtually(scenario)


def test_a_client_alone_says_that_nobody_took_its_record_and_tries_again(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1", mode="client")
        receipt = await one.put(b"value", salt=b"s")
        assert not receipt.ok and receipt.stored == 0
        await asyncio.sleep(60)
        failed = [event for event in one.recent_events() if isinstance(event, PublishFailed)]
        assert len(failed) >= 2
        assert failed[0].what == "mutable" and "nobody was there to ask" in failed[0].text
        assert failed[0].level == "warning"

    virtually(scenario)


def test_a_node_alone_tries_again_with_growing_pauses_and_is_found_by_others(virtually):
    async def scenario(net, simulated):
        first = await net.start("first", listen="10.0.0.1")
        contact = first.status().contact
        await first.__aexit__(None, None, None)
        net.nodes.clear()
        lonely = await net.start("lonely", listen="10.0.0.2", contacts=(contact,))
        assert not await lonely.wait_joined(600)
        pauses = [event.retry_in for event in lonely.recent_events() if isinstance(event, Alone)]
        assert len(pauses) > 10 and pauses[0] < 1.5 and max(pauses) <= LONGEST_PAUSE * 1.2
        assert all(event.tried == 1 for event in lonely.recent_events() if isinstance(event, Alone))
        other = await net.start("other", listen="10.0.0.3", contacts=(lonely.status().contact,))
        assert await other.wait_joined(5)
        assert await lonely.wait_joined(5)

    virtually(scenario)


def test_a_node_cut_off_comes_back_by_itself(virtually):
    async def scenario(net, simulated):
        others = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 4)]
        one = await net.start("one", listen="10.0.0.1")
        assert await one.wait_joined(30)
        simulated.take_down("10.0.0.1")
        await asyncio.sleep(2 * HOUR)
        assert not one.contacts() and not one.status().joined
        simulated.wake("10.0.0.1")
        assert await one.wait_joined(2 * LONGEST_PAUSE)
        assert (await meet_in_time(others[0], one)).connected

    virtually(scenario)


def test_home_nodes_that_die_are_replaced_and_the_record_says_so(virtually):
    async def scenario(net, simulated):
        servers = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 9)]
        peer = await net.start("peer", listen="10.0.0.1", mode="client")
        caller = await net.start("caller", listen="10.0.0.2", mode="client")
        await asyncio.sleep(20)
        before = await caller.find(peer.identity)
        assert len(before.homes) == 3
        for home in before.homes[:2]:
            simulated.take_down(home.ip)
        # One home node is left: a call gets through at once.
        assert (await caller.connect(peer.identity)).connected
        await asyncio.sleep(300)
        after = await caller.find(peer.identity)
        assert len(after.homes) == 3 and not {*before.homes[:2]} & {*after.homes}
        assert after.seq > before.seq
        assert len(servers) == 8

    virtually(scenario)


def test_a_peer_that_went_away_is_reported_as_offline(virtually):
    async def scenario(net, simulated):
        [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in range(1, 5)]
        peer = await net.start("peer", listen="10.0.0.1", mode="client")
        caller = await net.start("caller", listen="10.0.0.2", mode="client")
        await found(caller, peer, 60)
        simulated.take_down("10.0.0.1")
        soon = await caller.connect(peer.identity)
        assert soon.reason is Reason.UNREACHED, soon
        await asyncio.sleep(300)
        later = await caller.connect(peer.identity)
        assert later.reason is Reason.NOT_REGISTERED, later
        assert "offline" in later.detail

    virtually(scenario)


def test_a_peer_whose_record_says_nothing_known_is_a_bad_record(virtually):
    async def scenario(net, simulated):
        one, other = [await net.start(f"n{i}", listen=f"10.0.1.{i}") for i in (1, 2)]
        await net.start("n3", listen="10.0.1.3")
        assert await one.wait_joined(30) and await other.wait_joined(30)
        key = IdentityKey.from_seed(b"f" * 32)
        record = sign_record(key, Kind.PEER, b"\x91\x09", seq=1, expires=one.inside.driver.now() + HOUR)
        await one.inside.driver.run(lambda engine, now: engine.put(record, now))
        found_it = await other.find(PublicKey(key.public.raw))
        assert found_it.reason is Reason.BAD_RECORD and "version 9" in found_it.detail

    virtually(scenario)


def test_the_parts_of_a_node_may_be_given(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1", parts={"dht": DhtConfig(homes=1)})
        assert one.inside.driver.engine.config.homes == 1
        assert (await one.find(STRANGER)).reason is Reason.NOT_JOINED

    virtually(scenario)


def test_two_nodes_that_nobody_configured_begin_a_network(virtually):
    async def scenario(net, simulated):
        one = await net.start("one", listen="10.0.0.1", mode="auto")
        await asyncio.sleep(5)
        assert one.status().mode == "server" and "others may begin" in one.status().mode_reason
        two = await net.start("two", listen="10.0.0.2", mode="auto", contacts=(one.status().contact,))
        assert await two.wait_joined(30)
        await asyncio.sleep(120)
        assert (await two.find(one.identity)).found and (await one.find(two.identity)).found

    virtually(scenario)
