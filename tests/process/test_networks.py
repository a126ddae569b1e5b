"""Private networks of real processes: founded, entered by invite with no server, used, and lost by the revoked."""

import json
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.demo_processes import Nursery
from tests.process.test_invites import WAIT, Lane, kind_of


@pytest.fixture
async def lane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lane]:
    folder = tmp_path_factory.mktemp("lane")
    async with Nursery(folder) as nursery:
        yield Lane(folder, nursery)


async def test_from_founding_to_revoking(lane: Lane) -> None:
    lane.configured("ada")
    lane.configured("ben")
    founded = (await lane.run("ada", "network", "create", "club", "--json")).said[0]
    ada = await lane.start(
        "ada", "run", "--network", "club", "--json", ROOKERY_RECEIVE="accept", ROOKERY_ACCEPT_FROM="all"
    )
    ready = await ada.event("ready", WAIT)
    assert (ready["network"], ready["identity"]) == ("club", founded["identity"])
    made = (await lane.run("ada", "invite", "--network", "club", "--json")).said[0]

    joined = (await lane.run("ben", "join", made["uri"], "--yes", "--json")).said[-1]
    assert (joined["network"], joined["kept"], joined["member"]) == ("club", "membership", True)
    assert (lane.folder / "ben.toml").read_text() == ""  # The public network's node is as it was.
    ben = await lane.start("ben", "run", "--network", "club", "--json")
    us = (await ben.event("ready", WAIT))["identity"]
    await ben.logged("joined", WAIT)

    payload = lane.folder / "payload.bin"
    payload.write_bytes(random.Random(5).randbytes(300_000))
    peer = founded["identity"]
    sent = await lane.run("ben", "send", "--network", "club", str(payload), peer, "--json")
    assert sent.said[-1]["event"] == "done"
    received = lane.folder / "ada" / "networks" / "club" / "received" / "payload.bin"
    assert received.read_bytes() == payload.read_bytes()

    (member,) = (await lane.run("ada", "network", "members", "club", "--json")).said[0]["members"]
    assert (member["peer"], member["linked"], member["revoked_at"]) == (us, True, None)
    heard = len(ada.said)
    await lane.run("ada", "network", "revoke", "club", us, "--json")
    await ada.logged("link-ended", WAIT, skip=heard)
    refused = await lane.run("ben", "connect", "--network", "club", peer, "--json", code=1)
    assert "revoked" in json.dumps(refused.said) and "revoked" in refused.complaints


@pytest.mark.slow
async def test_all_go_over_to_another_key_but_the_revoked(lane: Lane) -> None:
    for name in ("ada", "ben", "dan"):
        lane.configured(name)
    founded = (await lane.run("ada", "network", "create", "club", "--json")).said[0]
    processes = {"ada": await lane.start("ada", "run", "--network", "club", "--json")}
    ready = {"ada": await processes["ada"].event("ready", WAIT)}
    made = (await lane.run("ada", "invite", "--network", "club", "--uses", "2", "--json")).said[0]
    for name in ("ben", "dan"):
        await lane.run(name, "join", made["uri"], "--yes", "--json")
        processes[name] = await lane.start(name, "run", "--network", "club", "--json")
        ready[name] = await processes[name].event("ready", WAIT)
        await processes[name].logged("joined", WAIT)
        await lane.run(name, "connect", "--network", "club", founded["identity"], "--json")
    await lane.run("ada", "network", "revoke", "club", str(ready["dan"]["identity"]), "--json")
    heard = {name: len(process.said) for name, process in processes.items()}
    said = (await lane.run("ada", "network", "renew", "club", "--in", "3s", "--json")).said[0]
    assert said["epoch"] == 1
    for name in ("ada", "ben"):
        again = await processes[name].event("ready", WAIT, skip=heard[name])
        assert again["port"] == ready[name]["port"] and again["pid"] == ready[name]["pid"]
        await processes[name].logged("joined", WAIT, skip=heard[name])
    await lane.run("ben", "connect", "--network", "club", founded["identity"], "--json")
    await lane.run("dan", "connect", "--network", "club", founded["identity"], "--timeout", "3", "--json", code=1)
    shown = (await lane.run("ben", "network", "show", "club", "--json")).said[0]
    assert (shown["epoch"], shown["next_key_at"]) == (1, None)
    assert not any(one.get("event") == "ready" for one in processes["dan"].said[heard["dan"] :])


@pytest.mark.slow
async def test_one_process_is_in_several_networks_and_ends_as_one(lane: Lane) -> None:
    lane.configured("eve", 'networks = ["club", "gone", "broken"]\n')
    for name in ("club", "broken"):
        await lane.run("eve", "network", "create", name, "--json")
    (lane.folder / "eve" / "networks" / "broken" / "network.json").write_text("{")
    eve = await lane.start("eve", "run", "--json")
    first = await eve.event("ready", WAIT)
    assert first["network"] == "main"
    club = await eve.hear(lambda said: said.get("event") == "ready" and said["network"] == "club", WAIT, "the club")
    assert club["port"] != first["port"] and club["api"] != first["api"] and club["pid"] == first["pid"]
    for name in ("gone", "broken"):
        line = f"no node runs in the network {name}: "
        await eve.hear(lambda said, line=line: line in said.get("text", ""), WAIT, f"that {name} does not run")  # type: ignore[misc]
    # Each answers for itself.
    assert (await lane.run("eve", "status", "--network", "club", "--json")).said[0]["network"] == "club"
    assert (await lane.run("eve", "status", "--json")).said[0]["network"] == "main"
    assert kind_of(await lane.run("eve", "network", "leave", "club", "--yes", "--json", code=2)) == "node-runs"
    started = time.monotonic()
    eve.signal(signal.SIGTERM)
    assert await eve.wait(WAIT) == 0
    assert time.monotonic() - started < 2.0 + 0.5  # Half a second for the interpreter's own end.
    assert sum(said.get("event") == "stopping" for said in eve.said) == 2
    assert not Path(str(club["api"])).exists()
