"""Real processes come into a network with nothing but an invite: no list, no contact, no key, no server."""

import asyncio
import signal
import sqlite3
import tomllib
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from node.demo_processes import Command, Nursery
from tests.process.conftest import free_port

WAIT = 30.0
KEY = "ab" * 32


class Lane:
    """Nodes on loopback that know nothing of each other."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self.folder = folder
        self.nursery = nursery

    def settings(self, name: str, **more: str) -> dict[str, str]:
        return {
            "ROOKERY_CONFIG": str(self.folder / f"{name}.toml"),
            "ROOKERY_DATA_DIR": str(self.folder / name),
            "ROOKERY_LISTEN": "127.0.0.1",
            "ROOKERY_PORT": "0",
            "ROOKERY_INCLUDE_LOOPBACK": "true",
            **more,
        }

    def configured(self, name: str, text: str = "") -> Path:
        file = self.folder / f"{name}.toml"
        file.write_text(text)
        return file

    async def start(self, name: str, *arguments: str, **more: str) -> Command:
        return await self.nursery.start(f"{name} {arguments[0]}", *arguments, settings=self.settings(name, **more))

    async def run(self, name: str, *arguments: str, code: int = 0) -> Command:
        command = await self.start(name, *arguments)
        assert await command.wait(WAIT) == code, command.complaints
        return command


@pytest.fixture
async def lane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lane]:
    folder = tmp_path_factory.mktemp("lane")
    async with Nursery(folder) as nursery:
        yield Lane(folder, nursery)


def kind_of(command: Command) -> Any:
    return command.said[-1]["error"]["kind"]


@pytest.mark.slow
async def test_a_picture_brings_one_in_and_its_last_use_is_one_newcomers_through_a_kill(lane: Lane) -> None:
    lane.configured("inviter", f'network = "allotment"\nnetwork_key = "{KEY}"\n')
    port = str(free_port())
    inviter = await lane.start("inviter", "run", "--json", ROOKERY_PORT=port)
    await inviter.event("ready", WAIT)
    await inviter.logged("mode-set", WAIT)
    picture = lane.folder / "invite.png"
    made = (await lane.run("inviter", "invite", "--uses", "2", "--png", str(picture), "--json")).said[0]
    assert picture.stat().st_mode & 0o777 == 0o600

    # The configuration is not changed unless somebody says so.
    lane.configured("rook")
    assert kind_of(await lane.run("rook", "join", str(picture), "--json", code=2)) == "needs-consent"
    joined = (await lane.run("rook", "join", str(picture), "--yes", "--json")).said[-1]
    assert (joined["network"], joined["private"], joined["kept"]) == ("allotment", True, "nowhere")
    settings = tomllib.loads((lane.folder / "rook.toml").read_text())
    assert (settings["network"], settings["network_key"]) == ("allotment", KEY)
    rook = await lane.start("rook", "run", "--json")
    await rook.logged("joined", WAIT)

    # Two come at once for the last use, and the inviter is killed as soon as one of them has it.
    for name in ("jay", "crow"):
        lane.configured(name)
    coming = [await lane.start(name, "join", made["uri"], "--yes", "--json") for name in ("jay", "crow")]
    async with asyncio.timeout(WAIT):
        while count_of(lane.folder / "inviter" / "invites.db") < 2:
            await asyncio.sleep(0.005)
    inviter.signal(signal.SIGKILL)
    for command in coming:
        command.signal(signal.SIGKILL)
    inviter = await lane.start("inviter", "run", "--json", ROOKERY_PORT=port)
    await inviter.event("ready", WAIT)
    again = [await lane.start(name, "join", made["uri"], "--yes", "--json") for name in ("jay", "crow")]
    codes = [await command.wait(WAIT) for command in again]
    assert sorted(codes) == [0, 1], [command.complaints for command in again]
    loser = again[codes.index(1)]
    assert kind_of(loser) == "invite-used-up"
    assert "ask the inviter for another one" in loser.complaints

    listed = (await lane.run("inviter", "invite", "list", "--json")).said[0]["invites"]
    assert [(entry["id"], entry["state"], entry["used"]) for entry in listed] == [(made["id"], "used-up", 2)]


def count_of(ledger: Path) -> int:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM redemptions").fetchone()
    return int(count)


async def test_with_no_node_running_the_command_lets_people_in_and_ends(lane: Lane) -> None:
    for name in ("inviter", "newcomer"):
        lane.configured(name)
    inviting = await lane.start("inviter", "invite", "--json")
    made = await inviting.hear(lambda said: "uri" in said, WAIT, "its invite")
    # It is for the very network that the newcomer is configured for: nothing has to be asked.
    command = await lane.run("newcomer", "join", f"Come in: {made['uri']} (until Sunday)", "--json")
    assert [said["event"] for said in command.said] == ["step", "step", "done"]
    assert command.said[-1]["kept"] == "journal"
    assert await inviting.wait(WAIT) == 0
    assert inviting.said[-1]["event"] == "invite-redeemed"
    assert (lane.folder / "newcomer.toml").read_text() == ""
    # Nobody is there any more, which is told from a refusal.
    gone = await lane.run("newcomer", "join", made["uri"], "--timeout", "2", "--json", code=1)
    assert kind_of(gone) == "inviter-unreached"
