"""Hosts that are no nodes: what they send, under which address, and what comes back."""

import pytest

from simulations import World, run
from simulations.strangers import SENT, Flood, Stranger, stranger_address


def play(script):
    async def main():
        world = World(seed=1, latency="constant:20ms", seal="cheap")
        world.add(12)
        await world.settle()
        await world.run(seconds=20)
        return await script(world, [peer.contact for peer in world.living])

    return run(main)


@pytest.mark.parametrize("what", ["ping", "find-node", "get", "stun"])
def test_nodes_answer_a_stranger_at_its_own_address(what):
    async def script(world, contacts):
        stranger = Stranger(world, 0)
        stranger.send(contacts[3], stranger.made(what, contacts[3], server=False))
        await world.run(seconds=1)
        return stranger

    stranger = play(script)
    assert (stranger.sent, stranger.received) == (1, 1)
    assert 0 < stranger.bytes_received <= stranger.bytes_sent * 1.6


def test_a_spoofed_datagram_is_answered_to_the_victim():
    async def script(world, contacts):
        victim, spoofer = Stranger(world, 1), Stranger(world, 0, claims=stranger_address(1))
        spoofer.send(contacts[0], spoofer.made("ping", contacts[0], server=False))
        await world.run(seconds=1)
        return victim, spoofer

    victim, spoofer = play(script)
    assert (victim.received, spoofer.received, spoofer.sent) == (1, 0, 1)


def test_a_flood_goes_at_its_rate_and_ends():
    async def script(world, contacts):
        strangers = [Stranger(world, 0), Stranger(world, 1)]
        flood = Flood(world, strangers, contacts[:4], "ping", per_second=100, replayed=True)
        await world.run(seconds=2)
        flood.end()
        sent = [stranger.sent for stranger in strangers]
        await world.run(seconds=2)
        return sent, [stranger.sent for stranger in strangers], len(flood._replayed or ())

    sent, later, different = play(script)
    assert sum(sent) in (200, 201) and abs(sent[0] - sent[1]) <= 1
    assert later == sent
    assert different == 8


def test_every_kind_of_datagram_can_be_made_and_reaches_the_engine():
    async def script(world, contacts):
        stranger = Stranger(world, 0)
        peer = world.living[0]
        before = peer.engine.counters.total()
        for what in SENT:
            stranger.send(peer.contact, stranger.made(what, peer.contact, fresh=True))
        await world.run(seconds=1)
        return peer.engine.counters.total() - before, dict(peer.engine.counters), stranger.received

    counted, counters, received = play(script)
    # All but rubbish opens and decodes.
    assert counters.get("dropped_malformed", 0) == 0 and counters.get("dropped_box", 0) == 0
    assert counters["dropped_foreign"] == 1
    assert counted >= 1
    assert received >= len(SENT) - 2
