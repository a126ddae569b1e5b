"""Bad input to real commands: one clear line, an exit code, nothing lost."""

import json
import socket

from node.demo_network import Network
from node.demo_processes import Command

WAIT = 30.0


async def refused(command: Command, code: int) -> str:
    """The one line (and the hint) with which a command ended."""
    assert await command.wait(WAIT) == code
    assert "Traceback" not in command.complaints
    lines = command.complaints.split(" | ")
    assert len(lines) <= 2
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])
    return lines[0]


async def test_a_port_in_use_is_named(net: Network) -> None:
    await net.make_signers()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        folder = str(net.folder / "rook")
        command = await net.nursery.start(
            "run", "run", "--port", str(port), "--data-dir", folder, settings=net.settings
        )
        assert str(port) in await refused(command, 2)


async def test_a_folder_that_a_node_uses_already_is_named(net: Network) -> None:
    await net.make_signers()
    host = await net.start_host("rook")
    command = await net.nursery.start("run", "run", "--data-dir", str(host.folder), settings=net.settings)
    line = await refused(command, 2)
    assert str(host.process.pid) in line
    assert (await host.call("status"))["joined"] is False


async def test_a_tampered_list_is_refused_by_nodes_and_servers(net: Network) -> None:
    server = await net.start_server()
    document = json.loads(net.list_file.read_text())
    first, second = document["signatures"]
    document["signatures"] = [first, {**second, "signature": first["signature"]}]
    tampered = net.folder / "tampered.json"
    tampered.write_text(json.dumps(document))

    command = await net.nursery.start(
        "server",
        *("bootstrap", "run", "--list", str(tampered), "--http", "127.0.0.1:0", "--data-dir", str(net.folder / "b2")),
        settings=net.settings,
    )
    assert "not-enough-signatures" in await refused(command, 2)

    host = await net.start_host("rook", ROOKERY_BOOTSTRAP_LISTS=str(tampered))
    said = await host.process.logged("list-loaded", WAIT)
    assert said["level"] == "warning"
    assert said["fields"]["status"] == "refused"
    assert "1 of the 2 signatures" in said["text"]
    status = await host.call("status")
    assert status["contacts"] == 0
    assert server.alive

    # With the good one beside it, the node does not need the bad one.
    await net.stop([host])
    await net.restart(host, ROOKERY_BOOTSTRAP_LISTS=f"{tampered},{net.list_url}")
    await host.process.logged("joined", WAIT)


async def test_a_server_that_is_handed_a_tampered_list_stops_serving_it(net: Network) -> None:
    import aiohttp

    server = await net.start_server()
    good = net.list_file.read_text()
    net.list_file.write_text(good.replace('"payload"', '"payloae"'))
    async with aiohttp.ClientSession() as http:
        async with http.get(net.list_url) as answer:
            assert answer.status == 503
        net.list_file.write_text(good)
        async with http.get(net.list_url) as answer:
            assert answer.status == 200
            assert await answer.text() == good
    assert server.alive


async def test_a_key_that_others_can_read_is_not_used(net: Network) -> None:
    await net.make_signers()
    host = await net.start_host("rook")
    await net.stop([host])
    key = host.folder / "identity.key"
    before = key.read_bytes()
    key.chmod(0o644)

    command = await net.nursery.start("run", "run", "--data-dir", str(host.folder), settings=net.settings)
    assert str(key) in await refused(command, 2)
    assert "chmod 600" in command.complaints
    assert key.read_bytes() == before


async def test_a_damaged_journal_is_set_aside_and_the_node_runs(net: Network) -> None:
    await net.start_server()
    (host,) = await net.start_hosts(["rook"])
    peer = host.peer
    await net.stop([host])
    journal = host.folder / "journal.db"
    journal.write_bytes(b"no database " * 1000)

    await net.restart(host)
    await host.process.logged("joined", WAIT)
    assert host.peer == peer
    said = await host.process.logged("journal-fault", WAIT)
    assert said["level"] == "warning"
    (aside,) = host.folder.glob("journal.db.corrupt-*")
    assert aside.name in said["text"]
    assert aside.read_bytes() == b"no database " * 1000
