"""Links through relays, end to end: over one relay, two and three; which is taken; what is told when none works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from node.ports import LinkError, LinkFault, Stream
from tests.node.mesh_network import agreed, linked, network, opened, played


async def echoed(link, far, data: bytes) -> bytes:
    async def serve(stream: Stream) -> None:
        while piece := await stream.read():
            await stream.write(piece)

    far.register("echo", serve)
    stream = await link.open_stream("echo")

    async def send() -> None:
        await stream.write(data)
        await stream.close()

    sending = asyncio.ensure_future(send())
    back = await stream.read_exactly(len(data))
    await sending
    assert await stream.read() == b""
    return bytes(back)


def test_a_link_over_one_relay_carries_bytes_both_ways():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            net.part(one, other)
            one.knows(relay)
            started = asyncio.get_running_loop().time()
            near, far = await linked(one, other)
            took = asyncio.get_running_loop().time() - started
            path = near.stats.path
            assert (path.local_type, path.via, path.direct) == ("relay", (relay.key,), False)
            assert path.remote_address == relay.contact.addresses[0]
            assert far.stats.path.via == (relay.key,)
            data = bytes(range(256)) * 20_000
            assert await echoed(near, far, data) == data
            # Two links with the relay (80 ms here, at once), then JOIN and proof to the other end.
            assert took < 0.25
            info = relay.mesh.info().relay
            assert (info.circuits, info.carried_circuits) == (1, 1)
            assert info.carried_bytes > 2 * len(data)
            assert one.mesh.info().opened == other.mesh.info().opened == 1
            await near.close()
            assert (await far.closed).fault is LinkFault.CLOSED_BY_PEER
            await asyncio.sleep(1)
            assert relay.mesh.info().relay.circuits == 0
            assert one.links.get(relay.key) is not None

    played(main())


def test_the_answering_side_names_relays_where_the_caller_knows_none():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            other.knows(relay)
            near, _ = await opened(one, other)
            assert near.path.via == (relay.key,)
            assert one.dht.reads  # It looked for relays, too.

    played(main())


@pytest.mark.parametrize("hops", [2, 3])
def test_where_no_relay_is_reached_by_both_the_circuit_goes_over_several(hops):
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            one.families, other.families = frozenset({6}), frozenset({4})
            first, last, middle = net.add(relay=True, v6=True), net.add(relay=True), net.add(relay=True)
            relays = [first, last]
            if hops == 2:
                # A relay that others reach over both families.
                relays[1].contact = type(last.contact)(
                    last.key, (*last.contact.addresses, *first.contact.addresses), last.contact.node_key
                )
                first.knows(last)
            else:
                middle.contact = type(middle.contact)(
                    middle.key, (*middle.contact.addresses, *first.contact.addresses), middle.contact.node_key
                )
                relays = [first, middle, last]
                first.knows(middle)
                middle.knows(last)
                other.knows(middle)
                other.mesh.book.failed(middle.key)  # It has tried that one, and did not get there.
            one.knows(first)
            other.knows(last)
            for relay in relays[1:]:
                net.part(one, relay)
            for relay in relays[:-1]:
                net.part(other, relay)
            near, far = await linked(one, other)
            assert near.stats.path.via == tuple(relay.key for relay in relays)
            assert far.stats.path.via == tuple(relay.key for relay in reversed(relays))
            assert await echoed(near, far, b"x" * 300_000) == b"x" * 300_000
            for relay in relays:
                assert relay.mesh.info().relay.circuits == 1
            net.kill(relays[-1])
            assert (await near.closed).fault is LinkFault.LOST
            assert (await far.closed).fault is LinkFault.LOST
            await asyncio.sleep(1)
            for relay in relays:
                assert relay.mesh.info().relay.circuits == 0

    played(main())


def test_a_relay_goes_on_only_to_relays_it_knows_itself():
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            one.families, other.families = frozenset({6}), frozenset({4})
            first, last = net.add(relay=True, v6=True), net.add(relay=True)
            last.contact = type(last.contact)(
                last.key, (*last.contact.addresses, *first.contact.addresses), last.contact.node_key
            )
            one.knows(first)
            other.knows(last)
            with pytest.raises(LinkError, match="unknown-hop"):
                await opened(one, other)
            assert first.links.get(last.key) is None
            assert first.mesh.info().relay.refusals == {"unknown-hop": 1}

    played(main())


def test_a_dead_relay_costs_a_quarter_of_a_second():
    async def main():
        async with network() as net:
            one, other, dead, alive = net.add(), net.add(), net.add(relay=True), net.add(relay=True)
            one.knows(dead, alive)
            one.mesh.book.measured(dead.key, 0.01)
            one.mesh.book.measured(alive.key, 0.05)
            dead.mesh.relay._on_circuit = hang
            dead.mesh.serve()
            started = asyncio.get_running_loop().time()
            near, far = await opened(one, other)
            assert near.path.via == far.path.via == (alive.key,)
            assert asyncio.get_running_loop().time() - started < 0.25 + 0.25

    async def hang(link, stream):
        await asyncio.sleep(3600)

    played(main())


def test_the_initiator_decides_for_one_circuit_and_both_take_it():
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            relays = [net.add(relay=True) for _ in range(3)]
            one.knows(*relays)
            for _ in range(5):
                near, far = await opened(one, other)
                assert near.path.via == far.path.via
                await near.channel.close()
                await far.channel.close()
            await asyncio.sleep(1)
            assert sum(relay.mesh.info().relay.circuits for relay in relays) == 0

    played(main())


def test_the_error_says_what_each_relay_said():
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            unwilling, apart = net.add(), net.add(relay=True)
            net.part(one, apart)
            one.knows(unwilling, apart)
            with pytest.raises(LinkError) as failed:
                await opened(one, other, timeout=5)
            end = failed.value.end
            assert end.fault is LinkFault.RELAY_FAILED
            assert f"{unwilling.key.short}: relay-failed: refused: not-willing" in end.detail
            assert f"{apart.key.short}: ice-failed: no way there" in end.detail
            assert one.mesh.info().failed == 1
            assert one.mesh.book.failing(unwilling.key)

    played(main())


def test_a_peer_that_speaks_of_no_circuits_gets_none():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            other.knows(relay)
            assert other.mesh.accept(one.key, ()).extras == ()
            terms = one.mesh.propose(other.key)
            with pytest.raises(LinkError, match="no relaying"):
                await one.mesh.open(other.key, terms, (), initiated=True, timeout=3)

    played(main())


def test_a_lone_end_is_told_that_nobody_came():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            offered, answered = agreed(one, other)
            with pytest.raises(LinkError, match="no-partner"):
                await one.mesh.open(other.key, offered, answered.extras, initiated=True, timeout=20)
            assert relay.mesh.info().relay.half_joined == 0

    played(main())


def test_killing_the_relay_in_mid_transfer_ends_both_ends_as_lost_at_once():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            near, far = await linked(one, other)
            stream = await near.open_stream("bulk")
            sending = asyncio.ensure_future(stream.write(bytes(50_000_000)))
            await asyncio.sleep(0.5)
            assert not sending.done()
            died = asyncio.get_running_loop().time()
            net.kill(relay)
            assert (await near.closed).fault is (await far.closed).fault is LinkFault.LOST
            assert asyncio.get_running_loop().time() - died < 0.1
            with pytest.raises(LinkError):
                await sending

    played(main())


def test_one_end_that_dies_is_lost_at_the_other():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            _, far = await linked(one, other)
            net.kill(one)
            end = await far.closed
            assert end.fault is LinkFault.LOST
            assert "relay" in end.detail

    played(main())


def test_nothing_counts_as_sent_that_only_the_relay_has():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            near, far = await opened(one, other)
            channel: Any = near.channel
            got: list[bytes] = []
            far.channel.on_message = got.append
            near.channel.start()
            near.channel.send(b"hello")
            await asyncio.sleep(1)
            # The far end has not begun to take messages, but its channel has this one.
            assert channel.idle
            assert got == []
            far.channel.start()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert got == [b"hello"]
            net.pairs[frozenset({other.key, relay.key})].far.lost = lambda _end: None
            net.pairs[frozenset({other.key, relay.key})].far._open = False
            near.channel.send(b"lost on the way")
            await asyncio.sleep(5)
            assert not channel.idle
            ended: list[Any] = []
            near.channel.on_closed = ended.append
            await asyncio.sleep(40)
            assert ended[0].fault is LinkFault.LOST

    played(main())


def test_a_slow_reader_slows_the_sender_and_the_relay_holds_little():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.knows(relay)
            near, far = await linked(one, other)
            stream = await near.open_stream("bulk")
            sending = asyncio.ensure_future(stream.write(bytes(30_000_000)))
            await asyncio.sleep(20)
            assert not sending.done()
            carried = relay.mesh.info().relay.carried_bytes
            # The window of the stream inside, which nobody reads, is all that left.
            assert carried < 5_500_000
            arriving = await far.accept_stream()
            await arriving.read_exactly(30_000_000)
            await sending

    played(main())


def test_wishes_of_nodes_behind_bad_routers_keep_two_relays_ready():
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            relays = [net.add(relay=True) for _ in range(4)]
            one.knows(*relays)
            one.mesh._needed = lambda: True
            running = asyncio.ensure_future(one.mesh.run())
            await asyncio.sleep(20)
            reserved = one.mesh.info().reserved
            assert len(reserved) == 2
            offered = one.mesh.propose(other.key)
            for key in reserved:
                assert any(key.raw in value for _, value in offered.extras)
            net.kill(net.nodes[reserved[0]])
            await asyncio.sleep(20)
            assert len(one.mesh.info().reserved) == 2
            assert reserved[0] not in one.mesh.info().reserved
            running.cancel()

    played(main())


def test_a_willing_node_announces_itself_and_says_more_when_its_load_changes():
    async def main():
        async with network() as net:
            relay = net.add(relay=True)
            said: list[tuple[float, int]] = []
            load = [0]

            async def announce(contact, told, capacity):
                assert contact == relay.contact
                said.append((asyncio.get_running_loop().time(), told))
                return 20

            mesh = relay.mesh
            mesh.search.announce = announce
            mesh._contact = lambda: relay.contact
            mesh.relay._relaying.load = lambda now: load[0]
            running = asyncio.ensure_future(mesh.run())
            await asyncio.sleep(1500)
            assert [told for _, told in said] == [0, 0, 0]
            assert mesh.info().announced == 20
            load[0] = 200
            await asyncio.sleep(100)
            assert said[-1][1] == 200
            relay.willing = False
            await asyncio.sleep(10)
            assert mesh.info().announced == 0
            texts = [event.text for event in relay.events.recent()]
            assert texts == ["announced as a relay: 20 nodes hold it", "no longer announced as a relay"]
            running.cancel()

    played(main())
