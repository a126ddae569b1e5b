"""A node that is told to end does so within two seconds, with its state saved."""

import signal
import time

from node.demo_network import Network

WAIT = 30.0


async def test_a_signal_ends_a_node_within_two_seconds_with_its_state_saved(net: Network) -> None:
    server = await net.start_server()
    *hosts, _ = await net.start_hosts(["rook", "jay", "crow"])
    assert (await hosts[0].call("ping", peer=hosts[1].peer, link=True))["link"]["reached"]
    for host in hosts:
        # What a node has not heard of yet it cannot come back to.
        await host.until("status", lambda status: status["contacts"] == 3, WAIT)
    peers = [host.peer for host in hosts]
    sequences = [(await host.published())["seq"] for host in hosts]

    for host, number, code in zip(hosts, (signal.SIGTERM, signal.SIGINT), (0, 130), strict=True):
        begun = time.monotonic()
        host.process.signal(number)
        assert await host.process.wait(WAIT) == code
        assert time.monotonic() - begun < 2.0
        stopping, stopped = host.process.said[-2:]
        assert stopping == {"event": "stopping"}
        assert stopped["kind"] == "stopped"
        assert not (host.folder / "api.sock").exists()
        assert not list(host.folder.glob("journal.db-*")), "the journal was not closed"

    # What was saved is enough to find the network with the list's server gone.
    await server.process.kill()
    for host, peer, seq in zip(hosts, peers, sequences, strict=True):
        await net.restart(host, ROOKERY_BOOTSTRAP_LISTS="")
        assert host.peer == peer
        await host.process.logged("joined", WAIT)
        assert (await host.published())["seq"] > seq


async def test_a_node_that_found_nobody_ends_as_fast(net: Network) -> None:
    await net.make_signers()
    host = await net.start_host("rook", ROOKERY_CONTACTS=f"{'y' * 51}o@127.0.0.1:9")
    assert (await net.stop([host]))[0] < 2.0
