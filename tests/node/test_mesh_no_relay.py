"""Where no relay is known, or none that is reached: what is said, how one is looked for, and who helps all the same."""

from __future__ import annotations

import asyncio

import pytest

from node.ports import LinkError, LinkFault
from tests.node.mesh_network import network, opened, played


def test_no_relay_known_is_said_and_does_not_wait():
    async def main():
        async with network() as net:
            one, other = net.add(), net.add()
            with pytest.raises(LinkError, match="neither side knows a relay"):
                await opened(one, other)
            assert not await one.mesh.ready(3)

    played(main())


def test_a_relay_is_sought_until_one_is_heard_of_or_the_time_is_over():
    async def main():
        async with network() as net:
            one, relay = net.add(), net.add(relay=True)
            loop = asyncio.get_running_loop()
            began = loop.time()
            why = await one.mesh.sought(10.0)
            assert why == "4 searches in 10 s found none that is reached from here"
            assert loop.time() - began == pytest.approx(10.0, abs=0.1)
            loop.call_later(3.5, one.knows, relay)
            began = loop.time()
            assert await one.mesh.sought(10.0) == ""
            assert loop.time() - began == pytest.approx(3.5, abs=0.1)
            one.families = frozenset()
            assert await one.mesh.sought(0.5), "known, and not reached"

    played(main())


def test_relays_that_the_peer_named_and_nobody_here_reaches_are_no_way():
    async def main():
        async with network() as net:
            one, other, relay = net.add(), net.add(), net.add(relay=True)
            one.families = frozenset()
            other.knows(relay)
            with pytest.raises(LinkError, match="not reached from here") as seen:
                await opened(one, other, timeout=1.0)
            assert seen.value.end.fault is LinkFault.NO_RELAY

    played(main())


def test_where_no_udp_gets_out_the_relay_that_is_linked_with_carries_it():
    async def main():
        async with network() as net:
            one, other, gateway = net.add(), net.add(), net.add(relay=True)
            one.knows(gateway)
            one.families = frozenset()
            with pytest.raises(LinkError, match="neither side knows a relay"):
                await opened(one, other)
            await one.reach(gateway.contact, 1.0)
            near, _ = await opened(one, other)
            assert near.path.via == (gateway.key,)
            # And the other way round: the answering side adds the only one it gets to.
            near, _ = await opened(other, one)
            assert near.path.via == (gateway.key,)

    played(main())
