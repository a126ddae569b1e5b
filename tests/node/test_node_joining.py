"""How a node finds the network: saved contacts first, signed lists only when nobody answers."""

import asyncio
import random
import time

import pytest

from bootstrap.contacts import FirstContact
from bootstrap.firstcontacts import LIST_DOMAIN, FirstContacts, ListFile, encode_file, encode_payload
from bootstrap.trust import Signature
from dht.contact import Contact
from dht.events import ContactRemoved, JoinDone, LookupStats
from dht.identity import IdentityKey, NodeKey
from node.node_events import EventLog, ListLoaded
from node.node_joining import Joining, _resolved
from tests.node.mesh_network import played
from tests.node.node_network import kinds, network

SIGNER = IdentityKey.from_seed(b"g" * 32)
DEAD = NodeKey.from_secret(b"d" * 32).public


@pytest.fixture
async def net(tmp_path):
    async with network(tmp_path) as made:
        yield made


def signed_list(path, *contacts, signer=SIGNER):
    now = int(time.time())
    payload = encode_payload(content := FirstContacts("main", 7, now - 60, now + 86400, contacts))
    signature = Signature(signer.public, signer.sign(LIST_DOMAIN + payload))
    path.write_bytes(encode_file(ListFile(content, payload, (signature,))))
    return str(path)


async def test_a_newcomer_joins_by_a_signed_list_and_needs_it_no_more(net, tmp_path):
    server, _ = await net.servers(2)
    contact = server.status().contact
    source = signed_list(
        tmp_path / "list.json",
        FirstContact(DEAD, (("127.0.0.1", 9),)),
        FirstContact(contact.key, (contact.address,), label="one"),
    )
    trusting = {"bootstrap_lists": (source,), "bootstrap_signers": (SIGNER.public,), "contacts": ()}
    newcomer = await net.start("newcomer", **trusting)
    assert await newcomer.wait_joined(10)
    (shown,) = newcomer.status().bootstrap
    assert (shown.source, shown.status) == (source, "accepted")
    await newcomer.__aexit__(None, None, None)
    (tmp_path / "list.json").unlink()
    again = await net.start("newcomer", **trusting)
    assert await again.wait_joined(10)
    assert "ListLoaded" not in kinds(again)


async def test_a_list_that_strangers_signed_is_refused_and_said(net, tmp_path):
    (server,) = [await net.start("server")]
    contact = server.status().contact
    first = FirstContact(contact.key, (contact.address,))
    source = signed_list(tmp_path / "list.json", first, signer=IdentityKey.from_seed(b"e" * 32))
    newcomer = await net.start("newcomer", bootstrap_lists=(source,), bootstrap_signers=(SIGNER.public,), contacts=())
    assert not await newcomer.wait_joined(0.8)
    event = next(event for event in newcomer.recent_events() if isinstance(event, ListLoaded))
    assert event.status == "refused" and event.level == "warning" and source in event.text
    assert newcomer.status().bootstrap[0].status == "refused"


async def test_the_lists_are_left_alone_while_a_known_contact_answers(net, tmp_path):
    await net.servers(2)
    node = await net.start(
        "node", bootstrap_lists=(str(tmp_path / "missing.json"),), bootstrap_signers=(SIGNER.public,)
    )
    assert await node.wait_joined(10)
    assert "ListLoaded" not in kinds(node) and not node.status().bootstrap


async def test_a_dead_contact_does_not_hold_up_the_list(net, tmp_path):
    server, _ = await net.servers(2)
    contact = server.status().contact
    source = signed_list(tmp_path / "list.json", FirstContact(contact.key, (contact.address,)))
    dead = type(contact)(DEAD, ("127.0.0.1", 9))
    started = time.monotonic()
    node = await net.start("node", bootstrap_lists=(source,), bootstrap_signers=(SIGNER.public,), contacts=(dead,))
    assert await node.wait_joined(10)
    assert time.monotonic() - started < 5


async def test_names_are_resolved_and_those_that_do_not_resolve_left_out(monkeypatch):
    async def getaddrinfo(host, port, **more):
        if host == "gone.example":
            raise OSError("no such name")
        return [(None, None, None, "", ("192.0.2.1", port)), (None, None, None, "", ("fe80::1%eth0", port, 0, 2))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    found = await _resolved([(DEAD, ("node.example", 4000)), (DEAD, ("gone.example", 4000))])
    assert [(contact.key, contact.address) for contact in found] == [(DEAD, ("192.0.2.1", 4000))]


class Walks:
    """In place of a driver: walks that take `takes` seconds, and find `found` nodes."""

    def __init__(self, takes, found):
        self.takes, self.found, self.known = takes, found, 0
        self.began = []
        self.handlers = {}
        self.engine = self
        self.now = self.clock = asyncio.get_running_loop().time

    def contacts(self):
        return [None] * self.known

    def subscribe(self, kind, handler):
        self.handlers[kind] = handler

    def command(self, call):
        pass

    async def run(self, call, until):
        self.began.append(self.now())
        found = self.found
        await asyncio.sleep(self.takes)
        self.known = max(self.known, found)
        return JoinDone(0, self.known, LookupStats(0, 0, 0, 0, 0.0))

    def lose_all(self):
        self.known = 0
        self.handlers[ContactRemoved](None)


def joining(walks):
    made = Joining(walks, EventLog(), [Contact(DEAD, ("192.0.2.1", 9))], None, random.Random(1))
    return made, asyncio.ensure_future(made.run())


def test_who_is_alone_again_while_it_still_looks_around_joins_at_once():
    async def main():
        walks = Walks(0.1, 3)
        node, running = joining(walks)
        await asyncio.sleep(2.0)
        assert node.joined.is_set()
        before = len(walks.began)
        walks.lose_all()
        await asyncio.sleep(0.2)
        assert len(walks.began) == before + 1 and walks.known == 3 and node.joined.is_set()
        running.cancel()

    played(main())


def test_a_try_made_in_vain_is_made_anew_when_a_way_out_is_found():
    async def main():
        walks = Walks(6.0, 0)
        node, running = joining(walks)
        await asyncio.sleep(1.0)
        walks.takes, walks.found = 0.1, 3
        node.soon()
        await asyncio.sleep(0.2)
        assert node.joined.is_set() and len(walks.began) == 2
        running.cancel()

    played(main())
