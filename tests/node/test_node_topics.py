"""Whole nodes in topics, on the simulated network's clock: they find each other, talk, come back, and leave."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from dht.errors import LocalError
from dht.events import PutDone
from dht.identity import IdentityKey
from node.adapters.http import ApiFailure
from node.api import Api
from node.node_member_events import EventsLost, Message, PeerJoined, PeerLeft
from node.node_topics import EVENTS
from node.ports import LinkEnd, LinkFault
from node.protocols.topic_mesh import Delivery
from node.protocols.topics import AnnouncementFlags, TopicKey
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.node_network import VirtualNetwork, until


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


async def started(net, count, **settings):
    nodes = [await net.start(f"n{i}", listen=f"10.0.1.{i}", **settings) for i in range(1, count + 1)]
    for node in nodes:
        assert await node.wait_joined(30)
    return nodes


async def heard(topic, kind=Message, timeout=30.0):
    """The next event of a kind."""
    async with asyncio.timeout(timeout):
        async for event in topic:
            if isinstance(event, kind):
                return event
    raise AssertionError("the topic ended")


def test_members_find_each_other_and_talk(virtually):
    async def scenario(net, simulated):
        one, two, three = await started(net, 3)
        async with (
            await one.topics.join("chess", app="game/1", app_version=7) as first,
            await two.topics.join("chess", app="game/1") as second,
        ):
            assert await first.wait_peers(1, 30) and await second.wait_peers(1, 30)
            assert (await heard(second, PeerJoined)).app_version == 7
            outcome = await first.broadcast(b"e4")
            assert outcome.sent and outcome.deliveries == {two.identity: Delivery.QUEUED} and outcome.reached == 1
            message = await heard(second)
            assert (message.author, message.data, message.direct, message.via) == (
                one.identity,
                b"e4",
                False,
                one.identity,
            )
            assert (await second.send(one.identity, b"e5")).sent
            assert (await heard(first)).direct
            assert not (await three.topics.join("checkers")).peers
        assert (await heard(first, PeerLeft)).reason == "leaving"
        assert [status.topic for status in three.topics.all()] == ["checkers"]

    virtually(scenario)


def test_a_private_topic_is_found_by_those_who_know_its_secret_alone(virtually):
    async def scenario(net, simulated):
        one, two, eve = await started(net, 3)
        mine = await one.topics.join("club", secret="knights only")
        theirs = await two.topics.join("club", secret="knights only")
        guess = await eve.topics.join("club", secret="bishops only")
        public = await eve.topics.join("club")
        assert await mine.wait_peers(1, 30) and await theirs.wait_peers(1, 30)
        await asyncio.sleep(60)
        assert [peer.peer for peer in mine.peers] == [two.identity]
        assert not guess.peers and not public.peers and not guess.members
        # What holders have does not say who is in which topic.
        place = TopicKey.private("club", "knights only").place()
        held = [record.raw for record in (await eve.get(place=place)).records]
        assert held and not any(node.identity.raw in raw for raw in held for node in (one, two))
        assert (await mine.broadcast(b"psst")).reached == 1
        assert (await heard(theirs)).data == b"psst"

    virtually(scenario)


def test_members_of_other_apps_are_not_connected_and_one_join_fits_one_app(virtually):
    async def scenario(net, simulated):
        one, two, _ = await started(net, 3)
        first = await one.topics.join("chess", app="game/1")
        second = await two.topics.join("chess", app="talk/1")
        await asyncio.sleep(60)
        assert not first.peers and not second.peers
        with pytest.raises(LocalError, match="was joined for"):
            await one.topics.join("chess", app="talk/1")
        with pytest.raises(LocalError, match="version"):
            await one.topics.join("go", app_version=70000)

    virtually(scenario)


def test_a_message_to_a_member_that_is_no_neighbour_dials_it_and_one_to_a_stranger_says_why(virtually):
    async def scenario(net, simulated):
        nodes = await started(net, 6, topic_peers=2)
        topics = [await node.topics.join("chess") for node in nodes]
        for topic in topics:
            assert await topic.wait_peers(1, 60)
        await asyncio.sleep(60)
        by = topics[0]
        near = {peer.peer for peer in by.peers}
        far = next((node for node in nodes[1:] if node.identity not in near), None)
        if far is not None:
            assert (await by.send(far.identity, b"hello")).sent
            message = await heard(topics[nodes.index(far)])
            assert message.direct and message.author == nodes[0].identity
        stranger = await net.start("stranger", listen="10.0.9.9")
        assert await stranger.wait_joined(30)
        await asyncio.sleep(10)
        outcome = await by.send(stranger.identity, b"hello")
        assert not outcome.sent and "not-member" in outcome.detail
        assert not (await by.send(nodes[0].identity, b"me")).sent

    virtually(scenario)


def test_who_vanishes_is_let_go_of_and_found_again_when_it_comes_back(virtually):
    async def scenario(net, simulated):
        nodes = await started(net, 4)
        topics = [await node.topics.join("chess") for node in nodes]
        for topic in topics:
            assert await topic.wait_peers(2, 60)
        simulated.take_down("10.0.1.4")
        net.sessions.fail = LinkEnd(LinkFault.ICE_FAILED, "it is away")
        for pair in net.sessions.pairs:
            pair.break_path("gone")
        await until(lambda: not topics[3].peers, "loss", 300)
        net.sessions.fail = None
        await until(lambda: all(len(topic.peers) >= 2 for topic in topics[:3]), "healing", 600)
        assert all(nodes[3].identity not in {one.peer for one in topic.peers} for topic in topics[:3])
        simulated.wake("10.0.1.4")
        await until(lambda: topics[3].peers, "coming back", 1800)

    virtually(scenario)


def test_leaving_withdraws_the_announcement(virtually):
    async def scenario(net, simulated):
        one, two, three = await started(net, 3)
        topic = await one.topics.join("chess")
        await asyncio.sleep(10)
        place = TopicKey.public("chess").place()
        there = (await two.get(place=place)).records
        assert [record.owner for record in there] == [one.identity.raw]
        await topic.leave()
        key = TopicKey.public("chess")
        gone = [key.read(record) for record in (await two.get(place=place)).records]
        assert [said.flags for said in gone] == [AnnouncementFlags.LEAVING]
        await asyncio.sleep(300)
        assert not (await three.get(place=place)).records
        with pytest.raises(LocalError, match="left"):
            await topic.broadcast(b"still here?")

    virtually(scenario)


def test_announcements_outlive_an_hour_and_cost_four(virtually):
    async def scenario(net, simulated):
        one, two, _ = await started(net, 3)
        first, second = await one.topics.join("chess"), await two.topics.join("chess")
        assert await first.wait_peers(1, 30)
        before = one.topics.all()[0].counters
        await asyncio.sleep(3600)
        after = one.topics.all()[0].counters
        assert 3 <= after["announced"] - before["announced"] <= 5 and len(second.peers) == 1
        assert after["looked_up"] - before["looked_up"] <= 15  # The first ones growing apart, then one in ten minutes.

    virtually(scenario)


def test_made_up_announcements_cost_some_dials_and_hide_nobody(virtually):
    async def scenario(net, simulated):
        nodes = await started(net, 4)
        key = TopicKey.public("chess")
        for number in range(1, 40):
            made_up = IdentityKey.from_seed(number.to_bytes(32, "big"))
            record = key.announce(
                made_up,
                made_up,
                AnnouncementFlags(0),
                shard=0,
                seq=1,
                expires=nodes[0].inside.driver.now() + 7200,
                nonce=bytes(24),
            )
            await nodes[0].inside.driver.run(lambda engine, now, put=record: engine.put(put, now), PutDone)
        topics = [await node.topics.join("chess") for node in nodes[1:]]
        await until(lambda: all(len(topic.peers) == 2 for topic in topics), "meeting among the made-up", 900)
        await asyncio.sleep(3600)
        for node in nodes[1:]:
            assert node.topics.all()[0].counters["dialled"] < 39 * 3 + 20

    virtually(scenario)


def test_a_slow_app_is_told_what_it_missed_and_several_apps_share_a_topic(virtually):
    async def scenario(net, simulated):
        one, two, _ = await started(net, 3)
        first, slow = await one.topics.join("chess"), await two.topics.join("chess")
        other = await two.topics.join("chess")
        assert await first.wait_peers(1, 30) and await slow.wait_peers(1, 30)
        for number in range(EVENTS + 10):
            slow.push(Message(one.identity, b"%d" % number, True, one.identity, None))
        lost = await anext(slow)
        assert isinstance(lost, EventsLost) and lost.count >= 10
        await slow.leave()
        assert len(other.peers) == 1 and [status.topic for status in two.topics.all()] == ["chess"]
        await other.leave()
        assert two.topics.all() == []

    virtually(scenario)


def test_the_local_api_joins_says_lists_and_leaves(virtually):
    async def scenario(net, simulated):
        one, two, _ = await started(net, 3, topics=("lobby",))
        api, other = Api(one), Api(two)
        one.book.add("bob", two.identity)
        await asyncio.sleep(30)
        assert [topic["topic"] for topic in (await api.call("topics", {}))["topics"]] == ["lobby"]
        assert (await api.call("topic-announce", {"topic": "chess"}))["kept"]
        events = []

        async def follow():
            async for event in other.stream("topic-join", {"topic": "chess"}):
                events.append(event)

        following = asyncio.ensure_future(follow())
        await until(lambda: any(event["event"] == "peer-joined" for event in events), "meeting", 60)
        assert (await api.call("topic", {"topic": "chess"}))["peers"][0]["peer_name"] == "bob"
        said = await api.call("topic-say", {"topic": "chess", "text": "hi"})
        assert said["sent"] and said["reached"] == 1 and said["deliveries"][0]["peer_name"] == "bob"
        assert (await api.call("topic-say", {"topic": "chess", "data_base64": "/w==", "to": "bob"}))["sent"]
        await until(lambda: sum(event["event"] == "message" for event in events) == 2, "messages", 30)
        texts = [event.get("data_text") for event in events if event["event"] == "message"]
        assert texts == ["hi", None]
        assert (await api.call("topic-leave", {"topic": "chess"}))["left"]
        for command in ("topic", "topic-leave", "topic-say"):
            with pytest.raises(ApiFailure, match="not in the topic"):
                await api.call(command, {"topic": "chess"} | ({"text": "x"} if command == "topic-say" else {}))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert [topic.topic for topic in two.topics.all()] == ["lobby"]

    virtually(scenario)
