"""Whole nodes of a private network: members meet, nobody else gets as far as a stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dht.identity import IdentityKey, PublicKey
from node.adapters.keyfile import create_identity, private_folder
from node.adapters.network_store import Network, load_network, save_network
from node.node import Node
from node.node_admission import MemberAdmitted, MemberRefused, MemberRevoked
from node.node_results import ConnectOutcome, Reason
from node.ports import LinkError, Stream
from node.protocols.invite_ports import GrantRefused
from node.protocols.membership import Certificate, Rights, chain_bytes, issue, read_chain
from tests.node.node_network import NodeNetwork, found, kinds, until

AUTHORITY, OTHER = IdentityKey.from_seed(b"a" * 32), IdentityKey.from_seed(b"o" * 32)
NAMES = ("ada", "ben", "cleo", "dan")
KEYS = {name: IdentityKey.from_seed(name.encode().ljust(32, b"!")) for name in NAMES}
NETWORK_KEY = b"\xcd" * 32


class Club:
    """Nodes that have the network's key, and the certificates that a test gives them."""

    def __init__(self, folder: Path, net: NodeNetwork, now: float) -> None:
        self.folder = folder
        self.net = net
        self.now = now
        self.founder = (issue(AUTHORITY, AUTHORITY.public, KEYS["ada"].public, Rights.INVITE, now - 100),)

    def invited(self, name: str, rights: Rights = Rights.MEMBER) -> tuple[Certificate, ...]:
        """A chain that ada has signed."""
        own = issue(KEYS["ada"], AUTHORITY.public, KEYS[name].public, rights, self.now - 50)
        return (own, *self.founder)

    async def start(self, name: str, chain: tuple[Certificate, ...] | None = None, **more: Any) -> Node:
        """A node with that certificate; ada is the founder."""
        folder = self.folder / name
        private_folder(folder)
        create_identity(folder / "identity.key", KEYS[name])
        said = self.founder if name == "ada" else self.invited(name) if chain is None else chain
        seed = AUTHORITY.seed if name == "ada" else None
        network = Network("club", AUTHORITY.public, NETWORK_KEY, chain_bytes(said), founder_seed=seed)
        save_network(folder, network)
        return await self.net.start(name, network="club", network_key=NETWORK_KEY, **more)

    async def holder(self, name: str) -> Node:
        """A node that has the key and no certificate."""
        private_folder(self.folder / name)
        create_identity(self.folder / name / "identity.key", KEYS[name])
        return await self.net.start(name, network="club", network_key=NETWORK_KEY)


@pytest.fixture
async def club(tmp_path: Path) -> AsyncIterator[Club]:
    import time

    async with AsyncExitStack() as stack:
        yield Club(tmp_path, NodeNetwork(tmp_path, stack), time.time())


def told(node: Node, kind: type, peer: PublicKey) -> list[Any]:
    return [event for event in node.recent_events() if isinstance(event, kind) and event.peer == peer]  # type: ignore[attr-defined]


async def meet(one: Node, other: Node) -> ConnectOutcome:
    """One dials the other, once its record is there."""
    await found(one, other)
    return await one.connect(other.identity, timeout=10)


async def test_members_meet_and_remember_each_other(club: Club) -> None:
    ada, ben = await club.start("ada"), await club.start("ben")
    assert await ben.wait_joined(10)
    heard: list[bytes] = []

    async def hear(_peer: PublicKey, stream: Stream) -> None:
        heard.append(await stream.read())

    ada.serve("greeting", hear)
    outcome = await meet(ben, ada)
    assert outcome.connected, outcome.detail
    stream = await outcome.link.open_stream("greeting")
    await stream.write(b"hello")
    await until(lambda: heard == [b"hello"], "the greeting")
    for one, other in ((ada, ben), (ben, ada)):
        assert told(one, MemberAdmitted, other.identity)
    await until(lambda: load_network(club.folder / "ada").members, "what is kept of a member")
    (met,) = load_network(club.folder / "ada").members
    assert (met.peer, met.invited_by, met.may_invite) == (ben.identity, ada.identity, False)


async def test_the_key_alone_opens_no_link_and_no_stream_is_served(club: Club, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.node_admission.TIMEOUT", 1.0)
    ada, dan = await club.start("ada"), await club.holder("dan")
    assert await dan.wait_joined(10)
    heard: list[bytes] = []

    async def hear(_peer: PublicKey, stream: Stream) -> None:
        heard.append(await stream.read())

    ada.serve("greeting", hear)
    outcome = await meet(dan, ada)
    if outcome.connected:  # Its own end asks for nothing: the other one closes.
        with pytest.raises(LinkError):
            stream = await outcome.link.open_stream("greeting")
            await stream.write(b"let me in")
            raise LinkError(await outcome.link.closed)
    await until(lambda: told(ada, MemberRefused, dan.identity), "the refusal")
    assert "did not show a certificate" in told(ada, MemberRefused, dan.identity)[0].text
    assert heard == [] and ada.links() == [] and "LinkOpened" not in kinds(ada)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("another network", "foreign-network"),
        ("somebody else's", "other-member"),
        ("expired", "expired"),
        ("of tomorrow", "not-yet-valid"),
        ("signed by nobody", "broken-chain"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_refused_with_the_reason(club: Club, what: str, reason: str) -> None:
    ben, now = KEYS["ben"].public, club.now
    chain = {
        "another network": (issue(OTHER, OTHER.public, ben, Rights.MEMBER, now),),
        "somebody else's": club.invited("cleo"),
        "expired": (issue(AUTHORITY, AUTHORITY.public, ben, Rights.MEMBER, now - 9000, lifetime=100),),
        "of tomorrow": (issue(AUTHORITY, AUTHORITY.public, ben, Rights.MEMBER, now + 86_400),),
        "signed by nobody": (issue(OTHER, AUTHORITY.public, ben, Rights.MEMBER, now),),
    }[what]
    ada, node = await club.start("ada"), await club.start("ben", chain)
    assert await node.wait_joined(10)
    outcome = await meet(node, ada)
    assert (outcome.connected, outcome.reason) == (False, Reason.REFUSED)
    assert reason in outcome.detail
    assert told(ada, MemberRefused, ben)[0].reason.startswith(reason)
    assert node.links() == ada.links() == []


async def test_a_revoked_member_is_let_go_everywhere_and_comes_back_when_invited_again(club: Club) -> None:
    ada, ben, cleo = await club.start("ada"), await club.start("ben"), await club.start("cleo")
    for node in (ben, cleo):
        assert await node.wait_joined(10)
    for one, other in ((ben, ada), (cleo, ada), (ben, cleo)):
        assert (await meet(one, other)).connected
    assert ada.inside.admission is not None and cleo.inside.admission is not None
    ada.inside.admission.revoke(ben.identity)
    # Cleo hears of it over its link with ada, and ends its own with ben.
    await until(lambda: not ben.links(), "the end of all of ben's links")
    assert [event.issuer for event in told(cleo, MemberRevoked, ben.identity)] == [AUTHORITY.public]
    outcome = await meet(ben, cleo)
    assert outcome.reason is Reason.REFUSED and "revoked" in outcome.detail
    await until(lambda: load_network(club.folder / "cleo").revocations, "what is kept of it")

    await asyncio.sleep(1.1)  # Certificates count seconds.
    again = await ada.inside.admission.grant("club", ben.identity)
    assert ben.inside.admission is not None
    ben.inside.admission.network = Network("club", AUTHORITY.public, NETWORK_KEY, again)
    assert (await ben.connect(ada.identity, timeout=10)).connected


async def test_who_may_not_invite_grants_nothing_and_revokes_nobody(club: Club) -> None:
    ben = await club.start("ben")
    door = ben.inside.admission
    assert door is not None
    with pytest.raises(GrantRefused, match="may not invite"):
        door.key_of("club")
    with pytest.raises(GrantRefused, match="may not invite"):
        await door.grant("club", KEYS["dan"].public)
    with pytest.raises(Exception, match="its inviter or the founder can revoke it"):
        door.revoke(KEYS["dan"].public)
    with pytest.raises(Exception, match="the node's own key"):
        door.revoke(ben.identity)
    assert door.key_of("elsewhere") is None


async def test_chains_end_where_nobody_may_invite_any_more(club: Club) -> None:
    ben = await club.start("ben", club.invited("ben", Rights.INVITE))
    door = ben.inside.admission
    assert door is not None
    made = read_chain(await door.grant("club", KEYS["cleo"].public))
    assert [one.member for one in made] == [KEYS[name].public for name in ("cleo", "ben", "ada")]
    assert made[0].rights is Rights.MEMBER  # members_invite is off


async def test_a_guest_comes_in_through_the_closed_door(club: Club) -> None:
    ada = await club.start("ada")
    made = await ada.inviting.make(uses=1)
    assert made.key == NETWORK_KEY
    guest = await club.holder("dan")
    redeemed = await guest.redeeming.redeem(made, timeout=15)
    chain = read_chain(redeemed.certificate)
    assert [one.member for one in chain] == [guest.identity, ada.identity]
    assert not told(ada, MemberRefused, guest.identity)
