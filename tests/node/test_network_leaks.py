"""One machine in the public network and in a private one: nothing of either is ever seen in the other."""

import asyncio
import ipaddress
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.sources import ListReport
from dht.contact import Address
from dht.identity import IdentityKey
from dht.sealing import Sealer, network_tag
from dht.stun import is_stun
from node.adapters.keyfile import create_identity, private_folder
from node.adapters.network_store import Network as PrivateNetwork
from node.adapters.network_store import NetworkStore, load_network, save_network
from node.adapters.udp_transport import TransportSockets
from node.config import NodeConfig
from node.node import Node
from node.node_inside import Inside
from node.node_networks import beside
from node.node_networks import found as founded
from node.node_parts import NodeParts, network_secret
from node.protocols.membership import Rights, chain_bytes, issue, read_chain
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.node_network import MemorySession, VirtualNetwork, found, until

ME = IdentityKey.from_seed(b"m" * 32)
SECRET = b"what only members may read"


@dataclass
class Captured:
    """What the nodes of a world have sent, and what their links asked."""

    sent: dict[Address, list[tuple[bytes, Address]]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, Address]] = field(default_factory=list)
    """Networks, and who was asked how their sockets look from outside."""
    fetched: list[str] = field(default_factory=list)
    """Networks for which a list was fetched."""

    async def open(self, hosts: list[str], port: int) -> TransportSockets:
        """Bind sockets that note all they send."""
        sockets = await TransportSockets.open(hosts, port)
        inner, own = sockets._send, self.sent[sockets.addresses[0]]

        def send(transports: Any, data: bytes, addr: Address) -> None:
            own.append((data, addr))
            inner(transports, data, addr)

        sockets._send = send  # type: ignore[method-assign]
        return sockets


class Machines:
    """Servers of both networks, and one machine that is in both. Everybody has a public address."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.now = asyncio.get_running_loop().time()  # Unix time, on the simulated network.
        self.stack = stack
        self.net = VirtualNetwork(folder, stack)
        self.captured = Captured()
        self.nodes: dict[str, list[Node]] = {"main": [], "club": []}
        self.store = NetworkStore(folder / "machine" / "networks")
        private_folder(folder / "machine")
        create_identity(folder / "machine" / "identity.key", ME)
        self.club = founded(self.store, "club", ME, self.now)

    async def start(self, network: str, config: NodeConfig) -> Node:
        """A running node."""

        def session(webrtc: Any) -> MemorySession:
            self.captured.asked += [(network, address) for address in webrtc.stun_servers]
            return self.net.sessions(webrtc)

        parts = NodeParts(**self.net.parts | {"open_datagrams": self.captured.open, "new_session": session})
        node = Node(config, parts)
        await self.stack.enter_async_context(node)
        self.nodes[network].append(node)
        return node

    async def server(self, network: str, number: int) -> Node:
        """A server on a machine of its own."""
        name = f"{network}{number}"
        known = [node.status().contact for node in self.nodes[network][:1]]
        more: dict[str, Any] = {"listen": f"{ {'main': 6, 'club': 7}[network] }.{number}.1.1"}
        if network == "club":
            key = IdentityKey.from_seed(name.encode().ljust(32, b"!"))
            private_folder(self.folder / name)
            create_identity(self.folder / name / "identity.key", key)
            chain = issue(ME, self.club.authority, key.public, Rights.MEMBER, self.now), *read_chain(self.club.chain)
            member = PrivateNetwork("club", self.club.authority, self.club.key, chain_bytes(chain))
            save_network(self.folder / name, member)
            more |= {"network": "club", "network_key": self.club.key}
        return await self.start(
            network, NodeConfig(data_dir=self.folder / name, mode="server", contacts=tuple(known), **more)
        )

    async def machine(self) -> tuple[Node, Node]:
        """The machine's node in the public network, and the one in the private network beside it."""
        folder = self.store.folder_of("club")
        save_network(folder, replace(load_network(folder), contacts=(self.nodes["club"][0].status().contact,)))
        config = NodeConfig(
            data_dir=self.folder / "machine",
            listen="5.5.5.5",
            contacts=(self.nodes["main"][0].status().contact,),
            bootstrap_lists=("https://lists.example/main",),
            bootstrap_signers=(ME.public,),
            networks=("club",),
        )
        return await self.start("main", config), await self.start("club", beside(config, "club"))


def marks(node: Node) -> list[bytes]:
    """What a record or contact that leads to a node holds: its node key, or its address with the port."""
    host, port = node.inside.datagrams.addresses[0]
    return [node.inside.driver.engine.own_key, ipaddress.ip_address(host).packed + port.to_bytes(2, "big")]


def knowledge(node: Node) -> bytes:
    """All that a node knows of its network: contacts, and the records that it stores."""
    engine = node.inside.driver.engine
    records = [held.record.raw for held in engine._store.entries()]
    return b"\n".join([*(contact.packed for contact in engine.contacts()), *records])


async def live(world: Machines) -> tuple[Node, Node]:
    """Let both networks do all that they do, for a quarter of an hour."""
    for network in ("main", "club"):
        for number in range(1, 4):
            await world.server(network, number)
    public, private = await world.machine()
    for node in (public, private):
        assert await node.wait_joined(60)
    assert public.identity == private.identity == ME.public
    for node, network in ((public, "main"), (private, "club")):
        await found(node, world.nodes[network][1], 60)
        assert (await node.connect(world.nodes[network][1].identity, timeout=20)).connected
        await found(world.nodes[network][2], node, 60)
        assert (await world.nodes[network][2].connect(node.identity, timeout=20)).connected
    assert (await private.put(SECRET, salt=b"s")).stored
    await until(lambda: all(node.status().published for node in (public, private)), "publishing", 60)
    await asyncio.sleep(900)
    return public, private


def test_nothing_of_one_network_is_seen_in_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

    async def main() -> None:
        async with AsyncExitStack() as stack:
            world = Machines(tmp_path, stack)

            async def fetch(inside: Inside) -> ListReport:
                world.captured.fetched.append(inside._config.network)
                return ListReport(None, "none", ())

            monkeypatch.setattr(Inside, "_fetch_list", fetch)
            public, private = await live(world)
            judged(world)
            dropped(world, public, private, monkeypatch)

    run_virtually(main(), simulated)


def judged(world: Machines) -> None:
    """Every datagram went to a node of its own network, under its tag, and nobody knows of the others."""
    where = {name: {node.inside.datagrams.addresses[0] for node in nodes} for name, nodes in world.nodes.items()}
    tags = {"main": network_tag(b""), "club": network_tag(network_secret("club", world.club.key))}
    assert tags["main"] != tags["club"]
    for name, addresses in where.items():
        other = "club" if name == "main" else "main"
        for own in addresses:
            sent = world.captured.sent[own]
            assert len(sent) > 50
            assert {to for _, to in sent} <= addresses
            assert all(is_stun(data) or data[1:5] == tags[name] for data, _ in sent)
            assert not any(tags[other] in data[:5] for data, _ in sent)
        for node in world.nodes[name]:
            known = knowledge(node)
            assert known and not any(mark in known for one in world.nodes[other] for mark in marks(one))
            assert any(mark in known for one in world.nodes[name] if one is not node for mark in marks(one))
    assert any(SECRET in knowledge(node) for node in world.nodes["club"])
    assert not any(SECRET in knowledge(node) for node in world.nodes["main"])
    assert world.captured.asked and all(address in where[name] for name, address in world.captured.asked)
    assert set(world.captured.fetched) <= {"main"}


def dropped(world: Machines, public: Node, private: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A datagram of the other network is counted, and no key is so much as derived for it."""

    def never(*_: object) -> Any:
        raise AssertionError("cryptography for a stranger")

    for name in ("open", "derive"):
        monkeypatch.setattr(Sealer, name, never)
    for node, other in ((public, "club"), (private, "main")):
        stranger = world.nodes[other][0].inside.datagrams.addresses[0]
        datagrams = [data for data, _ in world.captured.sent[stranger] if not is_stun(data)][:20]
        engine = node.inside.driver.engine
        before, known = engine.counters["dropped_foreign"], engine.contacts()
        for data in datagrams:
            engine.receive_datagram(data, stranger, node.inside.driver.now())
        assert engine.counters["dropped_foreign"] == before + len(datagrams) == before + 20
        assert not list(engine.datagrams_to_send(node.inside.driver.now())) and engine.contacts() == known
    monkeypatch.undo()
