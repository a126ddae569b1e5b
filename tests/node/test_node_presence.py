"""Gossip over the links of whole nodes, on the virtual clock: status, farewell, silent death, and finding peers."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dht.errors import LocalError
from dht.identity import IdentityKey
from node.cli_live import _screen
from node.node_presence_events import (
    PeerAway,
    PeerOffline,
    PeerOnline,
    PeerSuspected,
    PresenceEvent,
    StatusChanged,
)
from node.node_presence_friends import FOLLOWED_AT_MOST, Followed
from node.ports import LinkEnd, LinkFault
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.node_network import VirtualNetwork, found, until


@pytest.fixture
def virtually(tmp_path):
    """Run a scenario on a network of its own; time jumps."""

    def run(scenario: Callable[[VirtualNetwork], Awaitable[None]]) -> None:
        simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

        async def main() -> None:
            async with AsyncExitStack() as stack:
                await scenario(VirtualNetwork(tmp_path, stack))

        run_virtually(main(), simulated)

    return run


async def linked(net, *names):
    """Nodes in a row, each linked with the next."""
    await net.servers(2)
    nodes = [await net.start(name, presence_links=False) for name in names]
    for one, other in itertools.pairwise(nodes):
        await found(one, other, 60)
        assert (await one.connect(other.identity)).connected
    return nodes


def happened(node, kind):
    return [event for event in node.recent_events() if isinstance(event, kind)]


def test_a_status_is_seen_over_links_and_in_the_peer_record(virtually):
    async def scenario(net):
        one, two, three = await linked(net, "one", "two", "three")
        await until(lambda: one.presence.of(three.identity), "hearing of a peer's peer", 60)
        feed = one.presence.watch()
        waiting = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        three.presence.set("away", "gone fishing")
        event = await asyncio.wait_for(waiting, 5)
        assert isinstance(event, PeerAway) and event.peer == three.identity and event.status_text == "gone fishing"
        info = one.presence.of(three.identity)
        assert (info.status, info.status_text, info.hops, info.linked) == ("away", "gone fishing", 2, False)
        three.presence.set("busy", "")
        await until(lambda: happened(one, StatusChanged), "a changed status", 5)
        assert one.presence.of(three.identity).status == "busy"
        await asyncio.sleep(5)
        assert (await one.find(three.identity)).status == "busy"
        edges = {frozenset((edge.peer, edge.neighbour)) for edge in one.presence.topology()}
        assert edges == {frozenset((one.identity, two.identity)), frozenset((two.identity, three.identity))}
        with pytest.raises(LocalError):
            three.presence.set("away", "a\nb")
        await feed.aclose()

    virtually(scenario)


def test_who_leaves_in_good_order_is_gone_at_once(virtually):
    async def scenario(net):
        one, _two, three = await linked(net, "one", "two", "three")
        await until(lambda: one.presence.of(three.identity), "hearing of a peer's peer", 60)
        await three.__aexit__(None, None, None)
        await until(lambda: happened(one, PeerOffline), "the farewell", 5)
        assert happened(one, PeerOffline)[0].reason == "left"
        assert one.presence.of(three.identity).status == "offline"
        assert [info.peer for info in one.presence.all()][-1] == three.identity

    virtually(scenario)


def test_a_silent_death_is_believed_by_who_was_linked_and_suspected_by_others(virtually):
    async def scenario(net):
        one, two, three = await linked(net, "one", "two", "three")
        await until(lambda: one.presence.of(three.identity), "hearing of a peer's peer", 60)
        await asyncio.sleep(30)
        three.inside.presence._closed = True  # It says nothing more, as a process that hangs.
        three.inside.presence._alarm.cancel()
        await until(lambda: happened(two, PeerOffline), "the death", 120)
        assert happened(two, PeerSuspected)[0].own
        await until(lambda: happened(one, PeerSuspected), "the suspicion, by hearsay with the victim's pledge", 60)
        assert not happened(one, PeerSuspected)[0].own
        await asyncio.sleep(120)
        assert not happened(one, PeerOffline) and one.presence.of(three.identity).state == "suspected"

    virtually(scenario)


def test_a_link_that_is_lost_is_suspicion_and_a_new_link_takes_it_back(virtually):
    async def scenario(net):
        one, two = await linked(net, "one", "two")
        await until(lambda: one.presence.of(two.identity), "hearing of a peer", 60)
        await asyncio.sleep(20)
        for node in (one, two):
            (link,) = [link for link in node.inside.links.all() if link.peer in (one.identity, two.identity)]
            link._channel.on_closed(LinkEnd(LinkFault.LOST, "the path died"))
        await until(lambda: happened(one, PeerSuspected), "suspicion", 5)
        assert one.presence.of(two.identity).state == "suspected"
        assert (await one.connect(two.identity)).connected
        await until(lambda: happened(one, PeerOnline)[-1].suspected, "the all-clear", 30)
        assert one.presence.of(two.identity).state == "online"

    virtually(scenario)


def test_gossip_is_a_rung_of_the_ladder(virtually):
    async def scenario(net):
        one, _two, three = await linked(net, "one", "two", "three")
        await until(lambda: one.presence.of(three.identity), "hearing of a peer's peer", 60)
        await asyncio.sleep(15)  # Until where it can be reached has stood for a while, and was told.
        hint = await one.presence.find(three.identity)
        assert hint is not None and hint.direct == (three.status().contact,)
        assert await one.presence.find(net.nodes[0].identity) is None
        one.inside.presence._core.book._drop(three.identity.raw)
        asked = await one.presence.find(three.identity)
        assert asked is not None and asked.direct == hint.direct
        assert "gossip" in [source.name for source in one.inside.outside.sources]

    virtually(scenario)


def test_a_node_without_gossip_says_and_hears_nothing(virtually):
    async def scenario(net):
        await net.servers(2)
        one = await net.start("one", presence=False)
        two = await net.start("two")
        await found(two, one, 60)
        assert (await two.connect(one.identity)).connected
        await asyncio.sleep(60)
        assert one.presence.all() == two.presence.all() == []
        assert not [event for event in two.recent_events() if isinstance(event, PresenceEvent)]

    virtually(scenario)


def test_who_is_followed_may_be_kept_and_not_asked_for(virtually):
    async def scenario(net):
        one, two = await linked(net, "one", "two")
        ground = one.inside.presence._core.ground
        one.presence.follow([net.nodes[0].identity], ask=False)
        assert ground.interests == {net.nodes[0].identity.raw} and not ground.sought, "nobody is told of a friend"
        one.presence.follow([two.identity])
        assert ground.sought == ground.interests == {two.identity.raw}

    virtually(scenario)


def test_friends_are_followed_as_long_as_they_are_and_nobody_is_told(virtually):
    async def scenario(net):
        one, two, three = await linked(net, "one", "two", "three")
        ground = one.inside.presence._core.ground
        one.book.add("carol", three.identity)
        await until(lambda: ground.interests == {three.identity.raw}, "the name in the book", 10)
        assert not ground.sought, "nobody is told of a friend"
        await until(lambda: one.presence.of(three.identity), "hearing of a peer's peer", 60)
        assert one.presence.of(three.identity).close and not one.presence.of(three.identity).linked
        three.presence.set("away", "gone fishing")
        await until(lambda: happened(one, PeerAway), "the friend's status", 5)
        assert happened(one, PeerAway)[0].level == "info"
        one.presence.follow([two.identity])
        assert ground.interests == {two.identity.raw, three.identity.raw} and ground.sought == {two.identity.raw}
        one.presence.follow([])
        one.book.remove("carol")
        await until(lambda: not ground.interests, "the name's end", 10)

    virtually(scenario)


def test_members_of_a_topic_that_are_connected_are_friends_for_that_long(virtually):
    async def scenario(net):
        one, two = await linked(net, "one", "two")
        ground = one.inside.presence._core.ground
        async with await one.topics.join("chess") as first, await two.topics.join("chess"):
            assert await first.wait_peers(1, 60)
            await until(lambda: ground.interests == {two.identity.raw}, "the member", 10)
        await until(lambda: not ground.interests, "the topic's end", 10)

    virtually(scenario)


def test_no_more_friends_are_followed_than_there_is_room_for():
    peers = [IdentityKey.from_seed(number.to_bytes(32, "big")).public for number in range(600)]
    followed = Followed()
    followed.friends.append(lambda: peers)
    followed.name(peers[590:595], ask=True)
    changes = followed.changes()
    assert changes is not None
    sought, kept = changes
    assert len(kept) == FOLLOWED_AT_MOST and kept[:5] == sought, "whom an app names comes first"
    assert followed.changes() is None, "nothing has changed"


def test_the_live_view_shows_what_friends_are_called():
    known = {"peer": "y" * 52, "peer_name": "carol", "state": "online", "status": "away", "status_text": "tea"}
    table = _screen({}, [known, {**known, "peer_name": None}], [])
    assert [str(column.header) for column in table.columns][:3] == ["name", "peer", "status"]
    assert next(iter(table.columns[0].cells)) == "carol" and str(next(iter(table.columns[2].cells))) == "away"
