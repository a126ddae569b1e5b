"""Links of complete nodes: which routers let them meet, what losses do to them, and that a seed repeats it all."""

import asyncio
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dht.identity import IdentityKey
from dht.stun import binding_response
from node.adapters.webrtc import WebRtcConfig
from node.ports import LinkError, LinkFault
from simulations.events import EventQueue
from simulations.latency import LogNormal
from simulations.links import LinkHost
from simulations.loop import run
from simulations.nat import place_behind
from simulations.nat_kinds import can_punch
from simulations.network import Network
from simulations.randomness import Streams
from simulations.trace import Trace, first_divergence
from tests.linking import linked
from tests.simulations.shell_worlds import play

ROOT = Path(__file__).resolve().parent.parent.parent
STUN = [(f"11.0.{number}.1", 4000) for number in (9, 10, 11)]
KEYS = tuple(IdentityKey.from_seed(bytes([number]) * 32).public for number in (1, 2))
"""The dialler's and the listener's."""


class Pair:
    """Two machines behind routers, a neighbour that answers STUN, and attempts at links between the two."""

    def __init__(self, kinds=("none", "none"), *, loss=0.0, sigma=0.3, seed=1, neighbours=1):
        streams = Streams(seed)
        self.network = Network(EventQueue(), streams, latency=LogNormal(0.03, sigma), loss=loss)
        self.hosts = []
        for number, kind in enumerate(kinds):
            inside, public = f"10.0.{number}.1", f"11.0.{number}.1"
            ip = public if kind in ("none", "firewall", "udp-blocked") else inside
            place_behind(self.network, kind, [ip], public, streams.stream(f"ports/{number}"))
            self.hosts.append(LinkHost(self.network, ip, streams.stream(f"links/{number}")))
        self.neighbours = tuple(STUN[:neighbours])
        for address in self.neighbours:
            self._answer_stun(address)

    def _answer_stun(self, address):
        def answer(data, src):
            response = binding_response(data, src)
            assert response is not None
            self.network.send(bound, src, response)

        bound = self.network.bind(address, answer)

    async def meet(self):
        """Both links; raises what the dialler's attempt raises."""
        dialler, listener = (host.new_session(WebRtcConfig(stun_servers=self.neighbours)) for host in self.hosts)
        offer = await dialler.offer()
        answer = await listener.answer(offer)
        far = asyncio.ensure_future(linked(listener, KEYS[0], timeout=20.0))
        await asyncio.sleep(0.1)
        try:
            near = await linked(dialler, KEYS[1], answer)
        except LinkError:
            assert isinstance((await asyncio.gather(far, return_exceptions=True))[0], LinkError)
            raise
        return near, await far

    def play(self, script):
        """Run `script(pair)` on the pair's clock."""
        return run(script(self), self.network)


NATS = ("none", "endpoint-independent", "address-restricted", "port-restricted", "symmetric", "firewall", "cgnat")


@pytest.mark.parametrize("left", NATS)
def test_links_open_where_theory_says_that_routers_let_them(left):
    for right in NATS:

        async def script(pair):
            near, far = await pair.meet()
            assert {near.stats.path.remote_type, far.stats.path.remote_type} <= {"host", "srflx", "prflx"}
            rtt = await near.ping()
            await near.close()
            await asyncio.sleep(1)
            assert far.end is not None
            return rtt

        pair = Pair((left, right))
        if can_punch(left, right):
            assert 0.02 < pair.play(script) < 0.2, (left, right)
        else:
            with pytest.raises(LinkError, match="ice-failed") as failed:
                pair.play(script)
            assert failed.value.end.fault is LinkFault.ICE_FAILED
        assert [host.open_links for host in pair.hosts] == [0, 0]


@pytest.mark.parametrize("varies", ["symmetric", "sequential-symmetric", "cgnat-symmetric"])
@pytest.mark.parametrize("other", ["address-restricted", "port-restricted", "firewall", "double", "cgnat"])
def test_a_router_that_gives_every_destination_another_port_is_punched(varies, other):
    async def script(pair):
        started = asyncio.get_running_loop().time()
        near, far = await pair.meet()
        rtt = await near.ping()
        assert 0.02 < rtt < 0.2
        await near.close()
        await asyncio.sleep(1)
        assert far.end is not None
        return asyncio.get_running_loop().time() - started

    for kinds in ((varies, other), (other, varies)):
        pair = Pair(kinds, neighbours=3)
        assert pair.play(script) < 1 + 4.5
        assert [host.open_links for host in pair.hosts] == [0, 0]


def test_two_such_routers_are_known_to_be_hopeless():
    async def script(pair):
        one, other = (host.new_session(WebRtcConfig(stun_servers=pair.neighbours)) for host in pair.hosts)
        await other.answer(await one.offer())
        hopeless = other.hopeless
        await one.close()
        await other.close()
        return hopeless

    kinds = ("symmetric", "sequential-symmetric", "port-restricted", "udp-blocked", "none")
    for left in kinds:
        for right in kinds:
            expected = "udp-blocked" in (left, right) or ("symmetric" in left and "symmetric" in right)
            assert Pair((left, right), neighbours=3).play(script) == expected, (left, right)


@pytest.mark.parametrize(("loss", "sigma"), [(0.0, 0.3), (0.05, 0.3), (0.2, 1.0)])
def test_every_byte_arrives_in_order_whatever_is_lost_and_overtaken(loss, sigma):
    async def script(pair):
        near, far = await pair.meet()
        said = pair.hosts[0].rng.randbytes(200_000)
        stream = await near.open_stream("bytes")
        await stream.write(said)
        await stream.close()
        heard = await far.accept_stream()
        assert await heard.read_exactly(len(said)) == said
        back = pair.hosts[0].rng.randbytes(70_000)
        await heard.write(back)
        await heard.close()
        assert await stream.read_exactly(len(back)) == back
        return pair.network.dropped.get("loss", 0)

    assert bool(Pair(loss=loss, sigma=sigma).play(script)) is bool(loss)


def test_a_dead_path_ends_a_link_when_consent_expires():
    async def script(pair):
        near, far = await pair.meet()
        pair.network.take_down(pair.hosts[1].ip)
        started = asyncio.get_running_loop().time()
        end = await near.closed
        assert end.fault is LinkFault.LOST and "30 s" in end.detail
        assert 30 <= asyncio.get_running_loop().time() - started <= 37
        assert far.end is None or far.end.fault is LinkFault.LOST

    Pair().play(script)


def test_a_link_outlives_a_short_cut_and_goes_on():
    async def script(pair):
        near, far = await pair.meet()
        stream = await near.open_stream("bytes")
        pair.network.take_down(pair.hosts[1].ip)
        await stream.write(bytes(100_000))
        await asyncio.sleep(10)
        pair.network.wake(pair.hosts[1].ip)
        await stream.close()
        heard = await far.accept_stream()
        assert await heard.read_exactly(100_000) == bytes(100_000)

    Pair().play(script)


def test_a_machine_switched_off_sends_nothing_more():
    async def script(pair):
        near, _ = await pair.meet()
        attempt = pair.hosts[0].new_session(WebRtcConfig())
        offering = asyncio.ensure_future(attempt.offer())
        stream = await near.open_stream("bytes")
        await stream.write(bytes(100_000))
        await asyncio.sleep(0.01)
        sent = pair.network.host(pair.hosts[0].ip).sent
        pair.hosts[0].cut()
        await asyncio.sleep(60)
        assert pair.network.host(pair.hosts[0].ip).sent == sent
        assert near.end is not None and near.end.fault is LinkFault.LOST
        assert await offering

    Pair().play(script)


def test_what_is_no_offer_is_refused_with_a_reason():
    async def script(pair):
        session = pair.hosts[0].new_session(WebRtcConfig())
        with pytest.raises(LinkError, match="bad-description"):
            await session.answer(b"hello")
        offer = await session.offer()
        with pytest.raises(LinkError, match="expected answer, got offer"):
            await linked(session, KEYS[1], offer)

    Pair().play(script)


def test_nodes_behind_symmetric_routers_meet_at_a_relay():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        shells.add(3, "server")
        await world.settle()
        await world.run(seconds=60)
        met = await one.node.connect(other.key)
        assert (met.connected, met.path) == (True, "relay"), met
        assert 0 < await met.link.ping() < 1
        # Out in the open there is nothing to punch through.
        (server,) = shells.add(1, "server")
        await world.settle()
        await world.run(seconds=30)
        met = await one.node.connect(server.key)
        assert met.connected and met.path.endswith("host"), met

    play(script, count=2, nat="symmetric")


def test_two_that_call_each_other_at_once_get_one_link():
    async def script(world, shells, nodes):
        one, other = nodes[:2]
        both = await asyncio.gather(one.node.connect(other.key), other.node.connect(one.key))
        assert all(met.connected for met in both), both
        await world.run(seconds=5)
        assert (one.open_links, other.open_links) == (1, 1)

    play(script, count=2)


BUSY = {"nat": "published", "loss": 0.01}


async def busy(world, shells, nodes):
    """A minute with everything in it that could differ between two runs."""
    met = await asyncio.gather(*(one.node.connect(other.key) for one, other in itertools.pairwise(nodes)))
    await asyncio.gather(*(one.node.ping_link(nodes[0].key) for one in nodes[1:]))
    await nodes[0].node.send_file(nodes[1].key, shells.file("file.bin", 50_000))
    victims = world.kill(peers=[*world.group("server")[:5], nodes[-1].peer])
    await world.run(seconds=10)
    world.restart(victims, spread=5)
    await world.run(seconds=20)
    await nodes[0].node.find(nodes[-1].key)
    return sum(one.connected for one in met), world.result().facts["trace_hash"]


def test_a_seed_gives_the_same_run_again_whatever_the_hash_seed_of_python():
    traces = [Trace(keep_all=True), Trace(keep_all=True)]
    runs = [play(busy, count=4, trace=trace, **BUSY) for trace in traces]
    assert runs[0] == runs[1], first_divergence(*traces)
    assert runs[0][0] > 0
    code = (
        "from tests.simulations.shell_worlds import play; from tests.simulations.test_links import BUSY, busy;"
        "print(*play(busy, count=4, **BUSY))"
    )
    started = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout.split() == [str(runs[0][0]), runs[0][1]]


def test_another_seed_gives_another_run():
    assert play(busy, count=2, seed=6, **BUSY) != play(busy, count=2, seed=7, **BUSY)
