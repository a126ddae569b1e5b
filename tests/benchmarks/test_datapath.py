"""The data path between two processes on one machine: our links beside stock aiortc, in the same run.

`make bench` prints one table for each group. Trust the ratios: absolute figures depend on the machine and its load.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.datapath_ends import ENDS, MESSAGE, SMALL, End, loop_factory

FAR = Path(__file__).with_name("datapath_ends.py")
ROOT = FAR.parents[2]
WAYS = [(kind, loop) for loop in ("uvloop", "asyncio") for kind in ("ours", "lasting", "stock")]
BULK = {"ours": 1600, "lasting": 1600, "stock": 160}
"""Messages of 64 KiB: 100 MB and 10 MB, each about a second."""
LITTLE = {"ours": 100_000, "lasting": 100_000, "stock": 3_000}


class Bench:
    """The near end here, the far end in a process of its own."""

    def __init__(self, kind: str, loop: str) -> None:
        self.kind = kind
        self.runner = asyncio.Runner(loop_factory=loop_factory(loop))
        self.process = subprocess.Popen(
            [sys.executable, str(FAR), kind, loop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def open(self) -> End:
        async def dial() -> End:
            end = ENDS[self.kind]()
            self.tell((await end.offer()).hex())
            await end.connect(bytes.fromhex(self.hear()))
            return end

        end = self.runner.run(dial())
        assert self.hear() == "open"
        return end

    def close(self, end: End) -> None:
        self.tell("close")
        self.runner.run(end.close())
        assert self.hear() == "closed"

    def stop(self) -> None:
        self.tell("")
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
        self.runner.close()


@pytest.fixture(params=WAYS, ids="-".join)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    kind, loop = request.param
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="not on this platform: uvloop has no wheel here")
    made = Bench(kind, loop)
    yield made
    made.stop()


@pytest.mark.benchmark(group="data path: 64 KiB messages")
def test_bulk(bench: Bench, benchmark: Any) -> None:
    end = bench.open()
    count = BULK[bench.kind]
    benchmark.pedantic(lambda: bench.runner.run(end.send(MESSAGE, count)), rounds=3, warmup_rounds=1)
    benchmark.extra_info["MB/s"] = round(count * MESSAGE / benchmark.stats["min"] / 1e6, 1)
    print(f"\n{bench.kind}: {benchmark.extra_info['MB/s']} MB/s")
    bench.close(end)


@pytest.mark.benchmark(group="data path: messages of 100 bytes")
def test_small(bench: Bench, benchmark: Any) -> None:
    end = bench.open()
    count = LITTLE[bench.kind]
    benchmark.pedantic(lambda: bench.runner.run(end.send(SMALL, count)), rounds=3, warmup_rounds=1)
    benchmark.extra_info["messages/s"] = round(count / benchmark.stats["min"])
    print(f"\n{bench.kind}: {benchmark.extra_info['messages/s']} messages/s")
    bench.close(end)


@pytest.mark.benchmark(group="data path: opening, offer to channel")
def test_open(bench: Bench, benchmark: Any) -> None:
    ends: list[End] = []

    def again() -> None:
        if ends:
            bench.close(ends.pop())

    benchmark.pedantic(lambda: ends.append(bench.open()), setup=again, rounds=10, warmup_rounds=2)
    print(f"\n{bench.kind}: open in {benchmark.stats['median'] * 1000:.1f} ms")
    bench.close(ends.pop())
