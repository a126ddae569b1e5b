"""Nodes that are killed with no warning come back from their journals: files go on, contacts and numbers are kept."""

import asyncio
import hashlib
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from node.demo_meeting import outcome_of, send
from node.demo_network import Document, Host, Network

WAIT = 30.0

NO_LIST = {"ROOKERY_BOOTSTRAP_LISTS": ""}


async def saved(host: Host, contacts: int) -> None:
    """Wait until the journal of a running node holds so many contacts, and that it serves: rows may wait half a second
    for company."""
    async with asyncio.timeout(WAIT):
        while True:
            with closing(sqlite3.connect(f"file:{host.folder / 'journal.db'}?mode=ro", uri=True)) as journal:
                (count,) = journal.execute("SELECT count(*) FROM contacts").fetchone()
                (serves,) = journal.execute("SELECT count(*) FROM meta WHERE name = 'served'").fetchone()
            if count >= contacts and serves:
                return
            await asyncio.sleep(0.1)


def accepting(folder: Path) -> dict[str, str]:
    """Settings of a node that takes files with nobody asked."""
    return {"ROOKERY_RECEIVE": "accept", "ROOKERY_ACCEPT_FROM": "all", "ROOKERY_DOWNLOAD_DIR": str(folder)}


def beyond(count: int) -> Callable[[Document], bool]:
    """Whether a line tells that more than so many bytes have gone out."""
    return lambda said: said["event"] == "progress" and said["done"] > count


async def test_a_file_goes_on_where_the_receiver_was_killed(net: Network, payload: Path) -> None:
    await net.start_server()
    folder = net.folder / "downloads"
    (sender,) = await net.start_hosts(["rook"])
    receiver = await net.start_host("jay", **accepting(folder))
    await receiver.published()

    sending = await send(net.nursery, sender, receiver.peer, payload)
    size = payload.stat().st_size
    begun = await sending.hear(beyond(4_000_000), WAIT, "having sent a part")
    assert begun["done"] < size
    await receiver.process.kill()
    assert not (folder / payload.name).exists()

    await net.restart(receiver)
    await receiver.published()
    outcome = await outcome_of(await send(net.nursery, sender, receiver.peer, payload))
    # The new link took the place of the one whose other end had died, and so told the first command.
    cut_short = await sending.event("done", WAIT)
    assert (cut_short["ok"], cut_short["reason"]) == (False, "link-lost")
    assert await sending.wait(WAIT) == 1
    assert 0 < outcome["resumed_at"] < size
    assert outcome["sent"] == size - outcome["resumed_at"]
    digest = hashlib.sha256(payload.read_bytes()).hexdigest()
    assert outcome["sha256"] == digest
    assert hashlib.sha256((folder / payload.name).read_bytes()).hexdigest() == digest
    assert [file.name for file in folder.iterdir() if file.is_file()] == [payload.name]


@pytest.mark.slow
async def test_a_file_arrives_however_often_either_side_is_killed(net: Network, payload: Path) -> None:
    rng = random.Random(3)
    await net.start_server()
    folder = net.folder / "downloads"
    (sender,) = await net.start_hosts(["rook"])
    receiver = await net.start_host("jay", **accepting(folder))
    size = payload.stat().st_size
    reached = 0
    for victim in (sender, receiver, sender, receiver, receiver):
        await receiver.published()
        sending = await send(net.nursery, sender, receiver.peer, payload)
        # Part of the way further than the last time, so that the end is not reached before the last turn.
        aim = reached + rng.randrange(1_000_000, 8_000_000)
        begun = await sending.hear(beyond(aim), 2 * WAIT, "having sent a part")
        assert reached <= begun["done"] < size
        await victim.process.kill()
        await net.restart(victim)
        await victim.published()
        reached = aim - 1_000_000

    outcome = await outcome_of(await send(net.nursery, sender, receiver.peer, payload))
    assert outcome["resumed_at"] > 0
    assert hashlib.sha256((folder / payload.name).read_bytes()).hexdigest() == outcome["sha256"]
    assert outcome["sha256"] == hashlib.sha256(payload.read_bytes()).hexdigest()
    assert [file.name for file in folder.iterdir() if file.is_file()] == [payload.name]


async def test_a_node_killed_at_random_moments_comes_back_without_any_list(net: Network) -> None:
    rng = random.Random(20)
    server = await net.start_server()
    witness, _, victim = await net.start_hosts(["rook", "jay", "crow"])
    peer, node_key = victim.peer, victim.ready["contact"].partition("@")[0]
    seq = (await witness.until("find", lambda found: found["found"], WAIT, peer=peer))["seq"]
    await saved(victim, contacts=3)
    await server.process.kill()

    await victim.process.kill()
    for _ in range(3):
        # Killed while it starts, joins, publishes: whatever it is at.
        process = await net.nursery.start(
            "crow", "run", "--data-dir", str(victim.folder), "--json", settings={**net.settings, **NO_LIST}
        )
        await asyncio.sleep(rng.uniform(0.1, 1.2))
        await process.kill()

    await net.restart(victim, **NO_LIST)
    assert victim.peer == peer
    assert victim.ready["contact"].partition("@")[0] == node_key
    await victim.process.logged("joined", WAIT)
    published = await victim.published()
    assert published["seq"] > seq
    status = await victim.call("status")
    assert status["bootstrap"] == []
    assert status["contacts"] >= 2
    found = await witness.until(
        "find", lambda found: found["found"] and found["seq"] >= published["seq"], WAIT, peer=peer
    )
    assert victim.ready["contact"] in found["direct"]


async def test_the_last_good_list_is_kept_for_when_no_source_is_left(net: Network) -> None:
    server = await net.start_server()
    (host,) = await net.start_hosts(["rook"])
    await net.stop([host])
    assert server.alive
    # The journal is lost, and the URL leads nowhere: what is left is the copy of the list.
    for file in host.folder.glob("journal.db*"):
        file.unlink()
    await net.restart(host, ROOKERY_BOOTSTRAP_LISTS="http://127.0.0.1:9/bootstrap.json")
    await host.process.logged("joined", WAIT)
    assert (await host.call("status"))["contacts"] == 1


async def test_nodes_that_all_were_killed_at_once_find_each_other_again(net: Network) -> None:
    server = await net.start_server()
    hosts = await net.start_hosts(["rook", "jay"])
    for host in hosts:
        await saved(host, contacts=2)
    # As after a power cut: nobody is left who serves, and none of the two was told to.
    await asyncio.gather(*(host.process.kill() for host in (server, *hosts)))
    await asyncio.gather(
        *(net.restart(host, **NO_LIST, ROOKERY_PORT=str(host.port)) for host in hosts),
    )
    for host in hosts:
        await host.process.logged("joined", WAIT)
        await host.published()
        assert (await host.until("status", lambda status: status["contacts"] == 1, WAIT))["mode"] == "server"
