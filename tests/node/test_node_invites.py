"""Whole nodes invite each other: over loopback, with nothing known but the invite."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dht.contact import Contact
from dht.errors import LocalError
from dht.identity import PublicKey, is_exempt
from node.adapters.http import ApiFailure
from node.api import Api, Document
from node.api_errors import failure_of
from node.node import Node
from node.node_entering import guest_config
from node.node_inviting import TRIES, InviteMade, InviteRedeemed, InviteRefused
from node.ports import Stream
from node.protocols.invite import Invite, make_invite, read_invite
from node.protocols.invite_faults import BadInvite, InviteFault, JoinFailed
from node.protocols.invite_ports import GrantRefused
from node.protocols.invite_redeeming import STREAM_NAME
from node.protocols.invite_text import find_invite
from tests.node.node_network import NodeNetwork, kinds

KEY = b"\xab" * 32


class Members:
    """Makes members of one network, and notes whom."""

    def __init__(self, network: str = "allotment") -> None:
        self.network = network
        self.refuse = ""
        self.more = b""
        self.granted: list[PublicKey] = []
        self.local, self.until = False, math.inf

    def lan_only(self, network: str) -> bool:
        return self.local and network == self.network

    def key_until(self, network: str) -> float:
        return self.until

    def key_of(self, network: str) -> bytes | None:
        return KEY if network == self.network else None

    async def grant(self, network: str, joiner: PublicKey) -> bytes:
        assert network == self.network
        if self.refuse:
            raise GrantRefused(self.refuse)
        self.granted.append(joiner)
        return b"certificate of " + joiner.raw + self.more


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[NodeNetwork]:
    async with AsyncExitStack() as stack:
        yield NodeNetwork(tmp_path, stack)


@pytest.fixture
async def inviter(net: NodeNetwork) -> Node:
    """A node of a private network that nobody else is in."""
    node = await net.start("inviter", network="allotment", network_key=KEY)
    node.inside.inviting.grantor = Members()
    return node


async def newcomer(net: NodeNetwork, name: str = "newcomer", **settings: Any) -> Node:
    """A node that has the network's key, as out of the invite, and knows nobody."""
    given: dict[str, Any] = {"network": "allotment", "network_key": KEY, "contacts": (), "mode": "client"}
    return await net.start(name, **given | settings)


async def refused(node: Node, invite: Invite, timeout: float = 10.0) -> tuple[InviteFault, str]:
    with pytest.raises((JoinFailed, BadInvite)) as caught:
        await node.redeeming.redeem(invite, timeout=timeout)
    assert isinstance(caught.value, JoinFailed | BadInvite)
    return caught.value.fault, str(caught.value)


def members(inviter: Node) -> Members:
    grantor = inviter.inside.inviting.grantor
    assert isinstance(grantor, Members)
    return grantor


async def test_a_newcomer_gets_in_with_nothing_but_the_invite(net: NodeNetwork, inviter: Node) -> None:
    made = read_invite((await inviter.inviting.make()).raw)
    assert (made.network, made.key, made.uses) == ("allotment", KEY, 1)
    assert made.contacts == (inviter.status().contact,)
    node = await newcomer(net)
    steps: list[str] = []
    redeemed = await node.redeeming.redeem(made, timeout=20, say=steps.append)
    assert redeemed.certificate == b"certificate of " + node.identity.raw
    assert redeemed.contacts[0] == inviter.status().contact
    assert abs(redeemed.skew) < 5
    assert steps == [f"reaching {inviter.identity.text}", "redeeming the invite"]
    assert {"InviteMade", "InviteRedeemed"} <= set(kinds(inviter))
    (entry,) = await inviter.inviting.entries()
    assert [who for who, _ in entry.redeemed] == [node.identity]


async def test_one_use_is_one_newcomers_even_when_two_come_at_once(net: NodeNetwork, inviter: Node) -> None:
    made = await inviter.inviting.make()
    nodes = [await newcomer(net, name) for name in ("first", "second")]
    ends = await asyncio.gather(*(node.redeeming.redeem(made, timeout=20) for node in nodes), return_exceptions=True)
    (failed,) = [end for end in ends if isinstance(end, BaseException)]
    assert isinstance(failed, JoinFailed)
    assert failed.fault is InviteFault.USED_UP
    assert len(members(inviter).granted) == 1
    # The one that got in gets in again: its answer might have been lost.
    winner = nodes[0] if isinstance(ends[1], BaseException) else nodes[1]
    assert (await winner.redeeming.redeem(made, timeout=20)).certificate
    assert [event.again for event in inviter.recent_events() if isinstance(event, InviteRedeemed)] == [False, True]


async def test_each_refusal_has_its_reason(net: NodeNetwork, inviter: Node) -> None:
    node = await newcomer(net)
    made = await inviter.inviting.make()

    # Made by the inviter's key, and yet not one it knows: the ledger was lost, or somebody has the key.
    secret = inviter.inside.identity_key
    foreign = make_invite(secret, replace(made, token=b"\0\0\0\0", raw=b""))
    assert (await refused(node, foreign))[0] is InviteFault.UNKNOWN
    # The token of another one, in an invite that promises more.
    altered = make_invite(secret, replace(made, uses=9, raw=b""))
    assert (await refused(node, altered))[0] is InviteFault.UNKNOWN

    await inviter.inviting.revoke(made.id)
    assert await refused(node, made) == (InviteFault.REVOKED, "the inviter has taken this invite back")

    short = await inviter.inviting.make(lifetime=1.0)
    await asyncio.sleep(max(0.0, short.expires - inviter.driver.now()) + 0.01)
    assert (await refused(node, short))[0] is InviteFault.EXPIRED

    members(inviter).refuse = "its own membership was revoked"
    other = await inviter.inviting.make()
    fault, words = await refused(node, other)
    assert fault is InviteFault.NOT_GRANTED
    assert "its own membership was revoked" in words
    # Nothing was used up by that.
    members(inviter).refuse = ""
    assert (await node.redeeming.redeem(other, timeout=20)).certificate

    said = [event.reason for event in inviter.recent_events() if isinstance(event, InviteRefused)]
    reasons = ["unknown", "unknown", "revoked", "expired", "not-granted its own membership was revoked"]
    assert said == reasons


async def test_our_own_and_out_of_date_ones_are_refused_before_anybody_is_asked(
    net: NodeNetwork, inviter: Node
) -> None:
    made = await inviter.inviting.make()
    assert (await refused(inviter, made))[0] is InviteFault.OWN
    node = await newcomer(net)
    secret = inviter.inside.identity_key
    old = make_invite(secret, replace(made, issued=1_000_000, expires=1_000_060, raw=b""))
    assert (await refused(node, old))[0] is InviteFault.EXPIRED
    ahead = int(node.driver.now()) + 86400
    fault, words = await refused(node, make_invite(secret, replace(made, issued=ahead, expires=ahead + 60, raw=b"")))
    assert fault is InviteFault.NOT_YET
    assert "the clock here, or the inviter's, is wrong" in words
    assert not node.links()


async def test_an_inviter_that_is_gone_is_told_from_one_that_refuses(net: NodeNetwork, inviter: Node) -> None:
    made = await inviter.inviting.make()
    node = await newcomer(net)
    inviter.inside.driver.close()
    fault, words = await refused(node, made, timeout=3.0)
    assert fault is InviteFault.UNREACHED
    assert f"the inviter {inviter.identity.text} was not reached" in words
    assert "first contacts answered" in words


async def test_an_invite_with_another_networks_key_reaches_nobody(net: NodeNetwork, inviter: Node) -> None:
    made = await inviter.inviting.make()
    other = make_invite(inviter.inside.identity_key, replace(made, key=b"\xcd" * 32, raw=b""))
    node = await newcomer(net, network_key=b"\xcd" * 32)
    fault, words = await refused(node, other, timeout=1.5)
    assert fault is InviteFault.UNREACHED
    assert "none of its 1 first contacts answered" in words
    assert "the inviter has to make a new invite" in failure_of(JoinFailed(fault, words)).hint
    assert not inviter.links()


async def test_a_certificate_that_is_too_long_is_no_membership(net: NodeNetwork, inviter: Node) -> None:
    members(inviter).more = bytes(5000)
    made = await inviter.inviting.make()
    node = await newcomer(net)
    fault, words = await refused(node, made)
    assert fault is InviteFault.NOT_GRANTED and "bytes" in words
    members(inviter).more = b""
    assert (await node.redeeming.redeem(made, timeout=20)).certificate


async def test_tries_are_bounded(net: NodeNetwork, inviter: Node) -> None:
    made = await inviter.inviting.make()
    node = await newcomer(net)
    secret = inviter.inside.identity_key
    foreign = make_invite(secret, replace(made, token=b"\0\0\0\0", raw=b""))
    faults = [(await refused(node, foreign))[0] for _ in range(TRIES + 1)]
    assert faults == [InviteFault.UNKNOWN] * TRIES + [InviteFault.BUSY]


async def test_a_stream_that_says_rubbish_or_nothing_harms_nobody(net: NodeNetwork, inviter: Node) -> None:
    made = await inviter.inviting.make()
    node = await newcomer(net)
    await node.redeeming.redeem(made, timeout=20)
    link = node.inside.links.get(inviter.identity)
    assert link is not None
    streams: list[Stream] = []
    for said in (b"\xff" * 100, b"\0\6\1\1abcd", b""):
        streams.append(await link.open_stream(STREAM_NAME))
        await streams[-1].write(said)
        await streams[-1].close()
    assert await streams[0].read() == b""
    assert (await node.redeeming.redeem(made, timeout=20)).certificate


async def test_what_cannot_be_invited_into_is_said(inviter: Node) -> None:
    with pytest.raises(LocalError, match="not in a network 'elsewhere'"):
        await inviter.inviting.make(network="elsewhere")
    with pytest.raises(LocalError, match="1 to 65535 peers"):
        await inviter.inviting.make(uses=0)
    with pytest.raises(LocalError, match="366 days"):
        await inviter.inviting.make(lifetime=400 * 86400)
    with pytest.raises(LocalError, match="there is no invite"):
        await inviter.inviting.revoke("yyyyyyy")
    assert not [event for event in inviter.recent_events() if isinstance(event, InviteMade)]


async def test_an_invite_names_home_nodes_where_nobody_reaches_the_inviter(net: NodeNetwork) -> None:
    await net.servers(3)
    inviter = await net.start("inviter", mode="client")
    made = await inviter.inviting.make(uses=3, lifetime=3600)
    assert made.homes and made.homes == inviter.status().homes[: len(made.homes)]
    assert (made.node_key, made.key, made.network) == (None, None, "main")
    node = await net.start("newcomer", mode="client", contacts=())
    redeemed = await node.redeeming.redeem(made, timeout=20)
    assert redeemed.certificate == b""
    assert set(made.homes) <= set(redeemed.contacts)


class Kept:
    """Keeps memberships, or says that one does not hold."""

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.kept: list[tuple[str, bytes, bytes, int]] = []
        self.local = False

    async def accept_grant(
        self, network: str, key: bytes, certificate: bytes, contacts: tuple[Contact, ...], *, lan_only: bool = False
    ) -> None:
        if self.refuse:
            raise GrantRefused(self.refuse)
        self.local = lan_only
        self.kept.append((network, key, certificate, len(contacts)))


async def joined(node: Node, invite: Document) -> list[Document]:
    return [event async for event in Api(node).stream("join", {"invite": invite["code"], "timeout": 20})]


async def test_a_node_of_another_network_sends_a_guest_and_keeps_the_membership(
    net: NodeNetwork, inviter: Node
) -> None:
    made = await Api(inviter).call("invite", {"uses": 2, "lifetime": 600})
    node = await net.start("elsewhere", contacts=())
    node.redeeming.membership = kept = Kept()
    events = await joined(node, made)
    assert [event.get("text") for event in events[:-1]] == [
        "entering allotment",
        f"reaching {inviter.identity.text}",
        "redeeming the invite",
    ]
    done = events[-1]
    assert (done["event"], done["network"], done["member"], done["kept"]) == ("done", "allotment", True, "membership")
    assert kept.kept == [("allotment", KEY, b"certificate of " + node.identity.raw, len(done["contacts"]))]
    # The guest is gone, and nothing of it is left in the node's folder or in its own network.
    assert not node.links() and not node.contacts()

    node.redeeming.membership = Kept(refuse="it is signed by nobody we know")
    with pytest.raises(ApiFailure) as caught:
        await joined(node, made)
    assert (caught.value.kind, caught.value.fault) == ("membership-does-not-hold", "operation")
    assert "signed by nobody we know" in caught.value.message


async def test_a_network_of_the_local_network_alone_is_joined_as_one(net: NodeNetwork, inviter: Node) -> None:
    members(inviter).local = True
    made = await Api(inviter).call("invite", {"uses": 2, "lifetime": 600})
    assert made["lan_only"] and find_invite(made["code"]).lan_only
    node = await net.start("elsewhere", contacts=())
    node.redeeming.membership = kept = Kept()
    done = (await joined(node, made))[-1]
    assert kept.local and done["lan_only"]
    # The guest that redeems it stays there, too.
    guest = guest_config(node.config, find_invite(made["code"]))
    assert guest.scope == "lan" and all(is_exempt(contact.ip) for contact in guest.contacts)
    far = replace(find_invite(made["code"]), homes=(Contact(b"\1" * 32, ("9.9.9.9", 7000)),))
    assert all(is_exempt(contact.ip) for contact in guest_config(node.config, far).contacts)


async def test_without_members_the_inviters_settings_say_where_a_network_is(net: NodeNetwork) -> None:
    near = await net.start("near", network="allotment", network_key=KEY, scope="lan")
    far = await net.start("far", network="allotment", network_key=KEY)
    open_one = await net.start("open", scope="lan")
    assert [(await node.inviting.make()).lan_only for node in (near, far, open_one)] == [True, False, False]


async def test_a_node_in_the_network_redeems_by_itself_and_the_api_tells_all(net: NodeNetwork, inviter: Node) -> None:
    api = Api(inviter)
    made = await api.call("invite", {})
    node = await newcomer(net)
    node.redeeming.membership = None
    done = (await joined(node, made))[-1]
    assert (done["kept"], done["inviter"]) == ("journal", inviter.identity.text)
    (entry,) = (await api.call("invites", {}))["invites"]
    assert (entry["state"], entry["redeemed_by"][0]["peer"]) == ("used-up", node.identity.text)
    assert (await api.call("revoke-invite", {"id": made["id"]}))["state"] == "revoked"
    with pytest.raises(ApiFailure) as caught:
        await joined(node, made)
    assert caught.value.kind == "invite-revoked"


@pytest.mark.parametrize("skew", [5400.0, -5400.0], ids=["ahead", "behind"])
async def test_the_inviters_clock_decides_and_a_difference_is_told(
    net: NodeNetwork, inviter: Node, skew: float
) -> None:
    node = await net.start(
        "newcomer",
        parts={"wall": lambda: time.time() + skew},
        **{"network": "allotment", "network_key": KEY, "contacts": (), "mode": "client"},
    )
    # An hour and a half ahead it has expired long ago, behind it is not made yet: by the newcomer's clock.
    good = await inviter.inviting.make(lifetime=60)
    assert round((await node.redeeming.redeem(good, timeout=20)).skew, -1) == -skew
    short = await inviter.inviting.make(lifetime=1.0)
    await asyncio.sleep(max(0.0, short.expires - inviter.driver.now()) + 0.01)
    fault, words = await refused(node, short)
    assert fault is InviteFault.EXPIRED
    assert "by the inviter's clock" in words and ("behind" if skew > 0 else "ahead of") in words
