"""DHT datagrams through a gateway: the frames, what passes, and a node that UDP does not reach."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dht.constants import MAX_DATAGRAM
from dht.errors import DecodeError
from node.adapters.memory_link import MemoryLinkPair
from node.adapters.udp import UdpSockets
from node.node_gateway import STREAM, Gateway
from node.node_tunnel import SEVERAL, SILENT_AT_START, SILENT_LATER, Silence, TunnelledDatagrams
from node.protocols.liveness import SUSPENDED_FOR
from node.protocols.tunnel import (
    BYTES_BURST,
    MAX_WAITING,
    PERMITTED_FOR,
    PING_BURST,
    VERIFIED_FOR,
    WAITING,
    Frame,
    FrameReader,
    Kind,
    Passage,
    Verdict,
    Verified,
)
from tests.node.node_network import network, until

KEY = bytes(range(32))
NODE = ("198.51.100.7", 7716)
NOW = 1000.0


def sent(address: tuple[str, int] = NODE, data: bytes = b"datagram", key: bytes = KEY) -> Frame:
    return Frame(Kind.SEND, address, data, key)


@pytest.mark.parametrize(
    ("frame", "raw"),
    [
        (sent(("192.0.2.1", 7716), b"x", bytes(32)), "0029" + "01" + "04c00002011e24" + "00" * 32 + "78"),
        (Frame(Kind.RECEIVED, ("2001:db8::1", 1), b"yz"), "0016" + "02" + "0620010db8" + "00" * 11 + "010001" + "797a"),
    ],
)
def test_the_bytes_of_frames_stay_what_they_are(frame: Frame, raw: str) -> None:
    assert frame.to_bytes().hex() == raw
    assert FrameReader(frame.kind).feed(bytes.fromhex(raw)) == [frame]


@given(st.lists(st.binary(min_size=1, max_size=MAX_DATAGRAM), max_size=5), st.lists(st.integers(1, 400), min_size=1))
def test_frames_come_out_as_they_went_in_however_they_are_cut(datagrams: list[bytes], cuts: list[int]) -> None:
    frames = [sent(("10.0.0.1", 1 + number), data) for number, data in enumerate(datagrams)]
    raw, reader, got, at = b"".join(frame.to_bytes() for frame in frames), FrameReader(Kind.SEND), [], 0
    while at < len(raw):
        cut = cuts[at % len(cuts)]
        got += reader.feed(raw[at : at + cut])
        at += cut
    assert got == frames


@given(st.binary(max_size=200))
def test_no_bytes_of_a_stranger_do_anything_but_end_the_stream(data: bytes) -> None:
    for kind in Kind:
        try:
            frames = FrameReader(kind).feed(data)
        except DecodeError:
            continue
        assert all(frame.kind is kind and 0 < len(frame.data) <= MAX_DATAGRAM for frame in frames)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("0000", "0 bytes"),
        ("ffff", "65535 bytes"),
        ("000302aabb", "type 2"),
        ("000301ffbb", "neither IPv4"),
        ("000901040102030400500a", "ends before"),
        (
            (1 + 7 + 32 + MAX_DATAGRAM + 1).to_bytes(2, "big").hex() + "0104" + "00" * (6 + 32 + MAX_DATAGRAM + 1),
            "1233",
        ),
    ],
)
def test_what_is_no_frame_is_refused(raw: str, problem: str) -> None:
    with pytest.raises(DecodeError, match=problem):
        FrameReader(Kind.SEND).feed(bytes.fromhex(raw))


def test_a_datagram_waits_until_its_receiver_has_proven_to_be_a_node() -> None:
    passage = Passage(Verified())
    assert passage.judge(sent(data=b"1"), NOW) is Verdict.ASK
    for _ in range(WAITING - 1):
        assert passage.judge(sent(data=b"2"), NOW) is Verdict.WAIT
    assert passage.judge(sent(data=b"3"), NOW) is Verdict.DROP
    assert passage.answered(NODE, KEY, NOW, ok=True) == [b"1", *[b"2"] * (WAITING - 1)]
    assert passage.judge(sent(), NOW + 1) is Verdict.PASS
    assert passage.judge(sent(key=bytes(32)), NOW + 1) is Verdict.ASK, "another key there is another node"
    assert passage.judge(sent(), NOW + VERIFIED_FOR + 1) is Verdict.ASK, "it may have moved"


def test_nobody_that_is_no_node_gets_more_than_one_ping() -> None:
    passage, asked = Passage(Verified()), 0
    for port in range(1, 1000):
        asked += passage.judge(sent(("203.0.113.9", port)), NOW) is Verdict.ASK
        passage.answered(("203.0.113.9", port), KEY, NOW, ok=False)
    assert asked == PING_BURST
    assert not passage.admits(Frame(Kind.RECEIVED, ("203.0.113.9", 1), b"x"), NOW)


def test_what_waits_is_bounded_in_number() -> None:
    passage = Passage(Verified())
    verdicts = [passage.judge(sent((f"203.0.113.{number}", 1)), NOW + number) for number in range(1, 200)]
    assert verdicts.count(Verdict.ASK) == MAX_WAITING


def test_only_answers_come_back() -> None:
    passage = Passage(Verified())
    answer = Frame(Kind.RECEIVED, NODE, b"answer")
    assert not passage.admits(answer, NOW)
    passage.judge(sent(), NOW)
    assert not passage.admits(answer, NOW)
    passage.answered(NODE, KEY, NOW, ok=True)
    assert passage.admits(answer, NOW)
    assert not passage.admits(answer, NOW + PERMITTED_FOR + 1)


def test_each_direction_has_a_rate_of_its_own() -> None:
    passage = Passage(Verified())
    passage.judge(sent(), NOW)
    passage.answered(NODE, KEY, NOW, ok=True)
    passed = sum(passage.judge(sent(data=bytes(1000)), NOW) is Verdict.PASS for _ in range(400))
    assert passed == (BYTES_BURST - len(b"datagram")) // 1000
    assert passage.admits(Frame(Kind.RECEIVED, NODE, bytes(1000)), NOW)
    assert passage.judge(sent(data=bytes(1000)), NOW + 1) is Verdict.PASS


class Mute(UdpSockets):
    """Sockets of a network that lets no UDP through."""

    def send(self, data: bytes, addr: tuple[str, int]) -> None:
        self.counters["lost"] += 1


def silent_for(datagrams: TunnelledDatagrams, asked: int, *, came: bool) -> int:
    """Seconds until UDP counts as blocked, of a node that writes to so many others over and over."""
    datagrams.inner.counters["received"] = int(came)
    silence = Silence(datagrams, NOW)
    for second in range(200):
        for number in range(asked):
            datagrams.send(b"x", (f"192.0.2.{number}", 1))
        if silence.look(NOW + second):
            return second
    raise AssertionError("never")


async def test_udp_counts_as_blocked_soon_where_several_are_silent_and_later_where_few_are() -> None:
    datagrams = TunnelledDatagrams(Mute.open(["127.0.0.1"], 0))
    assert silent_for(datagrams, 1, came=False) == SILENT_AT_START
    assert silent_for(datagrams, SEVERAL - 1, came=True) == SILENT_LATER
    assert silent_for(datagrams, SEVERAL, came=True) == SILENT_AT_START
    # A link that has lost its path has found another by then, and half a minute is left to it.
    assert SILENT_AT_START + 10 < SUSPENDED_FOR < SILENT_LATER
    datagrams.close()


async def test_an_answer_from_anybody_and_asking_nobody_are_no_silence() -> None:
    datagrams = TunnelledDatagrams(Mute.open(["127.0.0.1"], 0))
    silence = Silence(datagrams, NOW)
    for second in range(100):
        assert not silence.look(NOW + second), "nobody is asked"
    for second in range(100, 200):
        for number in range(SEVERAL):
            datagrams.send(b"x", (f"192.0.2.{number}", 1))
        datagrams.inner.counters["received"] += second % 3 == 0
        assert not silence.look(NOW + second)
    datagrams.close()


@pytest.fixture
async def net(tmp_path):
    async with network(tmp_path) as made:
        yield made


async def test_a_node_that_udp_does_not_reach_is_found_through_its_gateway(net):
    servers = await net.servers(6)
    front = servers[0]
    gateway = Gateway(
        front.inside.links, front.driver, front.inside._parts.open_datagrams, lambda: True, front.status().listening
    )

    datagrams: list[TunnelledDatagrams] = []

    async def open_mute(hosts: list[str], port: int) -> TunnelledDatagrams:
        datagrams.append(TunnelledDatagrams(Mute.open(hosts, port)))
        return datagrams[0]

    node = await net.start("behind", parts={"open_datagrams": open_mute}, mode="client")
    assert not await node.wait_joined(0.3)
    node.driver.engine.note_recipients()
    datagrams[0].key_of = node.driver.engine.recipient_at
    pair = MemoryLinkPair(node.identity, front.identity)
    front.inside.links.add(pair.far)
    carrying = asyncio.create_task(datagrams[0].carry(await pair.near.open_stream(STREAM)))
    await asyncio.sleep(0)
    node.inside.joining.soon()
    assert await node.wait_joined(10)
    await until(lambda: node.status().published is not None, "its record")
    async with asyncio.timeout(10):
        while not (await servers[3].find(node.identity)).homes:
            await asyncio.sleep(0.05)
    assert gateway.counters["passed"] > 10 < gateway.counters["returned"]
    assert datagrams[0].inner.counters["received"] == 0
    await pair.close()
    await carrying
    assert not datagrams[0].tunnelled
    await gateway.close()


async def test_a_gateway_that_is_not_willing_says_so(net):
    front = await net.start("front")
    gateway = Gateway(front.inside.links, front.driver, front.inside._parts.open_datagrams, lambda: False, ())
    pair = MemoryLinkPair(front.identity, front.identity)
    front.inside.links.add(pair.far)
    tunnel = TunnelledDatagrams(Mute.open(["127.0.0.1"], 0))
    await tunnel.carry(await pair.near.open_stream(STREAM))
    assert gateway.counters == {"refused": 1}
    tunnel.close()
    await pair.close()
