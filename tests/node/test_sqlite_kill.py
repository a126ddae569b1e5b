"""`kill -9` at moments nobody chose: the journal opens, what was promised is there, no number comes twice."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

from node.adapters.sqlite import SqliteStorage

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 15
PLACE = bytes(20)

CHILD = """
import asyncio, sys
from pathlib import Path
from node.adapters.sqlite import SqliteStorage
from node.storage import HeldRecord

def say(kind, number):
    sys.stdout.write(f"{kind} {number}\\n")
    sys.stdout.flush()

async def main(path, start):
    storage = await SqliteStorage.open(path)
    for number in range(start, start + 100000):
        say("s", await storage.next_sequence(bytes(20), 0))
        for copy in range(20):
            storage.write(HeldRecord((20 * number + copy).to_bytes(20, "big"), b"", bytes(500), 1.0, 1.0))
        if number % 3 == 0:
            await storage.flush()
            say("f", number)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def test_killed_at_any_moment_it_keeps_its_word(tmp_path: Path) -> None:
    rng = random.Random(20261122)
    path = tmp_path / "journal.db"
    given: list[int] = []
    flushed: set[int] = set()
    start = 0
    for _ in range(ROUNDS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(start)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert child.stdout is not None
        # A count of promises, not of seconds: the child goes on meanwhile, so the blow falls anywhere in its work.
        lines = [child.stdout.readline() for _ in range(rng.randrange(1, 40))]
        child.kill()
        lines += child.stdout.readlines()
        child.stdout.close()
        assert child.wait() == -9
        promises = [line.split() for line in lines if line.endswith(b"\n")]
        numbers = [int(number) for kind, number in promises if kind == b"s"]
        last = max((int(number) for kind, number in promises if kind == b"f"), default=start - 1)
        flushed |= set(range(start, last + 1))
        given += numbers
        start += len(numbers) + 1

        storage = await SqliteStorage.open(path)
        given.append(await storage.next_sequence(PLACE, 0))
        places = {int.from_bytes(record.place, "big") for record in (await storage.load()).held}
        await storage.close()
        assert given == sorted(set(given)), "numbers only grow"
        missing = {20 * number + copy for number in flushed for copy in range(20)} - places
        assert not missing, "what was flushed is there"
        check = sqlite3.connect(path)
        assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        check.close()
    assert len(given) > 2 * ROUNDS
    assert flushed
