"""Peers in separate processes meet by key alone and exchange files, also after half of the network was killed."""

import asyncio
import hashlib
from pathlib import Path

from dht.identity import IdentityKey
from node.demo_meeting import ARCHIVE_BYTES, CALLED, DIALLED, PHASES, Meeting, make_archive, meet
from node.demo_network import Network, names_of

WAIT = 30.0


def check(meeting: Meeting, file: Path, received: Path) -> None:
    assert meeting.size == file.stat().st_size >= ARCHIVE_BYTES
    arrived = received / file.name
    assert hashlib.sha256(arrived.read_bytes()).hexdigest() == meeting.sha256
    assert hashlib.sha256(file.read_bytes()).hexdigest() == meeting.sha256
    phases = meeting.seconds.keys()
    # Whoever can be reached is dialled; only a slow dial is joined by a call.
    assert phases >= {*PHASES, *DIALLED} or phases >= {*PHASES, *CALLED}
    assert all(took > 0 for took in meeting.seconds.values())
    assert meeting.throughput > 0
    # A node that listens on one address has its links there, too.
    assert meeting.path.startswith("host 127.0.0.1:")


async def test_files_cross_before_and_after_the_server_and_a_third_of_the_nodes_are_killed(net: Network) -> None:
    server = await net.start_server()
    hosts = await net.start_hosts(names_of(6))
    # First contacts came from the signed list, over HTTP, and from nowhere else.
    for host in hosts:
        (source,) = (await host.call("status"))["bootstrap"]
        assert source["source"] == net.list_url
        assert source["status"] == "accepted"

    file = net.folder / "first.tar"
    make_archive(file)
    check(await meet(net.nursery, hosts[0], hosts[1], file), file, hosts[1].folder / "received")

    await asyncio.gather(*(victim.process.kill() for victim in (server, *hosts[2:4])))
    other = net.folder / "second.tar"
    make_archive(other, backwards=True)
    assert other.read_bytes() != file.read_bytes()
    check(await meet(net.nursery, hosts[4], hosts[5], other), other, hosts[5].folder / "received")

    assert max(await net.stop([hosts[0], hosts[1], hosts[4], hosts[5]])) <= 2.0


async def test_what_cannot_be_sent_is_one_clear_line(net: Network, tmp_path: Path) -> None:
    await net.start_server()
    sender, receiver = await net.start_hosts(["rook", "jay"])
    note = tmp_path / "note.txt"
    note.write_text("unasked")

    # To a key that nobody holds.
    stranger = IdentityKey.from_seed(bytes(32)).public.text
    command = await net.nursery.start("send", "send", str(note), stranger, "--data-dir", str(sender.folder))
    assert await command.wait(WAIT) == 1
    line = f"error: note.txt was not sent: no node that was asked has a record of {stranger}"
    assert command.complaints.startswith(line)

    # To a peer that expects somebody else.
    folder = receiver.folder / "received"
    receiving = await net.nursery.start(
        "receive",
        *("receive", "--dir", str(folder), "--accept-from", stranger, "--json", "--data-dir", str(receiver.folder)),
    )
    await receiving.event("waiting", WAIT)
    command = await net.nursery.start("send", "send", str(note), receiver.peer, "--data-dir", str(sender.folder))
    assert await command.wait(WAIT) == 1
    assert command.complaints.startswith("error: note.txt was not sent")
    assert "did not accept it" in command.complaints
    assert (await receiving.event("offer", WAIT))["accepted"] is False
    assert not list(folder.iterdir())
