"""Simulated dials without an answer: who is reached, what goes wrong by name, and how much sooner than by a call."""

import asyncio

import pytest

from dht.identity import IdentityKey
from node.adapters.stream_link import link_over
from node.adapters.udp_transport import TransportSockets
from node.adapters.webrtc import WebRtcConfig
from node.ports import LinkError, LinkFault
from simulations.events import EventQueue
from simulations.latency import Constant, LogNormal
from simulations.link_dial import STEPS, SimulatedAnswerless, fingerprint_of
from simulations.links import LinkHost
from simulations.loop import on_host, run
from simulations.nat import place_behind
from simulations.network import Network
from simulations.randomness import Streams
from tests.linking import linked

ALICE, BOB = (IdentityKey.from_seed(bytes([number]) * 32).public for number in (1, 2))
PORT = 4701


class Pair:
    """Two machines with their DHT ports, the dialler perhaps behind a router."""

    def __init__(self, kind="none", *, latency=None, loss=0.0, seed=1):
        streams = Streams(seed)
        self.network = Network(EventQueue(), streams, latency=latency or Constant(0.05), loss=loss)
        self.hosts = []
        for number, router in enumerate((kind, "none")):
            public = f"11.0.{number}.1"
            ip = f"10.0.{number}.1" if router not in ("none", "firewall") else public
            place_behind(self.network, router, [ip], public, streams.stream(f"ports/{number}"))
            self.hosts.append(LinkHost(self.network, ip, streams.stream(f"links/{number}")))
        self.ends = []
        self.heard = []

    async def open(self):
        for host, key in zip(self.hosts, (ALICE, BOB), strict=True):
            with on_host(host.ip):
                sockets = await TransportSockets.open([host.ip], PORT)
            sockets.attach(self.heard.extend)
            self.ends.append(SimulatedAnswerless(host, sockets, key))
        self.opened = asyncio.get_running_loop().create_future()
        self.ends[1].on_opened = lambda peer, opened: self.opened.set_result((peer, opened))
        return self.ends

    async def dial(self, peer=BOB, fingerprint=None, port=PORT, timeout=5.0):
        address = (self.hosts[1].ip, port)
        return await self.ends[0].dial(peer, address, fingerprint or fingerprint_of(BOB), timeout=timeout)


def play(pair, main):
    return run(main(pair), network=pair.network)


async def talk(pair, timeout=5.0):
    loop = asyncio.get_running_loop()
    await pair.open()
    started = loop.time()
    opened = await pair.dial(timeout=timeout)
    took = loop.time() - started
    one = link_over(opened, BOB, initiated=True)
    stream = await one.open_stream("talk")
    await stream.write(b"x" * 50_000)
    peer, other = await pair.opened
    assert peer == ALICE
    two = link_over(other, peer, initiated=False)
    far = await two.accept_stream()
    assert await far.read_exactly(50_000) == b"x" * 50_000
    await one.close()
    await asyncio.wait_for(asyncio.shield(two.closed), 60)
    await two.close()
    return opened, other, took


def test_a_dial_takes_five_round_trips_and_carries_a_link():
    pair = Pair()
    opened, other, took = play(pair, talk)
    assert took == pytest.approx(len(STEPS) * 0.1)
    assert set(opened.phases) >= {"ice", "dtls", "sctp", "proof"}
    assert opened.path.local_type == "host" and opened.path.remote_address == ("11.0.1.1", PORT)
    assert other.path.remote_address == opened.path.local_address
    assert all(host.open_links == 0 for host in pair.hosts)
    assert not pair.ends[1]._diallers and not pair.heard


def test_a_dialler_behind_any_router_reaches_it():
    for kind in ("symmetric", "port-restricted", "firewall"):
        opened, other, _ = play(Pair(kind), talk)
        assert other.path.remote_address == opened.path.local_address


def test_losses_delay_it_only():
    for seed in range(5):
        play(Pair(loss=0.2, latency=LogNormal(0.03, 0.3), seed=seed), lambda pair: talk(pair, 60.0))


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"peer": ALICE}, LinkFault.NO_PROOF),
        ({"fingerprint": bytes(32)}, LinkFault.FINGERPRINT_MISMATCH),
        ({"port": 9}, LinkFault.ICE_TIMEOUT),
    ],
)
def test_what_goes_wrong_has_its_name(wrong, fault):
    async def main(pair):
        await pair.open()
        with pytest.raises(LinkError) as failed:
            await pair.dial(**wrong)
        assert failed.value.end.fault is fault
        assert not pair.opened.done()
        await asyncio.sleep(11.0)
        assert not pair.ends[1]._diallers

    play(Pair(), main)


def test_the_port_is_the_dhts_all_the_same_and_closing_lets_nobody_in():
    async def main(pair):
        await pair.open()
        for data in (b"\xd1ours", b"", b"\x01", b"\x20nobody's"):
            pair.ends[0]._sockets.send(data, (pair.hosts[1].ip, PORT))
        await asyncio.sleep(1.0)
        assert [data for data, _ in pair.heard] == [b"\xd1ours", b"", b"\x01", b"\x20nobody's"]
        await pair.ends[1].close()
        with pytest.raises(LinkError):
            await pair.dial(timeout=1.0)
        await pair.ends[0].close()
        with pytest.raises(LinkError) as failed:
            await pair.dial()
        assert failed.value.end.fault is LinkFault.CLOSED_BY_US

    play(Pair(), main)


def test_it_is_sooner_than_the_same_two_by_offer_and_answer():
    async def main(pair):
        _, _, dialled = await talk(pair)
        loop = asyncio.get_running_loop()
        started = loop.time()
        caller, callee = (host.new_session(WebRtcConfig()) for host in pair.hosts)
        offer = await caller.offer()
        await asyncio.sleep(0.1)  # Offer and answer each go through a home node: two hops of 50 ms.
        answer = await callee.answer(offer)
        far = asyncio.ensure_future(linked(callee, ALICE, timeout=5.0))
        await asyncio.sleep(0.1)
        link = await linked(caller, BOB, answer)
        called = loop.time() - started
        await asyncio.gather(link.close(), (await far).close())
        return dialled, called

    dialled, called = play(Pair(), main)
    assert dialled <= called - 0.25, (dialled, called)
