"""How a node finds the network: saved contacts first, signed lists only when nobody answers."""

import asyncio
import time

import pytest

from bootstrap.contacts import FirstContact
from bootstrap.firstcontacts import LIST_DOMAIN, FirstContacts, ListFile, encode_file, encode_payload
from bootstrap.trust import Signature
from dht.identity import IdentityKey, NodeKey
from node.node_events import ListLoaded
from node.node_joining import _resolved
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
