"""A node that stays on the local network: nothing is sent anywhere else, by anything."""

import asyncio
import dataclasses
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dht.contact import Contact
from dht.identity import IdentityKey, NodeKey, is_exempt
from node.adapters.answerless import WebRtcAnswerless
from node.adapters.certificate import load_or_create_certificate
from node.adapters.udp_transport import TransportSockets
from node.adapters.webrtc import WebRtcConfig, WebRtcSession
from node.adapters.webrtc_udp import BatchedUdpTransport
from node.config import Contradiction, NodeConfig
from node.node_scope import LocalDatagrams
from node.ports import LinkError, LinkFault
from node.protocols.offer import PackedCandidate, SessionDescription, decode_description
from simulations.events import EventQueue
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.linking import linked
from tests.node.node_network import NodeNetwork, VirtualNetwork, found

PEER = IdentityKey.from_seed(b"p" * 32).public
FAR = Contact(NodeKey.from_secret(b"f" * 32).public, ("9.9.9.9", 7716))
NEAR = Contact(NodeKey.from_secret(b"n" * 32).public, ("192.168.1.9", 7716))
LOOPBACK = WebRtcConfig(include_loopback=True, only_addresses=("127.0.0.1",), reaches=is_exempt)


@pytest.mark.parametrize(
    "setting",
    [
        {"bootstrap_lists": ["https://lists.example/main"], "bootstrap_signers": [PEER.text]},
        {"gateways": [f"{PEER.text}@gate.example:443"]},
        {"websocket": "0.0.0.0:443"},
        {"port_mapping": True},
        {"listen": "9.9.9.9"},
        {"contacts": [FAR.text]},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_that_want_more_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(Contradiction, match=rf"{next(iter(setting))}.* needs scope = 'any'"):
        NodeConfig(scope="lan", **setting)
    NodeConfig(scope="any", **setting)


def test_what_a_profile_or_a_default_wants_gives_way() -> None:
    config = NodeConfig(scope="lan", profile="max-decentralization", contacts=(NEAR,), listen="192.168.1.2")
    assert config.reaches("192.168.1.9") and config.reaches("127.0.0.1") and config.reaches("fe80::1")
    assert not config.reaches("9.9.9.9") and not config.reaches("2001:4860::8")
    assert config.replace(port=0).scope == "lan"


class Wire:
    """Sockets that only note what they are given."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.addresses = [("10.0.0.1", 1)]
        self.port = 1
        self.sent: list[Any] = []
        self.receive: Any = None
        self.neighbour: Any = None

    def attach(self, receive: Any) -> None:
        self.receive = receive

    def share(self, neighbour: Any) -> None:
        self.neighbour = neighbour

    def send(self, data: bytes, addr: Any) -> None:
        self.sent.append(addr)

    def send_run(self, data: memoryview, size: int, addr: Any) -> None:
        self.sent.append(addr)

    def send_from_elsewhere(self, data: bytes, addr: Any) -> None:
        self.sent.append(addr)

    def close(self) -> None:
        self.sent.append("closed")


class Neighbour:
    def __init__(self) -> None:
        self.taken: list[Any] = []

    def take(self, data: bytes, addr: Any) -> bool:
        self.taken.append(addr)
        return True

    def turn_done(self) -> None:
        self.taken.append("done")


def test_every_way_to_send_and_to_be_sent_to_is_kept_near() -> None:
    wire, neighbour = Wire(), Neighbour()
    came: list[Any] = []
    datagrams = LocalDatagrams(wire)
    near, far = ("192.168.1.9", 5), ("9.9.9.9", 5)
    datagrams.attach(came.extend)
    datagrams.share(neighbour)
    for addr in (near, far):
        datagrams.send(b"x", addr)
        datagrams.send_run(memoryview(b"xx"), 1, addr)
        datagrams.send_from_elsewhere(b"x", addr)
    wire.receive([(b"a", far), (b"b", near)])
    wire.receive([(b"c", far)])
    assert [wire.neighbour.take(b"\0", addr) for addr in (near, far)] == [True, False]
    wire.neighbour.turn_done()
    assert wire.sent == [near] * 3 and came == [(b"b", near)] and neighbour.taken == [near, "done"]
    assert datagrams.counters["out_of_scope"] == 5
    datagrams.share(None)
    assert wire.neighbour is None


def test_a_node_sends_nothing_beyond_the_local_network(tmp_path: Path) -> None:
    sent: dict[str, set[str]] = {}

    async def noted(hosts: list[str], port: int) -> TransportSockets:
        sockets = await TransportSockets.open(hosts, port)
        inner, to = sockets._send, sent.setdefault(hosts[0], set())

        def send(transports: Any, data: bytes, addr: Any) -> None:
            to.add(addr[0])
            inner(transports, data, addr)

        sockets._send = send  # type: ignore[method-assign]
        return sockets

    async def scenario(net: VirtualNetwork) -> None:
        net.parts |= {"open_datagrams": noted, "map_ports": True}
        bridge = await net.start("bridge", listen="10.0.0.1", port_mapping=False)
        far = [await net.start(f"far{n}", listen=f"9.9.{n}.1", port_mapping=False) for n in range(1, 3)]
        kept = await net.start("kept", listen="10.0.0.2", scope="lan")
        near = await net.start("near", listen="10.0.0.3", port_mapping=False)
        for node in (*far, kept, near):
            assert await node.wait_joined(60)
        assert (await kept.put(b"value", salt=b"s")).stored
        await asyncio.sleep(600)
        assert {contact.ip for contact in kept.inside.driver.engine.contacts()} <= {"10.0.0.1", "10.0.0.3"}
        assert (await kept.find(near.identity)).found
        assert kept.inside.datagrams.counters["out_of_scope"] > 0  # It heard of the others, from the bridge.
        assert "port mapping" not in kept.inside.outside.work(kept.inside.joining)
        assert any(not is_exempt(ip) for ip in sent["10.0.0.1"])
        assert bridge.inside.datagrams.counters["out_of_scope"] == 0

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await scenario(VirtualNetwork(tmp_path, stack))

    network = Network(EventQueue(), Streams(1), latency=Constant(0.02))
    run_virtually(main(), network)
    assert sent["10.0.0.2"] and all(map(is_exempt, sent["10.0.0.2"]))


def and_far(description: bytes) -> bytes:
    """The same description, with addresses beyond the local network in front."""
    said = decode_description(description)
    assert isinstance(said, SessionDescription)
    far = (PackedCandidate("host", "9.9.9.9", 9999), PackedCandidate("srflx", "8.8.4.4", 53))
    return dataclasses.replace(said, candidates=(*far, *said.candidates)).to_bytes()


async def test_no_link_is_tried_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: set[str] = set()
    plain = BatchedUdpTransport.sendto

    def noted(self: BatchedUdpTransport, data: bytes, addr: Any = None) -> None:
        sent.add(addr[0])
        plain(self, data, addr)

    monkeypatch.setattr(BatchedUdpTransport, "sendto", noted)
    near, far = WebRtcSession(LOOPBACK), WebRtcSession(LOOPBACK)
    offer = await near.offer()
    answer = await far.answer(and_far(offer))
    links = await asyncio.gather(linked(near, PEER, and_far(answer), timeout=10), linked(far, PEER, timeout=10))
    for session in (near, far):
        assert [text.split()[1].split(":")[0] for text in session.remote_candidates] == ["127.0.0.1"]
    for link in links:
        await link.close()
    assert sent == {"127.0.0.1"}


async def test_nobody_is_dialled_there(tmp_path: Path) -> None:
    class Port(Wire):
        pass

    certificate = load_or_create_certificate(tmp_path / "certificate.pem")
    answerless = await WebRtcAnswerless.open(
        IdentityKey.from_seed(b"i" * 32),
        Port(),
        certificate,
        reaches=NodeConfig(scope="lan").reaches,
    )
    with pytest.raises(LinkError, match=r"9\.9\.9\.9 is not on the local network \(scope = lan\)") as refused:
        await answerless.dial(PEER, ("9.9.9.9", 7716), bytes(32), timeout=5)
    assert refused.value.end.fault is LinkFault.ICE_FAILED
    await answerless.close()


async def test_members_of_a_local_network_dial_each_other_as_ever(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        net = NodeNetwork(tmp_path, stack)
        net.parts = {"watch_interfaces": False, "map_ports": False}  # Real sockets and WebRTC.
        one, two = [await net.start(name, scope="lan") for name in ("one", "two")]
        assert await two.wait_joined(20)
        await found(two, one)
        outcome = await two.connect(one.identity, timeout=20)
        assert outcome.connected, outcome.detail
        answerless = one.inside._answerless
        assert isinstance(answerless, WebRtcAnswerless)
        assert answerless.counters["opened"] == 1  # Dialled with no answer, at the port that is kept near.
        assert one.inside.datagrams.counters["out_of_scope"] == 0
