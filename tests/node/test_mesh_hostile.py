"""Relays and ends that lie: bytes altered on the way, streams held open, and what a relay says of its own."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from node.node_relaying import RESET_CODE, RelayService, framed, read_message
from node.ports import LinkError, LinkFault, StreamReset
from node.protocols.circuit import CIRCUIT_STREAM, RELAY_STREAM, Join, Joined, Refused, RelayRefusal, Reserve, Role
from node.protocols.relaying import RelayLimits
from tests.node.mesh_network import MeshNetwork, MeshNode, linked, opened, played


@contextlib.asynccontextmanager
async def network():
    made = MeshNetwork()
    try:
        yield made
    finally:
        await made.close()


def carrying(relay: MeshNode, change) -> None:
    """Have a relay do something to what it carries."""
    pump = RelayService._pump

    class Tampering:
        def __init__(self, source):
            self.source, self.pieces = source, 0

        async def read(self, limit):
            self.pieces += 1
            return change(self.pieces, await self.source.read(limit))

    async def tampering(circuit, flow, source, target, first=None):
        return await pump(relay.mesh.relay, circuit, flow, Tampering(source), target, first)  # type: ignore[arg-type]

    relay.mesh.relay._pump = tampering  # type: ignore[method-assign]


def test_a_relay_that_alters_bytes_is_found_out():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            carrying(relay, lambda n, data: data[:-1] + bytes([data[-1] ^ 1]) if n > 3 and data else data)
            near, far = await linked(one, other)
            stream = await near.open_stream("talk")
            with pytest.raises(LinkError):
                while True:
                    await stream.write(bytes(10_000))
                    await asyncio.sleep(0.1)
            faults = {(await near.closed).fault, (await far.closed).fault}
            assert LinkFault.RELAY_FAILED in faults
            assert faults <= {LinkFault.RELAY_FAILED, LinkFault.LOST}

    played(main())


def test_a_relay_that_ends_a_circuit_by_itself_is_not_taken_for_the_peer():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            carrying(relay, lambda n, data: b"" if n > 3 else data)
            near, far = await linked(one, other)
            stream = await near.open_stream("talk")
            with contextlib.suppress(LinkError):
                for _ in range(20):
                    await stream.write(bytes(100))
                    await asyncio.sleep(0.1)
            assert (await far.closed).fault is LinkFault.LOST
            assert (await near.closed).fault is LinkFault.LOST

    played(main())


def test_a_relay_says_nothing_but_what_it_was_told_or_asked():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            near, far = await linked(one, other)
            stream = await near.open_stream("talk")
            await stream.write(bytes(200_000))
            await (await far.accept_stream()).read_exactly(200_000)
            await asyncio.sleep(1)
            # What it wrote on both links, the frames of streams and windows included, against what it got.
            own = [relay.links.get(node.key).stats for node in (one, other)]
            sent, received = sum(stats.bytes_sent for stats in own), sum(stats.bytes_received for stats in own)
            assert sent <= received

    played(main())


def test_a_relay_that_reads_all_it_carries_reads_nothing():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            read: list[bytes] = []

            def noting(_number, data):
                read.append(data)
                return data

            carrying(relay, noting)
            near, far = await linked(one, other)
            secret = b"nobody on the way reads this line. " * 1000
            stream = await near.open_stream("a-name-that-only-they-know")
            await stream.write(secret)
            arriving = await far.accept_stream()
            assert await arriving.read_exactly(len(secret)) == secret
            await arriving.write(secret[::-1])
            assert await stream.read_exactly(len(secret)) == secret[::-1]
            seen = b"".join(read)
            assert len(seen) > 2 * len(secret)
            for plain in (secret[:35], secret[::-1][:35], secret[:12], b"only-they-know"):
                assert plain not in seen
            # Nothing of it shows by being the same each time either.
            pieces = [seen[at : at + 16] for at in range(0, len(seen) - 16, 16)]
            assert len(set(pieces)) == len(pieces)

    played(main())


def test_a_relay_reaches_nobody_for_a_stranger_and_gives_each_no_more_than_it_sent():
    async def main():
        async with network() as net:
            one, other, relay, eve, third, last = (net.add(relay=n in (2, 5)) for n in range(6))
            one.knows(relay)
            seen: list[Join] = []
            join_of = relay.mesh.relay._relaying.join

            def noting(peer, prefix, join, now, *, willing):
                seen.append(join)
                return join_of(peer, prefix, join, now, willing=willing)

            relay.mesh.relay._relaying.join = noting
            near, far = await linked(one, other)
            stream = await near.open_stream("talk")
            await stream.write(bytes(1000))
            await (await far.accept_stream()).read_exactly(1000)
            await asyncio.sleep(1)  # The last acknowledgements have gone.
            before = [relay.links.get(node.key).stats.bytes_sent for node in (one, other)]
            # She has heard both JOINs of a circuit that stands, and names relays and peers that she would have reached.
            tried = [
                *((again, RelayRefusal.TAKEN) for again in seen),
                (Join(bytes(16), Role.FIRST, 1, (third.key,)), RelayRefusal.UNKNOWN_HOP),
                (Join(bytes(16), Role.SECOND, 1, (last.key,)), RelayRefusal.UNKNOWN_HOP),
                (Join(bytes(16), Role.FIRST, 0, (), (one.key,)), RelayRefusal.BAD_REQUEST),
            ]
            for join, refusal in tried:
                answer = await read_message(await asking(net, eve, relay, join))
                assert isinstance(answer, Refused)
                assert answer.reason is refusal
            await asyncio.sleep(0.5)
            assert {node.key for node in net.nodes.values() if relay.links.get(node.key)} == {
                one.key,
                other.key,
                eve.key,
            }
            assert not third.links.get(relay.key) and not last.links.get(relay.key)
            hers = relay.links.get(eve.key).stats
            assert 0 < hers.bytes_sent <= hers.bytes_received
            # Those who talk have heard nothing of it.
            assert [relay.links.get(node.key).stats.bytes_sent for node in (one, other)] == before
            await stream.write(bytes(500))

    played(main())


async def asking(net: MeshNetwork, node: MeshNode, relay: MeshNode, message, name: str = CIRCUIT_STREAM):
    link = await node.reach(relay.contact, 1.0)
    stream = await link.open_stream(name)
    await stream.write(framed(message) if not isinstance(message, bytes) else message)
    return stream


def test_rubbish_silence_and_wrong_requests_are_refused():
    async def main():
        async with network() as net:
            one, relay = net.add(), net.add(relay=True)
            for name, said in (
                (CIRCUIT_STREAM, b"\0\2\1\x63"),
                (CIRCUIT_STREAM, b"\xff\xff"),
                (CIRCUIT_STREAM, b"\0"),
                (CIRCUIT_STREAM, framed(Reserve(1))),
                (RELAY_STREAM, framed(Join(bytes(16), Role.FIRST))),
            ):
                stream = await asking(net, one, relay, said, name)
                answer = await read_message(stream)
                assert isinstance(answer, Refused)
                assert answer.reason is RelayRefusal.BAD_REQUEST
            assert relay.mesh.info().relay.half_joined == 0

    played(main())


def test_an_end_that_gives_up_waiting_frees_its_seat_at_once():
    async def main():
        async with network() as net:
            one, relay = net.add(), net.add(relay=True)
            stream = await asking(net, one, relay, Join(bytes(16), Role.FIRST, 0))
            await asyncio.sleep(0.5)
            assert relay.mesh.info().relay.half_joined == 1
            stream.reset()
            await asyncio.sleep(0.5)
            assert relay.mesh.info().relay.half_joined == 0
            again = await asking(net, one, relay, Join(bytes(16), Role.FIRST, 0))
            net.kill(one)
            await asyncio.sleep(20)
            assert relay.mesh.info().relay.half_joined == 0
            with pytest.raises((StreamReset, LinkError)):
                await again.read_exactly(1)

    played(main())


def test_whoever_learns_a_circuits_name_gets_nothing_out_of_it():
    async def main():
        async with network() as net:
            one, other, thief, relay = net.add(), net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            offered = one.mesh.propose(other.key)
            answered = other.mesh.accept(one.key, offered.extras)
            seen: list[bytes] = []
            # A relay that tells a third party which circuit is joined: it takes the second seat first.
            join_of = relay.mesh.relay._relaying.join

            def leaking(peer, prefix, join, now, *, willing):
                seen.append(join.circuit)
                return join_of(peer, prefix, join, now, willing=willing)

            relay.mesh.relay._relaying.join = leaking
            opening = asyncio.ensure_future(
                one.mesh.open(other.key, offered, answered.extras, initiated=True, timeout=5)
            )
            while not seen:
                await asyncio.sleep(0.01)
            stream = await asking(net, thief, relay, Join(seen[0], Role.SECOND, 0))
            assert isinstance(await read_message(stream), Joined)
            await stream.write(bytes(24) + (35).to_bytes(3, "big") + bytes(35))
            with pytest.raises(LinkError, match="does not open"):
                await opening

    played(main())


def test_a_circuit_that_is_used_up_is_cut_with_its_reason():
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            relay = net.add(relay=True, limits=RelayLimits(allowance=200_000))
            one.knows(relay)
            near, far = await linked(one, other)
            stream = await near.open_stream("bulk")
            with pytest.raises(LinkError):
                await stream.write(bytes(10_000_000))
            assert "used-up" in (await near.closed).detail
            assert (await far.closed).fault is LinkFault.LOST
            assert relay.mesh.info().relay.refusals == {"used-up": 1}
            assert RESET_CODE == 256

    played(main())


def test_a_refused_circuit_leaves_those_that_stand_unharmed():
    async def main():
        async with network() as net:
            limits = RelayLimits(
                total_rate=1_048_576.0, circuit_rate=1_048_576.0, peer_rate=1_048_576.0, least_share=262_144.0
            )
            relay = net.add(relay=True, limits=limits)
            ends = [(net.add(), net.add()) for _ in range(5)]
            links = []
            for one, other in ends[:4]:
                one.knows(relay)
                links.append(await linked(one, other))
            writing = []
            for near, _ in links:
                stream = await near.open_stream("bulk")
                writing.append(asyncio.ensure_future(stream.write(bytes(6_000_000))))
            arriving = [await far.accept_stream() for _, far in links]
            counts = [0] * 4

            async def drain(n: int) -> None:
                while data := await arriving[n].read():
                    counts[n] += len(data)

            drains = [asyncio.ensure_future(drain(n)) for n in range(4)]
            await asyncio.sleep(10)
            one, other = ends[4]
            one.knows(relay)
            before = list(counts)
            with pytest.raises(LinkError, match="overloaded"):
                await opened(one, other)
            await asyncio.sleep(8)
            elapsed = 8.0
            for n in range(4):
                # A quarter of the relay's rate each, less what frames cost.
                assert (counts[n] - before[n]) / elapsed > 0.6 * 262_144
            assert max(counts) - min(counts) < 0.2 * max(counts)
            for task in (*writing, *drains):
                task.cancel()

    played(main())
