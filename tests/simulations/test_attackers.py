"""Each attacker attacks: what a naive reader is told differs from what an honest node would have said."""

from random import Random

import pytest

from dht.constants import KEY_BYTES
from dht.contact import Contact, unpack_contacts
from dht.engine import DhtEngine
from dht.identity import IdentityKey, NodeKey
from dht.operation import Operation
from dht.records import Kind, decode_record, sign_record
from dht.wire import FindNode, Get, Nodes, Put, Request, Stored, Value
from simulations import World, run
from simulations.attackers import ATTACKERS, SLOWNESS, Plot, attacker, invented
from simulations.peers import Peer

OWNER = IdentityKey.from_seed(bytes(31) + b"\x07")
PLACE = sign_record(OWNER, Kind.MUTABLE, b"", seq=0, expires=2e9, salt=b"s").place


class Question(Operation):
    """One request, and the reply as it came: what a reader sees that checks nothing."""

    def __init__(self, engine, future):
        super().__init__(engine, -1)
        self.future = future

    def on_reply(self, pending, message, now):
        self.future(message, now)

    def on_failure(self, pending, now):
        self.future(None, now)


async def tell(world: World, asker: Peer, contact: Contact, kind: type[Request], *fields: object):
    """Ask one node one thing. Gives the reply (None for silence) and the seconds it took."""
    got = []
    started = world.queue.now

    def begin(engine: DhtEngine, now: float) -> None:
        question = Question(engine, lambda message, at: got.append((message, at - started)))
        engine.request(contact, question, kind, fields, now)

    assert asker.host is not None
    asker.host.command(begin)
    while not got:
        await world.run(seconds=0.05)
    return got[0]


def versions(message: Value) -> list[int]:
    return [decode_record(raw).seq for raw in message.records]


def signed(world: World, seq: int):
    return sign_record(OWNER, Kind.MUTABLE, b"v", seq=seq, expires=world.queue.now + 3600, salt=b"s")


def play(name, script, *, plot=None):
    """A network of thirty and one attacker that holds two versions' worth of a record, then attacks."""

    async def main():
        world = World(seed=2, latency="constant:20ms", seal="cheap")
        world.add(27)
        plan = plot or Plot()
        (bad,) = world.add(1, group="bad", node=attacker(world, plan, ATTACKERS[name], known=plot is None))
        (friend,) = world.add(1, group="bad", node=attacker(world, plan, ATTACKERS[name], known=plot is None))
        await world.settle()
        asker = world.bootstraps[0]
        # A first question proves our address and brings a token.
        await tell(world, asker, bad.contact, FindNode, PLACE)
        for seq in (1, 2):
            stored, _ = await tell(world, asker, bad.contact, Put, signed(world, seq).raw, 3600, False)
            assert isinstance(stored, Stored) and stored.status == 0
        honest, _ = await tell(world, asker, bad.contact, Get, PLACE, True, 0)
        assert versions(honest) == [2]
        assert len(unpack_contacts(honest.nodes4, honest.nodes6)) == 8
        plan.attacking = True
        return await script(world, asker, bad, friend)

    return run(main)


def test_the_silent_one_says_nothing():
    async def script(world, asker, bad, friend):
        return await tell(world, asker, bad.contact, Get, PLACE, True, 0)

    assert play("silent", script)[0] is None


def test_the_slow_one_says_it_late():
    async def script(world, asker, bad, friend):
        slow = await world.ask(asker, lambda engine, now: engine.ping(bad.contact, now))
        sent = world.network.host(bad.public_ip).sent
        await world.run(seconds=SLOWNESS)
        return slow, world.network.host(bad.public_ip).sent - sent

    slow, later = play("slow", script)
    # A round trip takes 40 ms: by the time the answer leaves, who asked has given up.
    assert slow.rtt is None
    assert later > 0


def test_the_one_that_denies_hides_the_record_and_names_true_neighbours():
    async def script(world, asker, bad, friend):
        reply, _ = await tell(world, asker, bad.contact, Get, PLACE, True, 0)
        stored, _ = await tell(world, asker, bad.contact, Put, signed(world, 3).raw, 3600, False)
        return reply, stored, {peer.contact.key for peer in world.living}

    reply, stored, living = play("denying", script)
    assert versions(reply) == [] and reply.total == 0
    assert {contact.key for contact in unpack_contacts(reply.nodes4, reply.nodes6)} <= living
    assert stored.status == 0


def test_the_stale_one_keeps_to_the_first_version():
    async def script(world, asker, bad, friend):
        return await tell(world, asker, bad.contact, Get, PLACE, True, 0)

    assert versions(play("stale", script)[0]) == [1]


def test_the_one_that_misleads_names_only_its_fellows_and_lies_about_storing():
    async def script(world, asker, bad, friend):
        nodes, _ = await tell(world, asker, bad.contact, FindNode, PLACE)
        value, _ = await tell(world, asker, bad.contact, Get, PLACE, True, 0)
        stored, _ = await tell(world, asker, bad.contact, Put, signed(world, 9).raw, 3600, True)
        held = [record.seq for record in bad.engine.held(PLACE, world.queue.now)]
        return nodes, value, stored, held, {bad.contact.key, friend.contact.key}

    nodes, value, stored, held, fellows = play("wrong-neighbours", script)
    assert isinstance(nodes, Nodes)
    assert {contact.key for contact in unpack_contacts(nodes.nodes4, nodes.nodes6)} == fellows
    assert versions(value) == []
    assert stored.status == 0 and held == [2]


def test_the_one_that_invents_names_who_does_not_exist():
    plot = Plot(named=invented(50, Random(1)))

    async def script(world, asker, bad, friend):
        nodes, _ = await tell(world, asker, bad.contact, FindNode, PLACE)
        return nodes, {peer.contact.key for peer in world.living}

    nodes, living = play("bogus-neighbours", script, plot=plot)
    named = {contact.key for contact in unpack_contacts(nodes.nodes4, nodes.nodes6)}
    assert len(named) == 20 and not named & living


@pytest.mark.parametrize("name", ["denying", "stale"])
def test_a_plot_against_one_place_leaves_others_alone(name):
    plot = Plot(place=1)

    async def script(world, asker, bad, friend):
        return await tell(world, asker, bad.contact, Get, PLACE, True, 0)

    assert versions(play(name, script, plot=plot)[0]) == [2]


def test_invented_contacts_have_keys_nobody_owns():
    made = invented(5, Random(3))
    assert len({contact.key for contact in made}) == 5
    assert all(len(contact.key) == KEY_BYTES for contact in made)
    assert NodeKey.from_secret(bytes(32)).public not in {contact.key for contact in made}
