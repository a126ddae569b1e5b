"""The part of a node that looks for peers near: what it does when sockets fail, what it tells, and what people see."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dht.config import DhtConfig
from dht.engine import DhtEngine
from dht.identity import IdentityKey, NodeKey
from node.api_lan import LanCommands
from node.api_params import Params
from node.cli_lan import show
from node.config import NodeConfig
from node.driver import Driver
from node.node_events import EventLog
from node.node_lan import Lan
from node.node_lan_events import LanProblem
from node.node_lan_means import LanMeans
from node.node_rhythm import Rhythm
from node.protocols.lan_segment import Segment
from tests.node.lan_ether import announcement, datagram, segment

STRANGER = announcement(50)[0].public


class FakeSockets:
    """Keeps what is sent, and hears what a test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self.closed = False
        self.receive: Callable[[list[Any]], object] = len

    def attach(self, receive: Callable[[list[Any]], object]) -> None:
        self.receive = receive

    def set_segments(self, segments: Sequence[Segment]) -> None:
        self.segments = segments

    def send(self, data: bytes, index: int) -> None:
        self.sent.append((data, index))

    def close(self) -> None:
        self.closed = True


class FakeMdns:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.published: list[Mapping[str, bytes]] = []
        self.closed = False

    async def publish(self, properties: Mapping[str, bytes], port: int, segments: Sequence[Segment]) -> None:
        self.published.append(properties)

    async def close(self) -> None:
        self.closed = True


class Bench:
    """A `Lan` with everything around it made up."""

    def __init__(self, folder: Path, *, listen: str = "0.0.0.0", **means: Any) -> None:
        self.sockets, self.mdns = FakeSockets(), FakeMdns()
        self.segments: tuple[Segment, ...] = (segment("192.168.1.1/24", "fd00::1/64"),)
        self.events = EventLog()
        key = NodeKey.from_secret(bytes([5]) * 32)
        self.driver = Driver(lambda now: DhtEngine(DhtConfig(), key, random.Random(1), now), lambda data, addr: None)
        means.setdefault("open_sockets", lambda: self.sockets)
        means.setdefault("open_mdns", self._open_mdns)
        self.lan = Lan(
            IdentityKey.from_seed(bytes(32)),
            NodeConfig(data_dir=folder, listen=listen),
            self.driver,
            self.events,
            random.Random(1),
            means=LanMeans(segments=lambda only: self.segments, **means),
            port=7716,
            fingerprint=b"",
            network_secret=b"",
            wall=time.time,
            near=lambda contact: None,
            rhythm=Rhythm(self.driver.clock),
        )

    async def _open_mdns(self, *arguments: Any) -> FakeMdns:
        return self.mdns

    @property
    def problems(self) -> list[str]:
        return [event.problem for event in self.events.recent() if isinstance(event, LanProblem)]


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    task = asyncio.get_running_loop().create_task(bench.lan.run())
    await asyncio.sleep(0.05)
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.wait([task])
        bench.driver.close()


def refuse(*arguments: Any) -> Any:
    raise OSError(98, "Address already in use")


async def test_it_announces_itself_by_both_ways_and_says_goodbye(tmp_path: Path) -> None:
    async with running(Bench(tmp_path)) as bench:
        assert len(bench.sockets.sent) == 2 and len(bench.mdns.published) == 1
        status = bench.lan.status()
        assert status.ways == ("mdns", "beacon") and status.problems == ()
        assert status.interfaces == ("eth0: 192.168.1.1",), "this node listens on IPv4 only"
    assert len(bench.sockets.sent) == 3
    assert bench.sockets.closed and bench.mdns.closed


async def test_on_both_families_it_looks_at_both(tmp_path: Path) -> None:
    async with running(Bench(tmp_path, listen="::")) as bench:
        assert bench.lan.status().interfaces == ("eth0: 192.168.1.1, fd00::1",)
    assert bench.lan.peers() == () and await bench.lan.find(STRANGER) is None


async def test_a_port_that_is_taken_is_told_and_the_other_way_goes_on(tmp_path: Path) -> None:
    async with running(Bench(tmp_path, open_sockets=refuse)) as bench:
        assert bench.problems == ["UDP port 7717 cannot be used on the local network (Address already in use)"]
        assert bench.mdns.published
    async with running(Bench(tmp_path, open_mdns=refuse)) as bench:
        assert bench.problems == ["mDNS cannot be used: Address already in use; UDP port 7717 is used alone"]
        assert bench.sockets.sent and bench.lan.status().ways == ("beacon",)


async def test_no_network_is_told_and_so_is_its_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    there, bench.segments = bench.segments, ()
    async with running(bench):
        assert bench.problems == ["this machine has no address on any local network"]
        assert not bench.sockets.sent and not bench.mdns.published
        bench.segments = there
        bench.lan._look()
        await asyncio.sleep(0.05)
        assert bench.problems[-1] == ""
        assert bench.sockets.sent and bench.mdns.published and bench.lan.status().problems == ()


async def test_a_peer_that_is_heard_is_a_hint_at_once_and_one_that_is_not_is_asked_for(tmp_path: Path) -> None:
    async with running(Bench(tmp_path)) as bench:
        sent = len(bench.sockets.sent)
        began = time.monotonic()
        assert await bench.lan.find(STRANGER) is None
        assert time.monotonic() - began >= 0.09 and len(bench.sockets.sent) == sent + 1
        finding = asyncio.ensure_future(bench.lan.find(STRANGER))
        await asyncio.sleep(0)
        bench.sockets.receive([(datagram(50, time.time()), ("192.168.1.200", 2))])
        hint = await finding
        assert hint is not None and [contact.address for contact in hint.direct] == [("192.168.1.200", 7716)]
        assert bench.lan.peers() == (), "it has not answered in its box"


@pytest.mark.parametrize(
    ("settings", "wanted"), [({"lan": "off"}, False), ({"listen": "127.0.0.1"}, False), ({}, True)]
)
async def test_who_wants_it(tmp_path: Path, settings: dict[str, str], wanted: bool) -> None:
    bench = Bench(tmp_path)
    config = NodeConfig(data_dir=tmp_path, **settings)  # type: ignore[arg-type]
    means = LanMeans()
    lan = Lan(
        IdentityKey.from_seed(bytes(32)),
        config,
        bench.driver,
        bench.events,
        random.Random(1),
        means=means,
        port=1,
        fingerprint=b"",
        network_secret=b"",
        wall=time.time,
        near=lambda contact: None,
        rhythm=Rhythm(bench.driver.clock),
    )
    assert lan.wanted is wanted
    assert (lan.status().visible == "off") is not wanted
    bench.driver.close()


async def test_what_people_and_programs_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(Bench(tmp_path, open_mdns=refuse)) as bench:
        node: Any = type("Node", (), {"lan": bench.lan})()
        document = await LanCommands(node).lan(Params("lan", {"wait": 0.1}))
    assert document["ways"] == ["beacon"] and document["peers"] == [] and document["visible"] == "on"
    show(document)
    said = capsys.readouterr().out
    assert "nobody else is on the local network" in said and "looked on eth0: 192.168.1.1 by beacon" in said
    assert "mDNS cannot be used: Address already in use" in said
    show({**document, "visible": "off"})
    assert "is not used" in capsys.readouterr().out
