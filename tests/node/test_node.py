"""Whole nodes on loopback: finding, meeting, sending, and what they say when they cannot."""

import asyncio
import hashlib
import time
from typing import Any

import pytest

from dht.errors import LocalError
from dht.identity import IdentityKey
from dht.records import Refusal, topic_place
from node.adapters.keyfile_folder import DataDirTaken
from node.adapters.memory_storage import MemoryStorage
from node.api_json import to_json
from node.config import NodeConfig
from node.node import Node, NodeParts
from node.node_results import Reason
from node.ports import LinkEnd, LinkFault
from tests.node.node_network import found, kinds, network, until

STRANGER = IdentityKey.from_seed(b"s" * 32).public


@pytest.fixture
async def net(tmp_path):
    async with network(tmp_path) as made:
        yield made


async def test_two_peers_that_know_a_key_meet_over_webrtc_and_a_file_crosses(net, tmp_path):
    net.parts = {}
    one, two, *_ = await net.servers(4)
    taken: list[Any] = []
    receiving = asyncio.ensure_future(
        two.receive_files(tmp_path / "inbox", decide=lambda offer: True, on_event=taken.append, count=1)
    )
    await found(one, two)
    content = bytes(range(256)) * 4000
    (tmp_path / "a file.bin").write_bytes(content)
    sent = await one.send_file(two.identity, tmp_path / "a file.bin")
    assert sent.ok and sent.sha256 == hashlib.sha256(content).hexdigest()
    assert {"lookup", "ice", "dtls", "sctp", "proof", "first_byte", "total"} <= sent.phases.keys()
    await asyncio.wait_for(receiving, 10)
    assert taken[-1].event == "received" and taken[-1].path.read_bytes() == content
    ping = await two.ping_link(one.identity)
    assert ping.reached and not ping.connected_now
    (link,) = one.links()
    assert link.peer == two.identity and link.initiated and link.type == "host"


async def test_a_node_tells_what_it_is(net):
    one, two, _ = await net.servers(3)
    await found(two, one)
    await until(lambda: one.status().published is not None, "publishing")
    status = one.status()
    assert status.identity == one.identity and status.joined and status.contacts == 2
    assert status.published is not None and status.published.stored == 3
    assert status.contact.address == ("127.0.0.1", status.listening[0][1])
    document = to_json(status)
    assert document["mode"] == "server" and document["counters"]["udp"]["received"] > 0
    assert {info.contact.key for info in two.contacts()} == {
        node.status().contact.key for node in net.nodes if node is not two
    }
    assert all(info.rtt is not None and info.state == "good" for info in two.contacts())
    assert {"Started", "Joined", "Published", "HomesFound"} <= set(kinds(one))
    assert all(event.text and event.level for event in one.recent_events())


async def test_clients_are_found_and_met_through_their_home_nodes_alone(net):
    await net.servers(3)
    one, two = [await net.start(name, mode="client") for name in ("one", "two")]
    await found(one, two)
    outcome = await one.find(two.identity)
    assert not outcome.direct and len(outcome.homes) == 3 and "server" not in outcome.capabilities
    assert {"webrtc", "files"} <= set(outcome.capabilities)
    assert all(two.status().contact.key != info.contact.key for info in one.contacts())
    connected = await one.connect(two.identity)
    assert connected.connected and connected.link.peer == two.identity
    assert {"lookup", "gather", "signaling", "ice", "dtls", "sctp", "total"} <= connected.phases.keys()
    again = await two.connect(one.identity)
    assert again.reused and net.sessions.opened == 1


async def test_a_ping_over_the_dht_tells_of_every_way(net):
    one, two, *_ = await net.servers(4)
    await found(one, two)
    ping = await one.ping_dht(two.identity)
    assert ping.reached and ping.ways[0].kind == "direct" and ping.ways[0].rtt is not None
    missing = await one.ping_dht(STRANGER)
    assert not missing.reached and missing.reason is Reason.NOT_FOUND


# Records


async def test_values_are_put_and_read_back(net):
    one, two, _ = await net.servers(3)
    receipt = await one.put(b"first", salt=b"name")
    assert receipt.ok and receipt.stored == 3
    second = await one.put(b"second", salt=b"name", expected_seq=receipt.seq)
    assert second.ok and second.seq > receipt.seq
    read = await two.get(owner=one.identity, salt=b"name")
    assert read.found and [record.payload for record in read.records] == [b"second"]
    stale = await one.put(b"third", salt=b"name", expected_seq=receipt.seq)
    assert not stale.ok and stale.reasons == {"cas_mismatch": 2}
    value = await one.put(b"for ever")
    assert (await two.get(place=value.place)).records[0].payload == b"for ever"
    await one.put(b"one was here", topic="crows")
    await two.put(b"two was here", topic="crows")
    announced = await one.get(place=topic_place("crows"))
    assert {record.payload for record in announced.records} == {b"one was here", b"two was here"}
    assert [record.payload for record in (await one.get(place=topic_place("crows"), owner=two.identity)).records] == [
        b"two was here"
    ]


async def test_what_is_not_there_and_what_is_not_allowed_is_said(net):
    one, *_ = await net.servers(2)
    missing = await one.get(owner=STRANGER, salt=b"x")
    assert not missing.found and "none of 1 nodes" in missing.reason
    with pytest.raises(LocalError, match="not both"):
        await one.put(b"x", salt=b"s", topic="t")
    with pytest.raises(LocalError, match="say what to read"):
        await one.get()
    with pytest.raises(LocalError, match="too long"):
        await one.put(bytes(2000), salt=b"s")
    with pytest.raises(LocalError, match="not printable"):
        one.set_status_text("a\x1b[2Jb")


async def test_a_status_text_is_published(net):
    one, two, _ = await net.servers(3)
    one.set_status_text("back at six")
    async with asyncio.timeout(10):
        while (await two.find(one.identity)).status != "back at six":
            await asyncio.sleep(0.05)


# Why it did not work


async def test_a_node_alone_says_so(net):
    node = await net.start("alone")
    assert not await node.wait_joined(0.05)
    assert (await node.find(STRANGER)).reason is Reason.NOT_JOINED
    outcome = await node.connect(STRANGER)
    assert not outcome.connected and outcome.reason is Reason.NOT_JOINED
    with pytest.raises(ValueError, match="there is no link"):
        outcome.link  # noqa: B018
    assert (await node.ping_link(STRANGER)).reason is Reason.NOT_JOINED
    assert (await node.connect(node.identity)).reason is Reason.SELF
    assert "Alone" in kinds(node)


async def test_a_peer_nobody_knows_is_not_found(net):
    one, *_ = await net.servers(2)
    outcome = await one.connect(STRANGER)
    assert outcome.reason is Reason.NOT_FOUND and outcome.phases["lookup"] > 0
    assert "LinkFailed" in kinds(one)


async def test_a_path_that_does_not_open_is_told_with_its_phase(net):
    one, two, _ = await net.servers(3)
    await found(one, two)
    net.sessions.fail = LinkEnd(LinkFault.ICE_TIMEOUT, "no pair worked")
    outcome = await one.connect(two.identity)
    assert outcome.reason is Reason.LINK_FAILED and "ice-timeout" in outcome.detail


async def test_a_caller_may_give_up_before_the_attempt_does(net):
    one, two, _ = await net.servers(3)
    await found(one, two)
    net.sessions.hang = True
    outcome = await one.connect(two.identity, timeout=0.2)
    assert outcome.reason is Reason.TIMEOUT


async def test_a_file_for_a_peer_that_cannot_be_reached_is_an_outcome(net, tmp_path):
    one, *_ = await net.servers(2)
    (tmp_path / "x").write_bytes(b"content")
    sent = await one.send_file(STRANGER, tmp_path / "x")
    assert not sent.ok and sent.reason == "not-found" and sent.size == 7


# One link for each peer


async def test_calls_at_the_same_time_end_in_one_link(net):
    await net.servers(3)
    one, two = [await net.start(name, mode="client") for name in ("one", "two")]
    await found(one, two)
    await found(two, one)
    for _ in range(5):
        ours, theirs = await asyncio.gather(one.connect(two.identity), two.connect(one.identity))
        assert ours.connected and theirs.connected
        await until(lambda: len(one.links()) == len(two.links()) == 1, "one link")
        assert await one.inside.links.ping(ours.link) >= 0
        assert await two.inside.links.ping(theirs.link) >= 0
        await ours.link.close()
        await until(lambda: not one.links() and not two.links(), "the end of the link")
    assert not {"LinkFailed"} & {*kinds(one), *kinds(two)}


async def test_many_who_ask_for_one_peer_share_the_attempt(net):
    one, two, _ = await net.servers(3)
    await found(one, two)
    outcomes = await asyncio.gather(*(one.connect(two.identity) for _ in range(10)))
    assert len({id(outcome.link) for outcome in outcomes}) == 1 and net.sessions.opened == 1


async def test_a_link_whose_path_died_goes_on_over_another(net, monkeypatch):
    monkeypatch.setattr("node.node_meeting.PROBE_TIMEOUT", 0.05)
    one, two, _ = await net.servers(3)
    await found(one, two)
    first = await one.connect(two.identity)
    await first.link.ping()
    net.sessions.pairs[0].break_path()
    await until(lambda: "PathLost" in kinds(one), "the end of the path")
    second = await one.connect(two.identity)
    assert second.connected and second.link is first.link
    assert await first.link.ping() < 5
    assert kinds(one).count("PathChanged") == 1 and "LinkEnded" not in kinds(one)


# Starting and stopping


async def test_a_restarted_node_needs_no_first_contact(net, tmp_path):
    one, two, three = await net.servers(3)
    receipt = await one.put(b"value", salt=b"s")
    await until(lambda: two.status().records_held and three.status().records_held, "the copies")
    identity, key, port = two.identity, two.status().contact.key, two.status().listening[0][1]
    held = two.status().records_held
    await two.__aexit__(None, None, None)
    again = await net.start("server1", contacts=(), port=port)
    assert again.identity == identity and again.status().contact.key == key
    assert await again.wait_joined(10)
    assert again.status().records_held == held
    read = await again.get(owner=one.identity, salt=b"s")
    assert read.found and read.records[0].seq == receipt.seq


async def test_a_client_has_a_new_node_key_at_each_start(net):
    keys = set()
    for _ in range(2):
        node = await net.start("client", mode="client", contacts=())
        keys.add(node.status().contact.key)
        await node.__aexit__(None, None, None)
    assert len(keys) == 2


async def test_numbers_go_on_rising_over_restarts(net):
    await net.start("server")
    seqs = []
    for _ in range(2):
        node = await net.start("writer")
        assert await node.wait_joined(10)
        seqs.append((await node.put(b"x", salt=b"s")).seq)
        await node.__aexit__(None, None, None)
    assert seqs[0] < seqs[1]


class HangingStorage(MemoryStorage):
    """Storage on a disk that does not answer any more."""

    async def close(self):
        await asyncio.Event().wait()


async def test_stopping_takes_less_than_two_seconds_whatever_hangs(net):
    async def hanging(path):
        return HangingStorage()

    two, _ = await net.servers(2)
    one = Node(net.config("one"), NodeParts(new_session=net.sessions, open_storage=hanging))
    await one.__aenter__()
    await found(one, two)
    net.sessions.hang = True
    dialling = asyncio.ensure_future(one.connect(two.identity))
    waiting: list[asyncio.Future[Any]] = [dialling, asyncio.ensure_future(one.receive_files())]
    # Not at once: of two calls that cross one may be told that the other end is busy.
    await until(lambda: one.identity in two.inside.outside.meeting._answering, "the call")
    waiting.append(asyncio.ensure_future(two.connect(one.identity)))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    with pytest.raises(LocalError, match="the journal was not saved within"):
        await one.__aexit__(None, None, None)
    assert time.monotonic() - started < 2.0
    assert kinds(one)[-1] == "Stopped"
    assert (await dialling).reason is Reason.STOPPING
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_who_follows_hears_the_end(net):
    node = await net.start("one")
    feed = node.events()
    await node.__aexit__(None, None, None)
    async with asyncio.timeout(5):
        heard = [type(event).__name__ async for event in feed]
    assert heard[-1] == "Stopped"


async def test_two_nodes_do_not_share_a_folder(net):
    await net.start("one")
    with pytest.raises(DataDirTaken):
        await net.start("one")


async def test_a_port_that_was_asked_for_is_not_swapped(net):
    one = await net.start("one")
    taken = one.status().listening[0][1]
    with pytest.raises(LocalError, match=f"UDP port {taken}"):
        await net.start("two", port=taken)


async def test_a_default_port_gives_way(net, monkeypatch):
    one = await net.start("one")
    taken = one.status().listening[0][1]
    config = net.config("two").model_copy(update={"port": taken})
    config = NodeConfig.model_construct(**{**dict(config), "port": taken})
    config.model_fields_set.discard("port")
    async with Node(config, NodeParts(new_session=net.sessions)) as two:
        assert two.status().listening[0][1] != taken


async def test_a_node_is_started_once(net):
    node = await net.start("one")
    with pytest.raises(LocalError, match="make a new one"):
        await node.__aenter__()


async def test_networks_keep_apart(net):
    one, _two = await net.servers(2)
    other = await net.start("other", network="other")
    private = await net.start("private", network_key=bytes(range(32)))
    assert not await other.wait_joined(0.3) and not await private.wait_joined(0.3)
    member = await net.start("member", network_key=bytes(range(32)), contacts=(private.status().contact,))
    assert await member.wait_joined(10)
    assert member.status().private and {info.contact.key for info in member.contacts()} == {
        private.status().contact.key
    }
    assert one.status().counters["dht"]


async def test_refusals_of_a_record_are_counted_by_reason(net):
    one, *_ = await net.servers(3)
    await one.put(b"x", salt=b"s")
    receipt = await one.put(b"y", salt=b"s", expected_seq=1)
    assert {verdict.refusal for verdict in receipt.verdicts} == {Refusal.CAS_MISMATCH}
