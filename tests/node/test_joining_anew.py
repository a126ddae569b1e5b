"""The last rung of the ladder, finding the network again for a peer that was not found: what it does, and says."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from dht.contact import Contact
from dht.identity import NodeKey
from node.node import Node
from node.node_joining import LIST_PAUSE
from simulations.events import EventQueue
from simulations.hops import Drop
from simulations.latency import Constant
from simulations.loop import run as run_virtually
from simulations.network import Network
from simulations.randomness import Streams
from tests.node.node_network import VirtualNetwork

GONE = Contact(NodeKey.from_secret(b"g" * 32).public, ("10.0.9.9", 4000))


def play(tmp_path, script, count: int = 3, **config) -> None:
    """Some servers, and a client that has joined by them; `script` gets it, all others, and a set of dead hosts."""
    simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))
    dead: set[str] = set()
    simulated.add_fault(lambda src, dst, size, now: Drop("dead") if {src[0], dst[0]} & dead else None)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            net = VirtualNetwork(tmp_path, stack)
            servers = [await net.start(f"n{number}", listen=f"10.0.1.{number + 1}") for number in range(count)]
            one = await net.start("one", listen="10.0.0.1", mode="client", **config)
            assert await one.wait_joined(30)
            await script(one, servers, dead)

    run_virtually(main(), simulated)


async def anew(node: Node) -> str:
    return await node.inside.joining.anew()


def test_where_all_are_dead_it_says_that_none_answers(tmp_path) -> None:
    async def script(one, servers, dead) -> None:
        dead.update(f"10.0.1.{number + 1}" for number in range(len(servers)))
        assert not (await one.find(servers[0].identity)).found
        said = await anew(one)
        assert "answers" in said and said.startswith("none of ")
        assert "nobody new" not in said

    play(tmp_path, script)


def test_who_was_silent_and_is_back_counts(tmp_path) -> None:
    async def script(one, servers, dead) -> None:
        dead.update(f"10.0.1.{number + 1}" for number in range(len(servers)))
        assert not (await one.find(servers[0].identity)).found
        dead.clear()
        assert await anew(one) == ""
        assert one.inside.driver.engine.answering()

    play(tmp_path, script)


def test_where_all_first_contacts_are_known_and_answer_nobody_is_asked(tmp_path) -> None:
    async def script(one, servers, dead) -> None:
        before = one.inside.datagrams.counters["sent"]
        assert await anew(one) == "every first contact is known, and answers"
        assert one.inside.datagrams.counters["sent"] == before

    play(tmp_path, script)


def test_a_first_contact_that_is_gone_is_told_from_those_who_know_nobody_new(tmp_path) -> None:
    async def script(one, servers, dead) -> None:
        await asyncio.sleep(60)
        one.inside.joining._known.append(GONE)
        assert await anew(one) == "none of 1 first contacts answers, and those who do know nobody new"

    play(tmp_path, script)


def test_the_sources_are_spared_for_a_minute(tmp_path) -> None:
    async def script(one, servers, dead) -> None:
        await anew(one)
        assert await anew(one) == "the lists were asked 0 s ago"
        await asyncio.sleep(LIST_PAUSE)
        assert not (await anew(one)).startswith("the lists were asked")

    play(tmp_path, script)


@pytest.mark.parametrize("known", [True, False])
def test_a_node_that_is_alone_says_so(tmp_path, known: bool) -> None:
    simulated = Network(EventQueue(), Streams(1), latency=Constant(0.02))

    async def main() -> None:
        async with AsyncExitStack() as stack:
            net = VirtualNetwork(tmp_path, stack)
            one = await net.start("one", listen="10.0.0.1", contacts=(GONE,) if known else ())
            assert not await one.wait_joined(3)
            said = await anew(one)
            assert said == ("no other node was found within 5 s" if known else "no list and no first contact is known")

    run_virtually(main(), simulated)
