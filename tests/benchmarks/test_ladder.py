"""From a key to a link on loopback, whole nodes in one process: with nothing remembered, remembered, and wrongly so.

`make bench` prints the medians. With nothing remembered the ladder must cost nothing: sources say at once that they
know nothing, and the look-up begins at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from dht.contact import Contact
from dht.identity import NodeKey
from node.config import NodeConfig
from node.node import Node
from node.node_parts import NodeParts
from node.ports import Hint

NODES = 12
ROUNDS = 15


class Loopback:
    """A network of whole nodes."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.nodes: list[Node] = []
        self.runner.run(self._start(folder))

    async def _start(self, folder: Path) -> None:
        for number in range(NODES):
            known = (self.nodes[0].status().contact,) if self.nodes else ()
            config = NodeConfig(
                data_dir=folder / str(number), listen="127.0.0.1", port=0, mode="server", include_loopback=True,
                contacts=known, port_mapping=False,
            )  # fmt: skip
            node = Node(config, NodeParts(watch_interfaces=False, map_ports=False))
            await self.stack.enter_async_context(node)
            self.nodes.append(node)
        for node in self.nodes:
            assert await node.wait_joined(10)
        while not all(node.status().published for node in self.nodes):
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        await self.connect(None)  # What is imported once.

    async def connect(self, remembered: Hint | None, *, forget: bool = True) -> float:
        one, other = self.nodes[-1], self.nodes[-2]
        whereabouts = one.inside.outside.whereabouts
        if forget:
            whereabouts.forget(other.identity)
        if remembered is not None:
            whereabouts.note(other.identity, remembered, "host")
        outcome = await one.connect(other.identity)
        assert outcome.connected, outcome
        await outcome.link.close()
        await asyncio.sleep(0.05)
        return outcome.phases["total"]

    def stop(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    made = Loopback(tmp_path_factory.mktemp("ladder"))
    yield made
    made.stop()


def hole() -> Hint:
    """An address where nobody answers: bound, and read by nobody."""
    import socket

    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    _taken.append(taken)
    contact = Contact(NodeKey.from_secret(b"h" * 32).public, ("127.0.0.1", taken.getsockname()[1]))
    return Hint((contact,), (), b"f" * 32)


_taken: list[Any] = []


@pytest.mark.benchmark(group="from a key to a link, whole nodes on loopback")
@pytest.mark.parametrize("case", ["cold", "cache", "stale"])
def test_connect(loopback: Loopback, benchmark: Any, case: str) -> None:
    took: list[float] = []
    if case == "cache":
        loopback.runner.run(loopback.connect(None))

    def once() -> None:
        remembered = hole() if case == "stale" else None
        took.append(loopback.runner.run(loopback.connect(remembered, forget=case != "cache")))

    benchmark.pedantic(once, rounds=ROUNDS)
    for one in _taken:
        one.close()
    _taken.clear()
    print(f"\n{case}: linked in {median(took) * 1000:.1f} ms (best {min(took) * 1000:.1f})")
