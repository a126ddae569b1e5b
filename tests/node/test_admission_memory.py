"""What the door of a network holds is that of the links there are, however many there were."""

import asyncio
import gc
import sys
from typing import Any

import pytest

from dht.identity import IdentityKey, PublicKey
from node.adapters.network_store import MAX_MEMBERS, MemberMet, Network
from node.node_admission import Admission
from node.node_links import Links
from node.ports import LinkEnd, LinkFault
from node.protocols.admission import STREAM_NAME, hello_bytes
from node.protocols.membership import Rights, chain_bytes, issue, read_chain

NOW = 1_900_000_000.0
AUTHORITY = IdentityKey.from_seed(b"a" * 32)
ADA = IdentityKey.from_seed(b"d" * 32)
PEERS = [IdentityKey.from_seed(bytes([number]) * 32).public for number in range(1, 51)]
CHAINS = {
    peer: chain_bytes([issue(AUTHORITY, AUTHORITY.public, peer, Rights.INVITE, NOW)]) for peer in (*PEERS, ADA.public)
}


class Unwritten:
    """A file of a network that keeps nothing."""

    def keep(self, _network: Network) -> None:
        """Nothing."""


class Unheard:
    """A log of events that keeps nothing."""

    def add(self, _event: object) -> None:
        """Nothing."""


class Said:
    """A stream on which a peer says hello."""

    def __init__(self, peer: PublicKey) -> None:
        self._said = hello_bytes(CHAINS[peer], ())

    async def read_exactly(self, count: int) -> bytes:
        """Some of it."""
        taken, self._said = self._said[:count], self._said[count:]
        return taken

    async def write(self, _data: bytes) -> None:
        """Our hello, which nobody reads."""


class Called:
    """A link that a peer has opened."""

    initiated = False

    def __init__(self, peer: PublicKey) -> None:
        self.peer = peer
        self.closed: asyncio.Future[LinkEnd] = asyncio.get_running_loop().create_future()

    def register(self, _name: str, _handler: Any) -> None:
        """Nothing is served."""

    async def close(self) -> None:
        """End."""
        if not self.closed.done():
            self.closed.set_result(LinkEnd(LinkFault.CLOSED_BY_US, ""))


def door_of(members: tuple[MemberMet, ...] = ()) -> Admission:
    network = Network("club", AUTHORITY.public, b"\xcd" * 32, CHAINS[ADA.public], members=members)
    file: Any = Unwritten()
    events: Any = Unheard()
    return Admission(ADA, network, file, Links(events, lambda: NOW, lambda: 0.0, bytes), events, lambda: NOW)


async def let_in(door: Admission, peer: PublicKey) -> Any:
    link: Any = Called(peer)
    stream: Any = Said(peer)
    handler = door.handlers(link)[STREAM_NAME]
    await asyncio.gather(handler(stream), door.admit(link))
    return link


@pytest.mark.parametrize("links", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_links_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch, links: int) -> None:
    # What a certificate says is checked elsewhere; 20,000 signatures would take ten seconds.
    monkeypatch.setattr("node.node_admission.check_chain", lambda raw, *_others: read_chain(raw))
    door = door_of()

    async def pass_through(count: int) -> int:
        for number in range(count):
            link = await let_in(door, PEERS[number % len(PEERS)])
            assert len(door._chains) == 1
            await link.close()
            await asyncio.sleep(0)
        gc.collect()
        return sys.getallocatedblocks()

    before = await pass_through(links // 5)
    after = await pass_through(links - links // 5)
    assert not door._chains and not door._hellos and not door._tasks
    assert after - before < links // 5, "each link has left something behind"
    assert len(door.network.members) == len(PEERS)


async def test_an_older_link_that_ends_takes_nothing_from_its_successor() -> None:
    door = door_of()
    older, newer = await let_in(door, PEERS[0]), await let_in(door, PEERS[0])
    await older.close()
    await asyncio.sleep(0)
    assert list(door._chains) == [newer]


async def test_members_met_are_as_many_as_are_kept() -> None:
    # Keys cost nothing: somebody who may invite can bring any number of them.
    many = tuple(MemberMet(PublicKey(PEERS[0].raw), ADA.public, True, 1, 1) for _ in range(MAX_MEMBERS))
    door = door_of(many)
    await let_in(door, PEERS[1])
    assert len(door.network.members) <= MAX_MEMBERS and door.network.members[0].peer == PEERS[1]
    door._know(PublicKey(IdentityKey.from_seed(number.to_bytes(32, "big")).public.raw) for number in range(1, 5_000))
    assert len(door._inviters) == MAX_MEMBERS
    assert {ADA.public, AUTHORITY.public} <= door._inviters.keys(), "our own chain is never forgotten"
