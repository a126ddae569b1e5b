"""The examples of docs/examples do what they say: processes of their own, on loopback, beside one node."""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
WAIT = 90.0


class Program:
    """One running example, its lines and its ears."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def says(self, part: str) -> str:
        """The next line that has `part` in it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if part in line:
                    return line
        raise AssertionError(f"it ended without {part!r}: {self.lines}")

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())


@pytest.fixture
async def contact(tmp_path: Path) -> AsyncIterator[str]:
    """A node whom the examples know, in a process of its own like them."""
    flags = ["--listen", "127.0.0.1", "--port", "0", "--mode", "server", "--include-loopback", "--no-port-mapping"]
    (tmp_path / "none.toml").touch()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node.cli", "run", "--json", *flags, "--data-dir", str(tmp_path / "first")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ROOKERY_CONFIG": str(tmp_path / "none.toml")},
    )
    try:
        assert process.stdout is not None
        yield json.loads(await process.stdout.readline())["contact"]
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def running(tmp_path: Path, contact: str, example: str, name: str, *args: str) -> AsyncIterator[Program]:
    """An example as its user starts it, gone at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / example),
        *args,
        "--loopback",
        "--data-dir",
        str(tmp_path / name),
        "--contact",
        contact,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ROOKERY_CONFIG": str(tmp_path / "none.toml")},
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("example", ["chat.py", "file_share.py"])
def test_an_example_is_short(example: str) -> None:
    lines = (EXAMPLES / example).read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 120


@pytest.mark.slow
async def test_two_people_chat(tmp_path: Path, contact: str) -> None:
    async with (
        running(tmp_path, contact, "chat.py", "alice", "lobby", "--name", "alice") as alice,
        running(tmp_path, contact, "chat.py", "bob", "lobby", "--name", "bob") as bob,
    ):
        key = (await alice.says("you are alice")).split("[")[1][:8]
        await alice.says("* connected with")
        await bob.says("* connected with")
        alice.type("hello, whoever is here")
        assert "alice" in await bob.says("hello, whoever is here")
        bob.type(f"/to {key} for your eyes")
        assert "to you" in await alice.says("for your eyes")
        bob.type("/who")
        assert "alice" in await bob.says("* alice")
        bob.type("/quit")
        await alice.says("is gone")
        assert await asyncio.wait_for(bob.process.wait(), WAIT) == 0


@pytest.mark.slow
async def test_a_folder_is_shared_listed_and_fetched(tmp_path: Path, contact: str) -> None:
    folder, here = tmp_path / "photos", tmp_path / "here"
    folder.mkdir()
    (folder / "sea.jpg").write_bytes(random.Random(4).randbytes(300_000))
    (folder / ".hidden").write_text("not shared")
    async with running(tmp_path, contact, "file_share.py", "one", "share", "holiday", "--dir", str(folder)) as sharing:
        await sharing.says("sharing 1 files")
        async with running(tmp_path, contact, "file_share.py", "two", "list", "holiday") as listing:
            assert "300000 sea.jpg" in await listing.says("sea.jpg")
        args = ("fetch", "holiday", "sea.jpg", "--dir", str(here))
        async with running(tmp_path, contact, "file_share.py", "three", *args) as fetching:
            await fetching.says("fetched from")
        assert (here / "sea.jpg").read_bytes() == (folder / "sea.jpg").read_bytes()
        assert "sent" in await sharing.says("sea.jpg to")
