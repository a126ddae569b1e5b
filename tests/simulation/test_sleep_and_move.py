"""A machine sleeps for a night, another finds itself at another address: noticed and healed, on the virtual clock."""

import pytest

import simulations
from dht.config import DhtConfig
from dht.contact import Contact
from dht.events import Event, Mode, SignalDone, SignalReceived
from dht.identity import node_id
from dht.records import Refusal, peer_place
from simulations.cluster import public_address
from simulations.peers import Peer
from simulations.profiles import Profile
from simulations.world import World

REACHED = Profile(name="reached", mode=Mode.CLIENT, identity=True)
"""A client that is called through home nodes."""

SERVING = Profile(name="serving", mode=Mode.SERVER, identity=True)


class Ears:
    """What signals arrived."""

    def __init__(self) -> None:
        self.heard: set[bytes] = set()

    def __call__(self, peer: Peer, event: Event, now: float) -> None:
        if isinstance(event, SignalReceived):
            self.heard.add(event.blob)


async def grown(nodes: int) -> tuple[World, Ears]:
    world, ears = World(seed=3, loss=0.01, seal="cheap"), Ears()
    world.watchers.append(ears)
    world.add(nodes)
    await world.settle()
    await world.run(minutes=2)
    return world, ears


async def is_called(world: World, ears: Ears, caller: Peer, peer: Peer, homes: tuple[Contact, ...]) -> bool:
    place, blob = peer_place(world.identity_of(peer).public), world.streams.stream("blob").randbytes(8)
    done = await world.ask(caller, lambda engine, now: int(engine.signal(place, blob, homes, now)))
    assert isinstance(done, SignalDone)
    return done.refusal is Refusal.NONE and blob in ears.heard


def knowing(peers: list[Peer], contact: Contact) -> int:
    return sum(peer.engine.table.by_key.get(contact.key) == contact for peer in peers)


def move(world: World, peer: Peer, number: int, *, told: bool) -> None:
    """Give a peer another address; `told`: as when this machine's own has changed, not that of a router before it."""
    host = peer.host
    assert host is not None
    world.network.unbind(host._endpoint)
    peer.address = public_address(number)
    peer.public_ip = peer.address[0]
    host._endpoint = world.network.bind(peer.address, host._receive)
    if told:
        host.command(lambda engine, now: engine.network_changed(now))


@pytest.mark.slow
def test_a_server_and_a_client_that_slept_eight_hours_are_back_within_seconds() -> None:
    async def main() -> None:
        world, ears = await grown(24)
        (client,) = world.add(1, REACHED)
        await world.settle()
        await world.run(seconds=30)
        server, caller = world.living[5], world.living[7]
        world.freeze(peers=[server, client])
        await world.run(hours=8)
        others = [peer for peer in world.living if peer not in (server, client)]
        assert knowing(others, server.contact) == 0
        records = await world.puts(5, by=others)
        world.wake([server, client])
        await world.run(seconds=20)
        assert knowing(others, server.contact) > 0.8 * len(others)
        assert len(client.engine.homes()) == 3
        assert await is_called(world, ears, caller, client, client.engine.homes())
        assert all(one.records for one in await world.gets(10, records, by=[server, client]))

    simulations.run(main)


@pytest.mark.parametrize("told", [True, False], ids=["this machine's own address", "that of the router before it"])
@pytest.mark.parametrize("profile", [REACHED, SERVING], ids=["client", "server"])
def test_whoever_moves_is_found_within_a_minute(profile: Profile, told: bool) -> None:
    async def main() -> None:
        world, ears = await grown(24)
        (mover,) = world.add(1, profile)
        await world.settle()
        await world.run(minutes=3)
        reader = world.living[7]
        records = [await world.put(by=mover) for _ in range(5)]
        assert all([(await world.get(one, by=reader)).records for one in records])
        cached, old_id, old = mover.engine.homes(), mover.engine.own_id, mover.contact
        assert mover.engine.public_address == mover.address
        move(world, mover, 300, told=told)
        await world.run(seconds=55)
        # The id has moved, the contact with it; hardly anybody hands on the old address any more.
        assert mover.engine.own_id == node_id(mover.engine.own_key, mover.address[0]) != old_id
        assert mover.engine.public_address == mover.address
        others = [peer for peer in world.living if peer is not mover]
        assert knowing(others, old) <= 0.25 * len(others)
        assert knowing(others, mover.contact) >= (0.75 * len(others) if profile is SERVING else 0)
        # Its records and its registrations are found, by who had cached those of before, too.
        for one in records:
            assert (await world.get(one, by=reader)).records
        assert await is_called(world, ears, reader, mover, cached)
        assert await is_called(world, ears, reader, mover, mover.engine.homes())
        newer = [await world.put(by=mover) for _ in range(5)]
        assert all(one.ok for one in newer)
        for one in newer:
            assert (await world.get(one, by=reader)).records

    simulations.run(main)


def test_a_voter_that_lies_of_our_address_costs_a_round_a_minute_and_moves_nobody() -> None:
    async def main() -> None:
        world, _ = await grown(12)
        victim, liar = world.living[3], world.living[4]
        answer = liar.engine._responder.on_ping
        told: list[int] = []

        def lie(request, asking, now):
            told.append(len(told))
            asking.address = (f"11.200.{len(told) % 250}.1", 4000)
            pong = answer(request, asking, now)
            asking.address = victim.address
            return pong

        address = victim.engine.public_address
        for _ in range(60):
            liar.engine._responder.on_ping = lie
            await world.ask(victim, lambda engine, now: int(engine.ping(liar.contact, now)))
            liar.engine._responder.on_ping = answer
            await world.run(seconds=5)
        assert len(told) >= 60
        assert victim.engine.counters["moves_suspected"] <= 6
        assert victim.engine.public_address == address
        assert DhtConfig().address_votes == 3

    simulations.run(main)
