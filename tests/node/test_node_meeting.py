"""Calls that are refused, overtaken, or answered by links that have died."""

import asyncio

import pytest

from dht.events import Mode
from dht.identity import IdentityKey
from node import node_journal, node_meeting
from node.adapters.memory_storage import MemoryStorage
from node.node_events import JournalFault, LinkFailed
from node.node_results import Reason
from node.node_ways import AttemptFailed
from node.ports import LinkEnd, LinkFault
from node.protocols.signaling_events import OfferReceived
from node.storage import StorageFailing, StorageFull, StorageRecovered
from tests.node.node_network import found, kinds, network, until


@pytest.fixture
async def net(tmp_path):
    async with network(tmp_path) as made:
        yield made


@pytest.fixture
async def met(net):
    """A caller and a called one, which find each other."""
    one, two, _ = await net.servers(3)
    await found(one, two)
    await found(two, one)
    return one, two


async def test_a_peer_with_too_many_links_is_busy(met, monkeypatch):
    one, two = met
    monkeypatch.setattr(node_meeting, "MAX_LINKS", 0)
    outcome = await one.connect(two.identity)
    assert (outcome.reason, outcome.detail) == (Reason.REFUSED, "busy")
    assert "signaling" in outcome.phases and not two.links()


async def test_a_peer_that_is_stopping_says_so(met):
    one, two = met
    two.inside.outside.meeting._closing = True
    outcome = await one.connect(two.identity)
    assert (outcome.reason, outcome.detail) == (Reason.REFUSED, "going-away")
    assert (await two.connect(one.identity)).reason is Reason.STOPPING


async def test_an_offer_that_means_nothing_is_refused_and_told_at_both_ends(met, net, monkeypatch):
    one, two = met
    monkeypatch.setattr(net.sessions, "new_name", lambda session: b"rubbish")
    outcome = await one.connect(two.identity)
    assert (outcome.reason, outcome.detail) == (Reason.REFUSED, "bad-offer")
    failed = next(event for event in two.recent_events() if isinstance(event, LinkFailed))
    assert not failed.initiated and "bad-description" in failed.text and failed.peer == one.identity


async def test_a_link_that_fails_at_the_answering_end_is_told_there(met, net):
    one, two = met
    net.sessions.fail = LinkEnd(LinkFault.DTLS_FAILED, "broken off")
    outcome = await one.connect(two.identity)
    assert outcome.reason is Reason.LINK_FAILED and "dtls-failed" in outcome.detail
    await until(lambda: "LinkFailed" in kinds(two), "the event at the other end")
    assert not two.inside.outside.meeting._answering


async def test_a_call_that_ours_has_overtaken_opens_no_second_attempt(met):
    one, two = met
    low, high = sorted((one, two), key=lambda node: node.identity.raw)
    assert (await low.connect(high.identity)).connected
    late = OfferReceived(high.identity, bytes(16), b"an offer from before", b"")
    low.inside.outside.meeting._on_offer(late)
    assert not low.inside.outside.meeting._answering
    # The other way round it is a new call of a peer that has lost its link.
    high.inside.outside.meeting._on_offer(OfferReceived(low.identity, bytes(16), b"an offer", b""))
    assert list(high.inside.outside.meeting._answering) == [low.identity]
    await until(lambda: not high.inside.outside.meeting._answering, "the end of it")


def looking_in_vain(node):
    """Have a node find nobody, once the event that is returned is set."""
    over, ladder = asyncio.Event(), node.inside.outside.ladder

    async def look_up(peer):
        await over.wait()
        raise AttemptFailed(Reason.NOT_FOUND, "nobody has its record")

    ladder.look_up = ladder.look_up_anew = look_up
    ladder.sources.clear()
    return over


async def test_a_call_is_answered_while_we_still_look_for_the_caller(met):
    # Of two attempts that of the lower key counts; but not one that has not found the other yet, and may never.
    low, high = sorted(met, key=lambda node: node.identity.raw)
    over = looking_in_vain(low)
    outward = asyncio.ensure_future(low.connect(high.identity))
    await asyncio.sleep(0.05)
    assert (await high.connect(low.identity)).connected
    over.set()
    assert (await outward).connected
    assert len(low.links()) == len(high.links()) == 1


async def test_who_has_looked_in_vain_waits_for_the_call_that_it_answers(met, net):
    low, high = sorted(met, key=lambda node: node.identity.raw)
    over, net.sessions.hang = looking_in_vain(low), True
    attempts = [asyncio.ensure_future(low.connect(high.identity))]
    await asyncio.sleep(0.05)
    attempts.append(asyncio.ensure_future(high.connect(low.identity)))
    await until(lambda: low.inside.outside.meeting._answering, "the call")
    over.set()
    await asyncio.sleep(0.1)
    assert not any(attempt.done() for attempt in attempts)
    for attempt in attempts:
        attempt.cancel()
    await asyncio.wait(attempts)


async def test_a_second_call_of_a_peer_ends_its_first(met, net):
    one, two = met
    net.sessions.hang = True
    _, high = sorted((one, two), key=lambda node: node.identity.raw)
    caller = IdentityKey.from_seed(b"c" * 32).public
    for number in (1, 2):
        high.inside.outside.meeting._on_offer(OfferReceived(caller, bytes([number]) * 16, b"an offer", b""))
    assert len(high.inside.outside.meeting._answering) == 1
    await until(lambda: not high.inside.outside.meeting._answering, "the end of it")


async def test_a_link_whose_path_is_silent_goes_on_over_another(met, net, monkeypatch):
    one, two = met
    monkeypatch.setattr(node_meeting, "PROBE_TIMEOUT", 0.05)
    first = await one.connect(two.identity)
    await first.link.ping()
    # As after a kill -9 at the other end: nothing comes back, and nobody has said goodbye.
    monkeypatch.setattr(net.sessions.pairs[0].near, "send", lambda message: None)
    monkeypatch.setattr(net.sessions.pairs[0].far, "send", lambda message: None)
    second = await one.connect(two.identity)
    assert second.connected and not second.reused and second.link is first.link
    assert len(one.links()) == 1 and await first.link.ping() < 5
    await until(lambda: len(two.links()) == 1, "one link at the other end")


async def test_a_ping_that_is_not_answered_is_told(met, net, monkeypatch):
    one, two = met
    assert (await one.ping_link(two.identity)).connected_now
    monkeypatch.setattr("node.node.PING_TIMEOUT", 0.05)
    monkeypatch.setattr(node_meeting.Meeting, "_lives", lambda self, link, timeout: asyncio.sleep(0, True))
    monkeypatch.setattr(net.sessions.pairs[0].near, "send", lambda message: None)
    assert (await one.ping_link(two.identity)).reason is Reason.TIMEOUT


# The role that is found by itself, and the key that goes with it


async def test_a_node_that_has_become_a_server_keeps_its_key_until_it_is_none(net):
    await net.start("server")
    keys = []
    for mode in (Mode.SERVER, None, Mode.CLIENT, None):
        node = await net.start("auto", mode="auto")
        keys.append(node.status().contact.key)
        if mode is not None:
            forced = mode
            if forced is Mode.CLIENT:
                node.inside.driver.command(lambda engine, now: engine.set_mode(Mode.SERVER, now))
            node.inside.driver.command(lambda engine, now, forced=forced: engine.set_mode(forced, now))
            assert node.status().mode == forced.value and "ModeSet" in kinds(node)
        await node.__aexit__(None, None, None)
    assert keys[0] == keys[1] == keys[2] != keys[3]


# A journal that ails


class AilingStorage(MemoryStorage):
    """Storage that has something to report."""

    def __init__(self):
        super().__init__()
        self.waiting = [
            StorageFailing(StorageFull("journal.db", "the disk is full", "Make room"), 7),
            StorageRecovered(3),
        ]

    def next_event(self):
        return self.waiting.pop(0) if self.waiting else None


async def test_what_ails_the_journal_is_told(net, monkeypatch):
    monkeypatch.setattr(node_journal, "POLL", 0.01)
    monkeypatch.setattr(node_journal, "SAVE_INTERVAL", 0.0)

    async def ailing(path):
        return AilingStorage()

    node = await net.start("ailing", parts={"open_storage": ailing})
    await until(lambda: kinds(node).count("JournalFault") == 2, "both reports")
    full, over = [event for event in node.recent_events() if isinstance(event, JournalFault)]
    assert "the disk is full" in full.text and "7 rows" in full.text and full.level == "error"
    assert "3 rows were lost" in over.text and over.level == "warning"
