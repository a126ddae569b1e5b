"""The meter charges each exchange to its purpose, and changes nothing."""

import asyncio

from simulations import World, run
from simulations.awake import DOZE, Awake, Sleeper
from simulations.loop import on_host
from simulations.trace import Trace
from simulations.traffic import QUIET, RAMP_JOULES, TAIL_SECONDS, TAIL_WATTS, Tally, metered


def play(*, meter: bool):
    tallies: dict[int, Tally] = {}
    trace = Trace()

    async def main():
        world = World(seed=4, latency="constant:20ms", seal="cheap", trace=trace)
        world.add(25, "home", node=metered(world, tallies) if meter else None)
        await world.settle()
        records = await world.puts(3, by=world.group("home"))
        await world.gets(5, records, by=world.group("home"))
        await world.run(seconds=60)
        return world

    return run(main), tallies, trace


def test_a_metered_network_is_the_same_network():
    assert play(meter=True)[2].hexdigest() == play(meter=False)[2].hexdigest()


def test_everything_is_charged_to_something():
    world, tallies, _ = play(meter=True)
    total = Tally()
    for tally in tallies.values():
        total.bytes += tally.bytes
    for purpose in ("join", "upkeep", "reachability", "homes", "publish", "read"):
        assert total.bytes[purpose] > 0, purpose
    assert not {"other", "signals", "look-up"} & {name for name, size in total.bytes.items() if size}
    # What the bootstraps asked is theirs; the rest of what was sent is probes.
    sent = sum(host.bytes_sent for host in world.network.hosts.values())
    assert 0.8 * sent < total.bytes.total() <= sent
    peer = world.peers[5]
    host = world.network.host(peer.address[0])
    assert abs(tallies[5].all_bytes - host.bytes_sent - host.bytes_received) < 2000


def test_wake_ups_and_the_radio_follow_gaps():
    tally = Tally()
    for now in (100.0, 101.0, 103.5, 200.0):
        tally.wake(now)
        tally.air(500, now)
    assert tally.wakeups == 3 and QUIET == 2.0
    assert tally.ramps == 2
    assert tally.tail == 1.0 + 2.5 + TAIL_SECONDS
    assert tally.joules == 2 * RAMP_JOULES + tally.tail * TAIL_WATTS + 2 * 0.025


def test_a_processor_is_awake_for_a_moment_after_each_event():
    sleeper = Sleeper()
    for now in (100.0, 100.2, 102.0, 103.0):
        sleeper.wake(now)
    # Every second is a wake-up each: a beat of the meter's own length hides nothing.
    assert sleeper.wakeups == 3
    assert abs(sleeper.awake_by(200.0) - (0.2 + 3 * DOZE)) < 1e-9


def test_a_timer_that_a_datagram_has_set_counts_where_it_came_in():
    async def main():
        world = World(seed=4, latency="constant:20ms", seal="cheap")
        loop = asyncio.get_running_loop()
        fired: list[bytes] = []

        class Late(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                loop.call_later(5, fired.append, data)

        with on_host("203.0.113.1"):
            await loop.create_datagram_endpoint(Late, local_addr=("0.0.0.0", 7))
        with on_host("203.0.113.2"):
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("0.0.0.0", 7))
        meter = Awake(world.network, ["203.0.113.1", "203.0.113.2"])
        transport.sendto(b"later", ("203.0.113.1", 7))
        await asyncio.sleep(10)
        return fired, [meter.tallies[ip].wakeups for ip in ("203.0.113.1", "203.0.113.2")]

    assert run(main) == ([b"later"], [2, 1])
